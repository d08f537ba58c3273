//! `RUN --mount`: which mounts a process gets, decided from the options as they are written.
//!
//! A `bind` is a part of the context, of a stage or of an image; a `cache` is a folder that lasts from build to build under
//! its id; a `tmpfs` is gone with the process. The other types are refused by name.

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
    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Cache { target, .. } | Self::Tmpfs { target, .. } => target,
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
    if !matches!(kind, "bind" | "cache" | "tmpfs") {
        return Err(PlanError::new(format!("RUN --mount=type={kind} is not supported yet")));
    }
    let refused = |why: String| PlanError::new(format!("RUN --mount=type={kind}: {why}"));
    let mut options = Options { read_only: kind == "bind", ..Options::default() };
    for (name, value) in &written.options {
        let value = word(value.as_deref().unwrap_or_default())?;
        option(&mut options, kind, name, value).map_err(refused)?;
    }
    let Options { target, source, id, size, read_only, sharing, mode, owner } = options;
    if target.is_empty() {
        return Err(refused("target is missing".into()));
    }
    let target = if target.starts_with('/') { target } else { format!("{}/{target}", cwd.trim_end_matches('/')) };
    let target = teu_api::path::clean(&target);
    if target == "/" {
        return Err(refused("target can't be the root".into()));
    }
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
        ("cache", "id") => options.id = value,
        ("cache", "mode") => options.mode = Some(number(&value, 8)?),
        ("cache", "uid") => options.owner.0 = number(&value, 10)?,
        ("cache", "gid") => options.owner.1 = number(&value, 10)?,
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
