//! The transmit window's memory: slots that are frames, shared by one publisher and one worker without a lock.
//!
//! ```text
//!        trail                      (worker's next to send)       head
//!          v                               v                        v
//!  [ sent, kept for repair ............... | committed, not yet sent | free ............ ]
//!     Reader owns                            Reader owns               Writer owns
//! ```
//!
//! Positions count slots since the window was made and never wrap (2^64); slot `position & mask` *is* frame `base + (position &
//! mask)`. The head is written by the [`Writer`] alone (one release store a commit), the trail by the [`Reader`] alone. Which half
//! owns a slot follows from those two counters, and that is what makes the `unsafe` below sound:
//!
//! * the writer touches only positions in `head .. trail + capacity`, the reader only `trail .. head`;
//! * a slot that is *lent* (its token is with a link, on its way out) is touched by neither: the reader refuses, the trail stops in
//!   front of it, and so no claim can reach it.

use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::pool::{Frame, Place, Pool, Run};
use super::slab::{Chunks, Slab};

/// Where a payload begins in its slot, and how long it may be.
///
/// The header form decides it, because a transmitted frame has to begin at one fixed place: headers grow forwards from there, the
/// payload follows, and it never moves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    /// Offset in the chunk of the octet behind a data header without options.
    pub front: u16,
    /// Octets that options and payload may fill together, so that a repair still fits the path.
    pub room: u16,
    /// Octets of options on every data packet, without the leading OPT_LENGTH.
    pub common_options: u16,
    /// Octets of options on the very first packet besides (OPT_SYN).
    pub first_options: u16,
}

impl SlotLayout {
    /// Octets of OPT_LENGTH, in front of any other option.
    const OPT_LENGTH: u16 = 4;
    /// Octets of OPT_FRAGMENT.
    const OPT_FRAGMENT: u16 = 16;

    /// Octets of options in front of the payload at `position`.
    #[inline]
    pub fn options(&self, position: u64, fragmented: bool) -> u16 {
        let mut octets = self.common_options;
        if position == 0 {
            octets += self.first_options;
        }
        if fragmented {
            octets += Self::OPT_FRAGMENT;
        }
        if octets == 0 { 0 } else { octets + Self::OPT_LENGTH }
    }

    /// The longest payload at `position`.
    #[inline]
    pub fn payload_max(&self, position: u64, fragmented: bool) -> u16 {
        self.room - self.options(position, fragmented)
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Offset of the payload in its chunk.
    pub start: u16,
    /// Octets of payload.
    pub len: u16,
    /// The APDU this slot is a fragment of; `None` for an APDU of one packet.
    pub apdu: Option<Apdu>,
}

/// Place of a fragment in its APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apdu {
    /// How many positions after the first fragment.
    pub index: u32,
    /// Octets of the APDU before this fragment.
    pub offset: u32,
    /// Octets of the APDU.
    pub len: u32,
}

/// A [`Slot`] in two words, written before the head is released and read after it was acquired. The range in it was claimed, so that it
/// lies in its chunk.
#[derive(Default)]
struct Shape {
    /// index 32 | start 15 | fragmented 1 | len 16
    place: AtomicU64,
    /// offset 32 | APDU length 32; only meaningful when fragmented
    apdu: AtomicU64,
}

impl Shape {
    const FRAGMENTED: u64 = 1 << 16;

    /// What stands above the length in the place of a packet that is no fragment.
    #[inline]
    const fn plain(start: u16) -> u64 {
        (start as u64) << 1
    }

    #[inline]
    fn store_plain(&self, start: u16, len: u16) {
        self.place.store(Self::plain(start) << 16 | u64::from(len), Ordering::Relaxed);
    }

    fn store_fragment(&self, start: u16, len: u16, apdu: Apdu) {
        let place = u64::from(apdu.index) << 32 | u64::from(start) << 17 | Self::FRAGMENTED | u64::from(len);
        self.place.store(place, Ordering::Relaxed);
        self.apdu.store(u64::from(apdu.offset) << 32 | u64::from(apdu.len), Ordering::Relaxed);
    }

