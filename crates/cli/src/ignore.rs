//! `.dockerignore`: which files of a context stay at home.
//!
//! Rules are tried in order and the last that matches wins; a rule that matches a folder counts for all below it.
//! A pattern is Go's `filepath.Match` with `**` for any number of folders, including none.

/// The rules of one `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// A match keeps instead of leaving out.
    exception: bool,
    parts: Vec<Part>,
}

/// What one path component must be.
#[derive(Clone, Debug)]
enum Part {
    /// Any number of components.
    Any,
    /// One component like this.
    Like(Vec<Token>),
}

#[derive(Clone, Debug)]
enum Token {
    Char(char),
    One,
    Many,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Ignore {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let rule = Rule::parse(line.trim()).map_err(|why| format!("line {}: {why}", number + 1))?;
            rules.extend(rule);
        }
        Ok(Self { rules })
    }

    /// Whether a path (relative, with slashes) stays at home.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let mut excluded = false;
        for rule in &self.rules {
            if rule.exception == excluded && (1..=parts.len()).any(|end| like(&rule.parts, &parts[..end])) {
                excluded = !rule.exception;
            }
        }
        excluded
    }

    /// Whether something below an excluded folder may be kept, so that it must be looked into.
    pub(crate) fn may_keep_below(&self, folder: &str) -> bool {
        let parts: Vec<&str> = folder.split('/').collect();
        self.rules.iter().any(|rule| rule.exception && reaches(&rule.parts, &parts))
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let (exception, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        if exception && text.is_empty() {
            return Err("illegal exclusion pattern: \"!\"".into());
        }
        let mut parts: Vec<Part> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                "**" => parts.push(Part::Any),
                // `a**` and `**a` cross no folder border on their own in this form, except by `**` itself.
                part => parts.push(Part::Like(tokens(part)?)),
            }
        }
        // A rule that names the whole context leaves nothing out.
        Ok((!parts.is_empty()).then_some(Self { exception, parts }))
    }
}

fn tokens(part: &str) -> Result<Vec<Token>, String> {
    let wrong = || format!("'{part}' is not a valid pattern");
    let mut tokens = Vec::new();
    let mut chars = part.chars().peekable();
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Char(chars.next().ok_or_else(wrong)?),
            '[' => class(&mut chars).ok_or_else(wrong)?,
            char => Token::Char(char),
        });
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            '\\' => chars.next()?,
            ']' | '-' => return None,
            char => char,
        };
        let high = match chars.next_if_eq(&'-') {
            Some(_) => match chars.next()? {
                '\\' => chars.next()?,
                ']' => return None,
                char => char,
            },
            None => low,
        };
        ranges.push((low, high));
    }
}

/// Whether all components match all parts.
fn like(parts: &[Part], path: &[&str]) -> bool {
    match (parts.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        // A trailing `**` is everything below, not the folder itself.
        (Some((Part::Any, [])), _) => !path.is_empty(),
        (Some((Part::Any, rest)), _) => (0..=path.len()).any(|skip| like(rest, &path[skip..])),
        (Some((Part::Like(_), _)), None) => false,
        (Some((Part::Like(tokens), rest)), Some((name, below))) => {
            matches(tokens, &name.chars().collect::<Vec<_>>()) && like(rest, below)
        }
    }
}

/// Whether something below the folder can match the parts.
fn reaches(parts: &[Part], folder: &[&str]) -> bool {
    match (parts.split_first(), folder.split_first()) {
        (Some((Part::Any, _)), _) | (_, None) => true,
        (None, Some(_)) => false,
        (Some((Part::Like(tokens), rest)), Some((name, below))) => {
            matches(tokens, &name.chars().collect::<Vec<_>>()) && (rest.is_empty() || reaches(rest, below))
        }
    }
}

fn matches(tokens: &[Token], name: &[char]) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return name.is_empty() };
    if let Token::Many = token {
        return (0..=name.len()).any(|skip| matches(rest, &name[skip..]));
    }
    let Some((first, below)) = name.split_first() else { return false };
    let fits = match token {
        Token::Char(char) => char == first,
        Token::Class { negated, ranges } => ranges.iter().any(|(low, high)| low <= first && first <= high) != *negated,
        Token::One | Token::Many => true,
    };
    fits && matches(rest, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_do() {
        for (pattern, path, excluded) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "b/a", false),
            ("/a/", "a", true),
            ("./a/../b", "b", true),
            ("*", "a", true),
            ("*", ".git", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**/*.md", "docs/README.md", true),
            ("**/*.md", "README.md", true),
            ("docs/**", "docs/a/b", true),
            ("docs/**", "docs", false),
            ("**", "a/b", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            (".", "a", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(Ignore::parse(pattern).unwrap().excludes(path), excluded, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_rule_that_matches_wins() {
        let ignore =
            Ignore::parse("\u{feff}# comment\n\n  node_modules  \n*.log\n!keep.log\ndocs\n!docs/index.md\n").unwrap();
        for (path, excluded) in [
            ("node_modules/x/y", true),
            ("a.log", true),
            ("keep.log", false),
            ("docs/a.md", true),
            ("docs/index.md", false),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignore.excludes(path), excluded, "{path}");
        }
        assert!(ignore.may_keep_below("docs") && !ignore.may_keep_below("node_modules"));
    }

    #[test]
    fn mistakes_name_their_line() {
        assert!(Ignore::parse("ok\n!\n").unwrap_err().starts_with("line 2"));
        assert!(Ignore::parse("[a\n").unwrap_err().starts_with("line 1"));
        assert!(Ignore::parse("a\\\n").is_err());
    }
}
