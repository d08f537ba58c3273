//! `teu context`: named daemons.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Value, json};

use crate::Session;
use crate::config::ConfigFile;
use crate::endpoint::Address;
use crate::endpoint::store::{DEFAULT, Meta, Store, check_name};
use crate::failure::{Failure, Naming};
use crate::grammar;
use crate::output::line;
use crate::output::list::{List, Row, row};
use crate::output::template::Template;
use crate::output::units;
use crate::session::variable;
use crate::table::Verb;
use crate::zip;

/// Creates a context.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Description of the context
    #[arg(long)]
    description: Option<String>,
    /// Where it leads: host=…,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true, or from=CONTEXT
    #[arg(long, value_name = "stringToString")]
    docker: Vec<String>,
    /// Copy a context
    #[arg(long)]
    from: Option<String>,
    /// Name of the context
    #[arg(required = true, value_name = "CONTEXT")]
    name: String,
}

/// Writes a context to an archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Context to export
    #[arg(required = true, value_name = "CONTEXT")]
    name: String,
    /// File to write, or - for STDOUT (default CONTEXT.dockercontext)
    #[arg(value_name = "FILE|-")]
    file: Option<String>,
}

/// Reads a context from an archive.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Name of the context
    #[arg(required = true, value_name = "CONTEXT")]
    name: String,
    /// File to read, or - for STDIN
    #[arg(required = true, value_name = "FILE|-")]
    file: String,
}

/// Inspects contexts.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
    /// Contexts to inspect; the one in use, without any
    #[arg(value_name = "CONTEXT")]
    names: Vec<String>,
}

/// Lists contexts.
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Format with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
}

/// Removes contexts.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove a context in use
    #[arg(short, long)]
    force: bool,
    /// Contexts to remove
    #[arg(required = true, value_name = "CONTEXT")]
    names: Vec<String>,
}

/// Shows the context in use.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {}

/// Changes a context.
#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Description of the context
    #[arg(long)]
    description: Option<String>,
    /// Where it leads: host=…,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true, or from=CONTEXT
    #[arg(long, value_name = "stringToString")]
    docker: Vec<String>,
    /// Context to change
    #[arg(required = true, value_name = "CONTEXT")]
    name: String,
}

/// Puts a context in use.
#[derive(Debug, clap::Args)]
pub(crate) struct Use {
    /// Context to use
    #[arg(required = true, value_name = "CONTEXT")]
    name: String,
}

/// Where a context is to lead, with its certificate files by name.
struct Target {
    host: String,
    skip_verify: bool,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Target {
    /// Reads `--docker host=…,ca=…`.
    fn read(session: &Session, store: &Store, texts: &[String]) -> Result<Self, Failure> {
        let mut target = Self { host: String::new(), skip_verify: false, files: Vec::new() };
        for text in texts {
            for field in grammar::fields(text).map_err(Failure::new)? {
                let (key, value) = field
                    .split_once('=')
                    .ok_or_else(|| Failure::new(format!("{field} must be formatted as key=value")))?;
                let mut file = |name| {
                    let content = std::fs::read(value).or_fail(format!("read {value}"))?;
                    target.files.push((name, content));
                    Ok::<_, Failure>(())
                };
                match key {
                    "from" => return Self::copy(session, store, value),
                    "host" => value.clone_into(&mut target.host),
                    "ca" => file("ca.pem")?,
                    "cert" => file("cert.pem")?,
                    "key" => file("key.pem")?,
                    "skip-tls-verify" => {
                        let wrong = || Failure::new(format!("skip-tls-verify: \"{value}\" is not true or false"));
                        target.skip_verify = grammar::boolean(value).ok_or_else(wrong)?;
                    }
                    _ => return Err(Failure::new(format!("unrecognized config key: {key}"))),
                }
            }
        }
        if !target.host.is_empty() {
            Address::parse(&target.host, !target.files.is_empty())?;
        }
        Ok(target)
    }

    /// The same place as another context.
    fn copy(session: &Session, store: &Store, from: &str) -> Result<Self, Failure> {
        let meta = find(session, store, from)?;
        let mut files = Vec::new();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            files.extend(store.tls_file(from, "docker", name).ok().map(|content| (name, content)));
        }
        Ok(Self { host: meta.host().to_owned(), skip_verify: meta.skips_verify(), files })
    }
}

