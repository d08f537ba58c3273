//! What may happen to a container: a pure function from state and input to state and effects.
//!
//! ```text
//!            start              exited                    remove
//!  Created ─────────▶ Running ─────────▶ Exited ──────────────────▶ Removing
//!     ▲  launch failed │  ▲  pause/unpause  │ ▲ restart policy
//!     └────────────────┘  └──▶ Paused       └─┴─▶ Restarting ── delay over ──▶ (start)
//! ```
//!
//! The driver performs the effects in the order given: the record is saved before anyone is told. Restarting the daemon
//! feeds old news into the same function. Deliberately absent: I/O, time, and any look at the host.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use teu_api::container::{Health, HealthResult};

use super::health;
pub use super::health::OnFailure;

/// The first wait before a restart; each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait before a restart.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A run this long proves the container well, and the next wait is the first again.
const PROVEN: Duration = Duration::from_secs(10);

/// Where a container stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Never started.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended and will be started again when the delay is over.
    Restarting,
    /// It ended.
    Exited,
    /// It is being taken away.
    Removing,
}

impl Phase {
    /// Docker's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
        }
    }

    /// Whether nothing of it runs, or is about to by itself.
    #[must_use]
    pub fn at_rest(self) -> bool {
        matches!(self, Self::Created | Self::Exited)
    }
}

/// Everything about a container that changes as it lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Its first process, as the host counts; 0 when there is none.
    pub pid: i32,
    /// What it returned the last time.
    pub exit_code: i32,
    /// Why it could not be started the last time.
    pub error: String,
    /// The kernel killed it for want of memory the last time.
    pub oom_killed: bool,
    /// When it was last started, RFC 3339; empty when never.
    pub started_at: String,
    /// When it last ended, RFC 3339; empty when never.
    pub finished_at: String,
    /// How often the restart policy started it since the user did.
    pub restarts: u32,
    /// The present delay of the restart policy, in milliseconds.
    pub delay_ms: u64,
    /// The user stopped it, so the restart policy leaves it alone.
    pub stopped_by_user: bool,
    /// How often it has ended: what `wait` counts by.
    pub exits: u64,
    /// The user restarts it: it is not removed in between.
    pub kept: bool,
    /// Its health, if it has a check and was ever started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it fails, at most so many times (0 is without bound).
    OnFailure(u32),
    /// Whenever it ends.
    Always,
    /// Whenever it ends, unless the user stopped it, even over a restart of the daemon.
    UnlessStopped,
}

/// The part of a container's configuration that its life depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Starting again.
    pub restart: Restart,
    /// Remove it when it has ended for good.
    pub auto_remove: bool,
    /// Failed health checks in a row that make it unhealthy, if it has a check.
    pub retries: Option<i64>,
    /// What follows then.
    pub on_unhealthy: OnFailure,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// What it returned.
    pub code: i32,
    /// For want of memory.
    pub oom_killed: bool,
    /// When, RFC 3339.
    pub at: String,
    /// How long it ran.
    pub ran: Duration,
}

/// News for a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The user, or the end of a delay, wants it to run.
    Start {
        /// By the restart policy, not by the user.
        by_policy: bool,
    },
    /// Its program runs.
    Launched {
        /// Its process.
        pid: i32,
        /// Since when, RFC 3339.
        at: String,
    },
    /// Its program could not be started.
    LaunchFailed {
        /// 126, 127 or 128.
        code: i32,
        /// Why.
        message: String,
    },
    /// It ended.
    Exited(Ending),
    /// The user asks it to end, so what follows is no failure.
    StopAsked {
        /// And to be started right again.
        restart: bool,
    },
    /// Its health was checked.
    Probed {
        /// What came of it.
        result: HealthResult,
        /// It began within the start period.
        young: bool,
    },
    /// Its processes were frozen.
    Paused,
    /// Its processes were thawed.
    Resumed,
    /// The user wants it gone.
    Remove,
}

