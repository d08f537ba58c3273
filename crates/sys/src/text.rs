//! Text files of others.

use std::io;
use std::path::Path;

/// The text of a file in which somebody else may have written any bytes: those that are not UTF-8 are replaced.
///
/// # Errors
/// As open(2) and read(2).
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
