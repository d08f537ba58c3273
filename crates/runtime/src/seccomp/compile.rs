//! A profile becomes a program for the kernel's classic BPF machine.
//!
//! ```text
//! load arch ─┬─ native ── load nr ─┬─────── search tree ──┬─ return action
//!            │                     └─ x32 ─ search tree, and back to the native one ── …
//!            ├─ i386 ──── load nr ── search tree ──────────┼─ conditions of one call ── return action
//!            └─ other ─── kill the process                 └─ …
//! ```
//!
//! Numbers with the same outcome are merged into ranges, ranges with few exceptions into stretches, and the tree halves
//! the stretches: some eight comparisons decide any call, where a list needs hundreds. The kernel translates the program
//! for each process anew, so its length counts as well: a number that is an exception takes one instruction, where as a
//! range of its own it took two. Jumps go forward only, so the program is written from its end: whatever a jump leads
//! to exists already.
//!
//! Rules are tried in the profile's order; the first whose conditions all hold decides. A rule with two conditions on
//! the same argument means either of them, as runc reads it. Names that an architecture lacks are skipped. Calls newer
//! than everything the profile names get `ENOSYS` instead of its `EPERM`, so that programs fall back.
//!
//! Not here: 32-bit ARM programs, which are killed; and who reads what `SCMP_ACT_NOTIFY` passes on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use teu_oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use teu_sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE, Instruction};

use super::numbers::{self, X32_BIT};

/// What a profile says that no filter can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An action by an unknown name, or one that is not supported.
    #[error("seccomp action \"{0}\" is not supported")]
    Action(String),
    /// A comparison by an unknown name.
    #[error("seccomp operator \"{0}\" is not supported")]
    Operator(String),
    /// An argument's index beyond 5.
    #[error("seccomp argument {0} does not exist, a system call has 6")]
    Argument(u32),
    /// An architecture by an unknown name.
    #[error("seccomp architecture \"{0}\" is unknown")]
    Architecture(String),
    /// A flag by an unknown name, or one that is not supported.
    #[error("seccomp flag \"{0}\" is not supported")]
    Flag(String),
    /// A program longer than the kernel takes.
    #[error("seccomp profile needs {0} instructions, the kernel takes 4096")]
    TooLong(usize),
}

// <linux/filter.h>: class | mode or operation | operand.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQ: u16 = 0x15;
pub(super) const JUMP_GT: u16 = 0x25;
pub(super) const JUMP_GE: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

// <linux/seccomp.h>: what a filter returns, and where its input has what.
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const MAX_INSTRUCTIONS: usize = 4096;

// <linux/audit.h>
const AUDIT_X86_64: u32 = 0xC000_003E;
const AUDIT_I386: u32 = 0x4000_0003;
const AUDIT_AARCH64: u32 = 0xC000_00B7;

/// One way of entering the kernel, with its own numbers.
struct Abi {
    /// As profiles call it.
    name: &'static str,
    /// As the kernel tells the filter.
    audit: u32,
    /// The tables it takes its numbers from; the first that has a name counts.
    tables: &'static [numbers::Table],
    /// Added to the tables' numbers: where its range begins.
    base: u32,
}

#[cfg(target_arch = "x86_64")]
const NATIVE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const NATIVE: &str = "SCMP_ARCH_AARCH64";

const ABIS: [Abi; 4] = [
    Abi { name: "SCMP_ARCH_X86_64", audit: AUDIT_X86_64, tables: &[numbers::X86_64], base: 0 },
    Abi { name: "SCMP_ARCH_X32", audit: AUDIT_X86_64, tables: &[numbers::X32, numbers::X86_64], base: X32_BIT },
    Abi { name: "SCMP_ARCH_X86", audit: AUDIT_I386, tables: &[numbers::I386], base: 0 },
    Abi { name: "SCMP_ARCH_AARCH64", audit: AUDIT_AARCH64, tables: &[numbers::AARCH64], base: 0 },
];

