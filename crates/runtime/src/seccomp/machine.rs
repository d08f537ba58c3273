//! A classic BPF machine, to see in tests what a compiled filter decides, and how soon.

use teu_oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use teu_sys::seccomp::Instruction;

use super::compile::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, RETURN, compile};
use super::{numbers, profile};

const X86_64: u32 = 0xC000_003E;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

/// What a filter returns for a call, and how many instructions it took.
fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> (u32, usize) {
    let mut input = Vec::new();
    input.extend(nr.to_le_bytes());
    input.extend(arch.to_le_bytes());
    input.extend(0u64.to_le_bytes());
    args.iter().for_each(|arg| input.extend(arg.to_le_bytes()));
    let (mut at, mut a, mut steps) = (0, 0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let choose = |holds: bool| usize::from(if holds { jt } else { jf });
        steps += 1;
        at += 1;
        match code {
            LOAD => a = u32::from_le_bytes(input[k as usize..k as usize + 4].try_into().expect("in bounds")),
            AND => a &= k,
            JUMP => at += k as usize,
            JUMP_EQ => at += choose(a == k),
            JUMP_GT => at += choose(a > k),
            JUMP_GE => at += choose(a >= k),
            RETURN => return (k, steps),
            _ => panic!("no such instruction: {code:#x}"),
        }
    }
}

/// What the profile says, found the slow way.
fn judge(profile: &Seccomp, name: Option<&str>, args: [u64; 6]) -> u32 {
    let holds = |arg: &SyscallArg| {
        let given = args[arg.index as usize];
        match arg.op.as_str() {
            "SCMP_CMP_EQ" => given == arg.value,
            "SCMP_CMP_NE" => given != arg.value,
            "SCMP_CMP_LT" => given < arg.value,
            "SCMP_CMP_LE" => given <= arg.value,
            "SCMP_CMP_GT" => given > arg.value,
            "SCMP_CMP_GE" => given >= arg.value,
            "SCMP_CMP_MASKED_EQ" => given & arg.value == arg.value_two,
            other => panic!("no such operator: {other}"),
        }
    };
    let matching =
        |rule: &&SyscallRule| rule.names.iter().any(|n| Some(n.as_str()) == name) && rule.args.iter().all(holds);
    match profile.syscalls.iter().find(matching) {
        Some(rule) if rule.action == "SCMP_ACT_ALLOW" => ALLOW,
        Some(rule) => 0x0005_0000 | rule.errno_ret.unwrap_or(1),
        None => EPERM,
    }
}

fn capabilities() -> Vec<Vec<&'static str>> {
    vec![vec![], vec!["CAP_SYS_CHROOT", "CAP_NET_RAW"], vec!["CAP_SYS_ADMIN", "CAP_SYS_NICE", "CAP_BPF"]]
}

#[test]
fn every_number_of_every_abi_is_decided_as_the_profile_says() {
    let firsts = [0, 1, 2, 3, 16, 20, 21, 38, 39, 40, 41, 47, 48, 0x7E02_0000, 0x10_0000_0026, 0x2_0008, u64::MAX];
    let abis: [(u32, u32, &[numbers::Table]); 3] = [
        (X86_64, 0, &[numbers::X86_64]),
        (X86_64, numbers::X32_BIT, &[numbers::X32, numbers::X86_64]),
        (I386, 0, &[numbers::I386]),
    ];
    for capabilities in capabilities() {
        let profile = profile::default(&capabilities);
        let program = compile(&profile).expect("compiles");
        for (audit, base, tables) in abis {
            let mut names = std::collections::BTreeMap::new();
            for table in tables.iter().rev() {
                let own: std::collections::HashMap<_, _> =
                    numbers::entries(table).map(|(number, name)| (name, number)).collect();
                names.retain(|_, name| !own.contains_key(*name));
                names.extend(own.into_iter().map(|(name, number)| (number, name)));
            }
            let mentioned = |name: &str| profile.syscalls.iter().any(|rule| rule.names.iter().any(|n| n == name));
            let newest = names.iter().rev().find(|(_, name)| mentioned(name)).map_or(0, |(number, _)| *number);
            for number in 0..700 {
                let name = names.get(&number).copied();
                for first in firsts {
                    let args = [first, 0, 0, 0, 0, 0];
                    let expected = if number > newest { ENOSYS } else { judge(&profile, name, args) };
                    let (decided, _) = run(&program, audit, base + number, args);
                    assert_eq!(decided, expected, "{audit:#x} {number} {name:?} {first:#x} {capabilities:?}");
                }
            }
        }
    }
}

#[test]
fn any_plain_call_is_decided_in_a_dozen_steps_or_so() {
    let program = compile(&profile::default(&["CAP_CHOWN"])).expect("compiles");
    assert!(program.len() < 300, "{} instructions", program.len());
    let steps = (0..335).map(|nr| run(&program, X86_64, nr, [0; 6]).1);
    let most = steps.clone().max().unwrap_or(0);
    let plain = (0..335).filter(|nr| ![41, 56, 135].contains(nr)).map(|nr| run(&program, X86_64, nr, [0; 6]).1).max();
    assert!(plain <= Some(14), "{plain:?}");
    assert!(most <= 40, "{most}");
}

