//! The arguments of COPY and ADD.

use super::heredoc;
use super::instruction::{Parsed, Transfer};
use super::lexer::Line;
use super::words::{self, Json};
use super::{SyntaxError, flags};

const COPY_FLAGS: [&str; 6] = ["from", "chown", "chmod", "link", "parents", "exclude"];
const ADD_FLAGS: [&str; 7] = ["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"];

/// Reads flags, sources and destination; `keyword` is `COPY` or `ADD`.
pub(super) fn transfer(keyword: &'static str, rest: &str, line: &Line, escape: char) -> Parsed<Transfer> {
    let (mut flags, rest) = flags::extract(keyword, rest, escape);
    let mut transfer = Transfer {
        chown: flags.value("chown")?,
        chmod: flags.value("chmod")?,
        link: flags.switch("link")?.unwrap_or(false),
        exclude: flags.values("exclude")?,
        ..Transfer::default()
    };
    if keyword == "COPY" {
        transfer.from = flags.value("from")?;
        transfer.parents = flags.switch("parents")?.unwrap_or(false);
        flags.finish(&COPY_FLAGS)?;
    } else {
        transfer.checksum = flags.value("checksum")?;
        transfer.keep_git_dir = flags.switch("keep-git-dir")?.unwrap_or(false);
        transfer.unpack = flags.switch("unpack")?;
        flags.finish(&ADD_FLAGS)?;
    }
    let mut words = match words::json(rest) {
        Json::Strings(words) => words,
        Json::Mixed => {
            return Err(SyntaxError::new(format!("{keyword} takes only strings in its JSON array")));
        }
        Json::No => words::split(rest, escape),
    };
    let destination = words.pop();
    let Some(destination) = destination.filter(|_| !words.is_empty()) else {
        return Err(SyntaxError::new(format!(
            "{keyword} requires at least two arguments, but only {} was provided. Destination could not be determined",
            if rest.is_empty() { "none" } else { "one" }
        )));
    };
    if heredoc::opening(&destination, escape).is_some() && !line.heredocs.is_empty() {
        return Err(SyntaxError::new(format!("{keyword} cannot accept a heredoc as a destination")));
    }
    let mut files = line.heredocs.iter().cloned();
    for word in words {
        let opened = (!line.heredocs.is_empty()).then(|| heredoc::opening(&word, escape)).flatten();
        match opened.and_then(|_| files.next()) {
            Some(file) => transfer.files.push(file),
            None => transfer.sources.push(word),
        }
    }
    if transfer.from.is_some() && !transfer.files.is_empty() {
        return Err(SyntaxError::new("COPY cannot take a heredoc together with --from"));
    }
    Ok(Transfer { destination, ..transfer })
}
