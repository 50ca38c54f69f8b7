//! The publisher's half of a window: claim, write in place, commit. How records share a slot is said in `records`.
//!
//! Guards: only positions in `head .. trail + capacity` are written, and what is behind the records of the open slot; nothing of a claim is
//! seen before its commit.

use core::ops::{Deref, DerefMut};
use std::io;
use std::sync::Arc;

use super::handoff::{Handoff, State};
use super::records::Open;
use super::{Apdu, Shared, SlotLayout};

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

/// Where a message that is neither record nor fragment begins, and the shortest length that does not fit: `start + end` lies in the chunk
/// or one behind it, because `front + room` lies in it.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) start: u16,
    /// 0 where every message is a record or a fragment. So one comparison tells the common case from all others.
    pub(super) end: u16,
}

impl Plain {
    pub(super) fn at(layout: SlotLayout, position: u64) -> Self {
        let Room { start, len } = Room::at(layout, position);
        Self { start, end: if layout.batch { 0 } else { len + 1 } }
    }
}

/// Where the payload of a packet that is no fragment begins, and how long it may be: `start + len` lies in the chunk, because `front +
/// room` does.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) start: u16,
    pub(super) len: u16,
}

impl Room {
    pub(super) fn at(layout: SlotLayout, position: u64) -> Self {
        let options = layout.options(position, false);
        Self { start: layout.front + options, len: layout.room - options }
    }
}

/// The publisher's half. One a window; may live on any one thread.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) layout: SlotLayout,
    /// Of the next packet, and of all but the first.
    pub(super) next: Plain,
    pub(super) later: Plain,
    pub(super) open: Open,
    /// Our own copy of the head, and one more while the open slot was never handed over.
    pub(super) head: u64,
    /// `trail + capacity` as last seen: positions below it are ours. The trail only grows, so that an old value is safe.
    limit: u64,
}

impl Writer {
    /// The writer of a window that is empty.
    pub(super) fn new(shared: Arc<Shared>, layout: SlotLayout) -> Self {
        let [next, later] = [0, 1].map(|position| Plain::at(layout, position));
        let limit = shared.mask + 1;
        Self { shared, layout, next, later, open: Open::nothing(layout), head: 0, limit }
    }

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

    /// The longest message that fits an empty window, wherever it begins.
    pub fn apdu_max(&self) -> usize {
        let [first, each] = [0, 1].map(|position| usize::from(self.layout.payload_max(position, true)));
        let fragments = first + each * self.shared.mask as usize;
        fragments.max(usize::from(self.layout.message_max(0))).min(u32::MAX as usize)
    }

    /// Slots that could be claimed now.
    pub fn free(&mut self) -> u64 {
        self.limit = self.shared.handoff.trail() + self.capacity();
        self.limit - self.head
    }

