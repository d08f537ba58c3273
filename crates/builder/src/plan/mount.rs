//! `RUN --mount`: which mounts a process gets, decided from the options as they are written.
//!
//! A `cache` is a folder that lasts from build to build under its id; a `tmpfs` is gone with the process. The other types
//! are refused by name.

use crate::dockerfile::instruction::RunMount;

use super::PlanError;

/// A mount that a process sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepMount {
    /// A folder that lasts.
    Cache {
        /// Under which it is found again.
        id: String,
        /// Where, absolute.
        target: String,
        /// Nothing is written to it.
        read_only: bool,
        /// One process at a time.
        locked: bool,
        /// Permission bits of a new one.
        mode: u32,
        /// Owner of a new one.
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

impl StepMount {
    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Cache { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }

    /// What decides the result of a step that has it.
    pub(super) fn fields(&self) -> Vec<String> {
        match self {
            Self::Cache { id, target, .. } => vec!["cache".into(), id.clone(), target.clone()],
            Self::Tmpfs { target, .. } => vec!["tmpfs".into(), target.clone()],
        }
    }
}

/// The mount that was written; `word` puts variables in, `cwd` is what a target without a slash lies in.
pub(super) fn mount(
    written: &RunMount,
    cwd: &str,
    word: &dyn Fn(&str) -> Result<String, PlanError>,
) -> Result<StepMount, PlanError> {
    let kind = written.kind.as_str();
    if !matches!(kind, "cache" | "tmpfs") {
        return Err(PlanError::new(format!("RUN --mount=type={kind} is not supported yet")));
    }
    let refused = |why: String| PlanError::new(format!("RUN --mount=type={kind}: {why}"));
    let number = |name: &str, text: &str, radix| {
        u32::from_str_radix(text, radix).map_err(|_| refused(format!("{name} {text:?} is not a number")))
    };
    let (mut target, mut id, mut size) = (String::new(), String::new(), String::new());
    let (mut read_only, mut locked, mut mode, mut owner) = (false, false, 0o755, (0, 0));
    for (name, value) in &written.options {
        let value = word(value.as_deref().unwrap_or_default())?;
        match (kind, name.as_str()) {
            (_, "target" | "dst" | "destination") => target = value,
            ("tmpfs", "size") => size = value,
            ("cache", "id") => id = value,
            ("cache", "ro" | "readonly") => read_only = value != "false",
            ("cache", "rw" | "readwrite") => read_only = value == "false",
            ("cache", "mode") => mode = number("mode", &value, 8)?,
            ("cache", "uid") => owner.0 = number("uid", &value, 10)?,
            ("cache", "gid") => owner.1 = number("gid", &value, 10)?,
            ("cache", "sharing") if matches!(value.as_str(), "shared" | "locked") => locked = value == "locked",
            ("cache", "sharing" | "from" | "source") => {
                return Err(PlanError::new(format!("RUN --mount=type=cache,{name}={value} is not supported yet")));
            }
            (_, other) => return Err(refused(format!("unexpected key {other:?}"))),
        }
    }
    if target.is_empty() {
        return Err(refused("target is missing".into()));
    }
    let target = if target.starts_with('/') { target } else { format!("{}/{target}", cwd.trim_end_matches('/')) };
    let target = teu_api::path::clean(&target);
    if target == "/" {
        return Err(refused("target can't be the root".into()));
    }
    Ok(match kind {
        "tmpfs" => StepMount::Tmpfs { target, size },
        _ => {
            let id = if id.is_empty() { target.clone() } else { id };
            StepMount::Cache { id, target, read_only, locked, mode: mode & 0o7777, owner }
        }
    })
}
