//! Getting lost packets back (RFC 3208 §6.3): gaps are taken up, timers run, NCFs and NAKs of others are heard, NAKs go out.
//!
//! The figure itself is in `nak`; this file feeds it and does what it says. Guards the rules around the figure: no NAK before an SPM, none
//! while silenced, none outside the window, and bounded work for every packet and every call.

use super::adapt::Adapt;
use super::config::{NakCopy, Settings};
use super::nak::{Action, Input, Missing, Retries, State, step};
use super::session::{Ctx, NEVER, Phase, Session};
use super::stats::count;
use super::window::{Gap, Slot};
use crate::frame::{Outgoing, To, TxBatch};
use crate::protocol::Sink;
use crate::time::Time;
use crate::wire::{MAX_NAK_LIST, Nak, Sqn, build};

/// SQNs in one NAK at most: the header's and a full list.
pub(super) const NAK_SQNS: usize = MAX_NAK_LIST + 1;
/// Missing SQNs taken up in one call: the rest follows in the next. A ring of 65,536 would else stall its caller for a millisecond.
const TAKE_UP: u32 = 512;
/// Of what can be held so much of the beginning is hurried when frames run out: to hurry all of it delays all of it.
const BLOCKING_SHARE: u32 = 8;
/// However few frames there are, SQNs so near to the edge are asked for: one NAK's worth, so that the edge moves.
const REACH_LEAST: u32 = NAK_SQNS as u32;
/// Slots behind the oldest due SQN that are searched for NAKs that are nearly due: two full lists.
const NEARLY_DUE_SLOTS: u32 = 2 * NAK_SQNS as u32;
/// Without a frame for a NAK, try again after 100 µs: by then the link has completed something, or never will.
const FRAME_RETRY_NS: u64 = 100_000;

/// The repairs of the last SQNs, by which late duplicates of NCFs are known for what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    repairs: [Repair; Self::KEPT],
    /// When the last one came.
    came_at: Time,
}

#[derive(Clone, Copy, Debug)]
struct Repair {
    sqn: Sqn,
    until: Time,
    /// NCFs that our own NAKs account for and that have not come.
    excused: u8,
}

impl Recent {
    /// As many as one NAK can ask for.
    const KEPT: usize = 64;
}

impl Default for Recent {
    fn default() -> Self {
        Self { repairs: [Repair { sqn: Sqn::new(0), until: Time::ZERO, excused: 0 }; Self::KEPT], came_at: Time::ZERO }
    }
}

/// A back-off drawn for several SQNs: what is lost together is asked for together, and others hear one NCF for all of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SharedDraw {
    drawn_at: Time,
    retries: u32,
    wait: Option<u64>,
}

impl Session {
    /// NAK_RB_IVL for an SQN that was tried in vain `retries` times.
    fn back_off<S>(&mut self, retries: u32, ctx: &mut Ctx<'_, S>) -> Time {
        let wait = match self.draw {
            SharedDraw { drawn_at, retries: drawn_for, wait: Some(wait) }
                if drawn_at == ctx.now && drawn_for == retries =>
            {
                wait
            }
            _ => self.adapt.draw_back_off(retries, ctx.rng),
        };
        self.draw = SharedDraw { drawn_at: ctx.now, retries, wait: Some(wait) };
        ctx.now.plus(wait)
    }

    pub(super) fn may_nak(&self) -> bool {
        // RFC 3208 §6.2, conformance 74: not before the first SPM. RFC 3208 §15.3.2, conformance 108: not while silenced.
        self.spm.is_some() && !self.silenced && self.phase == Phase::Live
    }

