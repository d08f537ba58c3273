//! One run of the program `git`: what it is told of the world, and what it says when it fails.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::{Error, GitUrl, Identity, Options};

/// Of what a program says no more is kept.
const MOST: u64 = 1 << 20;

/// Protocols that are spoken, also to submodules: no files of this machine, no programs.
const PROTOCOLS: &str = "http:https:git:ssh";

/// What of this process's environment a run for nobody sees.
const SEEN: [&str; 12] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// Settings of every run: no program of a repository's, no process that stays behind.
const SETTINGS: [(&str, &str); 5] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
];

/// SSH for nobody: no keys, no questions, and only hosts that the machine's administrator has vouched for.
const SSH: &str = "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=/dev/null -o IdentityAgent=none \
                   -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes";

/// Git in one folder.
pub(crate) struct Git<'g> {
    pub(crate) url: &'g GitUrl,
    pub(crate) options: &'g Options,
    pub(crate) folder: &'g Path,
    /// The person's own way to run ssh, once it is known.
    ssh: OnceCell<Option<String>>,
}

impl<'g> Git<'g> {
    /// Git for a repository, in a folder.
    pub(crate) fn new(url: &'g GitUrl, options: &'g Options, folder: &'g Path) -> Self {
        Self { url, options, folder, ssh: OnceCell::new() }
    }

    /// Runs git to its end; what it wrote.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<String, Error> {
        let ssh = match self.options.identity {
            Identity::Nobody => Some(SSH.to_owned()),
            Identity::Person => self.ssh.get_or_init(|| self.own_ssh()).await.clone(),
        };
        self.run_with(args, ssh.as_deref()).await
    }

    /// How the person's git runs ssh, but that it asks nothing; nothing where it is a program that is told so in another way.
    async fn own_ssh(&self) -> Option<String> {
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_some() {
            return None;
        }
        let command = match std::env::var("GIT_SSH_COMMAND") {
            Ok(command) => command,
            // Not being set is a failure as well.
            Err(_) => self.run_with(&["config", "--get", "core.sshCommand"], None).await.unwrap_or_default(),
        };
        silent(command.trim())
    }

    async fn run_with(&self, args: &[&str], ssh: Option<&str>) -> Result<String, Error> {
        let mut command = Command::new("git");
        command.args(args).current_dir(self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        self.environment(&mut command);
        command.process_group(0).envs(ssh.map(|ssh| ("GIT_SSH_COMMAND", ssh)));
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if self.folder.is_dir() => Error::NoProgram,
            _ => Error::io("run git")(error),
        })?;
        let mut running = Running { child, ends: true };
        let (out, said) = (running.child.stdout.take(), running.child.stderr.take());
        let (out, said) = tokio::join!(read(out), read(said));
        let status = running.child.wait().await.map_err(Error::io("wait for git"))?;
        running.ends = false;
        match status.success() {
            true => Ok(out),
            false => Err(Error::Refused {
                what: name(args),
                url: self.url.remote.clone(),
                said: match sentence(&said) {
                    said if said.is_empty() => status.to_string(),
                    said => said,
                },
            }),
        }
    }

    fn environment(&self, command: &mut Command) {
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut first = 0;
        match self.options.identity {
            Identity::Person => {
                let set = |name: &str| std::env::var(name).ok();
                first = set("GIT_CONFIG_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0);
                for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_TEMPLATE_DIR"] {
                    command.env_remove(name);
                }
            }
            Identity::Nobody => {
                command.env_clear();
                command.envs(SEEN.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
                command.env("HOME", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
                command.env("GIT_ASKPASS", "");
                settings.push(("credential.helper".into(), String::new()));
            }
        }
        command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        // By the environment: arguments can be read by everybody on the machine.
        if let (Some(scope), Some(value)) = (&self.url.scope, self.authorization()) {
            settings.push((format!("http.{scope}.extraHeader"), format!("Authorization: {value}")));
        }
        for (number, (name, value)) in settings.iter().enumerate() {
            let number = first + number;
            command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.env("GIT_CONFIG_COUNT", (first + settings.len()).to_string());
    }

    fn authorization(&self) -> Option<String> {
        let login = || {
            self.url.login.as_ref().map(|login| match login.contains(':') {
                true => login.clone(),
                false => format!("{login}:"),
            })
        };
        let basic = |login: String| format!("Basic {}", STANDARD.encode(login));
        self.options.authorization.clone().or_else(|| login().map(basic))
    }
}

/// An ssh command that asks nothing, where it is OpenSSH's.
fn silent(command: &str) -> Option<String> {
    let command = if command.is_empty() { "ssh" } else { command };
    let program = command.split_whitespace().next().and_then(|word| word.rsplit('/').next());
    (program == Some("ssh")).then(|| format!("{command} -o BatchMode=yes"))
}

/// A program that ends when this is dropped, with those it has started: they are a group of their own.
struct Running {
    child: Child,
    ends: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid.filter(|_| self.ends) {
            // One that has just ended by itself needs no signal. Where they write is removed next: nobody may be left who does.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            let gone = || test_kill_process_group(pid).is_err();
            let _ = (0..200).find(|_| {
                gone() || {
                    std::thread::sleep(Duration::from_millis(1));
                    false
                }
            });
        }
    }
}

/// What comes, up to a limit; the rest is read and forgotten.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    // A stream that breaks off says no more; the exit status tells how it went.
    let _ = (&mut stream).take(MOST).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// The command among the arguments, for messages.
fn name(args: &[&str]) -> &'static str {
    const NAMES: [&str; 6] = ["ls-remote", "fetch", "checkout", "submodule", "init", "remote"];
    NAMES.into_iter().find(|name| args.contains(name)).unwrap_or("command")
}

/// What git said of a failure as one line without names and passwords.
fn sentence(said: &str) -> String {
    let quiet = ["hint:", "warning:", "Cloning into", "Submodule ", "remote: Counting", "remote: Total"];
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !quiet.iter().any(|start| line.starts_with(start)));
    let lines = lines.map(|line| line.strip_prefix("fatal: ").unwrap_or(line));
    let printable = |line: &str| line.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
    lines.take(5).map(|line| without_logins(&printable(line))).collect::<Vec<_>>().join("; ")
}

/// `https://name:word@host` as `https://host`.
fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(part.len());
        let start = part[..end].rfind('@').map_or(0, |at| at + 1);
        shown = shown + "://" + &part[start..];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_asks_nothing() {
        assert_eq!(silent("").as_deref(), Some("ssh -o BatchMode=yes"));
        assert_eq!(silent("/usr/bin/ssh -i key").as_deref(), Some("/usr/bin/ssh -i key -o BatchMode=yes"));
        assert_eq!(silent("plink -batch"), None);
    }

    #[test]
    fn failures_are_one_line_without_passwords() {
        let said = "Cloning into '/x'...\nremote: no\nfatal: unable to access 'https://me:pw@host/b.git/': 401 of http://a@b\nhint: x\n";
        assert_eq!(sentence(said), "remote: no; unable to access 'https://host/b.git/': 401 of http://b");
        assert_eq!(without_logins("a@b c://d/e@f"), "a@b c://d/e@f");
        assert_eq!(sentence("\u{1b}[31mred\n"), "[31mred");
    }
}
