//! Names: the bytes of questions and answers, what a network's names answer, and what a container's `/etc/resolv.conf`
//! says. Pure, but for [`redirect`].
//!
//! A container on the default bridge resolves names as its host does; resolvers on the host's loopback are not reachable
//! from there and are left out. One on a network of the user's own asks 127.0.0.11, where its supervisor answers.

pub mod message;
mod names;

pub use names::{Answer, Directory, Names, answer, failure, write_names};

use crate::firewall::{self, Firewall};

/// Leads questions to 127.0.0.11:53 to the ports that the server is bound to, in the calling thread's namespace, and
/// makes the answers come from there. No packet is tracked for it: ports are written over, on the way out.
///
/// The server is not bound to port 53 itself because then no server of the container's own could listen on 0.0.0.0:53.
pub fn redirect(udp: u16, tcp: u16) -> Result<(), crate::Error> {
    Firewall::default().apply(&firewall::names_redirect(udp, tcp))
}

use std::fmt::Write as _;
use std::net::IpAddr;

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
pub fn resolv_conf(host: &str, uplink: Option<&str>, fallback: &[IpAddr]) -> String {
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

/// The file for a container on a network of the user's own, from the host's: search domains and options stay, the server
/// is ours, and a name without dots is asked for as it is.
#[must_use]
pub fn resolv_conf_of_names(host: &str) -> String {
    let mut out = String::from("nameserver 127.0.0.11\n");
    let mut options = String::new();
    for line in host.lines() {
        match keyword(line) {
            Some("search" | "domain" | "sortlist") => {
                out.push_str(line.trim_end());
                out.push('\n');
            }
            Some("options") => {
                for option in line.split_whitespace().skip(1).filter(|option| !option.starts_with("ndots")) {
                    options.push(' ');
                    options.push_str(option);
                }
            }
            _ => {}
        }
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "options{options} ndots:0");
    out
}

/// The domains that a resolv.conf hangs onto names, lower case.
#[must_use]
pub fn search_domains(text: &str) -> Vec<String> {
    let domains = |line: &str| {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let words: Vec<String> = words.map(|word| word.trim_end_matches('.').to_lowercase()).collect();
        matches!(keyword, Some("search" | "domain")).then_some(words)
    };
    // The last line counts, resolv.conf(5).
    let last = text.lines().filter_map(domains).next_back().unwrap_or_default();
    last.into_iter().filter(|domain| !domain.is_empty()).collect()
}

fn reachable(text: &str) -> Vec<IpAddr> {
    // A container may have no IPv6, or no way out by it: with IPv4 resolvers beside them, IPv6 ones are left out.
    let outside = |address: &IpAddr| !address.is_loopback() && !address.is_unspecified();
    nameservers(text).into_iter().filter(IpAddr::is_ipv4).filter(outside).collect()
}

/// The line's first word; none for comments and empty lines.
fn keyword(line: &str) -> Option<&str> {
    line.split_whitespace().next().filter(|word| !word.starts_with(['#', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 53))];

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
    fn on_a_network_of_the_users_own_our_server_is_named_and_the_rest_stays() {
        let host = "nameserver 10.0.0.2\nsearch Lan example.org.\noptions edns0 ndots:2\n";
        let own = resolv_conf_of_names(host);
        assert_eq!(own, "nameserver 127.0.0.11\nsearch Lan example.org.\noptions edns0 ndots:0\n");
        assert_eq!(search_domains(&own), ["lan", "example.org"]);
    }

    #[test]
    fn without_any_the_fallback_is_taken() {
        assert_eq!(resolv_conf("nameserver 127.0.0.1\n", None, &PUBLIC), "nameserver 198.51.100.53\n");
        assert_eq!(resolv_conf("", Some("nameserver ::1\n"), &PUBLIC), "nameserver 198.51.100.53\n");
    }
}
