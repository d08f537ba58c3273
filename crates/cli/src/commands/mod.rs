//! The commands, one file each; the table lists them.

pub(crate) mod attach;
pub(crate) mod build;
mod build_more;
mod build_output;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod completion;
mod confirm;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod cp;
pub(crate) mod daemon;
pub(crate) mod df;
pub(crate) mod dial;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod refused;
pub(crate) mod registry;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod tag;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod wait;

use std::future::Future;

use crate::client::escape;
use crate::failure::Failure;
use crate::output::line;
use crate::output::template::Template;
use teu_api::Filters;
use teu_api::shape::Shape;

/// Prints one thing of a type by a template, or as JSON.
pub(crate) fn one(format: &str, value: &serde_json::Value, shape: Shape) -> Result<(), Failure> {
    let format = if format == "json" { "{{json .}}" } else { format };
    line(&Template::parse(format)?.render_typed(value, shape)?)
}

/// The API path of a container.
pub(crate) fn container_path(name: &str) -> String {
    format!("/containers/{}", escape(name))
}

/// The API path of an image.
pub(crate) fn image_path(name: &str) -> String {
    format!("/images/{}", escape(name))
}

/// Reads `--filter name=value`s.
pub(crate) fn filters(texts: &[String]) -> Result<Filters, Failure> {
    let mut filters = Filters::default();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let wrong = || Failure::new(format!("invalid filter '{text}'")).hint("write --filter name=value");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        // `label!=x` keeps what has no such label.
        filters.add(name.trim().to_ascii_lowercase().as_str(), value.trim());
    }
    Ok(filters)
}

/// Says what went wrong, and gives the exit code.
pub(crate) fn tell(failure: &Failure) -> u8 {
    failure.report();
    failure.code
}

/// Does something with each name in turn; says what went wrong with which, and goes on.
pub(crate) async fn each<'n, F>(names: &'n [String], mut work: impl FnMut(&'n String) -> F) -> Result<u8, Failure>
where
    F: Future<Output = Result<(), Failure>> + 'n,
{
    let mut code = 0;
    for name in names {
        if let Err(failure) = work(name).await {
            code = tell(&failure);
        }
    }
    Ok(code)
}
