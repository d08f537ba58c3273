//! `teu inspect` and its kin: everything about objects, as JSON or by template.

use serde_json::Value;
use teu_api::network::Network;
use teu_api::shape::{Shape, Shaped};
use teu_api::volume::Volume;
use teu_api::{container, image};

use super::{container_path, image_path};
use crate::Session;
use crate::client::{Client, escape};
use crate::failure::Failure;
use crate::output::template::Template;
use crate::output::{line, print};
use crate::table::Verb;

/// Inspects any objects.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
    /// Show sizes of containers
    #[arg(short, long)]
    size: bool,
    /// Look only for objects of this type (container|image|network|volume)
    #[arg(long = "type", value_name = "string")]
    kind: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// Inspects containers.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerInspect {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
    /// Containers to inspect
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Inspects images.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageInspect {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
    /// Show what it holds for this platform (os/architecture)
    #[arg(long)]
    platform: Option<String>,
    /// Images to inspect
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

/// A kind of object that can be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'p> {
    /// A container; with sizes.
    Container {
        /// Sizes are asked for.
        size: bool,
    },
    /// An image.
    Image {
        /// One of its platforms.
        platform: Option<&'p str>,
    },
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// What a swarm or a plugin is, which the daemon answers for.
    Foreign(Foreign),
}

/// A kind of object by its name, and what stands before and behind an object's name in the API's path.
type Foreign = (&'static str, &'static str, &'static str);

/// The kinds that are inspected only when they are asked for by name.
const FOREIGN: [Foreign; 6] = [
    ("config", "/configs", ""),
    ("node", "/nodes", ""),
    ("plugin", "/plugins", "/json"),
    ("secret", "/secrets", ""),
    ("service", "/services", ""),
    ("task", "/tasks", ""),
];

impl Kind<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Container { .. } => "container",
            Self::Image { .. } => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Foreign((name, ..)) => name,
        }
    }

    /// What the API's answer looks like.
    fn shape(self) -> Shape {
        match self {
            Self::Container { .. } => container::Inspect::shape(),
            Self::Image { .. } => image::Inspect::shape(),
            Self::Network => Network::shape(),
            Self::Volume => Volume::shape(),
            Self::Foreign(_) => Shape::Any,
        }
    }

    async fn get(self, client: &Client<'_>, name: &str) -> Result<Value, Failure> {
        match self {
            Self::Container { size } => {
                client.get(format!("{}/json", container_path(name))).flag("size", size).read().await
            }
            Self::Image { platform } => {
                client.get(format!("{}/json", image_path(name))).platform(platform)?.read().await
            }
            Self::Network => client.get(format!("/networks/{}", escape(name))).read().await,
            Self::Volume => client.get(format!("/volumes/{}", escape(name))).read().await,
            Self::Foreign((_, before, behind)) => client.get(format!("{before}/{}{behind}", escape(name))).read().await,
        }
    }
}

impl Verb for Inspect {
    const USAGE: &'static str = "NAME|ID [NAME|ID...]";
    const ABOUT: &'static str = "Return low-level information on objects";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let all = [Kind::Container { size: self.size }, Kind::Image { platform: None }, Kind::Network, Kind::Volume];
        let kinds = match &self.kind {
            None => all.to_vec(),
            Some(wanted) => vec![among(all, wanted)?],
        };
        inspect(session, &kinds, &self.names, self.format.as_deref()).await
    }
}

/// The kind of that name.
fn among<'p>(usual: [Kind<'p>; 4], name: &str) -> Result<Kind<'p>, Failure> {
    let mut kinds: Vec<Kind<'_>> = usual.into_iter().chain(FOREIGN.map(Kind::Foreign)).collect();
    kinds.sort_by_key(|kind| kind.name());
    let known: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
    kinds.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let wrong = if name.is_empty() { "type is empty".to_owned() } else { format!("unknown type: \"{name}\"") };
        Failure::new(format!("{wrong}: must be one of {}", known.join(", ")))
    })
}

impl Verb for ContainerInspect {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Display detailed information on one or more containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        inspect(session, &[Kind::Container { size: self.size }], &self.names, self.format.as_deref()).await
    }
}

impl Verb for ImageInspect {
    const USAGE: &'static str = "IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Display detailed information on one or more images";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        inspect(session, &[Kind::Image { platform: self.platform.as_deref() }], &self.names, self.format.as_deref())
            .await
    }
}

/// Shows each object, looked for among `kinds` in order; says what was not found at the end.
pub(crate) async fn inspect(
    session: &Session,
    kinds: &[Kind<'_>],
    names: &[String],
    format: Option<&str>,
) -> Result<u8, Failure> {
    let template = match format.filter(|format| !matches!(*format, "" | "json")) {
        Some(format) => Some(Template::parse(format).map_err(|failure| failure.code(64))?),
        None => None,
    };
    let client = session.client();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find(&client, kinds, name).await {
            Ok((value, shape)) => match &template {
                Some(template) => line(&template.render_typed(&value, shape)?)?,
                None => found.push(value),
            },
            Err(failure) => failures.push(failure),
        }
    }
    match format {
        Some("json") => line(&Value::Array(found).to_string())?,
        _ if template.is_none() => print(&pretty(&found))?,
        _ => {}
    }
    for failure in &failures {
        failure.report();
    }
    Ok(u8::from(!failures.is_empty()))
}

async fn find(client: &Client<'_>, kinds: &[Kind<'_>], name: &str) -> Result<(Value, Shape), Failure> {
    for kind in kinds {
        match kind.get(client, name).await {
            Err(failure) if failure.is_not_found() && kinds.len() > 1 => {}
            other => return other.map(|value| (value, kind.shape())),
        }
    }
    Err(Failure::new(format!("Error: No such object: {name}")))
}

/// JSON with four spaces, as the field's tools print it.
pub(super) fn pretty(values: &[Value]) -> String {
    use serde::Serialize;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match values.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned() + "\n",
        Err(_) => "[]\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_printed_with_four_spaces() {
        assert_eq!(pretty(&[serde_json::json!({"Id": "a"})]), "[\n    {\n        \"Id\": \"a\"\n    }\n]\n");
        assert_eq!(pretty(&[]), "[]\n");
    }
}
