//! Who has which name, and what is answered. Pure.
//!
//! A network's file of names, written by the engine, read by the name servers in the supervisors:
//!
//! ```text
//!   network <name>
//!   <address>[,<address>…] <name> <name> …        one line for each container; the first name is its own
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{self, A, AAAA, ANY, Outcome, PTR, Question};

/// For how long a client may remember: containers come and go.
const SECONDS: u32 = 5;
/// The names by which a container finds its host.
const HOST: [&str; 2] = ["host.docker.internal", "gateway.docker.internal"];

/// One network's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    network: String,
    /// Addresses by name, lower case.
    by_name: BTreeMap<String, Vec<IpAddr>>,
    /// The first name of each address.
    by_address: BTreeMap<IpAddr, String>,
}

/// The text of a network's file.
pub fn write_names(network: &str, members: impl Iterator<Item = (Vec<IpAddr>, Vec<String>)>) -> String {
    let word = |text: &str| text.replace(char::is_whitespace, "_");
    let mut text = format!("network {}\n", word(network));
    for (addresses, names) in members.filter(|(addresses, names)| !addresses.is_empty() && !names.is_empty()) {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let names: Vec<String> = names.iter().map(|name| word(name)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {}", addresses.join(","), names.join(" "));
    }
    text
}

impl Names {
    /// Reads a network's file; lines that make no sense are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if first == "network" {
                names.network = words.next().unwrap_or_default().to_lowercase();
                continue;
            }
            let addresses: Vec<IpAddr> = first.split(',').filter_map(|text| text.parse().ok()).collect();
            for (place, name) in words.enumerate() {
                let name = name.to_lowercase();
                for address in &addresses {
                    if place == 0 {
                        names.by_address.insert(*address, name.clone());
                    }
                    let known = names.by_name.entry(name.clone()).or_default();
                    if !known.contains(address) {
                        known.push(*address);
                    }
                }
            }
        }
        names
    }

    fn find(&self, name: &str) -> Option<&Vec<IpAddr>> {
        let plain = name.strip_suffix(&self.network).and_then(|name| name.strip_suffix('.'));
        self.by_name.get(name).or_else(|| self.by_name.get(plain.filter(|_| !self.network.is_empty())?))
    }
}

/// Everything that one container can find without asking anybody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its networks.
    pub networks: Vec<Names>,
    /// Names of its own for others, lower case.
    pub links: BTreeMap<String, String>,
    /// Its host's addresses.
    pub host: Vec<IpAddr>,
    /// What its resolver hangs onto names, lower case: our names are not told to anybody with that behind them.
    pub search: Vec<String>,
}

/// What is to be done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This is the answer.
    Reply(Vec<u8>),
    /// Others know.
    Forward,
}

/// Answers a question, or says that others must. `turn` counts questions, and gives each address its turn to be first.
#[must_use]
pub fn answer(question: &Question, directory: &Directory, turn: usize) -> Answer {
    let name = question.name.as_str();
    if question.kind == PTR
        && let Some(address) = reversed(name)
    {
        let found = directory.networks.iter().find_map(|names| {
            let first = names.by_address.get(&address)?;
            Some(if names.network.is_empty() { first.clone() } else { format!("{first}.{}", names.network) })
        });
        return match found {
            Some(name) => Answer::Reply(question.pointer(&name, SECONDS)),
            None => Answer::Forward,
        };
    }
    match directory.find(name) {
        Some(addresses) => Answer::Reply(reply(question, addresses, turn)),
        None if directory.would_leak(name) => Answer::Reply(question.outcome(Outcome::NoSuchName)),
        None => Answer::Forward,
    }
}

fn reply(question: &Question, addresses: Vec<IpAddr>, turn: usize) -> Vec<u8> {
    let wanted = |address: &IpAddr| match question.kind {
        A => address.is_ipv4(),
        AAAA => address.is_ipv6(),
        kind => kind == ANY,
    };
    let mut addresses: Vec<IpAddr> = addresses.into_iter().filter(wanted).collect();
    if !addresses.is_empty() {
        let places = addresses.len();
        addresses.rotate_left(turn % places);
    }
    question.addresses(&addresses, SECONDS)
}

impl Directory {
    fn find(&self, name: &str) -> Option<Vec<IpAddr>> {
        if HOST.contains(&name) {
            return Some(self.host.clone());
        }
        let target = self.links.get(name).map_or(name, String::as_str);
        let found: Vec<IpAddr> =
            self.networks.iter().filter_map(|names| names.find(target)).flatten().copied().collect();
        (!found.is_empty()).then_some(found)
    }

