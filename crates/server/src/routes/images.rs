//! `/images` and `/distribution`.

use std::fs::File;
use std::io::Seek;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, Method, StatusCode, header};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use teu_api::stream::JsonMessage;
use teu_api::system::{AuthConfig, REGISTRY_AUTH};
use teu_engine::{Engine, Error, ImportOptions};
use teu_oci::{ContainerConfig, Platform, Reference};

use super::{Doors, blocking, ok, prune_mode, to_value};
use crate::body::Reader;
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::json_lines::{self, fallible_body};
use crate::query::Query;

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("ImageList", list)
        .open("ImageCreate", create)
        .open("ImageLoad", load)
        .open("ImageGetAll", save_all)
        .open("ImagePrune", prune)
        .open("ImagePrunePreview", prune)
        .open("ImageSearch", search)
        .open("ImageInspect", inspect)
        .open("ImageHistory", history)
        .open("ImageAttestations", attestations)
        .open("ImageGet", save_one)
        .open("ImageTag", tag)
        .open("ImagePush", push)
        .open("ImageDelete", remove)
        .open("DistributionInspect", distribution)
}

type Name = Path<String>;

/// The platforms that a request is about; as JSON, one or a list, once or several times: clients differ.
fn platforms(query: &Query, name: &str) -> Answer<Vec<Platform>> {
    let wrong = |error| Failure::bad(format!("parameter \"{name}\": {error}"));
    let mut found = vec![];
    for text in query.all(name).iter().filter(|text| !text.is_empty() && *text != "null") {
        if text.starts_with('[') {
            found.extend(serde_json::from_str::<Vec<Platform>>(text).map_err(wrong)?);
        } else {
            found.push(serde_json::from_str(text).map_err(wrong)?);
        }
    }
    // What takes several says so by its name.
    if name == "platform" && found.len() > 1 {
        return Err(Failure::bad("multiple platform parameters not supported"));
    }
    Ok(found)
}

/// An image here is for one platform: if another one is asked for, there is none.
fn expect(engine: &Engine, image: &str, query: &Query, name: &str) -> Answer<()> {
    for platform in platforms(query, name)? {
        engine.images.resolve_for(image, Some(&platform.to_string()))?;
    }
    Ok(())
}

async fn inspect(State(engine): State<Engine>, Path(name): Name, query: Query, version: Version) -> Answer {
    expect(&engine, &name, &query, "platform")?;
    ok(compat::image(version, to_value(engine.images.inspect(&name)?)))
}

async fn attestations(State(engine): State<Engine>, Path(name): Name) -> Failure {
    match engine.images.resolve(&name) {
        Ok(_) => {
            Failure::new(StatusCode::NOT_IMPLEMENTED, "attestations of images are not supported by this version of teu")
        }
        Err(error) => error.into(),
    }
}

async fn history(State(engine): State<Engine>, Path(name): Name, query: Query) -> Answer {
    expect(&engine, &name, &query, "platform")?;
    ok(engine.images.history(&name)?)
}

async fn save_one(State(engine): State<Engine>, Path(name): Name, query: Query) -> Answer {
    save(&engine, vec![name], &query).await
}

async fn tag(State(engine): State<Engine>, Path(name): Name, query: Query) -> Answer {
    engine.images.tag(&name, query.required("repo")?, query.text("tag"))?;
    Ok(StatusCode::CREATED.into_response())
}

async fn list(State(engine): State<Engine>, query: Query, version: Version) -> Answer {
    let filters = query.filters()?;
    let mut images = engine.images.list(&filters, &engine.containers)?;
    if query.flag("shared-size") {
        engine.images.tell_shared(&mut images)?;
    }
    ok(images.into_iter().map(|image| compat::image(version, to_value(image))).collect::<Vec<_>>())
}

async fn create(State(engine): State<Engine>, query: Query, headers: HeaderMap, request: Request) -> Answer {
    if query.text("fromImage").is_some() {
        return pull(engine, &query, &headers).await;
    }
    import(engine, &query, request).await
}

async fn pull(engine: Engine, query: &Query, headers: &HeaderMap) -> Answer {
    let name = query.string("fromImage");
    let (tag, platform) = (query.text("tag").map(String::from), query.text("platform").map(String::from));
    let auth = credentials(headers)?;
    json_lines::respond(|out| async move {
        engine.images.pull(&name, tag.as_deref(), platform.as_deref(), auth, out).await.map(|_| ())
    })
    .await
}

async fn import(engine: Engine, query: &Query, request: Request) -> Answer {
    let source = query.required("fromSrc")?.to_owned();
    let changes = query.all("changes");
    let changes = teu_builder::plan::changes(&ContainerConfig::default(), changes.iter().map(String::as_str));
    let options = ImportOptions {
        name: query.text("repo").map(|repo| named(repo, query.text("tag"))).transpose()?,
        message: match query.string("message") {
            none if none.is_empty() => format!("Imported from {source}"),
            message => message,
        },
        changes: changes.map_err(|error| Failure::bad(error.to_string()))?,
        platform: query.text("platform").map(Into::into),
    };
    let body = Reader::new(request.into_body());
    json_lines::respond(|out| async move {
        let image = match source.as_str() {
            "-" => blocking(move || engine.images.import(body, options)).await?,
            source => {
                let url = if source.contains("://") { source.to_owned() } else { format!("http://{source}") };
                let _ = out.send(JsonMessage::status(format!("Downloading from {url}"))).await;
                let file = fetched(&engine, &url).await?;
                blocking(move || engine.images.import(&*file, options)).await?
            }
        };
        let _ = out.send(JsonMessage::status(image.id.to_string())).await;
        Ok::<_, Failure>(())
    })
    .await
}

