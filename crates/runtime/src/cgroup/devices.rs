//! Which devices a container may use: the spec's rules as a BPF program (v2) or as lines of v1's device controller.
//!
//! Everything is denied, then the nodes that every container has are allowed, then the spec's rules apply in order; a
//! later rule overrides an earlier one.

use teu_oci::runtime::DeviceRule;
use teu_sys::bpf::Instruction;

/// What every container may use: null, zero, full, random, urandom, tty, console, ptmx, the terminals of a devpts;
/// and making (not using) any node.
const ALWAYS: [(&str, Option<i64>, Option<i64>, &str); 11] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
];

/// The complete list of rules, first to last. A rule of the spec that is about everything makes what precedes it moot.
pub(crate) fn rules(spec: &[DeviceRule]) -> Vec<DeviceRule> {
    let leading_deny = spec.first().is_some_and(|rule| !rule.allow && is_everything(rule));
    let spec = if leading_deny { &spec[1..] } else { spec };
    let always = ALWAYS.iter().map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind: (*kind).to_owned(),
        major: *major,
        minor: *minor,
        access: (*access).to_owned(),
    });
    let all: Vec<DeviceRule> = always.chain(spec.iter().cloned()).collect();
    let start = all.iter().rposition(is_everything).unwrap_or(0);
    all[start..].to_vec()
}

/// Whether a list of rules, as [`rules`] makes it, allows everything.
pub(crate) fn allows_everything(rules: &[DeviceRule]) -> bool {
    matches!(rules, [only] if only.allow && is_everything(only))
}

fn is_everything(rule: &DeviceRule) -> bool {
    let any = |number: Option<i64>| number.is_none_or(|number| number < 0);
    matches!(rule.kind.as_str(), "" | "a") && any(rule.major) && any(rule.minor) && access_bits(&rule.access) == 7
}

/// The lines to write to `devices.deny` (false) and `devices.allow` (true), after everything was denied.
pub(crate) fn lines(rules: &[DeviceRule]) -> Vec<(bool, String)> {
    let number = |value: Option<i64>| value.filter(|value| *value >= 0).map_or("*".to_owned(), |v| v.to_string());
    let mut lines = Vec::new();
    for rule in rules {
        if is_everything(rule) {
            lines.push((rule.allow, "a".to_owned()));
            continue;
        }
        let access = if rule.access.is_empty() { "rwm" } else { &rule.access };
        // v1 takes "a" as everything, whatever the numbers; a rule on both kinds is two rules.
        let kinds: &[&str] = if matches!(rule.kind.as_str(), "" | "a") { &["b", "c"] } else { &[&rule.kind] };
        for kind in kinds {
            lines.push((rule.allow, format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))));
        }
    }
    lines
}

fn access_bits(access: &str) -> i32 {
    if access.is_empty() {
        return 7;
    }
    access.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => 0,
        }
    })
}

