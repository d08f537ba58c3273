//! What one instruction comes down to, once the config it adds to and the arguments in force are known.

use teu_git::GitUrl;
use teu_oci::{ConfigChange, ContainerConfig, Digest, Healthcheck};

use super::created_by;
use super::{Chmod, PlanError, Scope, StepMount};
use crate::dockerfile::expand;
use crate::dockerfile::heredoc::Heredoc;
use crate::dockerfile::instruction::{self as written, Arg, Command, Instruction, Pair, RunNetwork, Transfer};

/// The search path of an image that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage as far as it is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The config so far.
    pub config: ContainerConfig,
    /// `MAINTAINER`, if given.
    pub author: Option<String>,
    scope: Scope,
    /// Declared arguments that have a value, in order.
    args: Vec<(String, String)>,
    /// Whether this stage set CMD: an ENTRYPOINT then keeps it.
    cmd_set: bool,
}

/// What is to be done for one instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Only the config changes; it has changed already.
    Describe {
        /// The changes that were made.
        changes: Vec<ConfigChange>,
        /// The entry in the image's history.
        created_by: String,
    },
    /// The directory must exist; the config has changed already.
    Workdir {
        /// The directory, absolute and clean.
        path: String,
        /// Who owns what has to be made, as USER said it.
        user: String,
        /// The entry in the image's history.
        created_by: String,
    },
    /// A process runs.
    Run(Box<RunStep>),
    /// Files come in.
    Copy(Box<CopyStep>),
}

/// A process to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStep {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, `NAME=value`: the image's, and the arguments declared so far.
    pub env: Vec<String>,
    /// Proxy settings, which also go into the environment but not into key or history.
    pub proxies: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// What it sees that is no part of the tree.
    pub mounts: Vec<StepMount>,
    /// User, as USER said it.
    pub user: String,
    /// Which network it has.
    pub network: RunNetwork,
    /// It has all privileges.
    pub insecure: bool,
    /// A here-document with an interpreter of its own, to be a file while the process runs.
    pub script: Option<Script>,
    /// The command as the progress shows and errors quote it.
    pub shown: String,
    /// The entry in the image's history.
    pub created_by: String,
}

/// An executable file that exists while a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where.
    pub path: String,
    /// What.
    pub content: String,
}

/// Files to bring in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyStep {
    /// `ADD`, not `COPY`.
    pub add: bool,
    /// Archives are unpacked.
    pub unpack: bool,
    /// Sources keep the directories they are in.
    pub parents: bool,
    /// Paths and patterns in the source tree.
    pub sources: Vec<String>,
    /// Files given in the Dockerfile itself.
    pub files: Vec<InlineFile>,
    /// Files to be fetched.
    pub remotes: Vec<Remote>,
    /// Repositories whose files come in.
    pub repositories: Vec<GitUrl>,
    /// The destination, absolute; a trailing slash says it is a directory.
    pub destination: String,
    /// Owner, `user[:group]` by name or number.
    pub chown: Option<String>,
    /// Permission bits.
    pub chmod: Option<Chmod>,
    /// Patterns to leave out.
    pub exclude: Vec<String>,
    /// The entry in the image's history.
    pub created_by: String,
}

/// A file to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// From where, by HTTP or HTTPS.
    pub url: String,
    /// What it must be.
    pub checksum: Option<Digest>,
    /// It is unpacked if it is an archive.
    pub unpack: bool,
}

impl Remote {
    /// The last part of its path, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let path = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        path.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."))
    }
}

/// A file whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its content, variables expanded.
    pub content: String,
}

impl State {
    /// A stage that starts from `config`.
    #[must_use]
    pub fn new(config: ContainerConfig, scope: Scope) -> Self {
        Self { config, author: None, scope, args: Vec::new(), cmd_set: false }
    }

    /// The first word of the shell form.
    fn shell(&self) -> Vec<String> {
        let default = || vec!["/bin/sh".to_string(), "-c".to_string()];
        self.config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(default)
    }

