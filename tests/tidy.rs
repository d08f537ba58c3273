//! The house style, as far as a program can see it: `CONTRIBUTING.md` says what else there is to it.
//!
//! Every check reads every file, and names all places at once.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest Rust file: beyond it a file holds more than one idea.
const LINES: usize = 600;

/// Folders that are not the repository's own.
const FOREIGN: &[&str] = &[".git", ".cache", "target"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager"];

/// A text file of the repository.
struct Text {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

impl Text {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// `path:line: what` for each line of which `what` has something to say.
    fn complaints(&self, mut what: impl FnMut(&str) -> Option<String>) -> Vec<String> {
        let numbered = self.text.lines().enumerate();
        numbered
            .filter_map(|(number, line)| Some(format!("{}:{}: {}", self.path.display(), number + 1, what(line)?)))
            .collect()
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that is text.
fn texts() -> Vec<Text> {
    let mut found = Vec::new();
    collect(repository(), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<Text>) {
    for entry in fs::read_dir(folder).expect("read a folder of the repository") {
        let path = entry.expect("read a folder of the repository").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kind = fs::symlink_metadata(&path).map(|metadata| metadata.file_type());
        if FOREIGN.contains(&name) {
            continue;
        }
        match kind {
            Ok(kind) if kind.is_dir() => collect(&path, found),
            Ok(kind) if kind.is_file() => {
                let own = path.strip_prefix(repository()).unwrap_or(&path).to_path_buf();
                // What is not UTF-8 is no text.
                found.extend(fs::read_to_string(&path).ok().map(|text| Text { path: own, text }));
            }
            _ => {}
        }
    }
}

fn rust() -> impl Iterator<Item = Text> {
    texts().into_iter().filter(Text::is_rust)
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whether `line` has `word` with nothing of a name on either side.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part_of_a_name)
            && !line[at + word.len()..].chars().next().is_some_and(part_of_a_name)
    })
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn every_rust_file_says_first_what_it_is() {
    let silent = rust().filter(|file| !file.text.starts_with("//! "));
    none(&silent.map(|file| format!("{}: does not start with //!", file.path.display())).collect::<Vec<_>>());
}

#[test]
fn every_rust_file_holds_one_idea() {
    let count = |file: &Text| file.text.lines().count();
    let long = rust().filter(|file| count(file) > LINES);
    none(
        &long
            .map(|file| format!("{}: {} lines, more than {LINES}", file.path.display(), count(&file)))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Written apart, so that this file is no find of its own.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let calls = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("db", "g!")];
    let find = |line: &str| {
        let mark = marks.iter().chain(&calls).find(|mark| has_word(line, mark))?;
        Some(format!("{mark}: finish it, or refuse by name"))
    };
    none(&texts().iter().flat_map(|file| file.complaints(find)).collect::<Vec<_>>());
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    let word = concat!("unsa", "fe");
    let forms = ["{", "fn", "impl", "trait", "extern"].map(|next| format!("{word} {next}"));
    let allowed = format!("allow({word}_code)");
    let find = |line: &str| {
        let line = code(line);
        let found = forms.iter().chain([&allowed]).find(|form| line.contains(form.as_str()))?;
        Some(format!("{found} outside crates/sys"))
    };
    let outside = rust().filter(|file| !file.path.starts_with("crates/sys"));
    none(&outside.flat_map(|file| file.complaints(find)).collect::<Vec<_>>());
}

#[test]
fn no_file_knows_where_it_was_written() {
    let here = repository().to_str().expect("the repository's path is UTF-8");
    let places = [here, concat!("/Us", "ers/"), concat!("/home/", "runner"), concat!("../sha", "red/")];
    let find = |line: &str| places.iter().find(|place| line.contains(**place)).map(|place| format!("names {place}"));
    none(&texts().iter().flat_map(|file| file.complaints(find)).collect::<Vec<_>>());
}

#[test]
fn lines_end_as_lines_do() {
    let mut wrong = Vec::new();
    for file in texts() {
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            wrong.push(format!("{}: no newline at the end", file.path.display()));
        }
        // `lines` takes a carriage return before the newline for part of the line's end.
        if file.text.contains("\r\n") {
            wrong.push(format!("{}: lines end with a carriage return", file.path.display()));
        }
        let trailing = |line: &str| line.ends_with([' ', '\t']).then(|| "space at the end of the line".to_owned());
        wrong.extend(file.complaints(trailing));
    }
    none(&wrong);
}

#[test]
fn every_name_says_what_is_inside() {
    let empty = |path: &Path| {
        let mut parts = path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
        parts.find(|part| EMPTY_NAMES.contains(part)).map(|part| format!("{}: {part} says nothing", path.display()))
    };
    none(&rust().filter_map(|file| empty(&file.path)).collect::<Vec<_>>());
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("a b! c", "b!") && has_word("x(word)", "word"));
    assert!(!has_word("sword", "word") && !has_word("word_code", "word"));
}
