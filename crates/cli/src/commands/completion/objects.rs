//! What flags and words stand for, and the names of what the daemon has.

use std::time::Duration;

use serde_json::Value;

use crate::Session;
use crate::endpoint::store::{DEFAULT, Store};
use crate::output::units;

/// How long a shell waits for a daemon.
const PATIENCE: Duration = Duration::from_secs(1);

/// A kind of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Containers,
    Running,
    Images,
    Networks,
    Volumes,
    Contexts,
    Files,
}

/// What a command's word stands for, by the name that usage gives it.
pub(super) fn kind_of_word(name: &str, command: &str) -> Option<Kind> {
    Some(match name {
        "CONTAINER" => match command {
            "attach" | "exec" | "kill" | "pause" | "stop" | "top" => Kind::Running,
            _ => Kind::Containers,
        },
        "IMAGE" | "NAME[:TAG]" | "NAME[:TAG|@DIGEST]" | "SOURCE_IMAGE[:TAG]" | "REPOSITORY[:TAG]"
        | "TARGET_IMAGE[:TAG]" => Kind::Images,
        "NAME|ID" => Kind::Containers,
        "NETWORK" if command != "create" => Kind::Networks,
        "VOLUME" if command != "create" => Kind::Volumes,
        "CONTEXT" if !matches!(command, "create" | "import") => Kind::Contexts,
        "PATH | URL | -" | "file|URL|-" | "FILE|-" | "FOLDER" => Kind::Files,
        name if name.contains("SRC_PATH") || name.contains("DEST_PATH") => Kind::Files,
        _ => return None,
    })
}

/// What a flag's value is the name of.
pub(super) fn kind_of_flag(flag: &str, command: &str) -> Option<Kind> {
    Some(match flag {
        "network" | "net" => Kind::Networks,
        "volumes-from" | "link" => Kind::Containers,
        "context" => Kind::Contexts,
        "from" if command == "create" => Kind::Contexts,
        "input" | "output" | "file" | "env-file" | "label-file" | "cidfile" | "iidfile" | "config" | "volume"
        | "tlscacert" | "tlscert" | "tlskey" | "config-file" | "data-root" | "exec-root" | "root" => Kind::Files,
        _ => return None,
    })
}

/// The values that a flag knows.
pub(super) fn values_of_flag(flag: &str, command: &str) -> &'static [&'static str] {
    match (flag, command) {
        ("restart", _) => &["no", "always", "on-failure", "unless-stopped"],
        ("pull", "run" | "create") => &["always", "missing", "never"],
        ("log-driver", _) => &["json-file", "local", "none", "syslog", "journald", "gelf", "fluentd"],
        ("log-level", _) => &["debug", "info", "warn", "error", "fatal"],
        ("format", _) => &["json", "table"],
        ("platform", _) => &["linux/amd64", "linux/arm64"],
        ("signal" | "stop-signal", _) => {
            &["SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"]
        }
        ("ipc", _) => &["none", "private", "shareable", "host", "container:"],
        ("pid", _) => &["host", "container:"],
        ("uts", _) => &["host"],
        ("userns", _) => &["host", "auto", "keep-id"],
        ("cgroupns", _) => &["host", "private"],
        ("cap-add" | "cap-drop", _) => &[
            "ALL",
            "AUDIT_WRITE",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_ADMIN",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_ADMIN",
            "SYS_CHROOT",
            "SYS_NICE",
            "SYS_PTRACE",
            "SYS_RESOURCE",
            "SYS_TIME",
        ],
        ("security-opt", _) => {
            &["apparmor=", "label=", "no-new-privileges", "seccomp=", "seccomp=unconfined", "systempaths=unconfined"]
        }
        ("filter", "ps" | "ls") => {
            &["ancestor=", "exited=", "health=", "id=", "label=", "name=", "network=", "status=", "volume="]
        }
        ("filter", "images") => &["before=", "dangling=", "label=", "reference=", "since=", "until="],
        ("filter", "events") => &["container=", "event=", "image=", "label=", "network=", "type=", "volume="],
        ("filter", "prune") => &["label=", "label!=", "until="],
        ("filter", "search") => &["is-official=", "stars="],
        _ => &[],
    }
}

/// Names of that kind, each with a word about it; none when the daemon does not answer at once.
pub(super) async fn names(kind: Kind, session: &Session) -> Vec<(String, String)> {
    if kind == Kind::Contexts {
        let all = Store::new(&session.config).list().unwrap_or_default();
        let own = all.into_iter().map(|meta| (meta.name.clone(), meta.description().to_owned()));
        return std::iter::once((DEFAULT.to_owned(), String::new())).chain(own).collect();
    }
    let path = match kind {
        Kind::Containers => "/containers/json?all=1",
        Kind::Running => "/containers/json",
        Kind::Images => "/images/json",
        Kind::Networks => "/networks",
        Kind::Volumes => "/volumes",
        Kind::Contexts | Kind::Files => return Vec::new(),
    };
    let client = session.client();
    let asked = tokio::time::timeout(PATIENCE, client.get(path).read::<Value>()).await;
    let Ok(Ok(answer)) = asked else { return Vec::new() };
    let list = answer.as_array().or_else(|| answer["Volumes"].as_array());
    list.into_iter().flatten().flat_map(|object| named(kind, object)).collect()
}

fn named(kind: Kind, object: &Value) -> Vec<(String, String)> {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    match kind {
        Kind::Containers | Kind::Running => {
            let names = object["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
            names
                .map(|name| (name.trim_start_matches('/').to_owned(), format!("{}, {}", text("Image"), text("Status"))))
                .collect()
        }
        Kind::Images => {
            let tags = object["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let size = units::size(object["Size"].as_i64().unwrap_or(0));
            tags.filter(|tag| *tag != "<none>:<none>").map(|tag| (tag.to_owned(), size.clone())).collect()
        }
        _ => vec![(text("Name"), text("Driver"))],
    }
}
