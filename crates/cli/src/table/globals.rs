//! The flags before the command's name.

use clap::{Arg, ArgAction, Command};

/// The flags before the command's name.
pub(crate) fn globals() -> Command {
    Command::new("teu")
        .about("Build, ship and run containers")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(GLOBAL_FLAGS.iter().map(|(short, long, kind, help)| {
            let arg = Arg::new(*long).long(*long).help(*help);
            let arg = if let Some(short) = short { arg.short(*short) } else { arg };
            match kind {
                Some(kind) => arg.value_name(*kind),
                None => arg.action(ArgAction::SetTrue),
            }
        }))
}

/// The flags before the command's name: short, long, what their value is, help.
const GLOBAL_FLAGS: &[(Option<char>, &str, Option<&str>, &str)] = &[
    (None, "config", Some("string"), "Folder of the client's config files (default $DOCKER_CONFIG or ~/.docker)"),
    (
        Some('c'),
        "context",
        Some("string"),
        "Context whose daemon to talk to (default $DOCKER_CONTEXT, 'teu context use')",
    ),
    (Some('D'), "debug", None, "Say more about what goes wrong"),
    (
        Some('H'),
        "host",
        Some("string"),
        "Daemon to talk to: unix:///path, tcp://host:port, ssh://user@host\n(default $TEU_HOST, $DOCKER_HOST)",
    ),
    (Some('l'), "log-level", Some("string"), "Least level to log (debug|info|warn|error|fatal) (default info)"),
    (None, "no-autostart", None, "Do not start a daemon when none answers"),
    (None, "tls", None, "Encrypt connections over TCP; implied by --tlsverify"),
    (None, "tlscacert", Some("string"), "Trust certificates signed only by this authority (default ~/.docker/ca.pem)"),
    (None, "tlscert", Some("string"), "The client's certificate (default ~/.docker/cert.pem)"),
    (None, "tlskey", Some("string"), "The client's private key (default ~/.docker/key.pem)"),
    (None, "tlsverify", None, "Encrypt connections over TCP and verify the daemon"),
];
