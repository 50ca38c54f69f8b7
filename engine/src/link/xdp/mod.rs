//! `AF_XDP`: frames go between the driver and our memory past the kernel's network stack.
//!
//! ```text
//!   XdpLink ── destinations, neighbours     which headers stand in front of what leaves
//!      ├────── queue (one or all)           a socket and four rings each; only it touches rings
//!      ├────── descriptors                  frame numbers <-> the ring library's descriptors, and the memory itself
//!      ├────── membership                   the kernel's groups: AF_XDP joins none
//!      └────── pgmx-ebpf                    the steering program: which frames are ours
//! ```
//!
//! Opened by an endpoint, which gets the link and the one pool whose frames it can carry. Guards: a frame that a ring holds is in
//! nobody's hands; what is not ours goes to the kernel untouched; nothing is left on the interface when the link is gone.
//!
//! One pool, several queues: their sockets share the memory. What leaves, leaves by the first queue.

mod config;
mod descriptors;
mod destinations;
mod neighbours;
mod queue;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use std::io;

use pgmx_ebpf::{Steering, SteeringConfig};

pub use config::{DataPath, Refusal, Taken, XdpConfig, XdpError};
pub use pgmx_ebpf::{Attachment, Owner, SteeringError, Verdict};

use super::Address;
use super::kernel::claims::{Claim, Kind};
use super::kernel::interface::Interface;
use super::kernel::membership::Memberships;
use super::{Channel, Link, LinkError};
use crate::frame::{Frame, Incoming, Layout, Outgoing, PathFacts, Pool, RxBatch, TxBatch};
use crate::time::Time;
use crate::wire::net::{NetHeader, NetReject, NetRejectCounters, PROTO_PGM, parse_frame};
use descriptors::Descriptors;
use destinations::Destinations;
use neighbours::Neighbours;
use queue::Queue;

/// Octets of Ethernet and IPv4 headers.
const ETHERNET: u16 = 14;
const IPV4: u16 = 20;
/// Octets of Router Alert.
const ALERT: u16 = 4;
/// Octets of the VLAN tags that a received frame may carry.
const TAGS: u32 = 8;

/// What an `xdp` link counted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct XdpCounters {
    /// Packets put into a transmit ring.
    pub sent: u64,
    /// Packets handed up.
    pub received: u64,
    /// Packets dropped because they exceed the MTU.
    pub too_long: u64,
    /// Packets dropped because no way to their destination is known: no neighbour was heard that leads there.
    pub no_neighbour: u64,
    /// Calls to the kernel to send.
    pub transmit_calls: u64,
    /// Calls to the kernel to receive.
    pub receive_calls: u64,
    /// Times that a fill ring could not be filled: the pool had no frame.
    pub starved: u64,
    /// Frames received that hold no packet for us, by reason.
    pub rejected: NetRejectCounters,
}

/// What the kernel counted on our sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingStatistics {
    /// Frames lost for want of a frame to put them in, or for another reason inside the kernel.
    pub dropped: u64,
    /// Frames lost because the receive ring was full.
    pub ring_full: u64,
    /// Times that the fill ring was empty.
    pub fill_empty: u64,
    /// Descriptors that the kernel refused: a bug of ours.
    pub invalid: u64,
}

/// An `AF_XDP` link on one interface.
pub struct XdpLink {
    // Fields are dropped in this order: the program leaves the interface before the sockets close, the memory goes last.
    steering: Option<Steering>,
    queues: Vec<Queue>,
    descriptors: Descriptors,
    memberships: Memberships,
    channels: Vec<(Channel, Claim)>,
    interface: Interface,
    address: Ipv4Addr,
    ports: Vec<u16>,
    taken: Taken,
    /// Which queue is asked first: it takes turns, so that none starves another.
    turn: usize,
    neighbours: Neighbours,
    destinations: Destinations,
    counters: XdpCounters,
}

