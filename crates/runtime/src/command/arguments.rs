//! The command line, as runc's users write it: `--flag value`, `--flag=value`, `-f value`, flags behind arguments too
//! (but not where arguments are another program's), one dash or two.
//!
//! Tables here, one parser, one help text. The command line of `teu` itself is another face and shares nothing with it.

use super::Failure;

/// A flag: its names without dashes, the longest first, whether it takes a value, and what it is for.
pub(super) struct Flag {
    pub(super) names: &'static [&'static str],
    pub(super) value: bool,
    pub(super) about: &'static str,
}

/// A verb.
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) arguments: &'static str,
    pub(super) flags: &'static [Flag],
    /// At least and at most so many arguments.
    pub(super) count: (usize, usize),
    /// Whether everything behind the first argument is an argument, whatever it looks like.
    pub(super) foreign_tail: bool,
}

/// What was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(super) arguments: Vec<String>,
}

impl Given {
    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a flag.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag was given that takes no value, or was given `true`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// An argument by its place; the count was checked.
    pub(super) fn argument(&self, place: usize) -> &str {
        self.arguments.get(place).map_or("", String::as_str)
    }

    /// A number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let read = |text: &str| text.parse().map_err(|_| Failure::new(format!("invalid value for {name}: \"{text}\"")));
        self.value(name).filter(|text| !text.is_empty()).map(read).transpose()
    }
}

const fn flag(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag { names, value: false, about }
}

const fn value(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag { names, value: true, about }
}

/// Flags before the verb.
pub(super) const GLOBAL: &[Flag] = &[
    flag(&["debug"], "say what is done"),
    value(&["log"], "write messages to this file instead of standard error"),
    value(&["log-format"], "text (default) or json"),
    value(&["root"], "where the state of containers is kept (default /run/teu-runtime)"),
    flag(&["systemd-cgroup"], "let systemd make cgroups; cgroupsPath is then slice:prefix:name"),
    value(&["rootless"], "ignore what an ordinary user may not do with cgroups: true, false or auto (default)"),
    flag(&["help", "h"], "show help"),
    flag(&["version", "v"], "print the version"),
];

const BUNDLE: Flag = value(&["bundle", "b"], "the directory of config.json (default: the current one)");
const CONSOLE: Flag = value(&["console-socket"], "a Unix socket that gets the terminal's master side");
const PIDFD: Flag = value(&["pidfd-socket"], "a Unix socket that gets a descriptor of the process");
const PID_FILE: Flag = value(&["pid-file"], "a file that gets the process id");
const NO_PIVOT: Flag = flag(&["no-pivot"], "change the root without pivot_root(2), for a machine on its first root");
const NO_KEYRING: Flag = flag(&["no-new-keyring"], "keep the caller's session keyring");
const PRESERVE: Flag = value(&["preserve-fds"], "pass on so many descriptors after standard error and $LISTEN_FDS");
const DETACH: Flag = flag(&["detach", "d"], "do not wait for the process");
const FORMAT: Flag = value(&["format", "f"], "table (default) or json");

const NO_SUBREAPER: Flag = flag(&["no-subreaper"], "do not take care of processes that its first one leaves behind");
const IMAGE_PATH: Flag = value(&["image-path"], "where the images are (default ./checkpoint)");
const WORK_PATH: Flag = value(&["work-path"], "where criu has its log (default: the image path)");
const TCP_ESTABLISHED: Flag = flag(&["tcp-established"], "connections of TCP too");
const EXT_UNIX_SK: Flag = flag(&["ext-unix-sk"], "Unix sockets may be connected to processes outside");
const SHELL_JOB: Flag = flag(&["shell-job"], "the session and the terminal may be from outside");
const LAZY_PAGES: Flag = flag(&["lazy-pages"], "pages of memory follow when they are asked for");
const FILE_LOCKS: Flag = flag(&["file-locks"], "file locks too");
const CGROUPS_MODE: Flag = value(&["manage-cgroups-mode"], "soft (default), full, strict or ignore");
const EMPTY_NS: Flag = value(&["empty-ns"], "network: leave the namespace empty, as it always is");
const AUTO_DEDUP: Flag = flag(&["auto-dedup"], "free in earlier images what later ones have");

