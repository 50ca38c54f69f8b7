//! Whichever link it became: one type for callers, one `match` a batch.
//!
//! Made by `auto::open`. Guards: nothing is looked up per packet.

use core::net::IpAddr;
use core::time::Duration;
use std::os::fd::BorrowedFd;

use super::allow::Allowed;
use crate::frame::{PathFacts, Pool, RxBatch, TxBatch};
use crate::link::raw::RawLink;
use crate::link::udp::UdpLink;
#[cfg(feature = "xdp")]
use crate::link::xdp::XdpLink;
use crate::link::{Channel, Link, LinkError};
use crate::time::Time;

/// One of the links to a real network.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyLink {
    /// AF_XDP.
    #[cfg(feature = "xdp")]
    Xdp(Box<XdpLink>),
    /// Raw sockets.
    Raw(Box<Allowed<RawLink>>),
    /// UDP sockets.
    Udp(Box<Allowed<UdpLink>>),
}

/// What every link counts, by the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets sent.
    pub sent: u64,
    /// Packets handed up.
    pub received: u64,
    /// Packets dropped because they exceed the MTU.
    pub too_long: u64,
    /// Packets dropped because nothing leads to their destination, or they are not let out.
    pub unreachable: u64,
    /// Calls to the kernel to send.
    pub transmit_calls: u64,
    /// Calls to the kernel to receive.
    pub receive_calls: u64,
    /// Packets lost in the kernel because we did not take them in time, as far as it told.
    pub kernel_drops: u64,
    /// Times that there was no frame to receive into.
    pub starved: u64,
    /// Packets that came in and are not for us, or from senders that are not allowed.
    pub unwanted: u64,
    /// Packets that came in and are none.
    pub rejected: u64,
}

/// The same for whichever link it is.
macro_rules! each {
    ($self:expr, $link:pat => $then:expr) => {
        match $self {
            #[cfg(feature = "xdp")]
            AnyLink::Xdp($link) => $then,
            AnyLink::Raw($link) => $then,
            AnyLink::Udp($link) => $then,
        }
    };
}

impl AnyLink {
    /// What was counted. Asks the kernel where it counts: not for the hot path.
    pub fn counters(&self) -> Counters {
        match self {
            #[cfg(feature = "xdp")]
            Self::Xdp(link) => {
                let rings = link.ring_statistics().unwrap_or_default();
                let all = link.counters();
                Counters {
                    sent: all.sent,
                    received: all.received,
                    too_long: all.too_long,
                    unreachable: all.no_neighbour,
                    transmit_calls: all.transmit_calls,
                    receive_calls: all.receive_calls,
                    kernel_drops: rings.dropped + rings.ring_full,
                    starved: all.starved,
                    unwanted: all.unwanted,
                    rejected: all.rejected.iter().map(|(_, count)| count).sum(),
                }
            }
            Self::Raw(link) => {
                let all = link.inner().counters();
                Counters {
                    sent: all.sent,
                    received: all.received,
                    too_long: all.too_long,
                    unreachable: all.unreachable + all.forbidden,
                    transmit_calls: all.transmit_calls,
                    receive_calls: all.receive_calls,
                    kernel_drops: all.kernel_drops,
                    starved: all.starved,
                    unwanted: all.unclaimed + all.other_source + link.refused(),
                    rejected: all.cut + all.rejected.iter().map(|(_, count)| count).sum::<u64>(),
                }
            }
            Self::Udp(link) => {
                let all = link.inner().counters();
                Counters {
                    sent: all.sent,
                    received: all.received,
                    too_long: all.too_long,
                    unreachable: all.unreachable + all.forbidden,
                    transmit_calls: all.transmit_calls,
                    receive_calls: all.receive_calls,
                    kernel_drops: all.kernel_drops,
                    starved: all.starved,
                    unwanted: all.unclaimed + all.other_source + link.refused(),
                    rejected: all.cut + all.rejected,
                }
            }
        }
    }
}

impl Link for AnyLink {
    fn path(&self) -> PathFacts {
        each!(self, link => link.path())
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        each!(self, link => link.join(channel, sources))
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        each!(self, link => link.leave(channel))
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        each!(self, link => link.listen(port))
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        each!(self, link => link.unlisten(port))
    }

    #[inline]
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        each!(self, link => link.receive(now, pool, into))
    }

    #[inline]
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        each!(self, link => link.send(now, pool, from))
    }

    #[inline]
    fn deadline(&self) -> Option<Time> {
        each!(self, link => link.deadline())
    }

    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        each!(self, link => link.wait(at_most, wake))
    }

    fn loops_back(&self) -> bool {
        each!(self, link => link.loops_back())
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        each!(self, link => link.shut_down(pool));
    }
}
