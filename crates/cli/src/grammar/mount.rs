//! `--mount`: `type=bind,source=/a,target=/b,readonly,…`.

use std::collections::BTreeMap;

use teu_api::container::{BindOptions, ImageOptions, Mount, TmpfsOptions, VolumeDriverConfig, VolumeOptions};

use super::{boolean, fields, size};

/// Reads one `--mount`.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value)),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        match value {
            Some(value) => set(&mut mount, &key, value)?,
            None => switch(&mut mount, &key, &field)?,
        }
    }
    check(&mount)?;
    Ok(mount)
}

/// A key without a value is on.
fn switch(mount: &mut Mount, key: &str, field: &str) -> Result<(), String> {
    match key {
        "readonly" | "ro" | "volume-nocopy" | "bind-create-src" | "bind-nonrecursive" => set(mount, key, "true"),
        _ => Err(format!("invalid field '{field}' must be a key=value pair")),
    }
}

fn set(mount: &mut Mount, key: &str, value: &str) -> Result<(), String> {
    let flag = || boolean(value).ok_or_else(|| format!("invalid value for {key}: {value}"));
    match key {
        "type" => mount.kind = value.to_ascii_lowercase(),
        "source" | "src" => value.clone_into(&mut mount.source),
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => mount.read_only = flag()?,
        "consistency" => mount.consistency = value.to_ascii_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_ascii_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = flag()?,
        "bind-create-src" => bind(mount).create_mountpoint = flag()?,
        "bind-recursive" => recursive(bind(mount), value)?,
        "volume-nocopy" => volume(mount).no_copy = flag()?,
        "volume-subpath" => value.clone_into(&mut volume(mount).subpath),
        "volume-label" => insert(&mut volume(mount).labels, value),
        "volume-driver" => value.clone_into(&mut driver(mount).name),
        "volume-opt" => insert(&mut driver(mount).options, value),
        "image-subpath" => {
            value.clone_into(&mut mount.image_options.get_or_insert_default().subpath);
        }
        "tmpfs-size" => {
            tmpfs(mount).size_bytes = size::bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
            tmpfs(mount).mode = mode;
        }
        _ => return Err(format!("unexpected key '{key}' in '{key}={value}'")),
    }
    Ok(())
}

/// What only shows when all fields are known.
fn check(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image") {
        return Err(format!("mount type \"{kind}\" is unknown: write bind, volume, tmpfs or image"));
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let misplaced = [
        ("bind", mount.bind_options.is_some()),
        ("volume", mount.volume_options.is_some()),
        ("image", mount.image_options.as_ref().is_some_and(|options| *options != ImageOptions::default())),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ];
    if let Some((other, _)) = misplaced.into_iter().find(|(other, set)| *set && *other != kind) {
        return Err(format!("cannot mix '{other}-*' options with mount type '{kind}'"));
    }
    if matches!(kind, "bind" | "image") && mount.source.is_empty() {
        return Err("source is required".into());
    }
    if kind == "tmpfs" && !mount.source.is_empty() {
        return Err("a tmpfs mount takes no source".into());
    }
    Ok(())
}

fn recursive(options: &mut BindOptions, value: &str) -> Result<(), String> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \
                 \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut VolumeDriverConfig {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn insert(map: &mut BTreeMap<String, String>, pair: &str) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(key.to_owned(), value.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let bind = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rshared,bind-recursive=readonly").unwrap();
        assert_eq!((bind.source.as_str(), bind.target.as_str(), bind.read_only), ("/a", "/b", true));
        let options = bind.bind_options.unwrap();
        assert!(options.read_only_force_recursive && options.propagation == "rshared");

        let volume =
            mount(r#"target=/d,source=v,volume-nocopy,volume-label=a=b,"volume-opt=o=x,y",volume-driver=local"#);
        let volume = volume.unwrap();
        assert_eq!(volume.kind, "volume");
        let options = volume.volume_options.unwrap();
        assert!(options.no_copy && options.labels["a"] == "b");
        assert_eq!(options.driver_config.unwrap().options["o"], "x,y");

        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap().tmpfs_options.unwrap();
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (64 << 20, 0o1770));
        assert_eq!(
            mount("type=image,source=busybox,target=/i,image-subpath=bin").unwrap().image_options.unwrap().subpath,
            "bin"
        );
    }

    #[test]
    fn mistakes_in_mounts_are_refused() {
        for (bad, why) in [
            ("type=bind,src=/a", "target is required"),
            ("type=bind,dst=/a", "source is required"),
            ("type=nfs,dst=/a", "is unknown"),
            ("dst=/a,wat=1", "unexpected key 'wat'"),
            ("dst=/a,wat", "must be a key=value pair"),
            ("dst=/a,ro=maybe", "invalid value for ro"),
            ("type=tmpfs,dst=/a,volume-nocopy", "cannot mix 'volume-*'"),
            ("type=tmpfs,src=/b,dst=/a", "takes no source"),
            ("type=bind,src=/a,dst=/b,bind-recursive=x", "invalid value for bind-recursive"),
            ("type=tmpfs,dst=/a,tmpfs-mode=9", "invalid value for tmpfs-mode"),
        ] {
            assert!(mount(bad).unwrap_err().contains(why), "{bad}: {:?}", mount(bad));
        }
    }
}
