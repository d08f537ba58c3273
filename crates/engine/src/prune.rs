//! Taking away what nobody uses; and the moment `until`, which all prunes share.

use jiff::Timestamp;

use crate::error::{Error, Result};

/// Whether a prune removes, or only says what it would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It removes.
    Remove,
    /// It says what it would remove.
    Tell,
}

/// A moment as a filter names it: see [`teu_api::time::moment`].
///
/// # Errors
/// When it is none.
pub fn until(text: &str) -> Result<Timestamp> {
    teu_api::time::moment(text, &jiff::ZonedDateTime::now())
        .ok_or_else(|| Error::bad(format!("invalid filter 'until={text}': want a time or a duration such as 24h")))
}
