//! What teu does not have, and says so: Swarm, managed plugins, BuildKit sessions.

use serde_json::Value;

use super::operation::{Operation, delete, empty, get, gives, post};

/// Docker's answer outside of a swarm.
const NO_SWARM: &[super::operation::Answer] = &[empty(503, "This node is in no swarm.")];
const NO_PLUGINS: &[super::operation::Answer] = &[empty(501, "Managed plugins are not supported.")];

macro_rules! absent {
    ($answers:expr; $($verb:ident $id:literal $path:literal),* $(,)?) => {
        &[$($verb($id, $path, "Not there: the answer says so.").answers($answers)),*]
    };
}

pub(super) const SWARM: &[Operation] = absent![NO_SWARM;
    get "SwarmInspect" "/swarm",
    post "SwarmInit" "/swarm/init",
    post "SwarmJoin" "/swarm/join",
    post "SwarmLeave" "/swarm/leave",
    post "SwarmUpdate" "/swarm/update",
    get "SwarmUnlockkey" "/swarm/unlockkey",
    post "SwarmUnlock" "/swarm/unlock",
    get "NodeList" "/nodes",
    get "NodeInspect" "/nodes/{id}",
    delete "NodeDelete" "/nodes/{id}",
    post "NodeUpdate" "/nodes/{id}/update",
    get "ServiceList" "/services",
    post "ServiceCreate" "/services/create",
    get "ServiceInspect" "/services/{id}",
    delete "ServiceDelete" "/services/{id}",
    post "ServiceUpdate" "/services/{id}/update",
    get "ServiceLogs" "/services/{id}/logs",
    get "TaskList" "/tasks",
    get "TaskInspect" "/tasks/{id}",
    get "TaskLogs" "/tasks/{id}/logs",
    get "SecretList" "/secrets",
    post "SecretCreate" "/secrets/create",
    get "SecretInspect" "/secrets/{id}",
    delete "SecretDelete" "/secrets/{id}",
    post "SecretUpdate" "/secrets/{id}/update",
    get "ConfigList" "/configs",
    post "ConfigCreate" "/configs/create",
    get "ConfigInspect" "/configs/{id}",
    delete "ConfigDelete" "/configs/{id}",
    post "ConfigUpdate" "/configs/{id}/update",
];

pub(super) const PLUGINS: &[Operation] = absent![NO_PLUGINS;
    get "GetPluginPrivileges" "/plugins/privileges",
    post "PluginPull" "/plugins/pull",
    post "PluginCreate" "/plugins/create",
    get "PluginInspect" "/plugins/{name}/json",
    delete "PluginDelete" "/plugins/{name}",
    post "PluginEnable" "/plugins/{name}/enable",
    post "PluginDisable" "/plugins/{name}/disable",
    post "PluginUpgrade" "/plugins/{name}/upgrade",
    post "PluginPush" "/plugins/{name}/push",
    post "PluginSet" "/plugins/{name}/set",
];

pub(super) const OTHERS: &[Operation] = &[
    get("PluginList", "/plugins", "Lists managed plugins: there are none.")
        .answers(&[gives::<Vec<Value>>(200, "An empty list.")]),
    post(
        "Session",
        "/session",
        "A connection over which a builder's client is asked for files, credentials and secrets.",
    )
    .answers(&[empty(101, "The connection is HTTP/2 from now on, and the client serves.")]),
    post("Grpc", "/grpc", "A connection for calls of BuildKit's protocol.")
        .answers(&[empty(101, "The connection is HTTP/2 from now on, and the daemon serves.")]),
];
