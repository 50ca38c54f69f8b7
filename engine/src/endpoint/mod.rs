//! One thread's world: a link, its sources and its receivers, driven by [`Endpoint::poll`].
//!
//! ```text
//!            ┌────────────── poll(now) ───────────────┐
//!   link ──> │ receive ≤ a batch ─> parse ─> route ─┐ │
//!            │   downstream: (group, data port) ────┼─┼─> receivers ──> Sink
//!            │   upstream:   TSI ───────────────────┼─┼─> sources
//!            │ timers ─> transmit ──────────────────┘ │
//!   link <── │ send one batch                         │
//!            └────────────────────────────────────────┘
//! ```
//!
//! A link that does not bring back what we send to a group that we joined is helped: such packets are copied once, into frames of their
//! own, and taken in with the next poll, so that sources and receivers of one endpoint hear each other on every link.
//!
//! It is the whole engine without a thread: whoever needs no hop drives it from a loop of its own. It reads no clock, and it owns
//! the pool: at rest every frame is free, in a window, or with the application. Nothing that comes in can make it fail: what makes
//! no sense is counted in [`EndpointStats`] and its frame goes back. Who is there is the business of `members`; from packets to messages
//! leads `inbox`.

mod inbox;
mod members;

use core::net::IpAddr;
use core::time::Duration;
use std::os::fd::BorrowedFd;

pub use inbox::{Chunks, Handler, Inbox, MessageView};
pub use members::{AddError, ReceiverId, SourceId};
use members::{Listener, Speaker};

use crate::frame::{Incoming, PathFacts, Pool, RxBatch, To, TxBatch};
use crate::link::{Link, LinkError};
use crate::protocol::config::ConfigError;
use crate::protocol::source::Source;
use crate::protocol::{LossCause, Sink};
use crate::time::{Time, earliest};
use crate::wire::{self, Header, Kind, Limits, Reject, RejectCounters, Tsi};

/// How much an endpoint does in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Packets taken from the link in one poll. 64 fill the caches' worth of headers and still keep timers within microseconds.
    pub receive_batch: usize,
    /// Packets handed to the link in one poll. NAKs and NCFs wait behind one such batch at the most.
    pub transmit_batch: usize,
    /// What a fragment may announce. Wide by default: what it costs is bounded by each receiver's `max_apdu` and `held_max`, and what goes
    /// beyond those is told as a loss, which a rejected packet is not.
    pub limits: Limits,
    /// Whether sources and receivers of this endpoint hear each other where the link does not bring back what we send. What a link does
    /// by itself is the link's to say.
    pub connects_its_own: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        let limits = Limits { max_apdu: 1 << 24, max_fragments: 1 << 16 };
        Self { receive_batch: 64, transmit_batch: 64, limits, connects_its_own: true }
    }
}

/// What an endpoint counts besides its sources, its receivers and its link.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Packets received.
    pub received: u64,
    /// Packets the link took.
    pub sent: u64,
    /// Packets that broke a rule of the wire, by rule.
    pub rejects: RejectCounters,
    /// Packets for no source or receiver of ours.
    pub strangers: u64,
    /// Packets of ours that receivers and sources of this endpoint took in without the link.
    pub local: u64,
    /// Packets that one of several receivers of a group did not get, because there was no frame for its copy.
    pub uncopied: u64,
}

/// Where each receiver's news go. A [`Sink`] by itself takes those of all.
pub trait Sinks {
    /// What takes one receiver's news.
    type Sink: Sink;

    /// The sink of this receiver.
    fn of(&mut self, receiver: ReceiverId) -> &mut Self::Sink;
}

impl<S: Sink> Sinks for S {
    type Sink = S;

    #[inline]
    fn of(&mut self, _: ReceiverId) -> &mut S {
        self
    }
}

