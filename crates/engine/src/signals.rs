//! Signals by name or number, signal(7), for x86-64 and arm64 Linux.

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];
/// The signal that nothing can catch.
pub(crate) const KILL: i32 = 9;

/// The number of `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, …
pub(crate) fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (base, offset) = match name.find(['+', '-']) {
        Some(at) => (&name[..at], name[at..].parse::<i32>().ok()?),
        None => (name, 0),
    };
    if offset != 0 && !base.starts_with("RT") {
        return None;
    }
    let number = NAMES.iter().find(|(known, _)| *known == base)?.1 + offset;
    (1..=64).contains(&number).then_some(number)
}

/// Whether the first process of a pid namespace is not told of a signal that comes now: it neither catches nor ignores nor
/// blocks it.
pub(crate) fn is_lost_on(pid: i32, signal: i32) -> bool {
    let status = teu_sys::text::read(format!("/proc/{pid}/status")).unwrap_or_default();
    is_lost_by(&status, signal)
}

/// The same from the text of proc_pid_status(5); false when there is none.
fn is_lost_by(status: &str, signal: i32) -> bool {
    // These two reach everybody.
    if matches!(signal, KILL | 19) {
        return false;
    }
    let Some(bit) = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)) else { return false };
    let masks = ["SigBlk:", "SigIgn:", "SigCgt:"]
        .map(|key| status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(key)?.trim(), 16).ok()));
    masks.iter().all(|mask| mask.is_some_and(|mask| mask & bit == 0))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, number) in [("SIGTERM", 15), ("kill", 9), ("1", 1), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for bad in ["", "0", "65", "SIGNOPE", "TERM+1", "-9"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
