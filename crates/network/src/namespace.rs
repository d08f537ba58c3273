//! Doing something inside another network namespace without moving the calling thread there.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// Runs `work` on a thread of its own inside `netns`. The thread ends with the call, so no thread that does other
/// work is ever in a foreign namespace.
pub(crate) fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, Error> {
    let enter = || {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, enter)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
    .map_err(|source| Error::io("enter network namespace", source))
}
