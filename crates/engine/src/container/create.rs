//! Making a container: the request is checked, the image's defaults are filled in, mounts are resolved, the write layer
//! is prepared and the record is saved. Nothing runs yet.

use teu_api::container::{Config, CreateRequest, CreateResponse, HostConfig};
use teu_oci::{ContainerConfig, Platform};

use super::names::{self, random_id, random_name};
use super::{Containers, Record, driver, users};
use crate::error::{Error, Result};
use crate::image::Image;

/// How often a made-up name is made up again before giving up.
const NAME_ATTEMPTS: u32 = 32;
/// The one runtime there is.
const RUNTIME: &str = "teu";

impl Containers {
    /// Makes a container.
    ///
    /// # Errors
    /// When the request is unsound, the image is missing or the name is taken; then nothing is left behind.
    pub async fn create(
        &self,
        name: Option<&str>,
        request: CreateRequest,
        platform: Option<&str>,
    ) -> Result<CreateResponse> {
        let mut request = request;
        let host = &mut request.host_config;
        // The cgroups of version 1 are worth little to who may do everything, unless all of them are there.
        if host.cgroupns_mode.is_empty() && host.privileged && self.context.facts.cgroup_version == "1" {
            host.cgroupns_mode = "host".into();
        }
        self.context.config.defaults.fill(&mut request.host_config);
        super::check::check(&request, self.context.facts.processors)?;
        if self.context.config.defaults.systemd && !super::spec::is_slice(&request.host_config.cgroup_parent) {
            return Err(Error::bad("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\""));
        }
        let image = self.context.images.resolve_for(&request.config.image, platform)?;
        let id = random_id()?;
        let name = self.name(name, &id)?;
        let made = tokio::task::block_in_place(|| self.make(&id, &name, request, &image));
        let (record, mut warnings) = made.inspect_err(|_| {
            self.disclaim(&name);
            self.unmake(&id);
        })?;
        let (host, own) = (Platform::host(), image.platform());
        if platform.is_none_or(str::is_empty) && !own.architecture.is_empty() && !own.serves(&host) {
            warnings.push(format!(
                "The requested image's platform ({own}) does not match the detected host platform ({host}) and no specific \
                 platform was requested"
            ));
        }
        self.context.emit_container("create", &record, &[]);
        driver::spawn(self, record, None, None);
        self.context.pool.refill();
        Ok(CreateResponse { id, warnings })
    }

    /// Takes back what [`Self::make`] left on the disk.
    fn unmake(&self, id: &str) {
        let _ = self.context.remove_stray_layer(id);
        let _ = self.context.store.discard(&self.context.log_dir(id));
    }

    /// Claims the name asked for, or makes one up.
    fn name(&self, wanted: Option<&str>, id: &str) -> Result<String> {
        if let Some(name) = wanted.filter(|name| !name.is_empty()) {
            let name = names::check(name)?;
            self.claim(name, id)?;
            return Ok(name.into());
        }
        for attempt in 0..NAME_ATTEMPTS {
            let name = random_name(attempt)?;
            if self.claim(&name, id).is_ok() {
                return Ok(name);
            }
        }
        self.claim(&id[..12], id)?;
        Ok(id[..12].into())
    }

    fn make(&self, id: &str, name: &str, request: CreateRequest, image: &Image) -> Result<(Record, Vec<String>)> {
        let CreateRequest { config, host_config: mut host, networking_config: networking } = request;
        let asked = config.image.clone();
        let mut config = merge(config, &image.config.config);
        if config.entrypoint.iter().chain(&config.cmd).flatten().next().is_none() {
            return Err(Error::bad("no command specified"));
        }
        self.name_joined(&mut host, &mut config)?;
        self.find_links(&mut host)?;
        if config.hostname.is_empty() {
            config.hostname =
                if host.network_mode == "host" { self.context.facts.hostname.clone() } else { id[..12].into() };
        }
        if host.network_mode.is_empty() || host.network_mode == "default" {
            host.network_mode = "bridge".into();
        }
        super::logging::complete(&mut host.log_config, &self.context.config.defaults.log)?;
        super::spec::note_paths(&mut host)?;
        if host.ipc_mode.is_empty() {
            host.ipc_mode = "private".into();
        }
        if host.shm_size == 0 {
            host.shm_size = 64 << 20;
        }
        if host.memory > 0 && host.memory_swap == 0 {
            host.memory_swap = host.memory.saturating_mul(2);
        }
        if host.runtime.is_empty() {
            host.runtime = RUNTIME.into();
        }
        super::devices::nodes(&host)?;
        super::devices::block_io(&host)?;
        super::spec::check(&host)?;
        let users = self.users(id, &mut config, &mut host)?;
        let mut record = Record {
            users,
            id: id.into(),
            name: name.into(),
            created: jiff::Timestamp::now().to_string(),
            image: asked,
            image_id: Some(image.id.clone()),
            chain: image.chain().cloned(),
            config,
            host,
            networking,
            ..Record::default()
        };
        self.context.networks.check(&record)?;
        self.context.networks.normalise(&mut record);
        self.context.store.snapshots().prepare(id, record.chain.as_ref())?;
        self.limit_layer(&mut record)?;
        self.resolve_mounts(&mut record)?;
        let logs = self.context.log_dir(id);
        self.context.ahead.make_logs(&logs)?;
        if record.host.auto_remove {
            self.context.records.put_quick(id, &record)?;
        } else {
            self.context.records.put(id, &record)?;
        }
        Ok((record, vec![]))
    }

