//! The edge of a session: what can be handed over, what is lost, and in which order the application hears of it (RFC 3208 §6.1, §9.2.3).
//!
//! `drain` is called after everything that may have moved the edge. Guards the promise of the engine: from the first SQN of `Opened` on,
//! every SQN is either delivered once or in exactly one `Loss`, and in order both, before anything later is said.

use super::config::{OnLoss, Order};
use super::session::{Ctx, Phase, Session};
use super::stats::count;
use super::window::{Held, Slot};
use crate::frame::Frame;
use crate::protocol::{Delivery, End, Event, LossCause, Place, Sink};
use crate::wire::Sqn;

/// APDUs handed over in one call; the rest follows in the next. A ring of 65,536 would else keep the link waiting for milliseconds.
const TURNS_MAX: u32 = 1_024;

/// Losses not yet reported: one range with one cause.
#[derive(Clone, Copy, Debug)]
struct Lost {
    first: Sqn,
    last: Sqn,
    cause: LossCause,
}

/// What a held packet at the edge, or the APDU that begins with it, is.
enum Apdu {
    /// All of it is there: so many packets.
    Whole(u32),
    /// Something is missing.
    Waiting,
    /// It can never be delivered.
    Broken(LossCause),
    /// It began before we did.
    BeforeUs,
}

impl Session {
    /// Moves the edge as far as it goes.
    pub(super) fn drain<S: Sink>(&mut self, ctx: &mut Ctx<'_, &mut S>) {
        if self.phase == Phase::Live {
            let mut lost = None;
            let mut turns = 0;
            // Every turn moves the edge: at most a ring's length of them, and one for what lies behind the ring. What the trail has passed is
            // never left behind, so that all others may rely on an edge that is inside the window.
            while self.phase == Phase::Live
                && !self.expected.is_after(self.lead)
                && (turns < TURNS_MAX || self.expected.is_before(self.trail))
                && self.turn(&mut lost, ctx)
            {
                turns += 1;
            }
            self.more = turns >= TURNS_MAX;
            self.report(&mut lost, ctx);
        }
        if self.phase == Phase::Live {
            self.settle(ctx);
        }
    }

    /// After the edge came to rest: forgets gaps that it has passed, and ends or flows.
    fn settle<S: Sink>(&mut self, ctx: &mut Ctx<'_, &mut S>) {
        if let Some(window) = &mut self.window {
            if window.worked.is_before(self.expected) {
                window.worked = self.expected;
            }
            if window.touched.is_before(self.expected) {
                window.touched = self.expected;
            }
            while window.gaps.front().is_some_and(|gap| gap.end.at_or_before(self.expected)) {
                window.gaps.pop();
            }
        }
        match self.ending {
            Some(ending) if self.expected.is_after(ending.last) => {
                // A session without data, heard from its beginning, is reported as well: it was there, and it is complete.
                self.open(self.expected, ctx);
                self.close(ending.end, ctx);
            }
            Some(_) => self.flowing = false,
            None => self.flowing = self.opened && self.expected.is_after(self.lead),
        }
    }

