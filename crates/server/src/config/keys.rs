//! The keys of the configuration file: which act, which of Docker's say what is so anyway, and which are refused.

use serde_json::Value;

/// The keys that act.
pub(super) const ACTING: &[&str] = &[
    "bip",
    "bip6",
    "bridge",
    "cdi-spec-dirs",
    "cgroup-parent",
    "data-root",
    "debug",
    "default-address-pools",
    "default-cgroupns-mode",
    "default-gateway",
    "default-gateway-v6",
    "default-ipc-mode",
    "default-network-opts",
    "default-shm-size",
    "default-ulimits",
    "default-userns-mode",
    "dns",
    "dns-opts",
    "dns-search",
    "docker-socket",
    "exec-opts",
    "exec-root",
    "experimental",
    "features",
    "fixed-cidr",
    "fixed-cidr-v6",
    "group",
    "host-gateway-ip",
    "host-gateway-ips",
    "hosts",
    "icc",
    "init",
    "insecure-registries",
    "ip",
    "ip-masq",
    "ipv6",
    "labels",
    "log-driver",
    "log-format",
    "log-level",
    "log-opts",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "metrics-addr",
    "mtu",
    "no-new-privileges",
    "pidfile",
    "proxies",
    "registry-mirrors",
    "seccomp-profile",
    "tls",
    "tlscacert",
    "tlscert",
    "tlskey",
    "tlsverify",
    "userns-remap",
];

/// Keys of Docker's whose value says what is so here anyway: key, the values that do.
const SO_ANYWAY: &[(&str, &[&str])] = &[
    ("cgroup-parent", &["\"\""]),
    ("default-runtime", &["\"teu\"", "\"runc\""]),
    ("firewall-backend", &["\"nftables\"", "\"\""]),
    ("ip-forward", &["true"]),
    ("ip6tables", &["true"]),
    ("iptables", &["true"]),
    ("live-restore", &["true"]),
    ("raw-logs", &["false", "true"]),
    ("rootless", &["false"]),
    ("runtimes", &["{}"]),
    ("selinux-enabled", &["false"]),
    ("shutdown-timeout", &[]),
    ("storage-driver", &["\"overlay2\"", "\"overlayfs\"", "\"\""]),
    ("storage-opts", &["[]"]),
    ("swarm-default-advertise-addr", &["\"\""]),
    ("userland-proxy", &["false", "true"]),
];

/// Docker's other keys, and why they are refused with any value.
const REFUSED: &[(&str, &str)] = &[
    ("allow-direct-routing", "not published means unreachable"),
    ("authorization-plugins", "there are no plugins"),
    ("bridge-accept-fwmark", "it is not there yet"),
    ("builder", "the build cache is collected by itself"),
    ("containerd", "there is no containerd"),
    ("containerd-namespace", "there is no containerd"),
    ("containerd-plugins-namespace", "there is no containerd"),
    ("cpu-rt-period", "set it for each container"),
    ("cpu-rt-runtime", "set it for each container"),
    ("default-runtime", "there is one runtime, \"teu\""),
    ("firewall-backend", "it is nftables"),
    ("graph", "it is \"data-root\" now"),
    ("init-path", "the init is built in"),
    ("ip-forward", "containers need forwarding"),
    ("ip-forward-no-drop", "foreign rules are never touched"),
    ("ip6tables", "teu writes into a table of its own only"),
    ("iptables", "teu writes into a table of its own only"),
    ("live-restore", "containers always outlive the daemon"),
    ("network-control-plane-mtu", "there is no swarm"),
    ("node-generic-resources", "there is no swarm"),
    ("rootless", "it is not there yet"),
    ("runtimes", "there is one runtime, \"teu\""),
    ("selinux-enabled", "it is not there yet"),
    ("storage-driver", "it is overlay2"),
    ("storage-opts", "it is not there yet"),
    ("swarm-default-advertise-addr", "there is no swarm"),
    ("userland-proxy-path", "there is no proxy"),
];

/// Whether a feature of Docker's can be turned that way: `cdi` and `buildkit` either way, the rest as it is anyway.
pub(super) fn feature(name: &str, on: bool) -> bool {
    match name {
        "cdi" | "buildkit" => true,
        "containerd-snapshotter" => on,
        "windows-dns-proxy" => !on,
        _ => false,
    }
}

/// What becomes of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is settled.
    Acts,
    /// It says what is so anyway.
    IsSo,
    /// It promises what is not done.
    Refused(&'static str),
    /// Nobody knows it.
    Unknown,
}

/// What becomes of `key` with this value.
pub(super) fn verdict(key: &str, value: &Value) -> Verdict {
    if ACTING.contains(&key) {
        return Verdict::Acts;
    }
    let text = value.to_string();
    let so = SO_ANYWAY.iter().find(|(known, _)| *known == key);
    if so.is_some_and(|(_, values)| values.is_empty() || values.contains(&text.as_str())) {
        return Verdict::IsSo;
    }
    match REFUSED.iter().find(|(known, _)| *known == key) {
        Some((_, why)) => Verdict::Refused(why),
        None if so.is_some() => Verdict::Refused("its value is not what is so here"),
        None => Verdict::Unknown,
    }
}
