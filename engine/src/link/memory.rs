//! The memory link: a hub inside one process, to which endpoints are plugged by ports.
//!
//! ```text
//!   port A ── send ──> [ring of B] ── receive ──> frames of B's pool
//!                 └──> [ring of C] ── receive ──> frames of C's pool
//! ```
//!
//! It behaves like a switch that knows the group members: a packet to a group reaches every member but its sender, a packet to a host
//! reaches that host. Octets are copied once on each side; a sent frame is complete at once. A full ring drops, and counts, as a
//! switch does. One thread drives the hub and all that is plugged into it; tests, the demo and the instruction budget stand on it.

use core::cell::RefCell;
use core::net::IpAddr;
use std::rc::Rc;

use super::{Channel, Link, LinkError};
use crate::frame::{Incoming, Outgoing, PathFacts, Pool, RxBatch, To, TxBatch, copy_octets};
use crate::time::Time;

/// Octets of one place in a ring: more than the MTU of 1500, and with what stands beside them a whole number of cache lines.
const ROOM: usize = 1536 - 32;

/// One packet in a ring.
#[derive(Clone)]
#[repr(align(64))]
struct Place {
    to: IpAddr,
    len: u16,
    /// The port it came from.
    port: u16,
    octets: [u8; ROOM],
}

/// Packets on their way to one port. Positions never wrap; `position & (length - 1)` is the place.
struct Ring {
    places: Box<[Place]>,
    taken: usize,
    put: usize,
}

impl Ring {
    fn new(packets: usize) -> Self {
        let empty = Place { to: IpAddr::from([0, 0, 0, 0]), len: 0, port: 0, octets: [0; ROOM] };
        Self { places: vec![empty; packets].into(), taken: 0, put: 0 }
    }

    /// Puts packets in, which all came from `port` for `to`. Returns how many found the ring full. Those above the MTU are passed over.
    #[inline]
    fn push(&mut self, packets: &[Outgoing], pool: &Pool, port: u16, path: &PathFacts, to: IpAddr) -> u64 {
        let mask = self.places.len() - 1;
        let (mut put, full) = (self.put, self.taken + self.places.len());
        let mut overruns = 0;
        for out in packets {
            let octets = pool.bytes(&out.frame);
            if exceeds(path, out) {
                continue;
            }
            if put == full {
                overruns += 1;
                continue;
            }
            let place = &mut self.places[put & mask];
            copy_octets(&mut place.octets[..octets.len()], octets);
            place.len = octets.len() as u16;
            place.port = port;
            place.to = to;
            put += 1;
        }
        self.put = put;
        overruns
    }
}

/// Whether the IP packet around it would exceed the MTU.
#[inline]
fn exceeds(path: &PathFacts, out: &Outgoing) -> bool {
    path.ip_octets(out.frame.len(), out.router_alert) > u32::from(path.mtu)
}

struct Port {
    address: IpAddr,
    channels: Vec<Channel>,
    ring: Ring,
    /// Packets that found the ring full.
    overruns: u64,
}

struct Ports {
    all: Vec<Port>,
    /// By port; beside the ports because both are needed at once.
    addresses: Vec<IpAddr>,
    /// Moves with every change of membership, so that links know when their routes are stale.
    generation: u64,
}

/// The switch. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    ports: Rc<RefCell<Ports>>,
    ring_packets: usize,
}

impl Hub {
    /// A hub whose ports hold up to `ring_packets` packets each that were not received yet.
    ///
    /// # Panics
    /// If `ring_packets` is not a power of two.
    pub fn new(ring_packets: usize) -> Self {
        assert!(ring_packets.is_power_of_two(), "rings of {ring_packets} packets: must be a power of two");
        Self {
            ports: Rc::new(RefCell::new(Ports { all: Vec::new(), addresses: Vec::new(), generation: 1 })),
            ring_packets,
        }
    }

    /// Plugs an endpoint with the given address in.
    ///
    /// # Panics
    /// If the address is taken, or 65,535 ports are.
    pub fn port(&self, address: IpAddr) -> MemoryLink {
        let mut hub = self.ports.borrow_mut();
        assert!(hub.all.iter().all(|port| port.address != address), "{address} is plugged in already");
        assert!(hub.all.len() < usize::from(u16::MAX), "a hub of 65,535 ports");
        let number = hub.all.len();
        hub.all.push(Port { address, channels: Vec::new(), ring: Ring::new(self.ring_packets), overruns: 0 });
        hub.addresses.push(address);
        hub.generation += 1;
        drop(hub);
        MemoryLink {
            hub: self.ports.clone(),
            number: number as u16,
            address,
            route: Route { to: To::Unicast(address), address, generation: 0, ports: Vec::new() },
            counts: MemoryCounts::default(),
        }
    }
}

