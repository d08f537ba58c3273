//! The instructions as data, every variable still unexpanded.

use super::heredoc::Heredoc;
use super::lexer::Directives;
use super::{Span, SyntaxError};

/// A whole Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// The directives at its top.
    pub directives: Directives,
    /// The ARGs before the first FROM, in order.
    pub args: Vec<Arg>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
}

/// One FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name given by AS, in lower case.
    pub name: Option<String>,
    /// The image or stage it starts from, as written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// The FROM line as written, continuations joined.
    pub text: String,
    /// Where the FROM stands.
    pub span: Span,
    /// The instructions, in order.
    pub steps: Vec<Step>,
}

/// An instruction, its text and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub instruction: Instruction,
    /// The line as written, continuations joined, here-documents left out.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What a line of a stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Transfer),
    /// `ADD`.
    Add(Transfer),
    /// `ENV name=value …`.
    Env(Vec<Pair>),
    /// `LABEL name=value …`.
    Label(Vec<Pair>),
    /// `ARG name[=default] …`.
    Arg(Vec<Arg>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `EXPOSE`, the words.
    Expose(Vec<String>),
    /// `VOLUME`, the paths.
    Volume(Vec<String>),
    /// `USER`.
    User(String),
    /// `WORKDIR`.
    Workdir(String),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`, the instruction as written (here-documents included), known to parse.
    OnBuild(String),
    /// `MAINTAINER`.
    Maintainer(String),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value, quotes kept.
    pub value: String,
}

/// A declared build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its default, quotes kept.
    pub default: Option<String>,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: Command,
    /// The here-documents it opens.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each as its options.
    pub mounts: Vec<RunMount>,
    /// `--network`.
    pub network: RunNetwork,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`, as written.
    pub devices: Vec<String>,
}

/// One `--mount` of a RUN: its type, and its other options as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// `bind`, `cache`, `tmpfs`, `secret` or `ssh`.
    pub kind: String,
    /// The rest, `name` or `name=value`.
    pub options: Vec<(String, Option<String>)>,
}

/// `--network` of a RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// Whatever the build has.
    #[default]
    Default,
    /// Only the loopback interface.
    None,
    /// The host's.
    Host,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The sources, as written, here-documents left out.
    pub sources: Vec<String>,
    /// The here-documents that are sources.
    pub files: Vec<Heredoc>,
    /// The destination, as written.
    pub destination: String,
    /// `--from`: a stage, its number, or an image.
    pub from: Option<String>,
    /// `--chown`, as written.
    pub chown: Option<String>,
    /// `--chmod`, as written.
    pub chmod: Option<String>,
    /// `--link`: a hint, which changes no file.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
    /// `--checksum` (ADD).
    pub checksum: Option<String>,
    /// `--keep-git-dir` (ADD).
    pub keep_git_dir: bool,
    /// `--unpack` (ADD).
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`, durations in nanoseconds; zero means not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `CMD`'s command; none for `NONE`.
    pub command: Option<Command>,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

impl Instruction {
    /// Whether files may come of it, and not only words.
    #[must_use]
    pub fn may_make_a_layer(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Copy(_) | Self::Add(_) | Self::Workdir(_))
    }

    /// The word that starts it.
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::User(_) => "USER",
            Self::Workdir(_) => "WORKDIR",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::Shell(_) => "SHELL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::OnBuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}

/// Every keyword, for suggestions.
pub(super) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What every room of the parser returns.
pub(super) type Parsed<T> = Result<T, SyntaxError>;
