//! The receiver of RFC 3208 §6 and §13 as a pure state machine: one group, one port, any number of sessions.
//!
//! What lives here, a mechanism to a file:
//!
//! ```text
//!  packets ─▶ Receiver ─▶ sessions   who is it?                           the table, bounded
//!                          session    one session, how it opens and ends
//!                          ├─ spm      path, window, FIN, RST, silence
//!                          ├─ data     joining, duplicates, holding ──▶ window   ring, gaps, timers
//!                          ├─ deliver  the edge: data or loss, in order
//!                          ├─ repair   gaps → NAKs ──▶ nak (the figure), adapt (the intervals), pace (how long there is)
//!                          └─ spmr     asking for an SPM
//! ```
//!
//! An endpoint calls [`Receiver`]: packets and time in, deliveries and events into a [`Sink`], NAKs and SPMRs into a batch. Guards the frames: each
//! one that comes in is delivered, held, or back in the pool when the call returns.

mod adapt;
mod config;
mod data;
mod deliver;
mod nak;
mod pace;
mod repair;
mod session;
mod sessions;
mod spm;
mod spmr;
mod stats;
#[cfg(test)]
mod tests;
mod window;

use core::net::IpAddr;

pub use config::{Interval, JoinOn, NakCopy, OnLoss, OnRst, Order, ReceiverConfig};
pub use stats::{ReceiverStats, SessionStats};

use adapt::Baseline;
use config::Settings;
use data::DataOptions;
use nak::Input;
use session::{Ctx, NEVER, Phase, Session};
use sessions::Sessions;
use spm::SpmOptions;
use stats::count;
use window::Windows;

use crate::frame::{Frame, Incoming, Outgoing, PathFacts, Pool, To, TxBatch};
use crate::protocol::config::ConfigError;
use crate::protocol::{Delivery, End, LossCause, Rng, Sink};
use crate::time::Time;
use crate::wire::build::BuildError;
use crate::wire::{Data, Header, Kind, Nak, PlainData, Sqn, Tsi};

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its name.
    pub tsi: Tsi,
    /// Its source.
    pub source: IpAddr,
    /// Where NAKs go; `None` before the first SPM.
    pub path: Option<IpAddr>,
    /// The next SQN to be delivered; `None` before it is known where the session begins for us.
    pub expected: Option<Sqn>,
    /// The last SQN known to have been sent.
    pub lead: Sqn,
    /// Whether it was reported as opened.
    pub is_open: bool,
    /// Whether it is over and only remembered.
    pub is_over: bool,
    /// Packets held out of order.
    pub held: u32,
    /// NAK_BO_IVL in nanoseconds.
    pub nak_bo_ivl_ns: u64,
    /// Smoothed repair round trip in nanoseconds; 0 before the first repair.
    pub repair_rtt_ns: u64,
}

/// An NCF with OPT_NBR_UNREACH, kept until it can be repeated for our neighbours.
#[derive(Debug)]
struct Relay {
    octets: Box<[u8]>,
    len: usize,
}

/// What a session may use of its receiver, borrowed apart from the table of sessions.
macro_rules! ctx {
    ($receiver:ident, $now:expr, $pool:expr, $sink:expr) => {
        Ctx {
            now: $now,
            set: &$receiver.settings,
            stats: &mut $receiver.stats,
            rng: &mut $receiver.rng,
            windows: &mut $receiver.windows,
            pool: $pool,
            sink: $sink,
        }
    };
}

/// A receiver.
#[derive(Debug)]
pub struct Receiver {
    // Read by every packet.
    sessions: Sessions,
    settings: Settings,
    stats: ReceiverStats,
    // The rest is for the slow path.
    windows: Windows,
    baseline: Baseline,
    sources: Box<[IpAddr]>,
    rng: Rng,
    relay: Relay,
    /// No session needs a call before.
    next: Time,
    /// A session has something to send.
    sending: bool,
    /// The latest time that we were told.
    now: Time,
}

