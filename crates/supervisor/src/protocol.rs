//! What the engine and a supervisor say to each other, as data.
//!
//! One Unix stream socket, `<task-dir>/socket`. A connection is one of two kinds, decided by its first line:
//!
//! ```text
//! control   engine  {"create":{…}}\n {"signal":{…}}\n …         one Request a line
//!           answer  {"created":{"pid":7}}\n "done"\n …           one Event a line
//! attach    engine  {"attach":{…}}\n  stdin bytes …              half-close ends stdin (see CreateRequest::stdin_once)
//!           answer  "attached"\n      output bytes …             8-byte frames, or raw bytes on a terminal
//! ```
//!
//! On a control connection every request has exactly one answer, in order: `Created`, `Started`, `State`,
//! `Published`, `PortTaken`, `Done`, `Failed` or `Refused`. Between the answers come the events nobody asked for: `Exited`
//! on every control connection, `Started` on those that did not ask for the start, and before the answer to `Create`
//! perhaps `Network`. After the container's own `Exited` the supervisor closes the
//! connection and ends.
//!
//! A frame is `[stream, 0, 0, 0, length as big-endian u32]` and then that many bytes; stream 1 is stdout, 2 is stderr.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Process, Resources, Spec};
use teu_runtime::Rootfs;

/// The longest request line a supervisor reads; a longer one ends the connection.
pub const MAX_LINE: usize = 4 << 20;

/// One line from the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the container and stop before its program is executed. Answer: `Created` or `Failed`.
    Create(Box<CreateRequest>),
    /// Execute the container's program. Answer: `Started` or `Failed`.
    Start,
    /// The same on a connection that belongs to its streams after `Started`, as after [`Request::Attach`]; only as the
    /// first line.
    StartAttached(Wanted),
    /// Run one more process inside the running container. Answer: `Started` or `Failed`. With streams asked for, the
    /// connection belongs to them after `Started`, as after [`Request::Attach`].
    Exec(Box<ExecRequest>),
    /// Send a signal. Answer: `Done`, or `Refused` when the target is not running.
    Signal {
        /// The exec to signal; none is the container's first process.
        exec: Option<String>,
        /// The signal's number.
        signal: i32,
        /// To every process of the container instead of only the first.
        all: bool,
    },
    /// Set the size of a terminal. Answer: `Done`.
    Resize {
        /// The exec whose terminal it is; none is the container's own.
        exec: Option<String>,
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Freeze every process of the container. Answer: `Done`.
    Pause,
    /// Thaw them. Answer: `Done`.
    Resume,
    /// Change limits of the running container. Answer: `Done`.
    Update(Box<Resources>),
    /// Ask what is running. Answer: `State`.
    State,
    /// End a process' input as if its client had closed it. Answer: `Done`.
    CloseStdin {
        /// The exec whose input it is; none is the container's own.
        exec: Option<String>,
    },
    /// Hold these ports of the host for the container, instead of the ones before; what is held already stays held.
    /// Answer: `Published`, or `PortTaken` and nothing has changed.
    Publish(Vec<PortRequest>),
    /// Answer the container's questions for names, at 127.0.0.11 in its network namespace. Answer: `Done`.
    Names(Box<NamesRequest>),
    /// Make this connection a stream of the container's first process; only as the first line. Answer: one line
    /// `Attached`, then raw bytes. The process may come later.
    Attach(Wanted),
    /// Save the processes to disk, by criu; unless they go on, the container's end follows. Answer: `Done`.
    Checkpoint {
        /// The folder of the images; it is made if it is not there.
        images: PathBuf,
        /// The container goes on.
        leave_running: bool,
    },
    /// Give up a container that was never started (or a supervisor that was never given one): clean up and end.
    /// Answer: `Done`, or `Refused` when the container is running.
    Discard,
}

