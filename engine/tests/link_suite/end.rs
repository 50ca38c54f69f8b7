//! One end of a bench: a link, its pool, what waits to leave and what has come.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use pgmx::frame::{Census, Outgoing, Pool, RxBatch, To, TxBatch};
use pgmx::link::memory::MemoryLink;
use pgmx::link::{Channel, Link};
use pgmx::time::Time;

use super::bench::{Bench, PATIENCE};
use super::packets::{DATA_PORT, SOURCE_PORT};
use crate::netns::Host;

/// What every link counts, as far as it has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets that exceeded the MTU.
    pub too_long: u64,
    /// System calls to send.
    pub send_calls: u64,
    /// System calls to receive.
    pub receive_calls: u64,
    /// Packets received that were dropped, for whatever reason.
    pub dropped: u64,
}

/// A link whose counters can be read.
pub trait Tested: Link {
    /// What it counted.
    fn tally(&self) -> Tally;
}

impl Tested for MemoryLink {
    fn tally(&self) -> Tally {
        let counts = self.counts();
        let (sent, received, too_long) = (counts.sent, counts.received, counts.too_long);
        Tally { sent, received, too_long, dropped: counts.overruns, ..Tally::default() }
    }
}

impl<L: Tested> Tested for pgmx::link::faults::Faults<L> {
    fn tally(&self) -> Tally {
        self.inner().tally()
    }
}

/// What came.
#[derive(Clone, PartialEq, Eq)]
pub struct Arrived {
    /// IP source.
    pub from: IpAddr,
    /// IP destination.
    pub to: IpAddr,
    /// The PGM packet.
    pub octets: Vec<u8>,
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.octets[..self.octets.len().min(28)];
        write!(f, "{} -> {}: {} octets {head:02x?}", self.from, self.to, self.octets.len())
    }
}

/// One end.
pub struct End {
    /// The link.
    pub link: Box<dyn Tested>,
    /// Its pool.
    pub pool: Pool,
    /// What waits to leave.
    pub out: TxBatch,
    /// Where it receives to.
    pub back: RxBatch,
    /// What came, in order.
    pub arrived: VecDeque<Arrived>,
    host: Option<Host>,
    began: Instant,
}

impl End {
    /// A link and its pool, on its host; a batch of this size.
    pub fn new(link: Box<dyn Tested>, pool: Pool, host: Option<Host>, batch: usize) -> Self {
        Self {
            link,
            pool,
            out: TxBatch::new(batch),
            back: RxBatch::new(64),
            arrived: VecDeque::new(),
            host,
            began: Instant::now(),
        }
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.link.path().nla
    }

    /// The largest PGM payload of ODATA.
    pub fn payload_max(&self) -> usize {
        usize::from(self.link.path().tpdu_max()) - 24
    }

