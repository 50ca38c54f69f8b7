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

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::pool::{Pool, Run};
use super::slab::{Chunks, Slab};

pub use reader::Reader;
pub use writer::{Claim, ClaimApdu, ClaimError, Writer};

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
    (Writer::new(shared.clone(), layout), Reader::new(shared, run, layout))
}