    /// One step of the edge. Returns false when it can go no further.
    fn turn<S: Sink>(&mut self, lost: &mut Option<Lost>, ctx: &mut Ctx<'_, &mut S>) -> bool {
        let edge = self.expected;
        // RFC 3208 §6.3, conformance 99: what the trail has passed will not be repaired any more.
        let passed = edge.is_before(self.trail);
        let cause = self.passed;
        let Some(window) = self.window.as_mut().filter(|window| edge.is_before(window.touched)) else {
            if passed {
                // Nobody worked on any of it: one range, whatever its length (conformance 158).
                let last = self.trail.prev();
                let last = if last.is_after(self.lead) { self.lead } else { last };
                self.lose(lost, edge, last, cause, ctx);
            }
            return passed;
        };
        let cause = match window.slot(edge) {
            Slot::Empty if passed => {
                // Up to the next slot that knows something, or the trail: one step, whatever its length.
                let last = self.trail.prev();
                let last = if last.is_after(self.lead) { self.lead } else { last };
                let last = match window.first_used(edge) {
                    Some(used) if used.at_or_before(last) => used.prev(),
                    _ => last,
                };
                self.lose(lost, edge, last, cause, ctx);
                return true;
            }
            Slot::Missing(_) if passed => cause,
            Slot::Empty | Slot::Missing(_) => return false,
            Slot::Lost(cause) => *cause,
            Slot::Done => {
                window.replace(edge, Slot::Empty);
                self.report(lost, ctx);
                self.step();
                return true;
            }
            Slot::Held(_) => match self.assess(edge, ctx.set.held_max) {
                // RFC 3208 §6.1, conformance 79: contiguous and in order, one APDU after the other.
                Apdu::Whole(packets) => {
                    self.report(lost, ctx);
                    for _ in 0..packets {
                        if self.phase != Phase::Live {
                            break;
                        }
                        self.deliver_held(self.expected, Slot::Empty, ctx);
                        self.step();
                    }
                    return true;
                }
                Apdu::Waiting => return false,
                Apdu::Broken(cause) => {
                    count!(self, ctx, bad_fragments, u64::from(cause == LossCause::Protocol));
                    cause
                }
                // Once something was told, what follows is told as well.
                Apdu::BeforeUs if lost.is_some() => self.last_cause,
                Apdu::BeforeUs => {
                    // conformance 82: we joined in the middle of it: no loss, we begin behind it.
                    self.put_held(edge, ctx);
                    self.step();
                    return true;
                }
            },
        };
        self.put_held(edge, ctx);
        self.lose(lost, edge, edge, cause, ctx);
        true
    }

    /// Looks at the APDU of the packet held at the edge.
    fn assess(&mut self, edge: Sqn, held_max: u32) -> Apdu {
        let Some(window) = &self.window else { return Apdu::Waiting };
        let Slot::Held(first) = window.slot(edge) else { return Apdu::Waiting };
        match first.back() {
            None => return Apdu::Whole(1),
            Some(0) => {}
            // Its beginning is gone. Before anything was reported, it is an APDU that we joined in the middle of.
            Some(_) if !self.opened => return Apdu::BeforeUs,
            Some(_) => return Apdu::Broken(self.last_cause),
        }
        let (mut packets, mut octets) = self.assembled;
        let apdu_len = first.apdu_len;
        let most = held_max.min(window.len());
        let verdict = loop {
            let sqn = edge.plus(packets);
            // What cannot be held as a whole would wait for ever.
            if packets >= most {
                break Apdu::Broken(LossCause::Resources);
            }
            match if sqn.is_before(window.touched) { window.slot(sqn) } else { &Slot::Empty } {
                Slot::Held(held) => {
                    // RFC 3208 §9.2.3, conformance 81: fragments must agree on their APDU.
                    let agrees = held.back() == Some(packets) && held.apdu_len == apdu_len && held.offset == octets;
                    octets = octets.saturating_add(held.octets());
                    packets += 1;
                    if !agrees || octets > apdu_len {
                        break Apdu::Broken(LossCause::Protocol);
                    }
                    if octets == apdu_len {
                        break Apdu::Whole(packets);
                    }
                }
                Slot::Lost(cause) => break Apdu::Broken(*cause),
                Slot::Done => break Apdu::Broken(LossCause::Protocol),
                Slot::Empty | Slot::Missing(_) if sqn.is_before(self.trail) => break Apdu::Broken(self.passed),
                // The source gave up in the middle of it.
                Slot::Empty | Slot::Missing(_) if !self.can_exist(sqn) => break Apdu::Broken(LossCause::SessionEnded),
                Slot::Empty | Slot::Missing(_) => break Apdu::Waiting,
            }
        };
        self.assembled = if matches!(verdict, Apdu::Waiting) { (packets, octets) } else { (0, 0) };
        verdict
    }