impl XdpLink {
    /// Opens a link: attaches the steering program, binds the sockets, fills their rings and listens on the ports given.
    pub fn open(config: &XdpConfig) -> Result<(Self, Pool), XdpError> {
        let interface = Interface::find(&config.interface)?;
        if config.queue.is_some_and(|queue| queue >= interface.queues) {
            let allowed = format!("0 to {} on {}", interface.queues - 1, interface.name);
            return Err(XdpError::Config { field: "queue", value: config.queue.unwrap_or_default(), allowed });
        }
        let numbers = config.queue.map_or(0..interface.queues, |queue| queue..queue + 1);
        config.check(numbers.len() as u32)?;
        let mtu_max = config.frame_size - u32::from(Layout::XDP_HEADROOM) - u32::from(ETHERNET) - TAGS;
        if interface.mtu > mtu_max {
            let allowed = format!("4096 for the MTU of {} (an MTU of {mtu_max} fits)", interface.mtu);
            return Err(XdpError::Config { field: "frame_size", value: config.frame_size, allowed });
        }
        let wanted = config.address.map_or(Address::Ipv4, |address| Address::Is(address.into()));
        let IpAddr::V4(address) = interface.address(wanted)? else { unreachable!("an IPv4 address was asked for") };

        // Some drivers take no socket before a program is there. Until a socket is in its map, everything passes.
        let mut steering = Steering::attach(&SteeringConfig::new(&interface.name, interface.index))?;
        let mut refusals = Vec::new();
        if let Some(refused) = steering.refused() {
            refusals.push(Refusal { attempt: "native XDP".into(), reason: refused.to_string() });
        }
        let (descriptors, mut pool, mut queues, zero_copy) = bind(config, numbers, &mut refusals)?;
        pool.set_fill_reserve(queues.len() as u32 * config.ring);
        let mut tx_budget = true;
        for queue in &mut queues {
            // Full before the first frame can come: an empty fill ring drops it.
            let dry = queue.refill(&descriptors, &mut pool);
            debug_assert!(!dry, "the frames were checked against the rings");
            if let Err(error) = queue.set_tx_budget(config.tx_budget)
                && tx_budget
            {
                tx_budget = false;
                refusals.push(Refusal { attempt: "a larger transmit budget".into(), reason: error.to_string() });
            }
            steering.open_queue(queue.number(), queue.descriptor())?;
        }
        let attachment = steering.attachment();
        let taken = Taken { attachment, zero_copy, queues: queues.len() as u32, tx_budget, refusals };
        let link = Self {
            steering: Some(steering),
            queues,
            descriptors,
            memberships: Memberships::new(interface.index),
            channels: Vec::new(),
            destinations: Destinations::new(interface.mac, address, config.ttl, config.tos),
            interface,
            address,
            ports: Vec::new(),
            taken,
            turn: 0,
            neighbours: Neighbours::new(),
            counters: XdpCounters::default(),
        };
        Ok((link, pool))
    }

    /// What the link took, and what better it was refused.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// What was counted here.
    pub fn counters(&self) -> &XdpCounters {
        &self.counters
    }

    /// What the kernel counted on our sockets: a system call a queue, not for the hot path.
    pub fn ring_statistics(&self) -> io::Result<RingStatistics> {
        let mut sum = RingStatistics::default();
        for queue in &self.queues {
            let one = queue.statistics()?;
            sum.dropped += one.rx_dropped();
            sum.ring_full += one.rx_ring_full();
            sum.fill_empty += one.rx_fill_ring_empty_descs();
            sum.invalid += one.rx_invalid_descs() + one.tx_invalid_descs();
        }
        Ok(sum)
    }

    /// How many frames of the interface met this verdict; not for the hot path.
    pub fn steered(&self, verdict: Verdict) -> Result<u64, LinkError> {
        let count = |steering: &Steering| steering.count(verdict).map_err(|error| steering_failed(&error));
        self.steering.as_ref().map_or(Ok(0), count)
    }

    /// Packets given to the kernel whose frames have not come back.
    pub fn in_flight(&self) -> u32 {
        self.queues.iter().map(Queue::in_flight).sum()
    }

    fn reap(&mut self, pool: &mut Pool) {
        // Only the first queue sends.
        self.queues[0].reap(&self.descriptors, pool);
    }

    /// Writes the headers in front of a packet. What cannot leave is counted and its frame freed.
    #[inline]
    fn dress(&mut self, pool: &mut Pool, outgoing: Outgoing) -> Option<Frame> {
        let Outgoing { mut frame, to, router_alert } = outgoing;
        let Some(envelope) = self.destinations.envelope(to, router_alert, &self.neighbours) else {
            self.counters.no_neighbour += 1;
            pool.put(frame);
            return None;
        };
        let (packet, headers) = (frame.len(), envelope.header_len());
        // conformance 16: never beyond the MTU, Router Alert included; the envelope sets DF.
        if headers - envelope.link_len() + packet > self.interface.mtu as usize {
            self.counters.too_long += 1;
            pool.put(frame);
            return None;
        }
        let start = pool.layout().start;
        assert!(
            usize::from(frame.start()) == usize::from(start) + headers,
            "a packet that leaves no room for its headers"
        );
        frame.set_range(start, (headers + packet) as u16);
        let front = &mut pool.bytes_mut(&mut frame)[..headers];
        // The front is as long as the headers and the packet is shorter than the MTU: nothing is left to refuse.
        let written = envelope.write(front, packet);
        debug_assert!(written.is_ok());
        Some(frame)
    }
}

