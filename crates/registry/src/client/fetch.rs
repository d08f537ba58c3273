//! A file by its URL, which has nothing to do with registries but wants what they want: proxies, redirects that do not leave
//! HTTPS, patience and another try.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::auth::Scope;
use super::error::Error;
use super::exchange::{Answer, Ask, Exchange, Payload, Url};
use super::retry::Attempts;

/// So much is written to the disk at once.
const PIECE: usize = 1 << 20;

/// What the server says of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The name that it gives it (`Content-Disposition`).
    pub name: Option<String>,
    /// When it was last changed, as HTTP writes times.
    pub modified: Option<String>,
}

/// Fetches what is at `url` into an empty file.
pub(super) async fn fetch(exchange: &Exchange, url: &str, file: &Arc<File>) -> Result<Fetched, Error> {
    let place = Url::parse(url).ok_or_else(|| Error::invalid(url, "not a URL of HTTP or HTTPS"))?;
    let ask = Ask {
        what: url,
        method: Method::GET,
        scope: &Scope::none(&place.origin.host),
        url: place,
        headers: HeaderMap::new(),
        payload: Payload::Nothing,
        accept: &[StatusCode::OK],
    };
    let mut attempts = Attempts::new(exchange.config.retry);
    loop {
        match fetch_once(exchange, &ask, file).await {
            Err(error) => attempts.after(error).await?,
            fetched => return fetched,
        }
    }
}

async fn fetch_once(exchange: &Exchange, ask: &Ask<'_>, file: &Arc<File>) -> Result<Fetched, Error> {
    let answer = exchange.ask_once(ask).await?;
    let text = |name| answer.header(name).map(str::to_owned);
    let fetched = Fetched { name: name(&answer), modified: text(header::LAST_MODIFIED) };
    write(ask.what, file, |mut file| file.rewind().and_then(|()| file.set_len(0))).await?;
    let mut body = answer.response.into_body();
    let mut held = Vec::new();
    while let Some(piece) = exchange.piece(ask.what, &mut body).await? {
        held.extend_from_slice(&piece);
        if held.len() >= PIECE {
            let piece = std::mem::take(&mut held);
            write(ask.what, file, move |mut file| file.write_all(&piece)).await?;
        }
    }
    write(ask.what, file, move |mut file| file.write_all(&held)).await?;
    Ok(fetched)
}

/// Does something to the file on a thread that may block.
async fn write(
    what: &str,
    file: &Arc<File>,
    work: impl FnOnce(&File) -> std::io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let file = file.clone();
    let done = tokio::task::spawn_blocking(move || work(&file)).await;
    done.map_err(std::io::Error::other).flatten().map_err(|error| Error::invalid(what, format!("write it: {error}")))
}

/// `Content-Disposition: attachment; filename="a.tar"`, RFC 6266, without any folder.
fn name(answer: &Answer) -> Option<String> {
    let mut parts = answer.header(header::CONTENT_DISPOSITION)?.split(';').skip(1);
    let name = parts.find_map(|part| part.trim().strip_prefix("filename="))?.trim_matches('"');
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    Some(name.to_owned()).filter(|name| !matches!(name.as_str(), "" | "." | ".."))
}
