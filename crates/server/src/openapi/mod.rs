//! The API as a table of operations: the routes are made from it, and so is the OpenAPI document that is served at
//! `/openapi.json`. A door that is not in the table cannot be opened, and a test asks whether each one in it is.

mod absent;
mod containers;
mod images;
mod operation;
mod render;
mod rest;

pub(crate) use operation::{Operation, Verb};
pub(crate) use render::document;

use operation::{Answer, bytes, empty};

const TAR: &str = "application/x-tar";
const TAR_ANSWER: Answer = bytes(200, &[TAR], "The archive.");
const NO_CONTENT: Answer = empty(204, "Done.");
const FORBIDDEN: Answer = empty(403, "Never allowed.");
const MISSING: Answer = empty(404, "There is no such thing.");
const CONFLICT: Answer = empty(409, "The state of things does not allow it.");

/// All operations.
pub(crate) fn operations() -> impl Iterator<Item = &'static Operation> {
    let there = [containers::OPERATIONS, images::OPERATIONS, rest::OPERATIONS];
    let absent = [absent::SWARM, absent::PLUGINS, absent::OTHERS];
    there.into_iter().chain(absent).flatten()
}

/// The ids of what teu does not have: outside of a swarm and without managed plugins.
pub(crate) fn absent() -> [impl Iterator<Item = &'static str>; 2] {
    [absent::SWARM, absent::PLUGINS].map(|table| table.iter().map(|operation| operation.id))
}

/// The operation of that id.
pub(crate) fn find(id: &str) -> Option<&'static Operation> {
    operations().find(|operation| operation.id == id)
}
