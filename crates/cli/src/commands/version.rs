//! `teu version`: the versions of both ends.

use serde_json::{Value, json};
use teu_api::system::Version as Server;

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
Client:
 Version:           {{.Client.Version}}
 API version:       {{.Client.ApiVersion}}
 OS/Arch:           {{.Client.Os}}/{{.Client.Arch}}
{{with .Server}}
Server: {{.Platform.Name}}
 Version:          {{.Version}}
 API version:      {{.ApiVersion}} (minimum version {{.MinAPIVersion}})
 OS/Arch:          {{.Os}}/{{.Arch}}
 Kernel:           {{.KernelVersion}}
{{end}}";

impl Verb for Version {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Show the version information of client and daemon";

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client();
        let server = client.get("/version").read::<Server>().await;
        let value = json!({"Client": own(), "Server": server.as_ref().ok()});
        match self.format.as_deref().filter(|format| !format.is_empty()) {
            Some("json") => line(&value.to_string())?,
            Some(format) => line(&Template::parse(format)?.render(&value)?)?,
            None => print(&Template::parse(PAGE)?.render(&value)?)?,
        }
        server.map(|_| 0)
    }
}

/// This program's version.
fn own() -> Value {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "Platform": {"Name": "teu"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": teu_api::API_VERSION,
        "DefaultAPIVersion": teu_api::API_VERSION,
        "Os": std::env::consts::OS,
        "Arch": arch,
    })
}
