//! Links: batches of packets in and out. A link knows the network below PGM and nothing of PGM's procedures.
//!
//! Every link follows the same rules, and one test suite holds all of them to it:
//!
//! * [`Link::send`] takes packets from the front of the batch until it is empty or the link is full; what it takes it owns, and gives
//!   back to the pool when the last octet was read (a completion). Until then a window slot is in flight.
//! * [`Link::receive`] appends at most `into.room()` packets, each in a frame of the pool, its range the PGM packet.
//! * Neither blocks, and neither makes a system call per packet.
//! * An interface that is down is no error: what it does not take is kept or counted, and it goes on when the interface is up again.

/// In a wrapper's `impl Link`: what it has no part in goes to the link inside, which is its field of this name.
macro_rules! pass_on {
    ($inner:ident) => {
        fn path(&self) -> $crate::frame::PathFacts {
            self.$inner.path()
        }

        fn join(
            &mut self,
            channel: $crate::link::Channel,
            sources: &[core::net::IpAddr],
        ) -> Result<(), $crate::link::LinkError> {
            self.$inner.join(channel, sources)
        }

        fn leave(&mut self, channel: $crate::link::Channel) -> Result<(), $crate::link::LinkError> {
            self.$inner.leave(channel)
        }

        fn listen(&mut self, port: u16) -> Result<(), $crate::link::LinkError> {
            self.$inner.listen(port)
        }

        fn unlisten(&mut self, port: u16) -> Result<(), $crate::link::LinkError> {
            self.$inner.unlisten(port)
        }
    };
}
#[cfg(feature = "sim")]
pub(crate) use pass_on;

pub mod auto;
pub mod capture;
pub mod faults;
mod kernel;
pub mod memory;
pub mod raw;
mod rights;
pub mod survey;
pub mod udp;
#[cfg(feature = "xdp")]
pub mod xdp;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::os::fd::{AsRawFd, BorrowedFd};

pub use kernel::interface::{Address, InterfaceError};
pub(crate) use kernel::wait::fine_timers;
pub use rights::{Right, Rights};

use crate::frame::{PathFacts, Pool, RxBatch, TxBatch};
use crate::time::Time;
use crate::wire::net::{UDP_MULTICAST_PORT, UDP_UNICAST_PORT};

/// Why a link failed as a whole. A packet that could not be sent is counted by the link, not reported here.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The operating system refused something.
    #[error("{attempt}: {error}")]
    System {
        /// What was attempted, and on what.
        attempt: String,
        /// The answer.
        error: std::io::Error,
    },
    /// The interface was removed, or moved to another network namespace. One that is merely down is no error.
    #[error("interface {interface} is gone; open the link again when it is back")]
    Gone {
        /// The interface.
        interface: String,
    },
    /// Another link on this host already takes these packets off the interface, or would lose them to us.
    #[error(
        "{channel} on {interface} is in use by process {pid} over {link}: both cannot have it, because AF_XDP takes packets off the interface; end that process, use another group or port, or run both over kernel sockets (--io raw, or udp for PGM in UDP)"
    )]
    Claimed {
        /// What was asked for.
        channel: Channel,
        /// The interface.
        interface: String,
        /// Who has it.
        pid: u32,
        /// The kind of its link.
        link: String,
    },
}

/// What sessions are heard by: a group, and the data port that their packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The group.
    pub group: IpAddr,
    /// The PGM data-destination port.
    pub data_port: u16,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} port {}", self.group, self.data_port)
    }
}

/// What PGM packets travel in. Both ends must agree: nobody hears the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// IP protocol 113, as the RFC has it (`pgm://`).
    #[default]
    Pgm,
    /// UDP, by practice (`epgm://`).
    Udp {
        /// Port of packets to one host.
        unicast_port: u16,
        /// Port of packets to a group.
        multicast_port: u16,
    },
}

impl Encapsulation {
    /// UDP on the two ports of other implementations, 3055 and 3056.
    pub const UDP: Self = Self::Udp { unicast_port: UDP_UNICAST_PORT, multicast_port: UDP_MULTICAST_PORT };

    /// UDP on one port for both kinds of packets, as `epgm://` endpoints write it.
    pub const fn one_port(port: u16) -> Self {
        Self::Udp { unicast_port: port, multicast_port: port }
    }
}

/// A way to the network.
pub trait Link {
    /// Address, MTU and header sizes.
    fn path(&self) -> PathFacts;

    /// Receives this channel's packets from now on: those of these sources, or of all if none is named. Joining again replaces the
    /// sources.
    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError>;

    /// No longer receives this channel's packets.
    fn leave(&mut self, channel: Channel) -> Result<(), LinkError>;

    /// Receives from now on what is sent to our address with this PGM destination port: the source port of a session of ours, or a data
    /// port that receivers of ours listen on.
    fn listen(&mut self, port: u16) -> Result<(), LinkError>;

    /// No longer receives them.
    fn unlisten(&mut self, port: u16) -> Result<(), LinkError>;

    /// Takes back what has left, appends what has come. Returns how many packets came.
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError>;

    /// Sends from the front of the batch. Returns how many packets it took.
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError>;

    /// When the link wants to be called at the latest, though nothing comes in; most never do.
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// Sleeps until something comes in or `wake` can be read, but no longer than `at_most`; may return early. For those who need not
    /// spin: whatever [`Link::deadline`] or the protocol wants earlier is theirs to put into `at_most`.
    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        // Such a link cannot tell when something comes: it is looked for every millisecond.
        let at_most = at_most.min(Duration::from_millis(1));
        kernel::wait::until_readable(wake.map(|wake| wake.as_raw_fd()), at_most)
            .map_err(|error| LinkError::System { attempt: "sleeping".into(), error })
    }

    /// Whether our own packets to a group that we joined, and those to our own address, come back to us by this link itself. Where they
    /// do not, the endpoint connects its sources with its receivers.
    fn loops_back(&self) -> bool {
        false
    }

    /// Gives every frame it holds back to the pool, as far as nobody else is reading it. Called once, at the end.
    fn shut_down(&mut self, pool: &mut Pool);
}