impl Link for XdpLink {
    fn path(&self) -> PathFacts {
        PathFacts {
            nla: self.address.into(),
            mtu: self.interface.mtu as u16,
            front: ETHERNET + IPV4,
            alert: ALERT,
            ip_header: IPV4,
        }
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        let group = self.ipv4("joining", channel.group)?;
        if !self.channels.iter().any(|entry| entry.0 == channel) {
            let claim = Claim::hold(Kind::Xdp, (&self.interface.name, self.interface.index), "pgm", channel)?;
            // Claimed before it is joined: what the report of the membership brings in finds its way at once.
            if let Some(steering) = &mut self.steering {
                steering.claim_group(group.into(), channel.data_port).map_err(|error| steering_failed(&error))?;
            }
            self.channels.push((channel, claim));
        }
        let joined = self.memberships.join(channel.group, sources);
        joined.map_err(|error| self.group_failed("joining", channel.group, error))
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        let group = self.ipv4("leaving", channel.group)?;
        let Some(at) = self.channels.iter().position(|entry| entry.0 == channel) else { return Ok(()) };
        self.channels.remove(at);
        if !self.channels.iter().any(|entry| entry.0.group == channel.group) {
            self.memberships.leave(channel.group);
        }
        match &mut self.steering {
            Some(steering) => {
                steering.release_group(group.into(), channel.data_port).map_err(|error| steering_failed(&error))
            }
            None => Ok(()),
        }
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        if self.ports.contains(&port) {
            return Ok(());
        }
        if let Some(steering) = &mut self.steering {
            steering.claim_local(self.address.into(), port).map_err(|error| steering_failed(&error))?;
        }
        self.ports.push(port);
        Ok(())
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        let Some(at) = self.ports.iter().position(|&one| one == port) else { return Ok(()) };
        self.ports.remove(at);
        match &mut self.steering {
            Some(steering) => {
                steering.release_local(self.address.into(), port).map_err(|error| steering_failed(&error))
            }
            None => Ok(()),
        }
    }

    fn receive(&mut self, _now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        if self.queues.is_empty() {
            return Ok(0);
        }
        self.reap(pool);
        let before = into.len();
        let Self { queues, descriptors, counters, neighbours, .. } = self;
        let queues_count = queues.len();
        let mut failed = None;
        for n in 0..queues_count {
            let queue = &mut queues[(self.turn + n) % queues_count];
            for desc in queue.receive(into.room()) {
                let returned = descriptors.returned(desc);
                let mut frame = pool.reclaim(returned.index);
                frame.set_range(returned.start, returned.len);
                match accept(pool.bytes(&frame)) {
                    Ok(header) => {
                        if let IpAddr::V4(source) = header.source {
                            neighbours.learn(source, header.src_mac);
                        }
                        frame.set_range(returned.start + header.payload_start, header.payload_len);
                        counters.received += 1;
                        into.push(Incoming { frame, from: header.source, to: header.destination });
                    }
                    Err(reject) => {
                        counters.rejected.count(reject);
                        pool.put(frame);
                    }
                }
            }
            counters.starved += u64::from(queue.refill(descriptors, pool));
            match queue.wake_receive() {
                Ok(called) => counters.receive_calls += u64::from(called),
                Err(error) => failed = Some(error),
            }
        }
        self.turn = (self.turn + 1) % queues_count;
        if let Some(error) = failed {
            return Err(self.call_failed("waking the driver to receive", error));
        }
        // In copy mode a call moves no more than its budget: the rest of what was posted needs another.
        self.wake_transmit()?;
        Ok(into.len() - before)
    }

