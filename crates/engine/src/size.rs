//! Sizes that are asked for ([`teu_oci::size`]), with the sentence for what is none.

use crate::error::{Error, Result};

/// Bytes, with units of 1024.
pub(crate) fn binary(text: &str) -> Result<u64> {
    teu_oci::size::binary(text).ok_or_else(|| invalid(text))
}

/// Bytes, with units of 1000.
pub(crate) fn decimal(text: &str) -> Result<u64> {
    teu_oci::size::decimal(text).ok_or_else(|| invalid(text))
}

fn invalid(text: &str) -> Error {
    Error::bad(format!("invalid size: '{text}'"))
}
