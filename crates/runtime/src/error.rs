//! What can go wrong, as data: it crosses the socket from the container's process, and the supervisor's to the engine.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a container or a process in it could not be made. `errno` is a number of errno(3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// The program is not there (a shell would end with 127).
    #[error("exec: \"{name}\": {}", missing(name))]
    NoSuchProgram {
        /// As the user gave it.
        name: String,
    },
    /// The program is there, and the one that is to interpret it is not (a shell would end with 127).
    #[error("exec {path}: {}", text(rustix::io::Errno::NOENT.raw_os_error()))]
    NoInterpreter {
        /// Where the program was found.
        path: String,
    },
    /// The program is there and cannot be executed (a shell would end with 126).
    #[error("exec: \"{name}\": {}", text(*errno))]
    NotExecutable {
        /// As the user gave it.
        name: String,
        /// The kernel's reason.
        errno: i32,
    },
    /// The working directory cannot be entered, or lies outside the root.
    #[error("change to working directory \"{path}\": {}", text(*errno))]
    WorkingDirectory {
        /// As the spec has it.
        path: String,
        /// The kernel's reason.
        errno: i32,
    },
    /// A mount could not be made.
    #[error("mount {destination}: {step}: {}", text(*errno))]
    Mount {
        /// Where it was to be in the container.
        destination: String,
        /// What was being done.
        step: String,
        /// The kernel's reason.
        errno: i32,
    },
    /// A limit was asked for, and this machine has no controller for it.
    #[error("limit {setting}: no {controller} cgroup controller on this machine")]
    NoCgroupController {
        /// The controller.
        controller: String,
        /// The spec's field.
        setting: String,
    },
    /// The spec asks for what cannot or must not be done.
    #[error("{what}")]
    Refused {
        /// The sentence.
        what: String,
    },
    /// Any other step.
    #[error("{step}: {}", text(*errno))]
    Step {
        /// What was being done.
        step: String,
        /// The kernel's reason.
        errno: i32,
    },
}

impl Error {
    pub(crate) fn refused(what: impl Into<String>) -> Error {
        Error::Refused { what: what.into() }
    }
}

/// Names the step that an I/O error stopped.
pub(crate) trait During<T> {
    /// Turns the error into [`Error::Step`].
    fn during(self, step: &str) -> Result<T, Error>;
    /// The same, with the step's name made only when it is needed.
    fn during_with(self, step: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &str) -> Result<T, Error> {
        self.during_with(|| step.to_owned())
    }

    fn during_with(self, step: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Step { step: step(), errno: errno(&error.into()) })
    }
}

/// Names the part of a mount that failed.
pub(crate) fn at<'a>(destination: &'a str, step: &'a str) -> impl Fn(io::Error) -> Error + 'a {
    move |error| Error::Mount { destination: destination.to_owned(), step: step.to_owned(), errno: errno(&error) }
}

/// The number of an I/O error; `EIO` for one that is not the kernel's.
pub(crate) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())
}

/// The kernel's words for an error number, as strerror(3) has them in lower case.
fn text(errno: i32) -> String {
    let whole = io::Error::from_raw_os_error(errno).to_string();
    whole.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Docker's two sentences: one for a name that was searched for, one for a path.
fn missing(name: &str) -> String {
    if name.contains('/') {
        text(rustix::io::Errno::NOENT.raw_os_error())
    } else {
        "executable file not found in $PATH".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_the_thing_and_the_reason() {
        let step = Error::Step { step: "open /proc".into(), errno: 2 };
        assert_eq!(step.to_string(), "open /proc: no such file or directory");
        let searched = Error::NoSuchProgram { name: "nope".into() };
        assert_eq!(searched.to_string(), "exec: \"nope\": executable file not found in $PATH");
        let path = Error::NoSuchProgram { name: "/nope".into() };
        assert_eq!(path.to_string(), "exec: \"/nope\": no such file or directory");
    }

    #[test]
    fn an_error_survives_the_socket() {
        let error = Error::Mount { destination: "/data".into(), step: "attach".into(), errno: 20 };
        let text = serde_json::to_string(&error).expect("json");
        assert_eq!(serde_json::from_str::<Error>(&text).expect("error"), error);
    }
}
