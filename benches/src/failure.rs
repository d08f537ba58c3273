//! What ends the benchmark: a sentence.

use std::fmt::{self, Display};
use std::io;

/// Why the benchmark cannot go on.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being done when something went wrong.
pub(crate) trait While<T> {
    /// Puts `what` before the error's own words.
    fn while_doing(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> While<T> for Result<T, E> {
    fn while_doing(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
