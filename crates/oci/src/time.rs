//! Times as people write them: Go's durations (`1h30m`, `-1.5s`) and the moments of `since` and `until`.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ZonedDateTime};

const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];

/// A duration in nanoseconds, as Go's `time.ParseDuration` reads it: numbers with units, behind a sign at most. A bare
/// number must be 0. None when it is no duration.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut total: f64 = 0.0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(rest.len());
        let (_, scale) = UNITS.into_iter().find(|(unit, _)| *unit == &rest[..letters])?;
        rest = &rest[letters..];
        total += number * scale;
    }
    let total = if text.starts_with('-') { -total } else { total };
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (!unsigned.is_empty() && total.abs() < 9.2e18).then_some(total as i64)
}

/// A moment: a duration before now (after it, when negative), RFC 3339 or a part of it (a date; hours; minutes) with an
/// offset or in the zone of `now`, or seconds since 1970 with a fraction. None when it is none of these.
#[must_use]
pub fn moment(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    if text != "0"
        && let Some(ago) = duration(text)
    {
        return Timestamp::from_nanosecond(now.timestamp().as_nanosecond() - i128::from(ago)).ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    unix(text).or_else(|| {
        let (local, zone) = offset(text).unwrap_or((text, now.time_zone().clone()));
        let local = match local.parse::<DateTime>() {
            Ok(time) => time,
            Err(_) => local.parse::<Date>().ok()?.at(0, 0, 0, 0),
        };
        zone.to_timestamp(local).ok()
    })
}

/// `1700000000.25`. Digits beyond nanoseconds mean nothing.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

/// What is before a `Z` or an offset such as `+01:00`, and the zone that it names.
fn offset(text: &str) -> Option<(&str, TimeZone)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, TimeZone::UTC));
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = match offset.strip_prefix('+') {
        Some(offset) => (1, offset),
        None => (-1, offset.strip_prefix('-')?),
    };
    let (hours, minutes) = offset.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Some((local, Offset::from_seconds(sign * seconds).ok()?.to_time_zone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("250ms", Some(250_000_000)),
            ("2us", Some(2_000)),
            ("7ns", Some(7)),
            ("-5m", Some(-300_000_000_000)),
            ("+1s", Some(1_000_000_000)),
            ("", None),
            ("-", None),
            ("5", None),
            ("s", None),
            ("1x", None),
            ("1s5", None),
            ("1d", None),
            ("--1s", None),
        ] {
            assert_eq!(duration(text), wanted, "{text}");
        }
    }

    #[test]
    fn moments_have_many_forms() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now = Timestamp::from_second(1_000_000).unwrap().to_zoned_datetime(zone);
        for (text, wanted) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000.5", 1_700_000_000_500_000_000),
            ("0", 0),
            ("1.0000000019", 1_000_000_001),
            ("10s", 999_990_000_000_000),
            ("1h0.5s", 996_399_500_000_000),
            ("-10s", 1_000_010_000_000_000),
            ("1970-01-01T00:01:00Z", 60_000_000_000),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-02T02:00:00.5", 86_400_500_000_000),
            ("1970-01-02T02:00", 86_400_000_000_000),
            ("1970-01-02T02", 86_400_000_000_000),
            ("1970-01-02", 79_200_000_000_000),
            ("1970-01-02Z", 86_400_000_000_000),
            ("1970-01-02T01:30+01:30", 86_400_000_000_000),
            ("1970-01-01T23-01:00", 86_400_000_000_000),
        ] {
            assert_eq!(moment(text, &now).map(Timestamp::as_nanosecond), Some(wanted), "{text}");
        }
        for bad in ["", "soon", "1970-13-01", "h", "1d", "1h5", "-5", "1.", "1.x", "\u{e9}1:00"] {
            assert_eq!(moment(bad, &now), None, "{bad}");
        }
    }
}