/// What `Request::Create` carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateRequest {
    /// The container's id.
    pub id: String,
    /// The runtime specification.
    pub spec: Spec,
    /// Where the root file system comes from.
    pub rootfs: Rootfs,
    /// Where output is kept.
    #[serde(default)]
    pub log: LogConfig,
    /// Have a first process that only looks after the program and its orphans.
    #[serde(default)]
    pub init: bool,
    /// Keep stdin open for attached clients; otherwise input is at its end from the start.
    #[serde(default)]
    pub stdin: bool,
    /// The end of the first attached client's input is the end of the container's input.
    #[serde(default)]
    pub stdin_once: bool,
    /// The terminal's first size.
    #[serde(default)]
    pub size: Option<WindowSize>,
    /// The images of a checkpoint to go on from, instead of the program's beginning. The process of the answer only
    /// holds the network namespace then; the container's own is that of `Started`.
    #[serde(default)]
    pub checkpoint: Option<PathBuf>,
}

/// What `Request::Exec` carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The exec's id.
    pub exec: String,
    /// The process to run.
    pub process: Process,
    /// Keep stdin open for the attached client.
    #[serde(default)]
    pub stdin: bool,
    /// The terminal's first size.
    #[serde(default)]
    pub size: Option<WindowSize>,
    /// The connection is to become its streams.
    #[serde(default)]
    pub streams: Option<Wanted>,
}

/// Which streams a client asks for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Wanted {
    /// Bytes from the client become input.
    pub stdin: bool,
    /// Send what the process writes to its stdout (or terminal).
    pub stdout: bool,
    /// Send what the process writes to its stderr.
    pub stderr: bool,
}

/// One port of the host to be held, on one or more of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// `tcp`, `udp` or `sctp`; of the last only the number is chosen.
    pub protocol: String,
    /// The first port to try; 0 is any free one.
    pub first: u16,
    /// The last port to try.
    pub last: u16,
    /// The addresses, all of which must have the port free.
    pub places: Vec<PortPlace>,
}

/// One address of the host, and where in the container what comes to it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPlace {
    /// The host's address; `0.0.0.0` and `::` are every one of their family.
    pub host_ip: IpAddr,
    /// The container's address and port.
    pub target: SocketAddr,
}

/// What `Request::Names` carries; it replaces what was said before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesRequest {
    /// The files of names of its networks.
    pub files: Vec<PathBuf>,
    /// Names of its own for others.
    pub links: BTreeMap<String, String>,
    /// What `host.docker.internal` is.
    pub host: Vec<IpAddr>,
    /// The domains its resolver hangs onto names.
    pub search: Vec<String>,
    /// Servers its user named, asked as the container itself would.
    pub servers: Vec<IpAddr>,
    /// The host's servers may be asked. Not for a container that has no way out.
    pub upstream: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// What becomes of a container's output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Kept on disk, to be read again.
    #[serde(default)]
    pub file: Option<LogFile>,
    /// Sent to somebody who collects logs.
    #[serde(default)]
    pub remote: Option<Remote>,
    /// The container never waits for the collector; this many bytes are kept for it, and what is more is lost. Without
    /// it the container waits for one that is there and slow.
    #[serde(default)]
    pub buffer: Option<u64>,
}

/// Where output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// In which form.
    pub format: LogFormat,
    /// The newest file of `json-file`, the directory of `local`.
    pub path: PathBuf,
    /// Bytes after which a new file is begun; 0 is never.
    pub max_size: u64,
    /// How many files are kept, the newest included.
    pub max_files: u32,
    /// Files that are full are compressed.
    pub compress: bool,
    /// Added to each line, where the form has a place for it.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// The form of a kept log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Docker's: a JSON object a line, `path`, and when that is full `path.1`, `path.2`, …
    JsonFile,
    /// Ours: binary, with an index by time.
    Local,
}

/// Who collects logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    /// A syslog.
    Syslog(Syslog),
    /// The journal of systemd.
    Journald(Journald),
    /// A Graylog.
    Gelf(Gelf),
    /// A Fluentd.
    Fluentd(Fluentd),
}

/// How to speak to a Graylog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gelf {
    /// Tried in this order.
    pub addresses: Vec<LogAddress>,
    /// The machine.
    pub hostname: String,
    /// How datagrams are packed; a stream is not.
    pub compression: Option<GelfCompression>,
    /// Further fields of every message, without the underscore that they begin with.
    pub fields: BTreeMap<String, String>,
}

