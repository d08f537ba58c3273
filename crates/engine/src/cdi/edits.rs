//! What a device does to a container's runtime spec.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use teu_oci::runtime::{self, DeviceRule, Hooks, Linux, Process, Resources, Spec};

use super::file::{Edits, Hook, Mount, Node};

/// Applies the edits of all devices of a request, in their order.
pub(super) fn apply(spec: &mut Spec, edits: &[&Edits]) -> Result<(), String> {
    for one in edits {
        if one.intel_rdt.is_some() {
            return Err("intelRdt is not supported by this version of teu".into());
        }
        let process = spec.process.get_or_insert_with(Process::default);
        one.env.iter().for_each(|entry| set_variable(&mut process.env, entry));
        for group in &one.additional_gids {
            let group = group.get()?;
            if group != 0 && !process.user.additional_gids.contains(&group) {
                process.user.additional_gids.push(group);
            }
        }
        let (uid, gid) = (process.user.uid, process.user.gid);
        let linux = spec.linux.get_or_insert_with(Linux::default);
        one.device_nodes.iter().try_for_each(|asked| add_node(linux, asked, uid, gid))?;
        for device in &one.net_devices {
            let inside = runtime::NetDevice { name: device.name.clone() };
            linux.net_devices.insert(device.host_interface_name.clone(), inside);
        }
        one.mounts.iter().for_each(|asked| add_mount(&mut spec.mounts, asked));
        one.hooks.iter().try_for_each(|asked| add_hook(spec.hooks.get_or_insert_with(Hooks::default), asked))?;
    }
    if edits.iter().any(|one| !one.mounts.is_empty()) {
        // What is below another mount comes after it.
        let depth = |mount: &runtime::Mount| mount.destination.trim_end_matches('/').matches('/').count();
        spec.mounts.sort_by_key(depth);
    }
    Ok(())
}

fn set_variable(env: &mut Vec<String>, entry: &str) {
    let name = entry.split('=').next();
    match env.iter_mut().find(|known| known.split('=').next() == name) {
        Some(known) => entry.clone_into(known),
        None => env.push(entry.into()),
    }
}

fn add_node(linux: &mut Linux, asked: &Node, uid: u32, gid: u32) -> Result<(), String> {
    let device = node(asked, uid, gid)?;
    linux.devices.retain(|known| known.path != device.path);
    if matches!(device.kind.as_str(), "b" | "c") {
        linux.resources.get_or_insert_with(Resources::default).devices.push(DeviceRule {
            allow: true,
            kind: device.kind.clone(),
            major: Some(device.major.into()),
            minor: Some(device.minor.into()),
            access: if asked.permissions.is_empty() { "rwm".into() } else { asked.permissions.clone() },
        });
    }
    linux.devices.push(device);
    Ok(())
}

/// The node, with what the file leaves out taken from the host's.
fn node(asked: &Node, uid: u32, gid: u32) -> Result<runtime::Device, String> {
    let id = |asked: Option<super::file::Number>, own: u32| match asked {
        Some(number) => number.get().map(Some),
        None => Ok(Some(own).filter(|id| *id > 0)),
    };
    let mut device = runtime::Device {
        path: asked.path.clone(),
        kind: asked.kind.clone(),
        major: asked.major.get()?,
        minor: asked.minor.get()?,
        file_mode: asked.file_mode.map(super::file::Number::get).transpose()?,
        uid: id(asked.uid, uid)?,
        gid: id(asked.gid, gid)?,
    };
    let complete = !device.kind.is_empty() && (device.major != 0 || device.kind == "p");
    let host = if asked.host_path.is_empty() { &asked.path } else { &asked.host_path };
    let (kind, meta) = match look(host) {
        Ok(found) => found,
        Err(_) if complete => return Ok(device),
        Err(why) => return Err(format!("stat CDI host device \"{host}\": {why}")),
    };
    device.file_mode = device.file_mode.or(Some(meta.mode() & 0o7777));
    if complete {
        return Ok(device);
    }
    if device.kind.is_empty() {
        kind.clone_into(&mut device.kind);
    }
    if device.kind != kind {
        let path = &asked.path;
        return Err(format!("CDI device (\"{path}\", \"{host}\"), host type mismatch ({}, {kind})", device.kind));
    }
    if kind != "p" && device.major == 0 {
        device.major = rustix::fs::major(meta.rdev());
        device.minor = rustix::fs::minor(meta.rdev());
    }
    Ok(device)
}

