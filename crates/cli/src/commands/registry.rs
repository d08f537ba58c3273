//! `teu registry serve`: the flags of the registry; serving is the registry room's affair.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgMatches, FromArgMatches};

use crate::Faces;
use crate::failure::Failure;

/// What it does, in one line.
pub(crate) const ABOUT: &str = "Serve an image registry in the foreground";

/// What `teu registry serve` was told.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct RegistryArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "address", default_value = "127.0.0.1:5000", value_parser = address)]
    pub listen: String,
    /// Folder of the images
    #[arg(long, value_name = "folder", default_value = "/var/lib/teu-registry")]
    pub root: PathBuf,
}

/// Reads `address:port`, `:port` (every address) or `localhost:port`.
fn address(text: &str) -> Result<String, String> {
    let full = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None if text.starts_with(':') => format!("0.0.0.0{text}"),
        None => text.to_owned(),
    };
    let parsed: Result<SocketAddr, _> = full.parse();
    parsed
        .map(|address| address.to_string())
        .map_err(|_| format!("'{text}' is not an address and port, as 127.0.0.1:5000"))
}

/// Hands over to the registry.
pub(crate) fn perform(matches: &ArgMatches, faces: &Faces) -> Result<u8, Failure> {
    let args = RegistryArgs::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()).code(125))?;
    Ok((faces.registry)(args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address(":5000").unwrap(), "0.0.0.0:5000");
        assert_eq!(address("localhost:0").unwrap(), "127.0.0.1:0");
        assert_eq!(address("[::1]:5000").unwrap(), "[::1]:5000");
        assert!(address("5000").is_err() && address("host:5000").is_err());
    }
}
