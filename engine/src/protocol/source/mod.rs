//! A source: one session's transmit window, SPMs, repairs, rate and trail (RFC 3208 §5, §16).
//!
//! An endpoint drives it: [`Source::handle`] for what receivers send, [`Source::transmit`] to fill a batch, [`Source::deadline`] to
//! learn when to call again. The application writes through the [`Publisher`], on any thread.
//!
//! ```text
//!   Publisher ──claim, commit──▶ window ──send_new──▶ ODATA ─┐
//!                                   └──repair queue──▶ RDATA ─┤ by weight     ┌─▶ batch
//!   NAK ─▶ nak ─▶ confirmations ────────────────────▶ NCF  ──┼─ NCF, SPM, data ┘
//!   SPMR, timers ─▶ spm schedule ───────────────────▶ SPM  ──┘
//! ```
//!
//! | file | mechanism |
//! |---|---|
//! | `config` | what can be set, the profiles' defaults, and what is refused |
//! | `publisher` | the application's half |
//! | `data` | new data and repairs on their way out |
//! | `spm` | when SPMs leave |
//! | `nak` | NAKs judged and confirmed |
//! | `echo` | NAKs that a receiver is known to send twice |
//! | `repair` | state per slot, the queue of repairs |
//! | `backoff` | steering the receivers' back-off, containing failures |
//! | `trail` | when the trailing edge moves |
//! | `rate` | token bucket and leaky bucket |
//! | `finish` | FIN, RST, lingering |
//! | `ports` | TSIs that differ |
//!
//! Guards: data leaves in sequence, inside the window and inside the rate; every packet carries the trail of the moment; what is in
//! flight is not touched. Positions count packets since the session began and never wrap; an SQN is `first + position` modulo 2^32.

mod backoff;
mod config;
mod data;
mod echo;
mod finish;
mod nak;
mod ports;
mod publisher;
mod rate;
mod repair;
mod spm;
mod stats;
#[cfg(test)]
mod tests;
mod trail;

use core::net::IpAddr;
use std::sync::Arc;

pub use config::{Advance, BackOffTuning, Burst, Linger, RepairDelay, SourceConfig};
pub use finish::SourceState;
pub use ports::TsiAllocator;
pub use publisher::{Cork, Publisher};
pub use rate::Rate;
pub use stats::SourceStats;

use self::backoff::BackOff;
use self::config::CONTROL_LEN_MAX;
use self::finish::Finish;
use self::nak::Inbox;
use self::publisher::Notes;
use self::rate::{Class, Limiter};
use self::repair::Repairs;
use self::spm::SpmSchedule;
use self::trail::{Trail, View};
use crate::frame::{Frame, Outgoing, PathFacts, Pool, Reader, SlotLayout, To, TxBatch, window};
use crate::protocol::Rng;
use crate::protocol::config::ConfigError;
use crate::time::{Time, earliest, nanos};
use crate::wire::build::{self, DATA_HEADER_LEN, DataTemplate, NakOptions, NakType, Session, SpmOptions};
use crate::wire::{Spm, Sqn, Tsi};

/// How long to wait before trying again when no frame was free or a slot was in flight. Frames come back in microseconds.
const RETRY_NS: u64 = 20_000;
/// Slots that the trail passes in one call: bounds the time that a call takes when a large increment falls due.
const TRAIL_STEP: u64 = 4_096;

/// Why an NCF or an SPM has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The batch is full.
    Room,
    /// The rate does not allow it yet.
    Rate,
    /// No frame is free.
    Frames,
}

/// One session's sending side.
pub struct Source {
    // What every packet needs.
    template: DataTemplate,
    window: Reader,
    first: Sqn,
    /// The position that is sent next.
    next: u64,
    /// The position whose packet carries `OPT_SYN`.
    syn_position: u64,
    to: To,
    path: PathFacts,
    limiter: Limiter,
    // What some packets need.
    session: Session,
    group: IpAddr,
    spms: SpmSchedule,
    repairs: Repairs,
    /// Octets × weight that new data is ahead of repairs.
    balance: i64,
    inbox: Inbox,
    back_off: BackOff,
    trail: Trail,
    notes: Arc<Notes>,
    finish: Finish,
    config: SourceConfig,
    ncf_repeat_ns: u64,
    stats: SourceStats,
    // When to be called again.
    /// The last call of `transmit`.
    now: Time,
    control_after: Time,
    data_after: Time,
    repairs_after: Time,
    trail_after: Option<Time>,
}

