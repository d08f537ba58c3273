//! What only the processes of a build may know: given with the request, kept in memory, and shown to a RUN that asks.

use std::collections::BTreeMap;
use std::fmt;

use teu_engine::StepFile;

use crate::plan::{PlanError, RunStep, StepMount};

/// Secrets by id.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// The files and variables of a step; what was not given is left out, unless the step cannot do without.
    pub(super) fn of(&self, step: &RunStep) -> Result<(Vec<StepFile>, Vec<String>), PlanError> {
        let (mut files, mut variables) = (Vec::new(), Vec::new());
        for mount in &step.mounts {
            let StepMount::Secret { id, target, env, required, mode, owner } = mount else { continue };
            let Some(content) = self.0.get(id) else {
                match required {
                    true => {
                        return Err(PlanError::new(format!("secret {id}: not found"))
                            .hint(Some(format!("build with --secret id={id},src=FILE"))));
                    }
                    false => continue,
                }
            };
            if let Some(name) = env {
                variables.push(format!("{name}={}", String::from_utf8_lossy(content)));
            }
            if let Some(target) = target {
                let (destination, content) = (target.clone(), content.clone());
                files.push(StepFile { destination, content, mode: *mode, owner: *owner });
            }
        }
        Ok((files, variables))
    }
}
