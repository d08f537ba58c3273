//! Sizes of memory and CPU shares: `64m`, `1.5GiB`, `0.5`.

/// Reads a size in bytes, units by 1024: `10`, `64m`, `1.5GB`, `2 KiB`.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let size = teu_api::size::binary(text).and_then(|size| i64::try_from(size).ok());
    size.ok_or_else(|| format!("invalid size: '{text}'"))
}

/// Reads `--memory-swap`: a size, or -1 for no limit.
pub(crate) fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Reads `--cpus` as billionths of a CPU, exactly: `0.5`, `1.25`.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let wrong = || format!("cannot read {text} as a number of CPUs");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && part.is_empty()) || !whole.chars().chain(part.chars()).all(|c| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let part = part.trim_end_matches('0');
    if part.len() > 9 {
        return Err(format!("{text} is finer than a billionth of a CPU"));
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let part: i64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|nano| nano.checked_add(part)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("0", 0),
            ("1024", 1024),
            ("32b", 32),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("1.5gb", 3 << 29),
            ("2 KiB", 2048),
            ("1t", 1 << 40),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1..5", "1mm", "9999999p", "1 b b"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(swap("-1"), Ok(-1));
    }

    #[test]
    fn cpus_are_read_exactly() {
        for (text, nano) in
            [("1", 1_000_000_000), ("0.5", 500_000_000), (".1", 100_000_000), ("2.", 2_000_000_000), ("0.000000001", 1)]
        {
            assert_eq!(cpus(text), Ok(nano), "{text}");
        }
        for bad in ["", ".", "x", "1.x", "-1", "0.0000000001", "99999999999"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }
}