/// Compiles `profile` for this machine.
///
/// # Errors
/// When the profile asks for what a filter cannot do; see [`Error`].
pub fn compile(profile: &Seccomp) -> Result<Vec<Instruction>, Error> {
    let mut trees: Vec<(u32, Ranges<'_>)> = Vec::new();
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let rules = profile.syscalls.iter().map(Rule::of).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = profile.architectures.iter().find(|name| !ARCHITECTURES.contains(&name.as_str())) {
        return Err(Error::Architecture(name.clone()));
    }
    let wanted = |abi: &Abi| abi.name == NATIVE || profile.architectures.iter().any(|a| a == abi.name);
    let named = by_name(&rules);
    for abi in ABIS.iter().filter(|abi| wanted(abi)) {
        let ranges = ranges(abi, &named, default);
        match trees.iter_mut().find(|(audit, _)| *audit == abi.audit) {
            Some((_, lower)) => lower.extend(ranges),
            None => trees.push((abi.audit, ranges)),
        }
    }
    // Without x32's own ranges, its calls must not be judged by the numbers of others.
    for (audit, ranges) in &mut trees {
        if *audit == AUDIT_X86_64 && ranges.iter().all(|(first, _)| *first < X32_BIT) {
            ranges.push((X32_BIT, Outcome::Return(ERRNO | ENOSYS)));
        }
    }
    let mut program = Program::default();
    let mut next = program.give(KILL_PROCESS);
    for (audit, ranges) in trees.into_iter().rev() {
        let (native, x32) = ranges.split_at(ranges.partition_point(|(first, _)| *first < X32_BIT));
        let mut tree = program.tree(&stretches(native), default);
        if let Some((from, _)) = x32.first() {
            program.native = Some(tree);
            let upper = program.tree(&stretches(&beside(native, x32)), default);
            tree = program.branch(JUMP_GE, *from, upper, tree);
        }
        let tree = program.load(NR, tree);
        next = program.branch(JUMP_EQ, audit, tree, next);
    }
    program.load(ARCH, next);
    program.finish()
}

/// The flags to load the filter with.
///
/// # Errors
/// [`Error::Flag`] for a flag that is unknown or not supported.
pub fn flags(profile: &Seccomp) -> Result<u32, Error> {
    // A profile that says nothing leaves speculation alone, as other runtimes do; an empty list is a list.
    let Some(names) = &profile.flags else { return Ok(FLAG_SPEC_ALLOW) };
    let notifies = profile.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY");
    names.iter().try_fold(0, |flags, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | FLAG_LOG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | FLAG_SPEC_ALLOW),
        // Only one thread loads the filter, before the program is executed: there is nobody to synchronise.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
        // Only a filter with a listener can have it.
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Ok(if notifies { flags | FLAG_WAIT_KILLABLE } else { flags }),
        _ => Err(Error::Flag(name.clone())),
    })
}

/// Every architecture that profiles may name. Those that this machine cannot run need no rules.
pub const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// What is to happen from a number on, until the next range's first number.
type Ranges<'a> = Vec<(u32, Outcome<'a>)>;

#[derive(Debug, Clone, PartialEq)]
enum Outcome<'a> {
    Return(u32),
    /// The first alternative whose conditions all hold decides; else the default.
    Conditional(&'a [&'a Alternative<'a>]),
    /// What is said of the number without [`X32_BIT`].
    Native,
}

/// Conditions that must all hold, and then the action.
#[derive(Debug, PartialEq)]
struct Alternative<'a> {
    conditions: Vec<Condition<'a>>,
    action: u32,
}

#[derive(Debug, PartialEq)]
struct Condition<'a> {
    operator: Operator,
    arg: &'a SyscallArg,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    MaskedEqual,
}

/// A rule of the profile, read.
struct Rule<'a> {
    names: &'a [String],
    alternatives: Vec<Alternative<'a>>,
}

