//! `teu registry serve`: the distribution protocol on a store of its own, over TCP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use teu_store::Store;
use tokio::net::TcpListener;

use crate::daemon::{self, Ending};

/// How long transfers may go on when the registry is asked to end; what is cut off can be resumed.
const GRACE: Duration = Duration::from_secs(3);

/// Runs a registry at `listen` (`address:port`, `:port` or `port`) on the store in `root` until it is told to end.
#[must_use]
pub fn registry(listen: &str, root: &Path) -> u8 {
    drop(daemon::log(tracing::Level::INFO, false));
    let runtime = daemon::runtime().map_err(|error| format!("start: {error}"));
    match runtime.and_then(|runtime| runtime.block_on(run(listen, root))) {
        Ok(()) => 0,
        Err(sentence) => {
            eprintln!("teu registry: {sentence}");
            1
        }
    }
}

async fn run(listen: &str, root: &Path) -> Result<(), String> {
    let address = address(listen)
        .ok_or_else(|| format!("listen on \"{listen}\": write ADDRESS:PORT, where ADDRESS is an IP address"))?;
    let store = Store::open(root).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("listen on {address}: {error}"))?;
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(address = %bound, root = %root.display(), "registry is ready");
    let router = teu_registry::server::router(store).map_err(|error| error.to_string())?;
    let ending = || Ending::new().map_err(|error| format!("wait for signals: {error}"));
    let (mut first, mut limit) = (ending()?, ending()?);
    let serving = teu_registry::server::serve(listener, router, async move { first.wait().await });
    tokio::select! {
        served = serving => served.map_err(|error| format!("serve on {address}: {error}")),
        () = async { limit.wait().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().ok()?;
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        other => other.parse().ok()?,
    };
    Some(SocketAddr::new(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_without_asking_a_name_server() {
        for (text, expected) in [
            ("127.0.0.1:5000", Some("127.0.0.1:5000")),
            ("localhost:5000", Some("127.0.0.1:5000")),
            (":5000", Some("0.0.0.0:5000")),
            ("5000", Some("0.0.0.0:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("example.com:5000", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), expected, "{text}");
        }
    }
}