impl Receiver {
    /// A receiver on the given path. All randomness comes from the seed.
    pub fn new(config: &ReceiverConfig, path: PathFacts, seed: u64) -> Result<Self, ConfigError> {
        config.check(&path)?;
        let settings = Settings::new(config, &path);
        let mut rng = Rng::new(seed);
        Ok(Self {
            sessions: Sessions::new(config.sessions_max, rng.next_u64()),
            windows: Windows::new(config.window_slots, config.sessions_max),
            baseline: Baseline::new(config),
            sources: config.sources.clone().into(),
            relay: Relay { octets: vec![0; usize::from(settings.tpdu_max)].into(), len: 0 },
            settings,
            stats: ReceiverStats::default(),
            rng,
            next: NEVER,
            sending: false,
            now: Time::ZERO,
        })
    }

    /// The group.
    pub fn group(&self) -> IpAddr {
        self.settings.group
    }

    /// The data-destination port.
    pub fn data_port(&self) -> u16 {
        self.settings.data_port
    }

    /// What happened so far.
    pub fn stats(&self) -> &ReceiverStats {
        &self.stats
    }

    /// What happened to one session, as long as it is remembered.
    pub fn session_stats(&self, tsi: Tsi) -> Option<&SessionStats> {
        self.sessions.get(tsi).map(|session| &session.stats)
    }

    /// The sessions that are known, those over and not yet forgotten included.
    pub fn sessions(&self) -> impl Iterator<Item = SessionInfo> {
        self.sessions.iter().map(|session| SessionInfo {
            tsi: session.tsi,
            source: session.source,
            path: session.spm.map(|spm| spm.path),
            expected: (session.phase != Phase::Heard).then_some(session.expected),
            lead: session.lead,
            is_open: session.opened,
            is_over: session.phase == Phase::Over,
            held: session.window.as_ref().map_or(0, |window| window.held_count()),
            nak_bo_ivl_ns: session.adapt.nak_bo_ivl_ns(),
            repair_rtt_ns: session.adapt.srtt_ns(),
        })
    }

    /// When to call [`Receiver::advance`] and [`Receiver::transmit`] at the latest.
    #[inline]
    pub fn deadline(&self) -> Option<Time> {
        if self.sending {
            return Some(self.now);
        }
        (self.next != NEVER).then_some(self.next)
    }

    /// A packet that came in, and what the parser made of it.
    #[inline]
    pub fn handle(&mut self, now: Time, header: &Header, incoming: Incoming, pool: &mut Pool, sink: &mut impl Sink) {
        if let Some(data) = header.plain()
            && header.data_port == self.settings.data_port
        {
            // Where sessions take turns, the edge is another's.
            self.sessions.turn_to(data.key());
            if let Some(edge) = self.edge(data, &incoming.from) {
                return edge.pass(data, incoming.frame, pool, sink);
            }
        }
        self.handle_others(now, header, incoming, pool, sink);
    }

