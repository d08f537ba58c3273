//! What a client says of how to build: the attributes of the `dockerfile.v0` frontend, as clients have sent them since 2018.
//! One that means something else than is done here is refused by name.

use std::collections::{BTreeMap, HashMap};

use teu_api::container::{HostConfig, Ulimit};
use teu_builder::Options;
use teu_oci::Platform;
use tonic::Status;

/// What a client wants.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// How to build; without what only the client has.
    pub(crate) options: Options,
    /// The tree to build from.
    pub(crate) context: Place,
    /// Where the Dockerfile is, if not in the context: the client's name for the folder.
    pub(crate) dockerfile: Option<String>,
    /// The Dockerfile's name there.
    pub(crate) filename: String,
    /// Trees and images by the names that the Dockerfile may use for them.
    pub(crate) named: BTreeMap<String, Place>,
    /// Which results of which builds the request names.
    pub(crate) inputs: Inputs,
    /// Things that the client should be told are not done.
    pub(crate) warnings: Vec<String>,
}

/// Builds and results of theirs, by the names that a request has for them.
pub(crate) type Inputs = HashMap<String, (String, String)>;

/// Where a tree comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder of the client's, by its name for it.
    Local(String),
    /// An archive that the client has, by its name for it.
    Upload(String),
    /// An address.
    Url(String),
    /// An image, by reference.
    Image(String),
    /// What another build came to, by the name that the request has for it.
    Input(String),
}

impl Default for Place {
    fn default() -> Self {
        Self::Local("context".into())
    }
}

impl Place {
    pub(crate) fn read(name: &str, value: &str) -> Result<Self, Status> {
        if let Some(path) = value.strip_prefix("http://buildkit-session/") {
            return Ok(Self::Upload(path.into()));
        }
        match value.split_once(':') {
            Some(("local", folder)) => Ok(Self::Local(folder.into())),
            Some(("input", name)) => Ok(Self::Input(name.into())),
            Some(("docker-image", reference)) => Ok(Self::Image(reference.trim_start_matches("//").into())),
            Some(("http" | "https" | "git" | "ssh", _)) => Ok(Self::Url(value.into())),
            _ if value.starts_with("git@") || value.starts_with("github.com/") => Ok(Self::Url(value.into())),
            _ => Err(refused(&format!("the context {name}={value}"))),
        }
    }
}

/// Reads the attributes of one build.
pub(crate) fn read(attributes: &HashMap<String, String>) -> Result<Attributes, Status> {
    let mut all = Attributes { filename: "Dockerfile".into(), ..Attributes::default() };
    let mut host = HostConfig::default();
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        match name.split_once(':') {
            Some(("build-arg", argument)) => drop(all.options.build_args.insert(argument.into(), value.clone())),
            Some(("label", label)) => drop(all.options.labels.insert(label.into(), value.clone())),
            Some(("context", named)) => drop(all.named.insert(named.into(), Place::read(named, value)?)),
            // For whoever looks at the build later, and for caches that are kept from build to build.
            Some(("vcs" | "local-sessionid" | "sharedkey" | "input" | "input-metadata", _)) => {}
            Some(("attest", kind)) => return Err(refused(&format!("the attestation {kind}"))),
            Some(_) => return Err(refused(&format!("the attribute {name}"))),
            None if limit(&mut host, name, value)? => {}
            None => plain(&mut all, name, value)?,
        }
    }
    if let Some(mode) = attributes.get("force-network-mode") {
        host.network_mode.clone_from(mode);
    }
    all.options.host = host;
    all.options.dockerfile.clone_from(&all.filename);
    Ok(all)
}

fn plain(all: &mut Attributes, name: &str, value: &str) -> Result<(), Status> {
    match name {
        "filename" => all.filename = value.into(),
        "target" => all.options.target = Some(value.into()).filter(|target: &String| !target.is_empty()),
        "platform" => all.options.platform = platform(value)?,
        "no-cache" if value.is_empty() => all.options.no_cache = true,
        "no-cache" => all.options.no_cache_stages = list(value).map(str::to_owned).collect(),
        "image-resolve-mode" => all.options.pull = value == "pull",
        "context" => all.context = Place::read("context", value)?,
        "contextkey" => all.context = Place::Local(value.into()),
        "dockerfilekey" => all.dockerfile = Some(value.into()),
        "cache-from" | "cache-imports" => {
            all.warnings.push("caches of elsewhere are not imported: the cache of this machine is used".into());
        }
        "multi-platform" if !matches!(value, "true" | "1") => {}
        // The frontend is the one that is built in, whatever image is named for it.
        "source" | "cmdline" | "frontend.caps" | "force-network-mode" => {}
        "requestid" => return Err(Status::unimplemented(format!("unsupported request {value}"))),
        _ => return Err(refused(&format!("the attribute {name}"))),
    }
    Ok(())
}

