//! Compose, in both its generations.

use std::path::Path;
use std::process::Command;

use super::engine::Engine;
use super::support::{eventually, fetch, packages, run};

/// Five services: one built, one that others wait for, two of a kind, secrets, a volume, two networks.
const APPLICATION: &str = r#"
version: "3.8"
services:
  db:
    image: busybox
    command: sh -c "touch /data/ready; exec sleep 1000"
    volumes: ["data:/data"]
    healthcheck: {test: ["CMD", "test", "-e", "/data/ready"], interval: 100ms, retries: 50}
    networks: [back]
  cache:
    image: busybox
    command: sleep 1000
    networks: [back]
  web:
    build: ./web
    depends_on: [db]
    secrets: [token]
    networks: {front: {}, back: {aliases: [site]}}
    ports: ["8080"]
  worker:
    image: busybox
    command: sh -c "cat /run/secrets/token; exec sleep 1000"
    secrets: [token]
    networks: [back]
  client:
    image: busybox
    command: sh -c "until wget -qO- http://site:8080/; do sleep 0.1; done; exec sleep 1000"
    depends_on: [web]
    networks: [back]
networks: {front: {}, back: {}}
volumes: {data: {}}
secrets: {token: {file: ./token}}
"#;

#[test]
fn compose_1_brings_an_application_up_and_down() {
    application(APPLICATION, Path::new("docker-compose"), ('_', "0"));
}

/// With what the first has not: waiting for health, configs.
#[test]
fn compose_2_brings_an_application_up_and_down() {
    let text = APPLICATION
        .replace("version: \"3.8\"\n", "configs: {page: {file: ./token}}\n")
        .replace("depends_on: [db]", "depends_on: {db: {condition: service_healthy}}\n    configs: [page]");
    application(&text, &packages("compose").join("usr/libexec/docker/cli-plugins/docker-compose"), ('-', "1"));
}

/// Brings it up and down; `joint` is between the parts of a container's name, and with "1" it is built by BuildKit's protocol.
#[track_caller]
fn application(text: &str, program: &Path, (joint, by_buildkit): (char, &str)) {
    let docker = Engine::start();
    let web = "FROM busybox\nCOPY page /www/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n";
    let folder = docker.context(&[
        ("docker-compose.yml", text),
        ("token", "s3cret\n"),
        ("web/Dockerfile", web),
        ("web/page", "hello\n"),
    ]);
    let compose = |args: &[&str]| {
        let mut command = Command::new(program);
        command
            .current_dir(&folder)
            .env("DOCKER_HOST", docker.host())
            .env("DOCKER_BUILDKIT", by_buildkit)
            .env("DOCKER_CONFIG", docker.folder().join("client"));
        run(command.args(["-p", "app", "--ansi", "never"]).args(args))
    };
    compose(&["up", "-d", "--scale", "worker=2"]).ends_with(0);
    assert_eq!(compose(&["ps", "-q"]).ok().lines().count(), 6);
    let health = ["inspect", "-f", "{{.State.Health.Status}}", &format!("app{joint}db{joint}1")];
    eventually("the database is healthy", || (docker.docker(health).out.trim() == "healthy").then_some(()));
    let logs = |service: &str| compose(&["logs", "--no-color", service]).ok();
    eventually("the client has the page", || logs("client").contains("hello").then_some(()));
    assert_eq!(logs("worker").matches("s3cret").count(), 2);
    assert_eq!(compose(&["exec", "-T", "web", "cat", "/www/index.html"]).ok(), "hello");
    let port = compose(&["port", "web", "8080"]).ok();
    let port = port.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert!(fetch(port, "/").contains("hello"));
    compose(&["down", "-v", "-t", "0", "--rmi", "local"]).ends_with(0);
    assert_eq!(docker.ok(["ps", "-aq"]) + &docker.ok(["volume", "ls", "-q"]), "");
    assert!(!docker.ok(["network", "ls", "--format", "{{.Name}}"]).contains("app_"));
}
