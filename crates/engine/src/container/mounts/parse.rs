//! The forms in which mounts are asked for, read and checked in Docker's words. Pure.

use teu_api::container::{BindOptions, HostConfig, Mount, VolumeDriverConfig, VolumeOptions};

use super::tmpfs;
use crate::error::{Error, Result};

const PROPAGATION: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
const CONSISTENCY: [&str; 3] = ["consistent", "cached", "delegated"];

/// Whether every mount in the long form is sound. What the host has is looked at by `resolve`.
pub(crate) fn check(host: &HostConfig) -> Result<()> {
    host.mounts.iter().try_for_each(check_one)?;
    for (path, options) in &host.tmpfs {
        not_root(path).and_then(|()| absolute(path)).map_err(Error::bad)?;
        tmpfs::options(options)?;
    }
    Ok(())
}

fn check_one(mount: &Mount) -> Result<()> {
    let wrong = |why: String| Error::bad(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    let kind = mount.kind.as_str();
    let extra = [
        ("bind", "BindOptions", mount.bind_options.is_some()),
        ("volume", "VolumeOptions", mount.volume_options.is_some()),
        ("image", "ImageOptions", mount.image_options.is_some()),
        ("tmpfs", "TmpfsOptions", mount.tmpfs_options.is_some()),
    ];
    if let Some((_, field, _)) = extra.iter().find(|(of, _, given)| *given && *of != kind) {
        return Err(wrong(format!("field {field} must not be specified")));
    }
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty".into()));
    }
    not_root(&mount.target).and_then(|()| absolute(&mount.target)).map_err(wrong)?;
    match kind {
        "bind" => check_bind(mount).map_err(wrong),
        "volume" => {
            let subpath = mount.volume_options.as_ref().map(|options| options.subpath.as_str()).unwrap_or_default();
            if !subpath.is_empty() && mount.source.is_empty() {
                return Err(wrong("must not set Subpath when using anonymous volumes".into()));
            }
            local(subpath).map_err(wrong)
        }
        "tmpfs" if !mount.source.is_empty() => Err(wrong("field Source must not be specified".into())),
        "tmpfs" => tmpfs::long(mount).map(drop).map_err(|error| wrong(error.message)),
        "image" if mount.source.is_empty() => Err(wrong("field Source must not be empty".into())),
        "image" => local(&mount.image_options.clone().unwrap_or_default().subpath).map_err(wrong),
        _ => Err(wrong("mount type unknown".into())),
    }
}

fn check_bind(mount: &Mount) -> std::result::Result<(), String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATION.contains(&options.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", options.propagation));
    }
    absolute(&mount.source)?;
    let (alone, forced) = (options.read_only_non_recursive, options.read_only_force_recursive);
    match () {
        () if !mount.read_only && alone => {
            Err("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive".into())
        }
        () if !mount.read_only && forced => {
            Err("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive".into())
        }
        () if alone && forced => {
            Err("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive".into())
        }
        () => Ok(()),
    }
}

fn not_root(path: &str) -> std::result::Result<(), String> {
    if teu_api::path::clean(path) == "/" {
        Err("invalid specification: destination can't be '/'".into())
    } else {
        Ok(())
    }
}

fn absolute(path: &str) -> std::result::Result<(), String> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(format!("invalid mount path: '{path}' mount path must be absolute"))
}

/// A subpath stays inside by its text alone; where links in it lead is looked at when it is mounted.
fn local(subpath: &str) -> std::result::Result<(), String> {
    let mut depth = 0_i32;
    for part in subpath.split('/') {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            break;
        }
    }
    if depth < 0 || subpath.starts_with('/') {
        return Err("subpath must be a relative path within the volume".into());
    }
    Ok(())
}

