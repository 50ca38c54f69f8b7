//! The worker's half of a window: everything between the trail and the head.
//!
//! Guards: only positions in `trail .. head` are touched, none that is in flight, and none that may still grow.

use core::ops::Range;
use std::sync::Arc;

use super::super::pool::{Frame, Place, Pool, Run};
use super::{Shared, Slot, SlotLayout, State};

/// The worker's half: everything between the trail and the head.
pub struct Reader {
    shared: Arc<Shared>,
    run: Run,
    layout: SlotLayout,
    /// The head as last seen.
    head: u64,
    /// Slots before this position do not grow any more. The head, or the slot in front of it where that is open.
    settled: u64,
    /// Our own copy of the trail.
    trail: u64,
}

impl Reader {
    /// The reader of a window that is empty.
    pub(super) fn new(shared: Arc<Shared>, run: Run, layout: SlotLayout) -> Self {
        Self { shared, run, layout, head: 0, settled: 0, trail: 0 }
    }

    /// Number of slots.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.shared.mask + 1
    }

    /// How payloads lie in their slots.
    #[inline]
    pub fn layout(&self) -> SlotLayout {
        self.layout
    }

    /// Looks how far the publisher has committed and returns the head.
    #[inline]
    pub fn refresh(&mut self) -> u64 {
        self.head = self.shared.handoff.head();
        // A slot that has another one behind it is not appended to: of those, the acquired head tells everything.
        let open = u64::from(self.layout.batch && self.head > 0);
        self.settled = self.settled.max(self.head - open);
        self.head
    }

    /// The head as of the last [`Reader::refresh`].
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Slots before this position are final: without batching all that were committed; else the newest must be sealed first.
    #[inline]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Makes the slot at [`Reader::settled`], the newest, final: what the publisher commits from now on goes to other slots. `admit`
    /// hears what it holds, perhaps several times as that grows, and may be against it. Returns whether it is final now.
    pub fn seal(&mut self, admit: impl FnMut(Slot) -> bool) -> bool {
        let position = self.settled;
        assert!(position < self.head, "position {position} is not the worker's");
        let sealed = self.shared.state(position).seal(admit);
        self.settled += u64::from(sealed);
        sealed
    }

    /// The oldest position that is kept.
    #[inline]
    pub fn trail(&self) -> u64 {
        self.trail
    }

    /// Whether the publisher has committed something since [`Reader::refresh`].
    #[inline]
    pub fn has_news(&self) -> bool {
        self.shared.handoff.head() != self.head
    }

    /// What the slot at `position` holds.
    #[inline]
    pub fn slot(&self, position: u64) -> Slot {
        self.check(position);
        self.shared.state(position).load()
    }

    /// Whether the frame of `position` is with a link; until it comes back the slot cannot be touched.
    #[inline]
    pub fn in_flight(&self, pool: &Pool, position: u64) -> bool {
        assert!(self.run.pool == pool.id(), "a window of another pool");
        pool.is_lent(self.shared.index(position))
    }

    /// The payload at `position` with `front` octets before it, to write headers into. `None` while it is in flight.
    #[inline]
    pub fn packet_mut(&mut self, pool: &Pool, position: u64, front: u16) -> Option<&mut [u8]> {
        let slot = self.slot(position);
        if self.in_flight(pool, position) {
            return None;
        }
        assert!(front <= slot.start, "headers in front of their chunk");
        self.shared.shadow.read(self.shared.slot(position), slot.start, usize::from(slot.len));
        let bytes = self.shared.slab.octet(self.shared.index(position), u32::from(slot.start - front));
        let len = usize::from(front) + usize::from(slot.len);
        assert!(usize::from(slot.start) + usize::from(slot.len) <= self.shared.slab.layout().frame_size as usize);
        // SAFETY: `check` (in `slot`) proved that the position is the reader's and does not grow any more, it is not lent, the range was
        // checked, and `&mut self` makes this the only reference.
        Some(unsafe { core::slice::from_raw_parts_mut(bytes, len) })
    }

    /// The token of the slot at `position`, its range beginning `front` octets before the payload. `None` while it is in flight.
    #[inline]
    pub fn lend(&mut self, pool: &mut Pool, position: u64, front: u16) -> Option<Frame> {
        let slot = self.slot(position);
        if self.in_flight(pool, position) {
            return None;
        }
        assert!(front <= slot.start, "headers in front of their chunk");
        Some(pool.lend(self.shared.index(position), slot.start - front, front + slot.len))
    }

    /// [`Reader::packet_mut`] and [`Reader::lend`] in one, slot after slot: for packets that leave for the first time. Of each slot
    /// in `positions`, `admit` hears the payload's length and may stop; then `each` gets position, payload length, packet (with
    /// `front` octets before the payload) and token. Stops at a fragment or at a slot in flight. Returns where it stopped. `BATCH` is
    /// whether the window batches.
    ///
    /// One call for many packets, because what has to be looked up and checked is the same for all of them.
    #[inline]
    pub fn lend_plain<const BATCH: bool>(
        &mut self,
        pool: &mut Pool,
        positions: Range<u64>,
        front: u16,
        mut admit: impl FnMut(u16) -> bool,
        mut each: impl FnMut(u64, u16, &mut [u8], Frame),
    ) -> u64 {
        if positions.is_empty() {
            return positions.start;
        }
        self.check(positions.start);
        self.check(positions.end - 1);
        assert!(BATCH == self.layout.batch, "a window of another kind");
        let Shared { chunks, mask, states, .. } = &*self.shared;
        let (chunks, mask, states) = (*chunks, *mask, &**states);
        let mut lender = pool.lender(&self.run);
        let start = self.layout.front + self.layout.options(1, false);
        assert!(front <= start, "headers in front of their chunk");
        let (plain, start) = (State::plain(start), start - front);
        // What a claim may fill, with the headers before it: no packet is longer.
        let room = self.layout.room;
        let longest = front.checked_add(room).expect("packets of at most 65,535 octets");
        assert!(u32::from(start) + u32::from(longest) <= chunks.size(), "packets longer than their frames");
        for position in positions.clone() {
            let slot = (position & mask) as u32;
            // SAFETY: there are `mask + 1` of them.
            let place = unsafe { states.get_unchecked(slot as usize) }.load_place();
            // Nothing else is ever sealed.
            let place = if BATCH { place & !State::SEALED } else { place };
            let len = place as u16;
            if place >> 16 != plain || len > room || !admit(len) {
                return position;
            }
            let octets = front + len;
            // SAFETY: the run has `mask + 1` slots.
            let Some(frame) = (unsafe { lender.lend(slot, start, octets) }) else { return position };
            self.shared.shadow.read(slot, start + front, usize::from(len));
            // SAFETY: `check` proved that the position is the reader's and final. The packet lies in its chunk, because the longest would. The
            // token was minted just now, and nobody can use it while `each` has the packet: the pool is borrowed here.
            let packet =
                unsafe { core::slice::from_raw_parts_mut(chunks.octet(slot, u32::from(start)), usize::from(octets)) };
            each(position, len, packet, frame);
        }
        positions.end
    }

    /// Moves the trail up to `position`, or to the first slot that is in flight, and gives what lies behind to the publisher.
    /// Returns where the trail is now.
    pub fn advance(&mut self, pool: &Pool, position: u64) -> u64 {
        let to = position.min(self.settled);
        if self.trail >= to {
            return self.trail;
        }
        let places = pool.places(&self.run);
        let first = self.shared.slot(self.trail) as usize;
        let count = (to - self.trail) as usize;
        // Up to the end of the ring, then on from its beginning.
        let now = &places[first..][..count.min(places.len() - first)];
        let resting = |places: &[Place]| places.iter().take_while(|place| place.is_at_rest()).count();
        let mut steps = resting(now);
        if steps == now.len() {
            steps += resting(&places[..count - steps]);
        }
        self.trail += steps as u64;
        self.shared.handoff.release(self.trail);
        self.trail
    }

    /// Tells the publisher that nothing more will leave.
    pub fn close(&self) {
        self.shared.handoff.close();
    }

    /// Gives the frames back, once the publisher's half is gone and nothing is in flight; otherwise the reader itself.
    pub fn try_into_run(mut self, pool: &Pool) -> Result<Run, Self> {
        self.close();
        self.refresh();
        // Tried at every poll until it works: what is quick to tell first.
        let is_alone = Arc::get_mut(&mut self.shared).is_some();
        let resting = |position| !self.in_flight(pool, position);
        if is_alone && (self.trail..self.head).all(resting) { Ok(self.run) } else { Err(self) }
    }

    #[inline]
    fn check(&self, position: u64) {
        assert!(self.trail <= position && position < self.settled, "position {position} is not the worker's");
    }
}
