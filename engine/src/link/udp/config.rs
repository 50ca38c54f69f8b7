//! What a `udp` link is asked for, what it took, and why something better was refused.
//!
//! Read by whoever opens a link. Guards: a link is never opened on values that cannot work; the refusal names the field, the value
//! and the allowed range.

use core::fmt;
use std::io;

use crate::frame::{Layout, SlabError};
use crate::link::{Address, Encapsulation, InterfaceError};

/// What a `udp` link is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpConfig {
    /// The interface: its name, its number or one of its addresses.
    pub interface: String,
    /// Which of the interface's addresses is ours.
    pub address: Address,
    /// Port of packets to one host.
    pub unicast_port: u16,
    /// Port of packets to a group.
    pub multicast_port: u16,
    /// Whether packets to our address are for this link. Linux gives such a packet to *one* socket of the host, to that which was bound
    /// last: of a publisher and a subscriber in two processes on one address, only the publisher should hear them.
    pub hear_unicast: bool,
    /// Frames in all: those waiting to be received into, the transmit windows, and what is held out of order or delivered.
    pub frames: u32,
    /// Octets of the largest IP packet, where that shall be less than the interface's MTU: loopback has one of 65,536, and frames as large.
    pub mtu: Option<u16>,
    /// Octets of a frame, a power of two; `None` takes the least that the MTU fits into.
    pub frame_size: Option<u32>,
    /// Time to live of packets to a group.
    pub ttl: u8,
    /// Type-of-service octet.
    pub tos: u8,
    /// Whether this host hears what we send to groups: other processes, and this link itself where it joined the group.
    pub loopback: bool,
    /// Octets the kernel may queue for each of our sockets. 8 MiB are 6 ms of full packets at 10 Gbit/s: a worker may look away for as
    /// long. Without privilege the kernel gives no more than `net.core.rmem_max`.
    pub receive_buffer: u32,
    /// Datagrams moved by one call, at most. 64 is a poll's worth; more gains little over the cost of the datagrams themselves.
    pub batch: usize,
    /// Hand the kernel many packets to one destination as one, to be cut at the last moment (UDP GSO).
    pub gso: bool,
    /// Take many packets of one sender from the kernel as one (UDP GRO).
    pub gro: bool,
}

impl UdpConfig {
    /// Good values for this interface and these ports; equal ones are fine.
    pub fn new(interface: &str, unicast_port: u16, multicast_port: u16) -> Self {
        Self {
            interface: interface.into(),
            address: Address::default(),
            unicast_port,
            multicast_port,
            hear_unicast: true,
            frames: 16_384,
            mtu: None,
            frame_size: None,
            ttl: 16,
            tos: 0,
            loopback: true,
            receive_buffer: 8 << 20,
            batch: 64,
            gso: true,
            gro: true,
        }
    }

    /// What this link's packets travel in.
    pub fn encapsulation(&self) -> Encapsulation {
        Encapsulation::Udp { unicast_port: self.unicast_port, multicast_port: self.multicast_port }
    }

    /// The shape of the frames for an MTU: the kernel writes the headers, so that a packet may begin where its frame does.
    pub(super) fn layout(&self, mtu: u32) -> Layout {
        let frame_size = self.frame_size.unwrap_or_else(|| mtu.next_power_of_two().max(2048));
        Layout { frame_size, frames: self.frames, start: 0 }
    }

    pub(super) fn check(&self, mtu: u32, headers: u32, posted: u32) -> Result<(), UdpError> {
        let wrong = |field, value: u32, allowed: String| Err(UdpError::Config { field, value, allowed });
        for (field, port) in [("unicast_port", self.unicast_port), ("multicast_port", self.multicast_port)] {
            if port == 0 {
                return wrong(field, 0, "1 to 65535".into());
            }
        }
        if !(1..=1024).contains(&self.batch) {
            return wrong("batch", self.batch as u32, "1 to 1024".into());
        }
        if self.ttl == 0 {
            return wrong("ttl", 0, "1 to 255".into());
        }
        let least = mtu.saturating_sub(headers);
        if let Some(size) = self.frame_size
            && size < least
        {
            return wrong("frame_size", size, format!("a power of two of at least {least}, for the MTU of {mtu}"));
        }
        // What waits to be received into, and as much again to replace it and to send.
        if self.frames < 2 * posted {
            return wrong("frames", self.frames, format!("{} (twice what is received into) to 16777216", 2 * posted));
        }
        Ok(())
    }
}

/// What a link took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpTaken {
    /// Whether several packets are handed to the kernel as one. Can end while the link runs, where a device or route cannot.
    pub gso: bool,
    /// Whether several packets may come from the kernel as one.
    pub gro: bool,
    /// Octets that the kernel queues for each socket.
    pub receive_buffer: u32,
    /// What would have been better, and why it was refused.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for UdpTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |on| if on { "with" } else { "without" };
        write!(f, "UDP {} GSO, {} GRO, ", with(self.gso), with(self.gro))?;
        write!(f, "receive buffer: {} octets", self.receive_buffer)?;
        self.refusals.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}

/// Something better that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried.
    pub attempt: &'static str,
    /// The answer, and what would help.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused: {}", self.attempt, self.reason)
    }
}

/// Why a `udp` link could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// A value that cannot work.
    #[error("{field} = {value} refused: allowed is {allowed}")]
    Config {
        /// The field of [`UdpConfig`].
        field: &'static str,
        /// Its value.
        value: u32,
        /// What is possible.
        allowed: String,
    },
    /// The interface cannot be asked or used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface's MTU leaves no room.
    #[error("an MTU of {mtu} on {interface} leaves no room for PGM behind {headers} octets of IP and UDP; raise it")]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// Octets of IP and UDP headers.
        headers: u32,
    },
    /// The frames cannot be used.
    #[error(transparent)]
    Slab(#[from] SlabError),
    /// The kernel refused a socket, or something it must be able to do.
    #[error("UDP socket on {interface}: {attempt} failed: {error}")]
    Socket {
        /// The interface.
        interface: String,
        /// What was attempted.
        attempt: String,
        /// The answer.
        error: io::Error,
    },
}
