//! The local time, as the machine's administrator has set it.

#![allow(unsafe_code)]

/// How many seconds local time is ahead of UTC at a moment, in seconds since 1970.
pub fn offset(moment: i64) -> i32 {
    let moment: libc::time_t = moment;
    // SAFETY: all zeroes is a valid `tm`.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to one value of their type; the function keeps neither.
    let known = unsafe { !libc::localtime_r(&raw const moment, &raw mut local).is_null() };
    if known { i32::try_from(local.tm_gmtoff).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_offset_is_less_than_a_day_and_a_bit() {
        for moment in [0, 1_700_000_000, i64::MAX, i64::MIN] {
            assert!(super::offset(moment).abs() < 27 * 3600);
        }
    }
}
