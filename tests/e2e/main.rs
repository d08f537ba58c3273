//! From a Dockerfile to a registry and back: images as users make, change and move them, and the examples.

#[path = "../support/mod.rs"]
mod support;

mod build;
mod build_more;
mod examples;
mod git;
mod image;
mod output;
mod registry;
mod start;
