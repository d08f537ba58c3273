//! A session as whoever wants a build: it is asked for credentials, secrets and agents.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use teu_api::system::AuthConfig;
use teu_builder::{Error, Requester};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::session::Session;
use crate::wire::session::{
    CheckAgentRequest, CredentialsRequest, CredentialsResponse, GetSecretRequest, GetSecretResponse,
};
use crate::wire::{BytesMessage, Empty};

const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CHECK: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
/// Which agent is meant.
const AGENT: &str = "buildkit.ssh.id";

impl Requester for Session {
    fn credentials<'r>(&'r self, domain: &'r str) -> BoxFuture<'r, Result<Option<AuthConfig>, Error>> {
        Box::pin(async move {
            if !self.serves(CREDENTIALS) {
                return Ok(None);
            }
            // Clients look Docker Hub up under the name of its registry.
            let host = if domain == "docker.io" { "registry-1.docker.io" } else { domain }.to_owned();
            let found = self.ask::<_, CredentialsResponse>(CREDENTIALS, CredentialsRequest { host }).await;
            let CredentialsResponse { username, secret } = found.map_err(|status| refused("credentials", &status))?;
            Ok(match (username.is_empty(), secret.is_empty()) {
                (_, true) => None,
                (true, false) => Some(AuthConfig { identity_token: secret, ..AuthConfig::default() }),
                (false, false) => Some(AuthConfig { username, password: secret, ..AuthConfig::default() }),
            })
        })
    }

    fn secret<'r>(&'r self, id: &'r str) -> BoxFuture<'r, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move {
            if !self.serves(SECRET) {
                return Ok(None);
            }
            match self.ask::<_, GetSecretResponse>(SECRET, GetSecretRequest { id: id.into() }).await {
                Ok(found) => Ok(Some(found.data)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(refused(&format!("the secret {id}"), &status)),
            }
        })
    }

    fn has_agent<'r>(&'r self, id: &'r str) -> BoxFuture<'r, Result<bool, Error>> {
        Box::pin(async move {
            if !self.serves(CHECK) {
                return Ok(false);
            }
            // What the client says of one that is not there differs from version to version.
            Ok(self.ask::<_, Empty>(CHECK, CheckAgentRequest { id: id.into() }).await.is_ok())
        })
    }

    fn agent<'r>(&'r self, id: &'r str, process: UnixStream) -> BoxFuture<'r, Result<(), Error>> {
        Box::pin(async move {
            self.forward(id, process).await.map_err(|status| refused(&format!("the ssh agent {id}"), &status))
        })
    }
}

impl Session {
    async fn forward(&self, id: &str, process: UnixStream) -> Result<(), Status> {
        let (questions, outgoing) = mpsc::channel(4);
        let outgoing = futures_util::stream::unfold(outgoing, |mut outgoing| async {
            outgoing.recv().await.map(|message| (message, outgoing))
        });
        let mut request = tonic::Request::new(outgoing);
        let id = id.parse().map_err(|_| Status::invalid_argument("the name of an agent"))?;
        request.metadata_mut().insert(AGENT, id);
        let (mut reader, mut writer) = process.into_split();
        let ask = async move {
            let mut buffer = vec![0; 8 << 10];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                let data = Bytes::copy_from_slice(&buffer[..length]);
                if questions.send(BytesMessage { data }).await.is_err() {
                    break;
                }
            }
        };
        // The client's answer begins when the agent says something, so the question cannot wait for it.
        let answer = async move {
            let mut answers = self.converse::<BytesMessage, BytesMessage, _>(FORWARD, request).await?;
            while let Some(message) = answers.message().await? {
                if writer.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::join!(ask, answer).1
    }
}

fn refused(what: &str, status: &Status) -> Error {
    Error::Context(format!("the client does not give {what}: {}", status.message()))
}
