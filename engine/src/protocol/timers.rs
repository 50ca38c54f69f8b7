//! A hierarchical timing wheel over small integer keys.
//!
//! Lives here: arming and cancelling in O(1), and the next deadline by bitmaps. State machines of `protocol` call it, one wheel per
//! set of keys. Guards one invariant: a key is in at most one list, and never fires before its time.
//!
//! ```text
//!   level 0   64 slots of one tick (1.024 µs)
//!   level 1   64 slots of 64 ticks            a key stands on the level of the highest digit (base 64) in which
//!   ...                                       its tick differs from `elapsed`; when the slot's time comes, its keys
//!   level 10  the rest of 64 bits             move down a level, or fire on level 0
//! ```
//!
//! Keys due in the same tick fire in the order in which they were armed, so that a run can be replayed.

use crate::time::Time;

/// 64 slots a level: one machine word says which are occupied.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 11 digits of 6 bits hold every tick: no deadline is too far to be armed.
const LEVELS: usize = 11;
/// 2^10 ns a tick: finer than any interval of a profile, and a shift instead of a division.
const TICK_SHIFT: u32 = 10;
/// No key.
const NONE: u32 = u32::MAX;

/// A key's place in its list. `next == NONE` says that it is not armed.
#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    prev: u32,
    tick: u64,
}

const IDLE: Node = Node { next: NONE, prev: NONE, tick: 0 };

/// One level: circular lists by the key at their head.
#[derive(Clone, Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
}

/// The wheel.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// All ticks before this one have fired.
    elapsed: u64,
    armed: u32,
    /// Which levels have an occupied slot.
    busy: u16,
    levels: Box<[Level]>,
    nodes: Box<[Node]>,
}

impl Wheel {
    /// A wheel for the keys `0..keys`.
    pub fn new(keys: u32) -> Self {
        assert!(keys < NONE, "too many keys for a wheel");
        let level = Level { occupied: 0, heads: [NONE; SLOTS] };
        Self {
            elapsed: 0,
            armed: 0,
            busy: 0,
            levels: vec![level; LEVELS].into(),
            nodes: vec![IDLE; keys as usize].into(),
        }
    }

    /// How many keys are armed.
    #[inline]
    pub fn len(&self) -> u32 {
        self.armed
    }

    /// Whether no key is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Whether `key` is armed.
    #[inline]
    pub fn is_armed(&self, key: u32) -> bool {
        self.nodes[key as usize].next != NONE
    }

    /// When `key` fires; `None` when it is not armed.
    #[inline]
    pub fn due(&self, key: u32) -> Option<Time> {
        let node = &self.nodes[key as usize];
        (node.next != NONE).then(|| Time::from_nanos(node.tick << TICK_SHIFT))
    }

    /// Arms `key` for `at`, rounded up to a tick; an armed key is armed anew.
    #[inline]
    pub fn arm(&mut self, key: u32, at: Time) {
        if self.is_armed(key) {
            self.unlink(key);
        }
        // Rounded up: never early.
        let tick = (at.as_nanos() >> TICK_SHIFT) + u64::from(at.as_nanos() & ((1 << TICK_SHIFT) - 1) != 0);
        self.nodes[key as usize].tick = tick.max(self.elapsed);
        self.link(key);
    }

    /// Cancels `key`, if it is armed.
    #[inline]
    pub fn cancel(&mut self, key: u32) {
        if self.is_armed(key) {
            self.unlink(key);
        }
    }

    /// Takes one key that is due. Call until `None`.
    pub fn pop(&mut self, now: Time) -> Option<u32> {
        let now = now.as_nanos() >> TICK_SHIFT;
        while let Some((level, slot, start)) = self.first() {
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            let head = self.levels[level].heads[slot];
            if level == 0 {
                self.unlink_from(head, 0, slot);
                return Some(head);
            }
            // The slot's time has come: its keys differ from `elapsed` in a lower digit now.
            while self.levels[level].heads[slot] != NONE {
                let key = self.levels[level].heads[slot];
                self.unlink_from(key, level, slot);
                self.link(key);
            }
        }
        self.elapsed = self.elapsed.max(now);
        None
    }

    /// When to call [`Wheel::pop`] at the latest. May be early while the first deadline is more than 64 ticks away, never late.
    #[inline]
    pub fn next(&self) -> Option<Time> {
        self.first().map(|(_, _, start)| Time::from_nanos(start << TICK_SHIFT))
    }

    /// The first occupied slot: level, slot, and the tick at which it begins.
    #[inline]
    fn first(&self) -> Option<(usize, usize, u64)> {
        if self.busy == 0 {
            return None;
        }
        // Keys of a lower level share more leading digits with `elapsed`: they come first.
        let level = self.busy.trailing_zeros() as usize;
        let slot = self.levels[level].occupied.trailing_zeros();
        let shift = level as u32 * SLOT_BITS;
        let above = shift + SLOT_BITS;
        let prefix = if above >= u64::BITS { 0 } else { self.elapsed >> above << above };
        let start = prefix | (u64::from(slot) << shift);
        Some((level, slot as usize, start.max(self.elapsed)))
    }

    #[inline]
    fn place(&self, tick: u64) -> (usize, usize) {
        let differing = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (u64::BITS - 1 - differing.leading_zeros()) / SLOT_BITS;
        (level as usize, (tick >> (level * SLOT_BITS)) as usize & (SLOTS - 1))
    }