/// One thread's world.
pub struct Endpoint<L> {
    link: L,
    pool: Pool,
    path: PathFacts,
    limits: Limits,
    arrived: RxBatch,
    leaving: TxBatch,
    /// What we sent and want to hear ourselves.
    local: RxBatch,
    /// Packets at the front of `leaving` that were looked at for that.
    looked_at: usize,
    connects_its_own: bool,
    /// Whether a source and a receiver share a group that the link does not bring back to us.
    is_home: bool,
    sources: Vec<Speaker>,
    receivers: Vec<Listener>,
    /// Sources that were removed while their publisher lived or their frames were in flight.
    retiring: Vec<Source>,
    /// Which source and which receiver may fill the next batch first.
    turn: usize,
    next_id: u32,
    stats: EndpointStats,
}

impl<L: Link> Endpoint<L> {
    /// An endpoint with neither sources nor receivers.
    pub fn new(link: L, pool: Pool, config: &EndpointConfig) -> Result<Self, ConfigError> {
        let (receive, transmit) = (config.receive_batch, config.transmit_batch);
        ConfigError::unless((1..=4096).contains(&receive), "receive_batch", receive, "1 to 4096 packets")?;
        // An SPMR, and a NAK with its copy for the neighbours, are two packets that leave together.
        ConfigError::unless((2..=4096).contains(&transmit), "transmit_batch", transmit, "2 to 4096 packets")?;
        Ok(Self {
            path: link.path(),
            link,
            pool,
            limits: config.limits,
            arrived: RxBatch::new(config.receive_batch),
            leaving: TxBatch::new(config.transmit_batch),
            // All that one poll transmits, and the next one takes in.
            local: RxBatch::new(config.transmit_batch),
            looked_at: 0,
            connects_its_own: config.connects_its_own,
            is_home: false,
            sources: Vec::new(),
            receivers: Vec::new(),
            retiring: Vec::new(),
            turn: 0,
            next_id: 0,
            stats: EndpointStats::default(),
        })
    }

    /// One turn of the engine: takes in at most a batch, runs the timers, sends at most a batch. Returns how many packets moved;
    /// with none, nothing is to be done before [`Endpoint::deadline`] or the next packet.
    pub fn poll(&mut self, now: Time, sinks: &mut impl Sinks) -> Result<usize, LinkError> {
        let received = self.link.receive(now, &mut self.pool, &mut self.arrived)?;
        if received > 0 {
            self.stats.received += received as u64;
            self.take_in(now, sinks);
        }
        let local = self.local.len();
        if local > 0 {
            self.stats.local += local as u64;
            core::mem::swap(&mut self.arrived, &mut self.local);
            self.take_in(now, sinks);
            core::mem::swap(&mut self.arrived, &mut self.local);
        }
        for listener in &mut self.receivers {
            listener.receiver.advance(now, &mut self.pool, sinks.of(listener.id));
        }
        self.transmit(now);
        if self.is_home {
            self.bring_home();
        }
        let sent = self.link.send(now, &mut self.pool, &mut self.leaving)?;
        self.stats.sent += sent as u64;
        self.looked_at = self.leaving.len();
        if !self.retiring.is_empty() {
            self.retire();
        }
        Ok(received + local + sent)
    }

    // A call per batch: its loop has the registers to itself.
    #[inline(never)]
    fn take_in(&mut self, now: Time, sinks: &mut impl Sinks) {
        while let Some(next) = self.arrived.peek() {
            match wire::parse_plain(self.pool.bytes(&next.frame)) {
                Some(Ok(data)) => {
                    // The common case, an endpoint with one receiver and the data that it expects next, builds no header.
                    if let [only] = &mut self.receivers[..]
                        && only.wants(&next.to, data.data_port())
                        && let Some(edge) = only.receiver.edge(data, &next.from)
                    {
                        edge.pass(data, next.take().frame, &mut self.pool, sinks.of(only.id));
                    } else {
                        let incoming = next.take();
                        self.route(now, &data.header(), incoming, sinks);
                    }
                }
                Some(Err(reject)) => {
                    let incoming = next.take();
                    self.refuse(reject, incoming);
                }
                None => {
                    let incoming = next.take();
                    self.take_other(now, incoming, sinks);
                }
            }
        }
    }

