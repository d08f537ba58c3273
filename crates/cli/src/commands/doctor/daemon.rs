//! The daemon: whether it answers where this user looks for it.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Finding;
use crate::Session;
use crate::endpoint::{Address, store::DEFAULT};

const AREA: &str = "Daemon";

pub(super) async fn look(session: &Session) -> Vec<Finding> {
    let host = match session.host() {
        Ok(host) => host,
        Err(failure) => return vec![Finding::bad(AREA, failure.message).mend("teu context use default")],
    };
    let mut findings = Vec::new();
    if host.context != DEFAULT {
        findings.push(Finding::good(AREA, format!("the context {} leads to {}", host.context, host.address)));
    }
    let reached = match &host.address {
        Address::Unix(path) => match UnixStream::connect(path) {
            Ok(_) => None,
            Err(error) => Some(unreached(path, error.kind(), host.startable)),
        },
        _ => None,
    };
    if let Some(finding) = reached {
        findings.push(finding);
        return findings;
    }
    let client = session.client();
    findings.push(match client.get("/version").read::<teu_api::system::Version>().await {
        Ok(version) => {
            let name = if version.platform.name.is_empty() { "Docker" } else { &version.platform.name };
            Finding::good(AREA, format!("{name} {} answers at {}", version.version, host.address))
        }
        Err(failure) => Finding::bad(AREA, failure.message),
    });
    findings
}

fn unreached(path: &Path, why: ErrorKind, startable: bool) -> Finding {
    let place = path.display();
    match why {
        ErrorKind::PermissionDenied => Finding::bad(AREA, format!("this user may not use the socket {place}"))
            .mend("sudo usermod -aG teu $USER, and log in again"),
        _ if startable => {
            Finding::good(AREA, format!("none runs at {place} yet; the first command that needs it starts it"))
        }
        _ => Finding::bad(AREA, format!("none answers at {place}")).mend(format!("teu daemon --host unix://{place}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_socket_that_cannot_be_used_is_told_apart() {
        let of = |why, startable| unreached(Path::new("/run/teu.sock"), why, startable);
        assert!(of(ErrorKind::PermissionDenied, true).mend.unwrap().contains("usermod"));
        assert_eq!(of(ErrorKind::NotFound, true).state, State::Good);
        assert_eq!(of(ErrorKind::NotFound, false).state, State::Bad);
    }
}
