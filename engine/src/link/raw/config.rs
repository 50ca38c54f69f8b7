//! What a `raw` link is asked for, what it got, and why it could not be opened.
//!
//! Read by whoever opens a link. Guards: a link is never opened on values that cannot work; the refusal names the field, the value
//! and the allowed range.

use core::fmt;

use crate::frame::{Layout, SlabError};
use crate::link::{Address, InterfaceError, LinkError};

/// Octets of the longest IP packet that has a length in its header.
pub(super) const IP_MAX: u32 = u16::MAX as u32;

/// Octets of a small frame: a page holds two, and the usual MTU of 1500 fits.
const FRAME_LEAST: u32 = 2048;

/// Packets that the kernel takes at a call (`UIO_MAXIOV`).
const BATCH_MOST: usize = 1024;

/// What a `raw` link is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawConfig {
    /// The interface, by name, number or address.
    pub interface: String,
    /// Which of its addresses is ours. It decides between IPv4 and IPv6.
    pub address: Address,
    /// Frames in all: the transmit windows, what is held out of order or delivered, and twice the batch for the link itself.
    pub frames: u32,
    /// Octets of a frame, a power of two; `None` takes the least that holds the MTU.
    pub frame_size: Option<u32>,
    /// Time to live of packets to a group.
    pub ttl: u8,
    /// Type-of-service octet: the DSCP in its upper six bits.
    pub tos: u8,
    /// Whether this host hears what it sends to a group: other processes, and this link itself.
    pub loopback: bool,
    /// Octets that the kernel may hold until we look, of packets and its own structures: a short packet counts about 800. The default
    /// holds 20 ms of a million packets a second; below, a worker that was away loses data; above, it costs memory only.
    pub receive_buffer: u32,
    /// Packets that one call to the kernel moves at most. Above 64, as many as an endpoint's batches hold, nothing is gained.
    pub batch: usize,
}

impl RawConfig {
    /// Good values for this interface.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.into(),
            address: Address::default(),
            frames: 16_384,
            frame_size: None,
            ttl: 16,
            tos: 0,
            loopback: true,
            receive_buffer: 16 << 20,
            batch: 64,
        }
    }

    pub(super) fn check(&self) -> Result<(), RawError> {
        if !(1..=BATCH_MOST).contains(&self.batch) {
            return Err(RawError::config("batch", self.batch, format!("1 to {BATCH_MOST}")));
        }
        let least = 2 * self.batch as u32 + 1;
        if !(least..=1 << 24).contains(&self.frames) {
            let allowed = format!("{least} (twice the batch of {}, and one) to 16777216", self.batch);
            return Err(RawError::config("frames", self.frames as usize, allowed));
        }
        if self.ttl == 0 {
            return Err(RawError::config("ttl", 0, "1 to 255".into()));
        }
        Ok(())
    }

    /// The shape of the frames for an interface of this MTU. IP headers stand at the very front of a frame: nothing else needs room.
    pub(super) fn layout(&self, interface: &str, mtu: u32) -> Result<Layout, RawError> {
        let packet = mtu.min(IP_MAX);
        let least = packet.next_power_of_two().max(256);
        let frame_size = self.frame_size.unwrap_or(least.max(FRAME_LEAST));
        if !frame_size.is_power_of_two() || !(least..=IP_MAX + 1).contains(&frame_size) {
            let allowed = format!("a power of two from {least} (for the MTU {mtu} of {interface}) to {}", IP_MAX + 1);
            return Err(RawError::config("frame_size", frame_size as usize, allowed));
        }
        Ok(Layout { frame_size, frames: self.frames, start: 0 })
    }
}

/// What a link got.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// Octets of the receive buffer.
    pub receive_buffer: u32,
    /// Octets that were asked for.
    pub receive_buffer_wanted: u32,
}

impl Taken {
    /// What would be better, and how to have it; `None` where all was given.
    pub fn remedy(&self) -> Option<String> {
        let Self { receive_buffer, receive_buffer_wanted } = self;
        (receive_buffer < receive_buffer_wanted).then(|| {
            format!("grant CAP_NET_ADMIN, or allow it to all: `sysctl -w net.core.rmem_max={receive_buffer_wanted}`")
        })
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raw sockets, receive buffer of {} octets", self.receive_buffer)?;
        match self.remedy() {
            Some(remedy) => write!(f, "; {} refused: {remedy}", self.receive_buffer_wanted),
            None => Ok(()),
        }
    }
}

/// Why a `raw` link could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawError {
    /// A value that cannot work.
    #[error("{field} = {value} refused: allowed is {allowed}")]
    Config {
        /// The field of [`RawConfig`].
        field: &'static str,
        /// Its value.
        value: usize,
        /// What is possible.
        allowed: String,
    },
    /// The right to raw sockets is missing.
    #[error(
        "a raw socket on {interface} needs CAP_NET_RAW, which this process does not have; grant it (`setcap cap_net_raw+ep {binary}`) or run as root, or use PGM in UDP, which needs no privilege (`epgm://`, --io udp)"
    )]
    NotPermitted {
        /// The interface.
        interface: String,
        /// This program.
        binary: String,
    },
    /// The interface cannot be asked or used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// No memory for the frames.
    #[error(transparent)]
    Slab(#[from] SlabError),
    /// The operating system refused something else.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl RawError {
    fn config(field: &'static str, value: usize, allowed: String) -> Self {
        Self::Config { field, value, allowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_the_longest_packet_of_its_interface() {
        let size = |mtu| RawConfig::new("x").layout("x", mtu).expect("any MTU").frame_size;
        assert_eq!(
            [68, 1500, 2048, 2049, 9000, 65_535, 65_536].map(size),
            [2048, 2048, 2048, 4096, 16_384, 65_536, 65_536]
        );
    }

    #[test]
    fn a_value_that_cannot_work_is_refused_by_name_with_what_is_possible() {
        let refused = |change: fn(&mut RawConfig)| {
            let mut config = RawConfig::new("eth0");
            change(&mut config);
            config.check().and_then(|()| config.layout("eth0", 9000)).expect_err("a wrong value").to_string()
        };
        assert_eq!(refused(|config| config.batch = 0), "batch = 0 refused: allowed is 1 to 1024");
        assert_eq!(refused(|config| config.batch = 1025), "batch = 1025 refused: allowed is 1 to 1024");
        assert_eq!(
            refused(|config| config.frames = 128),
            "frames = 128 refused: allowed is 129 (twice the batch of 64, and one) to 16777216"
        );
        assert_eq!(refused(|config| config.ttl = 0), "ttl = 0 refused: allowed is 1 to 255");
        for size in [4096, 12_288, 131_072] {
            let refused = RawConfig { frame_size: Some(size), ..RawConfig::new("eth0") }.layout("eth0", 9000);
            assert_eq!(
                refused.expect_err("a wrong size").to_string(),
                format!(
                    "frame_size = {size} refused: allowed is a power of two from 16384 (for the MTU 9000 of eth0) to 65536"
                )
            );
        }
    }

    #[test]
    fn a_small_buffer_comes_with_its_remedy() {
        let full = Taken { receive_buffer: 4096, receive_buffer_wanted: 4096 };
        assert_eq!((full.remedy(), full.to_string().contains("refused")), (None, false));
        let less = Taken { receive_buffer: 1024, ..full };
        assert!(less.to_string().contains("sysctl -w net.core.rmem_max=4096"), "{less}");
    }
}
