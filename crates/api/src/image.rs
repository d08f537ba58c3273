//! Images: inspect, list rows, history, removal, search.

use std::collections::BTreeMap;

use teu_oci::{ContainerConfig, Descriptor, Platform};

use crate::container::GraphDriver;

wire! {
    /// Answer to `GET /images/{name}/json`.
    pub struct Inspect {
        /// Id, `sha256:…`.
        pub id: String = "Id",
        /// Descriptor of the manifest or index.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor> = "Descriptor",
        /// Tags, `name:tag`.
        pub repo_tags: Vec<String> = "RepoTags",
        /// Digests, `name@sha256:…`.
        pub repo_digests: Vec<String> = "RepoDigests",
        /// Parent image; empty unless built here.
        pub parent: String = "Parent",
        /// Message of the last commit.
        pub comment: String = "Comment",
        /// Creation, RFC 3339.
        pub created: String = "Created",
        /// Version of the engine that built it.
        pub docker_version: String = "DockerVersion",
        /// Who made it.
        pub author: String = "Author",
        /// What containers of it run.
        pub config: Option<ContainerConfig> = "Config",
        /// `amd64`, ….
        pub architecture: String = "Architecture",
        /// CPU variant.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub variant: String = "Variant",
        /// `linux`.
        pub os: String = "Os",
        /// Version of the operating system.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub os_version: String = "OsVersion",
        /// Bytes of all layers.
        pub size: i64 = "Size",
        /// Where its layers are.
        pub graph_driver: GraphDriver = "GraphDriver",
        /// Its layers.
        pub root_fs: RootFs = "RootFS",
        /// Facts about it on this host.
        pub metadata: Metadata = "Metadata",
    }

    /// An image's layers.
    pub struct RootFs {
        /// `layers`.
        pub kind: String = "Type",
        /// Diff ids, lowest first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub layers: Vec<String> = "Layers",
    }

    /// Facts about an image on this host.
    pub struct Metadata {
        /// Last tag, RFC 3339.
        pub last_tag_time: String = "LastTagTime",
    }

    /// One row of `GET /images/json`.
    pub struct Summary {
        /// Id, `sha256:…`.
        pub id: String = "Id",
        /// Parent image.
        pub parent_id: String = "ParentId",
        /// Tags, `name:tag`.
        pub repo_tags: Vec<String> = "RepoTags",
        /// Digests, `name@sha256:…`.
        pub repo_digests: Vec<String> = "RepoDigests",
        /// Creation, in seconds since 1970.
        pub created: i64 = "Created",
        /// Bytes of all layers.
        pub size: i64 = "Size",
        /// Bytes shared with other images; -1 when not computed.
        pub shared_size: i64 = "SharedSize",
        /// Labels.
        pub labels: Option<BTreeMap<String, String>> = "Labels",
        /// Containers that use it; -1 when not computed.
        pub containers: i64 = "Containers",
        /// Descriptor of the manifest or index.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor> = "Descriptor",
    }

    /// One item of `GET /images/{name}/history`, newest first.
    pub struct HistoryItem {
        /// Image's id, or `<missing>`.
        pub id: String = "Id",
        /// Creation, in seconds since 1970.
        pub created: i64 = "Created",
        /// Instruction that made it.
        pub created_by: String = "CreatedBy",
        /// Tags.
        pub tags: Option<Vec<String>> = "Tags",
        /// Bytes.
        pub size: i64 = "Size",
        /// Comment.
        pub comment: String = "Comment",
    }

    /// One item of the answer to `DELETE /images/{name}`: exactly one of its fields is set.
    pub struct DeleteItem {
        /// Reference that was removed.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub untagged: Option<String> = "Untagged",
        /// Image that was removed.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub deleted: Option<String> = "Deleted",
    }

    /// Answer to `POST /images/prune`.
    pub struct PruneReport {
        /// What was removed.
        pub images_deleted: Vec<DeleteItem> = "ImagesDeleted",
        /// Bytes freed.
        pub space_reclaimed: u64 = "SpaceReclaimed",
    }

    /// Answer to `POST /commit`.
    pub struct CommitResponse {
        /// Id of the new image.
        pub id: String = "Id",
    }

    /// Answer to `GET /distribution/{name}/json`.
    pub struct Distribution {
        /// What the name means at the registry.
        pub descriptor: Option<Descriptor> = "Descriptor",
        /// What it can run on.
        pub platforms: Vec<Platform> = "Platforms",
    }

    /// One item of `GET /images/search`.
    pub struct SearchResult {
        /// Stars.
        pub star_count: i64 = "star_count",
        /// Whether it is official.
        pub is_official: bool = "is_official",
        /// Repository.
        pub name: String = "name",
        /// Whether it is built automatically.
        pub is_automated: bool = "is_automated",
        /// What it is.
        pub description: String = "description",
    }
}