/// How a datagram for Graylog is packed; by level, -1 is the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GelfCompression {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip(i8),
    /// RFC 1950.
    Zlib(i8),
}

/// How to speak to a Fluentd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fluentd {
    /// Tried in this order.
    pub addresses: Vec<LogAddress>,
    /// What messages are sorted by there.
    pub tag: String,
    /// Fields of every record.
    pub fields: BTreeMap<String, String>,
    /// Times have nanoseconds.
    pub sub_second: bool,
    /// Bytes that wait at most, unless the buffer says otherwise.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// How to speak to a syslog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syslog {
    /// Tried in this order.
    pub addresses: Vec<LogAddress>,
    /// 0 to 23, RFC 5424, 6.2.1.
    pub facility: u8,
    /// The form of messages.
    pub format: SyslogFormat,
    /// Names the program.
    pub tag: String,
    /// The machine.
    pub hostname: String,
}

/// The form of a message for a syslog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// RFC 3164 without the host, as programs write to their own machine's.
    #[default]
    Unix,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424, with seconds.
    Rfc5424,
    /// RFC 5424, with microseconds.
    Rfc5424Micro,
}

/// How to speak to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journald {
    /// Its socket.
    pub socket: LogAddress,
    /// Fields of every entry.
    pub fields: BTreeMap<String, String>,
}

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogAddress {
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A Unix datagram socket.
    Unixgram(PathBuf),
    /// A port for datagrams.
    Udp(SocketAddr),
    /// A port for streams.
    Tcp(SocketAddr),
}

/// One line from the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The container exists and waits for `Start`.
    Created {
        /// Its first process, as the host counts.
        pid: i32,
    },
    /// Which network namespace the container will have, so that it can be plugged in while the container is made: that
    /// of `/proc/<pid>/fd/<fd>`, which is there until the start. Should the zygote end early it is another one after
    /// all: that of the process in `Created` counts.
    Network {
        /// The supervisor.
        pid: i32,
        /// Its descriptor.
        fd: i32,
    },
    /// A process executes its program.
    Started {
        /// The exec, or none for the container's first process.
        exec: Option<String>,
        /// The process, as the host counts.
        pid: i32,
    },
    /// A container or exec could not be made.
    Failed {
        /// The exec, or none for the container.
        exec: Option<String>,
        /// What stood in the way.
        error: teu_runtime::Error,
    },
    /// A process has ended and all of its output has been delivered.
    Exited {
        /// The exec, or none for the container's first process.
        exec: Option<String>,
        /// How it ended.
        status: ExitStatus,
    },
    /// The answer to `Request::State`.
    State(Box<State>),
    /// The ports are held.
    Published {
        /// The port of each request, in order.
        ports: Vec<u16>,
    },
    /// A port could not be had.
    PortTaken {
        /// The host's address.
        address: IpAddr,
        /// The port asked for.
        port: u16,
        /// Somebody else has it; otherwise it cannot be had for another reason.
        taken: bool,
        /// The reason.
        message: String,
    },
    /// The connection is an attach stream from the next byte on.
    Attached,
    /// The request was carried out.
    Done,
    /// The request was not carried out.
    Refused {
        /// Why, as a sentence.
        message: String,
    },
}

/// What a supervisor knows about its container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container's id; none before `Create`.
    pub id: Option<String>,
    /// Its first process; none before `Created` and after its exit.
    pub pid: Option<i32>,
    /// Started and not yet exited.
    pub running: bool,
    /// Frozen.
    pub paused: bool,
    /// When it was started, RFC 3339.
    pub started_at: Option<String>,
    /// How it ended, when it has.
    pub exit: Option<ExitStatus>,
    /// The execs that are running.
    pub execs: Vec<ExecState>,
}

/// One running exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// The exec's id.
    pub exec: String,
    /// Its process, as the host counts.
    pub pid: i32,
}

/// How a process ended; `exit.json` is this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// What it returned, or 128 and the signal that ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it, or another process of the container, for want of memory.
    pub oom_killed: bool,
    /// When, RFC 3339 with nanoseconds.
    pub finished_at: String,
}
