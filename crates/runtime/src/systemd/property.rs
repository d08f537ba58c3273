//! Properties of a scope as unit files have them: systemd.resource-control(5) for the limits, and what a container's
//! annotations ask for.

use std::collections::BTreeMap;

use teu_oci::runtime::Resources;

use crate::Error;

/// A property's name and value.
pub(crate) type Property = (String, String);

/// What an annotation that asks for a property begins with.
const ANNOTATION: &str = "org.systemd.property.";

/// The limits that systemd has a property for. Where it is told nothing it would take a limit away when it is reloaded.
pub(crate) fn limits(resources: &Resources, unified: bool) -> Vec<Property> {
    let mut found: Vec<Property> = Vec::new();
    let mut say = |name: &str, value: String| found.push((name.to_owned(), value));
    let io = if unified { "IOAccounting" } else { "BlockIOAccounting" };
    ["TasksAccounting", "MemoryAccounting", "CPUAccounting", io].iter().for_each(|name| say(name, "yes".into()));
    if let Some(memory) = &resources.memory {
        let most = if unified { "MemoryMax" } else { "MemoryLimit" };
        memory.limit.filter(|limit| *limit != 0).into_iter().for_each(|limit| say(most, amount(limit)));
        let low = memory.reservation.filter(|low| unified && *low != 0);
        low.into_iter().for_each(|low| say("MemoryLow", amount(low)));
    }
    if let Some(cpu) = &resources.cpu {
        match cpu.shares.filter(|shares| *shares != 0) {
            Some(shares) if unified => say("CPUWeight", crate::cgroup::weight_of_shares(shares).to_string()),
            Some(shares) => say("CPUShares", shares.to_string()),
            None => {}
        }
        if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
            say("CPUQuota", percent(quota, cpu.period.unwrap_or(0)));
        }
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        say("TasksMax", if limit == 0 { "1".into() } else { amount(limit) });
    }
    found
}

/// An amount; none for a negative one.
fn amount(value: i64) -> String {
    u64::try_from(value).map_or_else(|_| "infinity".to_owned(), |value| value.to_string())
}

/// Processor time in whole hundredths of a processor, rounded up; nothing for no limit.
fn percent(quota: i64, period: u64) -> String {
    let Ok(quota) = u64::try_from(quota) else { return String::new() };
    let period = if period == 0 { 100_000 } else { period };
    format!("{}%", quota.saturating_mul(100).div_ceil(period))
}

/// The properties that annotations ask for, which are written as GVariant has text: `'text'`, `true`, `5`, `uint64 5`.
///
/// # Errors
/// [`Error::Refused`] for a value that is none of these.
pub(crate) fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Error> {
    let asked = annotations.iter().filter_map(|(name, value)| Some((name.strip_prefix(ANNOTATION)?, value)));
    asked
        .map(|(name, value)| {
            let plain = plain(value.trim());
            let plain =
                plain.ok_or_else(|| Error::refused(format!("annotation {ANNOTATION}{name}: invalid value {value}")))?;
            // What messages say in microseconds, unit files say with a unit.
            match name.strip_suffix("USec") {
                Some(stem) => Ok((format!("{stem}Sec"), format!("{plain}us"))),
                None => Ok((name.to_owned(), plain)),
            }
        })
        .collect()
}

fn plain(text: &str) -> Option<String> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Some(inner.to_owned());
        }
    }
    if matches!(text, "true" | "false") {
        return Some(text.to_owned());
    }
    let number = match text.split_once(' ') {
        Some(("byte" | "int16" | "uint16" | "int32" | "uint32" | "int64" | "uint64", number)) => number.trim(),
        Some(_) => return None,
        None => text,
    };
    number.parse::<i128>().ok().map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use teu_oci::runtime::{Cpu, Pids};

    #[test]
    fn annotations_are_properties() {
        let one = |name: &str, value: &str| {
            of_annotations(&BTreeMap::from([(format!("org.systemd.property.{name}"), value.to_owned())]))
        };
        for (name, value, property) in [
            ("CollectMode", "'inactive-or-failed'", ("CollectMode", "inactive-or-failed")),
            ("TimeoutStopUSec", "uint64 123456789", ("TimeoutStopSec", "123456789us")),
            ("TimeoutStopSec", "uint64 2", ("TimeoutStopSec", "2")),
            ("OOMPolicy", "\"kill\"", ("OOMPolicy", "kill")),
            ("IPAccounting", "true", ("IPAccounting", "true")),
            ("CPUWeight", "5", ("CPUWeight", "5")),
        ] {
            assert_eq!(one(name, value).expect("known"), [(property.0.to_owned(), property.1.to_owned())]);
        }
        assert!(one("What", "@as []").is_err() && one("What", "uint64 x").is_err());
        assert!(of_annotations(&BTreeMap::from([("other".to_owned(), "?".to_owned())])).expect("none").is_empty());
    }

    #[test]
    fn limits_are_written_as_unit_files_have_them() {
        let resources = Resources {
            cpu: Some(Cpu { quota: Some(150_000), ..Cpu::default() }),
            pids: Some(Pids { limit: Some(-1) }),
            ..Resources::default()
        };
        let found = limits(&resources, true);
        assert!(
            found.contains(&("CPUQuota".into(), "150%".into()))
                && found.contains(&("TasksMax".into(), "infinity".into()))
        );
        assert_eq!((percent(1_000, 300_000), percent(-1, 0)), ("1%".to_owned(), String::new()));
    }
}
