//! What a container's `/etc/resolv.conf` says. Pure.
//!
//! A container resolves names as its host does. Resolvers on the host's loopback are not reachable from inside, and IPv6
//! ones neither as long as containers have no IPv6: those are left out.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// The resolvers a resolv.conf names, in order; what is not an address (or has an interface, `fe80::1%eth0`) is passed over.
#[must_use]
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    };
    text.lines().filter_map(line).collect()
}

/// The file for a container, from the host's own.
///
/// `host` is the text of the host's `/etc/resolv.conf`; `uplink` that of `/run/systemd/resolve/resolv.conf` where it
/// exists, which has the real resolvers when the host's file names only systemd's stub on 127.0.0.53; `fallback` is used
/// when neither has one that a container can reach. Everything but the resolvers (`search`, `options`) is kept.
#[must_use]
pub fn resolv_conf(host: &str, uplink: Option<&str>, fallback: &[Ipv4Addr]) -> String {
    let sources = [Some(host), uplink];
    let servers = sources.into_iter().flatten().map(reachable).find(|found| !found.is_empty());
    let mut out = String::new();
    for line in host.lines().filter(|line| keyword(line).is_some_and(|word| word != "nameserver")) {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for server in servers.unwrap_or_else(|| fallback.to_vec()) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "nameserver {server}");
    }
    out
}

fn reachable(text: &str) -> Vec<Ipv4Addr> {
    let ipv4 = |server| match server {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    nameservers(text)
        .into_iter()
        .filter_map(ipv4)
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .collect()
}

/// The line's first word; none for comments and empty lines.
fn keyword(line: &str) -> Option<&str> {
    line.split_whitespace().next().filter(|word| !word.starts_with(['#', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: [Ipv4Addr; 1] = [Ipv4Addr::new(198, 51, 100, 53)];

    #[test]
    fn the_hosts_resolvers_and_options_are_kept() {
        let host =
            "# made by dhcp\nsearch lan example.org\nnameserver 10.0.0.2\nnameserver 10.0.0.3\noptions ndots:2\n";
        let expected = "search lan example.org\noptions ndots:2\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        assert_eq!(resolv_conf(host, None, &PUBLIC), expected);
    }

    #[test]
    fn resolvers_a_container_cannot_reach_are_left_out() {
        let host = "nameserver 127.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 10.0.0.2\n";
        assert_eq!(resolv_conf(host, None, &PUBLIC), "nameserver 10.0.0.2\n");
    }

    #[test]
    fn behind_a_local_stub_the_real_resolvers_are_taken() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
        let expected = "options edns0 trust-ad\nsearch .\nnameserver 192.0.2.1\n";
        assert_eq!(resolv_conf(stub, Some("nameserver 192.0.2.1\n"), &PUBLIC), expected);
    }

    #[test]
    fn without_any_the_fallback_is_taken() {
        assert_eq!(resolv_conf("nameserver 127.0.0.1\n", None, &PUBLIC), "nameserver 198.51.100.53\n");
        assert_eq!(resolv_conf("", Some("nameserver ::1\n"), &PUBLIC), "nameserver 198.51.100.53\n");
    }
}
