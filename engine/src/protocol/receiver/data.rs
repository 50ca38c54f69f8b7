//! Data packets (RFC 3208 §6.1): joining, the window's edges, duplicates, and what is held until its turn comes.
//!
//! `Receiver` hands in every data packet that is not the next in order; `deliver` takes over from there. Guards the quota: no session holds
//! more frames than configured, nor any frame that the link needs to receive.

use super::config::Order;
use super::session::{Ctx, Phase, Session};
use super::stats::count;
use super::window::{Content, Gap, Held, Slot};
use crate::frame::Frame;
use crate::protocol::{LossCause, Sink};
use crate::wire::{Data, Header, Kind, Sqn};

/// What a data packet says beside its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataOptions {
    content: Content,
    join: Option<Sqn>,
    syn: bool,
    fin: bool,
    /// RDATA: somebody asked for it.
    is_repair: bool,
}

impl DataOptions {
    pub(super) fn read(header: &Header, packet: &[u8]) -> Self {
        let options = &header.options;
        Self {
            content: match options.fragment(packet) {
                Some(fragment) => Content::Fragment(fragment),
                None if options.records() => Content::Records,
                None => Content::Message,
            },
            join: options.join(packet),
            syn: options.syn(),
            fin: options.fin(),
            is_repair: matches!(header.kind, Kind::Rdata(_)),
        }
    }
}

/// The first SQN to ask for, between the trail and where we would begin without the offer.
// RFC 3208 §9.4.2, conformance 42, 73: no history beyond what the window still has.
pub(super) fn clamp_join(offer: Option<Sqn>, trail: Sqn, otherwise: Sqn) -> Sqn {
    match offer {
        Some(first) if first.is_before(otherwise) => {
            if first.is_before(trail) {
                trail
            } else {
                first
            }
        }
        _ => otherwise,
    }
}

impl Session {
    /// A data packet of this session; `frame` is cut to its payload.
    pub(super) fn on_data<S: Sink>(
        &mut self,
        data: Data,
        options: &DataOptions,
        frame: Frame,
        ctx: &mut Ctx<'_, &mut S>,
    ) {
        if self.phase == Phase::Over {
            count!(self, ctx, after_end);
            return ctx.pool.put(frame);
        }
        count!(self, ctx, data_packets);
        // RFC 3208 §6.1, conformance 78: outside the window that it names itself.
        if data.sqn.is_before(data.trail) {
            count!(self, ctx, outside_window);
            return ctx.pool.put(frame);
        }
        if self.phase == Phase::Heard {
            // RFC 3208 §6.1, conformance 72, 73: we begin with the first packet that we see, or where OPT_JOIN lets us.
            let join = options.join.filter(|_| ctx.set.take_history);
            self.join(clamp_join(join, data.trail, data.sqn), data.trail);
        }
        self.prove(ctx, |session| session.has_data = true);
        self.want_spm(ctx);
        // RFC 3208 §2.2, conformance 83: the trail moves with every packet.
        self.on_trail(data.trail);
        if self.expected.is_before(self.trail) {
            self.drain(ctx);
            if self.phase == Phase::Over {
                count!(self, ctx, after_end);
                return ctx.pool.put(frame);
            }
        }
        if data.sqn.is_before(self.expected) {
            if data.sqn.is_before(self.trail) {
                count!(self, ctx, outside_window);
            } else {
                count!(self, ctx, duplicates);
            }
            ctx.pool.put(frame);
        } else if self.can_exist(data.sqn) {
            self.repair_at_hand = options.is_repair;
            if options.syn {
                self.syn = Some(data.sqn);
            }
            self.accept(data.sqn, options.content, frame, ctx);
            if options.fin && self.ending.is_none() {
                // RFC 3208 §9.7.1, conformance 87: the last packet says so itself.
                self.ending = Some(super::session::Ending { last: data.sqn, end: crate::protocol::End::Finished });
            }
        } else {
            count!(self, ctx, outside_window);
            ctx.pool.put(frame);
        }
        self.drain(ctx);
    }

    /// Whether the source can have sent an SQN: not behind the end that it announced.
    pub(super) fn can_exist(&self, sqn: Sqn) -> bool {
        self.ending.is_none_or(|ending| sqn.at_or_before(ending.last))
    }

    /// The source's trail, from any packet. `drain` reports what it leaves behind.
    pub(super) fn on_trail(&mut self, trail: Sqn) {
        // RFC 3208 §6.2, conformance 77: it never goes back.
        if trail.is_after(self.trail) {
            // An edge that waits behind the trail must not be lapped: the rest of the way follows with the next packet.
            let is_lapped = self.expected.is_before(self.trail) && !trail.is_after(self.expected);
            let trail = if is_lapped { self.expected.plus(i32::MAX as u32) } else { trail };
            self.trail = trail;
            // What lies before the trail has been sent, even if nobody told us.
            if trail.is_after(self.lead.next()) {
                self.lead = trail.prev();
            }
        }
    }

