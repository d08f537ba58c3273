//! `RUN --mount`: which mounts a process gets, decided from the options as they are written.
//!
//! A `bind` is a part of the context, of a stage or of an image; a `cache` is a folder that lasts from build to build under
//! its id; a `tmpfs` is gone with the process; a `secret` is a file or a variable that nothing remembers, `ssh` the
//! socket of the client's agent.

use crate::dockerfile::instruction::RunMount;

use super::PlanError;

/// A mount that a process sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepMount {
    /// A part of another tree.
    Bind {
        /// The stage or image, as written; none is the context.
        from: Option<String>,
        /// The part, relative; empty is all.
        source: String,
        /// Where, absolute.
        target: String,
        /// It may be written to, and what is written goes with the process.
        writable: bool,
    },
    /// A folder that lasts.
    Cache {
        /// Under which it is found again.
        id: String,
        /// Where, absolute.
        target: String,
        /// The stage or image that a new one begins as, as written, and the part of it.
        from: Option<(String, String)>,
        /// Nothing is written to it.
        read_only: bool,
        /// Who may use it at once.
        sharing: Sharing,
        /// Permission bits of a new one.
        mode: u32,
        /// Owner of a new one.
        owner: (u32, u32),
    },
    /// Something that only the process may know.
    Secret {
        /// Under which the client gave it.
        id: String,
        /// The file, absolute.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Without it the step is not done.
        required: bool,
        /// Permission bits of the file.
        mode: u32,
        /// Its owner.
        owner: (u32, u32),
    },
    /// A socket by which the client's ssh agent answers.
    Ssh {
        /// Under which the client has it.
        id: String,
        /// Where, absolute; by default where nothing else is.
        target: Option<String>,
        /// Without it the step is not done.
        required: bool,
        /// Permission bits of the socket.
        mode: u32,
        /// Its owner.
        owner: (u32, u32),
    },
    /// A folder in memory.
    Tmpfs {
        /// Where, absolute.
        target: String,
        /// At most so many bytes; empty is no limit.
        size: String,
    },
}

/// Who may use a cache at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One after the other.
    Locked,
    /// Each has its own: a second one gets another.
    Private,
}

impl StepMount {
    /// Where it is, if it is anywhere.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Bind { target, .. } | Self::Cache { target, .. } | Self::Tmpfs { target, .. } => Some(target),
            Self::Secret { target, .. } | Self::Ssh { target, .. } => target.as_deref(),
        }
    }

    /// What decides the result of a step that has it, besides what is in another tree.
    pub(super) fn fields(&self) -> Vec<String> {
        match self {
            Self::Bind { source, target, writable, .. } => {
                let kind = if *writable { "writable bind" } else { "bind" };
                vec![kind.into(), source.clone(), target.clone()]
            }
            Self::Cache { id, target, .. } => vec!["cache".into(), id.clone(), target.clone()],
            Self::Tmpfs { target, .. } => vec!["tmpfs".into(), target.clone()],
            // What it is does not count: a secret that changes is no reason to do a step again.
            Self::Secret { id, target, env, .. } => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                vec!["secret".into(), id.clone(), text(target), text(env)]
            }
            Self::Ssh { id, target, .. } => vec!["ssh".into(), id.clone(), target.clone().unwrap_or_default()],
        }
    }
}

/// The stage or image that a mount is from, as written.
pub(super) fn from(written: &RunMount) -> Option<&str> {
    let mut options = written.options.iter();
    options.find(|(name, _)| name == "from").and_then(|(_, value)| value.as_deref())
}

/// The options of a mount, as they are read.
#[derive(Default)]
struct Options {
    target: String,
    source: String,
    id: String,
    size: String,
    read_only: bool,
    sharing: Sharing,
    env: Option<String>,
    required: bool,
    mode: Option<u32>,
    owner: (u32, u32),
}

