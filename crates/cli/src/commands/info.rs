//! `teu info`: facts about the daemon and its host.

use std::fmt::Write;

use teu_api::shape::Shaped;
use teu_api::system::{DeviceInfo, Info as Facts};

use crate::Session;
use crate::failure::Failure;
use crate::output::{print, units};
use crate::table::Verb;

/// Shows facts.
#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
}

impl Verb for Info {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Display system-wide information";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let bytes = client.get("/info").bytes().await?;
        let wrong = |error: serde_json::Error| Failure::new(format!("read the daemon's answer: {error}"));
        match self.format.as_deref().filter(|format| !format.is_empty()) {
            Some(format) => {
                let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
                value["ClientInfo"] = client_info(session);
                super::one(format, &value, Facts::shape())?;
            }
            None => {
                let facts: Facts = serde_json::from_slice(&bytes).map_err(wrong)?;
                print(&page(&facts, session))?;
                for warning in &facts.warnings {
                    crate::output::note!("{warning}");
                }
            }
        }
        Ok(0)
    }
}

/// What is to be said of this end.
fn client_info(session: &Session) -> serde_json::Value {
    let arch = teu_api::Platform::host().architecture;
    serde_json::json!({
        "Debug": session.debug,
        "Version": env!("CARGO_PKG_VERSION"),
        "DefaultAPIVersion": teu_api::CLIENT_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Os": std::env::consts::OS,
        "Arch": arch,
        "Context": session.context,
        "Plugins": [],
        "Warnings": null,
    })
}

fn page(facts: &Facts, session: &Session) -> String {
    let mut text = format!(
        "Client:\n Version:    {}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
        env!("CARGO_PKG_VERSION"),
        session.context,
        session.debug
    );
    text.push_str(&server(facts));
    text
}

/// One fact a line; what the daemon does not say is left out.
fn server(facts: &Facts) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, " {name}: {value}");
        }
    };
    fact("Containers", &facts.containers.to_string());
    fact(" Running", &facts.containers_running.to_string());
    fact(" Paused", &facts.containers_paused.to_string());
    fact(" Stopped", &facts.containers_stopped.to_string());
    fact("Images", &facts.images.to_string());
    fact("Server Version", &facts.server_version);
    fact("Storage Driver", &facts.driver);
    for [name, value] in &facts.driver_status {
        fact(&format!(" {name}"), value);
    }
    fact("Logging Driver", &facts.logging_driver);
    fact("Cgroup Driver", &facts.cgroup_driver);
    fact("Cgroup Version", &facts.cgroup_version);
    let _ = writeln!(
        text,
        " Plugins:\n  Volume: {}\n  Network: {}\n  Log: {}",
        facts.plugins.volume.join(" "),
        facts.plugins.network.join(" "),
        facts.plugins.log.join(" ")
    );
    list(&mut text, "CDI spec directories", &facts.cdi_spec_dirs);
    let device = |device: &DeviceInfo| format!("{}: {}", device.source, device.id);
    list(&mut text, "Discovered Devices", &facts.discovered_devices.iter().map(device).collect::<Vec<_>>());
    let _ = writeln!(text, " Swarm: {}", facts.swarm.local_node_state);
    let runtimes: Vec<&str> = facts.runtimes.keys().map(String::as_str).collect();
    let _ = writeln!(text, " Runtimes: {}\n Default Runtime: {}", runtimes.join(" "), facts.default_runtime);
    let _ = writeln!(text, " Init Binary: {}", facts.init_binary);
    security(&mut text, &facts.security_options);
    text.push_str(&machine(facts));
    text
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, " {title}:\n  {}", lines.join("\n  "));
    }
}

/// `name=seccomp,profile=builtin`, as a name with its profile below.
fn security(text: &mut String, options: &[String]) {
    if options.is_empty() {
        return;
    }
    text.push_str(" Security Options:\n");
    for option in options {
        for field in option.split(',') {
            match field.split_once('=') {
                Some(("name", name)) => text.push_str(&format!("  {name}\n")),
                Some(("profile", profile)) => text.push_str(&format!("   Profile: {profile}\n")),
                _ => {}
            }
        }
    }
}

fn machine(facts: &Facts) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, " {name}: {value}");
        }
    };
    fact("Kernel Version", &facts.kernel_version);
    fact("Operating System", &facts.operating_system);
    fact("OSType", &facts.os_type);
    fact("Architecture", &facts.architecture);
    fact("CPUs", &facts.n_cpu.to_string());
    fact("Total Memory", &units::binary_size(facts.mem_total));
    fact("Name", &facts.name);
    fact("ID", &facts.id);
    fact("Docker Root Dir", &facts.docker_root_dir);
    fact("Debug Mode", &facts.debug.to_string());
    fact("HTTP Proxy", &facts.http_proxy);
    fact("HTTPS Proxy", &facts.https_proxy);
    fact("No Proxy", &facts.no_proxy);
    list(&mut text, "Labels", &facts.labels);
    let _ = writeln!(text, " Experimental: {}", facts.experimental_build);
    if let Some(registry) = &facts.registry_config {
        let insecure = registry.index_configs.values().filter(|index| !index.secure).map(|index| index.name.clone());
        let insecure: Vec<String> = insecure.chain(registry.insecure_registry_cidrs.iter().cloned()).collect();
        list(&mut text, "Insecure Registries", &insecure);
        list(&mut text, "Registry Mirrors", &registry.mirrors);
    }
    let _ = writeln!(text, " Live Restore Enabled: {}", facts.live_restore_enabled);
    let pools = facts.default_address_pools.iter().map(|pool| format!(" Base: {}, Size: {}", pool.base, pool.size));
    list(&mut text, "Default Address Pools", &pools.collect::<Vec<_>>());
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_is_known() {
        let facts = Facts { containers: 3, driver: "overlay2".into(), mem_total: 4 << 30, ..Facts::default() };
        let text = server(&facts);
        assert!(text.contains(" Containers: 3\n") && text.contains(" Storage Driver: overlay2\n"));
        assert!(text.contains(" Total Memory: 4GiB\n") && !text.contains("Kernel Version"));
    }
}
