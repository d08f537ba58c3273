//! `teu doctor`: is this machine fit for containers, and what mends it where it is not?
//!
//! Each check is a pure function of what was read (a text, a number), so that it is tested on the texts of machines that
//! are not at hand. Nothing is changed.

mod daemon;
mod firewall;
mod kernel;
mod names;
mod storage;
mod users;

use serde_json::{Value, json};

use crate::Session;
use crate::failure::Failure;
use crate::output::colour::{self, Look, paint};
use crate::output::print;
use crate::table::Verb;

/// Looks at this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Format: 'text' or 'json'
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// As it should be.
    Good,
    /// Works, but not everything or not for long.
    Warning,
    /// Containers do not work like this.
    Bad,
}

/// What one look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    area: &'static str,
    state: State,
    told: String,
    mend: Option<String>,
}

impl Finding {
    fn new(area: &'static str, state: State, told: impl Into<String>) -> Self {
        Self { area, state, told: told.into(), mend: None }
    }

    fn good(area: &'static str, told: impl Into<String>) -> Self {
        Self::new(area, State::Good, told)
    }

    fn warning(area: &'static str, told: impl Into<String>) -> Self {
        Self::new(area, State::Warning, told)
    }

    fn bad(area: &'static str, told: impl Into<String>) -> Self {
        Self::new(area, State::Bad, told)
    }

    /// The command that mends it.
    fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }
}

impl Verb for Doctor {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Look at this machine, and say what is missing and what mends it";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut findings = kernel::look();
        findings.extend(storage::look());
        findings.extend(firewall::look());
        findings.extend(users::look());
        findings.extend(names::look());
        findings.extend(daemon::look(session).await);
        let well = findings.iter().all(|finding| finding.state != State::Bad);
        match self.format.as_str() {
            "json" => print(&format!("{}\n", report(&findings, well)))?,
            _ => print(&page(&findings, colour::on_stdout()))?,
        }
        Ok(u8::from(!well))
    }
}

fn report(findings: &[Finding], well: bool) -> Value {
    let one = |finding: &Finding| {
        let state = match finding.state {
            State::Good => "good",
            State::Warning => "warning",
            State::Bad => "bad",
        };
        json!({"Area": finding.area, "State": state, "Message": finding.told, "Mend": finding.mend})
    };
    json!({"Healthy": well, "Findings": findings.iter().map(one).collect::<Vec<_>>()})
}

fn page(findings: &[Finding], colours: bool) -> String {
    let mut text = String::new();
    let mut area = "";
    for finding in findings {
        if finding.area != area {
            area = finding.area;
            text.push_str(&format!("{}\n", paint(area, Look::Title, colours)));
        }
        let (sign, look) = match finding.state {
            State::Good => ("ok  ", Look::Good),
            State::Warning => ("warn", Look::Warning),
            State::Bad => ("FAIL", Look::Bad),
        };
        text.push_str(&format!("  {}  {}\n", paint(sign, look, colours), finding.told));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("        {} {mend}\n", paint("mend:", Look::Faint, colours)));
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    text.push_str(&match (count(State::Bad), count(State::Warning)) {
        (0, 0) => "\nAll is well.\n".to_owned(),
        (0, warnings) => format!(
            "\nContainers work here; {warnings} {} worth a look.\n",
            if warnings == 1 { "thing is" } else { "things are" }
        ),
        (bad, _) => format!("\n{bad} {} to be mended.\n", if bad == 1 { "thing has" } else { "things have" }),
    });
    text
}

/// A file's text; empty when it cannot be read.
fn text(path: &str) -> String {
    teu_sys::text::read(path).unwrap_or_default()
}

/// What a program prints; `None` when it is not installed or fails.
fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(words).stdin(std::process::Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_told_with_what_mends_it() {
        let findings = [
            Finding::good("Kernel", "Linux 6.1"),
            Finding::bad("Kernel", "overlayfs is missing").mend("modprobe overlay"),
            Finding::warning("Names", "x"),
        ];
        let text = page(&findings, false);
        assert_eq!(
            text,
            "Kernel\n  ok    Linux 6.1\n  FAIL  overlayfs is missing\n        mend: modprobe overlay\n\
             Names\n  warn  x\n\n1 thing has to be mended.\n"
        );
        let report = report(&findings, false);
        assert_eq!((&report["Healthy"], &report["Findings"][1]["Mend"]), (&json!(false), &json!("modprobe overlay")));
        assert!(page(&findings[..1], false).ends_with("All is well.\n"));
    }
}