/// What the driver does, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the program; the answer comes back as `Launched` or `LaunchFailed`.
    Launch,
    /// Write the record.
    Save,
    /// Take the network away.
    DetachNetwork,
    /// Tell that this happened.
    Emit(&'static str),
    /// It has become unhealthy, and its policy says what follows.
    Heal(OnFailure),
    /// Give `Start` again after this long.
    StartAfter(Duration),
    /// Take everything of it away.
    Remove,
}

/// Why an input means nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It runs already.
    Running,
    /// It is paused.
    Paused,
    /// It does not run.
    NotRunning,
    /// It is not paused.
    NotPaused,
    /// It is being removed.
    Removing,
}

/// The whole life.
///
/// # Errors
/// A [`Refusal`] when the input is not possible in this state; nothing changes then.
pub fn next(state: &State, input: Input, policy: Policy) -> Result<(State, Vec<Effect>), Refusal> {
    let mut next = state.clone();
    let effects = match (state.phase, input) {
        (Phase::Removing, Input::Exited(_) | Input::Probed { .. }) => vec![],
        (Phase::Removing, _) => return Err(Refusal::Removing),
        (Phase::Running, Input::Start { .. }) => return Err(Refusal::Running),
        (Phase::Paused, Input::Start { .. }) => return Err(Refusal::Paused),
        (Phase::Exited, Input::Start { by_policy: true }) => return Ok((next, vec![])),
        (_, Input::Start { by_policy }) => start(&mut next, by_policy),
        (_, Input::Launched { pid, at }) => launched(&mut next, pid, at, policy),
        (_, Input::LaunchFailed { code, message }) => launch_failed(&mut next, code, message, policy),
        (Phase::Running | Phase::Paused, Input::Exited(ending)) => exited(&mut next, ending, policy),
        (_, Input::Exited(_)) => vec![],
        (Phase::Running, Input::Probed { result, young }) => probed(&mut next, result, young, policy),
        (_, Input::Probed { .. }) => vec![],
        (Phase::Running | Phase::Paused, Input::StopAsked { restart }) => {
            next.stopped_by_user = true;
            next.kept = restart;
            vec![Effect::Save]
        }
        (Phase::Restarting, Input::StopAsked { .. }) => {
            next.stopped_by_user = true;
            next.phase = Phase::Exited;
            vec![Effect::Save, Effect::Emit("stop")]
        }
        (Phase::Running, Input::Paused) => {
            next.phase = Phase::Paused;
            vec![Effect::Save, Effect::Emit("pause")]
        }
        (Phase::Paused, Input::Paused) => return Err(Refusal::Paused),
        (_, Input::StopAsked { .. } | Input::Paused) => return Err(Refusal::NotRunning),
        (Phase::Running, Input::Resumed) => return Err(Refusal::NotPaused),
        (_, Input::Resumed) if state.phase != Phase::Paused => return Err(Refusal::NotRunning),
        (_, Input::Resumed) => {
            next.phase = Phase::Running;
            vec![Effect::Save, Effect::Emit("unpause")]
        }
        (Phase::Running, Input::Remove) => return Err(Refusal::Running),
        (Phase::Paused, Input::Remove) => return Err(Refusal::Paused),
        (Phase::Restarting, Input::Remove) => return Err(Refusal::Running),
        (_, Input::Remove) => {
            next.phase = Phase::Removing;
            vec![Effect::Remove]
        }
    };
    Ok((next, effects))
}

fn start(next: &mut State, by_policy: bool) -> Vec<Effect> {
    if !by_policy {
        next.restarts = 0;
        next.delay_ms = 0;
    }
    next.stopped_by_user = false;
    next.kept = false;
    vec![Effect::Launch]
}

fn launched(next: &mut State, pid: i32, at: String, policy: Policy) -> Vec<Effect> {
    next.phase = Phase::Running;
    next.pid = pid;
    next.started_at = at;
    next.exit_code = 0;
    next.error.clear();
    next.oom_killed = false;
    next.health = policy.retries.map(|_| health::begun(next.health.take()));
    vec![Effect::Save, Effect::Emit("start")]
}