/// What is at a URL, in a file without a name, from its beginning.
async fn fetched(engine: &Engine, url: &str) -> Answer<Arc<File>> {
    let (flags, mode) = (OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
    let place = engine.store().root();
    let made = rustix::fs::open(place, flags, mode).map(File::from);
    let wrong = |error: std::io::Error| Failure::from(Error::io("make a file to fetch into", place, error));
    let file = Arc::new(made.map_err(|error| wrong(error.into()))?);
    engine.images.fetch(url, &file).await?;
    (&*file).rewind().map_err(wrong)?;
    Ok(file)
}

fn named(repo: &str, tag: Option<&str>) -> Answer<Reference> {
    let name = repo.parse::<Reference>();
    let name = name.and_then(|name| if let Some(tag) = tag { name.with_tag(tag) } else { Ok(name) });
    name.map_err(|error| Failure::bad(error.to_string()))
}

async fn push(State(engine): State<Engine>, Path(name): Name, query: Query, headers: HeaderMap) -> Answer {
    let tag = query.text("tag").map(String::from);
    expect(&engine, &name, &query, "platform")?;
    let auth = credentials(&headers)?;
    json_lines::respond(|out| async move { engine.images.push(&name, tag.as_deref(), auth, out).await }).await
}

async fn load(State(engine): State<Engine>, query: Query, request: Request) -> Answer {
    let mut platforms = platforms(&query, "platform")?;
    if platforms.len() > 1 {
        return Err(Failure::bad("load images for several platforms: an image here is for one, name one"));
    }
    let platform = platforms.pop();
    let body = Reader::new(request.into_body());
    let answer =
        json_lines::respond(|out| blocking(move || engine.images.load(body, platform.as_ref(), &out).map(drop))).await;
    // Clients look for what is wrong with an archive in the stream.
    Ok(answer.unwrap_or_else(|failure| json_lines::one_line(&failure)))
}

async fn save_all(State(engine): State<Engine>, query: Query) -> Answer {
    save(&engine, query.all("names"), &query).await
}

async fn save(engine: &Engine, names: Vec<String>, query: &Query) -> Answer {
    names.iter().try_for_each(|name| expect(engine, name, query, "platform"))?;
    let pieces = engine.images.save(&names)?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], fallible_body(pieces)).into_response())
}

async fn remove(State(engine): State<Engine>, Path(name): Name, query: Query) -> Answer {
    let force = query.flag("force");
    expect(&engine, &name, &query, "platforms")?;
    ok(blocking(move || engine.images.remove(&name, force, &engine.containers)).await?)
}

/// `GET` says what `POST` would remove.
async fn prune(State(engine): State<Engine>, method: Method, query: Query) -> Answer {
    let (filters, mode) = (query.filters()?, prune_mode(&method));
    ok(blocking(move || engine.images.prune(&filters, &engine.containers, mode)).await?)
}

async fn search(State(engine): State<Engine>, query: Query, headers: HeaderMap) -> Answer {
    let (term, limit, filters) = (query.required("term")?, query.number("limit")?, query.filters()?);
    ok(engine.images.search(term, limit, &filters, credentials(&headers)?).await?)
}

async fn distribution(State(engine): State<Engine>, Path(name): Name, headers: HeaderMap) -> Answer {
    ok(engine.images.distribution(&name, credentials(&headers)?).await?)
}

/// The credentials a request brings, if any.
fn credentials(headers: &HeaderMap) -> Answer<Option<AuthConfig>> {
    let auth: Option<AuthConfig> = decoded(headers, REGISTRY_AUTH)?;
    Ok(auth.filter(|auth| *auth != AuthConfig::default()))
}

/// JSON in base64, in a header; what cannot be read is a bad request that does not repeat it.
pub(super) fn decoded<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> Answer<Option<T>> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    // Clients disagree about the alphabet and about padding.
    let text = value.as_bytes().iter().map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    });
    let text: Vec<u8> = text.collect();
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let wrong = || Failure::bad(format!("header {name}: it is not JSON in base64"));
    let json = GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(text).map_err(|_| wrong())?;
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&json).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(REGISTRY_AUTH.parse().expect("name"), value.parse().expect("value"))])
    }

    #[test]
    fn credentials_come_in_either_alphabet_with_or_without_padding() {
        for value in ["eyJ1c2VybmFtZSI6ImE_In0=", "eyJ1c2VybmFtZSI6ImE_In0", "eyJ1c2VybmFtZSI6ImE/In0="] {
            let auth = credentials(&headers(value)).expect("decoded").expect("there");
            assert_eq!(auth.username, "a?");
        }
        // `{}` and `null`: what clients without credentials send.
        assert!(credentials(&headers("e30=")).expect("decoded").is_none());
        assert!(credentials(&headers("bnVsbA==")).expect("decoded").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        let failure = credentials(&headers("secret!")).expect_err("refused");
        assert!(failure.status == StatusCode::BAD_REQUEST && !failure.message.contains("secret"));
    }
}