    pub(super) fn has_naks_due(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.due_count() > 0)
    }

    /// When repairs need a call.
    pub(super) fn repairs_deadline(&self, set: &Settings) -> Time {
        let Some(window) = &self.window else { return NEVER };
        let mut next = window.wheel.next().unwrap_or(NEVER);
        if self.spm.is_some()
            && let Some(gap) = window.gaps.front()
            && window.worked.distance_from(self.expected) < self.reach
        {
            let mature = set.reorder_packets == 0 || self.arrivals - gap.arrivals >= u64::from(set.reorder_packets);
            next = next.min(if mature { Time::ZERO } else { gap.detected_at.plus(set.reorder_ns) });
        }
        next
    }

    /// How far from the edge SQNs are asked for at the most: what could not be held is not asked for.
    fn horizon(set: &Settings) -> u32 {
        set.window_slots.min(set.held_max)
    }

    /// Timers that are due, then gaps that have outlived their reordering tolerance.
    pub(super) fn run_repairs<S: Sink>(&mut self, ctx: &mut Ctx<'_, &mut S>) {
        let mut given_up = false;
        while let Some(window) = &mut self.window
            && let Some(key) = window.wheel.pop(ctx.now)
        {
            let sqn = window.sqn(key, self.expected);
            given_up |= self.feed(sqn, Input::Timer, ctx);
        }
        if given_up {
            self.drain(ctx);
        }
        self.take_up(ctx);
    }

    /// Begins NAK generation for what counts as lost by now.
    pub(super) fn take_up<S>(&mut self, ctx: &mut Ctx<'_, S>) {
        if self.spm.is_none() || self.phase != Phase::Live {
            return;
        }
        // Every SQN up to there wants a frame, and some have one.
        let frames = ctx.pool.spare().saturating_add(self.window.as_ref().map_or(0, |window| window.held_count()));
        self.reach = frames.max(REACH_LEAST).min(Self::horizon(ctx.set));
        let mut budget = TAKE_UP;
        while let Some(window) = &mut self.window
            && let Some(gap) = window.gaps.front()
        {
            // RFC 3208 §6.3, conformance 91: a packet is late before it is lost.
            let overtaken = self.arrivals - gap.arrivals >= u64::from(ctx.set.reorder_packets);
            if !overtaken && ctx.now < gap.detected_at.plus(ctx.set.reorder_ns) {
                return;
            }
            let limit = self.expected.plus(self.reach);
            let end = if gap.end.is_after(limit) { limit } else { gap.end };
            while let Some(window) = &mut self.window
                && window.worked.is_before(end)
            {
                if budget == 0 {
                    return;
                }
                budget -= 1;
                let sqn = window.worked;
                window.worked = sqn.next();
                if matches!(window.slot(sqn), Slot::Empty) {
                    self.begin(sqn, ctx);
                }
            }
            let Some(window) = &mut self.window else { return };
            if window.worked.is_before(gap.end) {
                // The rest follows when the edge has moved.
                return;
            }
            window.gaps.pop();
        }
    }

    /// Begins NAK generation for one SQN.
    fn begin<S>(&mut self, sqn: Sqn, ctx: &mut Ctx<'_, S>) {
        let at = self.back_off(0, ctx);
        if let Some(window) = &mut self.window {
            window.replace(sqn, Slot::Missing(Missing::detected()));
            window.arm(sqn, at);
        }
    }

    /// What was held is missing again.
    pub(super) fn miss_again<S>(&mut self, sqn: Sqn, ctx: &mut Ctx<'_, S>) {
        let Some(window) = &mut self.window else { return };
        if sqn.is_before(window.worked) && sqn.distance_from(self.expected) < self.reach {
            self.begin(sqn, ctx);
        } else if sqn.is_before(window.worked) {
            // There is no frame for it now: it is taken up again when it is nearer to the edge. A gap that waits covers it.
            let end = window.worked;
            window.worked = sqn;
            window.gaps.push(Gap { end, detected_at: ctx.now, arrivals: self.arrivals });
        } else {
            window.gaps.push(Gap { end: sqn.next(), detected_at: ctx.now, arrivals: self.arrivals });
        }
    }

    /// An NCF or a multicast NAK of another receiver names `sqn`.
    pub(super) fn on_heard<S>(&mut self, sqn: Sqn, input: Input, ctx: &mut Ctx<'_, S>) {
        if self.phase != Phase::Live {
            return;
        }
        // RFC 3208 §6.3, conformance 100: only what names the very SQN matches.
        if sqn.is_before(self.expected) {
            count!(self, ctx, confirmations_unused);
            return self.heard_after_repair(sqn, input, ctx);
        }
        if sqn.is_after(self.lead) {
            // RFC 3208 §6.3, conformance 90: an NCF can be the first that we hear of a packet. Somebody's NAK is no proof that it was sent.
            let near = sqn.distance_from(self.expected) < Self::horizon(ctx.set);
            if input != Input::Ncf || !near || !self.can_exist(sqn) || !self.extend(sqn, sqn.next(), ctx) {
                count!(self, ctx, confirmations_unused);
                return;
            }
        }
        let Some(window) = &mut self.window else { return };
        if sqn.distance_from(self.expected) >= window.len() {
            return;
        }
        match window.slot(sqn) {
            Slot::Missing(_) => {}
            // Not yet taken up: it is now, so that the others' NAK stands for ours.
            Slot::Empty => {
                window.replace(sqn, Slot::Missing(Missing::detected()));
            }
            Slot::Held(_) | Slot::Done | Slot::Lost(_) => {
                // RFC 3208 §6.3: what names a packet that we have is discarded.
                count!(self, ctx, confirmations_unused);
                return self.heard_after_repair(sqn, input, ctx);
            }
        }
        if input == Input::Ncf
            && let Some(missing) = window.missing_mut(sqn)
        {
            missing.ncfs = missing.ncfs.saturating_add(1);
            if missing.ncfs > missing.asks.max(1) && missing.state == State::WaitData {
                count!(self, ctx, duplicate_ncfs);
                self.adapt.duplicate_heard(ctx.now);
            }
        }
        self.feed(sqn, input, ctx);
    }

    /// A confirmation of something that was just repaired: somebody asked for it before he could hear the first.
    fn heard_after_repair<S>(&mut self, sqn: Sqn, input: Input, ctx: &mut Ctx<'_, S>) {
        let repair = &mut self.recent.repairs[sqn.get() as usize % Recent::KEPT];
        if repair.sqn != sqn || ctx.now >= repair.until || input != Input::Ncf {
            return;
        }
        if repair.excused > 0 {
            repair.excused -= 1;
        } else {
            // One verdict a repair.
            repair.until = Time::ZERO;
            count!(self, ctx, duplicate_ncfs);
            self.adapt.duplicate_heard(ctx.now);
        }
    }

    /// A missing packet came: what it teaches.
    pub(super) fn repaired<S>(&mut self, sqn: Sqn, missing: &Missing, ctx: &mut Ctx<'_, S>) {
        if !self.repair_at_hand {
            count!(self, ctx, late_packets);
        }
        if missing.asks == 0 && missing.ncfs == 0 {
            return;
        }
        if self.repair_at_hand {
            count!(self, ctx, repaired_packets);
            self.recent.came_at = ctx.now;
            // Asked for twice, nobody knows which NAK it answers; but not the last one, if it comes too soon for that.
            let (srtt, after) = (self.adapt.srtt_ns(), ctx.now.since(missing.asked_at));
            if missing.asks == 1 && missing.retries() == 0 {
                self.adapt.measured(after);
            } else if missing.asks > 1 && (srtt == 0 || after < srtt / 4) {
                self.adapt.measured(ctx.now.since(missing.asked_before));
            } else if missing.asks > 1 {
                self.adapt.ambiguous(missing.retries(), after);
            }
            self.adapt.repaired(missing.asks > 0 && missing.ncfs <= missing.asks, ctx.now);
        } else if missing.asks > 0 {
            self.adapt.asked_too_soon(ctx.now);
        }
        let until = ctx.now.plus(self.adapt.nak_rdata_ivl(0));
        let excused = missing.asks.max(1).saturating_sub(missing.ncfs);
        self.recent.repairs[sqn.get() as usize % Recent::KEPT] = Repair { sqn, until, excused };
    }

    /// Feeds the figure and does what it says. Returns whether the SQN was given up.
    fn feed<S>(&mut self, sqn: Sqn, input: Input, ctx: &mut Ctx<'_, S>) -> bool {
        // RFC 3208 §15.3.2: who may not ask does not give up for want of an answer.
        let mut retries = if self.silenced {
            Retries { ncf: u8::MAX, data: u8::MAX }
        } else {
            Retries { ncf: ctx.set.nak_ncf_retries, data: ctx.set.nak_data_retries }
        };
        let Some(window) = &mut self.window else { return false };
        let Some(missing) = window.missing_mut(sqn) else { return false };
        if self.recent.came_at > missing.asked_at {
            // RFC 3208 §6.3, conformance 96: the count is ours to choose. A source that has repaired others since is slow, not silent, and what
            // it confirmed it still has.
            retries.data = u8::MAX;
        }
        let before = missing.state;
        let waits = matches!(before, State::WaitNcf | State::WaitData);
        let hurried = input == Input::Timer && waits && ctx.now < missing.tried_until;
        let input = if hurried { Input::Hurry } else { input };
        let action = step(missing, input, retries);
        let tried = missing.retries();
        let suppressed = matches!(before, State::BackOff | State::Due) && matches!(input, Input::Ncf | Input::Nak);
        match action {
            Action::BackOff => {
                let at = self.back_off(tried, ctx);
                let in_time = ctx.now.plus(self.longest_wait(sqn, 0));
                // RFC 3208 §6.3: random all the same, but not over an interval that ends when the trail has passed.
                let at =
                    if at > in_time { at.min(in_time.max(ctx.now.plus(self.adapt.draw_hurried(ctx.rng)))) } else { at };
                if let Some(window) = &mut self.window {
                    window.arm(sqn, at);
                }
            }
            Action::Ask => window.mark_due(sqn),
            Action::AwaitNcf => {
                window.clear_due(sqn);
                self.wait(sqn, Adapt::nak_rpt_ivl, tried, ctx.now);
            }
            Action::AwaitData => {
                window.clear_due(sqn);
                self.wait(sqn, Adapt::nak_rdata_ivl, tried, ctx.now);
            }
            Action::GiveUp(cause) => {
                window.replace(sqn, Slot::Lost(cause));
                return true;
            }
            Action::Nothing => {}
        }
        if suppressed {
            self.adapt.others_heard();
            count!(self, ctx, naks_suppressed);
        }
        false
    }

    /// Waits for an answer about `sqn`: for an interval that retries have made longer, but not until the trail has come.
    fn wait(&mut self, sqn: Sqn, interval: impl Fn(&Adapt, u32) -> u64, tried: u32, now: Time) {
        let (full, single) = (interval(&self.adapt, tried), interval(&self.adapt, 0));
        self.pace.see(now, self.lead);
        let longest = self.longest_wait(sqn, single);
        let Some(window) = &mut self.window else { return };
        // RFC 3208 §6.3, §16.2: the intervals are the receiver's choice, and a NAK in time is what holds the trail.
        let wait = full.min(longest);
        if let Some(missing) = window.missing_mut(sqn)
            && now >= missing.tried_until
        {
            missing.tried_until = now.plus(full);
        }
        window.arm(sqn, now.plus(wait));
    }

    /// How long an answer about `sqn`, which one try takes `single` for, may be waited for: until the trail comes, or until what waits
    /// behind it has used up the frames.
    fn longest_wait(&self, sqn: Sqn, single: u64) -> u64 {
        let ahead = self.lead.next().distance_from(self.expected);
        // What stands in front of the rest: the later ones come to stand there when it moves.
        let blocks = sqn.distance_from(self.expected) <= self.reach / BLOCKING_SHARE;
        let until_full =
            if blocks { self.pace.share_of(u64::from(self.reach.saturating_sub(ahead))) } else { u64::MAX };
        // Long round trips are no reason to be silent for as long, when silence is what lets the trail pass. But frames are not spared by
        // who asks again before the answer can be there.
        let until_passed = self.pace.longest_wait(sqn, self.trail, self.lead);
        until_passed.max(single.min(self.adapt.shortest_wait())).min(until_full.max(single))
    }

    /// Sends the NAKs that are due, oldest first, as many SQNs to a NAK as allowed.
    // RFC 3208 §6.3, conformance 102
    pub(super) fn send_naks<S>(&mut self, out: &mut TxBatch, ctx: &mut Ctx<'_, S>) {
        let Some(path) = self.spm.map(|spm| spm.path).filter(|_| self.may_nak()) else { return };
        let copy = match ctx.set.nak_copy {
            NakCopy::Never => false,
            NakCopy::ParentOffLink => !super::is_on_link(path, ctx.set.nla),
            NakCopy::Always => true,
        };
        // RFC 3208 §6.1, conformance 105: only missing slots are ever due, and `drain` has emptied those that the trail has passed.
        let mut from = self.expected;
        while out.room() > usize::from(copy) && self.has_naks_due() {
            let mut sqns = [Sqn::new(0); NAK_SQNS];
            let count = self.collect_due(&mut from, &mut sqns, ctx);
            let (Some(&first), Some(list)) = (sqns.first(), sqns.get(1..count)) else { return };
            let session = build::Session { tsi: self.tsi, data_port: ctx.set.data_port };
            // RFC 3208 §8.3, conformance 103: the source of the data and the group, whoever the NAK goes to.
            let nak = Nak { sqn: first, source: self.source, group: ctx.set.group };
            // RFC 3208 §6.3, conformance 104: the copy for our neighbours has TTL 1.
            let copy = copy.then_some(To::Neighbours(ctx.set.group));
            let mut sent = false;
            for to in core::iter::once(To::Unicast(path)).chain(copy) {
                let options = build::NakOptions::NONE;
                let frame = super::control_frame(ctx.pool, ctx.set, |buf| {
                    build::nak(buf, build::NakType::Nak, &session, false, &nak, list, &options)
                });
                let Some(frame) = frame else { break };
                out.push(Outgoing { frame, to, router_alert: false });
                sent = true;
            }
            if !sent {
                count!(self, ctx, no_frame);
                self.frames_at = ctx.now.plus(FRAME_RETRY_NS);
                return;
            }
            count!(self, ctx, naks_sent);
            count!(self, ctx, nak_sqns_sent, count as u64);
            for &sqn in &sqns[..count] {
                if let Some(missing) = self.window.as_mut().and_then(|window| window.missing_mut(sqn)) {
                    missing.asked_before = missing.asked_at;
                    missing.asked_at = ctx.now;
                    missing.asks = missing.asks.saturating_add(1);
                }
                self.feed(sqn, Input::Sent, ctx);
            }
        }
    }

    /// The SQNs of one NAK, ascending: the oldest that are due, and of their neighbours those that would be due in a moment.
    fn collect_due<S>(&mut self, from: &mut Sqn, sqns: &mut [Sqn; NAK_SQNS], ctx: &mut Ctx<'_, S>) -> usize {
        let Some(window) = &mut self.window else { return 0 };
        let limit = ctx.set.nak_sqns_max;
        let mut count = 0;
        while count < limit
            && let Some(sqn) = window.next_due(*from, self.expected)
        {
            sqns[count] = sqn;
            count += 1;
            *from = sqn.next();
        }
        if count == 0 || count == limit {
            return count;
        }
        // An eighth of the back-off is no harm to suppression and spares a packet.
        let soon = ctx.now.plus(self.adapt.nak_bo_ivl_ns() / 8);
        let mut sqn = sqns[0].next();
        for _ in 0..NEARLY_DUE_SLOTS {
            let Some(window) = &mut self.window else { break };
            if count == limit || !sqn.is_before(window.touched) {
                break;
            }
            let backs_off = matches!(window.slot(sqn), Slot::Missing(missing) if missing.state == State::BackOff);
            if backs_off && window.timer(sqn).is_some_and(|at| at <= soon) {
                window.cancel_timer(sqn);
                self.feed(sqn, Input::Timer, ctx);
                sqns[count] = sqn;
                count += 1;
            }
            sqn = sqn.next();
        }
        let edge = self.expected;
        sqns[..count].sort_unstable_by_key(|sqn| sqn.distance_from(edge));
        count
    }
}
