//! Events: what happened to which object.

use std::collections::BTreeMap;

wire! {
    /// One line of `GET /events`.
    pub struct Message {
        /// Legacy: the action (containers and images only).
        #[serde(skip_serializing_if = "String::is_empty")]
        pub status: String = "status",
        /// Legacy: the object (containers and images only).
        #[serde(skip_serializing_if = "String::is_empty")]
        pub id: String = "id",
        /// Legacy: the container's image.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub from: String = "from",
        /// `container`, `image`, `network`, `volume`, `daemon`, `builder`.
        pub kind: String = "Type",
        /// `create`, `start`, `die`, ….
        pub action: String = "Action",
        /// The object.
        pub actor: Actor = "Actor",
        /// `local`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub scope: String = "scope",
        /// When, in seconds since 1970.
        pub time: i64 = "time",
        /// When, in nanoseconds since 1970.
        pub time_nano: i64 = "timeNano",
    }

    /// The object an event happened to.
    pub struct Actor {
        /// Its id.
        pub id: String = "ID",
        /// Its name, image, labels, exit code, ….
        pub attributes: BTreeMap<String, String> = "Attributes",
    }
}
