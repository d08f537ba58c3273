//! Names and ids: made here, and checked here.

use crate::error::{Error, Result};

const FIRST: &[&str] = &[
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "coral", "crisp", "deft", "eager",
    "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden", "grand", "happy", "hardy", "ivory", "jolly",
    "keen", "kind", "light", "lively", "loyal", "lucid", "merry", "mild", "neat", "noble", "patient", "plain", "proud",
    "quick", "quiet", "rapid", "ready", "rosy", "sharp", "silver", "sleek", "smooth", "snug", "solid", "spry",
    "steady", "stout", "sunny", "swift", "tidy", "trim", "vivid", "warm", "wise",
];
const SECOND: &[&str] = &[
    "anchor", "barge", "beacon", "berth", "bollard", "bosun", "bow", "bridge", "buoy", "cabin", "capstan", "cargo",
    "chart", "clipper", "compass", "coxswain", "crane", "cutter", "davit", "deck", "dinghy", "dock", "fender", "ferry",
    "fjord", "galley", "gangway", "gull", "harbour", "hatch", "hawser", "helm", "hold", "hull", "island", "jetty",
    "keel", "ketch", "lagoon", "lantern", "lighter", "mast", "mooring", "packet", "pier", "pilot", "port", "quay",
    "rigging", "rudder", "sail", "schooner", "sextant", "sloop", "spar", "stern", "tide", "tiller", "trawler", "wharf",
];

/// 64 random hexadecimal digits.
///
/// # Errors
/// When the kernel gives no randomness.
pub(crate) fn random_id() -> Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("get random bytes: {error}")))?;
    let mut id = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}

/// A name people can say; `attempt` above 3 adds a number.
///
/// # Errors
/// When the kernel gives no randomness.
pub(crate) fn random_name(attempt: u32) -> Result<String> {
    let mut bytes = [0_u8; 3];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("get random bytes: {error}")))?;
    let name =
        format!("{}_{}", FIRST[usize::from(bytes[0]) % FIRST.len()], SECOND[usize::from(bytes[1]) % SECOND.len()]);
    Ok(if attempt > 3 { format!("{name}{}", u32::from(bytes[2]) + attempt) } else { name })
}

/// Checks a name that a user chose, and takes a leading slash off.
///
/// # Errors
/// When it has other characters than Docker allows.
pub(crate) fn check(name: &str) -> Result<&str> {
    let plain = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = plain.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && plain.len() > 1 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(plain);
    }
    Err(Error::bad(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_alphabet() {
        assert_eq!(check("/web-1.a_b").unwrap(), "web-1.a_b");
        for bad in ["", "a", "-a", "a b", "a/b", "é1", "../x"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(random_id().unwrap().len(), 64);
        assert!(check(&random_name(9).unwrap()).is_ok());
    }
}