    /// The ids of a container's own, where it asked for some and can have them; the request learns what it got.
    fn users(&self, id: &str, config: &mut Config, host: &mut HostConfig) -> Result<Option<u32>> {
        if host.userns_mode.is_empty() {
            return self.remapped(config, host);
        }
        match users::Mode::parse(&host.userns_mode) {
            Some(users::Mode::Own) => {}
            Some(users::Mode::Keep(uid, gid)) if config.user.is_empty() => config.user = format!("{uid}:{gid}"),
            Some(users::Mode::Keep(..)) => {}
            Some(users::Mode::Host) | None => return Ok(None),
        }
        if users::needs_host(host) || users::are_beyond(&config.user) {
            host.userns_mode = "host".into();
            return Ok(None);
        }
        self.check_users()?;
        let taken = self.all().iter().filter_map(|container| container.record().users).collect();
        match users::allocate(id, &taken) {
            Some(first) => Ok(Some(first)),
            None => Err(Error::conflict("no range of user ids is left")),
        }
    }

    /// The ids that all containers of the daemon have, if they have any. Who needs the host's has to say so.
    fn remapped(&self, config: &Config, host: &HostConfig) -> Result<Option<u32>> {
        let Some(first) = self.context.config.defaults.users else { return Ok(None) };
        if host.privileged {
            return Err(Error::bad(
                "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace \
                 when running privileged mode",
            ));
        }
        if users::needs_host(host) || users::are_beyond(&config.user) {
            return Err(Error::bad(
                "cannot share a namespace or a device of the host, or have ids beyond 65535, when user namespaces are \
                 enabled: --userns host takes the host's",
            ));
        }
        self.check_users()?;
        Ok(Some(first))
    }

    fn check_users(&self) -> Result<()> {
        let kernel = &self.context.facts.kernel;
        if users::possible(kernel) {
            return Ok(());
        }
        Err(Error::bad(format!("a user namespace of its own takes Linux 6.15 or newer: this is {kernel}")))
    }

    /// A container whose network or processes are shared is remembered by its id; the former lends its host name.
    fn name_joined(&self, host: &mut HostConfig, config: &mut Config) -> Result<()> {
        if let Some(other) = host.network_mode.strip_prefix("container:") {
            let other = self.find(other)?.record();
            host.network_mode = format!("container:{}", other.id);
            if config.hostname.is_empty() {
                config.hostname.clone_from(&other.config.hostname);
            }
        }
        if let Some(other) = host.pid_mode.strip_prefix("container:") {
            let other = self.find(other).map_err(|error| Error::bad(error.message))?;
            host.pid_mode = format!("container:{}", other.id());
        }
        Ok(())
    }
}

/// The request with the image's defaults: Docker's rules.
fn merge(mut config: Config, image: &ContainerConfig) -> Config {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    config.exposed_ports.extend(image.exposed_ports.iter().map(|(port, value)| (port.clone(), *value)));
    let set = |env: &[String], entry: &str| {
        let key = entry.split('=').next();
        env.iter().any(|other| other.split('=').next() == key)
    };
    let missing: Vec<String> = image.env.iter().filter(|entry| !set(&config.env, entry)).cloned().collect();
    config.env.extend(missing);
    for (name, value) in &image.labels {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.is_none() {
        config.entrypoint.clone_from(&image.entrypoint);
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
    } else if config.entrypoint.as_ref().is_some_and(|words| words.iter().all(String::is_empty)) {
        // `--entrypoint ""` clears the image's; its command is then the program unless another is given.
        config.entrypoint = None;
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.working_dir.starts_with('/') {
        config.working_dir = teu_api::path::clean(&config.working_dir);
    }
    for (path, value) in &image.volumes {
        config.volumes.insert(path.clone(), *value);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal = image.stop_signal.clone().unwrap_or_default();
    }
    super::health::merge(&mut config.healthcheck, image.healthcheck.as_ref());
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
    config
}

/// Is a changed host config still sound?
pub(super) fn recheck(host: &HostConfig, processors: usize) -> Result<()> {
    let request = CreateRequest { host_config: host.clone(), ..CreateRequest::default() };
    super::check::check(&request, processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_defaults_fill_what_the_user_left_open() {
        let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect::<Vec<_>>());
        let image = ContainerConfig {
            entrypoint: words(&["/init"]),
            cmd: words(&["serve"]),
            env: vec!["A=1".into(), "B=2".into()],
            ..ContainerConfig::default()
        };
        let plain = merge(Config { env: vec!["B=3".into()], ..Config::default() }, &image);
        assert_eq!((plain.entrypoint, plain.cmd), (words(&["/init"]), words(&["serve"])));
        assert_eq!(plain.env, ["B=3", "A=1"]);
        let other = merge(Config { entrypoint: words(&["sh"]), ..Config::default() }, &image);
        assert_eq!((other.entrypoint, other.cmd), (words(&["sh"]), None));
        let cleared = merge(Config { entrypoint: words(&[""]), ..Config::default() }, &image);
        assert_eq!((cleared.entrypoint, cleared.cmd), (None, words(&["serve"])));
    }
}