#[test]
fn a_foreign_architecture_and_an_unlisted_abi_are_never_judged_by_our_numbers() {
    let mut profile = profile::default(&["CAP_CHOWN"]);
    profile.architectures = vec!["SCMP_ARCH_X86_64".into()];
    let program = compile(&profile).expect("compiles");
    assert_eq!(run(&program, I386, 0, [0; 6]).0, KILL_PROCESS);
    assert_eq!(run(&program, 0x4000_0028, 0, [0; 6]).0, KILL_PROCESS);
    assert_eq!(run(&program, X86_64, numbers::X32_BIT, [0; 6]).0, ENOSYS);
    assert_eq!(run(&program, X86_64, u32::MAX, [0; 6]).0, ENOSYS);
    assert_eq!(run(&program, X86_64, 0, [0; 6]).0, ALLOW);
}

#[test]
fn a_profile_that_allows_by_default_stays_open_for_new_calls() {
    let rule = SyscallRule { names: vec!["mkdir".into()], action: "SCMP_ACT_ERRNO".into(), ..SyscallRule::default() };
    let profile = Seccomp { default_action: "SCMP_ACT_ALLOW".into(), syscalls: vec![rule], ..Seccomp::default() };
    let program = compile(&profile).expect("compiles");
    assert_eq!(run(&program, X86_64, 83, [0; 6]).0, EPERM);
    assert_eq!(run(&program, X86_64, 82, [0; 6]).0, ALLOW);
    assert_eq!(run(&program, X86_64, 600, [0; 6]).0, ALLOW);
}

#[test]
fn every_comparison_sees_all_64_bits() {
    let values = [0, 1, 5, 0xFFFF_FFFF, 0x1_0000_0000, 0x1_0000_0005, 0x5_0000_0001, u64::MAX - 1, u64::MAX];
    for op in ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"] {
        for value in values {
            for value_two in [0, 1, 0x1_0000_0000] {
                let arg = SyscallArg { index: 5, value, value_two, op: format!("SCMP_CMP_{op}") };
                let action = "SCMP_ACT_ALLOW".into();
                let rule =
                    SyscallRule { names: vec!["read".into()], action, args: vec![arg], ..SyscallRule::default() };
                let action = "SCMP_ACT_ERRNO".into();
                let profile = Seccomp { default_action: action, syscalls: vec![rule], ..Seccomp::default() };
                let program = compile(&profile).expect("compiles");
                for given in values {
                    let args = [0, 0, 0, 0, 0, given];
                    let decided = run(&program, X86_64, 0, args).0;
                    assert_eq!(
                        decided,
                        judge(&profile, Some("read"), args),
                        "{given:#x} {op} {value:#x} {value_two:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn two_conditions_on_one_argument_mean_either() {
    let arg = |value| SyscallArg { index: 0, value, value_two: 0, op: "SCMP_CMP_EQ".into() };
    let args = vec![arg(3), arg(7)];
    let rule = SyscallRule { names: vec!["close".into()], action: "SCMP_ACT_ALLOW".into(), args, errno_ret: None };
    let profile = Seccomp { default_action: "SCMP_ACT_ERRNO".into(), syscalls: vec![rule], ..Seccomp::default() };
    let program = compile(&profile).expect("compiles");
    let decide = |first| run(&program, X86_64, 3, [first, 0, 0, 0, 0, 0]).0;
    assert_eq!([decide(3), decide(5), decide(7)], [ALLOW, EPERM, ALLOW]);
}

#[test]
fn jumps_beyond_255_instructions_arrive() {
    let arg = |value| SyscallArg { index: 0, value, value_two: 0, op: "SCMP_CMP_EQ".into() };
    let rule = |value: u32| {
        let args = vec![arg(value.into())];
        let errno_ret = Some(value % 100 + 2);
        SyscallRule { names: vec!["close".into()], action: "SCMP_ACT_ERRNO".into(), args, errno_ret }
    };
    let syscalls = (0..500).map(rule).collect();
    let profile = Seccomp { default_action: "SCMP_ACT_ALLOW".into(), syscalls, ..Seccomp::default() };
    let program = compile(&profile).expect("compiles");
    for value in 0..500 {
        let (decided, _) = run(&program, X86_64, 3, [value.into(), 0, 0, 0, 0, 0]);
        assert_eq!(decided, 0x0005_0000 | (value % 100 + 2));
    }
    assert_eq!(run(&program, X86_64, 3, [500, 0, 0, 0, 0, 0]).0, ALLOW);
}

#[test]
fn what_no_filter_can_do_is_refused_by_name() {
    let profile = Seccomp { default_action: "SCMP_ACT_WISH".into(), ..Seccomp::default() };
    let error = compile(&profile).expect_err("refused");
    assert_eq!(error.to_string(), "seccomp action \"SCMP_ACT_WISH\" is not supported");
}
