//! The program: arguments and environment as the kernel wants them, found along the container's own PATH.

use std::ffi::CString;

use rustix::io::Errno;
use teu_oci::runtime::Process;

use crate::Error;

/// Searched when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be executed.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
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
            args: strings(&process.args)?,
            env: strings(&process.env)?,
        })
    }

    /// Becomes the program. Returns only why that was impossible.
    pub(crate) fn execute(&self) -> Error {
        let mut obstacle = None;
        for candidate in &self.candidates {
            let error = teu_sys::process::execute(candidate, &self.args, &self.env);
            match Errno::from_io_error(&error) {
                // Not here: perhaps further along the path, as execvp(3) goes on.
                Some(Errno::NOENT) => {}
                Some(Errno::NOTDIR) if self.candidates.len() > 1 => {}
                Some(Errno::ACCESS) => obstacle = Some(Errno::ACCESS),
                other => return self.not_executable(other.unwrap_or(Errno::IO)),
            }
        }
        match obstacle {
            Some(errno) => self.not_executable(errno),
            None => Error::NoSuchProgram { name: self.name.clone() },
        }
    }

    fn not_executable(&self, errno: Errno) -> Error {
        Error::NotExecutable { name: self.name.clone(), errno: errno.raw_os_error() }
    }
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
    fn a_path_is_taken_as_it_is() {
        assert_eq!(candidates("./run", &["PATH=/a"]), ["./run"]);
    }
}
