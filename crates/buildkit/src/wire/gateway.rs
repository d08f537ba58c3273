//! `moby.buildkit.v1.frontend.LLBBridge`.

use std::collections::HashMap;

use super::Status;
use super::control::{Definition, WorkerRecord};

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PongResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) frontend_caps: Vec<Capability>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) llb_caps: Vec<Capability>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) workers: Vec<WorkerRecord>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Capability {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(bool, tag = "2")]
    pub(crate) enabled: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SolveRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) definition: Option<Definition>,
    #[prost(string, tag = "2")]
    pub(crate) frontend: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) frontend_opt: HashMap<String, String>,
    #[prost(map = "string, message", tag = "13")]
    pub(crate) frontend_inputs: HashMap<String, Definition>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SolveResponse {
    #[prost(message, optional, tag = "3")]
    pub(crate) result: Option<Outcome>,
}

/// `Result`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Outcome {
    #[prost(oneof = "Refs", tags = "1, 3")]
    pub(crate) refs: Option<Refs>,
    #[prost(map = "string, bytes", tag = "10")]
    pub(crate) metadata: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Refs {
    #[prost(string, tag = "1")]
    Deprecated(String),
    #[prost(message, tag = "3")]
    One(Ref),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Ref {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// How it would be built: for clients that give it to another build.
    #[prost(message, optional, tag = "2")]
    pub(crate) definition: Option<Definition>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReturnRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) result: Option<Outcome>,
    #[prost(message, optional, tag = "2")]
    pub(crate) error: Option<Status>,
}