    /// Where this data can be passed on at once: it is new data for our port, of the session that we heard last, in order, with nothing
    /// to look at but its numbers. The caller has looked at the port.
    #[inline]
    pub(crate) fn edge(&mut self, data: PlainData, from: &IpAddr) -> Option<Edge<'_>> {
        let session = self.sessions.latest()?;
        let passes = session.flowing
            && data.is_new()
            && data.sqn() == session.expected
            && data.is_of(session.key)
            && *from == session.source
            && data.trail().at_or_before(data.sqn());
        passes.then_some(Edge { session, all: &mut self.stats.all })
    }

    /// Everything but data in order.
    #[inline(never)]
    fn handle_others(&mut self, now: Time, header: &Header, incoming: Incoming, pool: &mut Pool, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        let to_group = incoming.to == self.settings.group;
        if header.data_port != self.settings.data_port {
            self.stats.not_for_us += 1;
            return pool.put(incoming.frame);
        }
        let Some(slot) = self.session_of(now, header, &incoming, pool, sink) else {
            return pool.put(incoming.frame);
        };
        let Some(session) = self.sessions.get_mut(slot) else { return pool.put(incoming.frame) };
        let ctx = &mut ctx!(self, now, pool, sink);
        // conformance 161: what the source alone can say is believed only from the address that was heard first.
        let from_source = incoming.from == session.source;
        let is_downstream =
            !matches!(header.kind, Kind::Nak(_) | Kind::Spmr | Kind::Nnak(_) | Kind::Polr(_) | Kind::Ack(_));
        if is_downstream && !from_source {
            count!(session, ctx, foreign_address);
            return ctx.pool.put(incoming.frame);
        }
        session.heard_at = now;
        match header.kind {
            Kind::Odata(data) | Kind::Rdata(data) => {
                on_data(session, data, header, incoming.frame, ctx);
            }
            Kind::Spm(spm) => {
                let options = SpmOptions::read(header, ctx.pool.bytes(&incoming.frame));
                ctx.pool.put(incoming.frame);
                session.on_spm(&spm, &options, ctx);
            }
            Kind::Ncf(ncf) => on_ncf(session, &ncf, header, incoming, &mut self.relay, ctx),
            Kind::Nak(nak) => {
                // Another receiver's; what was sent to us alone is a mistake.
                if to_group && !header.flags.is_parity() {
                    count!(session, ctx, naks_heard);
                    on_list(session, &nak, header, &incoming.frame, Input::Nak, ctx);
                }
                ctx.pool.put(incoming.frame);
            }
            Kind::Spmr => {
                session.on_spmr(ctx);
                ctx.pool.put(incoming.frame);
            }
            Kind::Poll(poll) => {
                session.on_poll(poll.sqn, poll.round, ctx);
                ctx.pool.put(incoming.frame);
            }
            Kind::Nnak(_) | Kind::Polr(_) | Kind::Ack(_) => {
                ctx.stats.not_for_us += 1;
                ctx.pool.put(incoming.frame);
            }
        }
        session.take_up(ctx);
        session.reschedule(ctx.set, now);
        self.next = self.next.min(session.next);
        self.sending |= session.wants_to_send(now) || self.relay.len > 0;
    }

    /// The session of a packet, begun if the packet can begin one.
    fn session_of(
        &mut self,
        now: Time,
        header: &Header,
        incoming: &Incoming,
        pool: &mut Pool,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        if let Some(slot) = self.sessions.find(header.tsi) {
            return Some(slot);
        }
        // RFC 3208 §6.1, conformance 72, 86: data begins a session where the profile lets it, an SPM tells where its NAKs go.
        let begins = match header.kind {
            Kind::Odata(_) => !header.flags.is_parity(),
            Kind::Rdata(_) => !header.flags.is_parity() && self.settings.join_on == JoinOn::Anything,
            Kind::Spm(_) => SpmOptions::read(header, pool.bytes(&incoming.frame)).can_begin(),
            _ => false,
        };
        let from = incoming.from;
        if !begins || from.is_multicast() || from.is_unspecified() {
            self.stats.unknown_session += 1;
            return None;
        }
        if !self.sources.is_empty() && !self.sources.contains(&from) {
            self.stats.unwanted_source += 1;
            return None;
        }
        if self.sessions.is_full() {
            let Some(victim) = self.sessions.victim() else {
                self.stats.sessions_refused += 1;
                return None;
            };
            self.stats.sessions_evicted += 1;
            self.forget(victim, End::Expired, now, pool, sink);
        }
        self.stats.sessions_tracked += 1;
        self.sessions.add(Session::new(header.tsi, from, now, self.baseline))
    }

    /// Ends a session, if it has not ended, and takes it out of the table.
    fn forget(&mut self, slot: usize, end: End, now: Time, pool: &mut Pool, sink: &mut impl Sink) {
        if let Some(mut session) = self.sessions.remove(slot) {
            let ctx = &mut ctx!(self, now, pool, sink);
            session.close(end, ctx);
        }
    }

    /// Lets time do its work: gaps that count as lost, timers, losses, sessions that fell silent.
    #[inline]
    pub fn advance(&mut self, now: Time, pool: &mut Pool, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        if now >= self.next {
            self.advance_sessions(now, pool, sink);
        }
    }

    fn advance_sessions(&mut self, now: Time, pool: &mut Pool, sink: &mut impl Sink) {
        self.next = NEVER;
        for slot in 0..self.sessions.slots() {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let mut forget = false;
            if now >= session.next {
                let ctx = &mut ctx!(self, now, pool, &mut *sink);
                forget = session.advance(ctx);
                self.sending |= session.wants_to_send(now);
            }
            if forget {
                self.forget(slot, End::Expired, now, pool, sink);
            } else {
                self.next = self.next.min(session.next);
            }
        }
    }

    /// Sends what is due: SPMRs and NAKs, as far as `out` has room.
    #[inline]
    pub fn transmit(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) {
        self.now = self.now.max(now);
        if self.sending {
            self.transmit_sessions(now, pool, out);
        }
    }

    fn transmit_sessions(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) {
        self.send_relay(pool, out);
        self.sending = self.relay.len > 0;
        for session in self.sessions.iter_mut() {
            if session.wants_to_send(now) {
                let ctx = &mut ctx!(self, now, pool, ());
                session.send_spmr(out, ctx);
                session.send_naks(out, ctx);
                session.reschedule(&self.settings, now);
                self.next = self.next.min(session.next);
                self.sending |= session.wants_to_send(now);
            }
        }
    }

    /// Repeats a unicast NCF with OPT_NBR_UNREACH for our neighbours.
    fn send_relay(&mut self, pool: &mut Pool, out: &mut TxBatch) {
        // RFC 3208 §15.3.2, conformance 108: with TTL 1.
        let Relay { octets, len } = &mut self.relay;
        if *len == 0 || out.room() == 0 {
            return;
        }
        let packet = &octets[..*len];
        let frame = control_frame(pool, &self.settings, |buf| {
            buf.get_mut(..packet.len()).ok_or(BuildError::BufferTooSmall)?.copy_from_slice(packet);
            Ok(packet.len())
        });
        // Without a frame the notice is dropped: the source sends another with its next NCF.
        *len = 0;
        match frame {
            Some(frame) => {
                out.push(Outgoing { frame, to: To::Neighbours(self.settings.group), router_alert: false });
                self.stats.all.ncfs_relayed += 1;
            }
            None => self.stats.all.no_frame += 1,
        }
    }

    /// Ends one session because the application lost some of it; it is remembered, as one that ended by itself. Says whether there was
    /// such a session.
    pub fn reset(&mut self, tsi: Tsi, cause: LossCause, pool: &mut Pool, sink: &mut impl Sink) -> bool {
        let Some(session) = self.sessions.find(tsi).and_then(|slot| self.sessions.get_mut(slot)) else { return false };
        let ctx = &mut ctx!(self, self.now, pool, sink);
        session.close(End::Lost(cause), ctx);
        session.reschedule(ctx.set, ctx.now);
        self.next = self.next.min(session.next);
        true
    }

    /// Ends all sessions from our side: reported ones are reported closed, all frames go back.
    pub fn close(&mut self, pool: &mut Pool, sink: &mut impl Sink) {
        for slot in 0..self.sessions.slots() {
            self.forget(slot, End::Local, self.now, pool, sink);
        }
        self.relay.len = 0;
        self.sending = false;
        self.next = NEVER;
    }
}

