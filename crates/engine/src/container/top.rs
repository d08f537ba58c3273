//! `top`: a container's processes in the columns of ps(1), read from proc(5).
//!
//! No program is run, least of all one of the container's. Of ps(1)'s options those are known that choose columns: `-f`,
//! `-l`, `aux` and `-o`; those that choose processes (`-e`, `a`, `x`) change nothing, because the container's processes
//! are what is shown.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use teu_api::container::TopResponse;
use teu_sys::proc::Stat;
use teu_sys::text;

use super::{Container, Phase};
use crate::error::{Error, Result};

/// Clock ticks a second, as proc(5) counts them on every Linux of today.
const TICKS: u64 = 100;

const FULL: &[&str] = &["uid", "pid", "ppid", "c", "stime", "tname", "time", "cmd"];
const LONG: &[&str] = &["s", "uidn", "pid", "ppid", "c", "pri", "ni", "vsz", "tname", "time", "comm"];
const LOADED: &[&str] = &["user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "start", "time", "command"];
const PLAIN: &[&str] = &["pid", "tname", "time", "cmd"];

/// Keyword of `-o`, its title, its value.
type Column = (&'static str, &'static str, fn(&Process, &Host) -> String);

const COLUMNS: &[Column] = &[
    ("uid", "UID", |p, host| host.user(p.uid)),
    ("user", "USER", |p, host| host.user(p.uid)),
    ("euser", "EUSER", |p, host| host.user(p.uid)),
    ("ruser", "RUSER", |p, host| host.user(p.uid)),
    ("uidn", "UID", |p, _| p.uid.to_string()),
    ("euid", "EUID", |p, _| p.uid.to_string()),
    ("gid", "GID", |p, _| p.gid.to_string()),
    ("pid", "PID", |p, _| p.pid.to_string()),
    ("ppid", "PPID", |p, _| p.number(4).to_string()),
    ("pgid", "PGID", |p, _| p.number(5).to_string()),
    ("sid", "SID", |p, _| p.number(6).to_string()),
    ("sess", "SESS", |p, _| p.number(6).to_string()),
    ("c", "C", |p, host| host.share(p).to_string()),
    ("%cpu", "%CPU", |p, host| format!("{}.{}", host.share(p), host.tenths(p) % 10)),
    ("pcpu", "%CPU", |p, host| format!("{}.{}", host.share(p), host.tenths(p) % 10)),
    ("%mem", "%MEM", |p, host| host.memory_share(p)),
    ("pmem", "%MEM", |p, host| host.memory_share(p)),
    ("vsz", "VSZ", |p, _| (p.number(23) / 1024).to_string()),
    ("rss", "RSS", |p, _| p.resident.to_string()),
    ("pri", "PRI", |p, _| p.stat.field(18).to_string()),
    ("ni", "NI", |p, _| p.stat.field(19).to_string()),
    ("nlwp", "NLWP", |p, _| p.number(20).to_string()),
    ("s", "S", |p, _| p.stat.state().to_string()),
    ("state", "S", |p, _| p.stat.state().to_string()),
    ("stat", "STAT", |p, _| p.stat.state().to_string()),
    ("tty", "TT", |p, _| p.terminal()),
    ("tname", "TTY", |p, _| p.terminal()),
    ("time", "TIME", |p, _| clock(p.processor_ticks() / TICKS)),
    ("etime", "ELAPSED", |p, host| elapsed(host.age(p).as_secs())),
    ("etimes", "ELAPSED", |p, host| host.age(p).as_secs().to_string()),
    ("stime", "STIME", |p, host| host.started(p)),
    ("start", "START", |p, host| host.started(p)),
    ("comm", "COMMAND", |p, _| p.name.clone()),
    ("ucmd", "CMD", |p, _| p.name.clone()),
    ("cmd", "CMD", |p, _| p.command.clone()),
    ("args", "COMMAND", |p, _| p.command.clone()),
    ("command", "COMMAND", |p, _| p.command.clone()),
];

impl Container {
    /// Its processes, in the columns that `ps_args` ask for.
    ///
    /// # Errors
    /// When it does not run, or an option is not known.
    pub async fn top(&self, ps_args: &str) -> Result<TopResponse> {
        let record = self.record();
        let columns = columns(ps_args)?;
        match record.state.phase {
            Phase::Running | Phase::Paused => {}
            Phase::Restarting => return Err(Error::conflict(format!("container {} is restarting", record.id))),
            _ => return Err(Error::conflict(format!("container {} is not running", record.id))),
        }
        let pids = self
            .cgroup()?
            .processes()
            .map_err(|error| Error::io("list the processes of", record.id.as_ref(), error))?;
        let host = Host::now();
        let processes = pids.iter().filter_map(|pid| Process::read(*pid));
        let rows = processes.map(|process| columns.iter().map(|(_, value)| value(&process, &host)).collect());
        let response =
            TopResponse { titles: columns.iter().map(|(title, _)| title.clone()).collect(), processes: rows.collect() };
        self.shared.context.emit_container("top", &record, &[]);
        Ok(response)
    }
}

type Chosen = Vec<(String, fn(&Process, &Host) -> String)>;

/// The columns that the options of ps(1) choose.
fn columns(options: &str) -> Result<Chosen> {
    let unknown = |what: &str| Error::bad(format!("top: option \"{what}\" of ps is not known; choose columns with -o"));
    let mut chosen: Chosen = vec![];
    let mut preset = None;
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        if let Some(list) = word.strip_prefix("--format=") {
            named(list, &mut chosen)?;
            continue;
        }
        let letters = word.strip_prefix('-').unwrap_or(word);
        for (at, letter) in letters.char_indices() {
            match letter {
                'o' | 'O' => {
                    let attached = &letters[at + 1..];
                    let list = if attached.is_empty() { words.next().unwrap_or_default() } else { attached };
                    named(list, &mut chosen)?;
                    break;
                }
                'f' | 'F' if word.starts_with('-') => preset = Some(FULL),
                'l' => preset = preset.or(Some(LONG)),
                'u' if !word.starts_with('-') => preset = Some(LOADED),
                'e' | 'A' | 'a' | 'x' | 'd' | 'w' | 'f' => {}
                _ => return Err(unknown(word)),
            }
        }
    }
    if chosen.is_empty() {
        named(&preset.unwrap_or(PLAIN).join(","), &mut chosen)?;
    }
    if !chosen.iter().any(|(title, _)| title == "PID") {
        return Err(Error::bad("Couldn't find PID field in ps output"));
    }
    Ok(chosen)
}

