//! How much memory a process holds, by its `/proc/<pid>/smaps_rollup`.

use std::fs;

use crate::failure::{Failure, While};

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// Resident, what it shares with others included.
    pub(crate) resident: u64,
    /// Resident and its own: what would be free if it ended.
    pub(crate) private: u64,
}

/// The memory of a process.
pub(crate) fn of(pid: u32) -> Result<Memory, Failure> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).while_doing(&path)?;
    let sum = |keys: &[&str]| -> u64 {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| keys.contains(key)).filter_map(|(_, value)| first_number(value)).sum()
    };
    Ok(Memory { resident: sum(&["Rss"]), private: sum(&["Private_Clean", "Private_Dirty", "Private_Hugetlb"]) })
}

/// The process that a process was started by.
pub(crate) fn parent(pid: u32) -> Result<u32, Failure> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).while_doing(&path)?;
    let found = text.lines().find_map(|line| first_number(line.strip_prefix("PPid:")?));
    found.and_then(|parent| u32::try_from(parent).ok()).ok_or_else(|| Failure(format!("{path} names no parent")))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
