//! Daemons on other machines: over TCP, or through `ssh`, which runs `dial-stdio` there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::endpoint::Ssh;
use crate::failure::{Failure, Naming, reason};

/// How long a machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects to `host:port`.
pub(super) async fn tcp(address: &str) -> Result<TcpStream, io::Error> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "2375"));
    let port: u16 = port.parse().map_err(|_| io::Error::other(format!("'{port}' is no port")))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for ip in addresses(host).await? {
        let attempt = tokio::time::timeout(PATIENCE, TcpStream::connect(SocketAddr::new(ip, port))).await;
        match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a host: itself when it is one, from /etc/hosts, else from the system's resolver, which a static
/// program cannot load and so asks through `getent`.
async fn addresses(host: &str) -> Result<Vec<IpAddr>, io::Error> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    let known = in_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known);
    }
    let asked = Command::new("getent").args(["ahosts", "--", host]).stdin(Stdio::null()).output().await;
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut found: Vec<IpAddr> = text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    found.dedup();
    if found.is_empty() { Err(io::Error::other(format!("no such host: {host}"))) } else { Ok(found) }
}

/// The addresses that a hosts file gives a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let ip: Option<IpAddr> = words.next().and_then(|ip| ip.parse().ok());
        found.extend(ip.filter(|_| words.any(|name| name.eq_ignore_ascii_case(host))));
    }
    found
}

/// The two pipes of a program as one connection; the program ends with it.
pub(super) struct Program {
    _child: Child,
    /// Taken when the other end is to see its end.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

/// Connects through `ssh`.
pub(super) fn ssh(target: &Ssh) -> Result<Program, Failure> {
    let mut command = Command::new("ssh");
    command.args(words(target)).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C is for the container, not for the connection to it.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| {
        Failure::new(format!("run ssh: {}", reason(&error))).hint("install an ssh client: apt install openssh-client")
    })?;
    let pipes = child.stdin.take().zip(child.stdout.take()).ok_or_else(|| io::Error::other("it has no pipes"));
    let (input, output) = pipes.or_fail("run ssh")?;
    Ok(Program { _child: child, input: Some(input), output })
}

/// The words after `ssh`. On the other machine teu's command is taken where there is one, else Docker's.
fn words(target: &Ssh) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if let Some(user) = &target.user {
        flag("-l", user.clone());
    }
    if let Some(port) = target.port {
        flag("-p", port.to_string());
    }
    flag("-o", "ConnectTimeout=30".into());
    words.extend(["-T", "--"].map(str::to_owned));
    words.push(target.host.clone());
    let socket = target.socket.iter().map(|socket| format!(" --host {}", quoted(&format!("unix://{socket}"))));
    let rest = format!("{} system dial-stdio", socket.collect::<String>());
    let script = format!("if command -v teu >/dev/null 2>&1; then exec teu{rest}; else exec docker{rest}; fi");
    words.push(format!("sh -c {}", quoted(&script)));
    words
}

/// A word as a shell reads it unchanged.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl AsyncRead for Program {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for Program {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Shutting a pipe down closes nothing; dropping it does.
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_a_hosts_file() {
        let text = "127.0.0.1 localhost\n::1 localhost ip6 # far\n10.0.0.1 Far far.example\nx far\n";
        assert_eq!(in_hosts(text, "far"), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(text, "localhost").len(), 2);
        assert_eq!(in_hosts(text, "near"), Vec::<IpAddr>::new());
    }

    #[test]
    fn ssh_is_called_so_that_nothing_of_the_address_is_a_flag() {
        let target = Ssh {
            user: Some("ann".into()),
            host: "far".into(),
            port: Some(2222),
            socket: Some("/run/a b.sock".into()),
        };
        let words = words(&target);
        assert_eq!(words[..8], ["-l", "ann", "-p", "2222", "-o", "ConnectTimeout=30", "-T", "--"]);
        assert_eq!(words[8], "far");
        assert!(words[9].starts_with("sh -c 'if command -v teu "), "{}", words[9]);
        assert!(words[9].contains("--host '\\''unix:///run/a b.sock'\\'' system dial-stdio"), "{}", words[9]);
    }
}
