//! Raw sockets: PGM as IP protocol 113 through the kernel, a whole batch at a call, straight from frames and into them.
//!
//! ```text
//!   RawLink ── routes                  which IP header stands in front of what leaves, and where the kernel takes it
//!      ├────── kernel::messages        sendmmsg and recvmmsg
//!      ├────── kernel::channels        what is ours: claims, the socket filter, memberships, and the exact check
//!      └────── open                    the socket and its options
//! ```
//!
//! Opened by an endpoint, which gets the link and a pool whose frames hold the longest packet of the interface. Needs CAP_NET_RAW.
//! Guards: what leaves carries our own IP header, never a fragment, and its frame is home again when the call is over; what comes in and
//! is not ours goes no further.
//!
//! An interface that is down, or a host that cannot be reached, costs the packets for it, counted; they are repaired when it is up again.
//! A kernel that is full costs nothing: what it does not take stays in the batch.
//!
//! With `loopback` a link that joined a group hears what it sends there itself, beside the other processes of this host: they have the
//! same address, so that the link cannot tell them apart. The endpoint can, by the TSI.
//!
//! A fragmented packet arrives as a whole: the kernel joins fragments before a raw socket sees them.

mod config;
mod open;
mod routes;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub use config::{RawConfig, RawError, Taken};

use super::kernel::channels::{Channels, Whose};
use super::kernel::claims::Kind;
use super::kernel::interface::Interface;
use super::kernel::messages::{Message, Receiving, Said, Sending};
use super::kernel::presence::Presence;
use super::kernel::wait::until_readable;
use super::{Channel, Link, LinkError};
use crate::frame::{Frame, Incoming, Outgoing, PathFacts, Pool, RxBatch, TxBatch};
use crate::time::Time;
use crate::wire::net::{NetReject, NetRejectCounters, PROTO_PGM, parse_ip};
use config::IP_MAX;
use routes::{Common, Routes};

/// Octets of IP headers.
const IPV4: u16 = 20;
const IPV6: u16 = 40;
/// Octets of Router Alert.
const ALERT: u16 = 4;

/// What a `raw` link counted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RawCounters {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets handed up.
    pub received: u64,
    /// Packets dropped because they exceed the MTU.
    pub too_long: u64,
    /// Packets dropped because nothing leads to their destination: the interface is down or gone, or there is no such host.
    pub unreachable: u64,
    /// Packets dropped because the kernel does not let them out: a firewall.
    pub forbidden: u64,
    /// Times that the kernel had no room; what it did not take stayed in the batch.
    pub full: u64,
    /// Calls to the kernel to send.
    pub transmit_calls: u64,
    /// Calls to the kernel to receive.
    pub receive_calls: u64,
    /// Calls to receive that the kernel answered with an error, such as one of the network that it passes on.
    pub receive_errors: u64,
    /// Packets lost in the kernel for want of room in the receive buffer, as far as it told us: it does so with the packets that come
    /// after.
    pub kernel_drops: u64,
    /// Frames to receive into that the pool did not have.
    pub starved: u64,
    /// Packets for channels and ports that nobody here asked for.
    pub unclaimed: u64,
    /// Packets from sources that their channel was not joined with.
    pub other_source: u64,
    /// Packets longer than a frame.
    pub cut: u64,
    /// Packets received that hold nothing for us, by reason.
    pub rejected: NetRejectCounters,
}

/// A link over raw sockets on one interface.
pub struct RawLink {
    socket: OwnedFd,
    interface: Interface,
    address: IpAddr,
    taken: Taken,
    channels: Channels,
    routes: Routes,
    sending: Sending,
    receiving: Receiving,
    /// The number of the pool whose frames are offered.
    pool: u32,
    /// The frames that were offered to the kernel, by message.
    offered: Box<[Option<Frame>]>,
    /// The last count of drops; it runs over.
    drops: u32,
    presence: Presence,
    loopback: bool,
    is_shut: bool,
    counters: RawCounters,
}

/// What the kernel's refusal of a packet means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// No room now.
    Full,
    /// Longer than the MTU.
    TooLong,
    /// A firewall.
    Forbidden,
    /// No way to the destination.
    Unreachable,
    /// Nothing to do with the packet: the socket is of no use.
    Broken,
}