/// Reads `[SOURCE:]DESTINATION[:OPTIONS]`; the options come back beside the long form, as they were written.
pub(crate) fn short(text: &str, driver: &str) -> Result<(Mount, String)> {
    let invalid = || Error::bad(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, target, mode) = match parts[..] {
        [""] | ["", ..] => return Err(invalid()),
        [target] => ("", target, ""),
        // A destination with options and no source: Docker takes no such thing.
        [_, mode] if valid(mode) => return Err(invalid()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    if !valid(mode) {
        return Err(Error::bad(format!("invalid mode: {mode}")));
    }
    let bind = source.starts_with('/');
    let has = |word: &str| mode.split(',').any(|option| option == word);
    let propagation = PROPAGATION.iter().find(|word| has(word));
    let mut mount = Mount {
        kind: if bind { "bind" } else { "volume" }.into(),
        source: source.into(),
        target: target.into(),
        read_only: has("ro"),
        ..Mount::default()
    };
    if bind || propagation.is_some() {
        let propagation = propagation.map(ToString::to_string).unwrap_or_default();
        mount.bind_options = Some(BindOptions { propagation, create_mountpoint: bind, ..BindOptions::default() });
    }
    if !bind && !driver.is_empty() {
        let config = VolumeDriverConfig { name: driver.into(), ..VolumeDriverConfig::default() };
        mount.volume_options.get_or_insert_default().driver_config = Some(config);
    }
    if has("nocopy") {
        mount.volume_options.get_or_insert_with(VolumeOptions::default).no_copy = true;
    }
    check_one(&mount)
        .map_err(|error| Error { message: format!("{}: {}", invalid().message, error.message), ..error })?;
    Ok((mount, mode.into()))
}

/// Whether options may follow a mount's paths: none twice of one sort.
fn valid(mode: &str) -> bool {
    let sorts: [&[&str]; 5] = [&["rw", "ro"], &["z", "Z"], &PROPAGATION, &["nocopy"], &CONSISTENCY];
    let mut counts = [0; 5];
    mode.is_empty()
        || mode.split(',').all(|option| {
            let sort = sorts.iter().position(|sort| sort.contains(&option));
            sort.is_some_and(|sort| {
                counts[sort] += 1;
                counts[sort] == 1
            })
        })
}

/// Reads `CONTAINER[:OPTIONS]` of `--volumes-from`: whose mounts, and whether they may be written to.
pub(crate) fn volumes_from(text: &str) -> Result<(&str, bool)> {
    let (id, mode) = text.split_once(':').unwrap_or((text, ""));
    if text.is_empty() {
        return Err(Error::bad("volumes-from specification cannot be an empty string"));
    }
    let mut options = mode.split(',');
    if !valid(mode) || options.clone().any(|option| PROPAGATION.contains(&option) || option == "nocopy") {
        return Err(Error::bad(format!("invalid mode: {mode}")));
    }
    Ok((id, !options.any(|option| option == "ro")))
}

#[cfg(test)]
mod tests {
    use teu_api::container::{ImageOptions, TmpfsOptions};

    use super::*;

    fn refused(change: impl FnOnce(&mut Mount)) -> String {
        let mut mount = Mount { kind: "bind".into(), source: "/a".into(), target: "/b".into(), ..Mount::default() };
        change(&mut mount);
        check_one(&mount).map_or_else(|error| error.message, |()| "taken".into())
    }

    #[test]
    fn the_short_form_is_read() {
        let (bind, mode) = short("/a:/b:ro,rshared,z", "").unwrap();
        assert_eq!((bind.kind.as_str(), bind.read_only, mode.as_str()), ("bind", true, "ro,rshared,z"));
        let options = bind.bind_options.unwrap();
        assert!(options.create_mountpoint && options.propagation == "rshared");
        let (volume, _) = short("name:/b:nocopy", "local").unwrap();
        let options = volume.volume_options.unwrap();
        assert!(volume.kind == "volume" && options.no_copy && options.driver_config.unwrap().name == "local");
        let (anonymous, _) = short("/b", "").unwrap();
        assert!(anonymous.kind == "volume" && anonymous.source.is_empty());
    }

    #[test]
    fn mistakes_in_the_short_form_are_refused_in_dockers_words() {
        for (bad, why) in [
            ("", "invalid volume specification: ''"),
            (":/b", "invalid volume specification: ':/b'"),
            ("/a:ro", "invalid volume specification: '/a:ro'"),
            ("/a:/b:ro:rw", "invalid volume specification: '/a:/b:ro:rw'"),
            ("/a:/b:wat", "invalid mode: wat"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("/a:/b:z,Z", "invalid mode: z,Z"),
            ("/a:/b:shared,slave", "invalid mode: shared,slave"),
            ("/a:/", "destination can't be '/'"),
            ("/a:/b/..", "destination can't be '/'"),
            ("/a:b", "invalid mount path: 'b' mount path must be absolute"),
            ("v:/b:shared", "field BindOptions must not be specified"),
            ("/a:/b:nocopy", "field VolumeOptions must not be specified"),
        ] {
            let error = short(bad, "").unwrap_err().message;
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn mistakes_in_the_long_form_are_refused_in_dockers_words() {
        let bind = "invalid mount config for type \"bind\": ";
        assert_eq!(refused(|_| {}), "taken");
        assert_eq!(refused(|m| m.target.clear()), format!("{bind}field Target must not be empty"));
        assert_eq!(refused(|m| m.source.clear()), format!("{bind}field Source must not be empty"));
        assert!(refused(|m| m.source = "a".into()).contains("mount path must be absolute"));
        assert!(refused(|m| m.tmpfs_options = Some(TmpfsOptions::default())).contains("field TmpfsOptions must not"));
        assert!(refused(|m| m.bind_options.get_or_insert_default().propagation = "up".into()).contains("mode: up"));
        assert!(
            refused(|m| m.bind_options.get_or_insert_default().read_only_non_recursive = true).contains("conflict")
        );
        assert!(refused(|m| m.kind = "tmpfs".into()).contains("field Source must not be specified"));
        assert!(refused(|m| m.kind = "npipe".into()).contains("mount type unknown"));
        let subpath = |path: &str| {
            let options = ImageOptions { subpath: path.into() };
            refused(|m| (m.kind, m.image_options) = ("image".into(), Some(options)))
        };
        assert_eq!(subpath("a/../b"), "taken");
        for bad in ["..", "a/../../b", "/a"] {
            assert!(subpath(bad).contains("subpath must be a relative path within the volume"), "{bad}");
        }
    }

    #[test]
    fn other_containers_mounts_are_asked_for() {
        assert_eq!(volumes_from("box").unwrap(), ("box", true));
        assert_eq!(volumes_from("box:ro,z").unwrap(), ("box", false));
        for bad in ["", "box:wat", "box:shared", "box:nocopy"] {
            assert!(volumes_from(bad).is_err(), "{bad}");
        }
    }
}
