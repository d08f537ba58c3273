//! `teu events`: what happens, as it happens.

use std::fmt::Write;

use jiff::Timestamp;
use teu_api::event::Message;
use teu_api::shape::Shaped;

use super::filters;
use crate::Session;
use crate::failure::Failure;
use crate::grammar::{environment, time};
use crate::output::template::Template;
use crate::output::{line, units};
use crate::table::Verb;

/// Shows events.
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Show only what matches (name=value)
    #[arg(short, long, value_name = "filter", value_parser = environment::filter)]
    filter: Vec<String>,
    /// Format with a Go template, or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show what happened since a time or a duration ago
    #[arg(long, allow_hyphen_values = true)]
    since: Option<String>,
    /// Stop at a time or a duration ago
    #[arg(long, allow_hyphen_values = true)]
    until: Option<String>,
}

impl Verb for Events {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Get real time events from the server";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let now = Timestamp::now();
        let since = time::flag("since", self.since.as_deref(), now)?;
        let until = time::flag("until", self.until.as_deref(), now)?;
        let template = match self.format.as_deref().filter(|format| !format.is_empty()) {
            Some("json") => Some(Template::parse("{{json .}}")?),
            Some(format) => Some(Template::parse(format)?),
            None => None,
        };
        let client = session.client();
        let call = client.get("/events").maybe("since", since).maybe("until", until);
        let mut events = call.filters(&filters(&self.filter)?).lines::<serde_json::Value>().await?;
        while let Some(event) = events.next().await? {
            match &template {
                Some(template) => line(&template.render_typed(&event, Message::shape())?)?,
                None => line(&shown(&serde_json::from_value(event).unwrap_or_default()))?,
            }
        }
        Ok(0)
    }
}

/// `2024-05-01T12:00:00.000000000Z container start 0123… (image=busybox, name=web)`.
fn shown(event: &Message) -> String {
    let time = match event.time_nano {
        0 => Timestamp::from_second(event.time),
        nano => Timestamp::from_nanosecond(i128::from(nano)),
    };
    let time = time.map(units::rfc3339_nano).unwrap_or_default();
    let mut text = format!("{time} {} {} {}", event.kind, event.action, event.actor.id);
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !attributes.is_empty() {
        let _ = write!(text, " ({})", attributes.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let text = r#"{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"web","image":"b"}},
            "time":1,"timeNano":1500000000}"#;
        let event: Message = serde_json::from_str(text).unwrap();
        assert_eq!(shown(&event), "1970-01-01T00:00:01.500000000Z container start abc (image=b, name=web)");
    }
}
