//! `teu build`: a Dockerfile becomes an image.

use std::collections::BTreeMap;

use serde_json::Value;
use teu_api::build::BUILD_SECRETS;
use teu_api::stream::JsonMessage;
use teu_api::system::REGISTRY_CONFIG;
use teu_git::{GitUrl, Identity};

use crate::Session;
use crate::build_context::{self, Temporary};
use crate::client::Call;
use crate::commands::build_more::More;
use crate::commands::build_output::{self, Output, Sink};
use crate::config;
use crate::failure::{Failure, Naming};
use crate::grammar::secret::{self, Secret};
use crate::grammar::{self, environment, limits, size};
use crate::output::line;
use crate::output::progress::{self, Place};
use crate::signals;
use crate::table::Verb;
use teu_api::container::Ulimit;

/// Builds an image.
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Add a line to /etc/hosts of build steps (host:ip)
    #[arg(long)]
    add_host: Vec<String>,
    /// Let the Dockerfile ask for more (network.host, security.insecure)
    #[arg(long, value_name = "stringArray", value_parser = ["network.host", "security.insecure"])]
    allow: Vec<String>,
    /// Set build-time variables
    #[arg(long)]
    build_arg: Vec<String>,
    /// Images to take cache from
    #[arg(long, value_name = "strings", value_parser = sources)]
    cache_from: Vec<Names>,
    /// Parent of the cgroups of build steps
    #[arg(long)]
    cgroup_parent: Option<String>,
    /// Compress the build context with gzip (no longer needed)
    #[arg(long)]
    compress: bool,
    /// Length of a CPU period of build steps in microseconds
    #[arg(long, value_name = "int")]
    cpu_period: Option<i64>,
    /// CPU time per period of build steps in microseconds
    #[arg(long, value_name = "int")]
    cpu_quota: Option<i64>,
    /// CPUs on which build steps run (0-3, 0,1)
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes on which build steps run (0-3, 0,1)
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// CPU shares of build steps (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<i64>,
    /// Name of the Dockerfile (default 'PATH/Dockerfile')
    #[arg(short, long)]
    file: Option<String>,
    /// Content trust (no longer in use)
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Remove what build steps leave, also of one that fails
    #[arg(long)]
    force_rm: bool,
    /// Write the image's id to the file
    #[arg(long)]
    iidfile: Option<String>,
    /// Isolation technology of build steps
    #[arg(long)]
    isolation: Option<String>,
    /// Set labels on the image
    #[arg(long, value_parser = environment::label)]
    label: Vec<String>,
    /// Memory limit of build steps
    #[arg(short, long, value_name = "bytes", value_parser = size::bytes)]
    memory: Option<i64>,
    /// Limit of memory plus swap of build steps: '-1' for unlimited swap
    #[arg(long, value_name = "bytes", value_parser = size::swap)]
    memory_swap: Option<i64>,
    /// Network of build steps
    #[arg(long, default_value = "default")]
    network: String,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
    /// Where the result goes (DIR, -, type=tar,dest=FILE, …)
    #[arg(short, long, value_name = "stringArray", value_parser = build_output::parse)]
    output: Vec<Output>,
    /// Set the platform (os/architecture)
    #[arg(long)]
    platform: Option<String>,
    /// Always try to pull newer base images
    #[arg(long)]
    pull: bool,
    /// Print only the image's id
    #[arg(short, long)]
    quiet: bool,
    /// Remove what build steps leave
    #[arg(long, value_name = "bool", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    rm: bool,
    /// Secret that RUN --mount=type=secret shows (id=ID[,src=FILE|,env=VARIABLE])
    #[arg(long, value_name = "stringArray", value_parser = secret::parse)]
    secret: Vec<Secret>,
    /// Security options of build steps
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    security_opt: Vec<String>,
    /// Size of /dev/shm of build steps
    #[arg(long, value_name = "bytes", value_parser = size::bytes)]
    shm_size: Option<i64>,
    /// Make one layer of all new ones
    #[arg(long)]
    squash: bool,
    /// Name for the image (name[:tag])
    #[arg(short, long)]
    tag: Vec<String>,
    /// Stage to build
    #[arg(long)]
    target: Option<String>,
    /// Resource limits of build steps (name=soft[:hard])
    #[arg(long, value_name = "ulimit", value_parser = limits::ulimit)]
    ulimit: Vec<Ulimit>,
    #[command(flatten)]
    more: More,
    /// Build context: a folder, an URL (also of a git repository), or - for STDIN
    #[arg(required = true, value_name = "PATH | URL | -")]
    context: String,
}

