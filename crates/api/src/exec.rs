//! Execs: a further process in a running container.

wire! {
    /// Body of `POST /containers/{id}/exec`.
    pub struct ExecCreate {
        /// `user[:group]`; empty is the container's.
        pub user: String = "User",
        /// All capabilities.
        pub privileged: bool = "Privileged",
        /// Give the process a terminal.
        pub tty: bool = "Tty",
        /// First size of the terminal: height, width.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]> = "ConsoleSize",
        /// Attach standard input.
        pub attach_stdin: bool = "AttachStdin",
        /// Attach standard error.
        pub attach_stderr: bool = "AttachStderr",
        /// Attach standard output.
        pub attach_stdout: bool = "AttachStdout",
        /// Do not attach at all.
        pub detach: bool = "Detach",
        /// Keys that detach, `ctrl-p,ctrl-q`.
        pub detach_keys: String = "DetachKeys",
        /// Environment added to the container's.
        pub env: Vec<String> = "Env",
        /// Working directory; empty is the container's.
        pub working_dir: String = "WorkingDir",
        /// Program and arguments.
        pub cmd: Vec<String> = "Cmd",
    }

    /// Answer to `POST /containers/{id}/exec`.
    pub struct ExecCreateResponse {
        /// Id of the exec.
        pub id: String = "Id",
    }

    /// Body of `POST /exec/{id}/start`.
    pub struct ExecStart {
        /// Answer at once, without a stream.
        pub detach: bool = "Detach",
        /// The exec has a terminal.
        pub tty: bool = "Tty",
        /// First size of the terminal: height, width.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]> = "ConsoleSize",
    }

    /// Answer to `GET /exec/{id}/json`.
    pub struct ExecInspect {
        /// Id of the exec.
        pub id: String = "ID",
        /// Whether it runs.
        pub running: bool = "Running",
        /// Exit code, once it has ended.
        pub exit_code: Option<i64> = "ExitCode",
        /// What runs.
        pub process_config: ProcessConfig = "ProcessConfig",
        /// Standard input is open.
        pub open_stdin: bool = "OpenStdin",
        /// Standard error is attached.
        pub open_stderr: bool = "OpenStderr",
        /// Standard output is attached.
        pub open_stdout: bool = "OpenStdout",
        /// It can be removed.
        pub can_remove: bool = "CanRemove",
        /// Container's id.
        pub container_id: String = "ContainerID",
        /// Keys that detach.
        pub detach_keys: String = "DetachKeys",
        /// Process id on the host.
        pub pid: i64 = "Pid",
    }

    /// The process of an exec.
    pub struct ProcessConfig {
        /// Has a terminal.
        pub tty: bool = "tty",
        /// Program.
        pub entrypoint: String = "entrypoint",
        /// Its arguments.
        pub arguments: Vec<String> = "arguments",
        /// All capabilities.
        pub privileged: bool = "privileged",
        /// `user[:group]`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub user: String = "user",
    }
}