    #[inline]
    fn load(&self) -> Slot {
        let place = self.place.load(Ordering::Relaxed);
        let apdu = (place & Self::FRAGMENTED != 0).then(|| {
            let apdu = self.apdu.load(Ordering::Relaxed);
            Apdu { index: (place >> 32) as u32, offset: (apdu >> 32) as u32, len: apdu as u32 }
        });
        Slot { start: (place as u32 >> 17) as u16, len: place as u16, apdu }
    }
}

struct Shared {
    /// Written by the writer.
    head: CachePadded<AtomicU64>,
    /// Written by the reader.
    trail: CachePadded<AtomicU64>,
    /// Written once, by the reader: nothing that is committed from now on will leave.
    closed: CachePadded<AtomicBool>,
    /// One for each slot, as many as there are chunks: `mask + 1`.
    shapes: Box<[Shape]>,
    chunks: Chunks,
    slab: Arc<Slab>,
    base: u32,
    mask: u64,
}

impl Shared {
    #[inline]
    fn index(&self, position: u64) -> u32 {
        self.base + self.slot(position)
    }

    #[inline]
    fn slot(&self, position: u64) -> u32 {
        (position & self.mask) as u32
    }

    #[inline]
    fn shape(&self, position: u64) -> &Shape {
        debug_assert!(self.shapes.len() as u64 == self.mask + 1);
        // SAFETY: there are `mask + 1` of them.
        unsafe { self.shapes.get_unchecked((position & self.mask) as usize) }
    }

    /// Pointer to the octet at `offset` of the slot at `position`.
    ///
    /// # Safety
    /// `offset` lies in the chunk or at its end.
    #[inline]
    unsafe fn octet(&self, position: u64, offset: u16) -> *mut u8 {
        // SAFETY: there are `mask + 1` chunks; the caller answers for the offset.
        unsafe { self.chunks.octet(self.slot(position), u32::from(offset)) }
    }
}

/// Cuts a window from a run of `2^n` frames of `pool` and returns its two halves.
///
/// # Panics
/// If the run is not of this pool or its length is not a power of two.
pub fn window(pool: &Pool, run: Run, layout: SlotLayout) -> (Writer, Reader) {
    assert!(run.pool == pool.id(), "a run of another pool");
    assert!(run.count.is_power_of_two(), "a window of {} slots: must be a power of two", run.count);
    let end = u32::from(layout.front) + u32::from(layout.room);
    assert!(end <= pool.layout().frame_size && layout.front < 1 << 15, "slots longer than their frames");
    assert!(layout.room > layout.options(0, true), "no room for a payload");
    let shared = Arc::new(Shared {
        head: CachePadded::default(),
        trail: CachePadded::default(),
        closed: CachePadded::default(),
        shapes: (0..run.count).map(|_| Shape::default()).collect(),
        chunks: pool.slab().chunks(run.base, run.count),
        slab: pool.slab().clone(),
        base: run.base,
        mask: u64::from(run.count) - 1,
    });
    let [next, later] = [0, 1].map(|position| Plain::at(layout, position));
    let writer = Writer { shared: shared.clone(), layout, next, later, head: 0, limit: u64::from(run.count) };
    (writer, Reader { shared, run, layout, head: 0, trail: 0 })
}

/// How many slots ahead of a claim the memory is asked for. A window of 65,536 slots is larger than any cache: every slot is cold when
/// its turn comes. Two slots are too late for a fast publisher; sixteen push each other out of a first-level cache.
const AHEAD: u64 = 4;
/// Payloads up to this long are in a few cache lines, which the write itself brings in as soon.
const LONG: usize = 256;

/// Why nothing could be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Back-pressure: the window is full; try again when the trail has moved.
    #[error("the transmit window is full; try again when its trailing edge has moved")]
    Full,
    /// The message does not fit.
    #[error("{len} octets do not fit: at most {max} are possible here")]
    TooLong {
        /// Octets asked for.
        len: usize,
        /// Octets possible.
        max: usize,
    },
    /// The session has ended.
    #[error("the session is closed")]
    Closed,
}

/// Where the payload of a packet that is no fragment begins, and how long it may be: `start + max` lies in the chunk, because `front +
/// room` does.
#[derive(Clone, Copy)]
struct Plain {
    start: u16,
    max: u16,
}

