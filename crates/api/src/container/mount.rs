//! Mounts: asked for in the long form, and as a running container has them.

use std::collections::BTreeMap;

wire! {
    /// A mount in the long form (`--mount`).
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`.
        pub kind: String = "Type",
        /// Host path, volume name or image reference; empty makes an anonymous volume.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub source: String = "Source",
        /// Path inside the container.
        pub target: String = "Target",
        /// Mount read-only.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only: bool = "ReadOnly",
        /// Accepted for other platforms' sake; no effect on Linux.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub consistency: String = "Consistency",
        /// For `bind`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions> = "BindOptions",
        /// For `volume`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions> = "VolumeOptions",
        /// For `image`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<ImageOptions> = "ImageOptions",
        /// For `tmpfs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions> = "TmpfsOptions",
    }

    /// Options of a bind mount.
    pub struct BindOptions {
        /// `private`, `rprivate`, `shared`, `rshared`, `slave`, `rslave`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub propagation: String = "Propagation",
        /// Leave out mounts below the source.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub non_recursive: bool = "NonRecursive",
        /// Make the source directory when it is missing.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub create_mountpoint: bool = "CreateMountpoint",
        /// Only the top mount becomes read-only.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only_non_recursive: bool = "ReadOnlyNonRecursive",
        /// An error when mounts below cannot become read-only.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only_force_recursive: bool = "ReadOnlyForceRecursive",
    }

    /// Options of a volume mount.
    pub struct VolumeOptions {
        /// Do not fill a new volume with what the image has there.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub no_copy: bool = "NoCopy",
        /// Labels of a volume made for this mount.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub labels: BTreeMap<String, String> = "Labels",
        /// Path inside the volume to mount.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String = "Subpath",
        /// Driver of a volume made for this mount.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<VolumeDriverConfig> = "DriverConfig",
    }

    /// A volume driver and its options.
    pub struct VolumeDriverConfig {
        /// Driver's name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String = "Name",
        /// Driver's options.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub options: BTreeMap<String, String> = "Options",
    }

    /// Options of an image mount.
    pub struct ImageOptions {
        /// Path inside the image to mount.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String = "Subpath",
    }

    /// Options of a memory file system.
    pub struct TmpfsOptions {
        /// Size in bytes; 0 is the kernel's default.
        #[serde(skip_serializing_if = "is_zero")]
        pub size_bytes: i64 = "SizeBytes",
        /// Mode of its root directory; 0 is 1777.
        #[serde(skip_serializing_if = "is_no_mode")]
        pub mode: u32 = "Mode",
        /// Further mount options: `["noexec"]`, `["key", "value"]`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub options: Vec<Vec<String>> = "Options",
    }

    /// A mount as a container has it.
    pub struct MountPoint {
        /// `bind`, `volume`, `tmpfs`, `image`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub kind: String = "Type",
        /// Volume's name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String = "Name",
        /// Path on the host.
        pub source: String = "Source",
        /// Path inside.
        pub destination: String = "Destination",
        /// Volume's driver.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub driver: String = "Driver",
        /// Options as the user wrote them.
        pub mode: String = "Mode",
        /// Whether it can be written to.
        pub rw: bool = "RW",
        /// Propagation of mounts.
        pub propagation: String = "Propagation",
    }
}

impl MountPoint {
    /// Whether it shows the volume of that name.
    #[must_use]
    pub fn is_volume(&self, name: &str) -> bool {
        self.kind == "volume" && self.name == name
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_no_mode(value: &u32) -> bool {
    *value == 0
}