/// The edge of a session at which a packet may pass.
pub(crate) struct Edge<'r> {
    session: &'r mut Session,
    all: &'r mut SessionStats,
}

impl Edge<'_> {
    /// The hot path: delivers the packet that this edge was given out for.
    #[inline(always)]
    #[allow(clippy::inline_always)] // one call for all endpoints, and the frame stays in registers
    pub(crate) fn pass(self, data: PlainData, mut frame: Frame, pool: &mut Pool, sink: &mut impl Sink) {
        let Self { session, all } = self;
        let (sqn, trail, octets) = (data.sqn(), data.trail(), data.payload_len());
        if trail.is_after(session.trail) {
            session.trail = trail;
        }
        session.expected = sqn.next();
        session.lead = sqn;
        for stats in [&mut session.stats, all] {
            stats.data_packets += 1;
            stats.delivered_packets += 1;
            stats.delivered_octets += u64::from(octets);
        }
        frame.set_range(frame.start() + data.payload_start(), octets);
        sink.deliver(
            pool,
            Delivery { tsi: session.tsi, source: session.source, sqn, place: None, records: data.records(), frame },
        );
    }
}

/// A data packet that is not the next in order, or has options.
fn on_data<S: Sink>(session: &mut Session, data: Data, header: &Header, mut frame: Frame, ctx: &mut Ctx<'_, &mut S>) {
    if header.flags.is_parity() {
        count!(session, ctx, parity_ignored);
        return ctx.pool.put(frame);
    }
    let is_rdata = matches!(header.kind, Kind::Rdata(_));
    if session.phase == Phase::Heard && is_rdata && ctx.set.join_on == JoinOn::Odata {
        count!(session, ctx, outside_window);
        return ctx.pool.put(frame);
    }
    count!(session, ctx, rdata_packets, u64::from(is_rdata));
    let options = DataOptions::read(header, ctx.pool.bytes(&frame));
    frame.set_range(frame.start() + header.payload_start, header.payload_len);
    session.on_data(data, &options, frame, ctx);
}