    /// Takes in what is not data without options.
    #[inline(never)]
    fn take_other(&mut self, now: Time, incoming: Incoming, sinks: &mut impl Sinks) {
        match wire::parse(self.pool.bytes(&incoming.frame), &self.limits) {
            Ok(header) => self.route(now, &header, incoming, sinks),
            Err(reject) => self.refuse(reject, incoming),
        }
    }

    #[cold]
    fn refuse(&mut self, reject: Reject, incoming: Incoming) {
        self.stats.rejects.count(reject);
        self.pool.put(incoming.frame);
    }

    /// Hands a packet to whom it is for.
    #[inline(never)]
    fn route(&mut self, now: Time, header: &Header, incoming: Incoming, sinks: &mut impl Sinks) {
        match header.kind {
            Kind::Odata(_) | Kind::Rdata(_) | Kind::Spm(_) | Kind::Poll(_) => {
                self.hear(now, header, incoming.to, incoming, sinks);
            }
            // RFC 3208 §15.3: a NCF may come to us alone; what group it is about stands inside.
            Kind::Ncf(ncf) => self.hear(now, header, ncf.group, incoming, sinks),
            Kind::Nak(_) | Kind::Nnak(_) | Kind::Spmr | Kind::Polr(_) | Kind::Ack(_) => {
                self.answer(now, header, incoming, sinks);
            }
        }
    }

    /// Hands a packet to the receivers of a group: each gets a frame of its own, the last one the frame that came.
    fn hear(&mut self, now: Time, header: &Header, group: IpAddr, incoming: Incoming, sinks: &mut impl Sinks) {
        let Some(last) = self.receivers.iter().rposition(|listener| listener.wants(&group, header.data_port)) else {
            self.stats.strangers += 1;
            self.pool.put(incoming.frame);
            return;
        };
        for listener in self.receivers[..last].iter_mut().filter(|one| one.wants(&group, header.data_port)) {
            if let Some(frame) = self.pool.copy(&incoming.frame) {
                let copy = Incoming { frame, from: incoming.from, to: incoming.to };
                listener.receiver.handle(now, header, copy, &mut self.pool, sinks.of(listener.id));
            } else {
                self.stats.uncopied += 1;
            }
        }
        let last = &mut self.receivers[last];
        last.receiver.handle(now, header, incoming, &mut self.pool, sinks.of(last.id));
    }

    /// Hands an upstream packet to the source it is for, and one that came to the group also to the receivers, who may keep quiet
    /// because of it.
    fn answer(&mut self, now: Time, header: &Header, incoming: Incoming, sinks: &mut impl Sinks) {
        let speaker = match &mut self.sources[..] {
            [only] => (only.tsi == header.tsi).then_some(only),
            many => many.iter_mut().find(|speaker| speaker.tsi == header.tsi),
        };
        let known = speaker.is_some();
        if let Some(speaker) = speaker {
            let packet = self.pool.bytes(&incoming.frame);
            speaker.source.handle(now, header, packet, incoming.from, incoming.to);
        }
        let heard = matches!(header.kind, Kind::Nak(_) | Kind::Spmr) && incoming.to.is_multicast();
        if heard && self.receivers.iter().any(|listener| listener.wants(&incoming.to, header.data_port)) {
            self.hear(now, header, incoming.to, incoming, sinks);
            return;
        }
        if !known {
            self.stats.strangers += 1;
        }
        self.pool.put(incoming.frame);
    }

    /// Collects what must go out: requests for repairs first, since somebody waits for what they bring; then sources, each in turn the
    /// first.
    #[inline]
    fn transmit(&mut self, now: Time) {
        self.turn = self.turn.wrapping_add(1);
        let (receivers, sources) = (self.receivers.len(), self.sources.len());
        for n in 0..receivers {
            let listener = &mut self.receivers[in_turn(n, self.turn, receivers)];
            listener.receiver.transmit(now, &mut self.pool, &mut self.leaving);
        }
        for n in 0..sources {
            let speaker = &mut self.sources[in_turn(n, self.turn, sources)];
            speaker.source.transmit(now, &mut self.pool, &mut self.leaving);
        }
    }

