//! After a restart of the daemon: the records are read, the supervisors that live are reached again, and how the others
//! ended is fed to the same lifecycle that hears of any other end. There is no second recovery code.

use std::fs;
use std::path::Path;

use teu_api::container::HostConfig;
use teu_supervisor::protocol::{Event, ExitStatus, Request};

use crate::Context;
use crate::container::lifecycle::{Ending, Input, Phase, Restart};
use crate::container::spec::cgroup_path;
use crate::container::{Container, Containers, Record, adopt};
use crate::error::{Error, Result};
use crate::task::{Fresh, Task};

/// The exit code of a container of which nobody knows how it ended.
const UNKNOWN: i32 = 255;

/// How the folders of supervisors begin that wait for work.
const WARM: &str = ".warm-";

/// Takes up every container.
pub(crate) async fn restore(containers: &Containers) -> Result<()> {
    let context = containers.context.clone();
    let tasks = context.pool.task_dir("");
    clear_warm(&tasks)?;
    let mut again = vec![];
    for key in context.records.keys()? {
        match context.records.get(&key) {
            Ok(Some(record)) => again.extend(take_up(containers, &context, record).await?),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, container = key, "read a container's record"),
        }
    }
    drop_orphans(containers, &context, &tasks).await;
    context.volumes.renamings_finished()?;
    tokio::task::block_in_place(|| context.volumes.unmount_unused());
    context.networks.restored()?;
    // Not before everything is in its place.
    for container in again {
        tokio::spawn(async move {
            if let Err(error) = container.start().await {
                tracing::warn!(%error, container = container.id(), "start a container with the daemon");
            }
        });
    }
    Ok(())
}

/// Takes up one container, and gives it back if it is to be started.
async fn take_up(containers: &Containers, context: &Context, mut record: Record) -> Result<Option<Container>> {
    upgrade(context, &mut record);
    context.refer_mounts(&mut record);
    if record.state.phase == Phase::Removing {
        erase(context, &record);
        return Ok(None);
    }
    if let Err(error) = tokio::task::block_in_place(|| context.mount_layer(&record)) {
        tracing::error!(%error, container = record.id, "mount a write layer");
    }
    let dir = context.pool.task_dir(&record.id);
    let alive = reach(&dir).await;
    let was_running = matches!(record.state.phase, Phase::Running | Phase::Paused);
    let mut first = None;
    let fresh = match alive {
        Some((fresh, state)) if state.running => {
            // The daemon may have been killed between the start and its note of it.
            if let Some(pid) = state.pid.filter(|_| !was_running) {
                let at = state.started_at.unwrap_or_else(|| jiff::Timestamp::now().to_string());
                first = Some(Input::Launched { pid, at });
            } else {
                record.state.phase = if state.paused { Phase::Paused } else { Phase::Running };
            }
            context.networks.restore(&record);
            tokio::task::block_in_place(|| context.remount(&record));
            Some(fresh)
        }
        other => {
            if let Some((fresh, _)) = other {
                fresh.task.discard().await;
            }
            if record.host.auto_remove && record.state.phase == Phase::Created {
                // Who wanted it run and removed is gone with the daemon that was to start it.
                erase(context, &record);
                return Ok(None);
            }
            if was_running {
                // Freed again when the lifecycle hears of the end.
                context.networks.restore(&record);
                let status = exit_status(&dir);
                end_strays(&cgroup_path(&record.host, &record.id));
                first = Some(Input::Exited(ending(status)));
            }
            None
        }
    };
    let again = fresh.is_none() && starts_with_daemon(&record, was_running);
    let container = adopt(containers, record, fresh, first)?;
    Ok(again.then_some(container))
}

/// Earlier versions knew one network only.
fn upgrade(context: &Context, record: &mut Record) {
    if let Some(old) = record.endpoint.take() {
        let (place, ports) = old.upgrade(&context.networks.id_of("bridge"), context.networks.table());
        record.endpoints.insert("bridge".into(), place);
        record.ports = ports;
    }
}

/// A container that was at rest is started if its policy says so and the user did not stop it.
fn starts_with_daemon(record: &Record, was_running: bool) -> bool {
    if was_running || record.state.started_at.is_empty() {
        return false;
    }
    match record.policy().restart {
        Restart::Always => true,
        Restart::UnlessStopped => !record.state.stopped_by_user,
        Restart::OnFailure(_) => record.state.phase == Phase::Restarting,
        Restart::No => false,
    }
}

async fn reach(dir: &Path) -> Option<(Fresh, teu_supervisor::protocol::State)> {
    let fresh = Task::connect(dir).await.ok()?;
    match fresh.task.request(&Request::State).await {
        Ok(Event::State(state)) => Some((fresh, *state)),
        _ => None,
    }
}

fn ending(status: ExitStatus) -> Ending {
    Ending { code: status.code, oom_killed: status.oom_killed, at: status.finished_at, ran: std::time::Duration::ZERO }
}

/// What a supervisor that is gone left in its folder.
pub(crate) fn exit_status(dir: &Path) -> ExitStatus {
    let text = fs::read(dir.join("exit.json")).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_else(|| ExitStatus {
        code: UNKNOWN,
        signal: None,
        oom_killed: false,
        finished_at: jiff::Timestamp::now().to_string(),
    })
}

/// Ends what a killed supervisor left running.
pub(crate) fn end_strays(cgroup: &Path) {
    if let Ok(cgroup) = teu_runtime::Cgroup::open(cgroup) {
        let _ = cgroup.kill();
        let _ = cgroup.remove();
    }
}

/// The files of a container outside the store's tables.
pub(crate) fn remove_files(context: &Context, id: &str) {
    let _ = context.store.discard(&context.etc_dir(id));
    let _ = fs::remove_dir_all(context.pool.task_dir(id));
    let _ = context.store.discard(&context.log_dir(id));
    let _ = fs::remove_dir_all(context.checkpoints_dir(id));
}

/// A removal that a kill of the daemon cut short.
fn erase(context: &Context, record: &Record) {
    end_strays(&cgroup_path(&record.host, &record.id));
    let _ = context.remove_layer(record);
    remove_files(context, &record.id);
    context.release_mounts(record, record.host.auto_remove);
    let _ = context.records.remove(&record.id);
}

/// Supervisors that waited for work end by themselves when the daemon does; their folders stay.
fn clear_warm(tasks: &Path) -> Result<()> {
    let entries = fs::read_dir(tasks).map_err(|error| Error::io("list", tasks, error))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(WARM) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Build steps and half-made containers of a daemon that was killed: nobody waits for them.
async fn drop_orphans(containers: &Containers, context: &Context, tasks: &Path) {
    for entry in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(WARM) {
            continue; // Of this daemon: those of others are gone.
        }
        if containers.find(&name).is_ok_and(|found| found.id() == name) {
            continue;
        }
        if let Some((fresh, state)) = reach(&entry.path()).await {
            if state.running {
                let kill = Request::Signal { exec: None, signal: crate::signals::KILL, all: true };
                let _ = fresh.task.request(&kill).await;
            } else {
                fresh.task.discard().await;
            }
        }
        end_strays(&cgroup_path(&HostConfig::default(), &name));
        let _ = fs::remove_dir_all(entry.path());
    }
    let stray = |name: &str| containers.find(name).map_or(true, |found| found.id() != name);
    for key in context.store.snapshots().active().unwrap_or_default().iter().filter(|key| stray(key)) {
        if key.starts_with(teu_store::CACHE_MOUNT) {
            continue;
        }
        let _ = context.remove_stray_layer(key);
    }
    for dir in ["etc", "logs"].map(|name| context.config.root.join(name)) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if stray(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
