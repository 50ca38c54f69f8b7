//! Sleeping until a socket has something to read.
//!
//! Used by the links with sockets, for callers that need not spin. Guards: every sleep has an end, and a signal ends it early.

use core::time::Duration;
use std::io;
use std::os::fd::RawFd;

/// Descriptors that are watched at a time: as many as an interface has queues that the steering program knows.
const WATCHED_MAX: usize = 256;

/// Sleeps until one of the descriptors can be read from, `at_most` has passed, or a signal came.
pub(in crate::link) fn until_readable(
    descriptors: impl IntoIterator<Item = RawFd>,
    at_most: Duration,
) -> io::Result<()> {
    let mut watched = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; WATCHED_MAX];
    let mut count = 0;
    for (place, descriptor) in watched.iter_mut().zip(descriptors) {
        place.fd = descriptor;
        count += 1;
    }
    let patience = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    // SAFETY: the kernel writes into the first `count` entries, which are ours, and reads a time that lives through the call; no signal
    // mask is given.
    let answer = unsafe { libc::ppoll(watched.as_mut_ptr(), count, &raw const patience, core::ptr::null()) };
    match answer {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

/// Makes the sleeps of the calling thread end when they should, instead of up to 50 µs later, as the kernel has it to save wake-ups.
pub(crate) fn fine_timers() {
    // SAFETY: sets a number of the calling thread; no pointer is involved. Where it is refused, sleeps are coarser.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    #[test]
    fn what_is_there_to_read_ends_the_sleep_and_so_does_the_time() {
        let (quiet, heard) = (UdpSocket::bind("127.0.0.1:0").expect("a port"), UdpSocket::bind("127.0.0.1:0"));
        let heard = heard.expect("a port");
        let begun = Instant::now();
        until_readable([quiet.as_raw_fd()], Duration::from_millis(5)).expect("a sleep");
        assert!(begun.elapsed() >= Duration::from_millis(5));
        quiet.send_to(b"x", heard.local_addr().expect("an address")).expect("loopback takes it");
        // An hour: the test ends because there is something to read.
        until_readable([quiet.as_raw_fd(), heard.as_raw_fd()], Duration::from_secs(3600)).expect("a sleep");
        until_readable([], Duration::ZERO).expect("nobody to listen to");
    }
}