// The extended BPF machine's operations that are used, from its instruction set specification.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_UNEQUAL: u8 = 0x55;
const JUMP_UNEQUAL_REGISTER: u8 = 0x5d;
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// The rules as a program over `struct bpf_cgroup_dev_ctx { access << 16 | kind, major, minor }`.
///
/// The last rule is asked first, so the first match decides.
pub(crate) fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(MOVE_REGISTER, 3, 2, 0, 0),
        op(AND, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        if is_everything(rule) {
            program.extend([op(MOVE, 0, 0, 0, rule.allow.into()), op(EXIT, 0, 0, 0, 0)]);
            return program;
        }
        push_rule(&mut program, rule);
    }
    program.extend([op(MOVE, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}

/// Tests of one rule; each that fails jumps past the verdict at its end.
fn push_rule(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let mut tests = Vec::new();
    match rule.kind.as_str() {
        "b" => tests.push(op(JUMP_UNEQUAL, 2, 0, 0, 1)),
        "c" | "u" => tests.push(op(JUMP_UNEQUAL, 2, 0, 0, 2)),
        _ => {}
    }
    let bits = access_bits(&rule.access);
    if bits != 7 {
        tests.extend([op(MOVE_REGISTER, 1, 3, 0, 0), op(AND, 1, 0, 0, bits)]);
        // An allowance covers a request when it has all of it, a denial when it has any of it.
        tests.push(if rule.allow { op(JUMP_UNEQUAL_REGISTER, 1, 3, 0, 0) } else { op(JUMP_EQUAL, 1, 0, 0, 0) });
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number.filter(|number| *number >= 0) {
            tests.push(op(JUMP_UNEQUAL, register, 0, 0, i32::try_from(number).unwrap_or(i32::MAX)));
        }
    }
    let end = tests.len() + 2;
    for (place, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_UNEQUAL | JUMP_UNEQUAL_REGISTER | JUMP_EQUAL) {
            test.offset = i16::try_from(end - place - 1).unwrap_or(i16::MAX);
        }
    }
    program.append(&mut tests);
    program.extend([op(MOVE, 0, 0, 0, rule.allow.into()), op(EXIT, 0, 0, 0, 0)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
    }

    /// Runs a program as the kernel would.
    fn allows(rules: &[DeviceRule], kind: i64, access: i64, major: i64, minor: i64) -> bool {
        let context = [access << 16 | kind, major, minor];
        let program = program(rules);
        let mut registers = [0_i64; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: names, offset, immediate } = program[at];
            let (to, from, value) = (usize::from(names & 15), usize::from(names >> 4), i64::from(immediate));
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    registers[to] = context[usize::try_from(offset / 4).expect("offset")];
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                MOVE => {
                    registers[to] = value;
                    false
                }
                AND => {
                    registers[to] &= value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                JUMP_UNEQUAL => registers[to] != value,
                JUMP_UNEQUAL_REGISTER => registers[to] != registers[from],
                JUMP_EQUAL => registers[to] == value,
                _ => return registers[0] == 1,
            };
            if jump {
                at += usize::try_from(offset).expect("offset");
            }
        }
    }

    #[test]
    fn by_default_only_the_nodes_of_every_container_are_allowed() {
        let rules = rules(&[rule(false, "a", None, None, "rwm")]);
        assert!(allows(&rules, 2, 2 | 4, 1, 3), "/dev/null");
        assert!(allows(&rules, 2, 4, 136, 7), "/dev/pts/7");
        assert!(allows(&rules, 1, 1, 8, 0), "mknod");
        assert!(!allows(&rules, 1, 2, 8, 0), "reading a disk");
        assert!(!allows(&rules, 2, 2, 10, 229), "/dev/fuse");
    }

    #[test]
    fn a_later_rule_overrides_an_earlier_one() {
        let rules = rules(&[rule(true, "c", Some(10), None, "rwm"), rule(false, "c", Some(10), Some(229), "w")]);
        assert!(allows(&rules, 2, 2, 10, 229));
        assert!(!allows(&rules, 2, 2 | 4, 10, 229));
        assert!(allows(&rules, 2, 2 | 4, 10, 200));
    }

    #[test]
    fn a_rule_about_everything_ends_the_list_there() {
        let rules = rules(&[rule(true, "a", None, None, "rwm")]);
        assert!(allows_everything(&rules));
        assert!(allows(&rules, 1, 2 | 4, 8, 0));
        assert_eq!(lines(&rules), [(true, "a".to_owned())]);
    }

    #[test]
    fn v1_lines_say_the_same() {
        let text = lines(&[rule(true, "c", Some(1), None, "rw"), rule(false, "a", Some(8), Some(0), "")]);
        let expected = [(true, "c 1:* rw"), (false, "b 8:0 rwm"), (false, "c 8:0 rwm")];
        assert_eq!(text, expected.map(|(allow, line)| (allow, line.to_owned())));
    }
}
