//! Creating a container, with a pull when its image is missing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use teu_api::Reference;
use teu_api::container::{CreateRequest, CreateResponse};

use super::flags::ContainerFlags;
use super::request::{Surroundings, build};
use crate::Session;
use crate::client::Client;
use crate::commands::pull;
use crate::failure::{Failure, Naming, reason};
use crate::output::progress::Place;

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
    if flags.pull == "always" {
        fetch(session, client, flags).await?;
    }
    let created = match ask(client, flags, request).await {
        Err(failure) if failure.is_not_found() && is_image_missing(&failure) && flags.pull == "missing" => {
            let shown = flags.image.parse::<Reference>().map_or(flags.image.clone(), |image| image.familiar());
            crate::output::note!("Unable to find image '{shown}' locally");
            fetch(session, client, flags).await?;
            ask(client, flags, request).await?
        }
        other => other?,
    };
    for warning in &created.warnings {
        crate::output::note!("WARNING: {warning}");
    }
    if let Some(file) = &flags.cidfile {
        let mut out = OpenOptions::new().write(true).create_new(true).open(file).or_fail(format!("write {file}"))?;
        out.write_all(created.id.as_bytes()).or_fail(format!("write {file}"))?;
    }
    Ok(created.id)
}

async fn ask(client: &Client<'_>, flags: &ContainerFlags, request: &CreateRequest) -> Result<CreateResponse, Failure> {
    let call = client.post("/containers/create").maybe("name", flags.name.as_deref());
    call.maybe("platform", Session::platform(flags.platform.clone())).json(request)?.read().await
}

async fn fetch(session: &Session, client: &Client<'_>, flags: &ContainerFlags) -> Result<(), Failure> {
    let place = if flags.quiet { Place::Nowhere } else { Place::Stderr };
    pull::pull(session, client, &flags.image, Session::platform(flags.platform.clone()).as_deref(), false, place).await
}

/// Not found may also mean a network or another container.
fn is_image_missing(failure: &Failure) -> bool {
    failure.message.to_lowercase().contains("no such image")
}