const fn verb(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Verb {
    Verb { name, about, arguments: "<container-id>", flags, count: (1, 1), foreign_tail: false }
}

/// Every verb.
pub(super) const VERBS: &[Verb] = &[
    verb(
        "checkpoint",
        "save a running container's processes to disk, by criu(8)",
        &[
            IMAGE_PATH,
            WORK_PATH,
            value(&["parent-path"], "images of an earlier --pre-dump, relative to the image path"),
            flag(&["leave-running"], "the container goes on afterwards"),
            TCP_ESTABLISHED,
            flag(&["tcp-skip-in-flight"], "leave out connections that are just being made"),
            flag(&["link-remap"], "give files without a name one for the time"),
            EXT_UNIX_SK,
            SHELL_JOB,
            LAZY_PAGES,
            value(&["status-fd"], "a descriptor that gets a null byte when lazy pages can be asked for"),
            value(&["page-server"], "address:port of a page server"),
            FILE_LOCKS,
            flag(&["pre-dump"], "only the memory, ahead of time; the container goes on"),
            CGROUPS_MODE,
            EMPTY_NS,
            AUTO_DEDUP,
        ],
    ),
    verb(
        "create",
        "make a container, up to its program",
        &[BUNDLE, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE],
    ),
    verb("delete", "remove what a stopped container has left", &[flag(&["force", "f"], "end it first if it runs")]),
    verb(
        "events",
        "show what a container uses, and when it runs out of memory",
        &[value(&["interval"], "how often (default 5s)"), flag(&["stats"], "show what it uses once, and end")],
    ),
    Verb {
        arguments: "<container-id> <command> [command options]  || -p process.json <container-id>",
        count: (1, usize::MAX),
        foreign_tail: true,
        ..verb(
            "exec",
            "run a further process in a container",
            &[
                CONSOLE,
                PIDFD,
                value(&["cwd"], "working directory"),
                value(&["env", "e"], "NAME=value, added to the environment"),
                flag(&["tty", "t"], "give it a terminal"),
                value(&["user", "u"], "uid[:gid]"),
                value(&["additional-gids", "g"], "a further group"),
                value(&["process", "p"], "a file with the whole process, as in config.json"),
                DETACH,
                PID_FILE,
                value(&["process-label"], "SELinux label"),
                value(&["apparmor"], "AppArmor profile"),
                flag(&["no-new-privs"], "let no execve give a privilege"),
                value(&["cap", "c"], "add a capability"),
                PRESERVE,
                value(&["cgroup"], "[controller:]path below the container's cgroup"),
                flag(&["ignore-paused"], "also into a paused container"),
            ],
        )
    },
    Verb {
        arguments: "<container-id> [signal]",
        count: (1, 2),
        ..verb("kill", "send a signal (SIGTERM) to a container's first process", &[flag(&["all", "a"], "obsolete")])
    },
    Verb {
        arguments: "",
        count: (0, 0),
        ..verb("list", "list containers", &[FORMAT, flag(&["quiet", "q"], "only their ids")])
    },
    verb("pause", "stop every process of a container", &[]),
    Verb {
        arguments: "<container-id> [ps options]",
        count: (1, usize::MAX),
        foreign_tail: true,
        ..verb("ps", "list the processes of a container", &[FORMAT])
    },
    verb(
        "restore",
        "bring a container back from a checkpoint, by criu(8)",
        &[
            CONSOLE,
            IMAGE_PATH,
            WORK_PATH,
            TCP_ESTABLISHED,
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            CGROUPS_MODE,
            BUNDLE,
            DETACH,
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            EMPTY_NS,
            AUTO_DEDUP,
            LAZY_PAGES,
            value(&["lsm-profile"], "another profile of the security module, type:name"),
            value(&["lsm-mount-context"], "another label of the mounts"),
        ],
    ),
    verb("resume", "let the processes of a paused container go on", &[]),
    verb(
        "run",
        "make a container, start it, and wait for its end",
        &[
            BUNDLE,
            CONSOLE,
            PIDFD,
            DETACH,
            flag(&["keep"], "do not delete it when it has ended"),
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
        ],
    ),
    Verb {
        arguments: "",
        count: (0, 0),
        ..verb(
            "spec",
            "write a config.json to start from",
            &[BUNDLE, flag(&["rootless"], "one that an ordinary user can run")],
        )
    },
    verb("start", "execute the program of a created container", &[]),
    verb("state", "show the state of a container", &[]),
    verb(
        "update",
        "change the limits of a container",
        &[
            value(&["resources", "r"], "a file with linux.resources as in config.json, or - for standard input"),
            value(&["blkio-weight"], "weight of block I/O, 10 to 1000"),
            value(&["cpu-period"], "the period, microseconds"),
            value(&["cpu-quota"], "processor time in each period, microseconds"),
            value(&["cpu-burst"], "processor time that can be saved up, microseconds"),
            value(&["cpu-share"], "weight against other containers"),
            value(&["cpu-rt-period"], "the real-time period, microseconds"),
            value(&["cpu-rt-runtime"], "real-time in each such period, microseconds"),
            value(&["cpuset-cpus"], "processors, 0-2,7"),
            value(&["cpuset-mems"], "memory nodes"),
            value(&["cpu-idle"], "1: run only when nothing else does"),
            value(&["memory"], "memory, bytes or with a unit"),
            value(&["memory-reservation"], "memory under pressure"),
            value(&["memory-swap"], "memory and swap together, -1 for no limit"),
            value(&["pids-limit"], "processes and threads"),
            value(&["kernel-memory"], "obsolete"),
            value(&["kernel-memory-tcp"], "obsolete"),
            value(&["l3-cache-schema"], "Intel RDT: the L3 cache"),
            value(&["mem-bw-schema"], "Intel RDT: memory bandwidth"),
        ],
    ),
    Verb { arguments: "", count: (0, 0), ..verb("features", "show what this runtime can do, as JSON", &[]) },
];

const HELP: Flag = flag(&["help", "h"], "show help");

/// Takes flags and arguments off a command line. With `stop_at_argument`, the rest begins at the first argument.
pub(super) fn parse(flags: &'static [Flag], words: &[String], stop_at_argument: bool) -> Result<Given, Failure> {
    let mut given = Given::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            given.arguments.extend(words.cloned());
            break;
        }
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            given.arguments.push(word.clone());
            if stop_at_argument {
                given.arguments.extend(words.cloned());
                break;
            }
            continue;
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        let (name, inline) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        let found = flags.iter().chain([&HELP]).find(|flag| flag.names.contains(&name));
        let flag = found.ok_or_else(|| Failure::new(format!("flag provided but not defined: -{name}")))?;
        let value = match (inline, flag.value) {
            (Some(value), _) => value.to_owned(),
            (None, false) => "true".to_owned(),
            (None, true) => {
                words.next().cloned().ok_or_else(|| Failure::new(format!("flag needs an argument: -{name}")))?
            }
        };
        given.flags.push((flag.names[0], value));
    }
    Ok(given)
}