impl Plain {
    fn at(layout: SlotLayout, position: u64) -> Self {
        let options = layout.options(position, false);
        Self { start: layout.front + options, max: layout.room - options }
    }
}

/// The publisher's half. One a window; may live on any one thread.
pub struct Writer {
    shared: Arc<Shared>,
    layout: SlotLayout,
    /// Of the next packet, and of all but the first.
    next: Plain,
    later: Plain,
    /// Our own copy of the head.
    head: u64,
    /// `trail + capacity` as last seen: positions below it are ours. The trail only grows, so that an old value is safe.
    limit: u64,
}

impl Writer {
    /// Number of slots.
    pub fn capacity(&self) -> u64 {
        self.shared.mask + 1
    }

    /// The position that the next claim will take.
    pub fn position(&self) -> u64 {
        self.head
    }

    /// How payloads lie in their slots.
    pub fn layout(&self) -> SlotLayout {
        self.layout
    }

    /// Slots that could be claimed now.
    pub fn free(&mut self) -> u64 {
        self.limit = self.shared.trail.load(Ordering::Acquire) + self.capacity();
        self.limit - self.head
    }

    /// Whether the worker has closed the window.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Claims the next slot for a message of `len` octets that fits one packet. Nothing happens until it is committed.
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        let Plain { start, max } = self.next;
        if len > usize::from(max) {
            return Err(ClaimError::TooLong { len, max: usize::from(max) });
        }
        self.reserve(1)?;
        if len > LONG {
            self.shared.slab.prefetch(self.shared.index(self.head + AHEAD), u32::from(start), len);
        }
        // SAFETY: `start + max` lies in the chunk, and `len` is not more than `max`. `reserve` proved that the position is the
        // writer's; `&mut self` makes this the only reference to it, for as long as the claim lives.
        let bytes = unsafe { core::slice::from_raw_parts_mut(self.shared.octet(self.head, start), len) };
        let Self { shared, head, next, later, .. } = self;
        Ok(Claim { shape: shared.shape(*head), released: &shared.head, head, next, later: *later, bytes })
    }

    /// Claims the run of slots that an APDU of `len` octets needs, so that its fragments are contiguous. An APDU that fits one
    /// packet takes one slot and is not marked as fragmented.
    pub fn claim_apdu(&mut self, len: usize) -> Result<ClaimApdu<'_>, ClaimError> {
        let position = self.head;
        let plain = usize::from(self.layout.payload_max(position, false));
        let first = usize::from(self.layout.payload_max(position, true));
        let each = usize::from(self.layout.payload_max(position + 1, true));
        let slots = if len <= plain { 1 } else { 1 + (len - first).div_ceil(each) as u64 };
        if slots > self.capacity() || u32::try_from(len).is_err() {
            let max = first + each * (self.shared.mask as usize);
            return Err(ClaimError::TooLong { len, max: max.min(u32::MAX as usize) });
        }
        self.reserve(slots)?;
        Ok(ClaimApdu { writer: self, len, slots, first, each, written: 0 })
    }

    #[inline]
    fn reserve(&mut self, slots: u64) -> Result<(), ClaimError> {
        if self.is_closed() {
            return Err(ClaimError::Closed);
        }
        if self.head + slots > self.limit && self.free() < slots {
            return Err(ClaimError::Full);
        }
        Ok(())
    }

    /// Pointer to `len` octets from `start` of the slot at `position`; in bounds.
    #[inline]
    fn slot_bytes(&self, position: u64, start: u16, len: usize) -> *mut u8 {
        assert!(usize::from(start) + len <= self.shared.chunks.size() as usize);
        self.shared.slab.octet(self.shared.index(position), u32::from(start))
    }

    #[inline]
    fn release(&mut self, head: u64) {
        self.next = self.later;
        self.head = head;
        self.shared.head.store(head, Ordering::Release);
    }
}

/// A slot that is being written. Derefs to its payload; dropped without [`Claim::commit`] it leaves no trace.
#[must_use = "a claim that is not committed is abandoned"]
pub struct Claim<'w> {
    shape: &'w Shape,
    bytes: &'w mut [u8],
    // The writer, as far as a commit touches it.
    released: &'w AtomicU64,
    head: &'w mut u64,
    next: &'w mut Plain,
    later: Plain,
}

