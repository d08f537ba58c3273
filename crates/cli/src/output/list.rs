//! Lists: rows of named cells, shown as a table, by template, as JSON or as ids only.

use std::collections::BTreeMap;
use std::ops::Index;

use serde_json::{Map, Value};

use super::template::Template;
use super::{print, table};
use crate::failure::Failure;

/// A column: its name in templates, its heading.
pub(crate) type Column = (&'static str, &'static str);

/// The cells of a row, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells(Vec<(&'static str, Value)>);

impl Cells {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The same as an object.
    pub(crate) fn object(self) -> Value {
        Value::Object(self.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl Index<&str> for Cells {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

/// One row: its cells by name, and the labels that the method `.Label` looks into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Cells by name.
    pub(crate) cells: Cells,
    /// Labels of the object.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Row {
    /// Its cells as JSON has them, names in order.
    pub(crate) fn sorted(self) -> Value {
        sorted(self.cells.object())
    }

    /// Adds the labels.
    pub(crate) fn labelled(mut self, labels: &BTreeMap<String, String>) -> Self {
        self.labels.clone_from(labels);
        self
    }
}

/// A row's cells as JSON has them, names in order.
pub(crate) fn sorted(mut cells: Value) -> Value {
    if let Value::Object(cells) = &mut cells {
        cells.retain(|name, _| name != NOT_IN_JSON);
        cells.sort_keys();
    }
    cells
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

    /// The template that is filled in.
    fn template(&self) -> &str {
        match (self.format.unwrap_or_default(), self.quiet) {
            ("" | "table", None) => self.default,
            ("" | "table", Some(quiet)) => quiet,
            ("json", _) => "{{json .}}",
            ("raw", _) if !self.raw.is_empty() => self.raw,
            (format, _) => format,
        }
    }

    /// Which cells of a row are looked at.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted::by(self.template())
    }

    /// The rows as text; each is asked for when the one before is text already.
    pub(crate) fn text(&self, rows: impl IntoIterator<Item = Row>) -> Result<String, Failure> {
        let mut text = self.begin()?;
        rows.into_iter().try_for_each(|row| text.add(row))?;
        Ok(text.end())
    }

    /// The list without rows, to which they are added.
    pub(crate) fn begin(&self) -> Result<Lines, Failure> {
        let format = self.template();
        let (format, is_table) = match format.strip_prefix("table") {
            Some(rest) => (unescape(rest.trim_matches(' ')), true),
            None => (unescape(format.trim_matches(' ')), false),
        };
        let template = Template::of_list(&format)?;
        let mut lines = vec![];
        if is_table {
            let heading = |(name, heading): &Column| ((*name).to_owned(), Value::from(*heading));
            let headings = Value::Object(self.columns.iter().map(heading).collect::<Map<_, _>>());
            lines.push(template.render_heading(&headings));
        }
        Ok(Lines { template, plain: plain(&format, self.columns), is_table, lines })
    }
}

/// Rows that become lines. Most templates are names of cells with text between, and a long list is made of those quickly.
pub(crate) struct Lines {
    template: Template,
    plain: Option<Vec<Part>>,
    is_table: bool,
    lines: Vec<String>,
}

/// A part of a plain template.
enum Part {
    Text(String),
    Cell(&'static str),
}

impl Lines {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: Row) -> Result<(), Failure> {
        self.lines.push(match self.plain.as_ref().and_then(|parts| joined(parts, &row.cells)) {
            Some(line) => line,
            None => self.template.render_row(row)?,
        });
        Ok(())
    }

    /// All of it.
    pub(crate) fn end(self) -> String {
        if self.is_table {
            return table::align(&self.lines);
        }
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// None when a cell is not text.
fn joined(parts: &[Part], cells: &Cells) -> Option<String> {
    let mut line = String::with_capacity(128);
    for part in parts {
        line += match part {
            Part::Text(text) => text,
            Part::Cell(name) => cells.get(name)?.as_str()?,
        };
    }
    Some(line)
}

/// The parts of a template that is nothing but text and cells, `{{.Name}}`.
fn plain(template: &str, columns: &[Column]) -> Option<Vec<Part>> {
    let mut parts = vec![];
    let mut rest = template;
    while let Some((text, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}")?;
        let name = action.trim_matches(' ').strip_prefix('.')?;
        let (name, _) = columns.iter().find(|(column, _)| *column == name)?;
        parts.extend([Part::Text(text.to_owned()), Part::Cell(name)]);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Some(parts)
}

/// Which cells of its rows a list shows: making the others would be for nothing.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a>(Option<Vec<&'a str>>);

impl<'a> Wanted<'a> {
    /// Every cell.
    pub(crate) const ALL: Wanted<'static> = Wanted(None);

    /// What a template may look at. Nothing reaches a cell but a dot before its name, a dot that stands for the whole row,
    /// or a variable that may hold it.
    fn by(template: &'a str) -> Self {
        let names: Vec<&str> = template.split('.').skip(1).map(leading_name).collect();
        let whole = template.contains('$') || names.iter().any(|name| name.is_empty());
        Wanted(Some(names).filter(|_| !whole))
    }

    /// Whether the cell may be looked at.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(&name))
    }

    /// Whether every cell may be.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Builds one row of what is wanted.
    pub(crate) fn row<const N: usize>(&self, cells: [(&'static str, &dyn Fn() -> Value); N]) -> Row {
        let wanted = cells.into_iter().filter(|(name, _)| self.has(name));
        Row { cells: Cells(wanted.map(|(name, cell)| (name, cell())).collect()), labels: BTreeMap::new() }
    }
}

/// The name that a text begins with.
fn leading_name(text: &str) -> &str {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(text.len());
    &text[..end]
}

/// Builds one row.
pub(crate) fn row<const N: usize>(cells: [(&'static str, Value); N]) -> Row {
    Row { cells: Cells(cells.into()), labels: BTreeMap::new() }
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
    fn only_cells_that_a_template_may_look_at_are_made() {
        let names = |format: &str| {
            let listing = List { columns: &[], default: "table {{.ID}}", quiet: None, raw: "", format: Some(format) };
            let row = listing.wanted().row([("ID", &|| 1.into()), ("Names", &|| 2.into()), ("Labels", &|| 3.into())]);
            row.cells.0.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(""), "ID");
        assert_eq!(names("{{.Names}} of ID"), "Names");
        assert_eq!(names("{{with .Names}}{{$.ID}}{{end}}"), "ID Names Labels");
        for whole in ["json", "{{.}}", "{{json .}}", "{{range $k, $v := .}}{{$v}}{{end}}", "{{index . \"ID\"}}"] {
            assert_eq!(names(whole), "ID Names Labels", "{whole}");
        }
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
