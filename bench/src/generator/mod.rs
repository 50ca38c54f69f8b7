//! Receiving from the in-kernel generator: packets made by a small XDP program, at more than any copying sender gives.
//!
//! ```text
//!   duel     the engine and bare AF_XDP rings in turns, each over a cable of its own, held back by what they took
//!    ├─ feed    the generator's side: a thread that keeps it running      frame   what it sends
//!    └─ take    the receiving side: the loop around a Taker, and what it measures
//!         ├─ bare     AF_XDP rings and nothing else: the yardstick
//!         └─ engine   an endpoint with one receiver, whole
//!   listen   the engine alone, receiving from another host
//! ```
//!
//! Called by `pgmx bench`. How a lossless rate is found: it is not searched for. The receiver writes how many packets it took into memory
//! that the generator's program reads before each packet, and the program sends no packet for which the receiver's rings have no room
//! ([`Course::ahead`]). So either side goes as fast as the other lets it, and a packet that is missing all the same is a loss, and told.

mod bare;
pub mod duel;
mod engine;
pub mod feed;
pub mod frame;
pub mod listen;
pub mod take;

use std::time::Duration;

pub use bare::Bare;
pub use engine::Engine;

/// What all are given.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Octets of payload.
    pub payload: usize,
    /// Entries of each ring of a receiver.
    pub ring: u32,
    /// Packets that may be on their way. Half a ring: what is not in it waits in the cable, which holds 256, or is on its way between
    /// the processors, and the rest leaves the receiver time to look away.
    pub ahead: u32,
    /// Packets that the kernel passes on together.
    pub batch: u32,
    /// Packets a second at most; 0: as many as are taken.
    pub packets_per_s: u32,
    /// How long packets are made.
    pub time: Duration,
}

impl Course {
    /// As it is measured where nothing else is asked for. 64 packets pass together, as many as the other end of a veth takes at a time.
    pub const DEFAULT: Self =
        Self { payload: 64, ring: 2048, ahead: 1024, batch: 64, packets_per_s: 0, time: Duration::from_millis(500) };
}

/// Puts what was attempted in front of an error.
pub(crate) fn words<T: core::fmt::Display>(what: &'static str) -> impl FnOnce(T) -> String {
    move |error| format!("{what}: {error}")
}