impl Refusal {
    #[cold]
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Self::Full,
            Some(libc::EMSGSIZE) => Self::TooLong,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT) => Self::Broken,
            // The interface is down (ENETDOWN, ENETUNREACH) or gone (ENODEV, ENXIO), no host answers, and what else routes say.
            _ => Self::Unreachable,
        }
    }
}

impl RawLink {
    /// Opens a link.
    pub fn open(config: &RawConfig) -> Result<(Self, Pool), RawError> {
        config.check()?;
        let interface = Interface::find(&config.interface)?;
        let address = interface.address(config.address)?;
        let layout = config.layout(&interface.name, interface.mtu)?;
        let (socket, taken) = open::socket(config, &interface, address)?;
        let mut pool = Pool::anonymous(layout)?;
        // As many as a call may fill: nobody who hoards frames keeps the link from receiving.
        pool.set_fill_reserve(config.batch as u32);
        let place = (interface.name.as_str(), interface.index);
        let link = Self {
            channels: Channels::new(Kind::Raw, "pgm", place, address, Some(open::front(address))),
            routes: Routes::new(Common {
                source: address,
                interface: interface.index,
                ttl: config.ttl,
                tos: config.tos,
            }),
            sending: Sending::new(config.batch, config.batch),
            // The IPv4 header names the sender.
            receiving: Receiving::new(config.batch, 1, address.is_ipv6()),
            pool: pool.id(),
            offered: (0..config.batch).map(|_| None).collect(),
            drops: 0,
            loopback: config.loopback,
            is_shut: false,
            counters: RawCounters::default(),
            presence: Presence::of(place),
            socket,
            interface,
            address,
            taken,
        };
        Ok((link, pool))
    }

    /// What the link got, and what it was refused.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// What was counted here.
    pub fn counters(&self) -> &RawCounters {
        &self.counters
    }

    /// Octets of the largest IP packet.
    fn mtu(&self) -> u16 {
        self.interface.mtu.min(IP_MAX) as u16
    }

    /// Writes the headers in front of as many packets as one call takes and names them for it; stops at one that cannot leave. Returns
    /// why the first cannot, if it is the first.
    #[inline]
    fn gather(&mut self, pool: &Pool, packets: &mut [Outgoing]) -> Result<(), Refusal> {
        let mtu = usize::from(self.mtu());
        let Self { routes, sending, .. } = self;
        sending.clear();
        for Outgoing { frame, to, router_alert } in packets {
            if !sending.has_room() {
                break;
            }
            let route = routes.find(*to, *router_alert);
            let (start, len) = (frame.start(), frame.len());
            let headers = route.map_or(0, |route| route.envelope.header_len());
            let refusal = match route {
                // conformance 16: never beyond the MTU, Router Alert included; the envelope sets DF.
                Some(route) if headers + len <= mtu => {
                    assert!(usize::from(start) >= headers, "a packet that leaves no room for its headers");
                    frame.set_range(start - headers as u16, (headers + len) as u16);
                    let octets = pool.bytes_mut(frame);
                    // The front is as long as the headers and the packet is no longer than the MTU: nothing is left to refuse.
                    let written = route.envelope.write(&mut octets[..headers], len);
                    debug_assert!(written.is_ok());
                    sending.begin(&route.name);
                    sending.add(octets);
                    // The packet as it was: it may have to wait in its batch.
                    frame.set_range(start, len as u16);
                    continue;
                }
                Some(_) => Refusal::TooLong,
                None => Refusal::Unreachable,
            };
            return if sending.len() == 0 { Err(refusal) } else { Ok(()) };
        }
        Ok(())
    }

    /// Drops what cannot leave: the first packet, and with it those right behind that go the same way, where that is what is wrong. So an
    /// interface that is down costs a call for each batch and not for each packet.
    #[cold]
    fn refuse(&mut self, pool: &mut Pool, from: &mut TxBatch, refusal: Refusal) {
        let Some(first) = from.pop() else { return };
        let to = first.to;
        pool.put(first.frame);
        let mut dropped = 1;
        while refusal != Refusal::TooLong
            && let Some(next) = from.peek()
            && next.to == to
        {
            pool.put(next.take().frame);
            dropped += 1;
        }
        let counters = &mut self.counters;
        *match refusal {
            Refusal::TooLong => &mut counters.too_long,
            Refusal::Forbidden => &mut counters.forbidden,
            _ => &mut counters.unreachable,
        } += dropped;
    }

