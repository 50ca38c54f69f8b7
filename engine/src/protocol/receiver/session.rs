//! One session: what is known of it, and how it opens and ends.
//!
//! The other files of this room add the procedures: `data` (packets in), `deliver` (what can be handed over or is lost), `repair` (NAKs), `spm`,
//! `spmr`. Guards the order of events: `Opened` once and first, `Closed` once and last, and `flowing` only while the next packet in order
//! can be handed over without a look at anything else.

use core::net::IpAddr;

use super::adapt::{Adapt, Baseline};
use super::config::Settings;
use super::pace::Pace;
use super::repair::{Recent, SharedDraw};
use super::spmr::Spmr;
use super::stats::{ReceiverStats, SessionStats};
use super::window::{Window, Windows};
use crate::frame::Pool;
use crate::protocol::{End, Event, LossCause, Rng, Sink};
use crate::time::Time;
use crate::wire::{Sqn, Tsi};

/// What a procedure may use beside its session. `S` is the application's sink where there is one.
pub(super) struct Ctx<'a, S> {
    pub(super) now: Time,
    pub(super) set: &'a Settings,
    pub(super) stats: &'a mut ReceiverStats,
    pub(super) rng: &'a mut Rng,
    pub(super) windows: &'a mut Windows,
    pub(super) pool: &'a mut Pool,
    pub(super) sink: S,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Heard of; where it begins for us is not yet known.
    Heard,
    /// Joined: `expected` is known.
    Live,
    /// Over. Remembered so that what its source still sends does not open it again.
    Over,
}

/// The most recent in-sequence SPM.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSpm {
    pub(super) sqn: Sqn,
    /// Where NAKs go.
    pub(super) path: IpAddr,
}

/// The session will end behind `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) last: Sqn,
    pub(super) end: End,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    // Read by every packet.
    pub(super) tsi: Tsi,
    /// The same, as packets are compared with it.
    pub(super) key: u64,
    pub(super) source: IpAddr,
    /// Opened, nothing missing, no end in sight: the next packet in order goes straight through.
    pub(super) flowing: bool,
    pub(super) phase: Phase,
    /// The edge: everything before it was delivered or reported lost.
    pub(super) expected: Sqn,
    /// The last SQN that is known to have been sent.
    pub(super) lead: Sqn,
    /// The source's trail.
    pub(super) trail: Sqn,
    pub(super) stats: SessionStats,

    // The rest is for the slow path.
    pub(super) opened: bool,
    /// Data was accepted.
    pub(super) has_data: bool,
    pub(super) spm: Option<LastSpm>,
    /// When the last SPM came, or the session was first heard of.
    pub(super) spm_at: Time,
    /// When a packet that was ours last came by the slow path.
    pub(super) heard_at: Time,
    /// The packet that began the stream (OPT_SYN).
    pub(super) syn: Option<Sqn>,
    pub(super) ending: Option<Ending>,
    /// It is over because its source said so.
    pub(super) ended_by_source: bool,
    /// Why SQNs before the trail are lost.
    pub(super) passed: LossCause,
    /// Why data was lost last; fragments that lost their beginning are lost for the same reason.
    pub(super) last_cause: LossCause,
    /// OPT_NBR_UNREACH: no NAKs until a regular SPM.
    pub(super) silenced: bool,
    /// The first POLL of round 0 that was heard.
    pub(super) poll: Option<Sqn>,
    pub(super) window: Option<Box<Window>>,
    /// Data packets that extended the lead.
    pub(super) arrivals: u64,
    /// How much of the APDU at the edge is known to be there: packets, octets.
    pub(super) assembled: (u32, u32),
    pub(super) adapt: Adapt,
    pub(super) pace: Pace,
    /// How far from the edge SQNs were asked for, by the frames there were.
    pub(super) reach: u32,
    pub(super) recent: Recent,
    pub(super) draw: SharedDraw,
    /// The data packet at hand is RDATA.
    pub(super) repair_at_hand: bool,
    pub(super) spmr: Spmr,
    /// SPMRs that left since the last SPM.
    pub(super) silence_asks: u8,
    /// No frame could be had for a packet: not before this time again.
    pub(super) frames_at: Time,
    /// There may be more to hand over.
    pub(super) more: bool,
    /// When to be called.
    pub(super) next: Time,
}

/// Never.
pub(super) const NEVER: Time = Time::from_nanos(u64::MAX);

impl Session {
    pub(super) fn new(tsi: Tsi, source: IpAddr, now: Time, baseline: Baseline) -> Self {
        let none = Sqn::new(0);
        Self {
            tsi,
            key: tsi.key(),
            source,
            flowing: false,
            phase: Phase::Heard,
            expected: none,
            lead: none,
            trail: none,
            stats: SessionStats::default(),
            opened: false,
            has_data: false,
            spm: None,
            spm_at: now,
            heard_at: now,
            syn: None,
            ending: None,
            ended_by_source: false,
            passed: LossCause::WindowPassed,
            last_cause: LossCause::WindowPassed,
            silenced: false,
            poll: None,
            window: None,
            arrivals: 0,
            assembled: (0, 0),
            adapt: Adapt::new(baseline),
            pace: Pace::default(),
            reach: 0,
            recent: Recent::default(),
            draw: SharedDraw::default(),
            repair_at_hand: false,
            spmr: Spmr::Idle,
            silence_asks: 0,
            frames_at: Time::ZERO,
            more: false,
            next: now,
        }
    }

