//! From logical lines to stages and instructions.

use super::instruction::{Command, Dockerfile, Instruction, KEYWORDS, Parsed, Run, RunMount, RunNetwork, Stage, Step};
use super::lexer::{Line, lex};
use super::parse_values::{arg, healthcheck, maintainer, pairs, volumes, word_list};
use super::words::{self, Json};
use super::{SyntaxError, flags, parse_copy, suggest};

/// Reads a whole Dockerfile.
///
/// # Errors
/// The first thing wrong, with its line and, where it looks like a slip, what was probably meant.
pub fn parse(text: &str) -> Result<Dockerfile, SyntaxError> {
    let lexed = lex(text)?;
    if lexed.lines.is_empty() {
        let nothing = if text.is_empty() { "the Dockerfile cannot be empty" } else { "file with no instructions" };
        return Err(SyntaxError::new(nothing));
    }
    let mut dockerfile = Dockerfile { directives: lexed.directives, ..Dockerfile::default() };
    let escape = dockerfile.directives.escape;
    for line in lexed.lines {
        let number = line.span.first;
        add(&mut dockerfile, line, escape).map_err(|error| error.at(number))?;
    }
    match dockerfile.stages.is_empty() {
        true => Err(SyntaxError::new("no build stage in the Dockerfile: it needs a FROM")),
        false => Ok(dockerfile),
    }
}

/// Reads one instruction on its own: a trigger that ONBUILD left in an image, or the argument of `commit --change`.
///
/// # Errors
/// As [`parse`]; also when `text` holds no instruction, more than one, or a FROM.
pub fn trigger(text: &str) -> Result<Step, SyntaxError> {
    let mut lines = lex(text)?.lines;
    match (lines.pop(), lines.is_empty()) {
        (Some(line), true) => step(line, '\\'),
        (None, _) => Err(SyntaxError::new("no instruction given")),
        (Some(line), false) => Err(SyntaxError::new("one instruction wanted, found a second one").at(line.span.first)),
    }
}

/// Adds one line to what is known so far.
fn add(dockerfile: &mut Dockerfile, line: Line, escape: char) -> Parsed<()> {
    let (keyword, rest) = words::first(&line.text);
    if keyword.eq_ignore_ascii_case("FROM") {
        let stage = from(rest, &line, escape)?;
        dockerfile.stages.push(stage);
        return Ok(());
    }
    let number = line.span.first;
    let step = step(line, escape)?;
    match (dockerfile.stages.last_mut(), step.instruction) {
        (Some(stage), instruction) => stage.steps.push(Step { instruction, ..step }),
        (None, Instruction::Arg(args)) => dockerfile.args.extend(args),
        (None, other) => {
            let message = format!("no build stage in current context: {} stands before any FROM", other.keyword());
            return Err(SyntaxError::new(message).at(number));
        }
    }
    Ok(())
}

/// `FROM [--platform=P] BASE [AS NAME]`.
fn from(rest: &str, line: &Line, escape: char) -> Parsed<Stage> {
    let (mut flags, rest) = flags::extract("FROM", rest, escape);
    let platform = flags.value("platform")?;
    flags.finish(&["platform"])?;
    let words = words::split(rest, escape);
    let (base, name) = match &words[..] {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, Some(stage_name(name)?)),
        [_, keyword, _] => {
            let hint = Some("FROM IMAGE AS NAME".to_string());
            return Err(SyntaxError::new(format!("FROM has {keyword:?} where AS is wanted")).hint(hint));
        }
        _ => return Err(SyntaxError::new("FROM requires either one or three arguments")),
    };
    Ok(Stage { name, base: base.clone(), platform, text: line.text.clone(), span: line.span, steps: Vec::new() })
}

/// A stage's name, in lower case.
fn stage_name(name: &str) -> Parsed<String> {
    let lower = name.to_lowercase();
    let sound = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    match sound {
        true if lower == "scratch" => Err(SyntaxError::new("invalid name for build stage: \"scratch\" is reserved")),
        true => Ok(lower),
        false => Err(SyntaxError::new(format!(
            "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
        ))),
    }
}

/// Reads an instruction that belongs to a stage.
fn step(line: Line, escape: char) -> Parsed<Step> {
    let number = line.span.first;
    let instruction = instruction(&line, escape).map_err(|error| error.at(number))?;
    Ok(Step { instruction, text: line.text, span: line.span })
}

