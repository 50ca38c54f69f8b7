//! Links: batches of packets in and out. A link knows the network below PGM and nothing of PGM's procedures.
//!
//! Every link follows the same rules, and one test suite holds all of them to it:
//!
//! * [`Link::send`] takes packets from the front of the batch until it is empty or the link is full; what it takes it owns, and gives
//!   back to the pool when the last octet was read (a completion). Until then a window slot is in flight.
//! * [`Link::receive`] appends at most `into.room()` packets, each in a frame of the pool, its range the PGM packet.
//! * Neither blocks, and neither makes a system call per packet.

pub mod faults;
pub mod memory;
#[cfg(feature = "xdp")]
pub mod xdp;

use core::net::IpAddr;

use crate::frame::{PathFacts, Pool, RxBatch, TxBatch};
use crate::time::Time;

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
}

/// A way to the network.
pub trait Link {
    /// Address, MTU and header sizes.
    fn path(&self) -> PathFacts;

    /// Receives packets for a group from now on.
    fn join(&mut self, group: IpAddr) -> Result<(), LinkError>;

    /// No longer receives packets for a group.
    fn leave(&mut self, group: IpAddr) -> Result<(), LinkError>;

    /// Takes back what has left, appends what has come. Returns how many packets came.
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError>;

    /// Sends from the front of the batch. Returns how many packets it took.
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError>;

    /// When the link wants to be called at the latest, though nothing comes in; most never do.
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// Gives every frame it holds back to the pool, as far as nobody else is reading it. Called once, at the end.
    fn shut_down(&mut self, pool: &mut Pool);
}
