//! Whether the interface is still there: a socket of the kernel tells nobody when it was removed, it merely falls silent.
//!
//! Used by the links that receive from kernel sockets. Guards: no system call while packets come, and one a second in silence.

use std::ffi::c_ulong;
use std::io;
use std::os::fd::AsRawFd;

use super::super::LinkError;
use crate::time::Time;

/// After so much silence the interface is looked for.
const SILENCE_NS: u64 = 1_000_000_000;

/// An interface, and when it was last known to be there.
#[derive(Debug)]
pub(in crate::link) struct Presence {
    name: String,
    index: u32,
    heard: Time,
}

impl Presence {
    pub(in crate::link) fn of(interface: (&str, u32)) -> Self {
        Self { name: interface.0.into(), index: interface.1, heard: Time::ZERO }
    }

    /// After each turn of receiving: an error once the interface is gone from the socket's network namespace.
    #[inline]
    pub(in crate::link) fn check(&mut self, now: Time, came: usize, socket: &impl AsRawFd) -> Result<(), LinkError> {
        if came > 0 {
            self.heard = now;
        } else if now.since(self.heard) >= SILENCE_NS {
            return self.look(now, socket);
        }
        Ok(())
    }

    #[cold]
    fn look(&mut self, now: Time, socket: &impl AsRawFd) -> Result<(), LinkError> {
        if !is_there(socket, self.index) {
            return Err(LinkError::Gone { interface: self.name.clone() });
        }
        self.heard = now;
        Ok(())
    }
}

/// Whether an interface of this number is there; in doubt it is.
fn is_there(socket: &impl AsRawFd, index: u32) -> bool {
    // SAFETY: a structure of integers and arrays, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = index as i32;
    // SAFETY: the descriptor is open; this question reads and writes the structure alone, which is ours and outlives the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME as c_ulong as _, &raw mut request) };
    answer == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_looked_for_after_a_second_of_silence_and_its_absence_told() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let at = |milliseconds: u64| Time::from_nanos(milliseconds * 1_000_000);
        let mut here = Presence::of(("lo", 1));
        let mut gone = Presence::of(("gone0", 0x7fff_fff0));
        for (presence, there) in [(&mut here, true), (&mut gone, false)] {
            assert!(presence.check(at(5000), 1, &socket).is_ok(), "something came");
            assert!(presence.check(at(5999), 0, &socket).is_ok(), "no second of silence yet");
            let answer = presence.check(at(6000), 0, &socket);
            assert_eq!(answer.is_ok(), there, "{answer:?}");
        }
    }
}
