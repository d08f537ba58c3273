//! `teu update`: other limits for containers that exist.

use teu_api::container::{PortMap, RestartPolicy, UpdateRequest, UpdateResponse};

use super::{container_path, each};
use crate::Session;
use crate::failure::Failure;
use crate::grammar::{limits, port, size};
use crate::output::line;
use crate::table::Verb;

/// Changes containers' limits.
#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Block I/O weight, 10 to 1000, or 0 for none
    #[arg(long, value_name = "uint16")]
    blkio_weight: Option<u16>,
    /// Length of a CPU period in microseconds
    #[arg(long, value_name = "int")]
    cpu_period: Option<i64>,
    /// CPU time per period in microseconds
    #[arg(long, value_name = "int")]
    cpu_quota: Option<i64>,
    /// Length of a real-time CPU period in microseconds
    #[arg(long, value_name = "int")]
    cpu_rt_period: Option<i64>,
    /// Real-time CPU time per period in microseconds
    #[arg(long, value_name = "int")]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = size::cpus)]
    cpus: Option<i64>,
    /// CPUs on which to run (0-3, 0,1)
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Kernel memory limit (no longer in use)
    #[arg(long, hide = true, value_name = "bytes", value_parser = size::bytes)]
    kernel_memory: Option<i64>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = size::bytes)]
    memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = size::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory plus swap: '-1' for unlimited swap
    #[arg(long, value_name = "bytes", value_parser = size::swap)]
    memory_swap: Option<i64>,
    /// Limit the number of processes (-1 for unlimited)
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Publish a port elsewhere on the host from now on ([ip:][host:]container[/proto])
    #[arg(short, long, value_name = "list")]
    publish: Vec<String>,
    /// Withdraw a published port (container[/proto])
    #[arg(long, value_name = "list")]
    publish_rm: Vec<String>,
    /// Restart policy to apply when the container exits
    #[arg(long, value_name = "string", value_parser = limits::restart)]
    restart: Option<RestartPolicy>,
    /// Containers to change
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Update {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Update configuration of one or more containers";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let request = self.request()?;
        let client = &session.client();
        each(&self.containers, async |name| {
            let call = client.post(format!("{}/update", container_path(name))).json(&request)?;
            let response: UpdateResponse = call.read().await?;
            for warning in &response.warnings {
                crate::output::note!("{warning}");
            }
            line(name)
        })
        .await
    }
}

impl Update {
    fn ports(&self) -> Result<PortMap, String> {
        let mut bindings = PortMap::new();
        for text in &self.publish_rm {
            let ports = port::expose(text).map_err(|why| why.replace("--expose", "--publish-rm"))?;
            bindings.extend(ports.into_iter().map(|port| (port, Some(vec![]))));
        }
        for text in &self.publish {
            for (port, binding) in port::publish(text)? {
                bindings.entry(port).or_default().get_or_insert_default().push(binding);
            }
        }
        Ok(bindings)
    }

    fn request(&self) -> Result<UpdateRequest, Failure> {
        let number = |number: Option<i64>| number.unwrap_or(0);
        let request = UpdateRequest {
            cpu_shares: number(self.cpu_shares),
            memory: number(self.memory),
            nano_cpus: number(self.cpus),
            blkio_weight: self.blkio_weight.unwrap_or(0),
            cpu_period: number(self.cpu_period),
            cpu_quota: number(self.cpu_quota),
            cpu_realtime_period: number(self.cpu_rt_period),
            cpu_realtime_runtime: number(self.cpu_rt_runtime),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            memory_reservation: number(self.memory_reservation),
            memory_swap: number(self.memory_swap),
            pids_limit: self.pids_limit,
            restart_policy: self.restart.clone().unwrap_or_default(),
            port_bindings: self.ports().map_err(Failure::new)?,
            ..UpdateRequest::default()
        };
        let kernel = self.kernel_memory.is_some();
        match request == UpdateRequest::default() && !kernel {
            true => Err(Failure::new("you must provide one or more flags when using this command")),
            false => Ok(request),
        }
    }
}
