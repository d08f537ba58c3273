//! Figures for Prometheus, on an address of their own and only when one was given: text in its exposition format.
//!
//! What can be counted when somebody asks is counted then; only requests are counted as they come.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Method, StatusCode, header};
use teu_engine::Engine;
use tokio::net::TcpListener;

/// What the exposition format is called.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

static REQUESTS: LazyLock<Requests> = LazyLock::new(Requests::default);
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Requests that have been answered, by method and status.
#[derive(Default)]
struct Requests(Mutex<BTreeMap<(String, u16), (u64, Duration)>>);

/// Notes that a request was answered.
pub(crate) fn answered(method: &Method, status: StatusCode, took: Duration) {
    let mut requests = REQUESTS.0.lock().unwrap_or_else(PoisonError::into_inner);
    // A client may make up methods; those are counted together.
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE].contains(method);
    let method = if known { method.as_str() } else { "OTHER" };
    let (count, time) = requests.entry((method.to_owned(), status.as_u16())).or_default();
    *count += 1;
    *time += took;
}

/// Serves the figures until the daemon ends.
///
/// # Errors
/// When nothing can listen at the address.
pub(crate) async fn serve(address: SocketAddr, engine: Engine) -> std::io::Result<()> {
    LazyLock::force(&STARTED);
    let listener = TcpListener::bind(address).await?;
    let router = Router::new().route("/metrics", get(figures)).with_state(engine);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "serve figures");
        }
    });
    Ok(())
}

async fn figures(State(engine): State<Engine>) -> Response {
    ([(header::CONTENT_TYPE, FORMAT)], render(&engine)).into_response()
}

fn render(engine: &Engine) -> String {
    let mut text = Text::default();
    let info = engine.info().unwrap_or_default();
    let version = [("version", info.server_version.as_str()), ("kernel", info.kernel_version.as_str())];
    text.family("engine_daemon_engine_info", "gauge", "The engine.");
    text.value("engine_daemon_engine_info", &version, 1);
    text.family("engine_daemon_engine_cpus_cpus", "gauge", "Processors of the host.");
    text.value("engine_daemon_engine_cpus_cpus", &[], info.n_cpu);
    text.family("engine_daemon_engine_memory_bytes", "gauge", "Memory of the host.");
    text.value("engine_daemon_engine_memory_bytes", &[], info.mem_total);
    text.family("engine_daemon_container_states_containers", "gauge", "Containers by state.");
    for (state, count) in
        [("running", info.containers_running), ("paused", info.containers_paused), ("stopped", info.containers_stopped)]
    {
        text.value("engine_daemon_container_states_containers", &[("state", state)], count);
    }
    text.family("engine_daemon_images_images", "gauge", "Images.");
    text.value("engine_daemon_images_images", &[], info.images);
    text.family("engine_daemon_events_total", "counter", "Events that were told.");
    text.value("engine_daemon_events_total", &[], engine.events.told());
    text.family("engine_daemon_events_subscribers", "gauge", "Clients that listen to events.");
    text.value("engine_daemon_events_subscribers", &[], info.n_events_listener);
    requests(&mut text);
    text.family("process_resident_memory_bytes", "gauge", "Memory of the daemon.");
    text.value("process_resident_memory_bytes", &[], resident());
    text.family("process_open_fds", "gauge", "Descriptors that the daemon has open.");
    text.value("process_open_fds", &[], info.n_fd);
    text.family("process_start_time_seconds", "gauge", "When the daemon was started, since 1970.");
    let started = STARTED.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    text.value("process_start_time_seconds", &[], started);
    text.0
}

fn requests(text: &mut Text) {
    let requests = REQUESTS.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    text.family("engine_daemon_http_requests_total", "counter", "Requests, by method and status.");
    for ((method, status), (count, _)) in &requests {
        let labels = [("method", method.as_str()), ("code", &status.to_string())];
        text.value("engine_daemon_http_requests_total", &labels, *count);
    }
    text.family("engine_daemon_http_request_seconds_total", "counter", "Time until the answer began, in all.");
    for ((method, status), (_, time)) in &requests {
        let labels = [("method", method.as_str()), ("code", &status.to_string())];
        text.value("engine_daemon_http_request_seconds_total", &labels, time.as_secs_f64());
    }
}

/// Bytes of the daemon that are in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The exposition format.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_prometheus_own() {
        let mut text = Text::default();
        text.family("a_total", "counter", "What.");
        text.value("a_total", &[("k", "say \"x\"\n")], 3);
        text.value("b", &[], 1.5);
        assert_eq!(text.0, "# HELP a_total What.\n# TYPE a_total counter\na_total{k=\"say \\\"x\\\"\\n\"} 3\nb 1.5\n");
    }

    #[test]
    fn requests_are_counted_by_method_and_status() {
        answered(&Method::DELETE, StatusCode::IM_A_TEAPOT, Duration::from_millis(5));
        answered(&Method::from_bytes(b"BREW").expect("method"), StatusCode::IM_A_TEAPOT, Duration::ZERO);
        let mut text = Text::default();
        requests(&mut text);
        assert!(text.0.contains("engine_daemon_http_requests_total{method=\"DELETE\",code=\"418\"} 1\n"));
        assert!(text.0.contains("method=\"OTHER\",code=\"418\"} 1\n"));
    }
}