fn probed(next: &mut State, result: HealthResult, young: bool, policy: Policy) -> Vec<Effect> {
    let (Some(state), Some(retries)) = (&mut next.health, policy.retries) else { return vec![] };
    if !health::judge(state, result, retries, young) {
        return vec![];
    }
    if state.status == health::HEALTHY {
        return vec![Effect::Emit("health_status: healthy")];
    }
    let mut effects = vec![Effect::Emit("health_status: unhealthy")];
    if policy.on_unhealthy != OnFailure::None {
        effects.push(Effect::Heal(policy.on_unhealthy));
    }
    effects
}

fn launch_failed(next: &mut State, code: i32, message: String, policy: Policy) -> Vec<Effect> {
    next.pid = 0;
    next.exit_code = code;
    next.error = message;
    next.exits += 1;
    let mut effects = vec![Effect::DetachNetwork, Effect::Save];
    if next.phase == Phase::Restarting {
        next.phase = Phase::Exited;
    }
    if policy.auto_remove {
        next.phase = Phase::Removing;
        effects.push(Effect::Remove);
    }
    effects
}

fn exited(next: &mut State, ending: Ending, policy: Policy) -> Vec<Effect> {
    next.pid = 0;
    next.exit_code = ending.code;
    next.finished_at = ending.at;
    next.oom_killed = ending.oom_killed;
    next.exits += 1;
    let again = !next.stopped_by_user
        && match policy.restart {
            Restart::No => false,
            Restart::OnFailure(most) => ending.code != 0 && (most == 0 || next.restarts < most),
            Restart::Always | Restart::UnlessStopped => true,
        };
    let mut effects = vec![Effect::DetachNetwork];
    if again {
        let doubled = Duration::from_millis(next.delay_ms * 2);
        let delay = if ending.ran >= PROVEN { FIRST_DELAY } else { doubled.clamp(FIRST_DELAY, LONGEST_DELAY) };
        next.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        next.restarts += 1;
        next.phase = Phase::Restarting;
        effects.extend([Effect::Save, Effect::Emit("die"), Effect::StartAfter(delay)]);
    } else if policy.auto_remove && !next.kept {
        next.phase = Phase::Removing;
        effects.extend([Effect::Emit("die"), Effect::Remove]);
    } else {
        next.phase = Phase::Exited;
        effects.extend([Effect::Save, Effect::Emit("die")]);
    }
    if ending.oom_killed {
        let die = effects.iter().position(|effect| *effect == Effect::Emit("die")).unwrap_or(0);
        effects.insert(die, Effect::Emit("oom"));
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> State {
        let (state, effects) =
            next(&State::default(), Input::Launched { pid: 7, at: "t".into() }, Policy::default()).unwrap();
        assert_eq!(effects, [Effect::Save, Effect::Emit("start")]);
        state
    }

    fn exit(code: i32, seconds: u64) -> Input {
        Input::Exited(Ending { code, ran: Duration::from_secs(seconds), ..Ending::default() })
    }

    #[test]
    fn a_container_runs_once_and_keeps_its_exit_code() {
        let (state, effects) = next(&running(), exit(3, 1), Policy::default()).unwrap();
        assert_eq!((state.phase, state.exit_code, state.pid, state.exits), (Phase::Exited, 3, 0, 1));
        assert_eq!(effects, [Effect::DetachNetwork, Effect::Save, Effect::Emit("die")]);
    }

    #[test]
    fn what_runs_is_not_started_or_removed_again() {
        let start = Input::Start { by_policy: false };
        assert_eq!(next(&running(), start, Policy::default()), Err(Refusal::Running));
        assert_eq!(next(&running(), Input::Remove, Policy::default()), Err(Refusal::Running));
    }

    #[test]
    fn what_runs_can_be_paused_once_and_goes_on() {
        let (paused, effects) = next(&running(), Input::Paused, Policy::default()).unwrap();
        assert_eq!((paused.phase, effects), (Phase::Paused, vec![Effect::Save, Effect::Emit("pause")]));
        assert_eq!(next(&paused, Input::Paused, Policy::default()), Err(Refusal::Paused));
        let (resumed, _) = next(&paused, Input::Resumed, Policy::default()).unwrap();
        assert_eq!(resumed.phase, Phase::Running);
        assert_eq!(next(&resumed, Input::Resumed, Policy::default()), Err(Refusal::NotPaused));
    }

    #[test]
    fn restart_delays_double_and_fall_back_after_a_long_run() {
        let policy = Policy { restart: Restart::Always, ..Policy::default() };
        let mut state = running();
        for want in [100, 200, 400] {
            let (ended, effects) = next(&state, exit(0, 1), policy).unwrap();
            assert!(effects.contains(&Effect::StartAfter(Duration::from_millis(want))), "{effects:?}");
            state = next(&ended, Input::Launched { pid: 8, at: "t".into() }, policy).unwrap().0;
        }
        let (_, effects) = next(&state, exit(0, 11), policy).unwrap();
        assert!(effects.contains(&Effect::StartAfter(FIRST_DELAY)), "{effects:?}");
    }

    #[test]
    fn a_stopped_container_stays_stopped_whatever_its_policy() {
        let policy = Policy { restart: Restart::Always, ..Policy::default() };
        let (asked, _) = next(&running(), Input::StopAsked { restart: false }, policy).unwrap();
        assert_eq!(next(&asked, exit(137, 1), policy).unwrap().0.phase, Phase::Exited);
    }

    #[test]
    fn on_failure_counts_its_tries() {
        let policy = Policy { restart: Restart::OnFailure(1), ..Policy::default() };
        assert_eq!(next(&running(), exit(0, 1), policy).unwrap().0.phase, Phase::Exited);
        let (state, _) = next(&running(), exit(1, 1), policy).unwrap();
        assert_eq!((state.phase, state.restarts), (Phase::Restarting, 1));
        let again = next(&state, Input::Launched { pid: 8, at: "t".into() }, policy).unwrap().0;
        assert_eq!(next(&again, exit(1, 1), policy).unwrap().0.phase, Phase::Exited);
    }

    #[test]
    fn auto_removal_follows_the_end() {
        let policy = Policy { auto_remove: true, ..Policy::default() };
        let (state, effects) = next(&running(), exit(0, 1), policy).unwrap();
        assert_eq!(state.phase, Phase::Removing);
        assert_eq!(effects, [Effect::DetachNetwork, Effect::Emit("die"), Effect::Remove]);
    }

    #[test]
    fn a_restart_by_the_user_does_not_remove_in_between() {
        let policy = Policy { auto_remove: true, ..Policy::default() };
        let (asked, _) = next(&running(), Input::StopAsked { restart: true }, policy).unwrap();
        let (ended, _) = next(&asked, exit(143, 1), policy).unwrap();
        assert_eq!(ended.phase, Phase::Exited);
        let (started, _) = next(&ended, Input::Start { by_policy: false }, policy).unwrap();
        assert!(!started.kept);
    }

    #[test]
    fn a_container_with_a_check_starts_and_becomes_healthy_or_not() {
        let policy = Policy { retries: Some(1), on_unhealthy: OnFailure::Kill, ..Policy::default() };
        let launch = Input::Launched { pid: 7, at: "t".into() };
        let (state, _) = next(&State::default(), launch, policy).unwrap();
        assert_eq!(state.health.as_ref().unwrap().status, "starting");
        let probed =
            |exit_code| Input::Probed { result: HealthResult { exit_code, ..Default::default() }, young: false };
        let (state, effects) = next(&state, probed(0), policy).unwrap();
        assert_eq!(effects, [Effect::Emit("health_status: healthy")]);
        let (_, effects) = next(&state, probed(1), policy).unwrap();
        assert_eq!(effects, [Effect::Emit("health_status: unhealthy"), Effect::Heal(OnFailure::Kill)]);
    }
}