    fn link(&mut self, key: u32) {
        let (level, slot) = self.place(self.nodes[key as usize].tick);
        let head = self.levels[level].heads[slot];
        if head == NONE {
            self.nodes[key as usize].next = key;
            self.nodes[key as usize].prev = key;
            self.levels[level].heads[slot] = key;
            self.levels[level].occupied |= 1 << slot;
            self.busy |= 1 << level;
        } else {
            let tail = self.nodes[head as usize].prev;
            self.nodes[key as usize].next = head;
            self.nodes[key as usize].prev = tail;
            self.nodes[tail as usize].next = key;
            self.nodes[head as usize].prev = key;
        }
        self.armed += 1;
    }

    fn unlink(&mut self, key: u32) {
        // The key stands where it was linked: `elapsed` enters a slot only in `pop`, which empties the slot first.
        let (level, slot) = self.place(self.nodes[key as usize].tick);
        self.unlink_from(key, level, slot);
    }

    fn unlink_from(&mut self, key: u32, level: usize, slot: usize) {
        let node = self.nodes[key as usize];
        if node.next == key {
            self.levels[level].heads[slot] = NONE;
            self.levels[level].occupied &= !(1 << slot);
            if self.levels[level].occupied == 0 {
                self.busy &= !(1 << level);
            }
        } else {
            self.nodes[node.prev as usize].next = node.next;
            self.nodes[node.next as usize].prev = node.prev;
            if self.levels[level].heads[slot] == key {
                self.levels[level].heads[slot] = node.next;
            }
        }
        self.nodes[key as usize] = Node { tick: node.tick, ..IDLE };
        self.armed -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(ticks: u64) -> Time {
        Time::from_nanos(ticks << TICK_SHIFT)
    }

    #[test]
    fn a_key_fires_once_and_never_before_its_time() {
        let mut wheel = Wheel::new(4);
        wheel.arm(2, Time::from_nanos(5_000));
        assert_eq!(wheel.pop(Time::from_nanos(4_999)), None);
        assert!(wheel.is_armed(2) && wheel.next().is_some_and(|next| next >= Time::from_nanos(5_000)));
        assert_eq!(wheel.pop(Time::from_nanos(6_144)), Some(2));
        assert_eq!(wheel.pop(Time::from_nanos(6_144)), None);
        assert!(wheel.is_empty() && wheel.next().is_none());
    }

    #[test]
    fn arming_anew_moves_a_key_and_cancelling_forgets_it() {
        let mut wheel = Wheel::new(2);
        wheel.arm(0, at(10));
        wheel.arm(0, at(1_000_000));
        wheel.arm(1, at(20));
        wheel.cancel(1);
        wheel.cancel(1);
        assert_eq!((wheel.pop(at(999_999)), wheel.len()), (None, 1));
        assert_eq!(wheel.pop(at(1_000_000)), Some(0));
    }

    #[test]
    fn keys_of_one_tick_fire_in_the_order_they_were_armed() {
        let mut wheel = Wheel::new(100);
        (0..100).rev().for_each(|key| wheel.arm(key, at(5_000)));
        let fired: Vec<u32> = core::iter::from_fn(|| wheel.pop(at(5_000))).collect();
        assert_eq!(fired, (0..100).rev().collect::<Vec<_>>());
    }

    #[test]
    fn the_end_of_time_can_be_armed() {
        let mut wheel = Wheel::new(1);
        wheel.arm(0, Time::from_nanos(u64::MAX));
        assert_eq!(wheel.pop(Time::from_nanos(u64::MAX - 2_000)), None);
        assert!(wheel.next().is_some());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(u32, u64),
        Cancel(u32),
        Advance(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let span = prop_oneof![0_u64..200, 0_u64..100_000, 0_u64..1 << 34];
        prop_oneof![
            4 => (0_u32..32, span.clone()).prop_map(|(key, ticks)| Op::Arm(key, ticks)),
            1 => (0_u32..32).prop_map(Op::Cancel),
            3 => span.prop_map(Op::Advance),
        ]
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_sorted_map(start in prop_oneof![0_u64..10, 0_u64..1 << 40], ops in prop::collection::vec(op(), 1..200)) {
            let mut wheel = Wheel::new(32);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = start;
            for op in ops {
                match op {
                    Op::Arm(key, ticks) => {
                        wheel.arm(key, at(now + ticks));
                        model.insert(key, now + ticks);
                    }
                    Op::Cancel(key) => {
                        wheel.cancel(key);
                        model.remove(&key);
                    }
                    Op::Advance(ticks) => {
                        now += ticks;
                        let mut last = 0;
                        while let Some(key) = wheel.pop(at(now)) {
                            let due = model.remove(&key);
                            prop_assert!(due.is_some_and(|due| due <= now && due >= last), "{key}: {due:?} at {now}");
                            last = due.unwrap_or(0);
                        }
                        prop_assert!(model.values().all(|&due| due > now));
                    }
                }
                prop_assert_eq!(wheel.len() as usize, model.len());
                match (wheel.next(), model.values().min()) {
                    (Some(next), Some(&due)) => prop_assert!(next <= at(due), "late: {next:?} for {due}"),
                    (None, None) => {}
                    other => prop_assert!(false, "{other:?}"),
                }
                prop_assert!((0..32).all(|key| wheel.is_armed(key) == model.contains_key(&key)));
            }
        }
    }
}