    /// Evaluates one instruction, in the config as it stood before it.
    ///
    /// # Errors
    /// A variable that cannot be expanded, a value without meaning, something this builder does not do (named).
    pub fn evaluate(&mut self, instruction: &Instruction) -> Result<Action, PlanError> {
        match instruction {
            Instruction::Run(run) => Ok(Action::Run(Box::new(self.run(run)?))),
            Instruction::Copy(copy) => Ok(Action::Copy(Box::new(self.transfer("COPY", copy)?))),
            Instruction::Add(add) => Ok(Action::Copy(Box::new(self.transfer("ADD", add)?))),
            Instruction::Workdir(path) => {
                let written = self.word(path)?;
                self.apply(&[ConfigChange::Workdir(written)])?;
                let path = self.config.working_dir.clone();
                Ok(Action::Workdir { created_by: format!("WORKDIR {path}"), user: self.config.user.clone(), path })
            }
            Instruction::Arg(args) => {
                let created_by = self.declare(args)?;
                Ok(Action::Describe { changes: Vec::new(), created_by })
            }
            Instruction::Maintainer(name) => {
                self.author = Some(name.clone());
                Ok(Action::Describe { changes: Vec::new(), created_by: format!("MAINTAINER {name}") })
            }
            described => {
                let changes = self.changes(described)?;
                let created_by = created_by::describe(described, &changes);
                self.apply(&changes)?;
                Ok(Action::Describe { changes, created_by })
            }
        }
    }

    /// The changes that a metadata instruction makes.
    fn changes(&mut self, instruction: &Instruction) -> Result<Vec<ConfigChange>, PlanError> {
        Ok(match instruction {
            Instruction::Env(pairs) => self.pairs(pairs, ConfigChange::Env)?,
            Instruction::Label(pairs) => self.pairs(pairs, ConfigChange::Label)?,
            Instruction::Cmd(command) => {
                self.cmd_set = true;
                vec![ConfigChange::Cmd(self.command(command))]
            }
            Instruction::Entrypoint(command) => {
                if !self.cmd_set {
                    self.config.cmd = None;
                }
                vec![ConfigChange::Entrypoint(self.command(command))]
            }
            Instruction::Expose(words) => self.ports(words)?.into_iter().map(ConfigChange::Expose).collect(),
            Instruction::Volume(paths) => {
                paths.iter().map(|path| Ok(ConfigChange::Volume(self.word(path)?))).collect::<Result<_, PlanError>>()?
            }
            Instruction::User(user) => vec![ConfigChange::User(self.word(user)?)],
            Instruction::StopSignal(signal) => vec![ConfigChange::StopSignal(stop_signal(self.word(signal)?)?)],
            Instruction::Shell(words) => vec![ConfigChange::Shell(words.clone())],
            Instruction::Healthcheck(check) => vec![ConfigChange::Healthcheck(healthcheck(check))],
            Instruction::OnBuild(text) => vec![ConfigChange::OnBuild(text.clone())],
            other => return Err(PlanError::new(format!("{} does not only describe", other.keyword()))),
        })
    }

    fn apply(&mut self, changes: &[ConfigChange]) -> Result<(), PlanError> {
        changes
            .iter()
            .try_for_each(|change| self.config.apply(change))
            .map_err(|error| PlanError::new(error.to_string()))
    }