impl<'a> Rule<'a> {
    fn of(rule: &'a SyscallRule) -> Result<Rule<'a>, Error> {
        let action = action(&rule.action, rule.errno_ret)?;
        let mut conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        let twice = |arg: &SyscallArg| rule.args.iter().filter(|other| other.index == arg.index).count() > 1;
        let alternatives = if rule.args.iter().any(twice) {
            conditions.drain(..).map(|condition| Alternative { conditions: vec![condition], action }).collect()
        } else {
            vec![Alternative { conditions, action }]
        };
        Ok(Rule { names: &rule.names, alternatives })
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, Error> {
    let data = errno.unwrap_or(EPERM) & 0xffff;
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_ERRNO" => ERRNO | data,
        "SCMP_ACT_TRACE" => TRACE | data,
        "SCMP_ACT_NOTIFY" => NOTIFY,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_ALLOW" => ALLOW,
        _ => return Err(Error::Action(name.to_owned())),
    })
}

fn condition(arg: &SyscallArg) -> Result<Condition<'_>, Error> {
    if arg.index > 5 {
        return Err(Error::Argument(arg.index));
    }
    let operator = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Operator::Equal,
        "SCMP_CMP_NE" => Operator::NotEqual,
        "SCMP_CMP_LT" => Operator::Less,
        "SCMP_CMP_LE" => Operator::LessOrEqual,
        "SCMP_CMP_GT" => Operator::Greater,
        "SCMP_CMP_GE" => Operator::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
        _ => return Err(Error::Operator(arg.op.clone())),
    };
    Ok(Condition { operator, arg })
}

/// What the rules say of each name, in their order.
type Named<'a> = HashMap<&'a str, Vec<&'a Alternative<'a>>>;

fn by_name<'a>(rules: &'a [Rule<'a>]) -> Named<'a> {
    let mut named = Named::with_capacity(512);
    for rule in rules {
        for name in rule.names {
            named.entry(name.as_str()).or_default().extend(&rule.alternatives);
        }
    }
    named
}

/// The numbers of one ABI of which the rules say something, in order, and what.
fn numbered<'a>(abi: &Abi, named: &'a Named<'a>) -> Vec<(u32, &'a [&'a Alternative<'a>])> {
    let mut numbered = Vec::with_capacity(512);
    let mut earlier = HashSet::new();
    for (place, table) in abi.tables.iter().enumerate() {
        let said = numbers::entries(table).filter(|(_, name)| !earlier.contains(name));
        let said = said.filter_map(|(number, name)| Some((abi.base + number, named.get(name)?.as_slice())));
        numbered.extend(said);
        if place + 1 < abi.tables.len() {
            earlier.extend(numbers::entries(table).map(|(_, name)| name));
        }
    }
    numbered.sort_by_key(|(number, _)| *number);
    numbered
}

/// The outcomes of one ABI's numbers, from its first to the end of the number space.
fn ranges<'a>(abi: &Abi, named: &'a Named<'a>, default: u32) -> Ranges<'a> {
    let mut ranges = vec![(abi.base, Outcome::Return(default))];
    let mut end = abi.base;
    for (number, alternatives) in numbered(abi, named) {
        let outcome = match alternatives {
            [first, ..] if first.conditions.is_empty() => Outcome::Return(first.action),
            _ => Outcome::Conditional(alternatives),
        };
        if number > end {
            ranges.push((end, Outcome::Return(default)));
        }
        ranges.push((number, outcome));
        end = number + 1;
    }
    let denies = default & 0xffff_0000 == ERRNO;
    ranges.push((end, Outcome::Return(if denies { ERRNO | ENOSYS } else { default })));
    // Only the last of several ranges that begin at the same number is not empty.
    ranges.reverse();
    ranges.dedup_by_key(|(first, _)| *first);
    ranges.reverse();
    ranges.dedup_by(|later, earlier| later.1 == earlier.1);
    ranges
}

/// The ranges of x32 in terms of those of 64-bit x86: most of its calls are the same.
fn beside<'a>(native: &[(u32, Outcome<'a>)], x32: &[(u32, Outcome<'a>)]) -> Ranges<'a> {
    fn at<'r, 'a>(ranges: &'r [(u32, Outcome<'a>)], number: u32) -> Option<&'r Outcome<'a>> {
        ranges[..ranges.partition_point(|(first, _)| *first <= number)].last().map(|(_, outcome)| outcome)
    }
    if x32.len() == 1 {
        return x32.to_vec();
    }
    let firsts = x32.iter().chain(native).map(|(first, _)| first | X32_BIT).collect::<BTreeSet<_>>();
    let outcome = |first: &u32| match at(x32, *first)? {
        own if at(native, first & !X32_BIT) == Some(own) => Some((*first, Outcome::Native)),
        own => Some((*first, own.clone())),
    };
    let mut ranges = firsts.iter().filter_map(outcome).collect::<Ranges<'a>>();
    ranges.dedup_by(|later, earlier| later.1 == earlier.1);
    ranges
}

