//! What is asked for: per slot, what was done about it and when; and the queue of repairs that wait.
//!
//! Called by `nak` (requests come in) and `data` (repairs go out). The state is a side table indexed by slot, valid for one position
//! at a time; the queue is a heap ordered by due time, then age. Guards: a position is queued at most once, the queue is bounded by
//! the window and never allocates, and a storm of NAKs for one SQN cannot make NCFs or RDATA leave faster than the profile's limits.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::config::{REPEAT_FLOOR, RepairDelay, SourceConfig};
use crate::time::{Time, nanos};

/// [`REPEAT_FLOOR`] in nanoseconds.
const REPEAT_FLOOR_NS: u64 = nanos(REPEAT_FLOOR);

/// How long after a repair left who lost it asked again: the longest of this span of time and of the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Again {
    began: Time,
    longest_ns: [u64; 2],
}

impl Again {
    /// Several windows at full speed.
    const SPAN_NS: u64 = 250_000_000;

    fn see(&mut self, now: Time, after_ns: u64) {
        if now.since(self.began) >= Self::SPAN_NS {
            self.began = now;
            self.longest_ns = [0, self.longest_ns[0]];
        }
        self.longest_ns[0] = self.longest_ns[0].max(after_ns);
    }
}

/// What is known about the requests for one slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The position this is about; anything else in the slot is of the past.
    position: u64,
    /// No NCF sooner.
    ncf_after: Time,
    /// The number of the NCF that goes before the repair; 0: none does.
    ncf: u64,
    /// When the last repair left; `None` before the first.
    repaired: Option<Time>,
    last_nak: Time,
    /// Who sent it, shortened.
    last_from: u32,
    /// No repair sooner than this after the last one.
    hold_ns: u32,
    /// NAKs of this loss.
    naks: u16,
    /// Repairs that left, as long as it is in the window.
    repairs: u16,
    queued: bool,
}

const NOTHING: Slot = Slot {
    position: u64::MAX,
    ncf_after: Time::ZERO,
    ncf: 0,
    repaired: None,
    last_nak: Time::ZERO,
    last_from: 0,
    hold_ns: 0,
    naks: 0,
    repairs: 0,
    queued: false,
};

/// What a NAK for one position led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// NAKs for this loss so far, this one included.
    pub(super) naks: u16,
    /// Whether it put a repair into the queue.
    pub(super) queued: bool,
}

/// Side table and queue.
#[derive(Debug)]
pub(super) struct Repairs {
    slots: Box<[Slot]>,
    mask: u64,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    bound: usize,
    delay: RepairDelay,
    delay_ns: u64,
    ncf_repeat_ns: u64,
    /// First hold-off after a repair.
    base_ns: u64,
    start_ns: u64,
    hold_max_ns: u64,
    adaptive: bool,
    again: Again,
    /// Repairs after which a packet holds the trail no longer.
    holds_max: u16,
}

impl Repairs {
    pub(super) fn new(config: &SourceConfig) -> Self {
        let slots = config.window_slots as usize;
        // Each slot once, and as many again that the trail has passed meanwhile, so that weeding them out pays for itself.
        let bound = 2 * slots;
        let start_ns = nanos(config.rdata_repeat);
        Self {
            slots: vec![NOTHING; slots].into(),
            mask: slots as u64 - 1,
            queue: BinaryHeap::with_capacity(bound),
            bound,
            delay: config.repair_delay,
            delay_ns: if let RepairDelay::Fixed(delay) = config.repair_delay { nanos(delay) } else { 0 },
            ncf_repeat_ns: nanos(config.ncf_repeat),
            base_ns: start_ns,
            start_ns,
            hold_max_ns: nanos(config.rdata_repeat_max),
            adaptive: config.rdata_repeat_adaptive,
            again: Again::default(),
            holds_max: config.hold_repairs,
        }
    }

    #[inline]
    fn slot(&self, position: u64) -> Option<&Slot> {
        let slot = &self.slots[(position & self.mask) as usize];
        (slot.position == position).then_some(slot)
    }

    #[inline]
    fn slot_mut(&mut self, position: u64) -> &mut Slot {
        let slot = &mut self.slots[(position & self.mask) as usize];
        if slot.position != position {
            *slot = Slot { position, ..NOTHING };
        }
        slot
    }

    /// Whether a repair of `position` waits.
    #[inline]
    pub(super) fn is_queued(&self, position: u64) -> bool {
        self.slot(position).is_some_and(|slot| slot.queued)
    }

    /// How long who lost a repair takes to ask again.
    pub(super) fn asked_again_ns(&self) -> u64 {
        self.again.longest_ns[0].max(self.again.longest_ns[1])
    }

    /// Whether a NAK for `position` may hold the trail: not when all the repairs that left for it did not help.
    pub(super) fn may_hold(&self, position: u64) -> bool {
        self.slot(position).is_none_or(|slot| slot.repairs < self.holds_max)
    }

    /// Whether a repair of `position` waits for which the trail waits.
    pub(super) fn holds(&self, position: u64) -> bool {
        self.slot(position).is_some_and(|slot| slot.queued && slot.repairs < self.holds_max)
    }

    /// Whether an NCF for `position` may leave.
    pub(super) fn may_confirm(&self, now: Time, position: u64) -> bool {
        self.slot(position).is_none_or(|slot| now >= slot.ncf_after)
    }

    /// An NCF for `position` is queued, the `number`th of all.
    pub(super) fn confirmed(&mut self, now: Time, position: u64, number: u64) {
        // RFC 3208 §5.2, conformance 59: further NCFs for identical NAKs are limited in rate.
        let after = now.plus(self.ncf_repeat_ns);
        self.slot_mut(position).ncf_after = after;
        self.follows(position, number);
    }

