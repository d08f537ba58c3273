//! What the client reads from its standard input, for a thread to read on.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Status;

use super::stream;
use crate::session::Session;
use crate::wire::BytesMessage;

const UPLOAD: &str = "/moby.upload.v1.Upload/Pull";

/// Fetches what the client knows by that path.
pub(crate) async fn upload(session: &Session, path: &str) -> Result<impl Read + Send + use<>, Status> {
    let (done, outgoing) = mpsc::channel::<BytesMessage>(1);
    let mut request = tonic::Request::new(stream(outgoing));
    let path = path.parse().map_err(|_| Status::invalid_argument("the name of an upload"))?;
    request.metadata_mut().insert("urlpath", path);
    let mut incoming = session.converse::<BytesMessage, BytesMessage, _>(UPLOAD, request).await?;
    let (pieces, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let _until_the_end = done;
        loop {
            let piece = match incoming.message().await {
                Ok(Some(message)) => Ok(message.data),
                Ok(None) => break,
                Err(status) => Err(io::Error::other(status.message().to_owned())),
            };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                break;
            }
        }
    });
    Ok(Pieces { receiver, rest: Bytes::new() })
}

/// Pieces from a channel as a thread reads them.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