    /// Has a frame ready for each of this many messages, or for as many as the pool has frames for.
    #[inline]
    fn offer(&mut self, pool: &mut Pool, messages: usize) -> usize {
        for at in 0..messages {
            if self.offered[at].is_none() {
                let Some(mut frame) = pool.take_for_fill().or_else(|| self.last_offered(at)) else {
                    return at;
                };
                empty(pool, &mut frame);
                self.receiving.offer(at, 0, pool.bytes_mut(&mut frame));
                self.offered[at] = Some(frame);
            }
        }
        messages
    }

    /// A frame that stands ready behind message `at`, where the pool has none left.
    #[cold]
    fn last_offered(&mut self, at: usize) -> Option<Frame> {
        self.counters.starved += 1;
        self.offered[at..].iter_mut().rev().find_map(Option::take)
    }
}

/// Sets the range of a frame to all of its room.
#[inline]
fn empty(pool: &Pool, frame: &mut Frame) {
    let layout = pool.layout();
    frame.set_range(layout.start, (layout.frame_size - u32::from(layout.start)).min(IP_MAX) as u16);
}

/// Cuts a received packet down to PGM and says where it came from and went to, if it is ours.
#[inline]
fn accept(
    pool: &Pool,
    frame: &mut Frame,
    message: &Message<'_>,
    channels: &mut Channels,
    counters: &mut RawCounters,
) -> Option<(IpAddr, IpAddr)> {
    if message.is_cut {
        counters.cut += 1;
        return None;
    }
    frame.set_range(frame.start(), message.len as u16);
    let (from, to) = match message.sender() {
        // IPv6: the kernel took the header off.
        Some(sender) => {
            let to = message.beside().find_map(|said| match said {
                Said::Destination(to, _) => Some(to),
                _ => None,
            });
            (sender.ip(), to?)
        }
        None => match parse_ip(pool.bytes(frame)) {
            // RFC 3208 §8, conformance 1: PGM is IP protocol 113, right behind the IP header.
            Ok(header) if header.proto == PROTO_PGM => {
                frame.set_range(frame.start() + header.payload_start, header.payload_len);
                (header.source, header.destination)
            }
            other => {
                counters.rejected.count(other.err().unwrap_or(NetReject::Protocol));
                return None;
            }
        },
    };
    match channels.whose(from, to, pool.bytes(frame)) {
        Whose::Ours => return Some((from, to)),
        Whose::Unclaimed => counters.unclaimed += 1,
        Whose::OtherSource => counters.other_source += 1,
    }
    None
}

