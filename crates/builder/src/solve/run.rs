//! RUN: a process in a writable tree, in the same kind of container that `run` makes.

use std::os::unix::fs::PermissionsExt;

use teu_api::container::MountPoint;
use teu_api::stream::StreamKind;
use teu_engine::{StepFile, StepOutput, StepSpec};
use teu_oci::Digest;
use tokio::sync::mpsc;

use super::layer::Work;
use super::stage::{Desk, Found};
use super::trees::{Ready, Shown};
use super::{Solver, agents, blocking, mount, random, stubs};
use crate::Error;
use crate::dockerfile::instruction::RunNetwork;
use crate::plan::{PlanError, PlannedStep, RunStep, Script, StepMount, key};
use crate::progress::Told;

impl Solver<'_> {
    /// Finds or makes the layer of a RUN.
    pub(super) async fn run(
        &self,
        parent: Option<Digest>,
        step: &RunStep,
        planned: &PlannedStep,
        told: &Told,
        desk: Desk,
    ) -> Result<Found, Error> {
        let of_host = step.network == RunNetwork::Host;
        if of_host && !self.options.allow.host_network && self.options.host.network_mode != "host" {
            let hint = Some("build with --allow network.host".to_owned());
            return Err(PlanError::new("RUN --network=host is not allowed").hint(hint).into());
        }
        if step.insecure && !self.options.allow.insecure {
            let hint = Some("build with --allow security.insecure".to_owned());
            return Err(PlanError::new("security.insecure is not allowed").hint(hint).into());
        }
        let secrets = self.secrets(step, planned.step.span.first).await?;
        let shown = self.shown(step, planned).await?;
        let trees: Vec<String> = shown.iter().flatten().map(Shown::identity).collect();
        let key = key::run(parent.as_ref(), step, &trees);
        let turn = self.cache.turn(&key);
        let _turn = turn.lock().await;
        if let Some(record) = desk.find(&key) {
            return Ok(Found { record, cached: true });
        }
        let id = random()?;
        told.arrow(&format!("Running in {id}")).await?;
        let store = self.engine.store().clone();
        let work = blocking(move || Work::begin(&store, parent.as_ref())).await?;
        let code = self.execute(&id, &work, step, secrets, shown, told).await?;
        if code != 0 {
            return Err(Error::Command { command: step.shown.clone(), code });
        }
        told.arrow(&format!("Removed intermediate container {id}")).await?;
        let created_by = step.created_by.clone();
        let targets = step.mounts.iter().filter_map(StepMount::target).map(str::to_owned);
        let targets: Vec<String> = targets.chain(agents::targets(step)).collect();
        blocking(move || {
            stubs::clear(work.overlay(), &targets);
            let layer = work.commit(&desk.lease)?;
            Ok(desk.made(&key, Some(layer), created_by))
        })
        .await
    }
}

