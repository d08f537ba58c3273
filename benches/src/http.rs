//! HTTP over a Unix socket, one request a connection: as little as takes no time of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Failure, While};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, and how long it took to come whole.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) took: Duration,
}

impl Answer {
    /// A text member of the JSON in it.
    pub(crate) fn text(&self, member: &str) -> Result<String, Failure> {
        let value: Value = serde_json::from_slice(&self.body).while_doing("read an answer")?;
        let text = value.get(member).and_then(Value::as_str).map(String::from);
        text.ok_or_else(|| Failure(format!("the answer has no {member}: {value}")))
    }
}

/// Asks and reads the whole answer; a status of 400 and above is a failure.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    let what = format!("{method} {path}");
    let begin = Instant::now();
    let mut reader = open(socket, method, path, body)?;
    let status = head(&mut reader).while_doing(&what)?;
    let mut text = Vec::new();
    reader.read_to_end(&mut text).while_doing(&what)?;
    let took = begin.elapsed();
    let body = if status.1 { unchunked(&text) } else { text };
    if status.0 >= 400 {
        return Err(Failure(format!("{what}: {}: {}", status.0, String::from_utf8_lossy(&body).trim())));
    }
    Ok(Answer { body, took })
}

/// Asks for what does not end; what is read from it are lines and the lengths of their chunks.
pub(crate) fn listen(socket: &Path, path: &str) -> Result<BufReader<UnixStream>, Failure> {
    let mut reader = open(socket, "GET", path, None)?;
    head(&mut reader).while_doing(path)?;
    Ok(reader)
}

fn open(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Result<BufReader<UnixStream>, Failure> {
    let mut stream = UnixStream::connect(socket).while_doing("connect to the engine")?;
    stream.set_read_timeout(Some(PATIENCE)).while_doing("set a socket up")?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).while_doing("ask")?;
    Ok(BufReader::new(stream))
}

/// The status, and whether the body comes in chunks.
fn head(reader: &mut BufReader<UnixStream>) -> std::io::Result<(u16, bool)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let mut chunked = false;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
    }
    Ok((status, chunked))
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && rest.len() >= end + 2 + size) else { break };
        whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    whole
}
