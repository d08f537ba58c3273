//! What procfs tells of a process, which names itself as it likes: not in UTF-8 because somebody expects it.

use std::io;
use std::str::FromStr;

use crate::text;

/// A line of proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    text: String,
    /// Where the name ends, which may hold anything, also a parenthesis.
    end: usize,
}

impl Stat {
    /// That of a process.
    ///
    /// # Errors
    /// As open(2) and read(2); `ESRCH` for one that ends.
    pub fn of(pid: i32) -> io::Result<Stat> {
        Stat::parse(text::read(format!("/proc/{pid}/stat"))?).ok_or_else(|| rustix::io::Errno::IO.into())
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: String) -> Option<Stat> {
        text.rfind(") ").map(|end| Stat { text, end })
    }

    /// The second field: the name of the program's file, or what the process calls itself, without its parentheses.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text[..self.end].split_once('(').map_or("", |(_, name)| name)
    }

    /// The field of this number in the man page, from 3 on; empty if the kernel has none.
    #[must_use]
    pub fn field(&self, number: usize) -> &str {
        let rest = self.text[self.end + 1..].trim();
        number.checked_sub(3).and_then(|place| rest.split(' ').nth(place)).unwrap_or_default()
    }

    /// The same as a number, if it is one.
    #[must_use]
    pub fn number<T: FromStr>(&self, number: usize) -> Option<T> {
        self.field(number).parse().ok()
    }

    /// Field 3: `R` for running, `T` for stopped, `Z` for ended and not waited for, …
    #[must_use]
    pub fn state(&self) -> char {
        self.field(3).chars().next().unwrap_or('X')
    }

    /// Whether it has ended, and is only there to be waited for.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state(), 'Z' | 'X' | 'x')
    }

    /// Field 22, when it was started: after the machine, in units of 1/100 s (`USER_HZ`).
    #[must_use]
    pub fn started(&self) -> Option<u64> {
        self.number(22)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_anything() {
        let stat = Stat::parse("9 (a) Z b) T 7 9 9 0 -1 4194368 69".into()).expect("fields");
        assert_eq!((stat.name(), stat.state(), stat.number::<i32>(4)), ("a) Z b", 'T', Some(7)));
        assert_eq!((stat.field(10), stat.field(11), stat.field(1)), ("69", "", ""));
        assert!(!stat.has_ended() && stat.started().is_none());
        assert!(Stat::parse("9 (sh".into()).is_none());
        let own = i32::try_from(std::process::id()).expect("a number");
        assert!(Stat::of(own).expect("ourselves").started().is_some());
        assert!(Stat::of(-1).is_err());
    }

    #[test]
    fn a_name_that_is_no_text_hides_nothing() {
        let look = || {
            std::fs::write("/proc/thread-self/comm", b"\xff) Z").expect("renamed");
            Stat::of(rustix::thread::gettid().as_raw_nonzero().get()).expect("ourselves")
        };
        let stat = std::thread::spawn(look).join().expect("a thread");
        assert_eq!((stat.name(), stat.state()), ("\u{fffd}) Z", 'R'));
    }
}
