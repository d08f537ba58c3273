//! Name servers: whom containers would ask, and whether they answer.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::{Finding, text};

const AREA: &str = "Names";

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question for the name servers of the root, which every resolver can answer: id 0x7465, recursion wanted.
const QUESTION: [u8; 17] = [0x74, 0x65, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

pub(super) fn look() -> Vec<Finding> {
    let servers = servers(&text("/etc/resolv.conf"));
    let behind = self::servers(&text("/run/systemd/resolve/resolv.conf"));
    let mut findings = vec![judge(&servers, &behind)];
    let usable = servers.iter().chain(&behind).find(|server| !server.is_loopback()).or(servers.first());
    if let Some(server) = usable {
        findings.push(match answers(*server) {
            true => Finding::good(AREA, format!("{server} answers")),
            false => Finding::warning(AREA, format!("{server} does not answer: names may not be found"))
                .mend("teu daemon --dns ADDRESS, or another nameserver in /etc/resolv.conf"),
        });
    }
    findings
}

fn servers(resolv: &str) -> Vec<IpAddr> {
    let words = resolv.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    words.filter_map(|rest| rest.trim().split('%').next()?.parse().ok()).collect()
}

fn judge(servers: &[IpAddr], behind: &[IpAddr]) -> Finding {
    let shown = |list: &[IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let local = !servers.is_empty() && servers.iter().all(IpAddr::is_loopback);
    match (servers.is_empty(), local, behind.is_empty()) {
        (true, ..) => Finding::warning(AREA, "/etc/resolv.conf names no server")
            .mend("echo nameserver 9.9.9.9 >> /etc/resolv.conf"),
        (_, true, false) => Finding::good(AREA, format!("systemd-resolved, with {} behind it", shown(behind))),
        (_, true, true) => Finding::warning(
            AREA,
            format!("{} is this machine's own server, which containers reach through teu only", shown(servers)),
        ),
        _ => Finding::good(AREA, format!("name servers: {}", shown(servers))),
    }
}

fn answers(server: IpAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let own: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(own)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((server, 53))?;
        socket.send(&QUESTION)?;
        let mut answer = [0; 512];
        let count = socket.recv(&mut answer)?;
        Ok(count >= 12 && answer[..2] == QUESTION[..2])
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn name_servers_are_judged() {
        let of = |text: &str, behind: &str| judge(&servers(text), &servers(behind));
        assert_eq!(of("", "").state, State::Warning);
        assert_eq!(of("nameserver 127.0.0.53\n", "").state, State::Warning);
        assert!(of("nameserver 127.0.0.53\n", "nameserver 10.0.0.1\n").told.contains("10.0.0.1"));
        assert!(of("# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n", "").told.contains("fe80::1"));
    }
}
