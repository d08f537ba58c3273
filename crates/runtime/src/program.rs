//! The program: arguments and environment as the kernel wants them, found along the container's own PATH.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use teu_oci::runtime::Process;
use teu_sys::process::Texts;

use crate::Error;

/// Searched when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be executed.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    candidates: Vec<CString>,
    args: Texts,
    env: Texts,
}

/// Why a program was not executed.
#[derive(Debug)]
pub(crate) enum Stop<'p> {
    /// It is there, but not what is to read it.
    NoInterpreter(&'p CStr),
    /// The kernel's reason.
    NotExecutable(Errno),
    /// There is none of that name.
    NotThere,
}

impl Program {
    /// Prepares everything that can be prepared outside the container.
    pub(crate) fn new(process: &Process) -> Result<Program, Error> {
        let Some(name) = process.args.first().filter(|name| !name.is_empty()) else {
            return Err(Error::refused("execute: no program was named"));
        };
        let candidates: Vec<String> = if name.contains('/') {
            vec![name.clone()]
        } else {
            let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
            // An empty entry would be the working directory, which nobody means.
            path.split(':').filter(|entry| !entry.is_empty()).map(|entry| format!("{entry}/{name}")).collect()
        };
        Ok(Program {
            name: name.clone(),
            candidates: strings(&candidates)?,
            args: strings(&process.args)?.into(),
            env: strings(&last_of_each(&process.env))?.into(),
        })
    }

    /// Sets `HOME`, where it is not set, to the user's home of the container's own `/etc/passwd`: `root` is its root.
    pub(crate) fn find_home(&mut self, root: &Path, uid: u32) {
        if !self.lacks_home() {
            return;
        }
        let home = home_of(root, uid).unwrap_or_else(|| "/".to_owned());
        let others = self.env.texts().iter().filter(|entry| !entry.as_bytes().starts_with(b"HOME=")).cloned();
        self.env = others.chain(CString::new(format!("HOME={home}")).ok()).collect::<Vec<_>>().into();
    }

    /// Whether the environment does not say where the user's home is.
    pub(crate) fn lacks_home(&self) -> bool {
        !self.env.texts().iter().any(|entry| entry.as_bytes().len() > 5 && entry.as_bytes().starts_with(b"HOME="))
    }

    /// The environment, `NAME=value`.
    pub(crate) fn environment(&self) -> Vec<String> {
        self.env.texts().iter().map(|entry| entry.to_string_lossy().into_owned()).collect()
    }

    /// Becomes the program. Returns only why that was impossible.
    pub(crate) fn execute(&self) -> Error {
        match self.attempt(&AtomicBool::new(false)) {
            Stop::NoInterpreter(candidate) => Error::NoInterpreter { path: candidate.to_string_lossy().into_owned() },
            Stop::NotExecutable(errno) => self.not_executable(errno),
            Stop::NotThere => Error::NoSuchProgram { name: self.name.clone() },
        }
    }

    /// The same without taking any memory. `executes` is true while the kernel is at it, and for ever after.
    pub(crate) fn attempt(&self, executes: &AtomicBool) -> Stop<'_> {
        let mut obstacle = None;
        for candidate in &self.candidates {
            executes.store(true, Ordering::Relaxed);
            let error = teu_sys::process::execute(candidate, &self.args, &self.env);
            executes.store(false, Ordering::Relaxed);
            match Errno::from_io_error(&error) {
                Some(Errno::NOENT) if rustix::fs::access(candidate, rustix::fs::Access::EXISTS).is_ok() => {
                    return Stop::NoInterpreter(candidate);
                }
                // Not here: perhaps further along the path, as execvp(3) goes on.
                Some(Errno::NOENT) => {}
                Some(Errno::NOTDIR) if self.candidates.len() > 1 => {}
                Some(Errno::ACCESS) => obstacle = Some(Errno::ACCESS),
                other => return Stop::NotExecutable(other.unwrap_or(Errno::IO)),
            }
        }
        obstacle.map_or(Stop::NotThere, Stop::NotExecutable)
    }

    /// Looks whether there is something to execute, without doing it; the first candidate that there is decides.
    pub(crate) fn look_ahead(&self, cwd: &str) -> Result<(), Error> {
        use rustix::fs::{Access, AtFlags, FileType};
        let directory = rustix::fs::open(
            cwd,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        // A working directory that cannot be entered is told of when it is entered, by its user.
        let Ok(directory) = directory else { return Ok(()) };
        let mut obstacle = None;
        for candidate in &self.candidates {
            let Ok(stat) = rustix::fs::statat(&directory, candidate, AtFlags::empty()) else { continue };
            let access = rustix::fs::accessat(&directory, candidate, Access::EXEC_OK, AtFlags::EACCESS);
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                obstacle.get_or_insert(if self.candidates.len() == 1 { Errno::ISDIR } else { Errno::ACCESS });
            } else if let Err(errno) = access {
                obstacle.get_or_insert(errno);
            } else {
                return Ok(());
            }
        }
        match obstacle {
            Some(errno) => Err(self.not_executable(errno)),
            None => Err(Error::NoSuchProgram { name: self.name.clone() }),
        }
    }

    fn not_executable(&self, errno: Errno) -> Error {
        Error::NotExecutable { name: self.name.clone(), errno: errno.raw_os_error() }
    }
}

/// The last value of each variable, in the order in which they were named first.
fn last_of_each(env: &[String]) -> Vec<String> {
    let mut places = std::collections::HashMap::with_capacity(env.len());
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    for entry in env {
        let name = entry.split('=').next().unwrap_or_default();
        match places.get(name) {
            Some(&place) => {
                let place: usize = place;
                kept[place].clone_from(entry);
            }
            None => {
                places.insert(name, kept.len());
                kept.push(entry.clone());
            }
        }
    }
    kept
}

/// A user's home, by the container's `/etc/passwd`: a regular file of a reasonable length, or none.
fn home_of(root: &Path, uid: u32) -> Option<String> {
    use std::io::Read;
    let file = teu_sys::fs::Root::open(root).ok()?.open_file("etc/passwd").ok()?;
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text).ok()?;
    let uid = uid.to_string();
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.len() >= 6 && fields[2] == uid && !fields[5].is_empty()).then(|| fields[5].to_owned())
    })
}

fn strings(texts: &[String]) -> Result<Vec<CString>, Error> {
    let convert = |text: &String| CString::new(text.as_str());
    texts
        .iter()
        .map(convert)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::refused("execute: a null byte in an argument"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(name: &str, env: &[&str]) -> Vec<String> {
        let env = env.iter().map(|entry| (*entry).to_owned()).collect();
        let process = Process { args: vec![name.into()], env, ..Process::default() };
        let program = Program::new(&process).expect("program");
        program.candidates.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_name_is_searched_along_the_containers_path() {
        assert_eq!(candidates("sh", &["PATH=/a::/b"]), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates("sh", &[]).len(), 6);
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let env = ["ONE=two", "PATH=/bin", "ONE=three"].map(str::to_owned);
        assert_eq!(last_of_each(&env), ["ONE=three", "PATH=/bin"]);
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert_eq!(candidates("./run", &["PATH=/a"]), ["./run"]);
    }
}
