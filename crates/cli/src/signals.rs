//! Signals on their way to the container, and the terminal's size with them.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::{Client, escape};
use crate::failure::{Failure, Naming};
use crate::output::note;
use crate::terminal;

/// The signals that are passed on, by name. Those of job control are not: they stop this program, as users expect.
const FORWARDED: [(&str, SignalKind); 6] = [
    ("HUP", SignalKind::hangup()),
    ("INT", SignalKind::interrupt()),
    ("QUIT", SignalKind::quit()),
    ("TERM", SignalKind::terminate()),
    ("USR1", SignalKind::user_defined1()),
    ("USR2", SignalKind::user_defined2()),
];

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// So many signals end a program that waits for the daemon; those before are passed on when there is somebody to have them.
const INSISTENCE: usize = 3;

/// Signals that are caught from now on.
pub(crate) struct Caught {
    signals: Vec<(&'static str, Signal)>,
    /// Those that came before there was a container, in order.
    held: Vec<&'static str>,
}

/// Catches the signals that will be passed on; before the container starts, so that none is lost.
pub(crate) fn catch() -> Result<Caught, Failure> {
    let caught = FORWARDED.into_iter().map(|(name, kind)| Ok((name, signal(kind)?))).collect::<io::Result<_>>();
    caught.map(|signals| Caught { signals, held: vec![] }).or_fail("catch signals")
}

impl Caught {
    /// Does the work, which the first signal breaks off.
    pub(crate) async fn or_break<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            name = self.next() => Err(Failure::silent(code(name))),
        }
    }

    /// Does the work and holds the signals for later; who insists breaks it off.
    pub(crate) async fn or_hold<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let insisted = async {
            loop {
                let name = self.next().await;
                self.held.push(name);
                if self.held.len() == INSISTENCE {
                    return name;
                }
            }
        };
        tokio::select! {
            done = work => done,
            name = insisted => Err(Failure::silent(code(name))),
        }
    }

    /// The next signal's name.
    async fn next(&mut self) -> &'static str {
        let waits = self.signals.iter_mut().map(|(name, signal)| {
            Box::pin(async move {
                signal.recv().await;
                *name
            })
        });
        futures_util::future::select_all(waits).await.0
    }

    /// Passes every signal on to the container; ends when the user wants to leave one that does not end.
    pub(crate) async fn forward(&mut self, client: &Client<'_>, container: &str) -> u8 {
        let mut interrupts = 0;
        let mut held = std::mem::take(&mut self.held).into_iter();
        loop {
            let name = match held.next() {
                Some(name) => name,
                None => self.next().await,
            };
            interrupts += u8::from(name == "INT" && io::stdin().is_terminal());
            match interrupts {
                2 => note!("\nhint: press Ctrl-C once more to leave the container running"),
                3 => return INTERRUPTED,
                _ => {}
            }
            let path = format!("/containers/{}/kill", escape(container));
            // A container that has ended meanwhile needs no signal.
            let _ = client.post(path).query("signal", name).done().await;
        }
    }
}

/// The exit code of a program that this signal ends.
fn code(name: &str) -> u8 {
    let number = FORWARDED.into_iter().find(|(other, _)| *other == name).map(|(_, kind)| kind.as_raw_value());
    u8::try_from(128 + number.unwrap_or_default()).unwrap_or(INTERRUPTED)
}

/// Waits for a signal that ends this program, for what has to be tidied up first; the exit code that says so.
pub(crate) async fn ended() -> u8 {
    let (Ok(mut hangup), Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::hangup()), signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = hangup.recv() => 129,
        _ = interrupt.recv() => INTERRUPTED,
        _ = terminate.recv() => 143,
    }
}

/// Keeps the container's terminal at the size of the user's; never ends. `path` is the object's, `/containers/x`.
pub(crate) async fn follow_size(client: &Client<'_>, path: &str) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return std::future::pending().await };
    loop {
        if let Some((rows, columns)) = terminal::size() {
            let call = client.post(format!("{path}/resize"));
            let _ = call.query("h", rows.to_string()).query("w", columns.to_string()).done().await;
        }
        changes.recv().await;
    }
}
