//! The receive window of one session: a ring of slots by SQN, the timers of its missing SQNs, and the gaps not yet worked on.
//!
//! A session takes a [`Window`] from [`Windows`] with its first gap and gives it back when it ends; while data comes in order it
//! needs none. Guards two invariants: a slot that is not `Empty` lies less than a ring's length from the session's edge, and
//! a timer or a `due` mark stands only at a `Missing` slot.
//!
//! ```text
//!        edge            worked              lead
//!          v               v                   v
//!   done | M H M M L H ... | - - H - ... range | not sent yet
//!          `- taken up: every missing SQN has a timer
//!                           `- missing SQNs are Empty slots, or no slots at all
//! ```

use crate::frame::{Frame, Pool};
use crate::protocol::LossCause;
use crate::protocol::timers::Wheel;
use crate::time::Time;
use crate::wire::{Fragment, Sqn};

use super::nak::Missing;

/// What is known of an SQN.
#[derive(Debug, Default)]
pub(super) enum Slot {
    /// Nothing, or that it is missing and not yet worked on.
    #[default]
    Empty,
    /// It is missing and the NAK state machine works on it.
    Missing(Missing),
    /// It came and waits for others.
    Held(Held),
    /// It is lost, which is not yet reported.
    Lost(LossCause),
    /// It was delivered before its turn.
    Done,
}

/// A packet that waits for others.
#[derive(Debug)]
pub(super) struct Held {
    /// The payload.
    pub(super) frame: Frame,
    /// Steps back to the APDU's first fragment; `WHOLE` for an APDU of one packet without OPT_FRAGMENT, `RECORDS` for a batch.
    back: u32,
    pub(super) offset: u32,
    pub(super) apdu_len: u32,
}

const WHOLE: u32 = u32::MAX;
const RECORDS: u32 = u32::MAX - 1;

/// What the payload of a data packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An APDU by itself.
    Message,
    /// A batch of records: several APDUs.
    Records,
    /// A part of an APDU.
    Fragment(Fragment),
}

// The issue of memory: 65,536 slots are two megabytes.
const _: () = assert!(size_of::<Slot>() <= 32);

impl Held {
    pub(super) fn new(frame: Frame, sqn: Sqn, content: Content) -> Self {
        match content {
            Content::Message => Self { frame, back: WHOLE, offset: 0, apdu_len: 0 },
            Content::Records => Self { frame, back: RECORDS, offset: 0, apdu_len: 0 },
            // Less than half the space back: neither of the two above.
            Content::Fragment(Fragment { first_sqn, offset, apdu_len }) => {
                Self { frame, back: sqn.distance_from(first_sqn), offset, apdu_len }
            }
        }
    }

    /// Steps back to the APDU's first fragment; `None` when it is an APDU by itself.
    pub(super) fn back(&self) -> Option<u32> {
        (self.back < RECORDS).then_some(self.back)
    }

    /// Whether it is a batch of records.
    pub(super) fn is_batch(&self) -> bool {
        self.back == RECORDS
    }

    pub(super) fn octets(&self) -> u32 {
        self.frame.len() as u32
    }
}

/// A set of slots.
#[derive(Debug)]
pub(super) struct Marks {
    words: Box<[u64]>,
    count: u32,
}

impl Marks {
    fn new(slots: u32) -> Self {
        Self { words: vec![0; (slots as usize).div_ceil(64)].into(), count: 0 }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    fn set(&mut self, key: u32) {
        let word = &mut self.words[key as usize / 64];
        let bit = 1 << (key % 64);
        self.count += u32::from(*word & bit == 0);
        *word |= bit;
    }

    fn clear(&mut self, key: u32) {
        let word = &mut self.words[key as usize / 64];
        let bit = 1 << (key % 64);
        self.count -= u32::from(*word & bit != 0);
        *word &= !bit;
    }

    /// The first marked key at or after `from`, going round once.
    fn first_from(&self, from: u32) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let words = self.words.len();
        let start = from as usize / 64;
        let head = self.words[start] & (!0 << (from % 64));
        if head != 0 {
            return Some(start as u32 * 64 + head.trailing_zeros());
        }
        (1..=words).map(|step| (start + step) % words).find_map(|at| {
            let word = self.words[at];
            (word != 0).then(|| at as u32 * 64 + word.trailing_zeros())
        })
    }

    /// The last marked key before `end`, going round once backwards.
    fn last_before(&self, end: u32) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let words = self.words.len();
        let start = end as usize / 64;
        let tail = self.words[start] & !(!0 << (end % 64));
        let top = |at: usize, word: u64| at as u32 * 64 + 63 - word.leading_zeros();
        if tail != 0 {
            return Some(top(start, tail));
        }
        (1..=words).map(|step| (start + words - step) % words).find_map(|at| {
            let word = self.words[at];
            (word != 0).then(|| top(at, word))
        })
    }
}