/// Reads what is about the containers of RUN; whether it was.
fn limit(host: &mut HostConfig, name: &str, value: &str) -> Result<bool, Status> {
    let wrong = || Status::invalid_argument(format!("invalid value for {name}: {value}"));
    let number = || value.parse::<i64>().map_err(|_| wrong());
    match name {
        "add-hosts" => host.extra_hosts = list(value).map(|pair| pair.replacen('=', ":", 1)).collect(),
        "shm-size" => host.shm_size = number()?,
        "cgroup-parent" => host.cgroup_parent = value.into(),
        "memory" => host.memory = number()?,
        "memswap" => host.memory_swap = number()?,
        "cpushares" => host.cpu_shares = number()?,
        "cpuperiod" => host.cpu_period = number()?,
        "cpuquota" => host.cpu_quota = number()?,
        "cpusetcpus" => host.cpuset_cpus = value.into(),
        "cpusetmems" => host.cpuset_mems = value.into(),
        "ulimit" => host.ulimits = list(value).map(|one| ulimit(one).ok_or_else(wrong)).collect::<Result<_, _>>()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What stands between commas.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').filter(|one| !one.is_empty())
}

/// `nofile=1024:2048`, or one number for both.
fn ulimit(text: &str) -> Option<Ulimit> {
    let (name, limits) = text.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Some(Ulimit { name: name.into(), hard: hard.parse().ok()?, soft: soft.parse().ok()? })
}

fn platform(value: &str) -> Result<Option<Platform>, Status> {
    let mut all = list(value);
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(refused(&format!("a build for several platforms ({value})"))),
        (Some(one), None) => one.parse().map(Some).map_err(Status::invalid_argument),
    }
}

/// Something that clients may want and that is not there.
pub(crate) fn refused(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not supported by this version of teu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Result<Attributes, Status> {
        read(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_clients_send_is_read() {
        let all = given(&[
            ("filename", "Dockerfile.dev"),
            ("dockerfilekey", "dockerfile"),
            ("build-arg:A", "1"),
            ("label:b", "2"),
            ("no-cache", ""),
            ("image-resolve-mode", "pull"),
            ("platform", "linux/amd64"),
            ("add-hosts", "a=10.0.0.1,b=::1"),
            ("ulimit", "nofile=10:20,nproc=5"),
            ("force-network-mode", "none"),
            ("shm-size", "1048576"),
            ("context:base", "docker-image://busybox:latest"),
            ("context:lib", "local:lib"),
            ("vcs:revision", "0123"),
            ("cache-imports", "[]"),
        ]);
        let all = all.expect("read");
        let options = &all.options;
        assert_eq!((options.build_args["A"].as_str(), options.labels["b"].as_str()), ("1", "2"));
        assert!(options.no_cache && options.pull && options.platform.is_some() && all.warnings.len() == 1);
        assert_eq!(options.host.extra_hosts, ["a:10.0.0.1", "b:::1"]);
        let limits: Vec<_> = options.host.ulimits.iter().map(|limit| (limit.soft, limit.hard)).collect();
        assert_eq!((limits, options.host.network_mode.as_str()), (vec![(10, 20), (5, 5)], "none"));
        assert_eq!(all.named["base"], Place::Image("busybox:latest".into()));
        assert_eq!(all.named["lib"], Place::Local("lib".into()));
        assert_eq!((all.context, all.dockerfile.as_deref()), (Place::Local("context".into()), Some("dockerfile")));
    }

    #[test]
    fn contexts_are_where_clients_say() {
        let context = |value| given(&[("context", value)]).map(|all| all.context);
        assert_eq!(context("http://buildkit-session/abc").expect("read"), Place::Upload("abc".into()));
        assert_eq!(context("https://x/y.tar").expect("read"), Place::Url("https://x/y.tar".into()));
        assert_eq!(context("git@x:y.git").expect("read"), Place::Url("git@x:y.git".into()));
        assert!(context("oci-layout://x").is_err());
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (name, value) in [
            ("attest:sbom", ""),
            ("platform", "linux/amd64,linux/arm64"),
            ("multi-platform", "true"),
            ("requestid", "frontend.lint"),
            ("something-new", "1"),
        ] {
            let error = given(&[(name, value)]).expect_err(name);
            assert_eq!(error.code(), tonic::Code::Unimplemented, "{name}: {}", error.message());
        }
        assert_eq!(given(&[("shm-size", "much")]).expect_err("a word").code(), tonic::Code::InvalidArgument);
    }
}
