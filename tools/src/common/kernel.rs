//! What the commands ask of the kernel directly: signals, the terminal, the timer slack, and whether something can be read.
//!
//! All `unsafe` of the tools lives here. Called by `stop`, `live`, `idle`, `workers` and `send`. Guards: a signal handler touches atomics and calls
//! what may be called in one, nothing else.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How often Ctrl-C was pressed, or SIGTERM came.
static ASKED: AtomicU8 = AtomicU8::new(0);

/// Seconds after the second request until the process ends, whatever it is doing.
const PATIENCE_S: u32 = 1;

extern "C" fn on_request(_: libc::c_int) {
    // Three are as good as more.
    let before = ASKED.load(Ordering::Relaxed);
    ASKED.store((before + 1).min(3), Ordering::Relaxed);
    match before {
        0 => {}
        1 => {
            // The loop may be stuck in a write that nobody reads: this ends it.
            // SAFETY: touches no memory, and may be called in a signal handler.
            unsafe { libc::alarm(PATIENCE_S) };
        }
        _ => end(),
    }
}

extern "C" fn on_alarm(_: libc::c_int) {
    end();
}

fn end() -> ! {
    // SAFETY: ends the process without running anything of it; may be called in a signal handler.
    unsafe { libc::_exit(i32::from(super::failure::status::INTERRUPTED)) }
}

/// Counts SIGINT and SIGTERM from now on, instead of ending by them; returns the count.
pub(super) fn catch() -> io::Result<&'static AtomicU8> {
    for (signal, handler) in
        [(libc::SIGINT, on_request as extern "C" fn(_)), (libc::SIGTERM, on_request), (libc::SIGALRM, on_alarm)]
    {
        // SAFETY: a structure of integers and pointers, for which all zeroes is a value: no flags, so that sleeps end, and no mask.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        // SAFETY: the handler is a function of the type that a handler without SA_SIGINFO has, and lives as long as the process; the
        // structure lives through the call.
        if unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(&ASKED)
}

/// Whether a read would not block: something is there, or nothing will ever come.
pub(crate) fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which is ours and lives through the call; it does not wait.
    unsafe { libc::poll(&raw mut asked, 1, 0) > 0 }
}

/// Waits until a read would not block, a signal comes, or `at_most` has passed.
pub(super) fn wait_readable(descriptor: BorrowedFd<'_>, at_most: Duration) {
    let mut asked = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let at_most = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    // SAFETY: one entry and a time, which are ours and live through the call; no mask. Whatever it answers, the caller looks again.
    unsafe { libc::ppoll(&raw mut asked, 1, &raw const at_most, core::ptr::null()) };
}

/// Columns of the terminal behind a descriptor, if there is one.
pub(super) fn columns(descriptor: BorrowedFd<'_>) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes into the structure that this question takes, which is ours and lives through the call.
    let answer = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0 && size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// Wakes this thread when its time has come, and not 50 µs later.
pub(super) fn wake_in_time() {
    // SAFETY: touches no memory. What it cannot have it does without.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0_u64, 0_u64, 0_u64) };
}