/// A gap that was detected and not yet worked on: everything missing before `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// The SQN behind it.
    pub(super) end: Sqn,
    pub(super) detected_at: Time,
    /// Data packets that had extended the lead when it was detected, the detecting one not counted.
    pub(super) arrivals: u64,
}

/// Gaps in the order of their SQNs. Bounded: when it is full, the youngest grows.
#[derive(Debug)]
pub(super) struct Gaps {
    ring: [Option<Gap>; Self::BOUND],
    first: usize,
    len: usize,
}

impl Gaps {
    /// Gaps that wait apart for their reordering tolerance. More within 100 µs are a burst, and a burst may be late by some packets.
    const BOUND: usize = 16;

    fn new() -> Self {
        Self { ring: [None; Self::BOUND], first: 0, len: 0 }
    }

    /// Appends a gap; one that reaches no further than the last is part of it.
    pub(super) fn push(&mut self, gap: Gap) {
        let last = self.len.checked_sub(1).and_then(|last| self.ring[(self.first + last) % Self::BOUND]);
        if last.is_some_and(|last| gap.end.at_or_before(last.end)) {
            return;
        }
        if self.len == Self::BOUND {
            let last = (self.first + self.len - 1) % Self::BOUND;
            self.ring[last] = Some(gap);
        } else {
            self.ring[(self.first + self.len) % Self::BOUND] = Some(gap);
            self.len += 1;
        }
    }

    pub(super) fn front(&self) -> Option<Gap> {
        if self.len == 0 { None } else { self.ring[self.first] }
    }

    pub(super) fn pop(&mut self) {
        debug_assert!(self.len > 0, "popped a gap that is not there");
        self.first = (self.first + 1) % Self::BOUND;
        self.len -= 1;
    }
}

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    mask: u32,
    slots: Box<[Slot]>,
    pub(super) wheel: Wheel,
    due: Marks,
    held: Marks,
    /// Slots that are not empty: who looks for them need not walk a ring of empty ones.
    used: Marks,
    pub(super) gaps: Gaps,
    /// Behind the last SQN whose missing SQNs were taken up.
    pub(super) worked: Sqn,
    /// Behind the last slot that is not empty.
    pub(super) touched: Sqn,
}

impl Window {
    fn new(slots: u32) -> Self {
        Self {
            mask: slots - 1,
            slots: (0..slots).map(|_| Slot::Empty).collect(),
            wheel: Wheel::new(slots),
            due: Marks::new(slots),
            held: Marks::new(slots),
            used: Marks::new(slots),
            gaps: Gaps::new(),
            worked: Sqn::new(0),
            touched: Sqn::new(0),
        }
    }

    /// Begins anew at `edge`. Only for a window that is empty.
    pub(super) fn restart(&mut self, edge: Sqn) {
        debug_assert!(self.wheel.is_empty() && self.held_count() == 0, "a window in use began anew");
        self.gaps = Gaps::new();
        self.worked = edge;
        self.touched = edge;
    }

    pub(super) fn len(&self) -> u32 {
        self.mask + 1
    }

    pub(super) fn key(&self, sqn: Sqn) -> u32 {
        sqn.get() & self.mask
    }

    /// The SQN at `key` in a ring whose first SQN is `edge`.
    pub(super) fn sqn(&self, key: u32, edge: Sqn) -> Sqn {
        edge.plus(key.wrapping_sub(edge.get()) & self.mask)
    }

    pub(super) fn slot(&self, sqn: Sqn) -> &Slot {
        &self.slots[self.key(sqn) as usize]
    }

    pub(super) fn missing_mut(&mut self, sqn: Sqn) -> Option<&mut Missing> {
        let key = self.key(sqn);
        match &mut self.slots[key as usize] {
            Slot::Missing(missing) => Some(missing),
            _ => None,
        }
    }

    /// Puts `slot` at `sqn` and hands back what was there; timer and marks of it are gone.
    pub(super) fn replace(&mut self, sqn: Sqn, slot: Slot) -> Slot {
        let key = self.key(sqn);
        if matches!(slot, Slot::Held(_)) {
            self.held.set(key);
        }
        if matches!(slot, Slot::Empty) {
            self.used.clear(key);
        } else {
            self.used.set(key);
            if sqn.at_or_after(self.touched) {
                self.touched = sqn.next();
            }
        }
        let old = core::mem::replace(&mut self.slots[key as usize], slot);
        match old {
            Slot::Missing(_) => {
                self.wheel.cancel(key);
                self.due.clear(key);
            }
            Slot::Held(_) if !matches!(self.slots[key as usize], Slot::Held(_)) => self.held.clear(key),
            _ => {}
        }
        old
    }

    pub(super) fn held_count(&self) -> u32 {
        self.held.count()
    }

    /// The newest packet held, in a ring whose first SQN is `edge`.
    pub(super) fn newest_held(&self, edge: Sqn) -> Option<Sqn> {
        self.held.last_before(self.key(edge)).map(|key| self.sqn(key, edge))
    }