impl Verb for Build {
    const USAGE: &'static str = "PATH | URL | -";
    const ABOUT: &'static str = "Build an image from a Dockerfile";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        self.more.check()?;
        let output = self.output()?;
        let Some(repository) = build_context::repository(&self.context)? else {
            let found = build_context::find(&self.context, self.file.as_deref())?;
            return self.build(session, found, &output).await;
        };
        let checkout = Temporary::new()?;
        let work = async {
            let found = self.check_out(repository, &checkout).await?;
            self.build(session, found, &output).await
        };
        tokio::select! {
            result = work => result,
            code = signals::ended() => Err(Failure::silent(code)),
        }
    }
}

impl Build {
    /// Fetches a repository as the person who types would; its files are sent as those of a folder are.
    async fn check_out(&self, mut url: GitUrl, into: &Temporary) -> Result<build_context::Context, Failure> {
        let keep =
            |text: &String| matches!(&**text, "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1" | "BUILDKIT_CONTEXT_KEEP_GIT_DIR=true");
        url.keep_git_dir |= self.build_arg.iter().any(keep);
        let secrets = secret::contents(&self.secret)?;
        let secret = |id: &str| secrets.iter().find(|(have, _)| have == id).map(|(_, content)| content.clone());
        let options = teu_git::Options { identity: Identity::Person, authorization: url.authorization(secret) };
        let checkout = teu_git::checkout(&url, into.path(), &options).await;
        let checkout = checkout.map_err(|error| Failure::new(format!("prepare context: {error}")))?;
        build_context::in_repository(checkout.folder, self.file.as_deref())
    }

    async fn build(&self, session: &Session, found: build_context::Context, output: &Output) -> Result<u8, Failure> {
        let client = session.client();
        let call = self.parameters(session, client.post("/build"))?.query("dockerfile", &found.dockerfile);
        let call = call.maybe("outputs", output.kind().map(|kind| json(&[kind])));
        let call = output.names.iter().fold(call, |call, name| call.query("t", name));
        let call = match &found.source {
            build_context::Source::Remote(url) => call.query("remote", url),
            _ => call,
        };
        let auths = session.file.all_credentials();
        let call = call.header(REGISTRY_CONFIG, config::encode(&auths)).header("content-type", "application/x-tar");
        let call = match secret::read(&self.secret)? {
            secrets if secrets.is_empty() => call,
            secrets => call.header(BUILD_SECRETS, config::encode(&secrets)),
        };
        let contexts = self.more.contexts(&build_context::random()?)?;
        let call = call.maybe("contexts", (!contexts.places.is_empty()).then(|| json(&contexts.places)));
        let call = match found.source.into_body() {
            Some(body) => call.body(body),
            None => call,
        };
        let place = match self.quiet() {
            true => Place::Nowhere,
            false if output.takes_stdout() => Place::Stderr,
            false => Place::Stdout,
        };
        let bringing = async {
            contexts.bring(session).await?;
            std::future::pending().await
        };
        tokio::select! {
            result = self.told(session, call, output, place) => result,
            failed = bringing => failed,
        }
    }

    /// Sends the request, and does what is left when it is done.
    async fn told(&self, session: &Session, call: Call<'_>, output: &Output, place: Place) -> Result<u8, Failure> {
        if let Some(mut sink) = Sink::open(output)? {
            let lines = call.lines::<JsonMessage>().await?;
            let taken = progress::show_all_but(lines, place, async |aux| sink.take(aux).await).await;
            return sink.finish(taken.map(drop)).await.map(|()| 0);
        }
        let shown = progress::show(call.lines::<JsonMessage>().await?, place).await?;
        let told = shown.results.iter().rev().find_map(|aux| aux.get("ID").and_then(Value::as_str));
        // A quiet build says nothing but the id, as text.
        let id = told.or_else(|| shown.unseen.lines().rev().find(|line| line.starts_with("sha256:")));
        let code = self.finish(id)?;
        if let Some(id) = id {
            let names: Vec<String> = self.tag.iter().chain(&output.names).cloned().collect();
            self.more.finish(session, id, &names, place).await?;
        }
        Ok(code)
    }

    fn quiet(&self) -> bool {
        self.quiet || self.more.quiet()
    }

    /// The one output.
    fn output(&self) -> Result<Output, Failure> {
        let output = match self.output.as_slice() {
            [] => Output::default(),
            [one] => one.clone(),
            _ => return Err(Failure::new("more than one --output is not supported by this version of teu").code(125)),
        };
        match output.kind().is_some() && (self.iidfile.is_some() || self.more.push()) {
            true => Err(Failure::new("--iidfile and --push take an image: what --output gives is none here").code(125)),
            false => Ok(output),
        }
    }

