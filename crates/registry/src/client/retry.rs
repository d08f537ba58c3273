//! When to try again.
//!
//! Only what may pass by itself is tried again: a broken or silent connection, 408, 429 and 5xx. Each attempt waits twice
//! as long as the one before, or as long as the registry says; an attempt that moved bytes starts the count afresh, so a
//! long download over a bad line ends only when nothing moves at all.

use std::time::Duration;

use super::Error;

/// The longest that a registry may make us wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often and how soon to try again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How many attempts that moved nothing, in all.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first: Duration,
    /// How long a peer may be silent in the middle of something.
    pub stall: Duration,
    /// How long a connection may take to stand.
    pub connect: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(500),
            stall: Duration::from_secs(30),
            connect: Duration::from_secs(15),
        }
    }
}

/// The attempts at one thing.
pub(super) struct Attempts {
    policy: Retry,
    failed: u32,
}

impl Attempts {
    pub(super) fn new(policy: Retry) -> Self {
        Self { policy, failed: 0 }
    }

    /// Bytes moved: what failed before no longer counts.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits until it is time for another attempt, or gives `error` back when there is none.
    pub(super) async fn after(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= self.policy.attempts {
            return Err(error);
        }
        let wait = error.retry_after().unwrap_or_else(|| self.policy.first * 2_u32.pow((self.failed - 1).min(6)));
        tracing::debug!(%error, attempt = self.failed, "trying again");
        tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled() -> Error {
        Error::Stalled { what: "x".into(), after: Duration::ZERO }
    }

    #[tokio::test]
    async fn attempts_end_unless_something_moves() {
        let policy = Retry { attempts: 2, first: Duration::ZERO, ..Retry::default() };
        let mut attempts = Attempts::new(policy);
        assert!(attempts.after(stalled()).await.is_ok());
        attempts.progressed();
        assert!(attempts.after(stalled()).await.is_ok());
        assert!(attempts.after(stalled()).await.is_err());
    }

    #[tokio::test]
    async fn what_will_not_pass_is_not_tried_again() {
        let mut attempts = Attempts::new(Retry::default());
        assert!(attempts.after(Error::invalid("x", "y")).await.is_err());
    }
}
