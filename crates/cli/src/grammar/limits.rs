//! `--ulimit`, `--device`, `--restart`.

use teu_api::container::{DeviceMapping, RestartPolicy, Ulimit};

/// The resource limits of Linux, by the names `--ulimit` takes.
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads `name=soft[:hard]`; -1 is unlimited.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !LIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        _ => text.parse::<i64>().map_err(|_| format!("invalid ulimit value: {value}")),
    };
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft < -1 || hard < -1 || (hard != -1 && (soft > hard || soft == -1)) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads `host[:container[:rwm]]`.
pub(crate) fn device(text: &str) -> Result<DeviceMapping, String> {
    let wrong = || format!("invalid device specification: {text}");
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, mode] if is_mode(mode) => (host, inside, mode),
        _ => return Err(wrong()),
    };
    if !host.starts_with('/') || !inside.starts_with('/') {
        return Err(format!("{}: paths must be absolute", wrong()));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// Reads `no`, `always`, `unless-stopped`, `on-failure[:n]`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    if !matches!(name, "no" | "always" | "unless-stopped" | "on-failure") {
        return Err(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        ));
    }
    let count = match count {
        Some(_) if name != "on-failure" => {
            return Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".into());
        }
        Some(count) => count
            .parse::<u32>()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?,
        None => 0,
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count: i64::from(count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_are_read() {
        for (text, soft, hard) in
            [("nofile=1024", 1024, 1024), ("nofile=1024:2048", 1024, 2048), ("core=-1", -1, -1), ("nproc=5:-1", 5, -1)]
        {
            let limit = ulimit(text).unwrap();
            assert_eq!((limit.soft, limit.hard), (soft, hard), "{text}");
        }
        for bad in ["nofile", "files=1", "nofile=", "nofile=a", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_read() {
        let shown = |text| device(text).map(|d| [d.path_on_host, d.path_in_container, d.cgroup_permissions].join(" "));
        assert_eq!(shown("/dev/fuse").unwrap(), "/dev/fuse /dev/fuse rwm");
        assert_eq!(shown("/dev/sda:r").unwrap(), "/dev/sda /dev/sda r");
        assert_eq!(shown("/dev/sda:/dev/xvdc").unwrap(), "/dev/sda /dev/xvdc rwm");
        assert_eq!(shown("/dev/sda:/dev/xvdc:rw").unwrap(), "/dev/sda /dev/xvdc rw");
        for bad in ["", "fuse", "/dev/a:/dev/b:x", "/dev/a:b:c:d", "/dev/a:x"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn restart_policies_are_read() {
        assert_eq!(restart("on-failure:3").unwrap().maximum_retry_count, 3);
        assert_eq!(restart("unless-stopped").unwrap().name, "unless-stopped");
        for bad in ["", "sometimes", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(restart(bad).is_err(), "{bad}");
        }
    }
}
