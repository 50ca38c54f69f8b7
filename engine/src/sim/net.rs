//! The simulated network: one switch in virtual time, with a delay for each port and each direction, and a speed.
//!
//! It loses nothing by itself but what overruns the bounded queue of a port that is not read; all other faults come from
//! [`Faults`](crate::link::faults::Faults) links plugged into it. A packet is kept once, however many ports it is on its way to.

use core::cell::RefCell;
use core::net::IpAddr;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::frame::{Frame, Incoming, PathFacts, Pool, RxBatch, To, TxBatch};
use crate::link::{Channel, Link, LinkError};
use crate::time::{Time, earliest};

/// A packet on its way, and how many ports it has still to reach.
struct Flying {
    octets: Vec<u8>,
    copies: u32,
}

struct Arrival {
    at: Time,
    packet: u32,
    from: u32,
    to: IpAddr,
}

/// What one port of the switch is like.
#[derive(Clone, Copy, Debug)]
pub struct PortConfig {
    /// Its address.
    pub address: IpAddr,
    /// From the port to the middle of the network.
    pub out_ns: u64,
    /// From the middle of the network to the port.
    pub in_ns: u64,
    /// Serialisation time of an octet, in picoseconds; 0 for a line without end.
    pub octet_ps: u64,
    /// Packets that wait to be received at the most.
    pub queue: usize,
    /// How long a frame stays in flight behind its packet: a driver gives it back later than it sends it.
    pub completion_ns: u64,
}

/// A frame that its driver has not given back.
struct InFlight {
    frame: Frame,
    until: Time,
    /// What it held when it was sent.
    digest: u64,
}

struct Port {
    config: PortConfig,
    arrivals: VecDeque<Arrival>,
    /// When the last packet sent has left.
    busy_until: Time,
    /// When the port's owner looks again by itself: arrivals before it are told to the world.
    wake: Time,
    open: bool,
    overruns: u64,
    /// Frames whose octets changed while they were in flight.
    touched: u64,
}

struct Group {
    address: IpAddr,
    members: Vec<u32>,
}

/// The switch.
#[derive(Default)]
pub struct Net {
    ports: Vec<Port>,
    groups: Vec<Group>,
    flying: Vec<Flying>,
    landed: Vec<u32>,
    /// Ports that have to be looked at earlier than they asked for.
    woken: Vec<(u32, Time)>,
}

impl Net {
    /// An empty network.
    pub fn new() -> Rc<RefCell<Self>> {
        Rc::default()
    }

    /// Plugs a port in.
    pub fn plug(net: &Rc<RefCell<Self>>, config: PortConfig) -> SimLink {
        let mut inner = net.borrow_mut();
        inner.ports.push(Port {
            config,
            arrivals: VecDeque::new(),
            busy_until: Time::ZERO,
            wake: Time::ZERO,
            open: true,
            overruns: 0,
            touched: 0,
        });
        let port = inner.ports.len() as u32 - 1;
        SimLink { net: net.clone(), port, config, in_flight: VecDeque::new() }
    }

    /// Says when the owner of a port looks at it again.
    pub fn set_wake(&mut self, port: u32, at: Time) {
        self.ports[port as usize].wake = at;
    }

    /// A port that has to be looked at earlier than its owner said.
    pub fn pop_woken(&mut self) -> Option<(u32, Time)> {
        self.woken.pop()
    }

    /// Packets lost in the full queue of a port.
    pub fn overruns(&self, port: u32) -> u64 {
        self.ports[port as usize].overruns
    }

    /// Frames of a port whose octets were changed by somebody while they were in flight.
    pub fn touched(&self, port: u32) -> u64 {
        self.ports[port as usize].touched
    }

    fn fly(&mut self, octets: &[u8]) -> u32 {
        let packet = self.landed.pop().unwrap_or_else(|| {
            self.flying.push(Flying { octets: Vec::with_capacity(256), copies: 0 });
            self.flying.len() as u32 - 1
        });
        let flying = &mut self.flying[packet as usize];
        flying.octets.clear();
        flying.octets.extend_from_slice(octets);
        packet
    }

    fn land(&mut self, packet: u32) {
        let flying = &mut self.flying[packet as usize];
        flying.copies -= 1;
        if flying.copies == 0 {
            self.landed.push(packet);
        }
    }