/// Refuses too few or too many arguments, in runc's words.
pub(super) fn check_count(program: &str, verb: &Verb, given: &Given) -> Result<(), Failure> {
    let (least, most) = verb.count;
    let name = verb.name;
    let wrong = match given.arguments.len() {
        count if least == most && count != least => format!("requires exactly {least} argument(s)"),
        count if count < least => format!("requires a minimum of {least} argument(s)"),
        count if count > most => format!("requires a maximum of {most} argument(s)"),
        _ => return Ok(()),
    };
    println!("Incorrect Usage.\n");
    print!("{}", help(program, Some(verb)));
    Err(Failure::new(format!("{program}: \"{name}\" {wrong}")))
}

/// The help text of a verb, or of all.
pub(super) fn help(program: &str, verb: Option<&Verb>) -> String {
    let flags = |flags: &[Flag]| -> String {
        let line = |flag: &Flag| {
            let dashes = |name: &&str| if name.len() == 1 { format!("-{name}") } else { format!("--{name}") };
            let names = flag.names.iter().map(dashes).collect::<Vec<_>>().join(", ");
            let names = if flag.value { format!("{names} value") } else { names };
            format!("   {names:<28}{}\n", flag.about)
        };
        flags.iter().map(line).collect()
    };
    match verb {
        Some(verb) => format!(
            "NAME:\n   {program} {} - {}\n\nUSAGE:\n   {program} {} [command options] {}\n\nOPTIONS:\n{}",
            verb.name,
            verb.about,
            verb.name,
            verb.arguments,
            flags(verb.flags),
        ),
        None => {
            let verbs = VERBS.iter().map(|verb| format!("   {:<14}{}\n", verb.name, verb.about)).collect::<String>();
            format!(
                "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program} [global options] command \
                 [command options] [arguments...]\n\nCOMMANDS:\n{verbs}\nGLOBAL OPTIONS:\n{}",
                flags(GLOBAL),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn flags_of(name: &str) -> &'static [Flag] {
        VERBS.iter().find(|verb| verb.name == name).expect("a verb").flags
    }

    #[test]
    fn flags_come_before_and_behind_arguments() {
        let given = parse(flags_of("create"), &words("-b /x id --pid-file=/p -no-pivot"), false).expect("parsed");
        assert_eq!(given.value("bundle"), Some("/x"));
        assert_eq!(given.value("pid-file"), Some("/p"));
        assert!(given.has("no-pivot") && !given.has("no-new-keyring"));
        assert_eq!(given.arguments, ["id"]);
    }

    #[test]
    fn a_programs_own_flags_are_not_ours() {
        let given = parse(flags_of("exec"), &words("-e A=1 --env B=2 id ls -t --user"), true).expect("parsed");
        assert_eq!(given.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(given.arguments, ["id", "ls", "-t", "--user"]);
        assert!(!given.has("tty"));
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert!(parse(flags_of("state"), &words("--fast id"), false).is_err());
        assert!(parse(flags_of("create"), &words("id --bundle"), false).is_err());
    }
}