    fn send(&mut self, _now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        if self.queues.is_empty() || from.is_empty() {
            return Ok(0);
        }
        let mut room = self.queues[0].room(from.len());
        if room < from.len() {
            self.reap(pool);
            room = self.queues[0].room(from.len());
        }
        let mut took = 0;
        while took < room
            && let Some(outgoing) = from.pop()
        {
            took += 1;
            if let Some(frame) = self.dress(pool, outgoing) {
                self.queues[0].stage(&self.descriptors, pool, frame);
                self.counters.sent += 1;
            }
        }
        self.queues[0].post();
        self.wake_transmit()?;
        Ok(took)
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        if self.queues.is_empty() {
            return;
        }
        // No more frames come in; what was posted may still leave, for as long as two milliseconds.
        self.steering = None;
        for _ in 0..20 {
            self.reap(pool);
            if self.queues[0].in_flight() == 0 || self.wake_transmit().is_err() {
                break;
            }
            std::thread::sleep(core::time::Duration::from_micros(100));
        }
        // Once the sockets are closed the kernel writes to none of our frames: what the rings held is ours again.
        self.queues.clear();
        pool.recall();
    }
}

impl XdpLink {
    #[inline]
    fn wake_transmit(&mut self) -> Result<(), LinkError> {
        match self.queues[0].wake_transmit() {
            Ok(called) => {
                self.counters.transmit_calls += u64::from(called);
                Ok(())
            }
            Err(error) => Err(self.call_failed("calling the kernel to send", error)),
        }
    }

    #[cold]
    fn call_failed(&self, what: &str, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} on {}", self.interface.name), error }
    }

    #[cold]
    fn group_failed(&self, what: &str, group: IpAddr, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} {group} on {}", self.interface.name), error }
    }

    fn ipv4(&self, what: &str, group: IpAddr) -> Result<Ipv4Addr, LinkError> {
        match group {
            IpAddr::V4(group) if group.is_multicast() => Ok(group),
            IpAddr::V4(_) => Err(self.group_failed(what, group, io::Error::other("not a multicast address"))),
            IpAddr::V6(_) => Err(self.group_failed(what, group, io::Error::other("this link carries IPv4 only"))),
        }
    }
}

impl fmt::Debug for XdpLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, taken, .. } = self;
        f.debug_struct("XdpLink").field("interface", interface).field("taken", taken).finish_non_exhaustive()
    }
}

/// The headers of a frame that holds a whole PGM packet.
#[inline]
fn accept(frame: &[u8]) -> Result<NetHeader, NetReject> {
    let header = parse_frame(frame)?;
    // RFC 3208 §8, conformance 1: PGM is IP protocol 113, right behind the IP header.
    if header.proto != PROTO_PGM {
        return Err(NetReject::Protocol);
    }
    if header.fragment {
        return Err(NetReject::Fragment);
    }
    Ok(header)
}

/// Binds a socket to each queue, all over one memory: zero-copy if that is wanted and every queue can, else copy.
fn bind(
    config: &XdpConfig,
    numbers: core::ops::Range<u32>,
    refusals: &mut Vec<Refusal>,
) -> Result<(Descriptors, Pool, Vec<Queue>, bool), XdpError> {
    let attempts: &[bool] = match config.data_path {
        DataPath::Auto => &[true, false],
        DataPath::ZeroCopy => &[true],
        DataPath::Copy => &[false],
    };
    let mut answers = Vec::new();
    let mut refused_queue = numbers.start;
    for &zero_copy in attempts {
        // Registered anew for each attempt: a bind that failed half-way leaves nothing of itself in it.
        let (descriptors, pool) = Descriptors::register(config.layout(), config.ring)?;
        let bound: Result<Vec<Queue>, (u32, String)> = numbers
            .clone()
            .map(|number| {
                Queue::bind(&descriptors, &config.interface, number, config.ring, zero_copy)
                    .map_err(|why| (number, why))
            })
            .collect();
        match bound {
            Ok(queues) => {
                refusals.append(&mut answers);
                return Ok((descriptors, pool, queues, zero_copy));
            }
            Err((number, reason)) => {
                refused_queue = number;
                let attempt = if zero_copy { "zero-copy" } else { "copy" };
                answers.push(Refusal { attempt: attempt.into(), reason });
            }
        }
    }
    let words: Vec<String> = answers.iter().map(Refusal::to_string).collect();
    Err(XdpError::Socket { interface: config.interface.clone(), queue: refused_queue, refusals: words.join("; ") })
}

#[cold]
fn steering_failed(error: &SteeringError) -> LinkError {
    LinkError::System { attempt: "steering".into(), error: io::Error::other(error.to_string()) }
}