fn instruction(line: &Line, escape: char) -> Parsed<Instruction> {
    let (keyword, rest) = words::first(&line.text);
    let upper = keyword.to_ascii_uppercase();
    let needs = |name: &str| match rest.is_empty() {
        true => Err(SyntaxError::new(format!("{name} requires at least one argument"))),
        false => Ok(()),
    };
    Ok(match upper.as_str() {
        "RUN" => Instruction::Run(run(rest, line, escape)?),
        "COPY" => Instruction::Copy(parse_copy::transfer("COPY", rest, line, escape)?),
        "ADD" => Instruction::Add(parse_copy::transfer("ADD", rest, line, escape)?),
        "ENV" => Instruction::Env(pairs("ENV", rest, escape)?),
        "LABEL" => Instruction::Label(pairs("LABEL", rest, escape)?),
        "ARG" => {
            needs("ARG")?;
            Instruction::Arg(words::split(rest, escape).iter().map(|word| arg(word)).collect::<Parsed<_>>()?)
        }
        "CMD" => Instruction::Cmd(command("CMD", rest)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command("ENTRYPOINT", rest)?),
        "EXPOSE" => Instruction::Expose(word_list("EXPOSE", rest, escape)?),
        "VOLUME" => Instruction::Volume(volumes(rest, escape)?),
        "USER" => Instruction::User(exactly_one("USER", rest)?),
        "WORKDIR" => Instruction::Workdir(exactly_one("WORKDIR", rest)?),
        "STOPSIGNAL" => Instruction::StopSignal(exactly_one("STOPSIGNAL", rest)?),
        "SHELL" => Instruction::Shell(shell(rest)?),
        "HEALTHCHECK" => Instruction::Healthcheck(healthcheck(rest, escape)?),
        "ONBUILD" => Instruction::OnBuild(onbuild(rest, line, escape)?),
        "MAINTAINER" => Instruction::Maintainer(maintainer(rest)?),
        "FROM" => return Err(SyntaxError::new("FROM stands only in a Dockerfile, at the start of a stage")),
        _ => {
            let hint = suggest(keyword, KEYWORDS);
            return Err(SyntaxError::new(format!("unknown instruction: {keyword}")).hint(hint));
        }
    })
}

/// A command in shell or exec form.
pub(super) fn command(keyword: &str, rest: &str) -> Parsed<Command> {
    match words::json(rest) {
        Json::Strings(words) => Ok(Command::Exec(words)),
        Json::Mixed => Err(SyntaxError::new(format!("{keyword} in exec form takes only strings in its JSON array"))),
        Json::No if rest.is_empty() && keyword != "CMD" && keyword != "ENTRYPOINT" => {
            Err(SyntaxError::new(format!("{keyword} requires at least one argument")))
        }
        Json::No => Ok(Command::Shell(rest.to_string())),
    }
}

const RUN_FLAGS: [&str; 4] = ["mount", "network", "security", "device"];

fn run(rest: &str, line: &Line, escape: char) -> Parsed<Run> {
    let (mut flags, rest) = flags::extract("RUN", rest, escape);
    let mounts = flags.values("mount")?.iter().map(|text| run_mount(text)).collect::<Parsed<_>>()?;
    let network = match flags.value("network")?.as_deref() {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => {
            let hint = suggest(other, ["default", "none", "host"]);
            return Err(SyntaxError::new(format!("invalid network mode for RUN: {other:?}")).hint(hint));
        }
    };
    let insecure = match flags.value("security")?.as_deref() {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => return Err(SyntaxError::new(format!("invalid security mode for RUN: {other:?}"))),
    };
    let devices = flags.values("device")?;
    flags.finish(&RUN_FLAGS)?;
    let command = command("RUN", rest)?;
    if command == Command::Exec(Vec::new()) {
        return Err(SyntaxError::new("RUN requires at least one argument"));
    }
    Ok(Run { command, heredocs: line.heredocs.clone(), mounts, network, insecure, devices })
}

/// `type=cache,target=/x,…`: names in lower case, the type taken out.
fn run_mount(text: &str) -> Parsed<RunMount> {
    let mut mount = RunMount { kind: "bind".into(), options: Vec::new() };
    for field in text.split(',') {
        let (name, value) = field.split_once('=').map_or((field, None), |(name, value)| (name, Some(value)));
        match (name.to_ascii_lowercase().as_str(), value) {
            ("", _) => return Err(SyntaxError::new(format!("RUN --mount has an empty field: {text:?}"))),
            ("type", Some(kind)) if ["bind", "cache", "tmpfs", "secret", "ssh"].contains(&kind) => {
                mount.kind = kind.into();
            }
            ("type", kind) => {
                let kind = kind.unwrap_or_default();
                let hint = suggest(kind, ["bind", "cache", "tmpfs", "secret", "ssh"]);
                return Err(SyntaxError::new(format!("unsupported mount type {kind:?}")).hint(hint));
            }
            (name, value) => mount.options.push((name.into(), value.map(Into::into))),
        }
    }
    Ok(mount)
}

/// The whole rest as one argument.
fn exactly_one(keyword: &str, rest: &str) -> Parsed<String> {
    match rest.is_empty() {
        true => Err(SyntaxError::new(format!("{keyword} requires exactly one argument"))),
        false => Ok(rest.to_string()),
    }
}

fn shell(rest: &str) -> Parsed<Vec<String>> {
    match words::json(rest) {
        Json::Strings(words) if words.is_empty() => Err(SyntaxError::new("SHELL requires at least one argument")),
        Json::Strings(words) => Ok(words),
        _ => Err(SyntaxError::new("SHELL requires the arguments to be in JSON form")
            .hint(Some("SHELL [\"/bin/sh\", \"-c\"]".into()))),
    }
}

/// Checks the trigger and keeps it as text, the here-documents' bodies behind it.
fn onbuild(rest: &str, line: &Line, escape: char) -> Parsed<String> {
    let (keyword, _) = words::first(rest);
    match keyword.to_ascii_uppercase().as_str() {
        "" => return Err(SyntaxError::new("ONBUILD requires at least one argument")),
        "ONBUILD" => return Err(SyntaxError::new("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        keyword @ ("FROM" | "MAINTAINER") => {
            return Err(SyntaxError::new(format!("{keyword} isn't allowed as an ONBUILD trigger")));
        }
        _ => {}
    }
    let inner = Line { text: rest.to_string(), span: line.span, heredocs: line.heredocs.clone() };
    instruction(&inner, escape)?;
    let mut text = rest.to_string();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
