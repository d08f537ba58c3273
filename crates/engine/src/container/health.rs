//! Health: a command run inside the container every so often, and what its results mean.
//!
//! ```text
//! Starting ── success ──▶ Healthy ◀── success ── Unhealthy
//!     └─ so many failures in a row, those of the start period not counted ─▶ ┘
//! ```
//!
//! [`judge`] is pure and part of the lifecycle; [`watch`] is the task beside a running container that runs the checks and
//! tells the driver what came of them. A check is an exec like any other.

use std::time::Duration;

use jiff::Timestamp;
use teu_api::container::{Config, Health, HealthResult};
use teu_api::exec::ExecCreate;
use teu_api::stream::Decoder;
use teu_oci::Healthcheck;
use tokio::io::AsyncReadExt;

use super::{Container, Containers, Exec, driver};
use crate::error::{Error, Result};

/// The states, in Docker's words.
pub(crate) const STARTING: &str = "starting";
pub(crate) const HEALTHY: &str = "healthy";
pub(crate) const UNHEALTHY: &str = "unhealthy";

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
/// The shortest time that a setting may name.
const SHORTEST: i64 = 1_000_000;
/// How many results are kept, and how much of the output of each.
const KEPT: usize = 5;
const LONGEST_OUTPUT: usize = 4096;
/// How long a check that was killed may take to end.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// What happens to a container that has become unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing but the event.
    #[default]
    None,
    /// It is stopped and started.
    Restart,
    /// It is stopped.
    Stop,
    /// It is killed.
    Kill,
}

impl OnFailure {
    /// The value of `HealthOnFailure`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "none" => Some(Self::None),
            "restart" => Some(Self::Restart),
            "stop" => Some(Self::Stop),
            "kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// Whether a check's settings make sense, in Docker's words.
pub(super) fn check(health: Option<&Healthcheck>) -> Result<()> {
    let Some(health) = health else { return Ok(()) };
    let times = [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ];
    if let Some((name, _)) = times.iter().find(|(_, time)| *time != 0 && *time < SHORTEST) {
        return Err(Error::bad(format!("{name} in Healthcheck cannot be less than 1ms")));
    }
    if health.retries < 0 {
        return Err(Error::bad("Retries in Healthcheck cannot be negative"));
    }
    match health.test.first().map(String::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => Err(Error::bad(format!("Unknown healthcheck type '{other}' (expected 'CMD')"))),
    }
}

/// The image's check where the user's says nothing, setting by setting.
pub(super) fn merge(wanted: &mut Option<Healthcheck>, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    let Some(own) = wanted else {
        *wanted = Some(image.clone());
        return;
    };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// The command line of the check, if there is one.
pub(super) fn command(config: &Config) -> Option<Vec<String>> {
    let (kind, words) = config.healthcheck.as_ref()?.test.split_first()?;
    match kind.as_str() {
        "CMD" if !words.is_empty() => Some(words.to_vec()),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let mut line = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
            line.extend_from_slice(words);
            Some(line)
        }
        _ => None,
    }
}

/// How many failures in a row make a container unhealthy.
pub(super) fn retries(config: &Config) -> i64 {
    config.healthcheck.as_ref().map(|check| check.retries).filter(|retries| *retries > 0).unwrap_or(RETRIES)
}

/// Health of a container that has just been started.
pub(super) fn begun(before: Option<Health>) -> Health {
    Health { status: STARTING.into(), failing_streak: 0, ..before.unwrap_or_default() }
}

/// Takes a result in. `young` says that the check began within the start period. Says whether the status has changed.
pub(super) fn judge(health: &mut Health, result: HealthResult, retries: i64, young: bool) -> bool {
    let before = health.status.clone();
    if result.exit_code == 0 {
        health.failing_streak = 0;
        health.status = HEALTHY.into();
    } else if !(young && health.status == STARTING) {
        health.failing_streak += 1;
        if health.failing_streak >= retries {
            health.status = UNHEALTHY.into();
        }
    }
    health.log.push(result);
    let surplus = health.log.len().saturating_sub(KEPT);
    health.log.drain(..surplus);
    health.status != before
}

/// Whether the container was still in its start period at that moment.
pub(super) fn is_young(config: &Config, started_at: &str, moment: &str) -> bool {
    let period = config.healthcheck.as_ref().map_or(0, |check| check.start_period);
    match (started_at.parse::<Timestamp>(), moment.parse::<Timestamp>()) {
        (Ok(started), Ok(moment)) => moment.duration_since(started).as_nanos() < i128::from(period),
        _ => false,
    }
}

fn duration(nanoseconds: i64, default: Duration) -> Duration {
    u64::try_from(nanoseconds).ok().filter(|number| *number > 0).map_or(default, Duration::from_nanos)
}

/// Checks for as long as it is not dropped.
pub(super) async fn watch(containers: Containers, container: Container) {
    loop {
        tokio::time::sleep(interval(&container)).await;
        let start = Timestamp::now().to_string();
        let (exit_code, output) = match probe(&containers, &container).await {
            Ok((code, output)) => (i64::from(code), output),
            Err(error) => (-1, error.message),
        };
        let result = HealthResult { start, end: Timestamp::now().to_string(), exit_code, output };
        if container.shared.commands.send(driver::Command::Probed(result)).is_err() {
            return;
        }
    }
}

fn interval(container: &Container) -> Duration {
    let record = container.record();
    let check = record.config.healthcheck.clone().unwrap_or_default();
    let starting = record.state.health.as_ref().is_some_and(|health| health.status == STARTING);
    if starting && is_young(&record.config, &record.state.started_at, &Timestamp::now().to_string()) {
        return duration(check.start_interval, START_INTERVAL);
    }
    duration(check.interval, INTERVAL)
}

/// Runs the check once.
async fn probe(containers: &Containers, container: &Container) -> Result<(i32, String)> {
    let record = container.record();
    let cmd = command(&record.config).ok_or_else(|| Error::internal("the container has no health check"))?;
    let request = ExecCreate { cmd, attach_stdout: true, attach_stderr: true, ..ExecCreate::default() };
    let exec = containers.exec(&containers.exec_create(container, request)?)?;
    let patience = duration(record.config.healthcheck.as_ref().map_or(0, |check| check.timeout), TIMEOUT);
    let mut output = Output::default();
    let attachment = exec.start(false, None).await?;
    let finished = async {
        let Some(attachment) = attachment else { return };
        if let Some(Ok(mut stream)) = match attachment.stream {
            Some(stream) => Some(stream.await),
            None => None,
        } {
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                output.take(&buffer[..length]);
            }
        }
        if let Some(ended) = attachment.ended {
            ended.wait().await;
        }
    };
    if tokio::time::timeout(patience, finished).await.is_err() {
        end(&exec).await;
        let text = output.text();
        let colon = if text.is_empty() { "" } else { ": " };
        return Ok((-1, format!("Health check exceeded timeout ({}){colon}{text}", in_go(patience))));
    }
    let code = exec.exit_code().ok_or_else(|| Error::internal("the health check has no exit code"))?;
    Ok((code, output.text()))
}

