//! Lists: rows of named cells, shown as a table, by template, as JSON or as ids only.

use serde_json::{Map, Value};

use super::template::Template;
use super::{line, print, table};
use crate::failure::Failure;

/// A column: its name in templates, its heading.
pub(crate) type Column = (&'static str, &'static str);

/// How a list is shown.
pub(crate) struct Listing<'a> {
    /// All columns that templates may use.
    pub(crate) columns: &'a [Column],
    /// The template of the plain table.
    pub(crate) default: &'a str,
    /// The user's `--format`.
    pub(crate) format: Option<&'a str>,
}

impl Listing<'_> {
    /// Prints the rows.
    pub(crate) fn print(&self, rows: &[Value]) -> Result<(), Failure> {
        let format = self.format.filter(|format| !format.is_empty());
        let format = match format {
            None | Some("table") => self.default,
            Some("json") => "{{json .}}",
            Some(format) => format,
        };
        match format.strip_prefix("table") {
            Some(rest) if rest.starts_with([' ', '\t']) => print(&self.table(rest.trim_start(), rows)?),
            _ => {
                let template = Template::parse(&unescape(format))?;
                rows.iter().try_for_each(|row| line(&template.render(row)?))
            }
        }
    }

    fn table(&self, format: &str, rows: &[Value]) -> Result<String, Failure> {
        let template = Template::parse(&unescape(format))?;
        let heading = |(name, heading): &Column| ((*name).to_owned(), Value::from(*heading));
        let headings = Value::Object(self.columns.iter().map(heading).collect::<Map<_, _>>());
        let mut lines = vec![template.render_heading(&headings)?];
        for row in rows {
            lines.push(template.render(row)?);
        }
        Ok(table::align(&lines))
    }
}

/// Builds one row.
pub(crate) fn row<const N: usize>(cells: [(&str, Value); N]) -> Value {
    Value::Object(cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// `\t` and `\n` as users write them in a shell.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

/// Labels as one cell, `a=1,b=2`.
pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_template_has_headings() {
        let columns = &[("ID", "CONTAINER ID"), ("Names", "NAMES")];
        let listing = Listing { columns, default: "", format: None };
        let rows = [json!({"ID": "abc", "Names": "web"})];
        assert_eq!(listing.table("{{.ID}}\\t{{.Names}}", &rows).unwrap(), "CONTAINER ID   NAMES\nabc            web\n");
        assert_eq!(listing.table("{{upper .Names}}", &rows).unwrap(), "NAMES\nWEB\n");
        assert!(listing.table("{{.Nope}}", &rows).is_err());
    }
}