/// A confirmation.
fn on_ncf<S>(
    session: &mut Session,
    ncf: &Nak,
    header: &Header,
    incoming: Incoming,
    relay: &mut Relay,
    ctx: &mut Ctx<'_, S>,
) {
    count!(session, ctx, ncfs);
    let packet = ctx.pool.bytes(&incoming.frame);
    if header.options.nbr_unreach() {
        let parent = header.options.path_nla(packet);
        let room = packet.len() <= relay.octets.len();
        let silenced = session.silence_from(parent, ctx);
        if silenced && incoming.to != ctx.set.group && room {
            let packet = ctx.pool.bytes(&incoming.frame);
            relay.octets[..packet.len()].copy_from_slice(packet);
            relay.len = packet.len();
        }
    } else if !header.flags.is_parity() {
        session.on_nak_bo_ivl(header.options.nak_bo_ivl(packet));
    }
    if !header.flags.is_parity() {
        on_list(session, ncf, header, &incoming.frame, Input::Ncf, ctx);
    }
    ctx.pool.put(incoming.frame);
}

/// Every SQN that an NCF or a NAK names.
// RFC 3208 §9.3.2, conformance 101: the header's and the list's alike. Bounded: the parser lets 62 through.
fn on_list<S>(session: &mut Session, nak: &Nak, header: &Header, frame: &Frame, input: Input, ctx: &mut Ctx<'_, S>) {
    if nak.source != session.source || nak.group != ctx.set.group {
        count!(session, ctx, confirmations_unused);
        return;
    }
    let mut sqns = [nak.sqn; repair::NAK_SQNS];
    let list = header.options.nak_list(ctx.pool.bytes(frame));
    let count = 1 + sqns[1..].iter_mut().zip(list).map(|(slot, sqn)| *slot = sqn).count();
    for &sqn in &sqns[..count] {
        session.on_heard(sqn, input, ctx);
    }
}

/// A frame with a control packet in it, where the link expects it.
fn control_frame(
    pool: &mut Pool,
    set: &Settings,
    write: impl FnOnce(&mut [u8]) -> Result<usize, BuildError>,
) -> Option<Frame> {
    let layout = pool.layout();
    let start = layout.start + set.front;
    let room = layout.frame_size.saturating_sub(u32::from(start)).min(u32::from(set.tpdu_max)) as u16;
    let mut frame = pool.take()?;
    frame.set_range(start, room);
    if let Ok(len) = write(pool.bytes_mut(&mut frame)) {
        frame.set_range(start, len as u16);
        return Some(frame);
    }
    pool.put(frame);
    None
}

/// Whether an address shares our prefix: the best that can be said without the interface's netmask.
fn is_on_link(address: IpAddr, ours: IpAddr) -> bool {
    match (address, ours) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}
