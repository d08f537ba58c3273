//! Bytes that pass through an engine: `cp` both ways, and a container's output by attach and by `logs`.
//!
//! Every round copies to a new place in a container that runs, and what came out is removed before the next round. The
//! host's side of a copy is memory: a disk that makes or removes fifty thousand files takes as long as it pleases. For
//! the same reason the containers stay until the last round is over: ext4 without a journal looks for a free inode
//! among all that were removed in the last minutes, one after the other, and takes ten times as long.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::engine::Engine;
use crate::failure::{Failure, While};
use crate::ground::Ground;
use crate::process::timed;
use crate::report::Report;

pub(crate) const LARGE_IN: &str = "cp of a file of 1 GiB into a container";
pub(crate) const LARGE_OUT: &str = "cp of a file of 1 GiB out of a container";
pub(crate) const MANY_IN: &str = "cp of 50,000 files into a container";
pub(crate) const MANY_OUT: &str = "cp of 50,000 files out of a container";
pub(crate) const ATTACH: &str = "run of 64 MiB of lines, to the end of the attached output";
pub(crate) const LOGS: &str = "logs of 64 MiB of lines, json-file";
pub(crate) const FOLLOW: &str = "logs -f of 64 MiB of lines while they are written, json-file";
pub(crate) const LOGS_DEFAULT: &str = "logs of 64 MiB of lines, the default log driver";

const CONTAINER: &str = "bench-files";
const WRITER: &str = "bench-output";
const LARGE: u64 = 1 << 30;
const FOLDERS: usize = 500;
const IN_FOLDER: usize = 100;
/// A line of 100 bytes with its end.
const LINE: &str =
    "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678";
/// What both engines' default drivers keep.
const BYTES: u64 = 64 << 20;
const BUFFER: usize = 1 << 20;

/// All works, engines taking turns.
pub(crate) fn measure(
    engines: &[Engine],
    image: &str,
    ground: &Ground,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let memory = InMemory::new(ground.path("memory"))?;
    let [large, many, out] = ["one-large", "many-small", "came-out"].map(|name| memory.0.join(name));
    fill(&large, &many)?;
    for engine in engines {
        engine.output(&["run", "-d", "--name", CONTAINER, image, "sleep", "100000"])?;
    }
    for round in 0..rounds {
        for engine in engines {
            copies(engine, round, [&large, &many, &out], report)?;
        }
        for engine in engines {
            output(engine, image, report)?;
        }
    }
    for engine in engines {
        engine.output(&["rm", "-f", CONTAINER])?;
    }
    Ok(())
}

/// A file system in memory; gone with this.
struct InMemory(PathBuf);

impl InMemory {
    fn new(place: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&place).while_doing(place.display())?;
        rustix::mount::mount("bench", &place, "tmpfs", MountFlags::empty(), c"mode=0700")
            .while_doing(place.display())?;
        Ok(Self(place))
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A file that is no run of zeros, and a tree of small ones.
fn fill(large: &Path, many: &Path) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(large).while_doing(large.display())?);
    let mut block = [0_u8; 1 << 16];
    for (number, byte) in block.iter_mut().enumerate() {
        *byte = u8::try_from(number * 7 % 251 + 1).unwrap_or(1);
    }
    for _ in 0..LARGE / block.len() as u64 {
        file.write_all(&block).while_doing(large.display())?;
    }
    file.flush().while_doing(large.display())?;
    for folder in 0..FOLDERS {
        let folder = many.join(format!("folder{folder}"));
        fs::create_dir_all(&folder).while_doing(folder.display())?;
        for number in 0..IN_FOLDER {
            fs::write(folder.join(format!("file{number}")), format!("a small file, number {number}\n"))?;
        }
    }
    Ok(())
}

fn copies(engine: &Engine, round: usize, [large, many, out]: [&Path; 3], report: &mut Report) -> Result<(), Failure> {
    let path = |path: &Path| path.display().to_string();
    let inside = |name: &str| format!("{CONTAINER}:/{name}{round}");
    for (work, from, to) in [
        (LARGE_IN, path(large), inside("large")),
        (LARGE_OUT, inside("large"), path(out)),
        (MANY_IN, path(many), inside("many")),
        (MANY_OUT, inside("many"), path(out)),
    ] {
        // What others have left to write is not ours to wait for.
        rustix::fs::sync();
        report.time(work, engine.contender, timed(&mut engine.command(&["cp", &from, &to]))?);
        if out.is_dir() {
            fs::remove_dir_all(out)?;
        } else if out.exists() {
            fs::remove_file(out)?;
        }
    }
    Ok(())
}

fn output(engine: &Engine, image: &str, report: &mut Report) -> Result<(), Failure> {
    let script = format!("yes {LINE} | head -c {BYTES}");
    let start = ["--name", WRITER, "--network", "none"];
    let json = ["--log-driver", "json-file", "--log-opt", "max-size=2g"];
    let program = [image, "sh", "-c", &script];
    rustix::fs::sync();
    let took = counted(engine, &[&["run", "--rm"], &start[..], &json, &program].concat())?;
    report.time(ATTACH, engine.contender, took);
    engine.output(&[&["run", "-d"], &start[..], &json, &program].concat())?;
    report.time(FOLLOW, engine.contender, counted(engine, &["logs", "-f", WRITER])?);
    report.time(LOGS, engine.contender, counted(engine, &["logs", WRITER])?);
    engine.output(&["rm", "-f", WRITER])?;
    engine.output(&[&["run", "-d"], &start[..], &program].concat())?;
    engine.output(&["wait", WRITER])?;
    report.time(LOGS_DEFAULT, engine.contender, counted(engine, &["logs", WRITER])?);
    engine.output(&["rm", "-f", WRITER]).map(drop)
}

/// Runs a command to its end, which must print every byte of the lines.
fn counted(engine: &Engine, words: &[&str]) -> Result<Duration, Failure> {
    let mut command = engine.command(words);
    let begin = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().while_doing(format!("run {}", words.join(" ")))?;
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    if let Some(out) = &mut child.stdout {
        loop {
            match out.read(&mut buffer)? {
                0 => break,
                count => total += count as u64,
            }
        }
    }
    let status = child.wait()?;
    let took = begin.elapsed();
    if !status.success() || total != BYTES {
        return Err(Failure(format!("{} ended ({status}) after {total} of {BYTES} bytes", words.join(" "))));
    }
    Ok(took)
}
