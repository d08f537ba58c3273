//! A first process that only looks after the others (`--init`): it hands signals on, reaps what is orphaned, and ends
//! as the program ends.
//!
//! It is the container's init itself, which stays instead of executing the program, and has a child do that. So no file
//! is needed in the container and nothing more is executed. It takes on the program's identity and filter first, holds
//! none of the runtime's descriptors, cannot be looked into (it is not dumpable), and shows a name of its own.

use std::os::fd::BorrowedFd;

use teu_sys::process::{self, Child};
use teu_sys::signal;

use crate::Error;
use crate::credentials::Filter;
use crate::error::During;
use crate::launch::Launch;
use crate::program::Program;
use crate::sync::{self, Report};

const SIGCHLD: i32 = 17;
/// What ends the first process when it cannot do its work.
const BROKEN: i32 = 125;

/// Has a child execute the program, and looks after it. Returns only what stood in the way of beginning.
pub(crate) fn run(
    launch: &Launch,
    program: &Program,
    filter: Option<&Filter>,
    socket: BorrowedFd<'_>,
    last: &dyn Fn() -> Result<(), Error>,
) -> Error {
    let blocked = match signal::block(&signal::Set::full()).during("block signals") {
        Ok(blocked) => blocked,
        Err(error) => return error,
    };
    let story = || {
        launch.lead_terminal();
        let error = match signal::set_blocked(&blocked).during("unblock signals") {
            Ok(_) => launch.execute(program, filter, socket, last),
            Err(error) => error,
        };
        // When the parent is gone there is nobody to tell.
        let _ = sync::report(socket, &Report::Failed(error), None);
        BROKEN
    };
    let child = match process::spawn(0, None, story).during("make the program's process") {
        Ok(child) => child,
        Err(error) => return error,
    };
    match settle(launch, filter) {
        Ok(()) => process::end(look_after(&child)),
        Err(error) => {
            crate::create::end(&child);
            error
        }
    }
}

/// Gives up everything that the program has not either.
fn settle(launch: &Launch, filter: Option<&Filter>) -> Result<(), Error> {
    process::become_subreaper().during("take orphans in")?;
    process::set_title("init").during("take a name")?;
    // A filter with a listener is the program's alone.
    let own = filter.filter(|filter| filter.flags & teu_sys::seccomp::FLAG_NEW_LISTENER == 0);
    launch.become_user(own)
}

/// Until the child ends; returns what to end with.
fn look_after(child: &Child) -> i32 {
    // The socket to the parent is one of them: its end is the sign that the program runs.
    if process::close_from(3).is_err() {
        return BROKEN;
    }
    let all = signal::Set::full();
    loop {
        match signal::wait(&all) {
            Ok(SIGCHLD) => {
                while let Some((pid, exit)) = process::reap_next() {
                    if pid == child.pid {
                        return exit.code;
                    }
                }
            }
            // One that has ended meanwhile gets nothing.
            Ok(number) => process::send_signal_to(child.pid, number),
            Err(_) => return BROKEN,
        }
    }
}
