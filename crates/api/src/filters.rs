//! The `filters` parameter: a JSON object of lists, or (from older clients) of objects whose keys are the values.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Values by filter name; values of one name are alternatives, names must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the parameter; empty text is no filter.
    ///
    /// # Errors
    /// The parser's, when the text has neither shape.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let map: Option<BTreeMap<String, Values>> = serde_json::from_str(text)?;
        let values = |values| match values {
            Values::List(list) => list,
            Values::Set(set) => set.into_iter().filter_map(|(value, on)| on.then_some(value)).collect(),
        };
        Ok(Self(map.unwrap_or_default().into_iter().map(|(key, set)| (key, values(set))).collect()))
    }

    /// Writes the parameter, in the list shape.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Adds one value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().push(value.to_owned());
    }

    /// The values of one filter; empty when it is not set.
    #[must_use]
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the filter is set at all.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the filters that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The first name that is not one of `known`.
    #[must_use]
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.names().find(|name| !known.contains(name))
    }

    /// Whether one of the filter's values is exactly `value`, or the filter is not set.
    #[must_use]
    pub fn matches(&self, key: &str, value: &str) -> bool {
        !self.contains(key) || self.get(key).iter().any(|wanted| wanted == value)
    }

    /// A filter that is true or false; `None` when not set.
    ///
    /// # Errors
    /// The value, when it is neither `true`, `false`, `1` nor `0`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.get(key).first() else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Ok(Some(true)),
            "0" | "f" | "false" => Ok(Some(false)),
            _ => Err(value.clone()),
        }
    }

    /// Whether all `label` filters (`name` or `name=value`) hold and no `label!` filter does.
    #[must_use]
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.get("label").iter().all(has) && !(self.contains("label!") && self.get("label!").iter().all(has))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        let list = Filters::parse(r#"{"status":["running","paused"]}"#).unwrap();
        let set = Filters::parse(r#"{"status":{"running":true,"paused":true,"dead":false}}"#).unwrap();
        assert!(list.matches("status", "paused") && set.matches("status", "paused"));
        assert!(!set.matches("status", "dead"));
        assert!(Filters::parse("").unwrap().is_empty() && Filters::parse("null").unwrap().is_empty());
        assert!(Filters::parse("[1]").is_err());
    }

    #[test]
    fn labels_match_by_name_and_by_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (filter, expected) in [("a", true), ("a=1", true), ("a=2", false), ("b", false)] {
            let mut filters = Filters::default();
            filters.add("label", filter);
            assert_eq!(filters.match_labels(&labels), expected, "{filter}");
        }
        let mut filters = Filters::default();
        filters.add("label!", "a");
        assert!(!filters.match_labels(&labels));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut filters = Filters::default();
        filters.add("name", "a");
        filters.add("name", "b");
        assert_eq!(Filters::parse(&filters.to_json()).unwrap(), filters);
        assert_eq!(filters.unknown(&["id"]), Some("name"));
    }
}
