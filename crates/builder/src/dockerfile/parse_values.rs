//! The arguments of the instructions that only describe: ENV, LABEL, ARG, EXPOSE, VOLUME, HEALTHCHECK, MAINTAINER.

use super::instruction::{Arg, Healthcheck, Pair, Parsed};
use super::words::{self, Json};
use super::{SyntaxError, flags, parse, suggest};

/// `name=value …`, or the old `name value`, where the value is all the rest of the line.
pub(super) fn pairs(keyword: &str, rest: &str, escape: char) -> Parsed<Vec<Pair>> {
    let words = words::split(rest, escape);
    let Some(first) = words.first() else {
        return Err(SyntaxError::new(format!("{keyword} requires at least one argument")));
    };
    if !first.contains('=') {
        let (name, value) = words::first(rest);
        if value.is_empty() {
            return Err(SyntaxError::new(format!("{keyword} must have two arguments"))
                .hint(Some(format!("{keyword} {name}=value"))));
        }
        return Ok(vec![Pair { name: name.into(), value: value.into() }]);
    }
    words.iter().map(|word| pair(keyword, word)).collect()
}

fn pair(keyword: &str, word: &str) -> Parsed<Pair> {
    match word.split_once('=') {
        None => Err(SyntaxError::new(format!(
            "syntax error: can't find = in {word:?}: {keyword} must be of the form name=value"
        ))),
        Some(("", _)) => Err(SyntaxError::new(format!("{keyword} names can not be blank"))),
        Some((name, value)) => Ok(Pair { name: name.into(), value: value.into() }),
    }
}

/// `name` or `name=default`.
pub(super) fn arg(word: &str) -> Parsed<Arg> {
    let (name, default) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    match name.is_empty() {
        true => Err(SyntaxError::new("ARG names can not be blank")),
        false => Ok(Arg { name: name.into(), default: default.map(Into::into) }),
    }
}

/// Words separated by white space, at least one.
pub(super) fn word_list(keyword: &str, rest: &str, escape: char) -> Parsed<Vec<String>> {
    match words::split(rest, escape) {
        words if words.is_empty() => Err(SyntaxError::new(format!("{keyword} requires at least one argument"))),
        words => Ok(words),
    }
}

/// A JSON array or words.
pub(super) fn volumes(rest: &str, escape: char) -> Parsed<Vec<String>> {
    let paths = match words::json(rest) {
        Json::Strings(paths) => paths,
        Json::Mixed => return Err(SyntaxError::new("VOLUME takes only strings in its JSON array")),
        Json::No => words::split(rest, escape),
    };
    if paths.is_empty() {
        return Err(SyntaxError::new("VOLUME requires at least one argument"));
    }
    match paths.iter().any(|path| path.trim().is_empty()) {
        true => Err(SyntaxError::new("VOLUME specified can not be an empty string")),
        false => Ok(paths),
    }
}

pub(super) fn maintainer(rest: &str) -> Parsed<String> {
    match rest.is_empty() {
        true => Err(SyntaxError::new("MAINTAINER requires exactly one argument")),
        false => Ok(rest.to_string()),
    }
}

const HEALTHCHECK_FLAGS: [&str; 5] = ["interval", "timeout", "start-period", "start-interval", "retries"];

/// `HEALTHCHECK [flags] CMD …` or `HEALTHCHECK NONE`.
pub(super) fn healthcheck(rest: &str, escape: char) -> Parsed<Healthcheck> {
    let (mut flags, rest) = flags::extract("HEALTHCHECK", rest, escape);
    let any = !flags.is_empty();
    let mut check = Healthcheck {
        interval: duration(&mut flags, "interval")?,
        timeout: duration(&mut flags, "timeout")?,
        start_period: duration(&mut flags, "start-period")?,
        start_interval: duration(&mut flags, "start-interval")?,
        retries: retries(&mut flags)?,
        command: None,
    };
    flags.finish(&HEALTHCHECK_FLAGS)?;
    let (kind, rest) = words::first(rest);
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(SyntaxError::new("HEALTHCHECK requires at least one argument")),
        "NONE" if !rest.is_empty() => Err(SyntaxError::new("HEALTHCHECK NONE takes no arguments")),
        "NONE" if any => Err(SyntaxError::new("HEALTHCHECK NONE takes no flags")),
        "NONE" => Ok(check),
        "CMD" if rest.is_empty() => Err(SyntaxError::new("missing command after HEALTHCHECK CMD")),
        "CMD" => {
            check.command = Some(parse::command("HEALTHCHECK CMD", rest)?);
            Ok(check)
        }
        _ => Err(SyntaxError::new(format!("unknown type {kind:?} in HEALTHCHECK (try CMD)"))
            .hint(suggest(kind, ["CMD", "NONE"]))),
    }
}

fn retries(flags: &mut flags::Flags) -> Parsed<i64> {
    let Some(text) = flags.value("retries")? else { return Ok(0) };
    match text.parse::<i32>() {
        Ok(count) if count >= 0 => Ok(i64::from(count)),
        _ => Err(SyntaxError::new(format!("--retries must be a number of at least 0, not {text:?}"))),
    }
}

/// A Go duration of at least a millisecond, or zero.
fn duration(flags: &mut flags::Flags, name: &str) -> Parsed<i64> {
    let Some(text) = flags.value(name)? else { return Ok(0) };
    match teu_oci::time::duration(&text).filter(|span| *span >= 0) {
        None => Err(SyntaxError::new(format!("invalid duration {text:?} for --{name}"))
            .hint(Some("such as 30s or 1m30s".into()))),
        Some(span) if span != 0 && span < 1_000_000 => {
            Err(SyntaxError::new(format!("interval {text:?} of --{name} cannot be less than 1ms")))
        }
        Some(span) => Ok(span),
    }
}
