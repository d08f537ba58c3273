//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::{Failure, Naming};

/// Asks whether to go on; only `y` and `yes` mean so. A script says `--force`.
pub(super) fn confirm(warning: &str) -> Result<bool, Failure> {
    print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).or_fail("read the answer")?;
    if !io::stdin().is_terminal() {
        print("\n")?;
    }
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_fail("write standard output")
}
