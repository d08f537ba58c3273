//! `teu history`: the layers of an image and what made them.

use serde_json::Value;
use teu_api::image::HistoryItem;

use super::image_path;
use crate::Session;
use crate::failure::Failure;
use crate::output::list::{Column, List, Row, row};
use crate::output::units;
use crate::table::Verb;

/// Shows an image's history.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, value_name = "bool", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    human: bool,
    /// Do not shorten output
    #[arg(long)]
    no_trunc: bool,
    /// Show the history of this platform (os/architecture)
    #[arg(long)]
    platform: Option<String>,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Image whose history is shown
    #[arg(required = true, value_name = "IMAGE")]
    image: String,
}

const COLUMNS: &[Column] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// No image is older: what says so does not know its age (2000-01-01).
const EPOCH: i64 = 946_684_800;

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const EXACT: &str = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

impl Verb for History {
    const USAGE: &'static str = "IMAGE";
    const ABOUT: &'static str = "Show the history of an image";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let items: Vec<HistoryItem> = {
            let call = client.get(format!("{}/history", image_path(&self.image)));
            call.platform(self.platform.as_deref())?.read().await?
        };
        let rows: Vec<Row> = items.iter().map(|item| self.cells(item)).collect();
        let default = if self.human { TABLE } else { EXACT };
        let quiet = self.quiet.then_some("{{.ID}}");
        List { columns: COLUMNS, default, quiet, raw: "", format: self.format.as_deref() }.print(rows)?;
        Ok(0)
    }
}

impl History {
    fn cells(&self, item: &HistoryItem) -> Row {
        let by = item.created_by.replace('\t', " ");
        let id = if item.id.starts_with('<') || self.no_trunc { item.id.as_str() } else { units::short_id(&item.id) };
        let date = units::rfc3339(item.created);
        let since = match item.created {
            _ if !self.human => date.clone(),
            created if created <= EPOCH => "N/A".to_owned(),
            created => units::ago(created),
        };
        row([
            ("ID", Value::from(id)),
            ("CreatedSince", Value::from(since)),
            ("CreatedAt", Value::from(date)),
            ("CreatedBy", Value::from(if self.no_trunc { by } else { units::ellipsis(&by, 45) })),
            ("Size", Value::from(if self.human { units::size(item.size) } else { item.size.to_string() })),
            ("Comment", Value::from(item.comment.as_str())),
        ])
    }
}
