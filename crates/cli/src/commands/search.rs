//! `teu search`: images in the default registry.

use serde_json::Value;
use teu_api::image::SearchResult;
use teu_api::system::REGISTRY_AUTH;

use super::filters;
use crate::failure::Failure;
use crate::grammar::environment;
use crate::output::list::{Column, List, Row, row};
use crate::output::units;
use crate::table::Verb;
use crate::{Session, config};

/// Searches for images.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Show only what matches (is-official=true, stars=n)
    #[arg(short, long, value_name = "filter", value_parser = environment::filter)]
    filter: Vec<String>,
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Most results to show
    #[arg(long, value_name = "int")]
    limit: Option<i64>,
    /// Do not shorten output
    #[arg(long)]
    no_trunc: bool,
    /// What to search for
    #[arg(required = true, value_name = "TERM")]
    term: String,
}

const COLUMNS: &[Column] =
    &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL")];

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

impl Verb for Search {
    const USAGE: &'static str = "TERM";
    const ABOUT: &'static str = "Search Docker Hub for images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let call = client.get("/images/search").query("term", &self.term);
        let call = call.maybe("limit", self.limit.map(|limit| limit.to_string())).filters(&filters(&self.filter)?);
        let call = call.header(REGISTRY_AUTH, config::header_for(&session.file, &self.term)?);
        let mut results: Vec<SearchResult> = call.read().await?;
        results.sort_by_key(|result| std::cmp::Reverse(result.star_count));
        let rows: Vec<Row> = results.iter().map(|result| cells(result, self.no_trunc)).collect();
        List { columns: COLUMNS, default: TABLE, quiet: None, raw: "", format: self.format.as_deref() }.print(rows)?;
        Ok(0)
    }
}

fn cells(result: &SearchResult, whole: bool) -> Row {
    let description = result.description.replace(['\n', '\r'], " ");
    let description = if whole { description } else { units::ellipsis(&description, 45) };
    row([
        ("Name", Value::from(result.name.as_str())),
        ("Description", Value::from(description)),
        ("StarCount", Value::from(result.star_count.to_string())),
        ("IsOfficial", Value::from(if result.is_official { "[OK]" } else { "" })),
    ])
}