    /// Calls its link, on its host.
    pub fn with<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        match self.host.take() {
            Some(host) => {
                let done = host.inside(|| work(self));
                self.host = Some(host);
                done
            }
            None => work(self),
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.began.elapsed().as_nanos() as u64)
    }

    /// Joins a channel.
    pub fn join(&mut self, group: IpAddr, data_port: u16, sources: &[IpAddr]) {
        self.with(|end| end.link.join(Channel { group, data_port }, sources)).expect("a group");
    }

    /// Leaves a channel.
    pub fn leave(&mut self, group: IpAddr, data_port: u16) {
        self.with(|end| end.link.leave(Channel { group, data_port })).expect("a group");
    }

    /// Listens to the ports of the suite's session and joins its channel, as a source and a receiver of it would.
    pub fn attend(&mut self, group: IpAddr) {
        for port in [SOURCE_PORT, DATA_PORT] {
            self.with(|end| end.link.listen(port)).expect("a port");
        }
        self.join(group, DATA_PORT, &[]);
    }

    /// A packet of these octets, if there is a frame for it.
    pub fn outgoing(&mut self, octets: &[u8], to: To, router_alert: bool) -> Option<Outgoing> {
        let path = self.link.path();
        let mut frame = self.pool.take()?;
        let start = self.pool.layout().start + path.front + if router_alert { path.alert } else { 0 };
        frame.set_range(start, octets.len() as u16);
        self.pool.bytes_mut(&mut frame).copy_from_slice(octets);
        Some(Outgoing { frame, to, router_alert })
    }

    /// Puts a packet into the batch.
    pub fn push(&mut self, octets: &[u8], to: To, router_alert: bool) {
        let packet = self.outgoing(octets, to, router_alert).expect("a free frame");
        self.out.push(packet);
    }

    /// One call to send.
    pub fn send(&mut self) -> usize {
        let now = self.now();
        let before = self.out.len();
        let took = self.with(|end| end.link.send(now, &mut end.pool, &mut end.out)).expect("sending never fails");
        assert_eq!(before - self.out.len(), took, "what it took is gone from the batch");
        took
    }

    /// One call to receive, into the batch; how many came.
    pub fn receive_into_batch(&mut self) -> usize {
        let now = self.now();
        let before = self.back.len();
        let came = self.with(|end| end.link.receive(now, &mut end.pool, &mut end.back)).expect("receiving never fails");
        assert_eq!(self.back.len() - before, came, "what it says is what it gave");
        came
    }

    /// Reads what the batch holds.
    pub fn read(&mut self) {
        while let Some(incoming) = self.back.pop() {
            let octets = self.pool.bytes(&incoming.frame).to_vec();
            self.arrived.push_back(Arrived { from: incoming.from, to: incoming.to, octets });
            self.pool.put(incoming.frame);
        }
    }

    /// Receives until nothing comes; how many came.
    pub fn receive(&mut self) -> usize {
        let mut all = 0;
        loop {
            let came = self.receive_into_batch();
            self.read();
            all += came;
            // Bounded by what the other end sent: it stands still meanwhile.
            if came == 0 {
                return all;
            }
        }
    }

    /// Shuts the link down, gives all back that the suite holds, and counts.
    pub fn shut_down(&mut self) -> Census {
        self.with(|end| end.link.shut_down(&mut end.pool));
        while let Some(packet) = self.out.pop() {
            self.pool.put(packet.frame);
        }
        self.read();
        self.pool.census()
    }
}

impl Bench {
    /// One turn of both ends: what waits leaves, what came is read.
    fn turn(&mut self) -> usize {
        let sent = self.left.send();
        let received = self.right.receive();
        let sent = sent + self.right.send();
        sent + received + self.left.receive()
    }

    /// Turns until `done`; says what it waited for when that does not come.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let moved = self.turn();
            assert!(
                Instant::now() < deadline,
                "{what} did not happen; left: {} wait, {:?}; right: {} came, {:?}",
                self.left.out.len(),
                self.left.link.tally(),
                self.right.arrived.len(),
                self.right.link.tally(),
            );
            if moved == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Everything that comes to the right end until (and without) a mark that the left end sends to the group now. What was sent before
    /// and has not come by then does not come. A mark that is lost, as where a ring was full, is repeated.
    pub fn until_mark(&mut self) -> Vec<Arrived> {
        const MARKS: u32 = 0xfee0_0000;
        let to = To::Group(self.group);
        let deadline = Instant::now() + PATIENCE;
        let mut idle = 0;
        let mut mark = Vec::new();
        while mark.is_empty() || self.right.arrived.back().is_none_or(|last| last.octets != mark) {
            if mark.is_empty() || idle > 2000 {
                self.until("room for a mark", |bench| bench.left.out.is_empty());
                self.marks += 1;
                mark = super::packets::odata(MARKS + self.marks, 0);
                self.left.push(&mark, to, false);
                idle = 0;
            }
            idle = if self.turn() == 0 { idle + 1 } else { 0 };
            assert!(
                Instant::now() < deadline,
                "no mark came: {:?} {:?}",
                self.left.link.tally(),
                self.right.link.tally()
            );
            if idle > 0 {
                std::thread::yield_now();
            }
        }
        let is_mark = |packet: &Arrived| packet.octets.len() == 24 && super::packets::number(&packet.octets) > MARKS;
        self.right.arrived.drain(..).filter(|packet| !is_mark(packet)).collect()
    }

    /// Both ends shut down, and every frame is at home.
    pub fn ends_conserved(mut self) {
        for (side, end) in [("left", &mut self.left), ("right", &mut self.right)] {
            let census = end.shut_down();
            assert_eq!((census.free, census.out, census.slots, census.lent), (census.total, 0, 0, 0), "{side}");
        }
    }
}
