//! What filters by name take: part of a name, or a regular expression.

use regex::Regex;

/// The values of one such filter, ready to be asked often.
#[derive(Default)]
pub(crate) struct Patterns(Vec<Pattern>);

enum Pattern {
    Part(String),
    Expression(Regex),
    /// What is no expression matches nothing, as with Docker.
    Nothing,
}

impl Patterns {
    /// Reads them.
    pub(crate) fn new(values: &[String]) -> Self {
        let read = |value: &String| {
            if value.contains(['^', '$', '.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\']) {
                Regex::new(value).map_or(Pattern::Nothing, Pattern::Expression)
            } else {
                Pattern::Part(value.clone())
            }
        };
        Self(values.iter().map(read).collect())
    }

    /// Whether one of them matches; true where there is none.
    pub(crate) fn match_any(&self, text: &str) -> bool {
        let is_match = |pattern: &Pattern| match pattern {
            Pattern::Part(part) => text.contains(part.as_str()),
            Pattern::Expression(expression) => expression.is_match(text),
            Pattern::Nothing => false,
        };
        self.0.is_empty() || self.0.iter().any(is_match)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_by_a_part_or_an_expression() {
        let any = |values: &[&str], text| {
            Patterns::new(&values.iter().map(ToString::to_string).collect::<Vec<_>>()).match_any(text)
        };
        assert!(any(&[], "web") && any(&["e"], "web") && any(&["^w", "x"], "web") && any(&["w.b$"], "web"));
        assert!(!any(&["x"], "web") && !any(&["^e"], "web") && !any(&["("], "web(") && !any(&["^we$"], "web"));
    }
}