impl Link for RawLink {
    fn path(&self) -> PathFacts {
        let (header, alert) = if self.address.is_ipv4() { (IPV4, ALERT) } else { (IPV6, 0) };
        PathFacts { nla: self.address, mtu: self.mtu(), front: header, alert, ip_header: header }
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        self.channels.join(&self.socket, channel, sources)
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        self.channels.leave(&self.socket, channel)
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        self.channels.listen(&self.socket, port)
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        self.channels.unlisten(&self.socket, port)
    }

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let wanted = into.room().min(self.offered.len());
        if self.is_shut || wanted == 0 {
            return Ok(0);
        }
        // Frames that were offered long ago must still be there.
        assert!(pool.id() == self.pool, "a pool of another link");
        let offered = self.offer(pool, wanted);
        if offered == 0 {
            return Ok(0);
        }
        self.counters.receive_calls += 1;
        // SAFETY: the room offered for these messages is that of frames whose tokens are in `offered`, all of the one pool that they
        // ever come from, which is borrowed: the slab is there, and nobody else may touch those octets.
        let came = match unsafe { self.receiving.receive(&self.socket, offered) } {
            Ok(came) => came,
            Err(error) => self.receive_failed(error)?,
        };
        let Self { channels, receiving, offered, counters, drops, .. } = self;
        let before = into.len();
        for (at, place) in offered[..came].iter_mut().enumerate() {
            let Some(mut frame) = place.take() else { continue };
            let message = receiving.message(at);
            for said in message.beside() {
                if let Said::Drops(count) = said {
                    counters.kernel_drops += u64::from(count.wrapping_sub(*drops));
                    *drops = count;
                }
            }
            if let Some((from, to)) = accept(pool, &mut frame, &message, channels, counters) {
                into.push(Incoming { frame, from, to });
            } else {
                // Offered already, as it is.
                empty(pool, &mut frame);
                *place = Some(frame);
            }
        }
        let received = into.len() - before;
        counters.received += received as u64;
        self.presence.check(now, received, &self.socket)?;
        Ok(received)
    }

    fn send(&mut self, _now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let before = from.len();
        while !self.is_shut && !from.is_empty() {
            if let Err(refusal) = self.gather(pool, from.as_mut_slice()) {
                self.refuse(pool, from, refusal);
                continue;
            }
            self.counters.transmit_calls += 1;
            // SAFETY: the octets are those of frames whose tokens are in the batch, which is borrowed until the call is over, of a pool
            // that is borrowed as well: the slab is there, and nobody writes those octets.
            match unsafe { self.sending.send(&self.socket, 0) } {
                Ok(took) => {
                    // The kernel has copied them: a window's slot is at rest again, all other frames are free.
                    for _ in 0..took {
                        if let Some(outgoing) = from.pop() {
                            pool.put(outgoing.frame);
                        }
                    }
                    self.counters.sent += took as u64;
                    if took < self.sending.len() {
                        // Mostly it is full. Where it did not like the next one, the next call hears it.
                        self.counters.full += 1;
                        break;
                    }
                }
                Err(error) => match Refusal::of(&error) {
                    Refusal::Full => {
                        self.counters.full += 1;
                        break;
                    }
                    Refusal::Broken => return Err(self.call_failed("sending", error)),
                    refusal => self.refuse(pool, from, refusal),
                },
            }
        }
        Ok(before - from.len())
    }

    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        until_readable([self.socket.as_raw_fd()].into_iter().chain(wake.map(|wake| wake.as_raw_fd())), at_most)
            .map_err(|error| self.call_failed("waiting for packets", error))
    }

    fn loops_back(&self) -> bool {
        self.loopback
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.is_shut = true;
        self.channels.leave_all(&self.socket);
        for frame in self.offered.iter_mut().filter_map(Option::take) {
            pool.put(frame);
        }
    }
}

impl RawLink {
    /// What the network answers to packets of ours may come back as an error of a call to receive: no reason to stop.
    #[cold]
    fn receive_failed(&mut self, error: io::Error) -> Result<usize, LinkError> {
        if Refusal::of(&error) == Refusal::Broken {
            return Err(self.call_failed("receiving", error));
        }
        self.counters.receive_errors += 1;
        Ok(0)
    }

    #[cold]
    fn call_failed(&self, what: &str, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} on {}", self.interface.name), error }
    }
}

impl AsFd for RawLink {
    /// Readable when something came in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for RawLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, address, taken, .. } = self;
        f.debug_struct("RawLink")
            .field("interface", interface)
            .field("address", address)
            .field("taken", taken)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_kernel_is_of_the_packet_of_its_way_or_of_the_moment() {
        for (errors, refusal) in [
            (&[libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR][..], Refusal::Full),
            (&[libc::EMSGSIZE], Refusal::TooLong),
            (&[libc::EPERM, libc::EACCES], Refusal::Forbidden),
            (&[libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ENODEV, libc::ENXIO], Refusal::Unreachable),
            (&[libc::EBADF, libc::ENOTSOCK, libc::EFAULT], Refusal::Broken),
        ] {
            for &error in errors {
                assert_eq!(Refusal::of(&io::Error::from_raw_os_error(error)), refusal, "{error}");
            }
        }
    }

    #[test]
    fn a_link_may_move_to_the_thread_that_polls_it() {
        fn moves<T: Send>() {}
        moves::<RawLink>();
    }
}
