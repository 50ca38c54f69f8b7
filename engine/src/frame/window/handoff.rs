//! What the two halves of a window tell each other: every atomic of the window, with its memory ordering.
//!
//! Used by `writer` and `reader` alone. Everything they say to each other is one of these:
//!
//! ```text
//!   publisher                                     worker
//!   payload, state of the slot, head (release) ─▶ head (acquire): the slot can be read, up to its length
//!   record behind the others, length (CAS)     ─▶ seal (CAS): the length that was sealed is all there ever will be
//!                  trail (acquire): can be claimed ◀─ trail (release): nobody reads the slot any more
//! ```
//!
//! In a window that batches, the slot in front of the head is *open*: the publisher may append to it until the worker seals it.
//! Either's CAS tells the other's: an append to a sealed slot fails, and its record goes to the next slot; a seal that missed an append
//! fails and looks again. A slot with another one behind it is never appended to, so that it needs no seal.

use core::sync::atomic::Ordering;

use crossbeam::utils::CachePadded;

use super::{Apdu, Slot, SlotLayout};
use crate::sync::atomic::{AtomicBool, AtomicU64};

/// Head, trail and end of a window, each on a cache line of its own and written by one side.
#[derive(Default)]
pub(super) struct Handoff {
    /// Written by the writer.
    head: CachePadded<AtomicU64>,
    /// Written by the reader.
    trail: CachePadded<AtomicU64>,
    /// Written once, by the reader: nothing that is committed from now on will leave.
    closed: CachePadded<AtomicBool>,
}

impl Handoff {
    /// Hands everything before `head` to the reader.
    #[inline]
    pub(super) fn commit(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }

    /// How far the writer has committed.
    #[inline]
    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Gives everything before `trail` back to the writer.
    #[inline]
    pub(super) fn release(&self, trail: u64) {
        self.trail.store(trail, Ordering::Release);
    }

    /// How far the reader has given slots back.
    #[inline]
    pub(super) fn trail(&self) -> u64 {
        self.trail.load(Ordering::Acquire)
    }

    /// Tells the writer that nothing more will leave.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the reader has said so.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// The state of a slot: a [`Slot`] in two words, written before the head is released and read after it was acquired. The range in it was
/// claimed, so that it lies in its chunk. Of an open slot, the first word alone changes: it grows, or is sealed.
#[derive(Default)]
pub(super) struct State {
    /// sealed 1 | index 31 | start 15 | fragmented 1 | len 16
    place: AtomicU64,
    /// offset 32 | APDU length 32; only meaningful when fragmented
    apdu: AtomicU64,
}

impl State {
    const FRAGMENTED: u64 = 1 << 16;
    pub(super) const SEALED: u64 = 1 << 63;

    /// What stands above the length in the place of a packet that is no fragment.
    #[inline]
    pub(super) const fn plain(start: u16) -> u64 {
        (start as u64) << 1
    }

    #[inline]
    const fn place(start: u16, len: u16) -> u64 {
        Self::plain(start) << 16 | len as u64
    }

    /// A packet that is no fragment.
    #[inline]
    pub(super) fn store_plain(&self, start: u16, len: u16) {
        self.place.store(Self::place(start, len), Ordering::Relaxed);
    }

    /// A fragment.
    pub(super) fn store_fragment(&self, start: u16, len: u16, apdu: Apdu) {
        debug_assert!(apdu.index < 1 << 31, "more fragments than frames");
        let place = u64::from(apdu.index) << 32 | u64::from(start) << 17 | Self::FRAGMENTED | u64::from(len);
        self.place.store(place, Ordering::Relaxed);
        self.apdu.store(u64::from(apdu.offset) << 32 | u64::from(apdu.len), Ordering::Relaxed);
    }

    /// The first word, for whoever looks at slot after slot.
    #[inline]
    pub(super) fn load_place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    /// What the slot holds.
    #[inline]
    pub(super) fn load(&self) -> Slot {
        self.slot(self.load_place())
    }

    #[inline]
    fn slot(&self, place: u64) -> Slot {
        let apdu = (place & Self::FRAGMENTED != 0).then(|| {
            let apdu = self.apdu.load(Ordering::Relaxed);
            Apdu { index: ((place & !Self::SEALED) >> 32) as u32, offset: (apdu >> 32) as u32, len: apdu as u32 }
        });
        Slot { start: (place as u32 >> 17) as u16, len: place as u16, apdu }
    }

    /// Whether the reader had not sealed the slot when we looked. For the writer, which knows what it wrote there last.
    #[inline]
    pub(super) fn is_open(&self, start: u16, len: u16) -> bool {
        self.place.load(Ordering::Relaxed) == Self::place(start, len)
    }

    /// Appends what was written between the lengths `from` and `to`. Returns false when the reader has sealed the slot.
    #[inline]
    pub(super) fn grow(&self, start: u16, from: u16, to: u16) -> bool {
        let (old, new) = (Self::place(start, from), Self::place(start, to));
        // Release: who sees the length sees the octets. Nothing is read on account of a failure.
        self.place.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Seals the slot as it is, unless `admit` is against it: from then on it does not grow. Returns whether it is sealed.
    ///
    /// What `admit` hears last is what is sealed. It hears of the slot again when that grew meanwhile; each time by a record at least,
    /// so that the room of a slot bounds the attempts.
    pub(super) fn seal(&self, mut admit: impl FnMut(Slot) -> bool) -> bool {
        let mut place = self.load_place();
        while place & Self::SEALED == 0 {
            if !admit(self.slot(place)) {
                return false;
            }
            // Acquire: every octet below the length that we seal.
            match self.place.compare_exchange(place, place | Self::SEALED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(grown) => place = grown,
            }
        }
        true
    }
}

/// Under loom, a shadow of the payloads that both halves touch: loom reports every pair of accesses that nothing orders. Otherwise nothing.
pub(super) struct Shadow {
    #[cfg(loom)]
    octets: Vec<loom::cell::UnsafeCell<()>>,
    #[cfg(loom)]
    layout: Option<SlotLayout>,
}

#[cfg(not(loom))]
#[allow(clippy::unused_self)] // each call has its twin below
impl Shadow {
    pub(super) fn new(_slots: u32, _layout: SlotLayout) -> Self {
        Self {}
    }

    #[inline]
    pub(super) fn write(&self, _slot: u32, _start: u16, _len: usize) {}

    #[inline]
    pub(super) fn read(&self, _slot: u32, _start: u16, _len: usize) {}
}

#[cfg(loom)]
impl Shadow {
    pub(super) fn new(slots: u32, layout: SlotLayout) -> Self {
        let octets = (0..slots * u32::from(layout.room)).map(|_| loom::cell::UnsafeCell::new(())).collect();
        Self { octets, layout: Some(layout) }
    }

    fn range(&self, slot: u32, start: u16, len: usize) -> &[loom::cell::UnsafeCell<()>] {
        let layout = self.layout.expect("a window has one");
        let first = slot as usize * usize::from(layout.room) + usize::from(start - layout.front);
        &self.octets[first..][..len]
    }

    pub(super) fn write(&self, slot: u32, start: u16, len: usize) {
        self.range(slot, start, len).iter().for_each(|octet| octet.with_mut(|_| ()));
    }

    pub(super) fn read(&self, slot: u32, start: u16, len: usize) {
        self.range(slot, start, len).iter().for_each(|octet| octet.with(|_| ()));
    }
}