impl Source {
    /// A source whose window is cut from `pool`, and its publisher. The seed decides the first sequence number, unless that is
    /// configured.
    pub fn new(
        config: &SourceConfig,
        path: PathFacts,
        tsi: Tsi,
        pool: &mut Pool,
        now: Time,
        seed: u64,
    ) -> Result<(Self, Publisher), ConfigError> {
        config.check(&path)?;
        let layout = Self::slot_layout(config, &path, pool)?;
        let spare = pool.spare();
        let run = pool.take_run(config.window_slots);
        let run = run.ok_or_else(|| {
            ConfigError::new(
                "window_slots",
                config.window_slots,
                format_args!("at most the {spare} frames that the pool can spare"),
            )
        })?;
        let (writer, reader) = window(pool, run, layout);
        let session = Session { tsi, data_port: config.data_port };
        // A restarted source has a new TSI; a random start besides keeps packets of the old one out of the new window.
        let first = config.initial_sqn.unwrap_or_else(|| Sqn::new((Rng::new(seed).next_u64() as u32) & 0xFFFF_0000));
        // RFC 3208 §16.1, conformance 34: with advance-with-time the rate counts SPMs and ODATA; with every other rule RDATA too.
        let repairs_extra = config.advance == Advance::Time;
        let notes = Arc::new(Notes::default());
        let publisher = Publisher::new(writer, notes.clone(), tsi, first, config.apdu_max as usize);
        let source = Self {
            template: DataTemplate::new(&session),
            window: reader,
            first,
            next: 0,
            syn_position: if config.syn { 0 } else { u64::MAX },
            to: To::Group(config.group),
            path,
            limiter: Limiter::new(config.rate, config.bucket(&path), config.peak, repairs_extra, now),
            session,
            group: config.group,
            spms: SpmSchedule::new(config, now),
            repairs: Repairs::new(config),
            balance: 0,
            inbox: Inbox::new(),
            back_off: BackOff::new(config),
            trail: Trail::new(config),
            notes,
            finish: Finish::new(),
            ncf_repeat_ns: nanos(config.ncf_repeat),
            config: config.clone(),
            stats: SourceStats::default(),
            now,
            control_after: Time::ZERO,
            data_after: Time::ZERO,
            repairs_after: Time::ZERO,
            trail_after: None,
        };
        Ok((source, publisher))
    }

    /// Where payloads lie in their slots: behind the headers of ODATA, which carries no Router Alert; short enough that a repair,
    /// which may, fits the path too.
    fn slot_layout(config: &SourceConfig, path: &PathFacts, pool: &Pool) -> Result<SlotLayout, ConfigError> {
        // RFC 3208 §9.2, conformance 16: Router Alert of the repair counts against the MTU.
        let tpdu = config.tpdu(path);
        let shape = pool.layout();
        let start = u32::from(shape.start) + u32::from(path.front);
        let longest = tpdu.max(CONTROL_LEN_MAX);
        let end = start + u32::from(path.alert) + u32::from(longest);
        let most = (shape.frame_size + u32::from(longest)).saturating_sub(end);
        ConfigError::unless(
            end <= shape.frame_size,
            "tpdu_max",
            tpdu,
            format_args!("at most {most} in frames of {} octets", shape.frame_size),
        )?;
        Ok(SlotLayout {
            front: start as u16 + DATA_HEADER_LEN as u16,
            room: tpdu - DATA_HEADER_LEN as u16,
            every_options: if config.late_join_percent.is_some() { 8 } else { 0 },
            common_options: if config.batch { 4 } else { 0 },
            first_options: if config.syn { 4 } else { 0 },
            batch: config.batch,
        })
    }

    /// The session.
    pub fn tsi(&self) -> Tsi {
        self.session.tsi
    }