/// A context by name; the default one is made up of the environment.
fn find(session: &Session, store: &Store, name: &str) -> Result<Meta, Failure> {
    if name != DEFAULT {
        return store.get(name);
    }
    let host = match session.host() {
        Ok(host) if session.context == DEFAULT => host.address.to_string(),
        _ => crate::endpoint::default_address(),
    };
    let mut meta = Meta::new(DEFAULT, "", &host, false);
    meta.metadata.clear();
    Ok(meta)
}

fn write(store: &Store, meta: &Meta, target: &Target) -> Result<(), Failure> {
    store.put(meta)?;
    store.clear_tls(&meta.name)?;
    target.files.iter().try_for_each(|(name, content)| store.put_tls(&meta.name, "docker", name, content))
}

/// A new context needs a name that no other has.
fn check_new(store: &Store, name: &str) -> Result<(), Failure> {
    check_name(name)?;
    if store.has(name) { Err(Failure::new(format!("context \"{name}\" already exists"))) } else { Ok(()) }
}

impl Verb for Create {
    const USAGE: &'static str = "CONTEXT";
    const ABOUT: &'static str = "Create a context";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let store = Store::new(&session.config);
        check_new(&store, &self.name)?;
        let description = self.description.unwrap_or_default();
        let (target, mut meta) = match (self.from, self.docker.is_empty()) {
            (Some(_), false) => return Err(Failure::new("cannot use --docker flag when --from is set")),
            (None, false) => (Target::read(session, &store, &self.docker)?, Meta::default()),
            (from, true) => {
                let from = from.unwrap_or_else(|| session.context.clone());
                (Target::copy(session, &store, &from)?, find(session, &store, &from)?)
            }
        };
        meta.name.clone_from(&self.name);
        meta.describe(&description);
        meta.lead_to(&target.host, target.skip_verify);
        write(&store, &meta, &target)?;
        line(&self.name)?;
        crate::output::note!("Successfully created context \"{}\"", self.name);
        Ok(0)
    }
}

impl Verb for Update {
    const USAGE: &'static str = "CONTEXT";
    const ABOUT: &'static str = "Update a context";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        check_name(&self.name)?;
        let store = Store::new(&session.config);
        let mut meta = store.get(&self.name)?;
        meta.describe(&self.description.unwrap_or_default());
        if self.docker.is_empty() {
            store.put(&meta)?;
        } else {
            let target = Target::read(session, &store, &self.docker)?;
            meta.lead_to(&target.host, target.skip_verify);
            write(&store, &meta, &target)?;
        }
        line(&self.name)?;
        crate::output::note!("Successfully updated context \"{}\"", self.name);
        Ok(0)
    }
}

impl Verb for Export {
    const USAGE: &'static str = "CONTEXT [FILE|-]";
    const ABOUT: &'static str = "Export a context to a tar archive FILE or a tar stream on STDOUT.";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let store = Store::new(&session.config);
        let meta = find(session, &store, &self.name)?;
        let archive = pack(&store, &meta).or_fail("write the archive")?;
        let file = self.file.unwrap_or_else(|| format!("{}.dockercontext", self.name));
        if file == "-" {
            if io::stdout().is_terminal() {
                return Err(Failure::new("cowardly refusing to export to a terminal, specify a file path"));
            }
            io::stdout().lock().write_all(&archive).or_fail("write standard output")?;
            return Ok(0);
        }
        let mut out =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).or_fail(format!("write {file}"))?;
        out.write_all(&archive).or_fail(format!("write {file}"))?;
        crate::output::note!("Written file \"{file}\"");
        Ok(0)
    }
}

