//! What an `xdp` link is asked for, what it took, and why something better was refused.
//!
//! Read by whoever opens a link. Guards: a link is never opened on values that cannot work; the refusal names the field, the value
//! and the allowed range.

use core::fmt;
use std::net::Ipv4Addr;

use pgmx_ebpf::{Attachment, SteeringError};

use crate::frame::{Layout, SlabError};
use crate::link::{InterfaceError, LinkError};

/// How frames get from and to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPath {
    /// Zero-copy where the driver can, else copy.
    #[default]
    Auto,
    /// Zero-copy or nothing.
    ZeroCopy,
    /// Copy, without asking for better.
    Copy,
}

/// What an `xdp` link is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct XdpConfig {
    /// The interface.
    pub interface: String,
    /// The one queue to use; `None` takes all of the interface. Multicast has no ports, so a session's packets come in on one queue,
    /// but the kernel and the card choose which.
    pub queue: Option<u32>,
    /// Our address; `None` takes the first of the interface.
    pub address: Option<Ipv4Addr>,
    /// How frames get from and to the driver.
    pub data_path: DataPath,
    /// Octets of a frame: 2048, or 4096 for an MTU above 1,750.
    pub frame_size: u32,
    /// Frames in all: the fill ring of each queue, the transmit windows, and what is held out of order or delivered.
    pub frames: u32,
    /// Entries of each ring. 2,048 is a millisecond of 64-octet packets at 2 million a second: as long as a worker may look away.
    pub ring: u32,
    /// Packets that one wake-up call may move in copy mode, where the kernel can be told (Linux 6.17): its own 32 cost a system call
    /// each, and a transmit ring's worth gains nothing over 256 but delays reception.
    pub tx_budget: u32,
    /// Time to live of packets to a group.
    pub ttl: u8,
    /// Type-of-service octet.
    pub tos: u8,
}

impl XdpConfig {
    /// Good values for this interface.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.into(),
            queue: None,
            address: None,
            data_path: DataPath::default(),
            frame_size: 2048,
            frames: 16_384,
            ring: 2048,
            tx_budget: 256,
            ttl: 16,
            tos: 0,
        }
    }

    /// The shape of the frames: xsk-rs lets a transmitted frame begin behind the room for XDP programs.
    pub fn layout(&self) -> Layout {
        Layout { frame_size: self.frame_size, frames: self.frames, start: Layout::XDP_HEADROOM }
    }

    pub(super) fn check(&self, queues: u32) -> Result<(), XdpError> {
        let wrong = |field, value: u32, allowed: String| Err(XdpError::Config { field, value, allowed });
        if !matches!(self.frame_size, 2048 | 4096) {
            return wrong("frame_size", self.frame_size, "2048 or 4096".into());
        }
        if !self.ring.is_power_of_two() || !(64..=32_768).contains(&self.ring) {
            return wrong("ring", self.ring, "a power of two from 64 to 32768".into());
        }
        // A fill ring for each queue, and as much again to send and to hold.
        let least = queues * self.ring * 2;
        if !(least..=1 << 24).contains(&self.frames) {
            return wrong(
                "frames",
                self.frames,
                format!("{least} (twice the fill rings of {queues} queues) to 16777216"),
            );
        }
        if self.tx_budget == 0 || self.tx_budget > self.ring {
            return wrong("tx_budget", self.tx_budget, format!("1 to {} (the ring)", self.ring));
        }
        if self.ttl == 0 {
            return wrong("ttl", 0, "1 to 255".into());
        }
        Ok(())
    }
}

/// What a link took.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Where the steering program is attached.
    pub attachment: Attachment,
    /// Whether frames are moved without a copy.
    pub zero_copy: bool,
    /// Queues opened.
    pub queues: u32,
    /// Whether the kernel took the transmit budget; otherwise its own 32 hold.
    pub tx_budget: bool,
    /// What would have been better, and why it was refused.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copy = if self.zero_copy { "zero-copy" } else { "copy" };
        write!(f, "AF_XDP {}, {copy}, queues: {}", self.attachment, self.queues)?;
        self.refusals.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}

/// Something better that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried.
    pub attempt: String,
    /// The answer.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused: {}", self.attempt, self.reason)
    }
}

/// Why an `xdp` link could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// A value that cannot work.
    #[error("{field} = {value} refused: allowed is {allowed}")]
    Config {
        /// The field of [`XdpConfig`].
        field: &'static str,
        /// Its value.
        value: u32,
        /// What is possible.
        allowed: String,
    },
    /// The interface cannot be asked or used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The steering program could not be put to work.
    #[error(transparent)]
    Steering(#[from] SteeringError),
    /// No memory for the frames.
    #[error("registering {octets} octets of packet memory failed: {reason}; use fewer frames, or raise `ulimit -l`")]
    Memory {
        /// Size asked for.
        octets: usize,
        /// The answer.
        reason: String,
    },
    /// The frames cannot be used.
    #[error(transparent)]
    Slab(#[from] SlabError),
    /// A socket could not be bound.
    #[error(
        "AF_XDP socket on {interface} queue {queue} refused: {refusals}; is another AF_XDP program using that queue?"
    )]
    Socket {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was tried, and the answers.
        refusals: String,
    },
    /// The first use of the link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
}