impl Claim<'_> {
    /// Hands the message to the worker: one release store. Returns its position.
    #[inline]
    pub fn commit(self) -> u64 {
        let position = *self.head;
        self.shape.store_plain(self.next.start, self.bytes.len() as u16);
        *self.next = self.later;
        *self.head = position + 1;
        self.released.store(position + 1, Ordering::Release);
        position
    }

    /// As [`Claim::commit`], but keeps only the first `len` octets.
    pub fn commit_len(mut self, len: usize) -> u64 {
        let bytes = core::mem::take(&mut self.bytes);
        self.bytes = &mut bytes[..len];
        self.commit()
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

/// The slots of an APDU that is being written: fill it through [`io::Write`] or [`ClaimApdu::chunk`], then commit it as a whole.
#[must_use = "a claim that is not committed is abandoned"]
pub struct ClaimApdu<'w> {
    writer: &'w mut Writer,
    len: usize,
    slots: u64,
    first: usize,
    each: usize,
    written: usize,
}

impl ClaimApdu<'_> {
    /// Number of packets it will take.
    pub fn chunks(&self) -> u64 {
        self.slots
    }

    /// Offset in the APDU and length of chunk `n`.
    fn extent(&self, n: u64) -> (usize, usize) {
        let offset = if n == 0 { 0 } else { self.first + self.each * (n as usize - 1) };
        let cap = if self.slots == 1 {
            self.len
        } else if n == 0 {
            self.first
        } else {
            self.each
        };
        (offset, cap.min(self.len - offset))
    }

    /// The octets of chunk `n`.
    ///
    /// # Panics
    /// If there are not that many chunks.
    pub fn chunk(&mut self, n: u64) -> &mut [u8] {
        assert!(n < self.slots, "chunk {n} of {}", self.slots);
        let (_, len) = self.extent(n);
        let position = self.writer.head + n;
        let start = self.start(position);
        let bytes = self.writer.slot_bytes(position, start, len);
        // SAFETY: all positions of the claim are the writer's (`reserve`), and `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(bytes, len) }
    }

    fn start(&self, position: u64) -> u16 {
        self.writer.layout.front + self.writer.layout.options(position, self.slots > 1)
    }

    /// Hands the whole APDU to the worker. Returns the position of its first packet.
    pub fn commit(self) -> u64 {
        let position = self.writer.head;
        for n in 0..self.slots {
            let (offset, len) = self.extent(n);
            let start = self.start(position + n);
            let shape = self.writer.shared.shape(position + n);
            if self.slots == 1 {
                shape.store_plain(start, len as u16);
            } else {
                let apdu = Apdu { index: n as u32, offset: offset as u32, len: self.len as u32 };
                shape.store_fragment(start, len as u16, apdu);
            }
        }
        self.writer.release(position + self.slots);
        position
    }
}