/// Adds columns by their keywords, `pid,comm=NAME`.
fn named(list: &str, chosen: &mut Chosen) -> Result<()> {
    for entry in list.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        let (keyword, title) = entry.split_once('=').map_or((entry, None), |(keyword, title)| (keyword, Some(title)));
        let column = COLUMNS.iter().find(|(known, ..)| *known == keyword);
        let (_, usual, value) =
            column.ok_or_else(|| Error::bad(format!("top: column \"{keyword}\" of ps is not known")))?;
        chosen.push((title.unwrap_or(usual).to_string(), *value));
    }
    Ok(())
}

/// One process, as proc(5) tells.
struct Process {
    pid: i32,
    uid: u32,
    gid: u32,
    name: String,
    command: String,
    /// In KiB.
    resident: u64,
    stat: Stat,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = Stat::of(pid).ok()?;
        let name = stat.name().to_string();
        let status = text::read(format!("/proc/{pid}/status")).ok()?;
        let id = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut command = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        if command.is_empty() {
            command = format!("[{name}]");
        }
        // A process of the kernel's has none.
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        Some(Self { pid, uid: id("Uid:")?, gid: id("Gid:")?, name, command, resident, stat })
    }

    /// A field of proc_pid_stat(5), by its number there.
    fn number(&self, field: usize) -> u64 {
        self.stat.number(field).unwrap_or(0)
    }

    fn processor_ticks(&self) -> u64 {
        self.number(14) + self.number(15)
    }

    fn terminal(&self) -> String {
        match self.number(7) {
            0 => "?".into(),
            device => format!("pts/{}", device & 0xff | (device >> 12) & 0xf_ff00),
        }
    }
}

/// What the figures of a process are relative to.
struct Host {
    users: BTreeMap<u32, String>,
    uptime: Duration,
    memory: u64,
}

impl Host {
    fn now() -> Self {
        let users = text::read("/etc/passwd").unwrap_or_default();
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_string();
            Some((fields.nth(1)?.parse().ok()?, name))
        };
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        Self {
            // The first entry of an id is the one that counts.
            users: users.lines().rev().filter_map(user).collect(),
            uptime: Duration::try_from_secs_f64(uptime).unwrap_or_default(),
            memory: memory.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1),
        }
    }

    fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    fn age(&self, process: &Process) -> Duration {
        self.uptime.saturating_sub(Duration::from_millis(process.number(22) * 1000 / TICKS))
    }

    /// Tenths of a percent of one processor, over its whole life.
    fn tenths(&self, process: &Process) -> u64 {
        let age = u64::try_from(self.age(process).as_millis()).unwrap_or(u64::MAX).max(1);
        process.processor_ticks() * 1000 / TICKS * 1000 / age
    }

    fn share(&self, process: &Process) -> u64 {
        self.tenths(process) / 10
    }

    fn memory_share(&self, process: &Process) -> String {
        let tenths = process.resident * 1000 / self.memory.max(1);
        format!("{}.{}", tenths / 10, tenths % 10)
    }

    /// `HH:MM`, UTC.
    fn started(&self, process: &Process) -> String {
        let age = i64::try_from(self.age(process).as_secs()).unwrap_or(0);
        let then = jiff::Timestamp::now().as_second() - age;
        format!("{:02}:{:02}", then / 3600 % 24, then / 60 % 60)
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `[[days-]hours:]minutes:seconds`.
fn elapsed(seconds: u64) -> String {
    let (days, hours, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds % 3600);
    let rest = format!("{:02}:{:02}", rest / 60, rest % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &str) -> String {
        columns(options).unwrap().into_iter().map(|(title, _)| title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_choose_columns_as_they_do_for_ps() {
        assert_eq!(titles("-ef"), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles("aux"), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        assert_eq!(titles("-o pid,comm=NAME"), "PID NAME");
        assert_eq!(titles("-eopid,etime"), "PID ELAPSED");
        assert_eq!(titles(""), "PID TTY TIME CMD");
        for wrong in ["-Z", "-o user", "-o no,such", "--forest"] {
            assert!(columns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_process_has_every_column() {
        let process = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        let host = Host::now();
        for (keyword, _, value) in COLUMNS {
            assert!(!value(&process, &host).is_empty(), "{keyword}");
        }
        assert_eq!((elapsed(5).as_str(), elapsed(90_061).as_str()), ("00:05", "1-01:01:01"));
    }
}