    /// Whether the worker has closed the window.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.handoff.is_closed()
    }

    /// Claims room for a message of `len` octets that fits one packet: the next slot, or a place behind the records of the open one. Nothing
    /// happens until it is committed.
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        if len >= usize::from(self.next.end) { self.claim_record(len) } else { self.claim_slot(len) }
    }

    /// [`Writer::claim`] for a message that is a packet by itself. Anything else is too long.
    #[inline]
    pub(crate) fn claim_slot(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        let Plain { start, end } = self.next;
        if len >= usize::from(end) {
            return Err(ClaimError::TooLong { len, max: usize::from(end.saturating_sub(1)) });
        }
        self.reserve(1)?;
        if len > LONG {
            self.shared.slab.prefetch(self.shared.index(self.head + AHEAD), u32::from(start), len);
        }
        self.shared.shadow.write(self.shared.slot(self.head), start, len);
        // SAFETY: `start + end - 1` lies in the chunk, and `len` is less than `end`. `reserve` proved that the position is the
        // writer's; `&mut self` makes this the only reference to it, for as long as the claim lives.
        let bytes = unsafe { core::slice::from_raw_parts_mut(self.shared.octet(self.head, start), len) };
        let Self { shared, head, next, later, .. } = self;
        let way = Way::Slot { state: shared.state(*head), handoff: &shared.handoff, head, next, later: *later };
        Ok(Claim { bytes, way })
    }

    /// Claims the run of slots that an APDU of `len` octets needs, so that its fragments are contiguous. An APDU that fits one
    /// packet takes one slot and is not marked as fragmented. A small message shares no slot with those before it; [`Writer::claim`] does.
    pub fn claim_apdu(&mut self, len: usize) -> Result<ClaimApdu<'_>, ClaimError> {
        self.hand_over();
        let position = self.head;
        let plain = usize::from(self.layout.message_max(position));
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
    pub(super) fn reserve(&mut self, slots: u64) -> Result<(), ClaimError> {
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
    pub(super) fn slot_bytes(&self, position: u64, start: u16, len: usize) -> *mut u8 {
        assert!(usize::from(start) + len <= self.shared.chunks.size() as usize);
        self.shared.slab.octet(self.shared.index(position), u32::from(start))
    }

    #[inline]
    pub(super) fn release(&mut self, head: u64) {
        self.next = self.later;
        self.head = head;
        self.shared.handoff.commit(head);
    }
}

/// A message that is being written. Derefs to its octets; dropped without [`Claim::commit`] it leaves no trace.
#[must_use = "a claim that is not committed is abandoned"]
pub struct Claim<'w> {
    pub(super) bytes: &'w mut [u8],
    pub(super) way: Way<'w>,
}

/// What a commit has to do.
pub(super) enum Way<'w> {
    /// The next slot becomes a packet: the writer, as far as that touches it.
    Slot { state: &'w State, handoff: &'w Handoff, head: &'w mut u64, next: &'w mut Plain, later: Plain },
    /// A record goes to the open slot or opens the next one.
    Record { writer: &'w mut Writer, appends: bool },
}

impl Claim<'_> {
    /// Hands the message to the worker: one release store, or one exchange where it joins others. Returns the position of its packet.
    #[inline]
    pub fn commit(self) -> u64 {
        let Self { bytes, way } = self;
        match way {
            Way::Slot { state, handoff, head, next, later } => {
                let position = *head;
                state.store_plain(next.start, bytes.len() as u16);
                *next = later;
                *head = position + 1;
                handoff.commit(position + 1);
                position
            }
            Way::Record { writer, appends } => writer.commit_record(bytes, appends),
        }
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
        let start = self.start(position) + self.record_header();
        self.writer.shared.shadow.write(self.writer.shared.slot(position), start, len);
        let bytes = self.writer.slot_bytes(position, start, len);
        // SAFETY: all positions of the claim are the writer's (`reserve`), and `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(bytes, len) }
    }

    fn start(&self, position: u64) -> u16 {
        self.writer.layout.front + self.writer.layout.options(position, self.slots > 1)
    }

    /// Octets in front of the message in a slot that it has for itself.
    fn record_header(&self) -> u16 {
        if self.slots == 1 { self.writer.layout.record_header() } else { 0 }
    }

    /// Hands the whole APDU to the worker. Returns the position of its first packet.
    pub fn commit(self) -> u64 {
        let position = self.writer.head;
        if self.record_header() > 0 {
            let at = Room::at(self.writer.layout, position);
            self.writer.write_record_header(position, at.start, self.len);
            self.writer.open_with(position, at, self.record_header() + self.len as u16);
            return position;
        }
        for n in 0..self.slots {
            let (offset, len) = self.extent(n);
            let start = self.start(position + n);
            let state = self.writer.shared.state(position + n);
            if self.slots == 1 {
                state.store_plain(start, len as u16);
            } else {
                let apdu = Apdu { index: n as u32, offset: offset as u32, len: self.len as u32 };
                state.store_fragment(start, len as u16, apdu);
            }
        }
        self.writer.open = Open::nothing(self.writer.layout);
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
