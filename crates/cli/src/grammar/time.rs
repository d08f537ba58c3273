//! Points in time for `--since` and `--until`; the grammar itself is [`teu_api::time`].

use jiff::Timestamp;

use crate::failure::Failure;

/// Reads the point in time that a flag gives, as the API wants it: seconds with nanoseconds, `1700000000.000000000`.
/// An empty one says nothing.
pub(crate) fn flag(name: &str, text: Option<&str>, now: Timestamp) -> Result<Option<String>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let time = teu_api::time::moment(text, &now.to_zoned_datetime(crate::output::units::zone())).ok_or_else(|| {
        let why = format!("failed to parse value as time or duration: \"{text}\"");
        Failure::new(format!("invalid value for \"{name}\": {why}"))
    })?;
    let nanoseconds = time.as_nanosecond();
    Ok(Some(format!("{}.{:09}", nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_nanoseconds() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let read = |text| flag("since", Some(text), now).map_err(|failure| failure.message);
        for (text, wanted) in [
            ("1700000000", "1700000000.000000000"),
            ("10s", "999990.000000000"),
            ("-10s", "1000010.000000000"),
            ("1970-01-02T00:00:00.5Z", "86400.500000000"),
        ] {
            assert_eq!(read(text), Ok(Some(wanted.into())), "{text}");
        }
        assert_eq!(read(""), Ok(None));
        let why = "invalid value for \"since\": failed to parse value as time or duration: \"soon\"";
        assert_eq!(read("soon"), Err(why.into()));
    }
}
