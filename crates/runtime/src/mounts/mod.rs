//! The container's mounts: planned purely ([`plan`]), made by descriptor ([`apply`]), then covered ([`mask`]).

pub(crate) mod apply;
mod copy;
pub(crate) mod mask;
pub(crate) mod plan;