    /// The group it sends to.
    pub fn group(&self) -> IpAddr {
        self.group
    }

    /// The data-destination port.
    pub fn data_port(&self) -> u16 {
        self.session.data_port
    }

    /// How far its life has come.
    #[inline]
    pub fn state(&self) -> SourceState {
        self.finish.state()
    }

    /// What it counted.
    pub fn stats(&self) -> &SourceStats {
        &self.stats
    }

    /// The sequence numbers that are kept for repair: trail and lead. When there are none, trail is lead + 1.
    pub fn window(&self) -> (Sqn, Sqn) {
        (self.sqn_of(self.window.trail()), self.sqn_of(self.next).prev())
    }

    #[inline]
    fn sqn_of(&self, position: u64) -> Sqn {
        self.first.plus(position as u32)
    }

    fn view(&self) -> View {
        View {
            trail: self.window.trail(),
            next: self.next,
            head: self.window.head(),
            // Once closed, nothing can be claimed any more: what is kept is for repairs.
            wanted: if self.state() == SourceState::Open { self.notes.wanted() } else { 0 },
            released: self.notes.released(),
            repairs: self.stats.rdata,
            asked_again_ns: self.repairs.asked_again_ns(),
            repairs_wait: self.repairs.next_due().is_some(),
        }
    }

