//! `RUN --mount=type=ssh`: a socket in the step's tree behind which the client's ssh agent answers.
//!
//! ```text
//! process ─▶ /run/buildkit/ssh_agent.0 ─ bind ─▶ <scratch>/agent.0 ─▶ accepted here ─▶ Requester::agent ─▶ client
//! ```

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use teu_api::container::MountPoint;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::layer::Work;
use super::{Requester, Solver, blocking};
use crate::Error;
use crate::plan::{PlanError, RunStep, StepMount};

/// The agents of one step; with it the sockets go, and whoever talks there.
#[derive(Default)]
pub(super) struct Agents {
    mounts: Vec<MountPoint>,
    /// Accepts.
    _doors: JoinSet<()>,
    /// Holds the sockets.
    _work: Option<Work>,
}

impl Agents {
    /// What the step sees.
    pub(super) fn mounts(&self) -> Vec<MountPoint> {
        self.mounts.clone()
    }

    /// Where the step's programs look for the agent.
    pub(super) fn variable(&self) -> Option<String> {
        self.mounts.first().map(|mount| format!("SSH_AUTH_SOCK={}", mount.destination))
    }
}

impl Solver<'_> {
    /// Opens a socket for each agent that a step wants and the client has.
    pub(super) async fn agents(&self, step: &RunStep) -> Result<Agents, Error> {
        let wanted = step.mounts.iter().filter(|mount| matches!(mount, StepMount::Ssh { .. }));
        let mut agents = Agents::default();
        for (number, mount) in wanted.enumerate() {
            let StepMount::Ssh { id, target, required, mode, owner } = mount else { continue };
            let Some(requester) = self.has_agent(id).await? else {
                match required {
                    true => {
                        let hint = Some(format!("build with --ssh {id}"));
                        return Err(PlanError::new(format!("no SSH key {id:?} forwarded from the client"))
                            .hint(hint)
                            .into());
                    }
                    false => continue,
                }
            };
            if agents._work.is_none() {
                let store = self.engine.store().clone();
                agents._work = Some(blocking(move || Work::begin(&store, None)).await?);
            }
            let folder = agents._work.as_ref().and_then(|work| work.overlay().upper.clone()).unwrap_or_default();
            let name = format!("agent.{number}");
            let listen = || {
                let listener = listen(&folder, &name)?;
                let socket = folder.join(&name);
                fs::set_permissions(&socket, fs::Permissions::from_mode(*mode))?;
                chown(&socket, Some(owner.0), Some(owner.1)).map(|()| listener)
            };
            let listener = listen().map_err(Error::io("open a socket for an ssh agent"))?;
            agents._doors.spawn(serve(listener, requester, id.clone()));
            agents.mounts.push(MountPoint {
                kind: "bind".into(),
                source: folder.join(&name).to_string_lossy().into_owned(),
                destination: target.clone().unwrap_or_else(|| place(number)),
                rw: true,
                ..MountPoint::default()
            });
        }
        Ok(agents)
    }

    async fn has_agent(&self, id: &str) -> Result<Option<Arc<dyn Requester>>, Error> {
        let Some(requester) = &self.options.requester else { return Ok(None) };
        Ok(requester.has_agent(id).await?.then(|| requester.clone()))
    }
}

/// Where the socket of a step's agent of that number is, if nobody says otherwise.
fn place(number: usize) -> String {
    format!("/run/buildkit/ssh_agent.{number}")
}

/// The places of a step's agents that nobody named.
pub(super) fn targets(step: &RunStep) -> Vec<String> {
    let agents = step.mounts.iter().filter(|mount| matches!(mount, StepMount::Ssh { .. })).enumerate();
    agents.filter(|(_, mount)| mount.target().is_none()).map(|(number, _)| place(number)).collect()
}

/// A socket in a folder, however long the folder's name is: that of a socket has at most 107 bytes, unix(7).
fn listen(folder: &Path, name: &str) -> std::io::Result<UnixListener> {
    let folder = fs::File::open(folder)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// Connects whoever comes with the agent.
async fn serve(listener: UnixListener, requester: Arc<dyn Requester>, id: String) {
    let mut talks = JoinSet::new();
    while let Ok((process, _)) = listener.accept().await {
        let (requester, id) = (requester.clone(), id.clone());
        talks.spawn(async move {
            if let Err(error) = requester.agent(&id, process).await {
                tracing::debug!(%error, "an ssh agent of a build does not answer");
            }
        });
        while talks.try_join_next().is_some() {}
    }
}
