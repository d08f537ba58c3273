//! What runs in a container, independent of the host: the half of a create request that an image also has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use teu_oci::{Empty, Healthcheck};

use super::{HostConfig, NetworkingConfig, PortSet};
use crate::shape::{Member, Object, Shape, Shaped};
use crate::wire::or_default;

wire! {
    /// The portable configuration of a container (`Config` of an inspect, top level of a create request).
    pub struct Config {
        /// Host name inside the container.
        pub hostname: String = "Hostname",
        /// NIS domain name inside the container.
        pub domainname: String = "Domainname",
        /// `user[:group]`, by name or number.
        pub user: String = "User",
        /// Attach standard input.
        pub attach_stdin: bool = "AttachStdin",
        /// Attach standard output.
        pub attach_stdout: bool = "AttachStdout",
        /// Attach standard error.
        pub attach_stderr: bool = "AttachStderr",
        /// Ports the container listens on, `80/tcp`.
        #[serde(skip_serializing_if = "PortSet::is_empty")]
        pub exposed_ports: PortSet = "ExposedPorts",
        /// Give the process a terminal.
        pub tty: bool = "Tty",
        /// Keep standard input open although nobody is attached.
        pub open_stdin: bool = "OpenStdin",
        /// Close standard input when the first attached client leaves.
        pub stdin_once: bool = "StdinOnce",
        /// Environment, `NAME=value`; a bare `NAME` removes it.
        pub env: Vec<String> = "Env",
        /// Arguments, or the command when there is no entrypoint; `None` takes the image's.
        pub cmd: Option<Vec<String>> => "Cmd",
        /// Health check; `None` takes the image's.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<Healthcheck> = "Healthcheck",
        /// The command is already escaped (Windows only).
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub args_escaped: bool = "ArgsEscaped",
        /// The image as the user named it.
        pub image: String = "Image",
        /// Anonymous volumes, by path inside.
        pub volumes: BTreeMap<String, Empty> = "Volumes",
        /// Working directory of the process.
        pub working_dir: String = "WorkingDir",
        /// Entrypoint; `None` takes the image's, an empty list or `[""]` clears it.
        pub entrypoint: Option<Vec<String>> => "Entrypoint",
        /// No network at all.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub network_disabled: bool = "NetworkDisabled",
        /// Address of the network card (API before 1.44; newer clients set it on the endpoint).
        #[serde(skip_serializing_if = "String::is_empty")]
        pub mac_address: String = "MacAddress",
        /// Triggers the image was built with.
        pub on_build: Option<Vec<String>> = "OnBuild",
        /// Labels.
        pub labels: BTreeMap<String, String> = "Labels",
        /// Signal that asks the container to stop.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub stop_signal: String = "StopSignal",
        /// Seconds between the stop signal and SIGKILL.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64> = "StopTimeout",
        /// Shell for the shell form of `RUN`, `CMD` and `ENTRYPOINT`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub shell: Option<Vec<String>> => "Shell",
    }
}

/// Body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateRequest {
    /// What runs.
    #[serde(flatten)]
    pub config: Config,
    /// How this host runs it.
    #[serde(rename = "HostConfig", default, deserialize_with = "or_default")]
    pub host_config: HostConfig,
    /// The networks to join.
    #[serde(rename = "NetworkingConfig", default, deserialize_with = "or_default")]
    pub networking_config: NetworkingConfig,
}

impl Shaped for CreateRequest {
    fn shape() -> Shape {
        fn members() -> Vec<Member> {
            let Shape::Object(config) = Config::shape() else { return vec![] };
            let mut members = (config.members)();
            members.push(Member { key: "HostConfig", about: &["How this host runs it."], shape: HostConfig::shape });
            let shape = NetworkingConfig::shape;
            members.push(Member { key: "NetworkingConfig", about: &["The networks to join."], shape });
            members
        }
        const OBJECT: &Object = &Object {
            module: module_path!(),
            name: "CreateRequest",
            about: &["Body of `POST /containers/create`: a container's `Config`, and how this host runs it."],
            members,
        };
        Shape::Object(OBJECT)
    }
}

wire! {
    /// Answer to `POST /containers/create`.
    pub struct CreateResponse {
        /// Id of the new container.
        pub id: String = "Id",
        /// What was accepted but will not work as asked.
        pub warnings: Vec<String> = "Warnings",
    }

    /// Answer to `POST /containers/create?start=1`, which is not Docker's.
    pub struct RunResponse {
        /// Id of the new container.
        pub id: String = "Id",
        /// What was accepted but will not work as asked.
        pub warnings: Vec<String> = "Warnings",
        /// It was started.
        pub started: bool = "Started",
        /// Why it was not.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub error: String = "Error",
    }
}

/// The header that says [`RunResponse`] where the connection has become the container's streams.
pub const RUN_HEADER: &str = "x-teu-run";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_request_of_a_go_client_is_read() {
        let body = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,
            "AttachStderr":true,"ExposedPorts":{"80/tcp":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,
            "Env":null,"Cmd":["true"],"Image":"busybox","Volumes":null,"WorkingDir":"","Entrypoint":"/init",
            "OnBuild":null,"Labels":null,"Future":{"x":1},
            "HostConfig":{"Binds":null,"Memory":1048576,"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},
              "RestartPolicy":{"Name":"no","MaximumRetryCount":0},"MaskedPaths":null,"PidsLimit":null,
              "ConsoleSize":[24,80]},
            "NetworkingConfig":{"EndpointsConfig":null}}"#;
        let request: CreateRequest = serde_json::from_str(body).unwrap();
        assert_eq!(request.config.cmd, Some(vec!["true".to_owned()]));
        assert_eq!(request.config.entrypoint, Some(vec!["/init".to_owned()]));
        assert!(request.config.env.is_empty() && request.config.labels.is_empty());
        assert_eq!(request.host_config.memory, 1_048_576);
        assert_eq!(request.host_config.masked_paths, None);
        assert_eq!(request.host_config.console_size, [24, 80]);
        let bindings = request.host_config.port_bindings["80/tcp"].as_deref().unwrap();
        assert_eq!(bindings[0].host_port, "8080");
    }

    #[test]
    fn a_create_request_round_trips() {
        let mut request = CreateRequest::default();
        request.config.cmd = Some(vec!["sh".into(), "-c".into()]);
        request.host_config.pids_limit = Some(64);
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<CreateRequest>(&text).unwrap(), request);
    }
}