impl io::Write for ClaimApdu<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let wanted = bytes.len();
        while !bytes.is_empty() && self.written < self.len {
            let n = if self.written < self.first || self.slots == 1 {
                0
            } else {
                1 + ((self.written - self.first) / self.each) as u64
            };
            let within = self.written - self.extent(n).0;
            let room = &mut self.chunk(n)[within..];
            let now = room.len().min(bytes.len());
            room[..now].copy_from_slice(&bytes[..now]);
            bytes = &bytes[now..];
            self.written += now;
        }
        Ok(wanted - bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The worker's half: everything between the trail and the head.
pub struct Reader {
    shared: Arc<Shared>,
    run: Run,
    layout: SlotLayout,
    /// The head as last seen.
    head: u64,
    /// Our own copy of the trail.
    trail: u64,
}

impl Reader {
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
        self.head = self.shared.head.load(Ordering::Acquire);
        self.head
    }

    /// The head as of the last [`Reader::refresh`].
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The oldest position that is kept.
    #[inline]
    pub fn trail(&self) -> u64 {
        self.trail
    }

    /// What the slot at `position` holds.
    #[inline]
    pub fn slot(&self, position: u64) -> Slot {
        self.check(position);
        self.shared.shape(position).load()
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
        let bytes = self.shared.slab.octet(self.shared.index(position), u32::from(slot.start - front));
        let len = usize::from(front) + usize::from(slot.len);
        assert!(usize::from(slot.start) + usize::from(slot.len) <= self.shared.slab.layout().frame_size as usize);
        // SAFETY: `check` (in `slot`) proved that the position is the reader's, it is not lent, the range was checked, and `&mut
        // self` makes this the only reference.
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
    /// `front` octets before the payload) and token. Stops at a fragment or at a slot in flight. Returns where it stopped.
    ///
    /// One call for many packets, because what has to be looked up and checked is the same for all of them.
    #[inline]
    pub fn lend_plain(
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
        let Shared { chunks, mask, shapes, .. } = &*self.shared;
        let (chunks, mask, shapes) = (*chunks, *mask, &**shapes);
        let mut lender = pool.lender(&self.run);
        let start = self.layout.front + self.layout.options(1, false);
        assert!(front <= start, "headers in front of their chunk");
        let (plain, start) = (Shape::plain(start), start - front);
        // What a claim may fill, with the headers before it: no packet is longer.
        let room = self.layout.room;
        let longest = front.checked_add(room).expect("packets of at most 65,535 octets");
        assert!(u32::from(start) + u32::from(longest) <= chunks.size(), "packets longer than their frames");
        for position in positions.clone() {
            let slot = (position & mask) as u32;
            // SAFETY: there are `mask + 1` of them.
            let place = unsafe { shapes.get_unchecked(slot as usize) }.place.load(Ordering::Relaxed);
            let len = place as u16;
            if place >> 16 != plain || len > room || !admit(len) {
                return position;
            }
            let octets = front + len;
            // SAFETY: the run has `mask + 1` slots.
            let Some(frame) = (unsafe { lender.lend(slot, start, octets) }) else { return position };
            // SAFETY: `check` proved that the position is the reader's. The packet lies in its chunk, because the longest would. The
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
        let to = position.min(self.head);
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
        self.shared.trail.store(self.trail, Ordering::Release);
        self.trail
    }

    /// Tells the publisher that nothing more will leave.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    /// Gives the frames back, once the publisher's half is gone and nothing is in flight; otherwise the reader itself.
    pub fn try_into_run(mut self, pool: &Pool) -> Result<Run, Self> {
        self.close();
        self.refresh();
        let resting = (self.trail..self.head).all(|position| !self.in_flight(pool, position));
        if resting && Arc::get_mut(&mut self.shared).is_some() { Ok(self.run) } else { Err(self) }
    }

    #[inline]
    fn check(&self, position: u64) {
        assert!(self.trail <= position && position < self.head, "position {position} is not the worker's");
    }
}

#[cfg(test)]
mod tests {
    use super::super::slab::Layout;
    use super::*;
    use std::io::Write as _;

    const LAYOUT: SlotLayout = SlotLayout { front: 300, room: 100, common_options: 0, first_options: 0 };

    fn make(slots: u32) -> (Pool, Writer, Reader) {
        let mut pool = Pool::anonymous(Layout::standard(slots + 4)).expect("a small mapping");
        let run = pool.take_run(slots).expect("enough frames");
        let (writer, reader) = window(&pool, run, LAYOUT);
        (pool, writer, reader)
    }

    fn publish(writer: &mut Writer, bytes: &[u8]) -> Result<u64, ClaimError> {
        let mut claim = writer.claim(bytes.len())?;
        claim.copy_from_slice(bytes);
        Ok(claim.commit())
    }

    #[test]
    fn what_was_committed_is_read_in_place() {
        let (pool, mut writer, mut reader) = make(4);
        assert_eq!(publish(&mut writer, b"one"), Ok(0));
        assert_eq!(publish(&mut writer, b""), Ok(1));
        assert_eq!(reader.refresh(), 2);
        assert_eq!(reader.slot(0), Slot { start: 300, len: 3, apdu: None });
        assert_eq!(reader.packet_mut(&pool, 0, 0).expect("at rest"), b"one");
        assert_eq!(reader.slot(1).len, 0);
    }

    #[test]
    fn an_abandoned_claim_leaves_no_trace() {
        let (_pool, mut writer, mut reader) = make(4);
        writer.claim(10).expect("room")[0] = 1;
        assert_eq!(reader.refresh(), 0);
        assert_eq!(publish(&mut writer, b"x"), Ok(0));
    }

    #[test]
    fn a_full_window_pushes_back_until_the_trail_moves() {
        let (pool, mut writer, mut reader) = make(4);
        for n in 0..4 {
            assert_eq!(publish(&mut writer, &[n]), Ok(u64::from(n)));
        }
        assert_eq!(publish(&mut writer, b"x"), Err(ClaimError::Full));
        reader.refresh();
        assert_eq!(reader.advance(&pool, 1), 1);
        assert_eq!(publish(&mut writer, b"x"), Ok(4));
        assert_eq!(publish(&mut writer, b"x"), Err(ClaimError::Full));
    }

    #[test]
    fn a_slot_in_flight_is_untouchable_until_it_comes_back() {
        let (mut pool, mut writer, mut reader) = make(4);
        for n in 0..4 {
            publish(&mut writer, &[n]).expect("room");
        }
        reader.refresh();
        let frame = reader.lend(&mut pool, 1, 24).expect("at rest");
        assert_eq!((frame.start(), frame.len()), (276, 25));
        assert!(reader.lend(&mut pool, 1, 24).is_none(), "a repair has to wait");
        assert!(reader.packet_mut(&pool, 1, 24).is_none());
        assert_eq!(reader.advance(&pool, 4), 1, "the trail stops in front of it");
        publish(&mut writer, b"a").expect("slot 0 is free again");
        assert_eq!(publish(&mut writer, b"b"), Err(ClaimError::Full), "and so no claim reaches it");
        assert_eq!(pool.census().lent, 1);
        pool.put(frame);
        assert_eq!(reader.advance(&pool, 4), 4);
    }

    #[test]
    fn the_trail_goes_round_the_end_of_the_ring_and_stops_at_a_slot_in_flight_on_either_side() {
        for stop in 3..7 {
            let (mut pool, mut writer, mut reader) = make(4);
            for n in 0..3 {
                publish(&mut writer, &[n]).expect("room");
            }
            reader.refresh();
            assert_eq!(reader.advance(&pool, 3), 3);
            for n in 3..7 {
                publish(&mut writer, &[n]).expect("room");
            }
            assert_eq!(reader.refresh(), 7);
            let frame = reader.lend(&mut pool, stop, 0).expect("at rest");
            assert_eq!(reader.advance(&pool, 7), stop);
            assert_eq!(reader.advance(&pool, 7), stop, "and stays there");
            pool.put(frame);
            assert_eq!(reader.advance(&pool, 6), 6.max(stop), "no further than asked");
            assert_eq!(reader.advance(&pool, 9), 7, "nor than the head");
        }
    }

    #[test]
    fn many_slots_are_filled_and_lent_in_one_call_up_to_a_refusal_a_fragment_or_one_in_flight() {
        let (mut pool, mut writer, mut reader) = make(16);
        for n in 0..6 {
            publish(&mut writer, &[n; 3]).expect("room");
        }
        writer.claim_apdu(150).expect("room").commit();
        assert_eq!(reader.refresh(), 8);
        let mut frames = Vec::new();
        let mut lend = |pool: &mut Pool, positions: Range<u64>, octets: u16| {
            let mut left = octets;
            reader.lend_plain(
                pool,
                positions,
                24,
                |len| {
                    let admitted = left >= len;
                    left = left.saturating_sub(len);
                    admitted
                },
                |position, len, packet, frame| {
                    assert_eq!(packet[24..], vec![position as u8; usize::from(len)]);
                    packet[..24].fill(0xAA);
                    frames.push(frame);
                },
            )
        };
        assert_eq!(lend(&mut pool, 0..0, 100), 0);
        assert_eq!(lend(&mut pool, 0..4, 6), 2, "refused");
        assert_eq!(lend(&mut pool, 1..4, 100), 1, "in flight");
        assert_eq!(lend(&mut pool, 2..8, 100), 6, "a fragment");
        assert_eq!(frames.len(), 6);
        for (n, frame) in frames.into_iter().enumerate() {
            assert_eq!((frame.start(), frame.len()), (276, 27));
            assert_eq!(pool.bytes(&frame)[23..], [0xAA, n as u8, n as u8, n as u8]);
            pool.put(frame);
        }
        assert_eq!(pool.census().lent, 0);
    }

    #[test]
    fn an_apdu_takes_contiguous_slots_and_knows_its_place() {
        let (pool, mut writer, mut reader) = make(8);
        let bytes: Vec<u8> = (0..200).collect();
        let mut claim = writer.claim_apdu(200).expect("room");
        assert_eq!(claim.chunks(), 3);
        assert_eq!(claim.write(&bytes[..90]).expect("in memory"), 90);
        assert_eq!(claim.write(&bytes[90..]).expect("in memory"), 110);
        assert_eq!(claim.write(b"more").expect("in memory"), 0);
        assert_eq!(claim.commit(), 0);
        reader.refresh();
        let mut whole = Vec::new();
        for position in 0..3 {
            let slot = reader.slot(position);
            let apdu = slot.apdu.expect("a fragment");
            assert_eq!((u64::from(apdu.index), apdu.offset as usize, apdu.len), (position, whole.len(), 200));
            assert_eq!(slot.start, 320);
            whole.extend_from_slice(reader.packet_mut(&pool, position, 0).expect("at rest"));
        }
        assert_eq!(whole, bytes);
    }

    #[test]
    fn an_apdu_of_one_packet_is_not_fragmented_and_one_beyond_the_window_is_refused() {
        let (_pool, mut writer, mut reader) = make(4);
        let claim = writer.claim_apdu(100).expect("room");
        assert_eq!(claim.chunks(), 1);
        claim.commit();
        reader.refresh();
        assert_eq!(reader.slot(0).apdu, None);
        assert_eq!(writer.claim_apdu(4 * 80 + 1).err(), Some(ClaimError::TooLong { len: 321, max: 320 }));
        assert_eq!(writer.claim_apdu(4 * 80).err(), Some(ClaimError::Full));
        assert_eq!(writer.claim(101).err(), Some(ClaimError::TooLong { len: 101, max: 100 }));
    }

    #[test]
    fn the_first_packet_leaves_room_for_its_options() {
        let mut pool = Pool::anonymous(Layout::standard(8)).expect("a small mapping");
        let run = pool.take_run(4).expect("enough frames");
        let (mut writer, mut reader) = window(&pool, run, SlotLayout { first_options: 4, ..LAYOUT });
        assert_eq!(writer.claim(93).err(), Some(ClaimError::TooLong { len: 93, max: 92 }));
        publish(&mut writer, &[7; 92]).expect("room");
        publish(&mut writer, &[8; 100]).expect("room");
        reader.refresh();
        assert_eq!((reader.slot(0).start, reader.slot(1).start), (308, 300));
    }

    #[test]
    fn the_frames_come_back_only_when_nobody_can_touch_them_any_more() {
        let (mut pool, mut writer, mut reader) = make(4);
        publish(&mut writer, b"x").expect("room");
        reader.refresh();
        let frame = reader.lend(&mut pool, 0, 0).expect("at rest");
        reader = reader.try_into_run(&pool).expect_err("in flight");
        assert_eq!(writer.claim(1).err(), Some(ClaimError::Closed));
        pool.put(frame);
        reader = reader.try_into_run(&pool).expect_err("the publisher is still there");
        drop(writer);
        let run = reader.try_into_run(&pool).ok().expect("all at rest");
        pool.put_run(run);
        assert_eq!(pool.census().free, 8);
    }

    #[test]
    fn two_threads_hand_a_hundred_thousand_messages_over_in_order() {
        let (pool, mut writer, mut reader) = make(64);
        let publisher = std::thread::spawn(move || {
            for n in 0..100_000_u64 {
                loop {
                    match publish(&mut writer, &n.to_le_bytes()) {
                        Ok(_) => break,
                        Err(ClaimError::Full) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        let mut next = 0_u64;
        while next < 100_000 {
            let head = reader.refresh();
            if head == next {
                std::thread::yield_now();
            }
            while next < head {
                let bytes = reader.packet_mut(&pool, next, 0).expect("at rest");
                assert_eq!(bytes, next.to_le_bytes());
                next += 1;
            }
            reader.advance(&pool, next);
        }
        publisher.join().expect("the publisher ends well");
    }
}
