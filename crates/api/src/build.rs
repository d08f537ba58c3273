//! Builds: the parameters of `POST /build`, and the build cache.

use std::collections::BTreeMap;

/// Header with base64url JSON of a map from ids to secrets, each in base64: what `RUN --mount=type=secret` shows. teu's own.
pub const BUILD_SECRETS: &str = "X-Teu-Build-Secrets";

wire! {
    /// Parameters of `POST /build`; the server reads them from the query, the command line writes them there.
    pub struct BuildQuery {
        /// Path of the Dockerfile in the context; empty is `Dockerfile`.
        pub dockerfile: String = "dockerfile",
        /// Names for the image.
        pub tags: Vec<String> = "t",
        /// Context to fetch instead of the body.
        pub remote: String = "remote",
        /// Say nothing but the image's id.
        pub quiet: bool = "q",
        /// Use no cache.
        pub no_cache: bool = "nocache",
        /// Pull base images although they are here.
        pub pull: bool = "pull",
        /// Build arguments; `None` takes the engine's own value of a predefined one.
        pub build_args: BTreeMap<String, Option<String>> = "buildargs",
        /// Labels for the image.
        pub labels: BTreeMap<String, String> = "labels",
        /// Stage to stop at.
        pub target: String = "target",
        /// Network of `RUN`: `default`, `none`, `host` or a network's name.
        pub network_mode: String = "networkmode",
        /// `os/architecture[/variant]`.
        pub platform: String = "platform",
        /// Lines for /etc/hosts of `RUN`, `host:ip`.
        pub extra_hosts: Vec<String> = "extrahosts",
        /// Images to take cache from.
        pub cache_from: Vec<String> = "cachefrom",
        /// Memory limit of `RUN` in bytes.
        pub memory: i64 = "memory",
        /// Limit of memory and swap together.
        pub memory_swap: i64 = "memswap",
        /// Relative CPU weight.
        pub cpu_shares: i64 = "cpushares",
        /// Length of a CFS period in microseconds.
        pub cpu_period: i64 = "cpuperiod",
        /// CPU time per period in microseconds.
        pub cpu_quota: i64 = "cpuquota",
        /// CPUs to run on.
        pub cpuset_cpus: String = "cpusetcpus",
        /// Memory nodes to use.
        pub cpuset_mems: String = "cpusetmems",
        /// Size of /dev/shm in bytes.
        pub shm_size: i64 = "shmsize",
        /// Parent of the build's cgroups.
        pub cgroup_parent: String = "cgroupparent",
        /// Resource limits of `RUN`.
        pub ulimits: Vec<crate::container::Ulimit> = "ulimits",
        /// Squash all layers into one.
        pub squash: bool = "squash",
        /// Where the result goes (BuildKit).
        pub outputs: String = "outputs",
        /// Builder: `1` classic, `2` BuildKit.
        pub version: String = "version",
        /// Name of this build, for `POST /build/cancel`.
        pub build_id: String = "buildid",
    }

    /// The `aux` of the message that tells the image's id.
    pub struct BuildResult {
        /// Id of the image.
        pub id: String = "ID",
    }

    /// Where the result of a build goes, as `outputs` lists it.
    pub struct BuildOutput {
        /// `tar`: the files of the last stage. `docker`, `oci`: an image, as `save` writes it.
        pub kind: String = "Type",
        /// Of no use here.
        pub attrs: BTreeMap<String, String> = "Attrs",
    }

    /// A piece of the result of a build, in the progress stream.
    pub struct BuildPiece {
        /// The next bytes of an archive, in base64.
        pub output: String = "Output",
    }

    /// One record of the build cache.
    pub struct BuildCache {
        /// Id.
        pub id: String = "ID",
        /// Records it rests on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub parents: Vec<String> = "Parents",
        /// `regular`, `source.local`, `exec.cachemount`, ….
        pub kind: String = "Type",
        /// Step that made it.
        pub description: String = "Description",
        /// Whether something uses it now.
        pub in_use: bool = "InUse",
        /// Whether an image shares it.
        pub shared: bool = "Shared",
        /// Bytes.
        pub size: i64 = "Size",
        /// Creation, RFC 3339.
        pub created_at: String = "CreatedAt",
        /// Last use, RFC 3339.
        pub last_used_at: Option<String> = "LastUsedAt",
        /// Uses.
        pub usage_count: i64 = "UsageCount",
    }

    /// Answer to `POST /build/prune`.
    pub struct PruneReport {
        /// Records removed.
        pub caches_deleted: Vec<String> = "CachesDeleted",
        /// Bytes freed.
        pub space_reclaimed: u64 = "SpaceReclaimed",
    }
}
