//! `AF_XDP`: frames go between the driver and our memory past the kernel's network stack.
//!
//! ```text
//!   XdpLink ── open                         the best way that can be had, and why a better one was refused
//!      ├────── destinations, neighbours     which headers stand in front of what leaves
//!      ├────── detour                       through the kernel, to hosts whose card nobody knows yet
//!      ├────── queue (one or all)           a socket and four rings each; only it touches rings
//!      ├────── descriptors                  frame numbers <-> the ring library's descriptors, and the memory itself
//!      ├────── channels                     what is heard, and the kernel's groups: AF_XDP joins none
//!      └────── pgmx-ebpf                    the steering program: which frames are ours
//! ```
//!
//! Opened by an endpoint, which gets the link and the one pool whose frames it can carry. Guards: a frame that a ring holds is in
//! nobody's hands; what is not ours goes to the kernel untouched; nothing is left on the interface when the link is gone.
//!
//! One pool, several queues: their sockets share the memory. What leaves, leaves by the first queue. A link carries one family, that of
//! its address. Its frames never reach the kernel's packet taps: capture at a peer, or with a link that writes down what passes.

mod channels;
mod config;
mod descriptors;
mod destinations;
mod detour;
mod error;
mod neighbours;
mod open;
mod queue;

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use pgmx_ebpf::Steering;

pub use config::{BusyPoll, DataPath, Queues, XdpConfig};
pub use error::{Refusal, Taken, XdpError};
pub use pgmx_ebpf::{Attach, Attachment, Owner, SteeringError, UpstreamBudget, Verdict};

use super::kernel::claims::{Claim, Kind};
use super::kernel::wait::until_readable;
use super::{Channel, Link, LinkError};
use crate::frame::{Frame, Incoming, Outgoing, PathFacts, Pool, RxBatch, To, TxBatch};
use crate::time::Time;
use crate::wire::net::{MacAddr, NetReject, NetRejectCounters, PROTO_PGM, parse_frame, parse_udp};
use channels::Channels;
use descriptors::Descriptors;
use destinations::{Destinations, Missing};
use detour::Detour;
use neighbours::Neighbours;
use queue::Queue;

/// After so much silence the interface is looked for: one that was removed is silent, too.
const SILENCE_NS: u64 = 1_000_000_000;

/// A completion makes no socket readable: as long as packets are in flight, a sleep ends after this time.
const COMPLETION_PAUSE: Duration = Duration::from_micros(100);

/// What an `xdp` link counted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct XdpCounters {
    /// Packets put into a transmit ring.
    pub sent: u64,
    /// Packets sent through the kernel, to hosts whose card was not known.
    pub by_kernel: u64,
    /// Packets handed up.
    pub received: u64,
    /// Packets dropped because they exceed the MTU.
    pub too_long: u64,
    /// Packets dropped because no way to their destination is known.
    pub no_neighbour: u64,
    /// Packets dropped that came to a channel from a sender that it does not name.
    pub unwanted: u64,
    /// Calls to the kernel to send.
    pub transmit_calls: u64,
    /// Calls to the kernel to receive.
    pub receive_calls: u64,
    /// Calls that the kernel answered with a refusal that passes: the packets stay where they are.
    pub refused_calls: u64,
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
    channels: Channels,
    detour: Option<Detour>,
    /// The interface whose kernel sockets would hear what we take, and the form of our packets there.
    claimed_on: (String, u32),
    form: String,
    interface: String,
    path: PathFacts,
    is_udp: bool,
    ports: Vec<u16>,
    taken: Taken,
    /// Which queue is asked first: it takes turns, so that none starves another.
    turn: usize,
    /// When a packet came, or the interface was seen to be there.
    heard: Time,
    is_gone: bool,
    neighbours: Neighbours,
    destinations: Destinations,
    counters: XdpCounters,
}

