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
//!
//! In a window that *batches* ([`SlotLayout::batch`]), a slot that is no fragment holds records, each with its length in front, and the
//! slot in front of the head may be appended to until the reader seals it. There the rule is finer:
//!
//! * of the slot at `head - 1` the writer also touches the octets behind the length that it gave it last, for as long as the claim lives
//!   that it was made for; the reader touches none of that slot before it has sealed it, and then those below the sealed length. Only
//!   the writer makes lengths, so that the sealed one is never beyond the writer's last: the two never meet;
//! * before a claim is made, a free slot beyond the head is certain. If the reader seals in between, the record is copied there;
//! * records that are *corked* are handed over together, those of a new slot with the slot itself.

mod handoff;
mod reader;
mod records;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use self::handoff::{Handoff, Shadow, State};
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
    /// Octets of options on every data packet (OPT_JOIN), without the leading OPT_LENGTH.
    pub every_options: u16,
    /// Octets of options on every data packet that is no fragment besides.
    pub common_options: u16,
    /// Octets of options on the very first packet besides (OPT_SYN).
    pub first_options: u16,
    /// Whether slots that are no fragments hold records.
    pub batch: bool,
}

/// Octets in front of each record of a batch: its length, big-endian.
const RECORD_HEADER_LEN: usize = 2;

impl SlotLayout {
    /// Octets of OPT_LENGTH, in front of any other option.
    const OPT_LENGTH: u16 = 4;
    /// Octets of OPT_FRAGMENT.
    const OPT_FRAGMENT: u16 = 16;

    /// Payloads of up to `room` octets from `front` on, without options.
    pub const fn plain(front: u16, room: u16) -> Self {
        Self { front, room, every_options: 0, common_options: 0, first_options: 0, batch: false }
    }

    /// Octets of options in front of the payload at `position`.
    #[inline]
    pub fn options(&self, position: u64, fragmented: bool) -> u16 {
        let mut octets = self.every_options + if fragmented { Self::OPT_FRAGMENT } else { self.common_options };
        if position == 0 {
            octets += self.first_options;
        }
        if octets == 0 { 0 } else { octets + Self::OPT_LENGTH }
    }

    /// The longest payload at `position`.
    #[inline]
    pub fn payload_max(&self, position: u64, fragmented: bool) -> u16 {
        self.room - self.options(position, fragmented)
    }

    /// The longest message that fits the packet at `position`.
    #[inline]
    pub fn message_max(&self, position: u64) -> u16 {
        self.payload_max(position, false) - self.record_header()
    }

    /// Octets in front of a message.
    #[inline]
    fn record_header(&self) -> u16 {
        if self.batch { RECORD_HEADER_LEN as u16 } else { 0 }
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Offset of the payload in its chunk.
    pub start: u16,
    /// Octets of payload.
    pub len: u16,
    /// The APDU this slot is a fragment of; `None` for an APDU of one packet, and for a batch.
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

struct Shared {
    handoff: Handoff,
    /// One for each slot, as many as there are chunks: `mask + 1`.
    states: Box<[State]>,
    shadow: Shadow,
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
    fn state(&self, position: u64) -> &State {
        debug_assert!(self.states.len() as u64 == self.mask + 1);
        // SAFETY: there are `mask + 1` of them.
        unsafe { self.states.get_unchecked((position & self.mask) as usize) }
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
    let headers = layout.options(0, true).max(layout.options(0, false) + layout.record_header());
    assert!(layout.room > headers, "no room for a payload");
    let shared = Arc::new(Shared {
        handoff: Handoff::default(),
        states: (0..run.count).map(|_| State::default()).collect(),
        shadow: Shadow::new(run.count, layout),
        chunks: pool.slab().chunks(run.base, run.count),
        slab: pool.slab().clone(),
        base: run.base,
        mask: u64::from(run.count) - 1,
    });
    (Writer::new(shared.clone(), layout), Reader::new(shared, run, layout))
}