fn pack(store: &Store, meta: &Meta) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: Option<&[u8]>, mode: u32| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(content.map_or(0, <[u8]>::len) as u64);
        header.set_entry_type(if content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
        archive.append_data(&mut header, path, content.unwrap_or_default())
    };
    add("meta.json", Some(&serde_json::to_vec(meta)?), 0o644)?;
    add("tls", None, 0o700)?;
    let wrong = |failure: Failure| io::Error::other(failure.message);
    for (endpoint, files) in store.tls_files(&meta.name).map_err(wrong)? {
        add(&format!("tls/{endpoint}"), None, 0o700)?;
        for file in files {
            let content = store.tls_file(&meta.name, &endpoint, &file).map_err(wrong)?;
            add(&format!("tls/{endpoint}/{file}"), Some(&content), 0o600)?;
        }
    }
    archive.into_inner()
}

impl Verb for Import {
    const USAGE: &'static str = "CONTEXT FILE|-";
    const ABOUT: &'static str = "Import a context from a tar or zip file";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let store = Store::new(&session.config);
        check_new(&store, &self.name)?;
        let mut bytes = Vec::new();
        match self.file.as_str() {
            "-" => io::stdin().lock().read_to_end(&mut bytes).or_fail("read standard input")?,
            file => std::fs::File::open(file)
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .or_fail(format!("read {file}"))?,
        };
        let (mut meta, files) = unpack(&bytes)?;
        meta.name.clone_from(&self.name);
        store.put(&meta)?;
        for (endpoint, file, content) in files {
            store.put_tls(&self.name, &endpoint, &file, &content)?;
        }
        line(&self.name)?;
        crate::output::note!("Successfully imported context \"{}\"", self.name);
        Ok(0)
    }
}

/// Certificate files: what for, name, content.
type Files = Vec<(String, String, Vec<u8>)>;

/// Reads an archive whole before anything is written.
fn unpack(bytes: &[u8]) -> Result<(Meta, Files), Failure> {
    let (mut meta, mut files) = (None, Vec::new());
    let held = if zip::is_zip(bytes) {
        zip::files(bytes).map_err(|why| Failure::new(format!("read the archive: {why}")))?
    } else {
        held_by_tar(bytes)?
    };
    for (path, content) in held {
        match path.split('/').collect::<Vec<_>>()[..] {
            ["meta.json"] => {
                let read = serde_json::from_slice(&content);
                meta = Some(read.map_err(|error| Failure::new(format!("read meta.json of the archive: {error}")))?);
            }
            ["tls", endpoint, file] if endpoint != ".." && file != ".." => {
                files.push((endpoint.to_owned(), file.to_owned(), content));
            }
            _ => return Err(Failure::new(format!("unexpected file in the archive of a context: {path}"))),
        }
    }
    let meta: Meta = meta.ok_or_else(|| Failure::new("the archive holds no context: it has no meta.json"))?;
    Ok((meta, files))
}

fn held_by_tar(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let broken = |error: io::Error| Failure::io("read the archive", &error);
    let mut held = Vec::new();
    for entry in tar::Archive::new(bytes).entries().map_err(broken)? {
        let mut entry = entry.map_err(|_| Failure::new("read the archive: it is no tar archive, or a broken one"))?;
        if entry.header().entry_type() == tar::EntryType::Regular {
            let path = entry.path().map_err(broken)?.display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken)?;
            held.push((path, content));
        }
    }
    Ok(held)
}

impl Verb for Inspect {
    const USAGE: &'static str = "[CONTEXT] [CONTEXT...]";
    const ABOUT: &'static str = "Display detailed information on one or more contexts";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let store = Store::new(&session.config);
        let names = if self.names.is_empty() { vec![session.context.clone()] } else { self.names };
        let format = self.format.as_deref().filter(|format| !format.is_empty() && *format != "json");
        let template = format.map(Template::parse).transpose()?;
        let (mut found, mut code) = (Vec::new(), 0);
        for name in &names {
            match described(session, &store, name) {
                Ok(value) => match &template {
                    Some(template) => line(&template.render(&value)?)?,
                    None => found.push(value),
                },
                Err(failure) => code = super::tell(&failure),
            }
        }
        match self.format.as_deref() {
            Some("json") => line(&Value::Array(found).to_string())?,
            _ if template.is_none() => crate::output::print(&units::html_safe(&super::inspect::pretty(&found)))?,
            _ => {}
        }
        Ok(code)
    }
}