    /// The repair of `position` leaves behind the `number`th NCF, unless it knows one to follow.
    pub(super) fn follows(&mut self, position: u64, number: u64) {
        let slot = self.slot_mut(position);
        if slot.ncf == 0 {
            slot.ncf = number;
        }
    }

    /// Whether the repair of `position` waits for its NCF, when those up to the number `left` have left.
    pub(super) fn is_unconfirmed(&self, position: u64, left: u64) -> bool {
        self.slot(position).is_some_and(|slot| slot.ncf > left)
    }

    /// A NAK for `position`, which lies in the window `trail ..= last`.
    pub(super) fn on_nak(&mut self, now: Time, position: u64, from: u32, trail: u64, last: u64) -> Asked {
        let (base, most) = (self.base_ns, self.hold_max_ns);
        let slot = self.slot_mut(position);
        // A loss is over when nobody has asked for as long as a repair is ever held off.
        if !slot.queued && now.since(slot.last_nak) >= most {
            slot.naks = 0;
            slot.hold_ns = 0;
        }
        let distance = now.since(slot.last_nak);
        let repeated = slot.naks > 0 && slot.last_from == from && distance >= REPEAT_FLOOR_NS;
        slot.naks = slot.naks.saturating_add(1);
        slot.last_nak = now;
        slot.last_from = from;
        let naks = slot.naks;

        let queued = slot.queued;
        let (repaired, hold) = (slot.repaired, u64::from(slot.hold_ns));
        if let Some(at) = repaired.filter(|_| repeated && !queued) {
            self.again.see(now, now.since(at));
        }
        self.adapt(naks, repeated.then_some(distance));
        // conformance 62: a repair that waits already serves this NAK too.
        if queued {
            return Asked { naks, queued: false };
        }
        let mut due = now.plus(self.delay_ns(position, trail, last));
        if let Some(at) = repaired {
            // RFC 3208 §5.2, conformance 59: this NAK crossed the repair on its way; whoever lost that one will ask again.
            if now.since(at) < base {
                return Asked { naks, queued: false };
            }
            due = due.max(at.plus(hold));
        }
        self.slot_mut(position).queued = true;
        self.push(due, position, trail);
        Asked { naks, queued: true }
    }

    /// A failure was assumed because of the NAKs for `position`; once is enough for one loss.
    pub(super) fn contained(&mut self, position: u64) {
        self.slot_mut(position).naks = u16::MAX;
    }

    /// Follows the distance at which one receiver repeats its NAKs: whatever comes sooner is a duplicate.
    fn adapt(&mut self, naks: u16, distance: Option<u64>) {
        if !self.adaptive {
            return;
        }
        if let Some(distance) = distance {
            // Three quarters: timers are not exact, and a repeated NAK must not pass for a duplicate.
            self.base_ns = self.base_ns.min((distance / 4 * 3).max(REPEAT_FLOOR_NS));
        } else if naks == 1 {
            // Creeps back, so that one odd measurement does not rule for ever.
            self.base_ns = (self.base_ns + (self.base_ns >> 8)).min(self.start_ns);
        }
    }

    fn delay_ns(&self, position: u64, trail: u64, last: u64) -> u64 {
        // RFC 3208 §5.3, conformance 60: as configured.
        match self.delay {
            RepairDelay::None | RepairDelay::Fixed(_) => self.delay_ns,
            RepairDelay::Windows => (position - trail) * 60_000_000 / (last - trail + 1),
        }
    }

    fn push(&mut self, due: Time, position: u64, trail: u64) {
        if self.queue.len() == self.bound {
            self.queue.retain(|Reverse((_, position))| *position >= trail);
        }
        debug_assert!(self.queue.len() < self.bound);
        self.queue.push(Reverse((due, position)));
    }

    /// When the next repair is due.
    #[inline]
    pub(super) fn next_due(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse((due, _))| *due)
    }

    /// The repair to send now. It stays queued until [`Repairs::sent`] or [`Repairs::defer`].
    pub(super) fn peek(&self, now: Time) -> Option<u64> {
        self.queue.peek().filter(|Reverse((due, _))| *due <= now).map(|Reverse((_, position))| *position)
    }

    /// The trail has passed the repair that [`Repairs::peek`] showed.
    pub(super) fn expire(&mut self) {
        self.queue.pop();
    }

    /// The repair that [`Repairs::peek`] showed has to wait until then.
    pub(super) fn defer(&mut self, until: Time) {
        if let Some(mut top) = self.queue.peek_mut() {
            top.0.0 = until;
        }
    }

    /// The repair that [`Repairs::peek`] showed left. Returns how many NAKs had asked for it.
    pub(super) fn sent(&mut self, now: Time) -> u16 {
        let Some(Reverse((_, position))) = self.queue.pop() else { return 0 };
        let (base, most) = (self.base_ns, self.hold_max_ns);
        let slot = self.slot_mut(position);
        // conformance 59: the hold-off doubles as long as NAKs for this SQN go on.
        let hold = if slot.hold_ns == 0 { base } else { 2 * u64::from(slot.hold_ns) };
        slot.hold_ns = hold.min(most) as u32;
        slot.repaired = Some(now);
        slot.ncf = 0;
        slot.queued = false;
        slot.repairs = slot.repairs.saturating_add(1);
        slot.naks
    }

    /// Forgets all that wait: the session no longer answers.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        for slot in &mut self.slots {
            slot.queued = false;
        }
    }
}