    /// `lead` was sent, and everything missing before `end` is a gap. Returns false when there is no window to work on it: then it stays
    /// undetected until there is one, or until the trail passes.
    pub(super) fn extend<S>(&mut self, lead: Sqn, end: Sqn, ctx: &mut Ctx<'_, S>) -> bool {
        let idle = self.expected.is_after(self.lead);
        if !self.ensure_window(ctx) {
            return false;
        }
        let Some(window) = &mut self.window else { return false };
        if idle {
            window.restart(self.expected);
        }
        let gap_begins = if idle { self.expected } else { self.lead.next() };
        self.flowing = false;
        self.lead = lead;
        if end.is_after(gap_begins) {
            window.gaps.push(Gap { end, detected_at: ctx.now, arrivals: self.arrivals });
        }
        true
    }

    /// A packet at or behind the edge.
    fn accept<S: Sink>(&mut self, sqn: Sqn, content: Content, frame: Frame, ctx: &mut Ctx<'_, &mut S>) {
        let ahead = sqn.distance_from(self.expected);
        let records = content == Content::Records;
        let is_fragment = matches!(content, Content::Fragment(_));
        if ahead == 0 && !is_fragment && self.expected.is_after(self.lead) {
            // In order, and nothing waits.
            self.lead = sqn;
            return self.hand_over(sqn, records, frame, ctx);
        }
        if sqn.is_after(self.lead) {
            // RFC 3208 §6.3, conformance 90: ODATA and RDATA show a gap in front of them.
            if !self.extend(sqn, sqn, ctx) {
                count!(self, ctx, hold_refused);
                return ctx.pool.put(frame);
            }
            self.arrivals += 1;
        }
        let Some(window) = &mut self.window else {
            // Only what the trail has passed is outstanding without a window, and that is gone by now.
            count!(self, ctx, hold_refused);
            return ctx.pool.put(frame);
        };
        if ahead >= window.len() {
            count!(self, ctx, too_far_ahead);
            window.gaps.push(Gap { end: sqn.next(), detected_at: ctx.now, arrivals: self.arrivals });
            return ctx.pool.put(frame);
        }
        if matches!(window.slot(sqn), Slot::Held(_) | Slot::Done) {
            count!(self, ctx, duplicates);
            return ctx.pool.put(frame);
        }
        if let Content::Fragment(fragment) = content {
            // An APDU that could never be held as a whole is lost now, not after fifty repairs.
            let first_ahead = sqn.distance_from(fragment.first_sqn);
            if fragment.apdu_len > ctx.set.max_apdu || first_ahead >= ctx.set.held_max.min(window.len()) {
                self.complete(sqn, Slot::Lost(LossCause::Resources), ctx);
                return ctx.pool.put(frame);
            }
        } else if ahead == 0 {
            // The gap at the edge is closed.
            self.complete(sqn, Slot::Empty, ctx);
            return self.hand_over(sqn, records, frame, ctx);
        } else if self.opened && ctx.set.order == Order::AsComplete {
            // RFC 3208 §6.1, conformance 80: a complete APDU need not wait for its turn.
            self.complete(sqn, Slot::Done, ctx);
            return self.deliver_one(sqn, None, records, frame, ctx);
        }
        self.hold(sqn, content, frame, ctx);
        if is_fragment && self.opened && ctx.set.order == Order::AsComplete {
            self.deliver_if_complete(sqn, ctx);
        }
    }

    /// An SQN is no longer missing: its NAK generation ends.
    // RFC 3208 §6.3, conformance 98: ODATA or RDATA ends it in any state.
    fn complete<S>(&mut self, sqn: Sqn, slot: Slot, ctx: &mut Ctx<'_, S>) {
        let Some(window) = &mut self.window else { return };
        if let Slot::Missing(missing) = window.replace(sqn, slot) {
            self.repaired(sqn, &missing, ctx);
        }
    }

    /// Keeps a packet until its turn comes, if there is room; else it stays missing.
    fn hold<S>(&mut self, sqn: Sqn, content: Content, frame: Frame, ctx: &mut Ctx<'_, S>) {
        let Some(window) = &mut self.window else { return ctx.pool.put(frame) };
        if window.held_count() >= ctx.set.held_max || ctx.pool.spare() == 0 {
            match window.newest_held(self.expected) {
                // The older it is, the sooner it can be delivered: the newest goes.
                Some(newest) if newest.is_after(sqn) => {
                    if let Slot::Held(evicted) = window.replace(newest, Slot::Empty) {
                        ctx.pool.put(evicted.frame);
                    }
                    count!(self, ctx, hold_evicted);
                    // `assembled` stands: it ends before `sqn`, which was missing.
                    self.miss_again(newest, ctx);
                }
                _ => {
                    count!(self, ctx, hold_refused);
                    if let Some(missing) = window.missing_mut(sqn) {
                        missing.refused = true;
                    } else {
                        window.gaps.push(Gap { end: sqn.next(), detected_at: ctx.now, arrivals: self.arrivals });
                    }
                    return ctx.pool.put(frame);
                }
            }
        }
        count!(self, ctx, held_packets);
        self.complete(sqn, Slot::Held(Held::new(frame, sqn, content)), ctx);
    }
}
