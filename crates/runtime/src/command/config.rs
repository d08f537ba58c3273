//! A bundle's `config.json`: found, read, checked for what the command line would have to say of it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use teu_oci::runtime::{Process, Spec};

use super::{Context, Failure};

/// A bundle, read.
pub(super) struct Bundle {
    pub(super) directory: PathBuf,
    pub(super) spec: Spec,
    /// The file as it was.
    pub(super) text: Vec<u8>,
    pub(super) rootfs: PathBuf,
}

impl Bundle {
    /// Reads the bundle in `directory`, or the current one.
    pub(super) fn open(context: &Context, directory: Option<&str>) -> Result<Bundle, Failure> {
        let named = Path::new(directory.filter(|name| !name.is_empty()).unwrap_or("."));
        let fail = |error: std::io::Error| Failure::new(format!("chdir {}: {error}", named.display()));
        // Without links, as a current directory is told.
        let directory = std::fs::canonicalize(named).map_err(fail)?;
        let text = match std::fs::read(directory.join("config.json")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::new("JSON specification file config.json not found"));
            }
            other => other.map_err(|error| Failure::new(format!("read config.json: {error}")))?,
        };
        let mut spec = parse(&text)?;
        check_process(spec.process.as_ref())?;
        let root = spec.root.as_ref().ok_or_else(|| Failure::new("root must be specified"))?;
        let rootfs = directory.join(&root.path);
        if !rootfs.is_dir() {
            return Err(Failure::new(format!("rootfs ({}) does not exist", rootfs.display())));
        }
        find_sources(&mut spec, &directory);
        for mount in &spec.mounts {
            if !mount.destination.starts_with('/') {
                let destination = &mount.destination;
                context.log.warn(&format!("mount destination {destination} is not absolute"));
            }
        }
        Ok(Bundle { directory, spec, text, rootfs })
    }
}

/// Makes the sources of binds absolute: they are paths from the bundle.
pub(super) fn find_sources(spec: &mut Spec, bundle: &Path) {
    for mount in &mut spec.mounts {
        let bind = mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind");
        if let Some(source) = mount.source.as_mut().filter(|source| bind && !source.is_absolute()) {
            *source = bundle.join(&source);
        }
    }
}

/// Reads a configuration. What is `null` counts as absent.
pub(super) fn parse(text: &[u8]) -> Result<Spec, Failure> {
    let fail = |error: serde_json::Error| Failure::new(format!("understand config.json: {error}"));
    match serde_json::from_slice(text) {
        Ok(spec) => Ok(spec),
        Err(first) => {
            let mut value: Value = serde_json::from_slice(text).map_err(fail)?;
            strip(&mut value);
            serde_json::from_value(value).map_err(|_| fail(first))
        }
    }
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip);
        }
        Value::Array(members) => members.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Refuses a process that cannot be one.
pub(super) fn check_process(process: Option<&Process>) -> Result<(), Failure> {
    let process = process.ok_or_else(|| Failure::new("process property must not be empty"))?;
    if process.cwd.is_empty() {
        return Err(Failure::new("Cwd property must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Failure::new("Cwd must be an absolute path"));
    }
    if process.args.is_empty() {
        return Err(Failure::new("args must not be empty"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent() {
        let spec =
            parse(br#"{"ociVersion":"1.0.2","process":{"args":["a"],"cwd":"/","env":null,"user":{"uid":1,"gid":2}}}"#);
        let process = spec.expect("a spec").process.expect("a process");
        assert_eq!((process.user.uid, process.env.len()), (1, 0));
        assert!(parse(b"{").is_err());
    }
}
