//! Registries of the test's own: teu's, and Debian's docker-registry.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::daemon::client;
use super::{eventually, free_port};

/// `teu registry serve` on a free port.
pub struct Registry(Server);

/// Debian's `docker-registry` on a free port.
pub struct DebianRegistry(Server);

struct Server {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Registry {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self(Server::start(|folder, port| {
            let mut command = client(folder);
            command.args(["registry", "serve", "--listen", &format!("127.0.0.1:{port}"), "--root"]);
            command.arg(folder.join("root"));
            command
        }))
    }

    /// Its address, as references begin.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Where it keeps everything.
    pub fn root(&self) -> std::path::PathBuf {
        self.0.folder.path().join("root")
    }
}

impl DebianRegistry {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self(Server::start(|folder, port| {
            let root = folder.join("root");
            let settings = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"}}\n",
                root.display()
            );
            fs::write(folder.join("config.yml"), settings).expect("written");
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(folder.join("config.yml"));
            command
        }))
    }

    /// Its address, as references begin.
    pub fn address(&self) -> String {
        self.0.address()
    }
}

impl Server {
    #[track_caller]
    fn start(command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let folder = tempfile::Builder::new().prefix("teu-registry-").tempdir().expect("folder");
        let port = free_port();
        let mut command = command(folder.path(), port);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.path().join("log")).expect("log"));
        let mut process =
            command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; install it with: tools/setup test"));
        let up = eventually("the registry answers", || match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => Some(true),
            Err(_) => process.try_wait().expect("wait").map(|_| false),
        });
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(up, "the registry ended:\n{log}");
        Self { process, port, folder }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
