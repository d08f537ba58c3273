//! `teu manifest`: one name for the images of several machines, put together here and pushed to a registry.
//!
//! No daemon has a part in it: manifests are read from registries, the list is kept beside `config.json`, and pushed from here.

mod remote;
mod store;

use serde::Serialize;
use teu_api::Reference;
use teu_oci::media_type;

use crate::Session;
use crate::config::tabbed;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;
use remote::Remote;
use store::{Entry, ImageManifest, Lists, Machine, unknown};

/// Operating systems and architectures that a manifest may be for: Go's, and those that registries have.
const MACHINES: &[&str] = &[
    "darwin/386",
    "darwin/amd64",
    "darwin/arm",
    "darwin/arm64",
    "dragonfly/amd64",
    "freebsd/386",
    "freebsd/amd64",
    "freebsd/arm",
    "linux/386",
    "linux/amd64",
    "linux/arm",
    "linux/arm64",
    "linux/loong64",
    "linux/mips64",
    "linux/mips64le",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "netbsd/386",
    "netbsd/amd64",
    "netbsd/arm",
    "openbsd/386",
    "openbsd/amd64",
    "openbsd/arm",
    "plan9/386",
    "plan9/amd64",
    "solaris/amd64",
    "windows/386",
    "windows/amd64",
    "windows/arm64",
];

/// Begins or adds to a list.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// List to create
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Images that it has
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<String>,
}

/// Says for which machine a manifest is.
#[derive(Debug, clap::Args)]
pub(crate) struct Annotate {
    /// Set architecture
    #[arg(long)]
    arch: Option<String>,
    /// Set operating system
    #[arg(long)]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long)]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long)]
    variant: Option<String>,
    /// List that has it
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Manifest of the list
    #[arg(value_name = "MANIFEST")]
    manifest: String,
}

/// Shows a manifest or a list.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    /// List that has it, and the manifest; or the manifest or list alone
    #[arg(required = true, num_args = 1..=2, value_name = "MANIFEST")]
    names: Vec<String>,
}

/// Pushes a list.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    /// List to push
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
}

/// Removes lists.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Lists to remove
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    lists: Vec<String>,
}

/// Several manifests under one name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Listed<'a>>,
}

/// One of them, in the order in which lists have it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a Machine>,
}

/// Reads a name; without tag and digest it is the tag `latest`.
fn reference(text: &str) -> Result<Reference, Failure> {
    let wrong = |error: teu_api::ReferenceError| Failure::new(error.to_string());
    let reference: Reference = text.parse().map_err(wrong)?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Ok(reference);
    }
    reference.with_tag("latest").map_err(wrong)
}

impl Verb for Create {
    const USAGE: &'static str = "MANIFEST_LIST MANIFEST [MANIFEST...]";
    const ABOUT: &'static str = "Create a local manifest list for annotating and pushing to a registry";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let lists = Lists::new(&session.config);
        let list = reference(&self.list).map_err(|failure| {
            Failure::new(format!("error parsing name for manifest list {}: {}", self.list, failure.message))
        })?;
        if !self.amend && lists.all(&list)?.is_some() {
            return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
        }
        for name in &self.manifests {
            let name = reference(name)?;
            let manifest = match lists.get(&list, &name)? {
                Some(kept) => kept,
                None => Remote::new(session, &name, self.insecure)?.manifest(&name).await?,
            };
            lists.save(&list, &name, &manifest)?;
        }
        line(&format!("Created manifest list {list}"))?;
        Ok(0)
    }
}

impl Verb for Annotate {
    const USAGE: &'static str = "MANIFEST_LIST MANIFEST";
    const ABOUT: &'static str = "Add additional information to a local image manifest";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let lists = Lists::new(&session.config);
        let named = |what: &str, text: &str| {
            let wrong = |failure: Failure| {
                Failure::new(format!("annotate: error parsing name for {what} {text}: {}", failure.message))
            };
            reference(text).map_err(wrong)
        };
        let (list, name) = (named("manifest list", &self.list)?, named("manifest", &self.manifest)?);
        let missing = || Failure::new(format!("manifest for image {} does not exist in {}", self.manifest, self.list));
        let mut manifest = lists.get(&list, &name)?.ok_or_else(missing)?;
        let machine = manifest.descriptor.platform.get_or_insert_default();
        for (given, kept) in [
            (self.os, &mut machine.os),
            (self.arch, &mut machine.architecture),
            (self.variant, &mut machine.variant),
            (self.os_version, &mut machine.version),
        ] {
            if let Some(given) = given.filter(|given| !given.is_empty()) {
                *kept = given;
            }
        }
        for feature in self.os_features {
            if !machine.features.contains(&feature) {
                machine.features.push(feature);
            }
        }
        let kind = format!("{}/{}", machine.os, machine.architecture);
        if !MACHINES.contains(&kind.as_str()) {
            return Err(Failure::new(format!("manifest entry for image has unsupported os/arch combination: {kind}")));
        }
        lists.save(&list, &name, &manifest)?;
        Ok(0)
    }
}