/// How many exceptions a stretch has at most: they are compared one after the other.
const EXCEPTIONS: usize = 4;

/// A range, and the single numbers in it of which something else is said.
struct Stretch<'r, 'a> {
    first: u32,
    outcome: &'r Outcome<'a>,
    exceptions: &'r [(u32, Outcome<'a>)],
}

/// Joins ranges of the same outcome that only single numbers are between. Of its exceptions a stretch has those ranges too
/// that go on after one.
fn stretches<'r, 'a>(ranges: &'r [(u32, Outcome<'a>)]) -> Vec<Stretch<'r, 'a>> {
    let single = |place: usize| ranges.get(place + 1).is_some_and(|(next, _)| *next == ranges[place].0 + 1);
    let mut stretches = Vec::with_capacity(ranges.len());
    let mut place = 0;
    while let Some((first, outcome)) = ranges.get(place) {
        let (mut end, mut exceptions) = (place, 0);
        // To where the outcome comes back, as long as there are single numbers only until then.
        while let Some(back) = (end + 1..ranges.len()).find(|later| !single(*later) || ranges[*later].1 == *outcome)
            && ranges[back].1 == *outcome
            && exceptions + (back - end - 1) <= EXCEPTIONS
        {
            exceptions += back - end - 1;
            end = back;
        }
        stretches.push(Stretch { first: *first, outcome, exceptions: &ranges[place + 1..=end] });
        place = end + 1;
    }
    stretches
}

/// An instruction that exists already: its place counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place(usize);

/// A program, last instruction first.
#[derive(Default)]
struct Program {
    reversed: Vec<Instruction>,
    returns: BTreeMap<u32, Place>,
    /// Where the calls of 64-bit x86 are decided.
    native: Option<Place>,
    /// Where those of x32 that are the same are.
    shared: Option<Place>,
}

impl Program {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Place {
        self.reversed.push(Instruction { code, jt, jf, k });
        Place(self.reversed.len() - 1)
    }

    /// How many instructions the next one would have to skip to go on at `place`.
    fn distance(&self, place: Place) -> usize {
        self.reversed.len() - 1 - place.0
    }

    /// A place that a conditional jump can still reach after one more instruction: `place`, or a jump to it.
    fn near(&mut self, place: Place) -> Place {
        match self.distance(place) {
            0..=253 => place,
            far => self.push(JUMP, 0, 0, u32::try_from(far).unwrap_or(u32::MAX)),
        }
    }

    fn branch(&mut self, comparison: u16, k: u32, yes: Place, no: Place) -> Place {
        let yes = self.near(yes);
        let no = self.near(no);
        let [jt, jf] = [yes, no].map(|place| u8::try_from(self.distance(place)).unwrap_or(u8::MAX));
        self.push(comparison, jt, jf, k)
    }

    /// Loads a word of the input and goes on at `then`.
    fn load(&mut self, offset: u32, then: Place) -> Place {
        self.go(then);
        self.push(LOAD, 0, 0, offset)
    }

    /// Makes `place` what follows the next instruction.
    fn go(&mut self, place: Place) {
        match self.distance(place) {
            0 => {}
            far => {
                self.push(JUMP, 0, 0, u32::try_from(far).unwrap_or(u32::MAX));
            }
        }
    }

    /// The return of `action`: one within reach, or a new one.
    fn give(&mut self, action: u32) -> Place {
        match self.returns.get(&action) {
            Some(&place) if self.distance(place) < 200 => place,
            _ => {
                let place = self.push(RETURN, 0, 0, action);
                self.returns.insert(action, place);
                place
            }
        }
    }