fn look(path: &str) -> Result<(&'static str, std::fs::Metadata), String> {
    let meta = std::fs::symlink_metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        _ => error.to_string(),
    })?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => "b",
        kind if kind.is_char_device() => "c",
        kind if kind.is_fifo() => "p",
        _ => return Err("not a device node".into()),
    };
    Ok((kind, meta))
}

fn add_mount(mounts: &mut Vec<runtime::Mount>, asked: &Mount) {
    mounts.retain(|known| known.destination != asked.container_path);
    mounts.push(runtime::Mount {
        destination: asked.container_path.clone(),
        source: Some(asked.host_path.clone().into()),
        kind: asked.kind.clone(),
        options: asked.options.clone(),
        ..runtime::Mount::default()
    });
}

fn add_hook(hooks: &mut Hooks, asked: &Hook) -> Result<(), String> {
    let hook = runtime::Hook {
        path: asked.path.clone().into(),
        args: asked.args.clone(),
        env: asked.env.clone(),
        timeout: asked.timeout.map(super::file::Number::get).transpose()?,
    };
    if let Some(list) = hooks_of(hooks, &asked.hook_name) {
        list.push(hook);
    }
    Ok(())
}

/// The hooks of that name; none for a name that there is not.
pub(super) fn hooks_of<'h>(hooks: &'h mut Hooks, name: &str) -> Option<&'h mut Vec<runtime::Hook>> {
    Some(match name {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        "poststop" => &mut hooks.poststop,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(json: &str) -> Edits {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn all_that_a_device_brings_is_in_the_spec() {
        let mut spec = Spec {
            process: Some(Process { env: vec!["A=0".into(), "B=0".into()], ..Process::default() }),
            mounts: vec![runtime::Mount { destination: "/a/b".into(), ..runtime::Mount::default() }],
            ..Spec::default()
        };
        let first = edits(
            r#"{"env":["A=1"],"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/null","permissions":"r"}],
                "mounts":[{"hostPath":"/tmp","containerPath":"/c","options":["ro","bind"]}],
                "hooks":[{"hookName":"createContainer","path":"/bin/true","timeout":3}],"additionalGids":[0,7]}"#,
        );
        let second = edits(
            r#"{"deviceNodes":[{"path":"/dev/y","type":"c","major":200,"minor":1}],
                "netDevices":[{"hostInterfaceName":"eth7","name":"data0"}]}"#,
        );
        apply(&mut spec, &[&first, &second]).unwrap();
        let process = spec.process.unwrap();
        assert_eq!((process.env, process.user.additional_gids), (vec!["A=1".into(), "B=0".into()], vec![7]));
        let linux = spec.linux.unwrap();
        let found: Vec<_> = linux.devices.iter().map(|one| (one.path.as_str(), one.major, one.minor)).collect();
        assert_eq!(found, [("/dev/x", 1, 3), ("/dev/y", 200, 1)]);
        let rules = linux.resources.unwrap().devices;
        assert_eq!((rules[0].access.as_str(), rules[1].access.as_str()), ("r", "rwm"));
        assert_eq!(linux.net_devices["eth7"].name, "data0");
        assert_eq!(spec.mounts.iter().map(|one| one.destination.as_str()).collect::<Vec<_>>(), ["/c", "/a/b"]);
        assert_eq!(spec.hooks.unwrap().create_container[0].timeout, Some(3));
    }

    #[test]
    fn what_cannot_be_given_is_said() {
        for (json, why) in [
            (r#"{"deviceNodes":[{"path":"/dev/no-such"}]}"#, "no such file or directory"),
            (r#"{"deviceNodes":[{"path":"/etc/passwd"}]}"#, "not a device node"),
            (r#"{"deviceNodes":[{"path":"/dev/null","type":"b"}]}"#, "host type mismatch (b, c)"),
            (r#"{"intelRdt":{"closID":"x"}}"#, "intelRdt is not supported"),
        ] {
            let error = apply(&mut Spec::default(), &[&edits(json)]).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
