//! Frames with an address: what the protocol hands to a link and what a link hands up.
//!
//! Links and the protocol do not know each other; these types are all they share. The range of the frame is always the PGM packet,
//! nothing before it and nothing behind; a link writes its own headers into the room in front.

use core::net::IpAddr;
use std::collections::VecDeque;

use super::pool::Frame;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The group, with the session's TTL.
    Group(IpAddr),
    /// The group, with TTL 1: PGM neighbours on this network only.
    Neighbours(IpAddr),
    /// One host.
    Unicast(IpAddr),
}

/// A packet on its way out.
#[derive(Debug)]
#[must_use = "its frame would be lost"]
pub struct Outgoing {
    /// The PGM packet, beginning at `layout.start + path.front` (`+ path.alert` with Router Alert).
    pub frame: Frame,
    /// Destination.
    pub to: To,
    /// Whether the IP header carries Router Alert.
    pub router_alert: bool,
}

/// A packet that came in.
#[derive(Debug)]
#[must_use = "its frame would be lost"]
pub struct Incoming {
    /// The PGM packet.
    pub frame: Frame,
    /// IP source.
    pub from: IpAddr,
    /// IP destination: the group or one of our addresses.
    pub to: IpAddr,
}

/// What the protocol has to know about the way to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// Our address on the interface: the source of our packets and the path in our SPMs.
    pub nla: IpAddr,
    /// Octets of the largest IP packet.
    pub mtu: u16,
    /// Octets of link and network headers in front of a PGM packet, without Router Alert.
    pub front: u16,
    /// Octets that Router Alert adds to them: 4 over native IPv4; 0 over IPv6, where PGM has none, and in UDP.
    pub alert: u16,
    /// Octets of IP (and UDP) headers in front of a PGM packet, without Router Alert: what a rate limit counts.
    pub ip_header: u16,
}

impl PathFacts {
    /// Octets of the IP packet around `tpdu` octets of PGM.
    #[inline]
    pub fn ip_octets(&self, tpdu: usize, router_alert: bool) -> u32 {
        tpdu as u32 + u32::from(self.ip_header) + if router_alert { u32::from(self.alert) } else { 0 }
    }

    /// The largest PGM packet that fits the MTU whatever its header form.
    pub fn tpdu_max(&self) -> u16 {
        self.mtu - self.ip_header - self.alert
    }
}

/// A bounded queue of packets, first in, first out. Never grows.
#[derive(Debug)]
pub struct Batch<T> {
    queue: VecDeque<T>,
    bound: usize,
}

/// Packets for a link to send.
pub type TxBatch = Batch<Outgoing>;
/// Packets that a link received.
pub type RxBatch = Batch<Incoming>;

impl<T> Batch<T> {
    /// Room for `bound` packets.
    pub fn new(bound: usize) -> Self {
        Self { queue: VecDeque::with_capacity(bound), bound }
    }

    /// How many more it takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.bound - self.queue.len()
    }

    /// How many it holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends one.
    ///
    /// # Panics
    /// If there is no [`Batch::room`].
    #[inline]
    pub fn push(&mut self, item: T) {
        assert!(self.queue.len() < self.bound, "a batch beyond its bound");
        self.queue.push_back(item);
    }

    /// Takes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.queue.pop_front()
    }

    /// Looks at the oldest.
    #[inline]
    pub fn front(&self) -> Option<&T> {
        self.queue.front()
    }
}
