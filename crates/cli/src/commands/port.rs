//! `teu port`: where a container's ports are published.

use teu_api::container::{Inspect, PortBinding};

use super::container_path;
use crate::Session;
use crate::failure::Failure;
use crate::output::line;
use crate::table::Verb;

/// Shows published ports.
#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    /// Container whose ports are shown
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// One port of the container, with or without protocol
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

impl Verb for Port {
    const USAGE: &'static str = "CONTAINER [PRIVATE_PORT[/PROTO]]";
    const ABOUT: &'static str = "List port mappings or a specific mapping for the container";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let inspect: Inspect = client.get(format!("{}/json", container_path(&self.container))).read().await?;
        let ports = &inspect.network_settings.ports;
        let Some(port) = &self.port else {
            for (port, bindings) in ports {
                for binding in bindings.iter().flatten() {
                    line(&format!("{port} -> {}", shown(binding)))?;
                }
            }
            return Ok(0);
        };
        let key = if port.contains('/') { port.to_lowercase() } else { format!("{port}/tcp") };
        let bindings = ports.get(&key).and_then(Option::as_ref).filter(|bindings| !bindings.is_empty());
        let missing = || Failure::new(format!("no public port '{key}' published for {}", self.container));
        for binding in bindings.ok_or_else(missing)? {
            line(&shown(binding))?;
        }
        Ok(0)
    }
}

fn shown(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}
