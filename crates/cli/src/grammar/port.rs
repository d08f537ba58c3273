//! `--publish` and `--expose`: `[ip:][host[-range]]:container[-range][/protocol]`, or `target=…,published=…`.

use teu_api::container::PortBinding;

use super::fields;

/// A range of ports, ends included.
type Range = (u16, u16);

/// Reads one `--publish`: each container port with where it is published.
pub(crate) fn publish(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    if text.contains('=') {
        return long(text);
    }
    let (rest, protocol) = protocol(text)?;
    let (ip, host, container) = parts(rest, text)?;
    let ip = ip.map_or(Ok(String::new()), |ip| address(ip, text))?;
    let container = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let host = match host.filter(|host| !host.is_empty()) {
        Some(host) => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
        None => None,
    };
    pair(container, host, &ip, protocol, text)
}

/// Reads one `--expose`: `80`, `80-90/udp`.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (rest, protocol) = protocol(text)?;
    let (first, last) = range(rest).ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Pairs container ports with host ports.
fn pair(
    container: Range,
    host: Option<Range>,
    ip: &str,
    protocol: &str,
    text: &str,
) -> Result<Vec<(String, PortBinding)>, String> {
    let binding = |host_port: String| PortBinding { host_ip: ip.to_owned(), host_port };
    let width = |(first, last): Range| last - first;
    match host {
        // One container port on a range takes the first host port that is free.
        Some(host) if width(container) == 0 && width(host) > 0 => {
            Ok(vec![(format!("{}/{protocol}", container.0), binding(format!("{}-{}", host.0, host.1)))])
        }
        Some(host) if width(host) != width(container) => {
            Err(format!("invalid ranges specified for container and host Ports: {text}"))
        }
        _ => Ok((container.0..=container.1)
            .map(|port| {
                let host = host.map(|(first, _)| (first + (port - container.0)).to_string());
                (format!("{port}/{protocol}"), binding(host.unwrap_or_default()))
            })
            .collect()),
    }
}

/// Splits `[ip:][host]:container`, from the right; an IPv6 address is in brackets.
fn parts<'t>(rest: &'t str, text: &str) -> Result<(Option<&'t str>, Option<&'t str>, &'t str), String> {
    let Some((head, container)) = rest.rsplit_once(':') else { return Ok((None, None, rest)) };
    if container.is_empty() || container.ends_with(']') {
        return Err(format!("no port specified: {text}<empty>"));
    }
    match head.rsplit_once(':') {
        _ if head.ends_with(']') => {
            Err(format!("invalid publish '{text}': the host port is missing, write [ip]::port"))
        }
        Some((ip, host)) => Ok((Some(ip), Some(host), container)),
        None => Ok((None, Some(head), container)),
    }
}

fn address(ip: &str, text: &str) -> Result<String, String> {
    let wrong = || format!("invalid IP address in publish '{text}': {ip}");
    match ip.strip_prefix('[') {
        Some(rest) => {
            let ip = rest.strip_suffix(']').ok_or_else(wrong)?;
            ip.parse::<std::net::Ipv6Addr>().map(|ip| ip.to_string()).map_err(|_| wrong())
        }
        None if ip.is_empty() => Ok(String::new()),
        None => ip.parse::<std::net::IpAddr>().map(|ip| ip.to_string()).map_err(|_| wrong()),
    }
}

fn protocol(text: &str) -> Result<(&str, &'static str), String> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = ["tcp", "udp", "sctp"].into_iter().find(|known| known.eq_ignore_ascii_case(protocol));
    known.map(|known| (rest, known)).ok_or_else(|| format!("invalid proto: {protocol}"))
}

fn range(text: &str) -> Option<Range> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
        None => number(text).map(|port| (port, port)),
    }
}

/// Reads `target=80,published=8080,protocol=tcp,mode=host`.
fn long(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (mut target, mut published, mut kind) = (None, None, "tcp");
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field: {field}"))?;
        match key.trim() {
            "target" => target = Some(range(value).ok_or_else(|| format!("invalid target port {value}"))?),
            "published" => {
                let ports = range(value).ok_or_else(|| format!("invalid published port {value}"))?;
                published = Some(ports);
            }
            "protocol" => kind = protocol(&format!("/{value}"))?.1,
            "mode" if matches!(value, "host" | "ingress") => {}
            "mode" => return Err(format!("invalid publish mode ({value}), must be either 'ingress' or 'host'")),
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    let target = target.ok_or_else(|| format!("missing mandatory field 'target' in {text}"))?;
    pair(target, published, "", kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let rows = publish(text)?.into_iter();
        Ok(rows.map(|(port, on)| format!("{port}={}:{}", on.host_ip, on.host_port)).collect())
    }

    #[test]
    fn published_ports_are_read() {
        for (text, wanted) in [
            ("80", &["80/tcp=:"][..]),
            ("8080:80", &["80/tcp=:8080"]),
            ("8080:80/UDP", &["80/udp=:8080"]),
            (":80", &["80/tcp=:"]),
            ("127.0.0.1:8080:80", &["80/tcp=127.0.0.1:8080"]),
            ("127.0.0.1::80", &["80/tcp=127.0.0.1:"]),
            ("[::1]:8080:80", &["80/tcp=::1:8080"]),
            ("[::1]::80", &["80/tcp=::1:"]),
            ("8000-8001:80-81", &["80/tcp=:8000", "81/tcp=:8001"]),
            ("8000-8009:80", &["80/tcp=:8000-8009"]),
            ("80-81", &["80/tcp=:", "81/tcp=:"]),
            ("65535:65535/sctp", &["65535/sctp=:65535"]),
            ("target=80,published=8080,protocol=udp", &["80/udp=:8080"]),
        ] {
            assert_eq!(
                shown(text).as_deref(),
                Ok(wanted.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn mistakes_in_published_ports_are_refused() {
        for bad in [
            "",
            ":",
            "a",
            "80:",
            "80:a",
            "a:80",
            "80/icmp",
            "65536",
            "1:2:3",
            "999.0.0.1:1:2",
            "8000-8001:80-82",
            "81-80",
            "[::1]:80",
            "[::1:80:80",
            "published=80",
            "target=80,mode=x",
            "target=80,x=y",
            "+80",
        ] {
            assert!(publish(bad).is_err(), "{bad}: {:?}", shown(bad));
        }
    }

    #[test]
    fn exposed_ports_are_read() {
        assert_eq!(expose("80").unwrap(), ["80/tcp"]);
        assert_eq!(expose("80-82/udp").unwrap(), ["80/udp", "81/udp", "82/udp"]);
        for bad in ["80:80", "x", "80/x", ""] {
            assert!(expose(bad).is_err(), "{bad}");
        }
    }
}