impl Verb for Inspect {
    const USAGE: &'static str = "[MANIFEST_LIST] MANIFEST";
    const ABOUT: &'static str = "Display an image manifest, or manifest list";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let lists = Lists::new(&session.config);
        let name = reference(self.names.last().map(String::as_str).unwrap_or_default())?;
        let one = |manifest: &ImageManifest| match self.verbose {
            true => line(&tabbed(manifest)),
            false => line(&tabbed(manifest.document())),
        };
        if let [list, _] = &self.names[..] {
            one(&lists.get(&reference(list)?, &name)?.ok_or_else(|| unknown(&name))?)?;
            return Ok(0);
        }
        if let Some(local) = lists.all(&name)? {
            show_list(&name, &local, self.verbose)?;
            return Ok(0);
        }
        let remote = Remote::new(session, &name, self.insecure)?;
        match remote.list(&name).await? {
            Some(list) => show_list(&name, &list, self.verbose)?,
            None => one(&remote.manifest(&name).await?)?,
        }
        Ok(0)
    }
}

fn show_list(name: &Reference, manifests: &[ImageManifest], verbose: bool) -> Result<(), Failure> {
    line(&if verbose { tabbed(&manifests) } else { document(name, manifests)? })
}

/// The list as it is pushed: the same bytes as Docker's.
fn document(name: &Reference, manifests: &[ImageManifest]) -> Result<String, Failure> {
    for manifest in manifests {
        let place = manifest.place()?;
        if place.domain() != name.domain() {
            return Err(Failure::new(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                place.domain(),
                name.domain()
            )));
        }
    }
    let is_oci = manifests.first().is_some_and(|first| first.descriptor.media_type == media_type::OCI_MANIFEST);
    let list = List {
        schema_version: 2,
        media_type: if is_oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST },
        manifests: manifests.iter().map(|manifest| listed(&manifest.descriptor)).collect(),
    };
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let written = list.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter));
    written.map_err(|error| Failure::new(error.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn listed(entry: &Entry) -> Listed<'_> {
    let Entry { media_type, digest, size, platform } = entry;
    Listed { media_type, size: *size, digest, platform: platform.as_ref() }
}

impl Verb for Push {
    const USAGE: &'static str = "MANIFEST_LIST";
    const ABOUT: &'static str = "Push a manifest list to a repository";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let lists = Lists::new(&session.config);
        let name = reference(&self.list)?;
        let manifests = lists.all(&name)?.ok_or_else(|| unknown(&name))?;
        if manifests.is_empty() {
            return Err(Failure::new(format!("{name} not found")));
        }
        for ImageManifest { reference, descriptor, .. } in &manifests {
            let whole = descriptor.platform.as_ref().filter(|one| !one.os.is_empty() && !one.architecture.is_empty());
            if whole.is_none() {
                let why = format!("manifest {reference} must have an OS and Architecture to be pushed to a registry");
                return Err(Failure::new(why));
            }
        }
        let text = document(&name, &manifests)?;
        let remote = Remote::new(session, &name, self.insecure)?;
        for manifest in &manifests {
            remote.bring(&name, manifest).await?;
        }
        line(&remote.put_list(&name, text).await?)?;
        if self.purge {
            lists.remove(&name)?;
        }
        Ok(0)
    }
}

impl Verb for Remove {
    const USAGE: &'static str = "MANIFEST_LIST [MANIFEST_LIST...]";
    const ABOUT: &'static str = "Delete one or more manifest lists from local storage";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let lists = Lists::new(&session.config);
        let mut troubles = Vec::new();
        for name in &self.lists {
            let removed = reference(name).and_then(|name| match self.dry_run {
                true => lists.all(&name)?.map_or_else(|| Err(unknown(&name)), |_| line(&name.to_string())),
                false => lists.remove(&name),
            });
            troubles.extend(removed.err().map(|failure| failure.message));
        }
        if troubles.is_empty() { Ok(0) } else { Err(Failure::new(troubles.join("\n"))) }
    }
}
