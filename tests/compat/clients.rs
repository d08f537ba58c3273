//! Libraries for programs: Docker's own for Python, dockerode for Node.js, Testcontainers.

use std::path::Path;
use std::process::Command;

use super::engine::Engine;
use super::support::{packages, run, script};

fn talking<'c>(command: &'c mut Command, docker: &Engine) -> &'c mut Command {
    command.env("DOCKER_HOST", docker.host()).env("DOCKER_CONFIG", docker.folder().join("client"))
}

fn python(docker: &Engine, name: &str) -> String {
    let mut command = Command::new(packages("python").join("bin/python"));
    // Its helper that cleans up after a program that was killed is an image from a registry.
    command.arg(script(name)).env("TESTCONTAINERS_RYUK_DISABLED", "true");
    run(talking(&mut command, docker)).ok()
}

#[test]
fn dockers_library_for_python_does_all_it_can() {
    assert_eq!(python(&Engine::start(), "sdk.py"), "containers\nimages\nnetworks_and_volumes\nevents");
}

#[test]
fn dockerode_does_all_it_can() {
    let docker = Engine::start();
    let mut command = Command::new("node");
    command.arg(script("dockerode.js")).env("NODE_PATH", packages("node").join("node_modules"));
    let told = run(talking(&mut command, &docker)).ok();
    assert_eq!(told, "containers\nexecs\nimages\nnetworksAndVolumes\nevents");
}

#[test]
fn testcontainers_start_databases_of_debians_packages() {
    let docker = Engine::start();
    let archive = docker.folder().join("debian.tar");
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/base-image");
    run(Command::new(tool).arg("debian").arg(&archive)).ok();
    docker.ok(["load", "-q", "-i", archive.to_str().expect("path")]);
    for name in ["postgres", "redis"] {
        let folder = script("services");
        let build = ["build", "-q", "--target", name, "-t", &format!("test-{name}"), folder.to_str().expect("path")];
        docker.ok(build);
    }
    assert_eq!(python(&docker, "services.py"), "postgres kept\nredis kept");
}