async fn end(exec: &Exec) {
    if exec.kill().await.is_ok() {
        let ended = async {
            while exec.exit_code().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_BREATH, ended).await;
    }
}

/// What a check has written, no more than is kept.
#[derive(Default)]
struct Output {
    decoder: Decoder,
    bytes: Vec<u8>,
    cut: bool,
}

impl Output {
    fn take(&mut self, frames: &[u8]) {
        let (bytes, cut) = (&mut self.bytes, &mut self.cut);
        let _ = self.decoder.feed(frames, |_, piece| {
            let room = LONGEST_OUTPUT - bytes.len();
            *cut |= piece.len() > room;
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        });
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.cut { text + "..." } else { text }
    }
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `50ms`.
fn in_go(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 {
        return format!("{millis}ms");
    }
    let fraction = format!("{}", f64::from(millis) / 1000.0);
    let fraction = fraction.strip_prefix('0').unwrap_or_default();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}{fraction}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i64) -> HealthResult {
        HealthResult { exit_code, ..HealthResult::default() }
    }

    #[test]
    fn so_many_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() {
        let mut health = begun(None);
        assert!(!judge(&mut health, result(1), 2, false));
        assert!(judge(&mut health, result(1), 2, false));
        assert_eq!((health.status.as_str(), health.failing_streak), (UNHEALTHY, 2));
        assert!(judge(&mut health, result(0), 2, false));
        assert_eq!((health.status.as_str(), health.failing_streak), (HEALTHY, 0));
        for _ in 0..9 {
            judge(&mut health, result(0), 2, false);
        }
        assert_eq!(health.log.len(), KEPT);
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_until_it_was_healthy_once() {
        let mut health = begun(None);
        assert!(!judge(&mut health, result(1), 1, true));
        assert_eq!(health.failing_streak, 0);
        assert!(judge(&mut health, result(0), 1, true));
        assert!(judge(&mut health, result(1), 1, true));
        assert_eq!(health.status, UNHEALTHY);
    }

    #[test]
    fn what_the_user_leaves_open_is_the_images() {
        let image = Healthcheck { test: vec!["CMD".into(), "a".into()], interval: 5, retries: 7, ..Default::default() };
        let mut own = Some(Healthcheck { retries: 2, ..Healthcheck::default() });
        merge(&mut own, Some(&image));
        let own = own.unwrap();
        assert_eq!((own.test.len(), own.interval, own.retries), (2, 5, 2));
    }

    #[test]
    fn settings_without_sense_are_refused() {
        for wrong in [
            Healthcheck { interval: 1000, ..Healthcheck::default() },
            Healthcheck { retries: -1, ..Healthcheck::default() },
            Healthcheck { test: vec!["RUN".into()], ..Healthcheck::default() },
        ] {
            assert!(check(Some(&wrong)).is_err(), "{wrong:?}");
        }
        assert!(check(Some(&Healthcheck { interval: SHORTEST, ..Healthcheck::default() })).is_ok());
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [(50, "50ms"), (1000, "1s"), (1500, "1.5s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")] {
            assert_eq!(in_go(Duration::from_millis(millis)), text);
        }
    }
}
