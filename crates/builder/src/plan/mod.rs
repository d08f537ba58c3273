//! From a Dockerfile to what is to be done, as data: which stages are needed, what each step comes down to once its
//! variables are known, and under which key its result is remembered.
//!
//! ```text
//! Dockerfile + Inputs ─ stage ─▶ Plan { stages, target }        before any image is looked at
//! State + Step        ─ step  ─▶ Action { Describe | Run | Copy | Workdir }      when the base's config is known
//! Action + parent     ─ key   ─▶ Digest                         names the result in the build cache
//! ```
//!
//! Pure: nothing here touches a file, an image or a clock.

pub mod chmod;
pub mod created_by;
pub mod key;
pub mod mount;
pub mod scope;
pub mod stage;
pub mod step;

pub use chmod::Chmod;
pub use mount::{Sharing, StepMount};
pub use scope::{Inputs, Scope};
pub(crate) use stage::sources;
pub use stage::{Base, Plan, PlannedStage, PlannedStep, plan};
pub use step::{Action, CopyStep, InlineFile, Remote, RunStep, Script, State};

use std::fmt;

use crate::dockerfile::{SyntaxError, trigger};

/// Why a Dockerfile that reads well cannot be built, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The line, counted from one; zero when it is about no line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
}

impl PlanError {
    /// An error without a line and a hint.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: 0, message: message.into(), hint: None }
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// The same, at `line` unless it knows its line already.
    #[must_use]
    pub fn at(mut self, line: usize) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "Dockerfile line {}: ", self.line)?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for PlanError {}

impl From<SyntaxError> for PlanError {
    fn from(error: SyntaxError) -> Self {
        Self { line: error.line, message: error.message, hint: error.hint }
    }
}

/// Reads what `commit --change` and `import --change` take: metadata instructions, one per text.
///
/// # Errors
/// When a text is no instruction, or one that does more than describe.
pub fn changes<'a>(
    config: &teu_oci::ContainerConfig,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<teu_oci::ConfigChange>, PlanError> {
    let mut state = State::new(config.clone(), Scope::default());
    let mut all = Vec::new();
    for text in texts {
        let step = trigger(text)?;
        match state.evaluate(&step.instruction)? {
            Action::Describe { changes, .. } => all.extend(changes),
            Action::Workdir { path, .. } => all.push(teu_oci::ConfigChange::Workdir(path)),
            _ => return Err(PlanError::new(format!("{} is not a valid change command", step.instruction.keyword()))),
        }
    }
    Ok(all)
}
