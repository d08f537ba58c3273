//! Creating a container, with a pull when its image is missing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use teu_api::Reference;
use teu_api::container::{CreateRequest, CreateResponse};

use super::flags::ContainerFlags;
use super::request::{Surroundings, build};
use crate::Session;
use crate::client::{Call, Client};
use crate::commands::pull;
use crate::failure::{Failure, Naming, reason};
use crate::output::progress::Place;
use crate::signals::Caught;

/// Reads the flags into a request.
pub(crate) fn request(session: &Session, flags: &ContainerFlags) -> Result<CreateRequest, Failure> {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let read = |file: &str| std::fs::read_to_string(file).map_err(|error| format!("open {file}: {}", reason(&error)));
    let proxies = session.file.proxies(&session.host()?.address.to_string());
    let around = Surroundings { variable: &|name| std::env::var(name).ok(), read: &read, folder: &folder, proxies };
    build(flags, &around).map_err(|why| Failure::new(why).code(125))
}

/// Creates the container and tells its id.
pub(crate) async fn create(
    session: &Session,
    client: &Client<'_>,
    flags: &ContainerFlags,
    request: &CreateRequest,
) -> Result<String, Failure> {
    if let Some(file) = &flags.cidfile
        && std::path::Path::new(file).exists()
    {
        return Err(Failure::new(format!(
            "container ID file found, make sure the other container isn't running or delete {file}"
        )));
    }
    let ask = async || call(client, flags, request)?.read().await;
    let created: CreateResponse = with_image(session, client, flags, &mut None, ask).await?;
    warn(&created.warnings);
    if let Some(file) = &flags.cidfile {
        let mut out = OpenOptions::new().write(true).create_new(true).open(file).or_fail(format!("write {file}"))?;
        out.write_all(created.id.as_bytes()).or_fail(format!("write {file}"))?;
    }
    Ok(created.id)
}

/// Prints what will not work as asked.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        crate::output::note!("WARNING: {warning}");
    }
}

/// Asks for a container; its image is pulled when the flags say so. Signals that are caught break off a pull; while the daemon
/// is asked they are held.
pub(crate) async fn with_image<T>(
    session: &Session,
    client: &Client<'_>,
    flags: &ContainerFlags,
    caught: &mut Option<Caught>,
    ask: impl AsyncFn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let fetch = async |caught: &mut Option<Caught>| match caught {
        Some(caught) => caught.or_break(fetch(session, client, flags)).await,
        None => fetch(session, client, flags).await,
    };
    let ask = async |caught: &mut Option<Caught>| match caught {
        Some(caught) => caught.or_hold(ask()).await,
        None => ask().await,
    };
    if flags.pull == "always" {
        fetch(caught).await?;
    }
    match ask(caught).await {
        Err(failure) if failure.is_not_found() && is_image_missing(&failure) && flags.pull == "missing" => {
            let shown = flags.image.parse::<Reference>().map_or(flags.image.clone(), |image| image.familiar());
            crate::output::note!("Unable to find image '{shown}' locally");
            fetch(caught).await?;
            ask(caught).await
        }
        other => other,
    }
}

/// The call that makes a container.
pub(crate) fn call<'c>(
    client: &'c Client<'c>,
    flags: &ContainerFlags,
    request: &CreateRequest,
) -> Result<Call<'c>, Failure> {
    let call = client.post("/containers/create").maybe("name", flags.name.as_deref());
    call.maybe("platform", Session::platform(flags.platform.clone())).json(request)
}

async fn fetch(session: &Session, client: &Client<'_>, flags: &ContainerFlags) -> Result<(), Failure> {
    let place = if flags.quiet { Place::Nowhere } else { Place::Stderr };
    pull::pull(session, client, &flags.image, Session::platform(flags.platform.clone()).as_deref(), false, place).await
}

/// Not found may also mean a network or another container.
fn is_image_missing(failure: &Failure) -> bool {
    failure.message.to_lowercase().contains("no such image")
}