/// The mount that was written; `word` puts variables in, `cwd` is what a target without a slash lies in.
pub(super) fn mount(
    written: &RunMount,
    cwd: &str,
    word: &dyn Fn(&str) -> Result<String, PlanError>,
) -> Result<StepMount, PlanError> {
    let kind = written.kind.as_str();
    let refused = |why: String| PlanError::new(format!("RUN --mount=type={kind}: {why}"));
    let mut options = Options { read_only: kind == "bind", ..Options::default() };
    for (name, value) in &written.options {
        let value = word(value.as_deref().unwrap_or_default())?;
        option(&mut options, kind, name, value).map_err(refused)?;
    }
    if kind == "secret" {
        return secret(options, cwd).map_err(refused);
    }
    if kind == "ssh" {
        return ssh(options, cwd).map_err(refused);
    }
    let Options { target, source, id, size, read_only, sharing, mode, owner, .. } = options;
    if target.is_empty() {
        return Err(refused("target is missing".into()));
    }
    let target = absolute(&target, cwd).map_err(refused)?;
    let source = teu_api::path::clean(&format!("/{source}")).trim_start_matches('/').to_owned();
    let from = from(written).map(str::to_owned);
    Ok(match kind {
        "bind" => StepMount::Bind { from, source, target, writable: !read_only },
        "tmpfs" => StepMount::Tmpfs { target, size },
        _ => {
            let id = if id.is_empty() { target.clone() } else { id };
            let mode = mode.unwrap_or(0o755) & 0o7777;
            let from = from.map(|from| (from, source));
            StepMount::Cache { id, target, from, read_only, sharing, mode, owner }
        }
    })
}

/// A target, which lies in `cwd` when it has no slash before it.
fn absolute(target: &str, cwd: &str) -> Result<String, String> {
    let target =
        if target.starts_with('/') { target.to_owned() } else { format!("{}/{target}", cwd.trim_end_matches('/')) };
    let target = teu_api::path::clean(&target);
    if target == "/" { Err("target can't be the root".into()) } else { Ok(target) }
}

/// A secret: its id is the last part of its target unless it says one, its target is below /run/secrets unless it is a
/// variable or says one.
fn secret(options: Options, cwd: &str) -> Result<StepMount, String> {
    let Options { target, id, env, required, mode, owner, .. } = options;
    let named = target.rsplit('/').next().unwrap_or_default();
    let id = if id.is_empty() { named.to_owned() } else { id };
    if id.is_empty() {
        return Err("id or target is missing".into());
    }
    let target = match (target.is_empty(), &env) {
        (true, Some(_)) => None,
        (true, None) => Some(absolute(&id, "/run/secrets")?),
        (false, _) => Some(absolute(&target, cwd)?),
    };
    Ok(StepMount::Secret { id, target, env, required, mode: mode.unwrap_or(0o400) & 0o7777, owner })
}

/// An agent's socket: the id is `default` unless it says one.
fn ssh(options: Options, cwd: &str) -> Result<StepMount, String> {
    let Options { target, id, required, mode, owner, .. } = options;
    let id = if id.is_empty() { "default".to_owned() } else { id };
    let target = if target.is_empty() { None } else { Some(absolute(&target, cwd)?) };
    Ok(StepMount::Ssh { id, target, required, mode: mode.unwrap_or(0o600) & 0o7777, owner })
}

/// Reads one option.
fn option(options: &mut Options, kind: &str, name: &str, value: String) -> Result<(), String> {
    let number =
        |text: &str, radix| u32::from_str_radix(text, radix).map_err(|_| format!("{name} {text:?} is not a number"));
    match (kind, name) {
        (_, "target" | "dst" | "destination") => options.target = value,
        ("bind" | "cache", "source" | "src") => options.source = value,
        // It was read when the stages were planned.
        ("bind" | "cache", "from") => {}
        ("bind" | "cache", "ro" | "readonly") => options.read_only = value != "false",
        ("bind" | "cache", "rw" | "readwrite") => options.read_only = value == "false",
        ("tmpfs", "size") => options.size = value,
        ("cache" | "secret" | "ssh", "id") => options.id = value,
        ("cache" | "secret" | "ssh", "mode") => options.mode = Some(number(&value, 8)?),
        ("cache" | "secret" | "ssh", "uid") => options.owner.0 = number(&value, 10)?,
        ("cache" | "secret" | "ssh", "gid") => options.owner.1 = number(&value, 10)?,
        ("secret", "env") if !value.is_empty() => options.env = Some(value),
        ("secret" | "ssh", "required") => options.required = value != "false",
        ("cache", "sharing") => {
            options.sharing = match value.as_str() {
                "shared" => Sharing::Shared,
                "locked" => Sharing::Locked,
                "private" => Sharing::Private,
                other => return Err(format!("unsupported sharing value {other:?}")),
            }
        }
        (_, other) => return Err(format!("unexpected key {other:?}")),
    }
    Ok(())
}
