//! Commands of Docker's that teu does not have on purpose, each with one clear sentence.

use crate::failure::Failure;

/// Groups and commands by name, and what is said when they are called.
const REFUSED: [(&str, &str); 8] = [
    ("config", SWARM),
    ("node", SWARM),
    ("plugin", "teu has no managed plugins: every driver it knows is built in"),
    ("secret", SWARM),
    ("service", SWARM),
    ("stack", SWARM),
    ("swarm", SWARM),
    ("trust", "teu has no content trust: refer to images by digest, or verify signatures with cosign or notation"),
];

const SWARM: &str = "teu has no Swarm mode: one engine runs the containers of one machine";

/// Why a command is refused, when it is one of these.
pub(crate) fn reason(name: &str) -> Option<Failure> {
    let (name, sentence) = REFUSED.iter().find(|(known, _)| *known == name)?;
    Some(Failure::new(format!("teu: '{name}' is not supported: {sentence}")))
}
