//! `--volume`: `[name|host path:]container path[:options]`, and `--tmpfs`: `path[:options]`.

use std::path::Path;

/// What one `--volume` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A volume without a name, at that path.
    Anonymous(String),
    /// A host path or named volume, in the form of `HostConfig.Binds`.
    Bind(String),
}

/// Options that may follow the container's path.
const OPTIONS: &[&str] = &[
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "delegated",
    "cached",
    "consistent",
];

/// Reads one `--volume`; a host path that begins with a dot is taken from `folder`.
pub(crate) fn volume(text: &str, folder: &Path) -> Result<Volume, String> {
    let wrong = |why: &str| format!("invalid volume specification '{text}': {why}");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, None),
        [source, target] => (Some(source), target, None),
        [source, target, options] => (Some(source), target, Some(options)),
        _ => return Err(wrong("it has too many colons")),
    };
    if !target.starts_with('/') {
        return Err(wrong(&format!("the path in the container must be absolute, '{target}' is not")));
    }
    if teu_api::path::clean(target) == "/" {
        return Err(wrong("the destination can't be '/'"));
    }
    for option in options.iter().flat_map(|options| options.split(',')) {
        if !OPTIONS.contains(&option) {
            return Err(wrong(&format!("unknown option '{option}'")));
        }
    }
    let Some(source) = source else { return Ok(Volume::Anonymous(target.to_owned())) };
    if source.is_empty() {
        return Err(wrong("the part before the colon is empty"));
    }
    let source = match source.starts_with('.') {
        true => teu_api::path::clean(&folder.join(source).display().to_string()),
        false => source.to_owned(),
    };
    let options = options.map(|options| format!(":{options}")).unwrap_or_default();
    Ok(Volume::Bind(format!("{source}:{target}{options}")))
}

/// Reads one `--tmpfs`: its path and options.
pub(crate) fn tmpfs(text: &str) -> Result<(String, String), String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    if path.starts_with('/') {
        Ok((path.to_owned(), options.to_owned()))
    } else {
        Err(format!("invalid tmpfs '{text}': the path must be absolute"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read() {
        let bind = |text: &str| Volume::Bind(text.to_owned());
        for (text, wanted) in [
            ("/data", Volume::Anonymous("/data".into())),
            ("cache:/data", bind("cache:/data")),
            ("/srv:/data:ro,z", bind("/srv:/data:ro,z")),
            (".:/data", bind("/home/u:/data")),
            ("./a/../b:/data:rw", bind("/home/u/b:/data:rw")),
            ("../x:/data", bind("/home/x:/data")),
        ] {
            assert_eq!(volume(text, Path::new("/home/u")), Ok(wanted), "{text}");
        }
        for bad in ["", "data", "a:b", "/a:/", "/a:/b:wat", "/a:/b:ro:c", ":/b", "/.."] {
            assert!(volume(bad, Path::new("/")).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_are_read() {
        assert_eq!(tmpfs("/run:size=64m,mode=700").unwrap(), ("/run".into(), "size=64m,mode=700".into()));
        assert_eq!(tmpfs("/run").unwrap(), ("/run".into(), String::new()));
        assert!(tmpfs("run").is_err());
    }
}
