//! Durations of flags, which are never negative: `1h30m`, `1.5s`, `300ms`.

/// Reads a duration in nanoseconds.
pub(crate) fn nanoseconds(text: &str) -> Result<i64, String> {
    match teu_api::time::duration(text) {
        Some(nanoseconds) if nanoseconds < 0 => Err("duration cannot be negative".into()),
        Some(nanoseconds) => Ok(nanoseconds),
        None => Err(format!("invalid duration \"{text}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_not_negative() {
        assert_eq!(nanoseconds("1m30s"), Ok(90_000_000_000));
        assert_eq!(nanoseconds("-1s").unwrap_err(), "duration cannot be negative");
        assert_eq!(nanoseconds("5").unwrap_err(), "invalid duration \"5\"");
    }
}
