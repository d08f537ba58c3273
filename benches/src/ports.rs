//! Published ports as another machine sees them: how long a new connection takes, how much passes in a second.
//!
//! ```text
//!   [namespace "outside" 198.18.77.2] ── veth ── 198.18.77.1 [ host ] ── bridge ── container: `teu-bench serve`
//! ```
//!
//! Held against the rule that Docker makes: a DNAT in prerouting, laid for another port of the same container in a table of
//! our own, so that both ways share everything but what is compared. Docker's own engine is not asked, because its rules
//! would go into the machine's iptables.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::engine::Engine;
use crate::failure::{Failure, While};
use crate::process;
use crate::report::{Contender, Report};

const CONNECT: &str = "published port: new connection and first byte, from another machine";
const LOCAL: &str = "published port: new connection and first byte, from the host by 127.0.0.1";
const PASS: &str = "published port: 256 MiB from another machine";
/// Port inside the container.
const INSIDE: u16 = 7;
const HERE: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
const BYTES: usize = 256 << 20;
const BUFFER: usize = 256 << 10;

/// The face that runs in the container: answers the first byte, then takes all that comes and says so.
pub(crate) fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, INSIDE)).while_doing("listen")?;
    for mut stream in listener.incoming().flatten() {
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut buffer = vec![0; BUFFER];
            stream.read_exact(&mut buffer[..1])?;
            stream.write_all(b"!")?;
            while stream.read(&mut buffer)? > 0 {}
            stream.write_all(b".")
        });
    }
    Ok(())
}

/// A machine outside and the rule to compare with; both are gone with this.
struct Outside {
    name: String,
}

impl Outside {
    fn new(container: &str, rule_port: u16) -> Result<Self, Failure> {
        let outside = Self { name: format!("teub{}", std::process::id()) };
        let (name, here, there) = (&outside.name, format!("{}h", outside.name), format!("{}o", outside.name));
        let ip = |line: String| process::output(Command::new("ip").args(line.split_whitespace()));
        ip(format!("netns add {name}"))?;
        ip(format!("link add {here} type veth peer name {there} netns {name}"))?;
        ip(format!("address add {HERE}/30 dev {here}"))?;
        ip(format!("link set {here} up"))?;
        ip(format!("-n {name} address add 198.18.77.2/30 dev {there}"))?;
        ip(format!("-n {name} link set {there} up"))?;
        ip(format!("-n {name} route add default via {HERE}"))?;
        let table = format!(
            "table ip {name} {{ chain translation {{ type nat hook prerouting priority dstnat; tcp dport {rule_port} dnat to \
             {container}:{INSIDE}; }}; }}"
        );
        process::output(Command::new("nft").arg(table))?;
        Ok(outside)
    }

    /// Does something in the other machine.
    fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        let namespace = File::open(format!("/run/netns/{}", self.name)).while_doing("open the namespace")?;
        std::thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
                    .while_doing("enter the namespace")?;
                work()
            };
            scope.spawn(inside).join().unwrap_or_else(|_| Err(Failure("the work outside panicked".into())))
        })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = process::output(Command::new("nft").args(["delete", "table", "ip", &self.name]));
        let _ = process::output(Command::new("ip").args(["link", "delete", &format!("{}h", self.name)]));
        let _ = process::output(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

/// All three works, on teu's engine; the rule stands for Docker.
pub(crate) fn measure(engine: &Engine, image: &str, rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let own = std::env::current_exe().while_doing("find this program")?;
    let bind = format!("{}:/teu-bench:ro", own.display());
    let rule_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .while_doing("find a free port")?
        .port();
    let publish = INSIDE.to_string();
    let line = ["run", "-d", "--name", "served", "-p", &publish, "-v", &bind, image, "/teu-bench", "serve"];
    engine.output(&line)?;
    let told = engine.output(&["port", "served", &publish])?;
    let port = told.lines().next().and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    let port: u16 = port.ok_or_else(|| Failure(format!("port: {told}")))?;
    let container =
        engine.output(&["inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "served"])?;
    let outside = Outside::new(container.trim(), rule_port)?;
    let ways = [(Contender::Teu, port), (Contender::Docker, rule_port)];
    for round in 0..rounds * 10 + 5 {
        for (contender, port) in ways {
            let took = outside.run(|| first_byte(SocketAddr::from((HERE, port))).map(|(took, _)| took))?;
            if round >= 5 {
                report.time(CONNECT, contender, took);
            }
        }
        let (took, _) = first_byte(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        if round >= 5 {
            report.time(LOCAL, Contender::Teu, took);
        }
    }
    for _ in 0..rounds {
        for (contender, port) in ways {
            report.time(PASS, contender, outside.run(|| pass(SocketAddr::from((HERE, port))))?);
        }
    }
    engine.output(&["rm", "-f", "served"])?;
    Ok(())
}

fn first_byte(to: SocketAddr) -> Result<(Duration, TcpStream), Failure> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).while_doing(format!("connect to {to}"))?;
    stream.set_nodelay(true).while_doing("set a socket up")?;
    stream.write_all(b"?").while_doing("ask")?;
    stream.read_exact(&mut [0]).while_doing("hear the answer")?;
    Ok((start.elapsed(), stream))
}

fn pass(to: SocketAddr) -> Result<Duration, Failure> {
    let (_, mut stream) = first_byte(to)?;
    let buffer = vec![0; BUFFER];
    let start = Instant::now();
    for _ in 0..BYTES / BUFFER {
        stream.write_all(&buffer).while_doing("send")?;
    }
    stream.shutdown(std::net::Shutdown::Write).while_doing("end")?;
    stream.read_exact(&mut [0]).while_doing("hear that all has come")?;
    Ok(start.elapsed())
}