    /// Delivers the APDU around `sqn` before its turn, if it is complete.
    pub(super) fn deliver_if_complete<S: Sink>(&mut self, sqn: Sqn, ctx: &mut Ctx<'_, &mut S>) {
        let Some(window) = &self.window else { return };
        let held_at = |sqn: Sqn| match window.slot(sqn) {
            Slot::Held(held) if sqn.at_or_after(self.expected) && sqn.is_before(window.touched) => Some(held),
            _ => None,
        };
        let Some(held) = held_at(sqn) else { return };
        let Some(back) = held.back() else { return };
        let is_last = |held: &Held| held.offset.saturating_add(held.octets()) >= held.apdu_len;
        // The neighbours first: as long as one of them is missing, nobody walks the whole APDU.
        if back > 0 && held_at(sqn.prev()).is_none() || !is_last(held) && held_at(sqn.next()).is_none() {
            return;
        }
        let first = sqn.minus(back);
        if first.is_before(self.expected) {
            return;
        }
        let (mut packets, mut octets) = (0, 0_u32);
        while let Some(part) = held_at(first.plus(packets)) {
            if part.back() != Some(packets) || part.apdu_len != held.apdu_len || part.offset != octets {
                return;
            }
            octets += part.octets();
            packets += 1;
            if octets == held.apdu_len {
                for packet in 0..packets {
                    self.deliver_held(first.plus(packet), Slot::Done, ctx);
                }
                return;
            }
            if octets > held.apdu_len || packets >= window.len() {
                return;
            }
        }
    }

    /// The next packet in order, an APDU by itself.
    pub(super) fn hand_over<S: Sink>(&mut self, sqn: Sqn, records: bool, frame: Frame, ctx: &mut Ctx<'_, &mut S>) {
        debug_assert!(sqn == self.expected, "handed over out of order");
        self.deliver_one(sqn, None, records, frame, ctx);
        self.step();
    }

    fn deliver_held<S: Sink>(&mut self, sqn: Sqn, leave: Slot, ctx: &mut Ctx<'_, &mut S>) {
        let Some(window) = &mut self.window else { return };
        if let Slot::Held(held) = window.replace(sqn, leave) {
            let place = held.back().map(|_| Place { offset: held.offset, len: held.apdu_len });
            self.deliver_one(sqn, place, held.is_batch(), held.frame, ctx);
        }
    }

    pub(super) fn deliver_one<S: Sink>(
        &mut self,
        sqn: Sqn,
        place: Option<Place>,
        records: bool,
        frame: Frame,
        ctx: &mut Ctx<'_, &mut S>,
    ) {
        self.open(if ctx.set.order == Order::InOrder { sqn } else { self.expected }, ctx);
        count!(self, ctx, delivered_packets);
        count!(self, ctx, delivered_octets, frame.len() as u64);
        ctx.sink.deliver(ctx.pool, Delivery { tsi: self.tsi, source: self.source, sqn, place, records, frame });
    }

    fn put_held<S>(&mut self, sqn: Sqn, ctx: &mut Ctx<'_, S>) {
        if let Some(window) = &mut self.window
            && let Slot::Held(held) = window.replace(sqn, Slot::Empty)
        {
            ctx.pool.put(held.frame);
        }
    }

    fn step(&mut self) {
        self.expected = self.expected.next();
        self.assembled = (0, 0);
    }

    /// `first ..= last`, beginning at the edge, is lost; the edge moves behind it.
    fn lose<S: Sink>(
        &mut self,
        lost: &mut Option<Lost>,
        first: Sqn,
        last: Sqn,
        cause: LossCause,
        ctx: &mut Ctx<'_, &mut S>,
    ) {
        match lost {
            Some(range) if range.cause == cause => range.last = last,
            _ => {
                self.report(lost, ctx);
                *lost = Some(Lost { first, last, cause });
            }
        }
        self.last_cause = cause;
        self.expected = last.next();
        self.assembled = (0, 0);
    }

    /// Reports what is lost so far, before anything later is said.
    fn report<S: Sink>(&mut self, lost: &mut Option<Lost>, ctx: &mut Ctx<'_, &mut S>) {
        let Some(Lost { first, last, cause }) = lost.take() else { return };
        if self.phase != Phase::Live {
            return;
        }
        self.open(first, ctx);
        // RFC 3208 §1, conformance 83, 84: every loss is told, once.
        count!(self, ctx, losses);
        count!(self, ctx, lost_packets, u64::from(last.distance_from(first)) + 1);
        ctx.sink.event(Event::Loss { tsi: self.tsi, first, last, cause });
        if ctx.set.on_loss == OnLoss::Reset {
            let end = match self.ending {
                Some(ending) if cause == LossCause::SessionEnded => ending.end,
                _ => End::Lost(cause),
            };
            self.close(end, ctx);
        }
    }
}
