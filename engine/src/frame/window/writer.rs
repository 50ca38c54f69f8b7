//! The publisher's half of a window: claim, write in place, commit.
//!
//! Guards: only positions in `head .. trail + capacity` are written, and nothing of a claim is seen before its commit.

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};
use std::io;
use std::sync::Arc;

use super::{Apdu, Shape, Shared, SlotLayout};

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
    /// The writer of a window that is empty.
    pub(super) fn new(shared: Arc<Shared>, layout: SlotLayout) -> Self {
        let [next, later] = [0, 1].map(|position| Plain::at(layout, position));
        let limit = shared.mask + 1;
        Self { shared, layout, next, later, head: 0, limit }
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
