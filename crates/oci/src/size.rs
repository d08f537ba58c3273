//! Sizes as people write them: `10m`, `1.5GB`, `512`. Docker reads some in powers of 1024 and some in powers of 1000.

/// Bytes, with units of 1024: memory, volumes. None when it is no size.
#[must_use]
pub fn binary(text: &str) -> Option<u64> {
    read(text, 1024)
}

/// Bytes, with units of 1000: log files. None when it is no size.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    read(text, 1000)
}

fn read(text: &str, unit: u64) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffix = suffix.strip_prefix(' ').unwrap_or(suffix).to_ascii_lowercase();
    let power = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let factor = unit.pow(power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let fraction: f64 = number.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a size written with a fraction is no exact one")]
    let bytes = fraction * factor as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (0.0..9e18).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_units() {
        for (text, binary_bytes, decimal_bytes) in [
            ("512", 512, 512),
            ("10m", 10 << 20, 10_000_000),
            ("1.5 GB", 3 << 29, 1_500_000_000),
            ("32MiB", 32 << 20, 32_000_000),
            ("0", 0, 0),
        ] {
            assert_eq!(binary(text), Some(binary_bytes), "{text}");
            assert_eq!(decimal(text), Some(decimal_bytes), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1mm", "1 0", "1..2", "99999999999p"] {
            assert_eq!(binary(bad), None, "{bad}");
        }
    }
}
