//! Commands that end in time: run to their end, or watched while they run.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{patience, slowness};

/// No command of a test takes longer, a build in Debian included.
const DEADLINE: Duration = Duration::from_secs(240);

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; 128+n for signal n.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// What was run, for messages.
    pub command: String,
}

impl Ran {
    /// Standard output without the last newline, of a command that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        self.ends_with(0).out.trim_end_matches('\n').to_owned()
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {}\nout: {}\nerr: {}", self.command, self.out, self.err);
        self
    }

    /// Checks that it was refused: the exit code, and one sentence that says `words`. After it may stand a hint, and
    /// then the block by which Docker shows how a command is used.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        let ran = self.ends_with(code);
        for part in words {
            let told = ran.err.to_lowercase().contains(&part.to_lowercase());
            assert!(told, "{} does not say \"{part}\":\n{}", ran.command, ran.err);
        }
        let mut lines = ran.err.lines().peekable();
        let sentence = lines.next().is_some_and(|line| !line.is_empty());
        assert!(sentence, "{} should say a sentence:\n{}", ran.command, ran.err);
        let _ = lines.next_if(|line| line.starts_with("hint: "));
        if lines.next_if_eq(&"").is_some() {
            if lines.next_if(|line| line.starts_with("Usage:  ")).is_some() {
                while lines.next_if(|line| line.starts_with('\t')).is_some() {}
                assert_eq!(lines.next(), Some(""), "{}:\n{}", ran.command, ran.err);
            }
            let more = lines.next().unwrap_or_default();
            let known = ["Run '", "See '"].iter().any(|start| more.starts_with(start));
            assert!(known && more.ends_with("--help' for more information"), "{}:\n{}", ran.command, ran.err);
        }
        assert_eq!(lines.next(), None, "{} should say one sentence:\n{}", ran.command, ran.err);
        ran
    }

    /// Checks that a build was refused with a sentence that says `words`; what was done before stands above it.
    #[track_caller]
    pub fn refused_build(self, words: &[&str]) -> Self {
        assert_ne!(self.code, 0, "{}\nout: {}\nerr: {}", self.command, self.out, self.err);
        for part in words {
            assert!(self.err.contains(part), "{} does not say \"{part}\":\n{}", self.command, self.err);
        }
        self
    }
}

/// Runs a command to its end, without input.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    run_with(command, b"")
}

/// Runs a command to its end with this input.
#[track_caller]
pub fn run_with(command: &mut Command, input: &[u8]) -> Ran {
    let mut running = Running::spawn(command);
    let mut stdin = running.stdin.take().expect("stdin");
    let input = input.to_vec();
    // A command that reads nothing breaks the pipe, which is its right.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let ran = running.finish();
    let _ = writer.join().expect("writer");
    ran
}

/// A command that runs.
pub struct Running {
    child: Child,
    command: String,
    stdin: Option<ChildStdin>,
    chunks: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    errors: Option<JoinHandle<Vec<u8>>>,
    /// Dropped when the command ended in time.
    watchdog: Option<mpsc::Sender<()>>,
}

impl Running {
    /// Starts it.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("run {name}: {error}"));
        let (mut out, mut err) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
        let (send, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(count @ 1..) = out.read(&mut chunk) {
                if send.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            text
        });
        let (watchdog, ended) = mpsc::channel::<()>();
        let pid = pid_of(&child);
        std::thread::spawn(move || {
            if ended.recv_timeout(DEADLINE * slowness()) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let stdin = child.stdin.take();
        Self { child, command: name, stdin, chunks, buffer: vec![], errors: Some(errors), watchdog: Some(watchdog) }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signal");
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("an open stdin");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("written");
    }

    /// Ends its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits until its output has `text`; everything up to and including it.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = find(&self.buffer, text.as_bytes()) {
                let rest = self.buffer.split_off(at + text.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.buffer, rest)).into_owned();
            }
            match self.chunks.recv_timeout(patience()) {
                Ok(chunk) => self.buffer.extend(chunk),
                Err(why) => {
                    let (said, command) = (String::from_utf8_lossy(&self.buffer).into_owned(), self.command.clone());
                    let _ = self.child.kill();
                    let errors = self.errors.take().map(|errors| errors.join().expect("reader")).unwrap_or_default();
                    let errors = String::from_utf8_lossy(&errors).into_owned();
                    panic!("{command} never said {text:?} ({why}), but:\n{said}\n{errors}");
                }
            }
        }
    }

    /// Its next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.until("\n").trim_end().to_owned()
    }

    /// Ends its input and waits for its end; the output is what was not taken yet.
    #[track_caller]
    pub fn finish(mut self) -> Ran {
        self.close();
        let mut out = std::mem::take(&mut self.buffer);
        while let Ok(chunk) = self.chunks.recv() {
            out.extend(chunk);
        }
        let err = self.errors.take().map(|errors| errors.join().expect("reader")).unwrap_or_default();
        let status = self.child.wait().expect("waited");
        self.watchdog = None;
        let code = status.code().unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt;
            128 + status.signal().unwrap_or(0)
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code, out: text(&out), err: text(&err), command: self.command.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.watchdog.is_some() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
