//! Volumes as users make and see them.

use std::collections::BTreeMap;

wire! {
    /// A volume: a row of `GET /volumes` and the answer to `GET /volumes/{name}`.
    pub struct Volume {
        /// Creation, RFC 3339.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub created_at: String = "CreatedAt",
        /// Driver.
        pub driver: String = "Driver",
        /// Labels.
        pub labels: Option<BTreeMap<String, String>> = "Labels",
        /// Path on the host.
        pub mountpoint: String = "Mountpoint",
        /// Name.
        pub name: String = "Name",
        /// Driver's options.
        pub options: Option<BTreeMap<String, String>> = "Options",
        /// `local`.
        pub scope: String = "Scope",
        /// Driver's own facts.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<BTreeMap<String, serde_json::Value>> = "Status",
        /// Size and users; only in a disk usage report.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<UsageData> = "UsageData",
    }

    /// Size and users of a volume.
    pub struct UsageData {
        /// Bytes; -1 when unknown.
        pub size: i64 = "Size",
        /// Containers that use it; -1 when unknown.
        pub ref_count: i64 = "RefCount",
    }

    /// Body of `POST /volumes/create`.
    pub struct CreateRequest {
        /// Name; empty is a random one.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String = "Name",
        /// Driver; empty is `local`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub driver: String = "Driver",
        /// Driver's options.
        pub driver_opts: Option<BTreeMap<String, String>> = "DriverOpts",
        /// Labels.
        pub labels: Option<BTreeMap<String, String>> = "Labels",
        /// What a Swarm is asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster_volume_spec: Option<serde_json::Value> = "ClusterVolumeSpec",
    }

    /// Answer to `GET /volumes`.
    pub struct ListResponse {
        /// The volumes.
        pub volumes: Vec<Volume> = "Volumes",
        /// What went wrong with some drivers.
        pub warnings: Option<Vec<String>> = "Warnings",
    }

    /// Answer to `POST /volumes/prune`.
    pub struct PruneReport {
        /// Names removed.
        pub volumes_deleted: Vec<String> = "VolumesDeleted",
        /// Bytes freed.
        pub space_reclaimed: u64 = "SpaceReclaimed",
    }
}