    fn parameters<'c>(&self, session: &Session, call: Call<'c>) -> Result<Call<'c>, Failure> {
        let lookup = |name: &str| std::env::var(name).ok();
        let argument = |text: &String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text.clone(), lookup(text)),
        };
        let proxies = session.file.proxies(&session.host()?.address.to_string());
        let mut arguments: BTreeMap<String, Option<String>> =
            proxies.into_iter().map(|(name, value)| (name, Some(value))).collect();
        arguments.extend(self.build_arg.iter().map(argument));
        let hosts = self.add_host.iter().map(|text| environment::extra_host(text)).collect::<Result<Vec<_>, _>>();
        let hosts = hosts.map_err(|why| Failure::new(why).code(125))?;
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let call = self.tag.iter().fold(call, |call, tag| call.query("t", tag));
        let call = hosts.iter().fold(call, |call, host| call.query("extrahosts", host));
        let call = call
            .maybe("nocachefilter", self.more.fresh())
            .flag("nocache", self.no_cache)
            .flag("pull", self.pull)
            .flag("q", self.quiet());
        let call = call
            .query("rm", if self.rm { "1" } else { "0" })
            .flag("forcerm", self.force_rm)
            .query("version", "1")
            .query("networkmode", &self.network);
        let call =
            call.maybe("target", self.target.as_deref()).maybe("platform", Session::platform(self.platform.clone()));
        let call = call.maybe("memory", number(self.memory)).maybe("memswap", number(self.memory_swap));
        let call = call.maybe("cpushares", number(self.cpu_shares)).maybe("shmsize", number(self.shm_size));
        let call = call.maybe("cpuperiod", number(self.cpu_period)).maybe("cpuquota", number(self.cpu_quota));
        let call = call.maybe("cpusetcpus", self.cpuset_cpus.as_deref());
        let call = call.maybe("cpusetmems", self.cpuset_mems.as_deref());
        let call = call.maybe("cgroupparent", self.cgroup_parent.as_deref()).flag("squash", self.squash);
        let call = call.maybe("isolation", self.isolation.as_deref());
        let call = call.maybe("securityopt", (!self.security_opt.is_empty()).then(|| json(&self.security_opt)));
        let call = call.maybe("allow", (!self.allow.is_empty()).then(|| json(&self.allow)));
        let call = call.query("buildargs", json(&arguments)).query("labels", json(&environment::pairs(&self.label)));
        let call = call.maybe(
            "cachefrom",
            (!self.cache_from.is_empty())
                .then(|| json(&self.cache_from.iter().flat_map(|names| &names.0).collect::<Vec<_>>())),
        );
        Ok(call.maybe("ulimits", (!self.ulimit.is_empty()).then(|| json(&self.ulimit))))
    }

    /// What is left to do once the image is there.
    fn finish(&self, id: Option<&str>) -> Result<u8, Failure> {
        let Some(id) = id else {
            return match self.iidfile.is_some() || self.quiet() {
                true => Err(Failure::new("the daemon did not tell the image's id")),
                false => Ok(0),
            };
        };
        if let Some(file) = &self.iidfile {
            std::fs::write(file, id).or_fail(format!("write {file}"))?;
        }
        if self.quiet() {
            line(id)?;
        }
        Ok(0)
    }
}

/// Names of images.
#[derive(Clone, Debug)]
struct Names(Vec<String>);

/// Reads `--cache-from`: `image,image`, or `type=registry,ref=image`.
fn sources(text: &str) -> Result<Names, String> {
    let fields = grammar::fields(text)?;
    let field = |wanted: &str| {
        let mut pairs = fields.iter().filter_map(|field| field.split_once('='));
        pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
    };
    match (field("type").as_deref(), field("ref")) {
        (None, None) => Ok(Names(fields)),
        (None | Some("registry"), Some(image)) => Ok(Names(vec![image])),
        (Some("registry"), None) => Err("it says no ref".into()),
        (Some(kind), _) => Err(format!("cache of type {kind} is not supported by this version of teu")),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_comes_from_images() {
        assert_eq!(sources("a,b:1").unwrap().0, ["a", "b:1"]);
        assert_eq!(sources("type=registry,ref=a/b").unwrap().0, ["a/b"]);
        assert!(sources("type=registry").is_err() && sources("type=local,src=x").is_err());
    }
}