    pub(super) fn arm(&mut self, sqn: Sqn, at: Time) {
        debug_assert!(matches!(self.slot(sqn), Slot::Missing(_)), "a timer for {sqn}, which is not missing");
        self.wheel.arm(self.key(sqn), at);
    }

    pub(super) fn cancel_timer(&mut self, sqn: Sqn) {
        self.wheel.cancel(self.key(sqn));
    }

    pub(super) fn timer(&self, sqn: Sqn) -> Option<Time> {
        self.wheel.due(self.key(sqn))
    }

    pub(super) fn mark_due(&mut self, sqn: Sqn) {
        self.due.set(self.key(sqn));
    }

    pub(super) fn clear_due(&mut self, sqn: Sqn) {
        self.due.clear(self.key(sqn));
    }

    pub(super) fn due_count(&self) -> u32 {
        self.due.count()
    }

    /// The oldest SQN from `from` on whose NAK is due, in a ring whose first SQN is `edge`.
    pub(super) fn next_due(&self, from: Sqn, edge: Sqn) -> Option<Sqn> {
        let sqn = self.sqn(self.due.first_from(self.key(from))?, edge);
        // The search goes round: what lies before `from` was found already.
        sqn.at_or_after(from).then_some(sqn)
    }

    /// The first SQN from `edge` on whose slot is not empty, in a ring whose first SQN is `edge`.
    pub(super) fn first_used(&self, edge: Sqn) -> Option<Sqn> {
        self.used.first_from(self.key(edge)).map(|key| self.sqn(key, edge))
    }

    /// Empties every slot from `edge` on; held frames go back.
    fn clear(&mut self, edge: Sqn, pool: &mut Pool) {
        let mut from = edge;
        while let Some(sqn) = self.first_used(from) {
            if let Slot::Held(held) = self.replace(sqn, Slot::Empty) {
                pool.put(held.frame);
            }
            from = sqn;
        }
        self.gaps = Gaps::new();
        debug_assert!(self.wheel.is_empty() && self.due.count() == 0 && self.held.count() == 0, "a window not empty");
    }
}

/// The windows of a receiver: made when first needed, kept for the next session, never more than bounded.
#[derive(Debug)]
pub(super) struct Windows {
    #[allow(clippy::vec_box, reason = "they move in and out of sessions, which keep them boxed")]
    idle: Vec<Box<Window>>,
    slots: u32,
    /// How many more may be made.
    to_make: u32,
    /// How many sessions that have not proven themselves hold one.
    unproven: u32,
    /// How many they may hold.
    unproven_max: u32,
}

impl Windows {
    pub(super) fn new(slots: u32, bound: u32) -> Self {
        // The first is made now: a receiver of one session never allocates again.
        let mut idle = Vec::with_capacity(bound as usize);
        idle.push(Box::new(Window::new(slots)));
        Self { idle, slots, to_make: bound - 1, unproven: 0, unproven_max: (bound / 4).max(1) }
    }

    /// A window for a session whose edge is `edge`. A session that has not proven itself gets one only while few such hold any, so that
    /// spoofed sessions cannot take them all.
    pub(super) fn take(&mut self, edge: Sqn, proven: bool) -> Option<Box<Window>> {
        if !proven && self.unproven >= self.unproven_max {
            return None;
        }
        let mut window = match self.idle.pop() {
            Some(window) => window,
            None if self.to_make > 0 => {
                self.to_make -= 1;
                Box::new(Window::new(self.slots))
            }
            None => return None,
        };
        self.unproven += u32::from(!proven);
        window.restart(edge);
        Some(window)
    }

    /// A session that holds a window has proven itself.
    pub(super) fn proven(&mut self) {
        self.unproven -= 1;
    }

    pub(super) fn give_back(&mut self, mut window: Box<Window>, edge: Sqn, proven: bool, pool: &mut Pool) {
        window.clear(edge, pool);
        self.unproven -= u32::from(!proven);
        self.idle.push(window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_ring_order_from_anywhere() {
        let mut marks = Marks::new(256);
        for key in [3, 70, 200] {
            marks.set(key);
            marks.set(key);
        }
        assert_eq!(marks.count(), 3);
        assert_eq!([0, 3, 4, 71, 200, 201].map(|from| marks.first_from(from)), [3, 3, 70, 200, 200, 3].map(Some));
        assert_eq!([3, 4, 70, 201, 0].map(|end| marks.last_before(end)), [200, 3, 3, 200, 200].map(Some));
        for key in [3, 70, 200] {
            marks.clear(key);
        }
        assert_eq!((marks.first_from(9), marks.last_before(9)), (None, None));
    }

    #[test]
    fn a_burst_of_gaps_costs_bounded_memory_and_none_is_forgotten() {
        let mut gaps = Gaps::new();
        for n in 0..1000_u32 {
            gaps.push(Gap { end: Sqn::new(n), detected_at: Time::ZERO, arrivals: 0 });
        }
        let mut last = None;
        while let Some(gap) = gaps.front() {
            last = Some(gap.end);
            gaps.pop();
        }
        assert_eq!(last, Some(Sqn::new(999)));
    }
}
