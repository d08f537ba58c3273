//! What criu is asked and what it says, as its `images/rpc.proto` has it: the fields that are used here.

/// What a request or an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) options: Option<Options>,
    #[prost(bool, optional, tag = "3")]
    pub(super) notified: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub(super) features: Option<Features>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Options {
    /// Descriptors here are numbers of the process that made the socket.
    #[prost(int32, required, tag = "1")]
    pub(super) images: i32,
    #[prost(int32, optional, tag = "2")]
    pub(super) pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub(super) leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(super) external_sockets: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub(super) tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(super) evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(super) shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub(super) file_locks: Option<bool>,
    #[prost(int32, optional, tag = "9")]
    pub(super) log_level: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub(super) log_file: Option<String>,
    #[prost(message, optional, tag = "11")]
    pub(super) page_server: Option<PageServer>,
    #[prost(bool, optional, tag = "12")]
    pub(super) notify: Option<bool>,
    #[prost(string, optional, tag = "13")]
    pub(super) root: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub(super) parent: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub(super) track_memory: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub(super) auto_dedup: Option<bool>,
    #[prost(int32, optional, tag = "17")]
    pub(super) work: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub(super) link_remap: Option<bool>,
    #[prost(message, repeated, tag = "23")]
    pub(super) mounts: Vec<ExternalMount>,
    #[prost(bool, optional, tag = "24")]
    pub(super) manage_cgroups: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub(super) cgroup_roots: Vec<CgroupRoot>,
    /// The restored process becomes criu's sibling: a child of the one who asks.
    #[prost(bool, optional, tag = "26")]
    pub(super) as_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub(super) inherited: Vec<Inherited>,
    #[prost(enumeration = "CgroupMode", optional, tag = "34")]
    pub(super) cgroup_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub(super) external: Vec<String>,
    #[prost(uint32, optional, tag = "38")]
    pub(super) empty_namespaces: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    pub(super) joined: Vec<JoinedNamespace>,
    #[prost(string, optional, tag = "44")]
    pub(super) freezer: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub(super) tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "48")]
    pub(super) lazy_pages: Option<bool>,
    #[prost(bool, optional, tag = "50")]
    pub(super) orphan_terminal: Option<bool>,
    #[prost(string, optional, tag = "51")]
    pub(super) config_file: Option<String>,
    #[prost(string, optional, tag = "53")]
    pub(super) lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub(super) lsm_mount_context: Option<String>,
}

/// A mount that is not criu's to make: at a checkpoint its place and a name for it, at a restore the name and a path.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ExternalMount {
    #[prost(string, required, tag = "1")]
    pub(super) key: String,
    #[prost(string, required, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct CgroupRoot {
    #[prost(string, optional, tag = "1")]
    pub(super) controller: Option<String>,
    #[prost(string, required, tag = "2")]
    pub(super) path: String,
}

/// A descriptor of criu's own that stands for what was outside of the container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Inherited {
    #[prost(string, required, tag = "1")]
    pub(super) key: String,
    #[prost(int32, required, tag = "2")]
    pub(super) number: i32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JoinedNamespace {
    #[prost(string, required, tag = "1")]
    pub(super) kind: String,
    #[prost(string, required, tag = "2")]
    pub(super) path: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PageServer {
    #[prost(string, optional, tag = "1")]
    pub(super) address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(super) port: Option<i32>,
}

/// How much of cgroups is saved and restored, criu(8), `--manage-cgroups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum CgroupMode {
    /// Nothing.
    Ignore = 0,
    /// Properties are restored for cgroups that criu makes.
    Soft = 3,
    /// Properties are always restored.
    Full = 4,
    /// A cgroup that is there already is an error.
    Strict = 5,
    /// As criu has it.
    Default = 6,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Features {
    #[prost(bool, optional, tag = "1")]
    pub(super) memory_tracking: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub(super) lazy_pages: Option<bool>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Answer {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(super) kind: i32,
    #[prost(bool, required, tag = "2")]
    pub(super) success: bool,
    #[prost(message, optional, tag = "5")]
    pub(super) notice: Option<Notice>,
    #[prost(int32, optional, tag = "7")]
    pub(super) errno: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub(super) features: Option<Features>,
    #[prost(message, optional, tag = "10")]
    pub(super) version: Option<Version>,
}

/// A step that criu has come to, and waits.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Notice {
    #[prost(string, optional, tag = "1")]
    pub(super) step: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(super) pid: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Version {
    #[prost(int32, required, tag = "1")]
    pub(super) major: i32,
    #[prost(int32, required, tag = "2")]
    pub(super) minor: i32,
    #[prost(int32, optional, tag = "4")]
    pub(super) sublevel: Option<i32>,
}
