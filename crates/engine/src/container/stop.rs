//! `stop`, `restart` and `kill`: signals, and patience.

use std::time::Duration;

use jiff::Timestamp;
use teu_supervisor::protocol::{Event, Request};

use super::{Condition, Container, Phase, Record, driver};
use crate::error::{Error, Kind, Result};
use crate::rescue;
use crate::task::{Task, done};

/// How long `stop` waits before it kills, unless the container says otherwise.
const STOP_SECONDS: i64 = 10;
/// How long after its start a program may take until it hears signals.
const YOUNG: Duration = Duration::from_secs(2);

impl Container {
    /// Asks it to end, and kills it after `seconds` (its own stop timeout by default, without bound if negative).
    ///
    /// # Errors
    /// [`Kind::NotModified`] when it does not run.
    pub async fn stop(&self, signal: Option<&str>, seconds: Option<i64>) -> Result<()> {
        self.end(signal, seconds, false).await
    }

    async fn end(&self, signal: Option<&str>, seconds: Option<i64>, restart: bool) -> Result<()> {
        let record = self.record();
        let asked = signal.filter(|signal| !signal.is_empty()).unwrap_or(&record.config.stop_signal);
        let signal = crate::signals::parse(if asked.is_empty() { "SIGTERM" } else { asked })
            .ok_or_else(|| Error::bad(format!("Invalid signal: {asked}")))?;
        let seconds = seconds.or(record.config.stop_timeout).unwrap_or(STOP_SECONDS);
        let ended = self.wait(Condition::NotRunning);
        if let Err(error) = self.command(|reply| driver::Command::StopAsked { restart, reply }).await {
            let idle = error.kind == Kind::Conflict;
            return Err(if idle { Error::new(Kind::NotModified, "container is not running") } else { error });
        }
        self.emit_kill(signal);
        let patience = u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs);
        tokio::pin!(ended);
        let heard = async {
            self.signal(signal).await?;
            if record.state.phase == Phase::Paused {
                // What is frozen hears no signal.
                let _ = self.unpause().await;
            }
            tokio::select! {
                _ = &mut ended => {}
                () = self.insist(&record, signal) => {}
            }
            Ok::<_, Error>(())
        };
        match tokio::time::timeout(patience, heard).await {
            Ok(heard) => heard?,
            Err(_) => {
                self.emit_kill(crate::signals::KILL);
                self.signal(crate::signals::KILL).await?;
                ended.await?;
            }
        }
        self.shared.context.emit_container("stop", &record, &[]);
        Ok(())
    }

    /// Stops it if it runs, and starts it.
    ///
    /// # Errors
    /// As for [`Container::stop`] and [`Container::start`].
    pub async fn restart(&self, signal: Option<&str>, seconds: Option<i64>) -> Result<()> {
        match self.end(signal, seconds, true).await {
            Err(error) if error.kind != Kind::NotModified => return Err(error),
            _ => {}
        }
        self.start().await?;
        self.shared.context.emit_container("restart", &self.record(), &[]);
        Ok(())
    }

    /// Sends a signal, by name or number.
    ///
    /// # Errors
    /// When it does not run, or there is no such signal.
    pub async fn kill(&self, signal: &str) -> Result<()> {
        let number = crate::signals::parse(if signal.is_empty() { "SIGKILL" } else { signal })
            .ok_or_else(|| Error::bad(format!("Invalid signal: {signal}")))?;
        let record = self.record();
        if !matches!(record.state.phase, Phase::Running | Phase::Paused) {
            let id = self.id();
            return Err(Error::conflict(format!(
                "cannot kill container: {}: container {id} is not running",
                record.name
            )));
        }
        if number == crate::signals::KILL || crate::signals::parse(&record.config.stop_signal) == Some(number) {
            // The restart policy leaves alone what the user ended.
            let _ = self.command(|reply| driver::Command::StopAsked { restart: false, reply }).await;
        }
        self.signal(number).await?;
        self.emit_kill(number);
        let container = self.clone();
        if is_young(&record) {
            tokio::spawn(async move { tokio::time::timeout(YOUNG, container.insist(&record, number)).await });
        }
        if number == crate::signals::KILL {
            self.wait(Condition::NotRunning).await?;
        }
        Ok(())
    }

    pub(super) async fn signal(&self, signal: i32) -> Result<()> {
        match self.task() {
            Ok(task) => match self.tell(&task, signal).await {
                // A supervisor goes when its container has ended, whether the driver has heard of that yet or not.
                Err(_) => Ok(()),
                Ok(answer) => match done(answer) {
                    // It ended by itself in this very moment.
                    Err(_) if !matches!(self.record().state.phase, Phase::Running | Phase::Paused) => Ok(()),
                    other => other,
                },
            },
            Err(_) => Ok(()),
        }
    }

    /// Has the supervisor send a signal. What is to be killed does not wait for one that is busy.
    async fn tell(&self, task: &Task, signal: i32) -> Result<Event> {
        let request = Request::Signal { exec: None, signal, all: false };
        let mut answer = std::pin::pin!(task.request(&request));
        if signal == crate::signals::KILL {
            if let Ok(answer) = tokio::time::timeout(rescue::PATIENCE, &mut answer).await {
                return answer;
            }
            tokio::task::block_in_place(|| self.end_without_supervisor());
        }
        answer.await
    }

    /// Kills whatever is in its cgroup. Its supervisor tells of the end as of any other.
    fn end_without_supervisor(&self) {
        let container = self.id();
        tracing::warn!(container, "the supervisor does not answer: all that is in the container's cgroup is killed");
        let killed =
            self.cgroup().and_then(|cgroup| cgroup.kill().map_err(|e| Error::io("kill", container.as_ref(), e)));
        if let Err(error) = killed {
            tracing::warn!(%error, container, "kill what is in a container's cgroup");
        }
    }

    /// The kernel keeps from a first process the signals that it does not catch (pid_namespaces(7)); one that is asked to
    /// end before it has got so far would never hear of it. It is told as soon as it can be. Does not return.
    async fn insist(&self, record: &Record, signal: i32) {
        if matches!(record.host.pid_mode.as_str(), "" | "private")
            && crate::signals::is_lost_on(record.state.pid, signal)
        {
            let mut pause = Duration::from_millis(2);
            while crate::signals::is_lost_on(record.state.pid, signal) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            let _ = self.signal(signal).await;
        }
        std::future::pending::<()>().await;
    }

    fn emit_kill(&self, signal: i32) {
        self.shared.context.emit_container("kill", &self.record(), &[("signal", signal.to_string())]);
    }
}

fn is_young(record: &Record) -> bool {
    let started = record.state.started_at.parse::<Timestamp>();
    started.is_ok_and(|started| Timestamp::now().duration_since(started).as_secs_f64() < YOUNG.as_secs_f64())
}
