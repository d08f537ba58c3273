//! Docker's own command line with buildx, which sends its context by BuildKit's protocol, against both engines.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::engine::Engine;
use crate::failure::{Failure, While};
use crate::ground::Ground;
use crate::process::{self, timed};
use crate::report::Report;

pub(crate) const FIRST: &str = "docker build (buildx) of a context of 5,000 files and 64 MiB, the first";
pub(crate) const AGAIN: &str = "the same again, nothing changed";
pub(crate) const CHANGED: &str = "the same, one file changed that one step of four copies";

/// Every step but the last takes what does not change.
const DOCKERFILE: &str =
    "FROM busybox\nCOPY files /files\nCOPY large /large\nRUN ls /files >/list\nCOPY small /small\n";

/// Measures each engine in turns.
pub(crate) fn measure(engines: &[Engine], ground: &Ground, rounds: usize, report: &mut Report) -> Result<(), Failure> {
    let config = client(ground)?;
    let context = context(ground)?;
    for round in 0..rounds {
        for engine in engines {
            let build = || timed(&mut command(engine, &config, &["build", "-q", "-t", "sent", &context]));
            process::output(&mut command(engine, &config, &["buildx", "prune", "-af"]))?;
            process::output(&mut command(engine, &config, &["rmi", "-f", "sent"]))?;
            report.time(FIRST, engine.contender, build()?);
            report.time(AGAIN, engine.contender, build()?);
            fs::write(ground.path("sent/small"), format!("{round} {:?}\n", engine.contender))
                .while_doing("change a file")?;
            report.time(CHANGED, engine.contender, build()?);
        }
    }
    Ok(())
}

/// The stock client, talking to an engine.
fn command(engine: &Engine, config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", engine.host()).env("DOCKER_CONFIG", config).env("DOCKER_BUILDKIT", "1");
    command.env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1").args(words);
    command
}

/// A client's folder in which buildx is.
fn client(ground: &Ground) -> Result<PathBuf, Failure> {
    let packages = process::output(Command::new("tools/packages").arg("buildx"))?;
    let config = ground.path("client");
    fs::create_dir_all(&config).while_doing("make a folder")?;
    let plugins = Path::new(packages.trim()).join("usr/libexec/docker/cli-plugins");
    symlink(plugins, config.join("cli-plugins")).while_doing("link buildx")?;
    Ok(config)
}

fn context(ground: &Ground) -> Result<String, Failure> {
    ground.context("sent", DOCKERFILE)?;
    let at = |name: &str| ground.path("sent").join(name);
    let write = || {
        for number in 0..5_000 {
            let folder = at(&format!("files/{}", number / 100));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(number.to_string()), format!("{number}\n").repeat(20))?;
        }
        fs::write(at("small"), "small\n")?;
        fs::write(at("large"), vec![7; 64 << 20])
    };
    write().while_doing("write a context")?;
    Ok(ground.path("sent").display().to_string())
}
