//! `teu info`: facts about the daemon and its host.

use std::fmt::Write;

use teu_api::system::Info as Facts;

use crate::Session;
use crate::failure::Failure;
use crate::output::template::Template;
use crate::output::{line, print, units};
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
                let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
                let format = if format == "json" { "{{json .}}" } else { format };
                line(&Template::parse(format)?.render(&value)?)?;
            }
            None => {
                let facts: Facts = serde_json::from_slice(&bytes).map_err(wrong)?;
                print(&page(&facts))?;
                for warning in &facts.warnings {
                    crate::output::note!("{warning}");
                }
            }
        }
        Ok(0)
    }
}

fn page(facts: &Facts) -> String {
    let mut text = format!("Client:\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
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
    fact("Default Runtime", &facts.default_runtime);
    fact("Security Options", &facts.security_options.join("\n  "));
    fact("Kernel Version", &facts.kernel_version);
    fact("Operating System", &facts.operating_system);
    fact("OSType", &facts.os_type);
    fact("Architecture", &facts.architecture);
    fact("CPUs", &facts.n_cpu.to_string());
    fact("Total Memory", &units::binary_size(facts.mem_total));
    fact("Name", &facts.name);
    fact("ID", &facts.id);
    fact("Data Root", &facts.docker_root_dir);
    fact("Debug Mode", &facts.debug.to_string());
    fact("Labels", &facts.labels.join("\n  "));
    fact("Live Restore Enabled", &facts.live_restore_enabled.to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_is_known() {
        let facts = Facts { containers: 3, driver: "overlay2".into(), mem_total: 4 << 30, ..Facts::default() };
        let text = page(&facts);
        assert!(text.contains(" Containers: 3\n") && text.contains(" Storage Driver: overlay2\n"));
        assert!(text.contains(" Total Memory: 4GiB\n") && !text.contains("Kernel Version"));
    }
}
