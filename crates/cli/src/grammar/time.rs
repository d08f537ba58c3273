//! Points in time for `--since` and `--until`: RFC 3339, shorter dates (in the user's time zone), Unix seconds, or how
//! long ago.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::duration;

/// Reads a point in time as the API wants it: seconds with nanoseconds, `1700000000.000000000`.
pub(crate) fn timestamp(text: &str, now: Timestamp) -> Result<String, String> {
    let wrong = || format!("invalid time \"{text}\": write a date, a Unix time or a duration like 10m");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok(text.to_owned());
    }
    if let Ok(ago) = duration::nanoseconds(text) {
        return Ok(render(now.as_nanosecond() - i128::from(ago)));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(render(time.as_nanosecond()));
    }
    let zone = crate::output::units::zone();
    let local = match text.parse::<DateTime>() {
        Ok(time) => time,
        Err(_) => text.parse::<Date>().map_err(|_| wrong())?.at(0, 0, 0, 0),
    };
    let time = zone.to_timestamp(local).map_err(|_| wrong())?;
    Ok(render(time.as_nanosecond()))
}

fn render(nanoseconds: i128) -> String {
    format!("{}.{:09}", nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (text, wanted) in [
            ("1700000000", "1700000000"),
            ("1700000000.5", "1700000000.5"),
            ("10s", "999990.000000000"),
            ("1970-01-01T00:01:00Z", "60.000000000"),
            ("1970-01-01T01:00:00+01:00", "0.000000000"),
            ("1970-01-02T00:00:00.5", "86400.500000000"),
            ("1970-01-02", "86400.000000000"),
        ] {
            assert_eq!(timestamp(text, now).as_deref(), Ok(wanted), "{text}");
        }
        for bad in ["", "soon", "1970-13-01"] {
            assert!(timestamp(bad, now).is_err(), "{bad}");
        }
    }
}
