//! Lists: rows of named cells, shown as a table, by template, as JSON or as ids only.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::template::Template;
use super::{print, table};
use crate::failure::Failure;

/// A column: its name in templates, its heading.
pub(crate) type Column = (&'static str, &'static str);

/// One row: its cells by name, and the labels that the method `.Label` looks into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Cells by name.
    pub(crate) cells: Value,
    /// Labels of the object.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Row {
    /// Its cells as JSON has them, names in order.
    pub(crate) fn sorted(self) -> Value {
        let Value::Object(mut cells) = self.cells else { return self.cells };
        cells.retain(|name, _| name != NOT_IN_JSON);
        cells.sort_keys();
        Value::Object(cells)
    }

    /// Adds the labels.
    pub(crate) fn labelled(mut self, labels: &BTreeMap<String, String>) -> Self {
        self.labels.clone_from(labels);
        self
    }
}

/// A column for templates alone: the JSON is that of Docker 28, which does not have it.
const NOT_IN_JSON: &str = "HealthStatus";

/// How a list is shown.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    /// All columns that templates may use.
    pub(crate) columns: &'a [Column],
    /// The template of the plain table.
    pub(crate) default: &'a str,
    /// The template of `--quiet`.
    pub(crate) quiet: Option<&'a str>,
    /// The template of `--format raw`.
    pub(crate) raw: &'a str,
    /// The user's `--format`.
    pub(crate) format: Option<&'a str>,
}

impl List<'_> {
    /// Prints the rows.
    pub(crate) fn print(&self, rows: impl IntoIterator<Item = Row>) -> Result<(), Failure> {
        print(&self.text(rows)?)
    }

    /// The rows as text; each is asked for when the one before is text already.
    pub(crate) fn text(&self, rows: impl IntoIterator<Item = Row>) -> Result<String, Failure> {
        let format = match (self.format.unwrap_or_default(), self.quiet) {
            ("" | "table", None) => self.default,
            ("" | "table", Some(quiet)) => quiet,
            ("json", _) => "{{json .}}",
            ("raw", _) if !self.raw.is_empty() => self.raw,
            (format, _) => format,
        };
        match format.strip_prefix("table") {
            Some(rest) => self.table(rest.trim_matches(' '), rows),
            None => {
                let template = Template::of_list(&unescape(format.trim_matches(' ')))?;
                let lines = rows.into_iter().map(|row| Ok(template.render_row(&row)? + "\n"));
                lines.collect()
            }
        }
    }

    fn table(&self, format: &str, rows: impl IntoIterator<Item = Row>) -> Result<String, Failure> {
        let template = Template::of_list(&unescape(format))?;
        let heading = |(name, heading): &Column| ((*name).to_owned(), Value::from(*heading));
        let headings = Value::Object(self.columns.iter().map(heading).collect::<Map<_, _>>());
        let mut lines = vec![template.render_heading(&headings)];
        for row in rows {
            lines.push(template.render_row(&row)?);
        }
        Ok(table::align(&lines))
    }
}

/// Builds one row.
pub(crate) fn row<const N: usize>(cells: [(&str, Value); N]) -> Row {
    let cells = Value::Object(cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    Row { cells, labels: BTreeMap::new() }
}

/// `\t` and `\n` as users write them in a shell.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

/// Labels as one cell, `a=1,b=2`.
pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut pairs: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str) -> Result<String, Failure> {
        let columns = &[("ID", "CONTAINER ID"), ("Names", "NAMES")];
        let listing = List { columns, default: "table {{.ID}}", quiet: None, raw: "id: {{.ID}}", format: Some(format) };
        let row = row([("Names", "web".into()), ("ID", "<abc>".into())]);
        listing.text([row.labelled(&BTreeMap::from([("a.big-one".to_owned(), "x,y".to_owned())]))])
    }

    #[test]
    fn a_table_template_has_headings() {
        assert_eq!(shown("table {{.ID}}\\t{{.Names}}").unwrap(), "CONTAINER ID   NAMES\n<abc>          web\n");
        assert_eq!(shown("table {{upper .Names}}").unwrap(), "NAMES\nWEB\n");
        assert_eq!(shown("").unwrap(), "CONTAINER ID\n<abc>\n");
        assert!(shown("table {{.Nope}}").is_err());
    }

    #[test]
    fn labels_are_looked_up_by_name() {
        assert_eq!(shown("{{.Label \"a.big-one\"}}|{{.Label \"none\"}}").unwrap(), "x,y|\n");
        assert_eq!(shown("table {{.Label \"a.big-one\"}}").unwrap(), "big one\nx,y\n");
    }

    #[test]
    fn json_has_sorted_names_and_gos_escapes() {
        assert_eq!(shown("json").unwrap(), "{\"ID\":\"\\u003cabc\\u003e\",\"Names\":\"web\"}\n");
        assert_eq!(shown("{{json .ID}}").unwrap(), "\"<abc>\"\n");
        assert_eq!(shown("raw").unwrap(), "id: <abc>\n");
    }
}
