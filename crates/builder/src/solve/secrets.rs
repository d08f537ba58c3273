//! What only the processes of a build may know: given with the request or asked for, kept in memory, and shown to a RUN
//! that wants it.

use std::collections::BTreeMap;
use std::fmt;

use teu_engine::StepFile;

use super::{Options, Solver};
use crate::Error;
use crate::plan::{PlanError, RunStep, StepMount};

/// Secrets by id.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Solver<'_> {
    /// The files and variables of a step at a line; what is not there is left out, unless the step cannot do without.
    pub(super) async fn secrets(&self, step: &RunStep, line: usize) -> Result<(Vec<StepFile>, Vec<String>), Error> {
        let (mut files, mut variables) = (Vec::new(), Vec::new());
        for mount in &step.mounts {
            let StepMount::Secret { id, target, env, required, mode, owner } = mount else { continue };
            let Some(content) = self.options.secret(id).await? else {
                match required {
                    true => {
                        let hint = Some(format!("build with --secret id={id},src=FILE"));
                        return Err(PlanError::new(format!("secret {id}: not found")).hint(hint).at(line).into());
                    }
                    false => continue,
                }
            };
            if let Some(name) = env {
                variables.push(format!("{name}={}", String::from_utf8_lossy(&content)));
            }
            if let Some(target) = target {
                let destination = target.clone();
                files.push(StepFile { destination, content, mode: *mode, owner: *owner });
            }
        }
        Ok((files, variables))
    }
}

impl Options {
    /// A secret that came with the request, or that who wants the build has.
    pub(super) async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        match (self.secrets.0.get(id), &self.requester) {
            (Some(content), _) => Ok(Some(content.clone())),
            (None, Some(requester)) => requester.secret(id).await,
            (None, None) => Ok(None),
        }
    }
}