    /// A session has proven itself when both data and an SPM of it came.
    pub(super) fn is_proven(&self) -> bool {
        self.has_data && self.spm.is_some()
    }

    /// Begins at `first`.
    pub(super) fn join(&mut self, first: Sqn, trail: Sqn) {
        debug_assert!(self.phase == Phase::Heard, "joined twice");
        self.phase = Phase::Live;
        // RFC 3208 §6.1, conformance 72: `expected` never goes back, so that nothing before RXW_TRAIL_INIT is ever asked for.
        self.expected = first;
        self.lead = first.prev();
        self.trail = trail;
    }

    /// Notes a packet that can prove the session; `proof` sets what it proves.
    pub(super) fn prove<S>(&mut self, ctx: &mut Ctx<'_, S>, proof: impl FnOnce(&mut Self)) {
        let before = self.is_proven();
        proof(self);
        if !before && self.is_proven() && self.window.is_some() {
            ctx.windows.proven();
        }
    }

    /// A window, if there is one to be had.
    pub(super) fn ensure_window<S>(&mut self, ctx: &mut Ctx<'_, S>) -> bool {
        if self.window.is_none() {
            self.window = ctx.windows.take(self.expected, self.is_proven());
        }
        self.window.is_some()
    }

    /// Reports the session, unless that was done.
    pub(super) fn open<S: Sink>(&mut self, first: Sqn, ctx: &mut Ctx<'_, &mut S>) {
        if !self.opened {
            self.opened = true;
            ctx.stats.sessions_opened += 1;
            let from_start = self.syn == Some(first);
            ctx.sink.event(Event::Opened { tsi: self.tsi, source: self.source, first, from_start });
        }
    }

    /// The source is gone or has given up: delivers what can be delivered, reports the rest as lost, closes.
    pub(super) fn end<S: Sink>(&mut self, end: End, ctx: &mut Ctx<'_, &mut S>) {
        // Data in hand or known of is told even if nothing was told before.
        if self.phase == Phase::Live && (self.opened || !self.expected.is_after(self.lead)) {
            self.passed = LossCause::SessionEnded;
            self.trail = self.lead.next();
            self.ending = Some(Ending { last: self.lead, end });
            self.drain(ctx);
        }
        self.close(end, ctx);
    }

    /// The session is over. Says so if it was reported, and gives back what it holds.
    pub(super) fn close<S: Sink>(&mut self, end: End, ctx: &mut Ctx<'_, &mut S>) {
        if self.phase == Phase::Over {
            return;
        }
        self.release(ctx);
        self.phase = Phase::Over;
        self.ended_by_source = matches!(end, End::Finished | End::Aborted(_));
        self.flowing = false;
        self.spmr = Spmr::Idle;
        if self.opened {
            ctx.stats.sessions_closed += 1;
            ctx.sink.event(Event::Closed { tsi: self.tsi, end });
        }
    }

    /// Gives the window back.
    pub(super) fn release<S>(&mut self, ctx: &mut Ctx<'_, S>) {
        if let Some(mut window) = self.window.take() {
            if self.expected.is_after(self.lead) {
                window.restart(self.expected);
            }
            ctx.windows.give_back(window, self.expected, self.is_proven(), ctx.pool);
        }
    }

    /// Everything that time alone brings about. Returns whether the session can be forgotten.
    pub(super) fn advance<S: Sink>(&mut self, ctx: &mut Ctx<'_, &mut S>) -> bool {
        let expired = ctx.now >= self.spm_at.plus(ctx.set.expiry_ns);
        if self.phase == Phase::Over {
            self.next = self.spm_at.plus(ctx.set.expiry_ns);
            return expired;
        }
        // conformance 89: silence ends the session; nothing is remembered, so that a source that comes back is heard again.
        if expired {
            self.end(End::Expired, ctx);
            return true;
        }
        if self.more {
            self.drain(ctx);
        }
        self.run_repairs(ctx);
        self.run_spmr(ctx);
        self.reschedule(ctx.set, ctx.now);
        false
    }

    /// Finds out when to be called.
    pub(super) fn reschedule(&mut self, set: &Settings, now: Time) {
        let mut next = self.spm_at.plus(set.expiry_ns);
        if self.more && self.phase != Phase::Over {
            next = now;
        }
        if self.phase != Phase::Over {
            next = next.min(self.spmr.deadline()).min(self.ask_at(set)).min(self.repairs_deadline(set));
            if self.has_naks_due() && self.may_nak() && now < self.frames_at {
                next = next.min(self.frames_at);
            }
        }
        self.next = next;
    }

    /// Whether `transmit` has something to send.
    pub(super) fn wants_to_send(&self, now: Time) -> bool {
        self.phase != Phase::Over
            && now >= self.frames_at
            && (self.spmr.is_due() || (self.has_naks_due() && self.may_nak()))
    }
}
