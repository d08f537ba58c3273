//! Programs that add commands to Docker's client (`docker-compose`, `docker-buildx`): what is no command of ours is
//! looked for among them, and they are told where our daemon is.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Session;
use crate::endpoint::store::DEFAULT;
use crate::failure::Failure;

/// Where distributions put them.
const FOLDERS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The program that adds the command `name`.
pub(crate) fn find(session: &Session, name: &str) -> Option<PathBuf> {
    // A name is one word of lower case and digits; anything else could leave the folders.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return None;
    }
    let own = std::iter::once(session.config.join("cli-plugins"));
    let extra = session.file.plugin_folders().into_iter().map(PathBuf::from);
    let folders = own.chain(extra).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(format!("docker-{name}"))).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Becomes that program; comes back only when it cannot be run.
pub(crate) fn become_it(session: &Session, program: &Path, words: &[String]) -> Failure {
    let mut command = Command::new(program);
    command.args(words).env("DOCKER_CONFIG", &session.config).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "teu");
    match session.host() {
        Ok(host) if host.context == DEFAULT => {
            command.env("DOCKER_HOST", host.address.to_string()).env_remove("DOCKER_CONTEXT");
        }
        Ok(host) => {
            command.env("DOCKER_CONTEXT", &host.context).env_remove("DOCKER_HOST");
        }
        Err(failure) => return failure,
    }
    Failure::io(&format!("run {}", program.display()), &command.exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_count() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/etc/passwd")) && !is_program(Path::new("/bin")));
    }
}