    fn tree(&mut self, stretches: &[Stretch<'_, '_>], default: u32) -> Place {
        match stretches {
            [] => self.give(default),
            [Stretch { outcome, exceptions, .. }] => {
                let mut next = self.outcome(outcome, default);
                for (number, exception) in exceptions.iter().rev().filter(|(_, exception)| exception != *outcome) {
                    let then = self.outcome(exception, default);
                    next = self.branch(JUMP_EQ, *number, then, next);
                }
                next
            }
            _ => {
                let (left, right) = stretches.split_at(stretches.len() / 2);
                let from = right[0].first;
                let right = self.tree(right, default);
                let left = self.tree(left, default);
                self.branch(JUMP_GE, from, right, left)
            }
        }
    }

    fn outcome(&mut self, outcome: &Outcome<'_>, default: u32) -> Place {
        match outcome {
            Outcome::Return(action) => self.give(*action),
            Outcome::Native => self.shared(),
            Outcome::Conditional(alternatives) => {
                let mut next = self.give(default);
                for alternative in alternatives.iter().rev() {
                    next = self.alternative(alternative, next);
                }
                next
            }
        }
    }

    /// Goes on with the number of 64-bit x86.
    fn shared(&mut self) -> Place {
        match (self.shared, self.native) {
            (Some(place), _) => place,
            (None, Some(tree)) => {
                self.go(tree);
                let place = self.push(AND, 0, 0, !X32_BIT);
                *self.shared.insert(place)
            }
            (None, None) => self.give(KILL_PROCESS),
        }
    }

    fn alternative(&mut self, alternative: &Alternative<'_>, otherwise: Place) -> Place {
        let mut then = self.give(alternative.action);
        for condition in alternative.conditions.iter().rev() {
            then = self.condition(condition, then, otherwise);
        }
        then
    }

    /// Compares a 64-bit argument by its two halves; both known architectures have the low one first.
    fn condition(&mut self, condition: &Condition<'_>, yes: Place, no: Place) -> Place {
        let SyscallArg { index, value, value_two, .. } = *condition.arg;
        let low = ARGS + 8 * index;
        let high = low + 4;
        let [value_high, value_low] = halves(value);
        match condition.operator {
            Operator::Equal => self.both_equal([high, low], [value_high, value_low], [u32::MAX; 2], yes, no),
            Operator::NotEqual => self.both_equal([high, low], [value_high, value_low], [u32::MAX; 2], no, yes),
            Operator::MaskedEqual => self.both_equal([high, low], halves(value_two), halves(value), yes, no),
            Operator::Greater => self.ordered(JUMP_GT, [high, low], [value_high, value_low], yes, no),
            Operator::GreaterOrEqual => self.ordered(JUMP_GE, [high, low], [value_high, value_low], yes, no),
            Operator::LessOrEqual => self.ordered(JUMP_GT, [high, low], [value_high, value_low], no, yes),
            Operator::Less => self.ordered(JUMP_GE, [high, low], [value_high, value_low], no, yes),
        }
    }

    /// Each half, masked, equals its value. A half that the mask takes away whole is not looked at.
    fn both_equal(&mut self, offsets: [u32; 2], values: [u32; 2], masks: [u32; 2], yes: Place, no: Place) -> Place {
        let mut then = yes;
        for half in [1, 0] {
            if masks[half] == 0 && values[half] == 0 {
                continue;
            }
            then = self.branch(JUMP_EQ, values[half], then, no);
            if masks[half] != u32::MAX {
                then = self.push(AND, 0, 0, masks[half]);
            }
            then = self.load(offsets[half], then);
        }
        then
    }

    /// The high half decides unless it is equal; then the low half does, by `comparison`.
    fn ordered(&mut self, comparison: u16, offsets: [u32; 2], values: [u32; 2], yes: Place, no: Place) -> Place {
        let low = self.branch(comparison, values[1], yes, no);
        let low = self.load(offsets[1], low);
        let equal = self.branch(JUMP_EQ, values[0], low, no);
        let greater = self.branch(JUMP_GT, values[0], yes, equal);
        self.load(offsets[0], greater)
    }

    fn finish(self) -> Result<Vec<Instruction>, Error> {
        let mut instructions = self.reversed;
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(Error::TooLong(instructions.len()));
        }
        instructions.reverse();
        Ok(instructions)
    }
}

/// The high and the low half.
fn halves(value: u64) -> [u32; 2] {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    [u32::try_from(value >> 32).unwrap_or(u32::MAX), low]
}