/// Where packets to one destination go, as of a generation of the hub.
struct Route {
    to: To,
    /// The address in it.
    address: IpAddr,
    generation: u64,
    ports: Vec<u16>,
}

/// What a memory link counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Copies that found the ring of their port full.
    pub overruns: u64,
    /// Times that packets waited because the pool had no frame for them.
    pub starved: u64,
    /// Packets too long for the path; they go nowhere.
    pub too_long: u64,
}

/// One port of a [`Hub`].
pub struct MemoryLink {
    hub: Rc<RefCell<Ports>>,
    number: u16,
    address: IpAddr,
    /// The last destination: a stream of packets to one group looks its members up once.
    route: Route,
    counts: MemoryCounts,
}

impl Route {
    #[cold]
    fn look_up(&mut self, hub: &Ports, from: u16, to: To) {
        self.to = to;
        let (To::Group(address) | To::Neighbours(address) | To::Unicast(address)) = to;
        self.address = address;
        self.generation = hub.generation;
        self.ports.clear();
        let reached = |port: &Port| match to {
            To::Group(group) | To::Neighbours(group) => port.channels.iter().any(|channel| channel.group == group),
            To::Unicast(address) => port.address == address,
        };
        let ports = hub.all.iter().enumerate();
        self.ports.extend(ports.filter(|&(n, port)| n != usize::from(from) && reached(port)).map(|(n, _)| n as u16));
    }
}

impl MemoryLink {
    /// Octets of the largest IP packet.
    pub const MTU: u16 = 1500;

    /// What it has counted.
    pub fn counts(&self) -> MemoryCounts {
        MemoryCounts { overruns: self.hub.borrow().all[usize::from(self.number)].overruns, ..self.counts }
    }
}

impl Link for MemoryLink {
    fn path(&self) -> PathFacts {
        // The header sizes of native PGM over Ethernet: what is measured here holds there.
        let (ip_header, alert) = if self.address.is_ipv4() { (20, 4) } else { (40, 0) };
        PathFacts { nla: self.address, mtu: Self::MTU, front: 14 + ip_header, alert, ip_header }
    }

    /// Sources are not told apart here: whoever cares asks the packets.
    fn join(&mut self, channel: Channel, _sources: &[IpAddr]) -> Result<(), LinkError> {
        let mut hub = self.hub.borrow_mut();
        let channels = &mut hub.all[usize::from(self.number)].channels;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
        hub.generation += 1;
        Ok(())
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        let mut hub = self.hub.borrow_mut();
        hub.all[usize::from(self.number)].channels.retain(|&member| member != channel);
        hub.generation += 1;
        Ok(())
    }

    /// What is sent to our address is for us, whatever its port.
    fn listen(&mut self, _port: u16) -> Result<(), LinkError> {
        Ok(())
    }

    fn unlisten(&mut self, _port: u16) -> Result<(), LinkError> {
        Ok(())
    }

    // A call per batch keeps the loop's state in registers; inlined into a poll it does not.
    #[inline(never)]
    fn receive(&mut self, _now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let mut hub = self.hub.borrow_mut();
        let Ports { all: ports, addresses, .. } = &mut *hub;
        let Ring { places, taken, put } = &mut ports[usize::from(self.number)].ring;
        let places = &**places;
        let wanted = (*put - *taken).min(into.room());
        let mut into = into.tail();
        let start = pool.layout().start;
        let mut received = 0;
        while received < wanted {
            let Some(mut frame) = pool.take_for_fill() else {
                self.counts.starved += 1;
                break;
            };
            let place = &places[(*taken + received) & (places.len() - 1)];
            frame.set_range(start, place.len);
            copy_octets(pool.bytes_mut(&mut frame), &place.octets[..usize::from(place.len)]);
            let from = &addresses[usize::from(place.port)];
            into.push_with(|| Incoming { frame, from: *from, to: place.to });
            received += 1;
        }
        *taken += received;
        self.counts.received += received as u64;
        Ok(received)
    }

