//! The examples that a reader would try, on Debian, with its packages. Takes minutes, most of them downloads.

use std::fs;
use std::process::Command;

use super::support::{Daemon, fetch, run};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn examples_real() {
    let daemon = Daemon::bare();
    daemon.load_debian();
    nginx(&daemon);
    compiled(&daemon);
}

/// The host's port of the first published port.
fn port(daemon: &Daemon, name: &str) -> u16 {
    let told = daemon.ok(["port", name]);
    told.lines().next().and_then(|line| line.rsplit(':').next()?.parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

/// nginx from Debian's packages serves a bind mount, and what is changed there is served at once.
fn nginx(daemon: &Daemon) {
    daemon.ok(["build", "-q", "-t", "nginx", &format!("{SOURCE}/examples/nginx")]);
    let site = daemon.folder().join("site");
    run(Command::new("cp").arg("-r").arg(format!("{SOURCE}/examples/nginx/site")).arg(&site)).ok();
    let bind = format!("{}:/srv/site:ro", site.display());
    daemon.ok(["run", "-d", "--name", "web", "-p", "127.0.0.1::80", "-v", &bind, "nginx"]);
    let port = port(daemon, "web");
    let index = fs::read_to_string(site.join("index.html")).expect("index");
    assert!(fetch(port, "/").ends_with(&index));
    fs::write(site.join("index.html"), "changed").expect("written");
    assert!(fetch(port, "/").ends_with("changed"));
    assert!(fetch(port, "/missing").starts_with("HTTP/1.1 404"));
    daemon.spawn(["logs", "-f", "web"]).until("GET /missing");
    daemon.ok(["stop", "web"]);
    assert_eq!(daemon.inspect("web", "{{.State.ExitCode}}"), "0");
    daemon.ok(["rm", "web"]);
}

/// A program compiled in one stage is all there is in the image.
fn compiled(daemon: &Daemon) {
    daemon.ok(["build", "-q", "-t", "serve", &format!("{SOURCE}/examples/static")]);
    assert_eq!(daemon.inspect("serve", "{{len .RootFS.Layers}}"), "1");
    daemon.ok(["run", "-d", "--name", "serve", "--read-only", "-p", "127.0.0.1::8080", "serve"]);
    let page = fetch(port(daemon, "serve"), "/");
    assert!(page.contains("200") && page.contains("65534"), "{page}");
    daemon.ok(["rm", "-f", "serve"]);
}
