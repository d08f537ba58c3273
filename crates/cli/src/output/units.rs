//! Numbers and texts for people: sizes, ages, dates, quotes.

use std::sync::OnceLock;

use jiff::tz::TimeZone;

/// A size by 1000 with so many significant digits: `4.26MB`.
fn scaled(size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = size;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    let whole = if size < 1.0 { 1 } else { size.log10().floor() as usize + 1 };
    let mut text = format!("{size:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + units[unit]
}

/// A size by 1000 with three digits, as image lists show it: `4.26MB`.
pub(crate) fn size(bytes: i64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// A size by 1000 with four digits, as progress and disk usage show it: `4.261MB`.
pub(crate) fn long_size(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 4)
}

/// A size by 1024 with four digits: `3.813GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// How long something takes or lies back: `About a minute`, `3 days`.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// How long ago a Unix time is: `3 days ago`.
pub(crate) fn ago(seconds: i64) -> String {
    format!("{} ago", duration(jiff::Timestamp::now().as_second() - seconds))
}

/// JSON that may stand within HTML, as Go writes it: `<`, `>` and `&` as escapes.
pub(crate) fn html_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The user's time zone: `TZ`, else the file that the machine has for it. Read once, and without looking through every zone
/// that there is, which is what finding out its name would take.
pub(crate) fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let machines = || {
        let unnamed = std::env::var_os("TZ").is_none();
        let rules = std::fs::read("/etc/localtime").ok().filter(|_| unnamed)?;
        TimeZone::tzif("local", &rules).ok()
    };
    ZONE.get_or_init(|| machines().unwrap_or_else(TimeZone::system)).clone()
}

/// A Unix time in the user's time zone as lists show it: `2024-05-01 12:00:00 +0000 UTC`.
pub(crate) fn date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned_datetime(zone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        Err(_) => String::new(),
    }
}

/// A Unix time in the user's time zone, for programs: `2024-05-01T12:00:00Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| zoned(time, "")).unwrap_or_default()
}

/// The same with nanoseconds: `2024-05-01T12:00:00.000000000Z`.
pub(crate) fn rfc3339_nano(time: jiff::Timestamp) -> String {
    zoned(time, ".%9f")
}

fn zoned(time: jiff::Timestamp, fraction: &str) -> String {
    let zoned = time.to_zoned_datetime(zone());
    let offset = if zoned.offset().seconds() == 0 { "Z" } else { "%:z" };
    zoned.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}{offset}")).to_string()
}

/// A time of the API as Go prints it: `2024-05-01 12:00:00.5 +0000 UTC`.
pub(crate) fn go_time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// A text as Go quotes it: `"a\"b"`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            _ if (char as u32) < 0x20 || char as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", char as u32));
            }
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

/// The short form of an id.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// Text of at most `width` characters, with an ellipsis when cut.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_550, "4.26MB"),
            (77_900_000, "77.9MB"),
            (1_240_000_000, "1.24GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(long_size(4_261_550), "4.262MB");
        assert_eq!(binary_size(4_093_640_704), "3.812GiB");
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (172_800, "2 days"),
            (86_400 * 14, "2 weeks"),
            (86_400 * 60, "2 months"),
            (86_400 * 365 * 3, "3 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        assert_eq!(ellipsis("\"/bin/sh -c 'nothing'\"", 20).chars().count(), 20);
        assert_eq!(ellipsis("short", 20), "short");
        assert_eq!(go_time("2024-05-01T12:00:00.50Z"), "2024-05-01 12:00:00.5 +0000 UTC");
        assert_eq!(quote("a \"b\"\n\\ü\u{1}"), "\"a \\\"b\\\"\\n\\\\ü\\x01\"");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