    /// Returns when the last octet has left.
    fn send(&mut self, now: Time, from: u32, octets: &[u8], to: To) -> Time {
        let sender = &mut self.ports[from as usize];
        let left = sender.busy_until.max(now).plus(octets.len() as u64 * sender.config.octet_ps / 1000);
        sender.busy_until = left;
        let middle = left.plus(sender.config.out_ns);
        let packet = self.fly(octets);
        // Held by ourselves until all copies are under way.
        self.flying[packet as usize].copies = 1;
        match to {
            To::Group(group) | To::Neighbours(group) => {
                if let Some(at) = self.groups.iter().position(|one| one.address == group) {
                    for n in 0..self.groups[at].members.len() {
                        let member = self.groups[at].members[n];
                        if member != from {
                            self.bring(middle, member, packet, from, group);
                        }
                    }
                }
            }
            To::Unicast(address) => {
                let open = |port: &Port| port.open && port.config.address == address;
                if let Some(port) = self.ports.iter().position(open) {
                    self.bring(middle, port as u32, packet, from, address);
                }
            }
        }
        self.land(packet);
        left
    }

    fn bring(&mut self, middle: Time, port: u32, packet: u32, from: u32, to: IpAddr) {
        let target = &mut self.ports[port as usize];
        if !target.open {
            return;
        }
        if target.arrivals.len() >= target.config.queue {
            target.overruns += 1;
            return;
        }
        let at = middle.plus(target.config.in_ns);
        // Nearly always the last one: senders differ in delay, but each of them is in order.
        let behind = target.arrivals.iter().rposition(|arrival| arrival.at <= at).map_or(0, |n| n + 1);
        target.arrivals.insert(behind, Arrival { at, packet, from, to });
        if at < target.wake {
            target.wake = at;
            self.woken.push((port, at));
        }
        self.flying[packet as usize].copies += 1;
    }

    fn close(&mut self, port: u32) {
        for group in &mut self.groups {
            group.members.retain(|&member| member != port);
        }
        let target = &mut self.ports[port as usize];
        target.open = false;
        for arrival in core::mem::take(&mut target.arrivals) {
            self.land(arrival.packet);
        }
    }
}

/// A port of the simulated network.
pub struct SimLink {
    net: Rc<RefCell<Net>>,
    port: u32,
    config: PortConfig,
    in_flight: VecDeque<InFlight>,
}

impl SimLink {
    /// Gives back what was sent long enough ago, and makes sure that nobody touched it meanwhile.
    fn complete(&mut self, now: Time, pool: &mut Pool) {
        while self.in_flight.front().is_some_and(|sent| sent.until <= now)
            && let Some(sent) = self.in_flight.pop_front()
        {
            let untouched = digest(pool.bytes(&sent.frame)) == sent.digest;
            self.net.borrow_mut().ports[self.port as usize].touched += u64::from(!untouched);
            pool.put(sent.frame);
        }
    }

    /// Number of the port.
    pub fn port(&self) -> u32 {
        self.port
    }
}

impl Link for SimLink {
    fn path(&self) -> PathFacts {
        let (ip_header, alert) = if self.config.address.is_ipv4() { (20, 4) } else { (40, 0) };
        PathFacts { nla: self.config.address, mtu: 1500, front: 14 + ip_header, alert, ip_header }
    }

    fn join(&mut self, channel: Channel, _sources: &[IpAddr]) -> Result<(), LinkError> {
        let group = channel.group;
        let mut net = self.net.borrow_mut();
        let Some(at) = net.groups.iter().position(|one| one.address == group) else {
            net.groups.push(Group { address: group, members: vec![self.port] });
            return Ok(());
        };
        let members = &mut net.groups[at].members;
        if !members.contains(&self.port) {
            members.push(self.port);
        }
        Ok(())
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        for one in self.net.borrow_mut().groups.iter_mut().filter(|one| one.address == channel.group) {
            one.members.retain(|&member| member != self.port);
        }
        Ok(())
    }

    fn listen(&mut self, _port: u16) -> Result<(), LinkError> {
        Ok(())
    }

    fn unlisten(&mut self, _port: u16) -> Result<(), LinkError> {
        Ok(())
    }

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        self.complete(now, pool);
        let mut net = self.net.borrow_mut();
        let start = pool.layout().start;
        let before = into.len();
        while into.room() > 0 {
            let due = net.ports[self.port as usize].arrivals.front().is_some_and(|arrival| arrival.at <= now);
            if !due {
                break;
            }
            let Some(mut frame) = pool.take_for_fill() else { break };
            let Some(arrival) = net.ports[self.port as usize].arrivals.pop_front() else { break };
            let octets = &net.flying[arrival.packet as usize].octets;
            frame.set_range(start, octets.len() as u16);
            pool.bytes_mut(&mut frame).copy_from_slice(octets);
            let from = net.ports[arrival.from as usize].config.address;
            net.land(arrival.packet);
            into.push(Incoming { frame, from, to: arrival.to });
        }
        Ok(into.len() - before)
    }

    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let mut net = self.net.borrow_mut();
        let mut sent = 0;
        while let Some(out) = from.pop() {
            let octets = pool.bytes(&out.frame);
            let left = net.send(now, self.port, octets, out.to);
            if self.config.completion_ns == 0 {
                pool.put(out.frame);
            } else {
                let until = left.plus(self.config.completion_ns);
                self.in_flight.push_back(InFlight { digest: digest(octets), until, frame: out.frame });
            }
            sent += 1;
        }
        Ok(sent)
    }

    fn deadline(&self) -> Option<Time> {
        let arrival = self.net.borrow().ports[self.port as usize].arrivals.front().map(|arrival| arrival.at);
        earliest(arrival, self.in_flight.front().map(|sent| sent.until))
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.complete(Time::from_nanos(u64::MAX), pool);
        self.net.borrow_mut().close(self.port);
    }
}

