//! `pgmx` beside the PGM implementations that people run: OpenPGM and ZeroMQ, each at the other end of a cable.
//!
//! ```text
//!   matrix    rows: who talks to whom about what, and how fast        table    what came of them, for people and programs
//!      │                                                                ^
//!      v                                                                │
//!   run       cells (a row over one way), a few at a time ──> play: transfer, joint, late, ends, asks
//!                                                                │
//!                            scene (hosts of its own, logs) ─────┤
//!                            actor (a process) ── programs (its command line)
//! ```
//!
//! The peers are the programs of `bench/peers`, which check the same messages as `pgmx recv --verify`. Guards: a cell has hosts of its own
//! that nobody else sees; nothing outlives the process that runs the cells, in whatever way it ends; a cell holds only when every message
//! was accounted for by whoever received it, and every program ended as it should.

mod actor;
mod asks;
mod ends;
mod joint;
mod late;
pub mod matrix;
mod programs;
pub mod run;
mod scene;
pub mod table;
mod transfer;

use std::fmt;
use std::time::Duration;

/// A column: the way by which `pgmx` reaches the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `AF_XDP`.
    Xdp,
    /// Raw sockets.
    Raw,
    /// PGM in UDP.
    Udp,
}

impl Way {
    /// All columns, from left to right.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::Raw, Self::Udp];

    /// As `--io` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Raw => "raw",
            Self::Udp => "udp",
        }
    }
}

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The command of this house.
    Pgmx,
    /// `OpenPGM` behind its own interface.
    OpenPgm,
    /// `ZeroMQ` sockets over `pgm://` and `epgm://`.
    ZeroMq,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pgmx => "pgmx",
            Self::OpenPgm => "OpenPGM",
            Self::ZeroMq => "ZeroMQ",
        })
    }
}

/// How fast a sender may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can.
    Blast,
    /// Megabits a second.
    Megabits(u32),
    /// Messages a second.
    Messages(u32),
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blast => f.write_str("full blast"),
            Self::Megabits(rate) => write!(f, "at {rate} Mbit/s"),
            Self::Messages(rate) => write!(f, "at {rate} messages/s"),
        }
    }
}

/// Packets that a receiver never sees, of ten thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss(pub u32);

impl Loss {
    /// Not one.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no loss"),
            whole if whole % 100 == 0 => write!(f, "{} % loss", whole / 100),
            part => write!(f, "{} % loss", f64::from(part) / 100.0),
        }
    }
}

/// Octets of a message, from the smallest to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes(pub u32, pub u32);

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

/// How long whoever waits for something that should come at once waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// The group of all cells.
const GROUP: &str = "239.192.0.1";
/// The same as `/proc/net/igmp` lists it.
const GROUP_LISTED: &str = "0100C0EF";
/// The data port of all cells; of UDP both ports as well, where nothing else is said.
const PORT: u16 = 7500;
