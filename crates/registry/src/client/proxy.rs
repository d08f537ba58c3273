//! Proxies between us and registries: which requests go by one, and how.
//!
//! ```text
//! https   CONNECT host:port ── 200 ── TLS with the registry, which the proxy cannot look into
//! http    GET http://host/path      the proxy fetches it
//! ```
//!
//! Settings are written as everybody's programs take them: `http_proxy`, `https_proxy`, `no_proxy`. This machine itself is
//! never asked by way of a proxy.

use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Error;
use super::connect::Origin;

/// The answer to CONNECT is short.
const LONGEST_ANSWER: usize = 8 << 10;

/// Which proxies there are, as users write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For registries that are spoken to in plain HTTP: `http://[USER:PASSWORD@]HOST[:PORT]`; none if empty.
    pub http: String,
    /// For all others.
    pub https: String,
    /// What is asked without: hosts, domains, addresses and networks, by commas; `*` is everything.
    pub none: String,
}

/// A proxy on the way to some place.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) origin: Origin,
    /// Who we are to it.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxies {
    /// Those that the environment names, in capital letters or small ones.
    #[must_use]
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let find = |name: &str| {
            let found = variable(&name.to_ascii_uppercase()).filter(|value| !value.is_empty());
            found.or_else(|| variable(name)).unwrap_or_default()
        };
        Self { http: find("http_proxy"), https: find("https_proxy"), none: find("no_proxy") }
    }

    /// Whether what is written can be used.
    ///
    /// # Errors
    /// The URL that cannot.
    pub fn check(&self) -> Result<(), String> {
        let wrong = [&self.http, &self.https].into_iter().find(|url| !url.is_empty() && parse(url).is_none());
        wrong.map_or(Ok(()), |url| Err(url.clone()))
    }

    /// The same without passwords, to be shown.
    #[must_use]
    pub fn shown(&self) -> Self {
        let hide = |url: &String| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
            (None, Some((_, host))) => format!("xxxxx:xxxxx@{host}"),
            _ => url.clone(),
        };
        Self { http: hide(&self.http), https: hide(&self.https), none: self.none.clone() }
    }

    /// The proxy on the way to `origin`, if there is one.
    pub(super) fn of(&self, origin: &Origin) -> Result<Option<Proxy>, Error> {
        let url = if origin.secure { &self.https } else { &self.http };
        if url.is_empty() || origin.is_loopback() || self.spares(origin) {
            return Ok(None);
        }
        let wrong = || Error::invalid(url, "not a proxy that can be used: write http://[USER:PASSWORD@]HOST[:PORT]");
        parse(url).map(Some).ok_or_else(wrong)
    }

    /// Whether a place is asked without a proxy.
    fn spares(&self, origin: &Origin) -> bool {
        let address = origin.host.parse::<IpAddr>().ok();
        self.none.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Some(address), Ok(network)) = (address, entry.parse::<ipnet::IpNet>()) {
                return network.contains(&address);
            }
            let Some(named) = Origin::of_authority(entry.trim_start_matches("*."), origin.secure) else { return false };
            let port = entry.rsplit_once(':').is_none_or(|_| named.port == origin.port || address.is_some());
            let domain = named.host.trim_start_matches('.');
            let below = origin.host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
            port && (below || (origin.host == domain && !entry.starts_with(['.', '*'])))
        })
    }
}

/// `[http://][USER:PASSWORD@]HOST[:PORT][/]`.
fn parse(url: &str) -> Option<Proxy> {
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return None,
        None => url,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(unescaped(user))).parse());
    Some(Proxy {
        origin: Origin::of_authority(authority, false).filter(|_| !authority.contains(['/', '?']))?,
        authorization: authorization.transpose().ok()?,
    })
}

/// `%40` is `@`: passwords hold signs that mean something in URLs.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).filter(|_| *first == b'%');
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &more[2..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

impl Proxy {
    /// Has the proxy connect us with `origin`; what comes then is the other side's.
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, origin: &Origin) -> io::Result<()> {
        let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
        let place = format!("{host}:{}", origin.port);
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend(b"Proxy-Authorization: ");
            request.extend(authorization.as_bytes());
            request.extend(b"\r\n");
        }
        request.extend(b"\r\n");
        stream.write_all(&request).await?;
        let mut answer = Vec::new();
        // Not a byte more than the answer: the rest is the registry's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == LONGEST_ANSWER {
                return Err(io::Error::other("its answer has no end"));
            }
            answer.push(stream.read_u8().await?);
        }
        let answer = String::from_utf8_lossy(&answer);
        let first = answer.lines().next().unwrap_or_default();
        match first.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => Err(io::Error::other(format!("it answers \"{first}\""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(none: &str) -> Proxies {
        Proxies { http: "http://plain:3128".into(), https: "http://u:p%40x@safe/".into(), none: none.into() }
    }

    fn way(none: &str, authority: &str, secure: bool) -> Option<String> {
        let origin = Origin::of_authority(authority, secure).unwrap();
        proxies(none).of(&origin).unwrap().map(|proxy| proxy.origin.host)
    }

    #[test]
    fn a_place_is_reached_by_its_schemes_proxy_unless_it_is_spared() {
        assert_eq!(way("", "r.test", true).as_deref(), Some("safe"));
        assert_eq!(way("", "r.test:5000", false).as_deref(), Some("plain"));
        for here in ["localhost:5000", "127.0.0.1", "[::1]:5"] {
            assert_eq!(way("", here, false), None, "{here}");
        }
        for (none, authority) in [
            ("*", "r.test"),
            ("x,r.test", "r.test"),
            ("test", "r.test"),
            (".test", "r.test"),
            ("*.test", "r.test"),
            ("R.TEST:443", "r.test"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
        ] {
            assert_eq!(way(none, authority, true), None, "{none} {authority}");
        }
        for (none, authority) in
            [("est", "r.test"), (".r.test", "r.test"), ("r.test:5000", "r.test"), ("10.0.0.0/16", "10.1.2.3")]
        {
            assert!(way(none, authority, true).is_some(), "{none} {authority}");
        }
    }

    #[test]
    fn passwords_are_for_the_proxy_alone() {
        let proxy = parse("http://u:p%40x@safe/").unwrap();
        assert_eq!(proxy.authorization.unwrap(), format!("Basic {}", STANDARD.encode("u:p@x")));
        assert_eq!(proxies("").shown().https, "http://xxxxx:xxxxx@safe/");
        for wrong in ["socks5://x", "https://x", "http://", "http://x:y", "http://x/path"] {
            let both = Proxies { https: wrong.into(), ..Proxies::default() };
            assert_eq!(both.check(), Err(wrong.into()));
        }
        assert!(proxies("").check().is_ok() && Proxies::default().check().is_ok());
    }

    #[test]
    fn the_environment_names_them() {
        let found = Proxies::from_environment(|name| match name {
            "HTTP_PROXY" => Some("a".into()),
            "http_proxy" => Some("b".into()),
            "https_proxy" => Some("c".into()),
            _ => None,
        });
        assert_eq!(found, Proxies { http: "a".into(), https: "c".into(), none: String::new() });
    }
}
