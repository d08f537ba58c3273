//! `teu version`: the versions of both ends.

use serde_json::{Value, json};
use teu_api::system::{Component, Version as Server};

use crate::Session;
use crate::failure::Failure;
use crate::output::template::Template;
use crate::output::{line, print};
use crate::table::Verb;

/// Shows versions.
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Format with a Go template, or 'json'
    #[arg(short, long)]
    format: Option<String>,
}

const PAGE: &str = "\
Client:{{with .Client.Platform}} {{.Name}}{{end}}
 Version:           {{.Client.Version}}
 API version:       {{.Client.ApiVersion}}
 OS/Arch:           {{.Client.Os}}/{{.Client.Arch}}
 Context:           {{.Client.Context}}
{{with .Server}}
Server: {{.Platform.Name}}
{{range .Components}} {{.Name}}:
  Version:          {{.Version}}
{{with index .Details \"ApiVersion\"}}  API version:      {{.}} (minimum version {{index $.Server \"MinAPIVersion\"}})
{{end}}{{with index .Details \"GoVersion\"}}  Go version:       {{.}}
{{end}}{{with index .Details \"GitCommit\"}}  Git commit:       {{.}}
{{end}}{{with index .Details \"BuildTime\"}}  Built:            {{.}}
{{end}}{{with index .Details \"Arch\"}}  OS/Arch:          {{$.Server.Os}}/{{.}}
{{end}}{{with index .Details \"KernelVersion\"}}  Kernel:           {{.}}
{{end}}{{with index .Details \"Experimental\"}}  Experimental:     {{.}}
{{end}}{{end}}{{end}}";

impl Verb for Version {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Show the version information of client and daemon";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let server = client.get("/version").read::<Server>().await;
        let server = server.map(with_engine);
        let mut told = json!(server.as_ref().ok());
        if let Some(told) = told.as_object_mut() {
            told.entry("Experimental").or_insert(Value::Bool(false));
        }
        let value = json!({"Client": own(&session.context, &client.version()), "Server": told});
        match self.format.as_deref().filter(|format| !format.is_empty()) {
            Some("json") => line(&value.to_string())?,
            Some(format) => line(&Template::parse(format)?.render(&value)?)?,
            None => print(&Template::parse(PAGE)?.render(&value)?)?,
        }
        server.map(|_| 0)
    }
}

/// The daemon's answer with the engine among its components.
fn with_engine(mut server: Server) -> Server {
    if server.components.iter().all(|component| component.name != "Engine") {
        let details = [
            ("ApiVersion", &server.api_version),
            ("MinAPIVersion", &server.min_api_version),
            ("GitCommit", &server.git_commit),
            ("GoVersion", &server.go_version),
            ("Os", &server.os),
            ("Arch", &server.arch),
            ("KernelVersion", &server.kernel_version),
            ("BuildTime", &server.build_time),
        ];
        let details = details.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        server.components.push(Component { name: "Engine".into(), version: server.version.clone(), details });
    }
    server
}

/// This program's version.
fn own(context: &str, api: &str) -> Value {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "Platform": {"Name": "teu"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": api,
        "DefaultAPIVersion": teu_api::CLIENT_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Os": std::env::consts::OS,
        "Arch": arch,
        "Context": context,
    })
}