    /// Whether the publisher has committed something since the last [`Source::transmit`]: asked by who is about to sleep.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.window.has_news()
    }

    /// Whether the lead moves no more: the session has said its end.
    pub fn is_final(&self) -> bool {
        !self.finish.sends_data()
    }

    /// Whether something was committed that did not leave and never will: what a publisher has in hand may come too late for the end.
    pub fn is_cut(&self) -> bool {
        self.is_final() && (self.window.has_news() || self.next < self.window.head())
    }

    /// Ends the session gracefully: what was committed is sent, then FIN, then NAKs are answered for a while.
    pub fn close(&mut self, now: Time) {
        self.window.close();
        self.finish.drain();
        self.window.refresh();
        self.end_if_drained(now);
    }

    /// Gives the session up: RST at once, nothing that was not sent yet leaves. `code` has six bits, 0 for unknown.
    pub fn abort(&mut self, now: Time, code: u8) {
        if self.state() == SourceState::Done {
            return;
        }
        self.window.close();
        self.finish.abort(now, code, &self.config);
        // RFC 3208 §9.8.2, conformance 69: at once.
        self.spms.restart(now);
        if !self.finish.answers() {
            self.inbox.clear();
            self.repairs.clear();
        }
    }

    fn end_if_drained(&mut self, now: Time) {
        if self.state() == SourceState::Draining && self.next == self.window.head() {
            self.finish.finish(now, &self.config);
            // RFC 3208 §9.7.2, conformance 67: at once, and the heartbeats begin anew.
            self.spms.restart(now);
        }
    }

    /// Moves the trail to `sqn`: nothing before it is kept for repair any more. Only by application control; never past the lead.
    pub fn advance_trail_to(&mut self, pool: &Pool, sqn: Sqn) {
        let trail = self.window.trail();
        let steps = u64::from(sqn.distance_from(self.sqn_of(trail)));
        if steps <= self.next - trail {
            self.trail.release(trail + steps, self.next);
            self.advance(self.now, pool);
        }
    }

    /// Gives all frames back once the publisher is dropped and nothing is in flight; until then the source itself.
    #[allow(clippy::result_large_err)] // handed back to try again, once in a session's life
    pub fn retire(mut self, pool: &mut Pool) -> Result<(), Self> {
        match self.window.try_into_run(pool) {
            Ok(run) => {
                pool.put_run(run);
                Ok(())
            }
            Err(window) => {
                self.window = window;
                Err(self)
            }
        }
    }

    /// Puts into `out` what has to leave at `now`: NCFs, then SPMs, then data.
    pub fn transmit(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) {
        self.now = now;
        self.finish.tick(now);
        if self.state() == SourceState::Done {
            return;
        }
        self.window.refresh();
        self.limiter.refill(now);
        self.advance(now, pool);
        // RFC 3208 §5.1.3, conformance 35: strictly in this order; what is stopped stops all behind it.
        let control = self.send_control(now, pool, out);
        if let Err(held) = control
            && (held != Held::Frames || self.spms.packets_left() == 0)
        {
            (self.data_after, self.repairs_after) = (self.control_after, self.control_after);
            return;
        }
        if self.inbox.ran() && out.room() > 0 && !self.limiter.is_spacing() {
            self.inbox.yielded();
        }
        let repairs = self.stats.rdata;
        self.send_data(now, pool, out);
        if self.trail.waits_for_repairs() && self.stats.rdata != repairs {
            self.advance(now, pool);
        }
        self.end_if_drained(now);
        if control.is_ok() && self.spms.is_due(now) {
            // What was sent just now made it due: so many packets, or the last of a session.
            let _ = self.send_spm(now, pool, out);
        }
    }

    /// NCFs, then SPMs. Without frames they wait, but data, whose frames are its own, does not wait with them, unless so much of it
    /// has left that an SPM must come first.
    fn send_control(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) -> Result<(), Held> {
        if self.inbox.front().is_some() {
            self.send_confirmations(now, pool, out)?;
        }
        // A heartbeat breaks the silence; data that leaves now breaks it as well. If none can, the heartbeat goes behind it.
        let speaks = self.next < self.window.head() && self.spms.opened() && self.finish.sends_data();
        let due = self.spms.is_due(now) && !(speaks && self.spms.is_heartbeat(now));
        if due { self.send_spm(now, pool, out) } else { Ok(()) }
    }

    /// Moves the trail as far as its rule and the slots in flight allow.
    fn advance(&mut self, now: Time, pool: &Pool) {
        let view = self.view();
        let target = self.trail.target(now, &view, |position| self.repairs.holds(position));
        self.trail_after = None;
        if target <= view.trail {
            return;
        }
        let mut to = target.min(view.trail + TRAIL_STEP);
        let mut waits = false;
        if self.trail.waits_for_repairs()
            && let Some(queued) = (view.trail..to).find(|position| self.repairs.is_queued(*position))
        {
            // conformance 65: Windows' rule stops at the first repair that waits, and goes on when it has left.
            (to, waits) = (queued, true);
        }
        let trail = self.window.advance(pool, to);
        if trail < target && !(waits && trail == to) {
            // The next step at once; a slot in flight a little later.
            self.trail_after = Some(if trail == view.trail { now.plus(RETRY_NS) } else { now });
        } else if trail == self.next && self.finish.sends_data() {
            // RFC 3208 §3.5, conformance 71: an idle source says that its window is empty. As often as an answer, because an
            // application may empty it after every packet.
            self.spms.request(now);
        }
        self.stats.holds_broken = self.trail.holds_broken();
    }

    /// A loose frame whose range is where a packet with this header form begins, `octets` long at the most.
    fn loose(&mut self, pool: &mut Pool) -> Option<Frame> {
        let Some(mut frame) = pool.take() else {
            self.stats.frames_missing += 1;
            return None;
        };
        let alert = if self.config.router_alert { self.path.alert } else { 0 };
        let start = pool.layout().start + self.path.front + alert;
        let room = pool.layout().frame_size - u32::from(start);
        frame.set_range(start, self.path.tpdu_max().min(u16::try_from(room).unwrap_or(u16::MAX)));
        Some(frame)
    }

    /// Builds a packet into a loose frame and sends it. Returns its octets.
    fn send_built(
        &mut self,
        now: Time,
        pool: &mut Pool,
        out: &mut TxBatch,
        class: Class,
        to: To,
        build: impl FnOnce(&Self, &mut [u8]) -> Result<usize, build::BuildError>,
    ) -> Result<u64, Held> {
        self.control_after = now;
        if out.room() == 0 {
            return Err(Held::Room);
        }
        let Some(mut frame) = self.loose(pool) else {
            self.control_after = now.plus(RETRY_NS);
            return Err(Held::Frames);
        };
        let built = build(self, pool.bytes_mut(&mut frame));
        // The longest control packet fits the shortest path that `check` lets through.
        debug_assert!(built.is_ok(), "a control packet that does not fit: {built:?}");
        let len = built.unwrap_or(0);
        let octets = self.path.ip_octets(len, self.config.router_alert);
        if len == 0 || !self.limiter.allows(class, octets) {
            self.control_after = self.limiter.ready_at(class, octets).max(now.plus(1));
            pool.put(frame);
            return Err(Held::Rate);
        }
        self.limiter.sent(class, octets);
        frame.set_range(frame.start(), len as u16);
        // RFC 3208 §4, conformance 15: SPM, NCF and RDATA carry Router Alert.
        out.push(Outgoing { frame, to, router_alert: self.config.router_alert });
        Ok(u64::from(octets))
    }

    /// Sends what was asked to be confirmed.
    #[cold]
    fn send_confirmations(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) -> Result<(), Held> {
        while let Some(asked) = self.inbox.front().copied() {
            let to = asked.unicast.map_or(self.to, To::Unicast);
            let octets = self.send_built(now, pool, out, Class::Confirmation, to, |source, bytes| {
                // RFC 3208 §8.3, §9.3.4, conformance 54, 55: the NAK turned round, its list included.
                let options = NakOptions {
                    nak_bo_ivl: source.back_off.interval(),
                    nbr_unreach: asked.unicast.is_some(),
                    path_nla: asked.unicast.map(|_| source.path.nla),
                    ..NakOptions::NONE
                };
                build::nak(bytes, NakType::Ncf, &source.session, false, &asked.nak, asked.list(), &options)
            })?;
            self.inbox.pop();
            self.stats.ncfs += 1;
            self.stats.ncf_octets += octets;
        }
        Ok(())
    }

    /// Sends an SPM.
    #[cold]
    fn send_spm(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) -> Result<(), Held> {
        let octets = self.send_built(now, pool, out, Class::Sustained, self.to, |source, bytes| {
            let (trail, lead) = source.window();
            // RFC 3208 §8.1, conformance 48, 49: our own address as the path; before any data trail is lead + 1.
            let spm = Spm { sqn: source.spms.sqn(), trail, lead, path: source.path.nla };
            let options = SpmOptions {
                join: source.join(),
                nak_bo_rng: source.back_off.range(),
                fin: source.finish.fin(),
                // RFC 3208 §9.8, conformance 70: in SPMs, and nowhere else.
                rst: source.finish.rst(),
                ..SpmOptions::default()
            };
            build::spm(bytes, &source.session, &spm, &options)
        })?;
        self.spms.on_spm(now);
        // RFC 3208 §15.3: a regular SPM ends the containment of a failure.
        self.inbox.contained = false;
        self.stats.spms += 1;
        self.stats.spm_octets += octets;
        Ok(())
    }

    /// What `OPT_JOIN` offers.
    fn join(&self) -> Option<Sqn> {
        // RFC 3208 §9.4, conformance 42: lead − percent of the window, but inside it.
        let percent = u64::from(self.config.late_join_percent?);
        let kept = self.next - self.window.trail();
        let back = (u64::from(self.config.window_slots) * percent / 100).min(kept);
        Some(self.sqn_of(self.next - back))
    }

    /// When to call [`Source::transmit`] at the latest; `None`: only when something was published or came in.
    pub fn deadline(&self) -> Option<Time> {
        if self.state() == SourceState::Done {
            return None;
        }
        let mut at = earliest(self.finish.deadline(), self.trail_after.or_else(|| self.trail.deadline(&self.view())));
        if self.inbox.front().is_some() {
            at = earliest(at, Some(self.control_after));
        }
        at = earliest(at, self.spms.deadline().map(|due| due.max(self.control_after)));
        if self.spms.opened() && self.finish.sends_data() && self.next < self.window.head() {
            at = earliest(at, Some(self.data_after));
        }
        at = earliest(at, self.repairs.next_due().map(|due| due.max(self.repairs_after)));
        // What could not leave for lack of room is due at once; never in the past, so that virtual time does not turn back.
        at.map(|at| at.max(self.now))
    }
}