/// FNV-1a over eight octets at a time: tells a touched frame from an untouched one, no more.
fn digest(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|&octet| u64::from(octet)));
    all.fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, Outgoing};

    #[test]
    fn packets_come_in_the_order_of_delay_and_speed_and_wake_their_port() {
        let net = Net::new();
        let port = |n: u8, out_ns, octet_ps| PortConfig {
            address: IpAddr::from([10, 0, 0, n]),
            out_ns,
            in_ns: 10,
            octet_ps,
            queue: 3,
            completion_ns: 0,
        };
        let mut slow = Net::plug(&net, port(1, 1000, 1000));
        let mut quick = Net::plug(&net, port(2, 5, 0));
        let mut reader = Net::plug(&net, port(3, 0, 0));
        net.borrow_mut().set_wake(2, Time::from_nanos(u64::MAX));
        let group = IpAddr::from([239, 0, 0, 1]);
        for link in [&mut slow, &mut quick, &mut reader] {
            link.join(Channel { group, data_port: 1 }, &[]).expect("joined");
        }
        let mut pool = Pool::anonymous(Layout::standard(8)).expect("a small mapping");
        let send = |link: &mut SimLink, octet: u8, pool: &mut Pool| {
            let mut frame = pool.take().expect("a frame");
            frame.set_range(300, 100);
            pool.bytes_mut(&mut frame).fill(octet);
            let mut batch = TxBatch::new(1);
            batch.push(Outgoing { frame, to: To::Group(group), router_alert: false });
            link.send(Time::ZERO, pool, &mut batch).expect("never fails");
        };
        send(&mut slow, 1, &mut pool);
        send(&mut slow, 2, &mut pool);
        send(&mut quick, 3, &mut pool);
        send(&mut quick, 4, &mut pool);
        assert_eq!(net.borrow().overruns(2), 1, "the queue of three was full");
        let woken: Vec<_> = core::iter::from_fn(|| net.borrow_mut().pop_woken()).filter(|woken| woken.0 == 2).collect();
        assert_eq!(woken, [(2, Time::from_nanos(15)), (2, Time::from_nanos(1110))]);
        let mut got = Vec::new();
        let mut batch = RxBatch::new(8);
        while let Some(at) = reader.deadline() {
            reader.receive(at, &mut pool, &mut batch).expect("never fails");
            while let Some(packet) = batch.pop() {
                got.push((at.as_nanos(), pool.bytes(&packet.frame)[0]));
                pool.put(packet.frame);
            }
        }
        assert_eq!(got, [(15, 3), (1110, 1), (1210, 2)]);
        assert_eq!(pool.census().out, 0);
    }

    #[test]
    fn a_frame_that_changes_in_flight_is_noticed_when_it_comes_back() {
        let net = Net::new();
        let [address, nobody] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let config = PortConfig { address, out_ns: 0, in_ns: 0, octet_ps: 0, queue: 1, completion_ns: 50 };
        let mut link = Net::plug(&net, config);
        let mut pool = Pool::anonymous(Layout::standard(2)).expect("a small mapping");
        let mut batch = TxBatch::new(2);
        for octet in [1, 2] {
            let mut frame = pool.take().expect("a frame");
            frame.set_range(300, 10);
            pool.bytes_mut(&mut frame).fill(octet);
            batch.push(Outgoing { frame, to: To::Unicast(nobody), router_alert: false });
        }
        link.send(Time::ZERO, &mut pool, &mut batch).expect("never fails");
        assert_eq!((link.deadline(), pool.census().out), (Some(Time::from_nanos(50)), 2));
        pool.bytes_mut(&mut link.in_flight[1].frame)[9] = 3;
        link.shut_down(&mut pool);
        assert_eq!((net.borrow().touched(0), pool.census().out), (1, 0));
    }
}
