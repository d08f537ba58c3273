//! A heap that tells when it was used by who has it from somebody else.
//!
//! Invariant: every call goes to the system's allocator as it came, so what that promises holds.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::is_lent;

/// The system's heap, for tests: where a process that has it with lent memory ([`crate::process::lend`]) takes some or gives
/// some back, whoever lent it is aborted the next time that it does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched;

/// Whether somebody has used a heap that was lent.
static USED: AtomicBool = AtomicBool::new(false);

fn watch() {
    if is_lent() {
        // To end here would only look as if the container had ended it.
        USED.store(true, Ordering::Relaxed);
    } else if USED.load(Ordering::Relaxed) {
        std::process::abort();
    }
}

// SAFETY: as the system's allocator, which does all of it.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        watch();
        // SAFETY: the caller keeps the contract, and the place came from there.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        watch();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        watch();
        // SAFETY: the caller keeps the contract, and the place came from there.
        unsafe { System.realloc(place, layout, size) }
    }
}