    #[inline(never)]
    fn send(&mut self, _now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let mut left = from.as_slice();
        let sent = left.len();
        if sent == 0 {
            return Ok(0);
        }
        let path = self.path();
        let mut hub = self.hub.borrow_mut();
        if hub.generation != self.route.generation {
            self.route.look_up(&hub, self.number, self.route.to);
        }
        // Port by port, as long as the packets are for the same destination: what a port needs is looked up once.
        while let Some(Outgoing { to, .. }) = left.first() {
            if *to != self.route.to {
                self.route.look_up(&hub, self.number, *to);
            }
            let alike = left.iter().take_while(|out| out.to == *to).count();
            let (now, later) = left.split_at(alike);
            for &port in &self.route.ports {
                let port = &mut hub.all[usize::from(port)];
                port.overruns += port.ring.push(now, pool, self.number, &path, self.route.address);
            }
            left = later;
        }
        let mut too_long = 0;
        for out in from.drain() {
            too_long += u64::from(exceeds(&path, &out));
            pool.put(out.frame);
        }
        self.counts.too_long += too_long;
        self.counts.sent += sent as u64 - too_long;
        Ok(sent)
    }

    fn shut_down(&mut self, _pool: &mut Pool) {
        let mut hub = self.hub.borrow_mut();
        let port = &mut hub.all[usize::from(self.number)];
        port.channels.clear();
        port.ring.taken = port.ring.put;
        hub.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Layout;

    const GROUP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(239, 1, 2, 3));
    const CHANNEL: Channel = Channel { group: GROUP, data_port: 7500 };

    struct Side {
        link: MemoryLink,
        pool: Pool,
        rx: RxBatch,
        tx: TxBatch,
    }

    impl Side {
        fn new(hub: &Hub, n: u8) -> Self {
            let pool = Pool::anonymous(Layout::standard(16)).expect("a small mapping");
            Self { link: hub.port(IpAddr::from([10, 0, 0, n])), pool, rx: RxBatch::new(8), tx: TxBatch::new(8) }
        }

        fn send(&mut self, to: To, octets: &[u8]) {
            let mut frame = self.pool.take().expect("a frame");
            frame.set_range(300, octets.len() as u16);
            self.pool.bytes_mut(&mut frame).copy_from_slice(octets);
            self.tx.push(Outgoing { frame, to, router_alert: false });
            let taken = self.link.send(Time::ZERO, &mut self.pool, &mut self.tx).expect("memory never fails");
            assert_eq!(taken, 1);
        }

        fn receive(&mut self) -> Vec<(Vec<u8>, IpAddr, IpAddr)> {
            self.link.receive(Time::ZERO, &mut self.pool, &mut self.rx).expect("memory never fails");
            let mut got = Vec::new();
            while let Some(incoming) = self.rx.pop() {
                got.push((self.pool.bytes(&incoming.frame).to_vec(), incoming.from, incoming.to));
                self.pool.put(incoming.frame);
            }
            got
        }
    }

    #[test]
    fn a_group_reaches_its_members_but_not_its_sender_and_a_host_reaches_one() {
        let hub = Hub::new(8);
        let (mut a, mut b, mut c) = (Side::new(&hub, 1), Side::new(&hub, 2), Side::new(&hub, 3));
        a.link.join(CHANNEL, &[]).expect("joined");
        b.link.join(CHANNEL, &[]).expect("joined");
        a.send(To::Group(GROUP), b"one");
        assert_eq!(b.receive(), [(b"one".to_vec(), a.link.address, GROUP)]);
        assert!(a.receive().is_empty() && c.receive().is_empty());
        c.link.join(CHANNEL, &[]).expect("joined");
        b.link.leave(CHANNEL).expect("left");
        a.send(To::Neighbours(GROUP), b"two");
        assert_eq!(c.receive().len(), 1);
        assert!(b.receive().is_empty());
        c.send(To::Unicast(a.link.address), b"three");
        assert_eq!(a.receive(), [(b"three".to_vec(), c.link.address, a.link.address)]);
        assert!(b.receive().is_empty());
        for side in [&a, &b, &c] {
            assert_eq!(side.pool.census().out, 0);
        }
    }

    #[test]
    fn a_full_ring_drops_and_counts_and_a_pool_without_frames_only_waits() {
        let hub = Hub::new(4);
        let (mut a, mut b) = (Side::new(&hub, 1), Side::new(&hub, 2));
        for n in 0..6_u8 {
            a.send(To::Unicast(b.link.address), &[n]);
        }
        assert_eq!(b.link.counts().overruns, 2);
        let hoard: Vec<_> = core::iter::from_fn(|| b.pool.take()).collect();
        assert!(b.receive().is_empty());
        assert_eq!(b.link.counts().starved, 1);
        for frame in hoard {
            b.pool.put(frame);
        }
        let got: Vec<u8> = b.receive().iter().map(|packet| packet.0[0]).collect();
        assert_eq!(got, [0, 1, 2, 3]);
    }
}
