//! What `run` and `create` share: the flags of a container, and how they become a create request.

pub(crate) mod create;
pub(crate) mod flags;
pub(crate) mod request;