impl XdpLink {
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
        self.steering.as_ref().map_or(Ok(0), |steering| steering.count(verdict).map_err(steering_failed))
    }

    /// Packets given to the kernel whose frames have not come back.
    pub fn in_flight(&self) -> u32 {
        self.queues.iter().map(Queue::in_flight).sum()
    }

    fn reap(&mut self, pool: &mut Pool) {
        // Only the first queue sends.
        self.queues[0].reap(&self.descriptors, pool);
    }

    /// Writes the headers in front of a packet. What cannot leave this way is sent or freed, and counted.
    #[inline]
    fn dress(&mut self, now: Time, pool: &mut Pool, outgoing: Outgoing) -> Option<Frame> {
        let Outgoing { to, router_alert, .. } = outgoing;
        let envelope = match self.destinations.envelope(to, router_alert, &mut self.neighbours, now) {
            Ok(envelope) => envelope,
            Err(missing) => return self.cannot_dress(missing, pool, outgoing),
        };
        let mut frame = outgoing.frame;
        let (packet, headers) = (frame.len(), envelope.header_len());
        // conformance 16: never beyond the MTU, Router Alert included; the envelope sets DF.
        if headers - envelope.link_len() + packet > usize::from(self.path.mtu) {
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

    /// Sends a packet whose next hop nobody knows through the kernel, which finds out. Its frame is free at once.
    #[cold]
    fn cannot_dress(&mut self, missing: Missing, pool: &mut Pool, outgoing: Outgoing) -> Option<Frame> {
        let Outgoing { mut frame, to, router_alert } = outgoing;
        let sent = match (missing, to, &self.detour) {
            (Missing::NextHop, To::Unicast(host), Some(detour)) => {
                self.destinations.sender().envelope(to, router_alert, None).and_then(|envelope| {
                    let (packet, headers) = (frame.len(), envelope.header_len());
                    if headers + packet > usize::from(self.path.mtu) {
                        return Some(false);
                    }
                    // There is room for Ethernet as well.
                    let start = frame.start() - headers as u16;
                    frame.set_range(start, (headers + packet) as u16);
                    envelope.write(&mut pool.bytes_mut(&mut frame)[..headers], packet).ok()?;
                    detour.send(pool.bytes(&frame), host).ok().map(|()| true)
                })
            }
            _ => None,
        };
        match sent {
            Some(true) => self.counters.by_kernel += 1,
            Some(false) => self.counters.too_long += 1,
            None => self.counters.no_neighbour += 1,
        }
        pool.put(frame);
        None
    }
}

impl Link for XdpLink {
    fn path(&self) -> PathFacts {
        self.path
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        self.check_group("joining", channel.group)?;
        let is_new = !self.channels.has(channel);
        if is_new {
            let (name, index) = &self.claimed_on;
            let claim = Claim::hold(Kind::Xdp, (name, *index), &self.form, channel)?;
            // Claimed before it is joined: what the report of the membership brings in finds its way at once.
            if let Some(steering) = &mut self.steering {
                steering.claim_group(channel.group, channel.data_port).map_err(steering_failed)?;
            }
            self.channels.add(channel, claim);
        }
        let joined = self.channels.join(channel, sources);
        if joined.is_err() && is_new {
            let _ = self.leave(channel);
        }
        joined.map_err(|error| self.group_failed("joining", channel.group, error))
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        if !self.channels.has(channel) {
            return Ok(());
        }
        let left = self.channels.remove(channel);
        if let Some(steering) = &mut self.steering {
            steering.release_group(channel.group, channel.data_port).map_err(steering_failed)?;
        }
        left.map_err(|error| self.group_failed("leaving", channel.group, error))
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        if self.ports.contains(&port) {
            return Ok(());
        }
        if let Some(steering) = &mut self.steering {
            steering.claim_local(self.path.nla, port).map_err(steering_failed)?;
        }
        self.ports.push(port);
        Ok(())
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        let Some(at) = self.ports.iter().position(|&one| one == port) else { return Ok(()) };
        self.ports.remove(at);
        match &mut self.steering {
            Some(steering) => steering.release_local(self.path.nla, port).map_err(steering_failed),
            None => Ok(()),
        }
    }

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        if self.queues.is_empty() {
            return Ok(0);
        }
        self.reap(pool);
        let before = into.len();
        let Self { queues, descriptors, counters, neighbours, channels, .. } = self;
        let (is_udp, is_choosy, is_busy) = (self.is_udp, channels.is_choosy(), self.taken.busy_poll);
        let queues_count = queues.len();
        for n in 0..queues_count {
            let queue = &mut queues[(self.turn + n) % queues_count];
            let came = queue.receive(into.room());
            let is_idle = came.is_empty();
            for desc in came {
                let returned = descriptors.returned(desc);
                let mut frame = pool.reclaim(returned.index);
                frame.set_range(returned.start, returned.len);
                match accept(pool.bytes(&frame), is_udp) {
                    Ok(packet) => {
                        frame.set_range(returned.start + packet.start, packet.len);
                        if is_choosy && !channels.admits(packet.from, packet.to, pool.bytes(&frame)) {
                            counters.unwanted += 1;
                            pool.put(frame);
                            continue;
                        }
                        neighbours.learn(packet.from, packet.card);
                        counters.received += 1;
                        into.push(Incoming { frame, from: packet.from, to: packet.to });
                    }
                    Err(reject) => {
                        counters.rejected.count(reject);
                        pool.put(frame);
                    }
                }
            }
            counters.starved += u64::from(queue.refill(descriptors, pool));
            if is_busy && is_idle {
                // The driver runs inside this call; what it finds is taken in the next turn.
                queue.kick();
                counters.receive_calls += 1;
                continue;
            }
            match queue.wake_receive() {
                Ok(called) => counters.receive_calls += u64::from(called),
                Err(_) => counters.refused_calls += 1,
            }
        }
        self.turn = (self.turn + 1) % queues_count;
        let came = into.len() - before;
        if came > 0 {
            self.heard = now;
        } else if now.since(self.heard) >= SILENCE_NS || self.is_gone {
            self.look_for_interface(now)?;
        }
        // In copy mode a call moves no more than its budget: the rest of what was posted needs another.
        self.wake_transmit()?;
        Ok(came)
    }

    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
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
            if let Some(frame) = self.dress(now, pool, outgoing) {
                self.queues[0].stage(&self.descriptors, pool, frame);
                self.counters.sent += 1;
            }
        }
        self.queues[0].post();
        self.wake_transmit()?;
        Ok(took)
    }

    /// Asleep, packets that wait for room in the kernel leave as well: the sleep drives them in copy mode, a round each.
    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        let at_most = if self.in_flight() > 0 { at_most.min(COMPLETION_PAUSE) } else { at_most };
        until_readable(self.queues.iter().map(Queue::descriptor).chain(wake.map(|wake| wake.as_raw_fd())), at_most)
            .map_err(|error| LinkError::System { attempt: format!("waiting for packets on {}", self.interface), error })
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
            std::thread::sleep(Duration::from_micros(100));
        }
        // Once the sockets are closed the kernel is given none of our frames: what the rings held is ours again.
        self.queues.clear();
        self.descriptors.unbind();
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
            Err(error) => self.cannot_wake(&error),
        }
    }

    /// What was posted stays in the ring, and leaves when the interface lets it: that it is down, or busy, passes.
    #[cold]
    fn cannot_wake(&mut self, error: &io::Error) -> Result<(), LinkError> {
        self.counters.refused_calls += 1;
        // The socket has lost its interface.
        self.is_gone |= matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV));
        self.unless_gone()
    }

    /// Nothing came for a while: is there still an interface?
    #[cold]
    fn look_for_interface(&mut self, now: Time) -> Result<(), LinkError> {
        self.heard = now;
        self.is_gone |= self.queues.iter().any(Queue::is_unplugged);
        self.unless_gone()
    }

    fn unless_gone(&self) -> Result<(), LinkError> {
        if self.is_gone { Err(LinkError::Gone { interface: self.interface.clone() }) } else { Ok(()) }
    }

    #[cold]
    fn group_failed(&self, what: &str, group: IpAddr, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} {group} on {}", self.interface), error }
    }

    fn check_group(&self, what: &str, group: IpAddr) -> Result<(), LinkError> {
        let ours = self.path.nla;
        if !group.is_multicast() {
            return Err(self.group_failed(what, group, io::Error::other("not a multicast address")));
        }
        if group.is_ipv4() != ours.is_ipv4() {
            let why =
                format!("the link carries the family of its address, {ours}; open one with an address of the group's");
            return Err(self.group_failed(what, group, io::Error::other(why)));
        }
        Ok(())
    }
}