    /// One of our names with a search domain behind it: a resolver's guess after our own answer.
    fn would_leak(&self, name: &str) -> bool {
        let plain = |domain: &String| name.strip_suffix(domain.as_str())?.strip_suffix('.');
        self.search.iter().filter_map(plain).any(|name| self.find(name).is_some())
    }
}

/// The address behind a name such as `2.0.0.10.in-addr.arpa`.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(text) = name.strip_suffix(".in-addr.arpa") {
        let octets: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
        let octets: [u8; 4] = octets?.try_into().ok()?;
        let [d, c, b, a] = octets;
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let text = name.strip_suffix(".ip6.arpa")?;
    let digits: Option<Vec<u128>> =
        text.split('.').map(|part| (part.len() == 1).then(|| u128::from_str_radix(part, 16).ok())?).collect();
    let digits = digits.filter(|digits| digits.len() == 32)?;
    let number = digits.iter().rev().fold(0, |number, digit| number << 4 | digit);
    Some(Ipv6Addr::from_bits(number).into())
}

/// The answer to a question nobody could be asked about.
#[must_use]
pub fn failure(question: &[u8]) -> Option<Vec<u8>> {
    Some(message::question(question).ok()?.outcome(Outcome::Failed))
}

#[cfg(test)]
mod tests {
    use super::super::message::question;
    use super::super::message::tests::ask;
    use super::*;

    fn directory() -> Directory {
        let members = [
            (vec!["10.0.0.2", "fd00::2"], vec!["web", "www", "0123456789ab"]),
            (vec!["10.0.0.3"], vec!["web2", "www"]),
        ];
        let members = members.into_iter().map(|(addresses, names)| {
            let addresses = addresses.into_iter().map(|text| text.parse().expect("an address")).collect();
            (addresses, names.into_iter().map(str::to_owned).collect())
        });
        Directory {
            networks: vec![Names::parse(&write_names("Net1", members))],
            links: BTreeMap::from([("db".into(), "web2".into())]),
            host: vec!["10.0.0.1".parse().expect("an address")],
            search: vec!["lan".into()],
        }
    }

    fn told(name: &str, kind: u16, turn: usize) -> String {
        let bytes = ask(name, kind);
        let question = question(&bytes).expect("a question");
        match answer(&question, &directory(), turn) {
            Answer::Forward => "forward".into(),
            Answer::Reply(reply) => {
                let records = u16::from_be_bytes([reply[6], reply[7]]);
                let tail = &reply[bytes.len()..];
                let shown = match (kind, tail.len()) {
                    (_, 0) => String::new(),
                    (A, _) => Ipv4Addr::from(<[u8; 4]>::try_from(&tail[12..16]).expect("four bytes")).to_string(),
                    _ => String::from_utf8_lossy(&tail[12..]).chars().filter(char::is_ascii_graphic).collect(),
                };
                format!("{} {records} {shown}", reply[3] & 0xf)
            }
        }
    }

    #[test]
    fn names_aliases_ids_and_links_are_found_whatever_their_case() {
        assert_eq!(told("web", A, 0), "0 1 10.0.0.2");
        assert_eq!(told("WEB.net1", A, 0), "0 1 10.0.0.2");
        assert_eq!(told("0123456789ab", A, 0), "0 1 10.0.0.2");
        assert_eq!(told("db", A, 0), "0 1 10.0.0.3");
        assert_eq!(told("host.docker.internal", A, 0), "0 1 10.0.0.1");
        assert_eq!(told("gateway.docker.internal", AAAA, 0), "0 0 ");
    }

    #[test]
    fn a_name_of_several_gives_each_its_turn() {
        assert_eq!(told("www", A, 0), "0 2 10.0.0.2");
        assert_eq!(told("www", A, 1), "0 2 10.0.0.3");
        assert_eq!(told("www", A, 2), "0 2 10.0.0.2");
    }

    #[test]
    fn what_is_ours_is_never_told_to_others() {
        assert_eq!(told("web2", AAAA, 0), "0 0 ", "no such address");
        assert_eq!(told("web", 15, 0), "0 0 ", "no mail");
        assert_eq!(told("web.lan", A, 0), "3 0 ");
        assert_eq!(told("example.lan", A, 0), "forward");
        assert_eq!(told("example", A, 0), "forward");
    }

    #[test]
    fn addresses_are_called_by_their_first_name() {
        assert_eq!(told("2.0.0.10.in-addr.arpa", PTR, 0), "0 1 webnet1");
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(told(six, PTR, 0), "0 1 webnet1");
        assert_eq!(told("9.9.9.9.in-addr.arpa", PTR, 0), "forward");
    }
}