    /// Every value is expanded before the first takes effect.
    fn pairs(
        &self,
        pairs: &[Pair],
        change: fn(String, String) -> ConfigChange,
    ) -> Result<Vec<ConfigChange>, PlanError> {
        pairs.iter().map(|pair| Ok(change(self.word(&pair.name)?, self.word(&pair.value)?))).collect()
    }

    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) if line.is_empty() => Vec::new(),
            Command::Shell(line) => self.shell().into_iter().chain([line.clone()]).collect(),
        }
    }

    /// Expands the words, and ranges into their ports.
    fn ports(&self, words: &[String]) -> Result<Vec<String>, PlanError> {
        let mut ports = Vec::new();
        for word in words {
            for text in expand::words(word, self.scope.escape, &|name: &str| self.variable(name))
                .map_err(|error| refused(&error))?
            {
                ports.extend(port_range(&text)?);
            }
        }
        Ok(ports)
    }

    /// Declares arguments, in order: a later default may use an earlier argument.
    fn declare(&mut self, args: &[Arg]) -> Result<String, PlanError> {
        let mut shown = String::from("ARG");
        for arg in args {
            let default = arg.default.as_deref().map(|text| self.word(text)).transpose()?;
            shown.push(' ');
            shown.push_str(&arg.name);
            if let Some(default) = &default {
                shown.push('=');
                shown.push_str(default);
            }
            let value = self.scope.declared(&arg.name, default);
            self.args.retain(|(name, _)| *name != arg.name);
            self.args.extend(value.map(|value| (arg.name.clone(), value)));
        }
        Ok(shown)
    }

    /// A variable's value: the config's environment first, then the arguments.
    fn variable(&self, name: &str) -> Option<String> {
        self.env(name).or_else(|| self.args.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone()))
    }

    fn env(&self, name: &str) -> Option<String> {
        let mut pairs = self.config.env.iter().filter_map(|entry| entry.split_once('='));
        pairs.find(|(have, _)| *have == name).map(|(_, value)| value.to_string())
    }

    fn word(&self, text: &str) -> Result<String, PlanError> {
        expand::word(text, self.scope.escape, &|name: &str| self.variable(name)).map_err(|error| refused(&error))
    }

    fn run(&self, run: &written::Run) -> Result<RunStep, PlanError> {
        if !run.devices.is_empty() {
            return Err(PlanError::new("RUN --device is not supported yet"));
        }
        let (args, script) = self.run_args(run)?;
        let cwd = if self.config.working_dir.is_empty() { "/".into() } else { self.config.working_dir.clone() };
        let mounts = run.mounts.iter().map(|mount| super::mount::mount(mount, &cwd, &|text| self.word(text)));
        let mounts = mounts.collect::<Result<Vec<_>, _>>()?;
        let visible: Vec<_> = self.args.iter().filter(|(name, _)| self.env(name).is_none()).collect();
        let env = self.config.env.iter().cloned().chain(visible.iter().map(|(name, value)| format!("{name}={value}")));
        let mut env: Vec<String> = env.collect();
        if self.env("PATH").is_none() {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        // A proxy that the Dockerfile declares is an argument like any other.
        let proxies = self.scope.proxies().into_iter().filter(|(name, _)| self.variable(name).is_none());
        let shown = args.join(" ");
        let arguments = visible.iter().fold(String::new(), |text, (name, value)| text + &format!("{name}={value} "));
        let arguments = if visible.is_empty() { String::new() } else { format!("|{} {arguments}", visible.len()) };
        Ok(RunStep {
            env,
            proxies: proxies.map(|(name, value)| format!("{name}={value}")).collect(),
            cwd,
            mounts,
            user: self.config.user.clone(),
            network: run.network,
            insecure: run.insecure,
            script,
            created_by: format!("RUN {arguments}{shown} # buildkit"),
            shown,
            args,
        })
    }

    /// The program and its arguments; here-documents become its script or stay in the shell's line.
    fn run_args(&self, run: &written::Run) -> Result<(Vec<String>, Option<Script>), PlanError> {
        let line = match &run.command {
            Command::Exec(words) => return Ok((words.clone(), None)),
            Command::Shell(line) => line,
        };
        let alone = crate::dockerfile::heredoc::opening(line, self.scope.escape).is_some();
        let (line, script) = match &run.heredocs[..] {
            [only] if alone && only.content.starts_with("#!") => {
                let name: String = only.name.chars().filter(char::is_ascii_alphanumeric).collect();
                let path = format!("/dev/pipes/{name}");
                (path.clone(), Some(Script { path, content: only.content.clone() }))
            }
            [only] if alone => (only.content.clone(), None),
            documents => (with_documents(line, documents), None),
        };
        if line.trim().is_empty() {
            return Err(PlanError::new("RUN has an empty here-document"));
        }
        Ok((self.shell().into_iter().chain([line]).collect(), script))
    }

    fn transfer(&self, keyword: &str, written: &Transfer) -> Result<CopyStep, PlanError> {
        let sources = written.sources.iter().map(|text| self.word(text)).collect::<Result<Vec<_>, _>>()?;
        let (remotes, sources): (Vec<_>, Vec<_>) =
            sources.into_iter().partition(|source| keyword == "ADD" && is_remote(source));
        let (remotes, repositories) = self.remotes(&remotes, sources.len() + written.files.len(), written)?;
        if sources.iter().any(String::is_empty) {
            return Err(PlanError::new(format!("{keyword} has a source that is empty")));
        }
        let mut files = Vec::new();
        for file in &written.files {
            let name = self.word(&file.name)?;
            if name.is_empty() || name.contains('/') || name == "." || name == ".." {
                return Err(PlanError::new(format!(
                    "{keyword} has a here-document whose name is no file name: {name:?}"
                )));
            }
            files.push(InlineFile { name, content: self.body(file)? });
        }
        let mut destination = self.destination(keyword, &self.word(&written.destination)?)?;
        if written.parents && !destination.ends_with('/') {
            destination.push('/');
        }
        if sources.len() + files.len() + remotes.len() + repositories.len() > 1 && !destination.ends_with('/') {
            return Err(PlanError::new(format!(
                "When using {keyword} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let chown = written.chown.as_deref().map(|text| self.word(text)).transpose()?.filter(|text| !text.is_empty());
        let chmod = written.chmod.as_deref().map(|text| mode(&self.word(text)?)).transpose()?;
        let exclude = written.exclude.iter().map(|text| self.word(text)).collect::<Result<_, _>>()?;
        let (add, parents) = (keyword == "ADD", written.parents);
        let unpack = add && written.unpack.unwrap_or(true);
        let created_by = String::new();
        let mut step = CopyStep {
            add,
            unpack,
            parents,
            sources,
            files,
            remotes,
            repositories,
            destination,
            chown,
            chmod,
            exclude,
            created_by,
        };
        step.created_by = created_by::transfer(keyword, &step, written.link);
        Ok(step)
    }

    /// The files and repositories to be fetched; `others` are there besides.
    fn remotes(
        &self,
        urls: &[String],
        others: usize,
        written: &Transfer,
    ) -> Result<(Vec<Remote>, Vec<GitUrl>), PlanError> {
        let checksum = match &written.checksum {
            None => None,
            Some(_) if urls.is_empty() => {
                return Err(PlanError::new("checksum can't be specified for non-HTTP(S) sources"));
            }
            Some(_) if urls.len() + others > 1 => {
                return Err(PlanError::new("checksum can't be specified for multiple sources"));
            }
            Some(text) => Some(self.word(text)?),
        };
        let unpack = written.unpack.unwrap_or(false);
        let (mut remotes, mut repositories) = (Vec::new(), Vec::new());
        for url in urls {
            if let Some(repository) = GitUrl::source(url) {
                let repository = repository.map_err(|error| PlanError::new(error.to_string()))?;
                repositories.push(repository_of(repository, checksum.as_deref(), written.keep_git_dir)?);
                continue;
            }
            let wrong = |text: &str, error| PlanError::new(format!("invalid --checksum {text:?}: {error}"));
            let digest = |text: &String| text.parse::<Digest>().map_err(|error| wrong(text, error));
            let checksum = checksum.as_ref().map(digest).transpose()?;
            remotes.push(Remote { url: url.clone(), checksum, unpack });
        }
        Ok((remotes, repositories))
    }

    fn body(&self, file: &Heredoc) -> Result<String, PlanError> {
        match file.expand {
            false => Ok(file.content.clone()),
            true => expand::body(&file.content, self.scope.escape, &|name: &str| self.variable(name))
                .map_err(|error| refused(&error)),
        }
    }

    /// The destination made absolute and clean; a trailing slash, `.` or `..` makes it a directory.
    fn destination(&self, keyword: &str, text: &str) -> Result<String, PlanError> {
        if text.is_empty() {
            return Err(PlanError::new(format!("{keyword} has a destination that is empty")));
        }
        let directory = text.ends_with('/') || matches!(text.rsplit('/').next(), Some("." | ".."));
        let mut config = ContainerConfig { working_dir: self.config.working_dir.clone(), ..ContainerConfig::default() };
        config.apply(&ConfigChange::Workdir(text.into())).map_err(|error| PlanError::new(error.to_string()))?;
        let clean = config.working_dir;
        Ok(if directory && clean != "/" { clean + "/" } else { clean })
    }
}

fn refused(error: &expand::ExpandError) -> PlanError {
    PlanError::new(error.to_string())
}

/// A shell line with the documents it opens behind it, as the shell reads them.
fn with_documents(line: &str, documents: &[Heredoc]) -> String {
    let mut text = line.to_string();
    for document in documents {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    if !documents.is_empty() {
        text.push('\n');
    }
    text
}

/// A repository with what the flags of ADD say of it.
fn repository_of(mut url: GitUrl, checksum: Option<&str>, keep_git_dir: bool) -> Result<GitUrl, PlanError> {
    url.keep_git_dir |= keep_git_dir;
    match checksum {
        Some(checksum) => url.with_checksum(checksum).map_err(|error| PlanError::new(error.to_string())),
        None => Ok(url),
    }
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme)) || GitUrl::source(source).is_some()
}

fn mode(text: &str) -> Result<Chmod, PlanError> {
    Chmod::parse(text).ok_or_else(|| {
        PlanError::new(format!("invalid --chmod: {text:?} is no octal mode between 0 and 7777, and no change of one"))
            .hint(Some("such as 755 or u=rwX,go=rX".into()))
    })
}

/// `80`, `80/udp` or `8000-8010`, as its ports.
fn port_range(text: &str) -> Result<Vec<String>, PlanError> {
    let bad =
        || PlanError::new(format!("invalid containerPort: {text}")).hint(Some("PORT[-PORT][/tcp|/udp|/sctp]".into()));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(bad);
    let (first, last) = (number(first)?, number(last)?);
    if first > last || !matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{}", protocol.to_ascii_lowercase())).collect())
}

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// A signal's name or number.
fn stop_signal(text: String) -> Result<String, PlanError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = name.starts_with("RTMIN") || name.starts_with("RTMAX");
    let number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    if number || realtime || SIGNALS.contains(&name) || ["IOT", "POLL", "CLD"].contains(&name) {
        return Ok(text);
    }
    let hint = crate::dockerfile::suggest(name, SIGNALS).map(|hint| hint.replace("mean ", "mean SIG"));
    Err(PlanError::new(format!("invalid signal: {text}")).hint(hint))
}

fn healthcheck(written: &written::Healthcheck) -> Healthcheck {
    let test = match &written.command {
        None => vec!["NONE".into()],
        Some(Command::Shell(line)) => vec!["CMD-SHELL".into(), line.clone()],
        Some(Command::Exec(words)) => [String::from("CMD")].into_iter().chain(words.iter().cloned()).collect(),
    };
    Healthcheck {
        test,
        interval: written.interval,
        timeout: written.timeout,
        start_period: written.start_period,
        start_interval: written.start_interval,
        retries: written.retries,
    }
}

#[cfg(test)]
mod tests;