impl Solver<'_> {
    /// Runs the process to its end, passes its output on, and says its exit code.
    async fn execute(
        &self,
        id: &str,
        work: &Work,
        step: &RunStep,
        (files, variables): (Vec<StepFile>, Vec<String>),
        shown: Vec<Option<Shown>>,
        told: &Told,
    ) -> Result<i32, Error> {
        let script = match &step.script {
            None => None,
            Some(script) => Some(self.script(script.clone()).await?),
        };
        let mut host = self.options.host.clone();
        match step.network {
            RunNetwork::Default => {}
            RunNetwork::None => host.network_mode = "none".into(),
            RunNetwork::Host => host.network_mode = "host".into(),
        }
        host.privileged |= step.insecure;
        let (mut mounts, _in_use) = mount::prepare(self.engine.store(), &step.mounts, &shown, &mut host).await?;
        let ready = self.ready(step, shown).await?;
        mounts.extend(ready.binds);
        mounts.extend(script.iter().map(|(_, mount)| mount.clone()));
        let agents = self.agents(step).await?;
        mounts.extend(agents.mounts());
        let spec = StepSpec {
            overlay: work.overlay().clone(),
            args: step.args.clone(),
            env: step.env.iter().chain(&step.proxies).cloned().chain(variables).chain(agents.variable()).collect(),
            cwd: step.cwd.clone(),
            user: step.user.clone(),
            host,
            mounts,
            trees: ready.trees,
            files,
        };
        let _held = ready.held;
        let (sender, receiver) = mpsc::channel(16);
        let ended = self.engine.containers.run_step(spec, sender);
        let (code, heard) = tokio::join!(ended, self.tell(receiver, told));
        heard?;
        code.map_err(|error| Error::Step { command: step.shown.clone(), id: id.into(), source: error })
    }

    /// Gets ready what the mounts show of other trees.
    async fn ready(&self, step: &RunStep, shown: Vec<Option<Shown>>) -> Result<Ready, Error> {
        let (desk, mounts) = (self.desk(), step.mounts.clone());
        blocking(move || {
            let mut ready = Ready::default();
            for (shown, mount) in shown.into_iter().zip(&mounts) {
                if let Some(shown) = shown {
                    desk.show(shown, mount, &mut ready)?;
                }
            }
            Ok(ready)
        })
        .await
    }

    /// Passes output on as it comes; characters cut in two by the pipe are put together again.
    async fn tell(&self, mut output: mpsc::Receiver<StepOutput>, told: &Told) -> Result<(), Error> {
        let (mut stdout, mut stderr) = (Text::default(), Text::default());
        while let Some(piece) = output.recv().await {
            let (stream, text) = match &piece {
                StepOutput::Stdout(bytes) => (StreamKind::Stdout, stdout.feed(bytes)),
                StepOutput::Stderr(bytes) => (StreamKind::Stderr, self.marked(stderr.feed(bytes))),
            };
            if !text.is_empty() {
                told.output(stream, text).await?;
            }
        }
        let rest = stdout.rest() + &stderr.rest();
        if rest.is_empty() { Ok(()) } else { told.output(StreamKind::Stdout, rest).await }
    }

    /// Standard error as clients of the classic builder expect it.
    fn marked(&self, text: String) -> String {
        if self.options.mark_stderr && !text.is_empty() { format!("\x1b[91m{text}\x1b[0m") } else { text }
    }

    /// Puts a script into a file of its own, outside of the tree, to be seen by the process only.
    async fn script(&self, script: Script) -> Result<(Work, MountPoint), Error> {
        let store = self.engine.store().clone();
        blocking(move || {
            let work = Work::begin(&store, None)?;
            let upper = work.overlay().upper.clone().unwrap_or_default();
            let path = upper.join("script");
            let write = || {
                std::fs::write(&path, &script.content)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            };
            write().map_err(Error::io("write a script of the build"))?;
            let mount = MountPoint {
                kind: "bind".into(),
                source: path.to_string_lossy().into_owned(),
                destination: script.path,
                rw: false,
                ..MountPoint::default()
            };
            Ok((work, mount))
        })
        .await
    }
}

/// Text out of bytes that come in pieces.
#[derive(Default)]
struct Text {
    /// The beginning of a character whose end has not come yet.
    held: Vec<u8>,
}

impl Text {
    fn feed(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.held) {
            Ok(_) => self.held.len(),
            // No length says that the end is cut off; what is wrong in the middle is replaced, and goes on.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.held.len(),
        };
        let rest = self.held.split_off(whole);
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held = rest;
        text
    }

    fn rest(self) -> String {
        String::from_utf8_lossy(&self.held).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn characters_cut_in_two_are_put_together() {
        let mut text = Text::default();
        let bytes = "aé☺b".as_bytes();
        let pieces: String = bytes.iter().map(|byte| text.feed(&[*byte])).collect();
        assert_eq!(pieces, "aé☺b");
        assert_eq!(text.feed(b"\xffx"), "\u{fffd}x");
        assert_eq!(text.feed(&bytes[1..2]), "");
        assert_eq!(text.rest(), "\u{fffd}");
    }
}
