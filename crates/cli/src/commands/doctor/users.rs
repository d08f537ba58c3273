//! User namespaces: for containers with users of their own, and for teu without root.

use super::{Finding, text};
use crate::session::variable;

const AREA: &str = "User namespaces";

pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![most(&text("/proc/sys/user/max_user_namespaces"))];
    findings.push(unprivileged(
        &text("/proc/sys/kernel/unprivileged_userns_clone"),
        &text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    ));
    if !rustix::process::geteuid().is_root() {
        let user = variable("USER").unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        findings.push(subordinate(&text("/etc/subuid"), &user, uid));
    }
    findings
}

fn most(setting: &str) -> Finding {
    match setting.trim().parse::<u64>() {
        Ok(0) => {
            Finding::bad(AREA, "user namespaces are switched off").mend("sysctl -w user.max_user_namespaces=15000")
        }
        Ok(count) => Finding::good(AREA, format!("up to {count} of them")),
        Err(_) => Finding::warning(AREA, "this kernel does not say how many there may be"),
    }
}

/// Debian's switch and Ubuntu's.
fn unprivileged(debian: &str, ubuntu: &str) -> Finding {
    if debian.trim() == "0" {
        return Finding::warning(AREA, "only root may make them").mend("sysctl -w kernel.unprivileged_userns_clone=1");
    }
    if ubuntu.trim() == "1" {
        return Finding::warning(AREA, "AppArmor takes their rights from users who are not root")
            .mend("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
    }
    Finding::good(AREA, "users other than root may make them")
}

fn subordinate(subuid: &str, user: &str, uid: u32) -> Finding {
    let uid = uid.to_string();
    let own = subuid.lines().filter_map(|line| line.split_once(':')).any(|(name, _)| name == user || name == uid);
    match own {
        true => Finding::good(AREA, format!("{user} has ids of its own in /etc/subuid")),
        false => Finding::warning(AREA, format!("{user} has no ids of its own in /etc/subuid"))
            .mend(format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn switches_that_are_off_are_told_with_the_command_that_turns_them() {
        assert_eq!((most("0\n").state, most("100\n").state), (State::Bad, State::Good));
        assert!(unprivileged("0", "").mend.unwrap().contains("userns_clone=1"));
        assert!(unprivileged("1", "1").mend.unwrap().contains("apparmor_restrict"));
        assert_eq!(unprivileged("", "").state, State::Good);
        assert_eq!(subordinate("ann:100000:65536\n", "ann", 1000).state, State::Good);
        assert!(subordinate("", "ann", 1000).mend.unwrap().ends_with(" ann"));
    }
}
