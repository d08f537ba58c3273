//! The ground that all contenders stand on: one folder, one root file system, the same images.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::failure::{Failure, While};
use crate::process;

/// How many layers the large image has, and how large each is.
const PARTS: usize = 4;
const PART: usize = 25_000_000;

/// Files that every contender starts from.
pub(crate) struct Ground {
    folder: TempDir,
}

impl Ground {
    /// Makes them: a static `true`, a root file system that holds it, a base image, and contexts to build from.
    pub(crate) fn new() -> Result<Self, Failure> {
        // Not /tmp, which may be memory: engines keep their data on a disk.
        let folder =
            tempfile::Builder::new().prefix("teu-bench.").tempdir_in("/var/tmp").while_doing("make a folder")?;
        let ground = Self { folder };
        for name in ["proc", "sys", "dev", "etc"] {
            fs::create_dir_all(ground.rootfs().join(name))?;
        }
        let program = ground.rootfs().join("true");
        ground.compile("int main(void) { return 0; }\n", &program)?;
        ground.compile(ENTER, &ground.path("enter"))?;
        ground.context("small", "FROM busybox\nCOPY true /true\n")?;
        fs::copy(&program, ground.path("small/true"))?;
        ground.context("steps", STEPS)?;
        fs::write(ground.path("steps/file"), "a file\n")?;
        let copies: String = (0..PARTS).map(|part| format!("COPY part{part} /part{part}\n")).collect();
        ground.context("large", &format!("FROM busybox\n{copies}"))?;
        process::output(Command::new("tools/base-image").arg("busybox").arg(ground.base_image()))?;
        Ok(ground)
    }

    /// A place in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A root file system with the static `/true`.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// An archive that holds `busybox:latest`.
    pub(crate) fn base_image(&self) -> PathBuf {
        self.path("busybox.tar")
    }

    /// Makes a static program.
    fn compile(&self, text: &str, program: &Path) -> Result<(), Failure> {
        let compiler =
            process::find("cc").ok_or_else(|| Failure("cc is not installed: apt-get install gcc libc6-dev".into()))?;
        let source = self.path("program.c");
        fs::write(&source, text).while_doing(source.display())?;
        process::output(Command::new(compiler).args(["-Os", "-static", "-s", "-o"]).arg(program).arg(&source))?;
        Ok(())
    }

    /// The least that a command takes to run `/true` in the namespaces of the process `pid`.
    pub(crate) fn enter(&self, pid: u32) -> Command {
        let mut command = Command::new(self.path("enter"));
        command.arg(pid.to_string()).arg("/true");
        command
    }

    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> Result<(), Failure> {
        fs::create_dir_all(self.path(name))?;
        fs::write(self.path(name).join("Dockerfile"), dockerfile).while_doing(name)
    }

    /// Fills the context `large` with 100 MB that nobody has seen before, and that compress to about half.
    pub(crate) fn fill_large(&self, seed: u64) -> Result<(), Failure> {
        for part in 0..PARTS {
            let path = self.path("large").join(format!("part{part}"));
            write_part(&path, seed * 1000 + part as u64).while_doing(path.display())?;
        }
        Ok(())
    }
}

/// A static program that runs another one in the namespaces of a process: setns(2), fork, `execve`, wait.
const ENTER: &str = r#"
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 126;
    int target = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    int all = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET;
    if (target < 0 || setns(target, all) != 0)
        return 125;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 125;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
"#;

/// Four steps after FROM, as a small program's Dockerfile has them.
const STEPS: &str = "FROM busybox\nCOPY file /app/file\nRUN cat /app/file /app/file > /app/twice\n\
                     RUN mkdir /app/data && touch /app/data/a /app/data/b\nCMD [\"cat\", \"/app/twice\"]\n";

/// Random pages and plain ones in turn.
fn write_part(path: &Path, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let plain = [b'.'; 4096];
    // xorshift64 does not leave zero.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..PART / 8192 {
        for _ in 0..4096 / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.write_all(&state.to_le_bytes())?;
        }
        out.write_all(&plain)?;
    }
    out.flush()
}
