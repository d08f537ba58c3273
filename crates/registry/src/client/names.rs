//! Host names to addresses, without the C library: a static binary has no name service switch.
//!
//! In this order: addresses as such, `localhost`, `/etc/hosts`, then the servers of `/etc/resolv.conf`, each asked for A
//! and AAAA at once over UDP, and over TCP where an answer was cut short. A query socket is connected, so only the server
//! asked can answer, and an answer counts only if it repeats identifier and question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Error;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
const DNS_PORT: u16 = 53;
/// resolv.conf(5): more servers than this are ignored.
const MOST_SERVERS: usize = 3;

/// All addresses of `host`, in the order in which to try them.
///
/// # Errors
/// When no server answers, or none knows the name.
pub async fn lookup(host: &str) -> Result<Vec<IpAddr>, Error> {
    if let Some(known) = literal(host) {
        return Ok(known);
    }
    let hosts = tokio::fs::read_to_string(HOSTS).await.unwrap_or_default();
    let listed = in_hosts(&hosts, host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let settings = Settings::parse(&tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default());
    settings.ask(host).await
}

/// An address written as a name.
fn literal(host: &str) -> Option<Vec<IpAddr>> {
    host.parse().ok().map(|address| vec![address])
}

/// The addresses that hosts(5) gives a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let names_host = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
    };
    text.lines().filter_map(names_host).collect()
}

/// What resolv.conf(5) says.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let mut settings = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A scope (`fe80::1%eth0`) would need the interface's index; such servers are passed over.
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    settings.servers.extend(address.map(|address| SocketAddr::new(address, DNS_PORT)));
                }
                Some("search" | "domain") => {
                    settings.search = words.map(|word| word.trim_matches('.').into()).collect();
                }
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    settings.ndots = ndots.unwrap_or(settings.ndots);
                }
                _ => {}
            }
        }
        settings.servers.truncate(MOST_SERVERS);
        if settings.servers.is_empty() {
            settings.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
        }
        settings
    }

    /// The full names to try for `host`: as it is first if it has dots enough, else the search list first.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.into()];
        }
        let searched = self.search.iter().filter(|domain| !domain.is_empty()).map(|domain| format!("{host}.{domain}"));
        if host.matches('.').count() >= self.ndots {
            std::iter::once(host.to_string()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(host.to_string())).collect()
        }
    }

    async fn ask(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        let mut trouble = None;
        for name in self.candidates(host) {
            let Ok(name) = Name::from_ascii(format!("{name}.")) else {
                return Err(Error::NoSuchHost { host: host.into() });
            };
            let (v4, v6) = tokio::join!(self.query(&name, RecordType::A), self.query(&name, RecordType::AAAA));
            let mut found = Vec::new();
            for answer in [v4, v6] {
                match answer {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => trouble = Some(error),
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(match trouble {
            Some(source) => Error::Connect { address: format!("the name servers for {host}"), source },
            None => Error::NoSuchHost { host: host.into() },
        })
    }

    /// Asks server after server until one has an answer, be it that there is none.
    async fn query(&self, name: &Name, kind: RecordType) -> io::Result<Vec<IpAddr>> {
        let mut trouble = io::Error::from(io::ErrorKind::TimedOut);
        for server in self.servers.iter().cycle().take(self.servers.len() * ROUNDS) {
            let question = Question::new(name, kind)?;
            let answer = match tokio::time::timeout(TIMEOUT, question.put_to(*server)).await {
                Ok(answer) => answer,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            match answer.and_then(|message| question.addresses(&message)) {
                Ok(addresses) => return Ok(addresses),
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }
}

/// One question under one identifier.
struct Question {
    id: u16,
    query: Query,
    bytes: Vec<u8>,
}

impl Question {
    fn new(name: &Name, kind: RecordType) -> io::Result<Self> {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|_| io::Error::other("no random numbers"))?;
        let id = u16::from_ne_bytes(id);
        let query = Query::query(name.clone(), kind);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let bytes = message.to_vec().map_err(io::Error::other)?;
        Ok(Self { id, query, bytes })
    }

    async fn put_to(&self, server: SocketAddr) -> io::Result<Message> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await?;
            match self.is_answered_by(&buffer[..length]) {
                Some(message) if message.metadata.truncation => return self.put_to_over_tcp(server).await,
                Some(message) => return Ok(message),
                None => {}
            }
        }
    }

    async fn put_to_over_tcp(&self, server: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(self.bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&self.bytes).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        self.is_answered_by(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn is_answered_by(&self, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let ours = message.metadata.id == self.id
            && message.metadata.message_type == MessageType::Response
            && message.queries.first().is_some_and(|query| *query == self.query);
        ours.then_some(message)
    }

    /// The addresses in an answer. The server follows aliases for us, so the names on the way do not matter.
    fn addresses(&self, message: &Message) -> io::Result<Vec<IpAddr>> {
        let wanted = self.query.query_type();
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            other => return Err(io::Error::other(other.to_str())),
        }
        let address = |data: &RData| match data {
            RData::A(address) if wanted == RecordType::A => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) if wanted == RecordType::AAAA => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        Ok(message.answers.iter().filter_map(|record| address(&record.data)).collect())
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_hosts_file_gives_every_address_of_a_name() {
        let text = "# local\n127.0.0.1 localhost\n10.0.0.7\tRegistry.Test reg # own\nfe80::1 reg\nnonsense reg\n";
        assert_eq!(in_hosts(text, "registry.test"), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(text, "reg").len(), 2);
        assert!(in_hosts(text, "own").is_empty());
    }

    #[test]
    fn resolv_conf_is_read_as_its_page_says() {
        let settings = Settings::parse(
            "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a.test b.test.\noptions rotate ndots:2\n",
        );
        assert_eq!(settings.servers, ["10.0.0.1:53".parse().unwrap()]);
        assert_eq!(settings.candidates("x.y"), ["x.y.a.test", "x.y.b.test", "x.y"]);
        assert_eq!(settings.candidates("x.y.z")[0], "x.y.z");
        assert_eq!(settings.candidates("x."), ["x"]);
        assert_eq!(Settings::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    /// Answers one question over UDP by "ask me over TCP", and there with an address.
    async fn truncating_server(udp: UdpSocket, tcp: TcpListener) {
        let mut buffer = [0; 512];
        let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
        let mut answer = Message::from_vec(&buffer[..length]).unwrap();
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.id ^= 1;
        udp.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        answer.metadata.id ^= 1;
        answer.metadata.truncation = true;
        udp.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        let (mut stream, _) = tcp.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.unwrap();
        answer.metadata.truncation = false;
        let name = answer.queries[0].name().clone();
        answer.add_answer(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::new(10, 1, 2, 3)))));
        let bytes = answer.to_vec().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }

    #[tokio::test]
    async fn a_truncated_answer_is_fetched_over_tcp_and_a_foreign_one_is_passed_over() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let server = tokio::spawn(truncating_server(udp, tcp));
        let settings = Settings { servers: vec![address], search: Vec::new(), ndots: 1 };
        let name = Name::from_ascii("registry.test.").unwrap();
        let found = settings.query(&name, RecordType::A).await.unwrap();
        assert_eq!(found, [IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))]);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn addresses_and_localhost_need_no_server() {
        assert_eq!(lookup("192.0.2.1").await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(lookup("::1").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(lookup("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