    /// Keeps a copy of what our own receivers and sources want to hear. What is for us alone does not leave.
    #[cold]
    fn bring_home(&mut self) {
        let Self { pool, path, leaving, local, receivers, stats, .. } = self;
        for n in 0..leaving.len() {
            let Some(out) = leaving.pop() else { return };
            if n < self.looked_at {
                leaving.push(out);
                continue;
            }
            match out.to {
                To::Unicast(to) if to == path.nla => {
                    local.push(Incoming { frame: out.frame, from: path.nla, to });
                    continue;
                }
                To::Group(group) | To::Neighbours(group)
                    if receivers.iter().any(|listener| listener.channel.group == group) =>
                {
                    if let Some(frame) = pool.copy(&out.frame) {
                        local.push(Incoming { frame, from: path.nla, to: group });
                    } else {
                        stats.uncopied += 1;
                    }
                }
                _ => {}
            }
            leaving.push(out);
        }
    }

    /// When to poll at the latest, though nothing comes in. [`Time::ZERO`] means at once.
    pub fn deadline(&self) -> Option<Time> {
        if !self.leaving.is_empty() || !self.local.is_empty() {
            return Some(Time::ZERO);
        }
        let receivers = self.receivers.iter().map(|listener| listener.receiver.deadline());
        let sources = self.sources.iter().map(|speaker| speaker.source.deadline());
        receivers.chain(sources).fold(self.link.deadline(), earliest)
    }

    /// Sleeps until there may be something to poll for: a packet, the [`Endpoint::deadline`], `wake` that can be read, or until `at_most`
    /// has passed. May return early.
    pub fn wait(&self, now: Time, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        let until = self.deadline().map_or(at_most, |at| at_most.min(Duration::from_nanos(at.since(now))));
        if until.is_zero() { Ok(()) } else { self.link.wait(until, wake) }
    }

    /// Whether a publisher has committed something that no poll has seen yet. Whoever is about to sleep asks after having said so to
    /// the publishers.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.sources.iter().any(|speaker| speaker.source.has_news())
    }

    /// Ends one session of a receiver because the application lost some of it.
    pub fn reset_session(&mut self, id: ReceiverId, tsi: Tsi, cause: LossCause, sinks: &mut impl Sinks) {
        if let Some(listener) = self.receivers.iter_mut().find(|listener| listener.id == id) {
            listener.receiver.reset(tsi, cause, &mut self.pool, sinks.of(id));
        }
    }

    /// What was counted.
    pub fn stats(&self) -> &EndpointStats {
        &self.stats
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.link
    }

    /// The link, to be told something.
    pub fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// The pool, to read deliveries and to count frames.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The pool, to give back what was delivered.
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Ends everything at once, without a word to anybody, and gives every frame back that nobody else is reading. The census of
    /// [`Endpoint::pool`] says whether all came home.
    pub fn shut_down(&mut self, sinks: &mut impl Sinks) {
        for mut listener in self.receivers.drain(..) {
            listener.receiver.close(&mut self.pool, sinks.of(listener.id));
        }
        while let Some(out) = self.leaving.pop() {
            self.pool.put(out.frame);
        }
        for incoming in self.arrived.drain().chain(self.local.drain()) {
            self.pool.put(incoming.frame);
        }
        self.link.shut_down(&mut self.pool);
        self.retiring.extend(self.sources.drain(..).map(|speaker| speaker.source));
        self.retire();
    }

    /// Takes back the windows of removed sources as far as that is possible yet.
    #[cold]
    fn retire(&mut self) {
        for source in core::mem::take(&mut self.retiring) {
            if let Err(source) = source.retire(&mut self.pool) {
                self.retiring.push(source);
            }
        }
    }

    /// Whether removed sources still wait for their publishers or for the link.
    pub fn is_retiring(&self) -> bool {
        !self.retiring.is_empty()
    }
}

#[inline]
fn in_turn(n: usize, turn: usize, of: usize) -> usize {
    // The usual case without a division.
    if of == 1 { 0 } else { n.wrapping_add(turn) % of }
}

#[cfg(test)]
mod tests;