impl fmt::Debug for XdpLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, taken, .. } = self;
        f.debug_struct("XdpLink").field("interface", interface).field("taken", taken).finish_non_exhaustive()
    }
}

/// A PGM packet in a frame: where it is, and what the headers in front of it say.
struct Packet {
    from: IpAddr,
    to: IpAddr,
    card: MacAddr,
    start: u16,
    len: u16,
}

/// Finds the PGM packet in a frame, which holds all of it. The steering program has looked at tags and ports.
#[inline]
fn accept(frame: &[u8], is_udp: bool) -> Result<Packet, NetReject> {
    let header = parse_frame(frame)?;
    let (start, len) = if is_udp {
        // A kernel that sends over a virtual cable leaves the UDP checksum to a card that is not there: PGM's own is the one that counts.
        let udp = parse_udp(frame, &header)?;
        (udp.payload_start, udp.payload_len)
    } else {
        // RFC 3208 §8, conformance 1: PGM is IP protocol 113, right behind the IP header.
        if header.proto != PROTO_PGM {
            return Err(NetReject::Protocol);
        }
        if header.fragment {
            return Err(NetReject::Fragment);
        }
        (header.payload_start, header.payload_len)
    };
    Ok(Packet { from: header.source, to: header.destination, card: header.src_mac, start, len })
}

#[cold]
#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn steering_failed(error: SteeringError) -> LinkError {
    LinkError::System { attempt: "steering".into(), error: io::Error::other(error.to_string()) }
}