fn described(session: &Session, store: &Store, name: &str) -> Result<Value, Failure> {
    let meta = find(session, store, name)?;
    let files: serde_json::Map<String, Value> =
        store.tls_files(name)?.into_iter().map(|(endpoint, files)| (endpoint, json!(files))).collect();
    let place = match name {
        DEFAULT => json!({"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}),
        _ => json!({"MetadataPath": store.meta_folder(name), "TLSPath": store.tls_folder(name)}),
    };
    let Meta { name, metadata, endpoints } = meta;
    Ok(json!({"Name": name, "Metadata": metadata, "Endpoints": endpoints, "TLSMaterial": files, "Storage": place}))
}

impl Verb for Ls {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "List contexts";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let store = Store::new(&session.config);
        let mut contexts = vec![find(session, &store, DEFAULT)?];
        contexts[0].describe("Current DOCKER_HOST based configuration");
        contexts.extend(store.list()?);
        let known = contexts.iter().any(|context| context.name == session.context);
        let cells = |name: &str, description: &str, host: &str, error: &str| {
            row([
                ("Name", Value::from(name)),
                ("Current", Value::from(name == session.context)),
                ("Description", Value::from(description)),
                ("DockerEndpoint", Value::from(host)),
                ("Error", Value::from(error)),
            ])
        };
        let mut rows: Vec<Row> =
            contexts.iter().map(|context| cells(&context.name, context.description(), context.host(), "")).collect();
        if !known {
            rows.push(cells(&session.context, "", "", &format!("context \"{}\" does not exist", session.context)));
        }
        rows.sort_by(|a, b| a.cells["Name"].as_str().cmp(&b.cells["Name"].as_str()));
        let columns = &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("DockerEndpoint", "DOCKER ENDPOINT"),
            ("Error", "ERROR"),
            ("Current", ""),
        ];
        let default = "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
        let quiet = self.quiet.then_some("{{.Name}}");
        let format = self.format.as_deref().filter(|_| !self.quiet);
        List { columns, default, quiet, raw: "", format }.print(rows)?;
        warn_of_variable("To use a context");
        Ok(0)
    }
}

/// A variable wins over the context in use, which is easily overlooked.
fn warn_of_variable(what: &str) {
    for name in ["TEU_HOST", "DOCKER_HOST"] {
        if variable(name).is_some() {
            crate::output::note!(
                "Warning: {name} environment variable overrides the active context. {what}, either set the global \
                 --context flag, or unset {name} environment variable."
            );
            return;
        }
    }
}

impl Verb for Remove {
    const USAGE: &'static str = "CONTEXT [CONTEXT...]";
    const ABOUT: &'static str = "Remove one or more contexts";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let store = Store::new(&session.config);
        let mut code = 0;
        for name in &self.names {
            match self.remove(session, &store, name) {
                Ok(()) => line(name)?,
                Err(failure) => code = super::tell(&failure),
            }
        }
        Ok(code)
    }
}

impl Remove {
    fn remove(&self, session: &Session, store: &Store, name: &str) -> Result<(), Failure> {
        if name == DEFAULT {
            return Err(Failure::new("context \"default\" cannot be removed"));
        }
        if !self.force {
            if *name == session.context {
                return Err(Failure::new(format!("context \"{name}\" is in use, set -f flag to force remove")));
            }
            store.get(name)?;
        }
        if self.dry_run {
            return Ok(());
        }
        let mut file = ConfigFile::load(&session.config)?;
        if file.current_context() == Some(name) && file.use_context(None) {
            file.save()?;
        }
        store.remove(name)
    }
}

impl Verb for Show {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Print the name of the current context";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        line(&session.context)?;
        Ok(0)
    }
}

impl Verb for Use {
    const USAGE: &'static str = "CONTEXT";
    const ABOUT: &'static str = "Set the current context";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let name = (self.name != DEFAULT).then_some(self.name.as_str());
        if let Some(name) = name {
            check_name(name)?;
            Store::new(&session.config).get(name)?;
        }
        let mut file = ConfigFile::load(&session.config)?;
        if file.use_context(name) {
            file.save()?;
        }
        line(&self.name)?;
        crate::output::note!("Current context is now \"{}\"", self.name);
        if name.is_some() {
            warn_of_variable(&format!("To use \"{}\"", self.name));
        }
        Ok(0)
    }
}
