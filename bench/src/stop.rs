//! Ctrl-C: a benchmark that is asked to end goes home by the way that it came, so that nothing is left behind.
//!
//! Asked by whoever waits. SIGTERM counts the same. Guards: the handler stores one flag, and a second request ends the process as the
//! first would have without us.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_request(_: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// Notes SIGINT and SIGTERM from now on; the second of a kind ends the process at once.
///
/// # Errors
/// If the kernel refuses.
pub fn install() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: a structure of integers and pointers, for which all zeroes is a value.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = on_request as extern "C" fn(_) as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler stores an atomic and nothing else, and lives as long as the process; the structure lives through the call.
        if unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether to end.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
