//! Published ports as another machine sees them: how long a new connection takes, how much passes in a second.
//!
//! ```text
//!   [namespace "outside" 198.18.77.2] ── veth ── 198.18.77.1 [ host ] ── bridge ── container: `teu-bench serve`
//! ```
//!
//! Each engine has a network namespace that stands for its host, where nobody else's rules are, and an outside of its own.
//! Docker lays its rules there. The floor is one rule that translates in prerouting and asks no firewall, laid for
//! another port of teu's container in a table of our own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::engine::Engine;
use crate::failure::{Failure, While};
use crate::ground::Ground;
use crate::process;
use crate::report::{Contender, Report};
use crate::works;

const CONNECT: &str = "published port: new connection and first byte, from another machine";
const LOCAL: &str = "published port: new connection and first byte, from the host by 127.0.0.1";
const PASS: &str = "published port: 256 MiB from another machine";
/// Port inside the container.
const INSIDE: u16 = 7;
const SERVED: &str = "served";
/// Between two connections, so that the end of one is no part of the next.
const PAUSE: Duration = Duration::from_millis(2);
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

/// A machine outside a host; gone with this.
struct Outside {
    name: String,
}

impl Outside {
    /// Beside the host whose network namespace is named `host`.
    fn new(name: String, host: &str) -> Result<Self, Failure> {
        let outside = Self { name };
        let (name, here, there) = (&outside.name, format!("{}h", outside.name), format!("{}o", outside.name));
        let ip = |line: String| process::output(Command::new("ip").args(line.split_whitespace()));
        ip(format!("netns add {name}"))?;
        ip(format!("-n {host} link add {here} type veth peer name {there} netns {name}"))?;
        ip(format!("-n {host} address add {HERE}/30 dev {here}"))?;
        ip(format!("-n {host} link set {here} up"))?;
        ip(format!("-n {name} address add 198.18.77.2/30 dev {there}"))?;
        ip(format!("-n {name} link set {there} up"))?;
        ip(format!("-n {name} route add default via {HERE}"))?;
        Ok(outside)
    }
}

/// Does something in a network namespace.
fn within<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    let namespace = File::open(format!("/run/netns/{namespace}")).while_doing("open the namespace")?;
    std::thread::scope(|scope| {
        let inside = || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
                .while_doing("enter the namespace")?;
            work()
        };
        scope.spawn(inside).join().unwrap_or_else(|_| Err(Failure("the work in a namespace panicked".into())))
    })
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The pair goes with it, at once where the host is this machine.
        let _ =
            process::output(Command::new("ip").args(["-n", &self.name, "link", "delete", &format!("{}o", self.name)]));
        let _ = process::output(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

/// A container that serves, and its port on the host.
fn serve_in(engine: &Engine, image: &str) -> Result<u16, Failure> {
    let own = std::env::current_exe().while_doing("find this program")?;
    let bind = format!("{}:/teu-bench:ro", own.display());
    let publish = INSIDE.to_string();
    engine.output(&["run", "-d", "--name", SERVED, "-p", &publish, "-v", &bind, image, "/teu-bench", "serve"])?;
    let told = engine.output(&["port", SERVED, &publish])?;
    let port = told.lines().next().and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    port.ok_or_else(|| Failure(format!("port: {told}")))
}

/// All works. The one who turns first changes, and nobody starts while another's connection still ends.
pub(crate) fn measure(teu: &Path, ground: &Ground, rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let name = |of: &str| format!("teub{of}{}", std::process::id());
    let [host, docker_host] = [name("t"), name("d")];
    let engine = Engine::teu_apart(teu, &ground.path("teu-apart"), &host)?;
    let docker = Engine::docker_apart(&ground.path("docker-apart"), &docker_host)?;
    works::load(&engine, ground)?;
    works::load(&docker, ground)?;
    let port = serve_in(&engine, works::IMAGE)?;
    let docker_port = serve_in(&docker, works::IMAGE)?;
    let rule_port = lay_rule(&engine, &host)?;
    let outside = Outside::new(name("o"), &host)?;
    let beside_docker = Outside::new(name("p"), &docker_host)?;
    let mut ways = [
        (Contender::Teu, &outside, &host, port),
        (Contender::Docker, &beside_docker, &docker_host, docker_port),
        (Contender::Floor, &outside, &host, rule_port),
    ];
    for round in 0..rounds * 20 + 5 {
        ways.rotate_left(1);
        for (contender, outside, host, port) in ways {
            for (work, from, to) in [(CONNECT, &outside.name, HERE), (LOCAL, host, Ipv4Addr::LOCALHOST)] {
                if work == LOCAL && contender == Contender::Floor {
                    continue;
                }
                std::thread::sleep(PAUSE);
                let took = within(from, || first_byte(SocketAddr::from((to, port))).map(|(took, _)| took))?;
                if round >= 5 {
                    report.time(work, contender, took);
                }
            }
        }
    }
    // A single one of these says little, and takes a fifth of a second.
    for _ in 0..rounds.max(10) {
        ways.rotate_left(1);
        for (contender, outside, _, port) in ways {
            report.time(PASS, contender, within(&outside.name, || pass(SocketAddr::from((HERE, port))))?);
        }
    }
    Ok(())
}

/// The rule that is the floor, for a port of its own, which it tells.
fn lay_rule(engine: &Engine, host: &str) -> Result<u16, Failure> {
    let port = process::free_port()?;
    let address = ["inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", SERVED];
    let container = engine.output(&address)?;
    let text = format!(
        "table ip bench {{ chain translation {{ type nat hook prerouting priority dstnat; tcp dport {port} dnat to \
         {container}:{INSIDE}; }}; }}"
    );
    let mut nft = Command::new("nsenter");
    process::output(nft.arg(format!("--net=/run/netns/{host}")).arg("nft").arg(text))?;
    Ok(port)
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
