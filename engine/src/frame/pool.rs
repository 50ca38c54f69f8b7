//! The frame pool: hands out tokens, takes them back, and can always say where every frame is.
//!
//! One thread owns a pool. Loose frames (receive buffers, control packets, repair copies) come and go one by one; a [`Run`] is set
//! aside for a transmit window and stays there until the window is closed. The *fill reserve* is kept for the link's receive
//! buffers, so that nobody else can starve reception.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use super::lease::Leasing;
use super::slab::{Chunks, Layout, Slab, SlabError};

/// Ownership of one frame and the range of it that is in use. Cannot be cloned: giving it away gives the octets away.
///
/// Dropping one without [`Pool::put`] loses the frame; [`Pool::census`] shows it. Minted by a pool alone, which checks the number then:
/// the index of a token lies in the slab of the pool that it names.
#[derive(Debug)]
#[must_use = "a frame that is dropped is lost: give it to a link or back to its pool"]
pub struct Frame {
    pool: u32,
    index: u32,
    start: u16,
    len: u16,
}

impl Frame {
    /// Number of the frame in its slab.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Octets in use.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether no octet is in use.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where in its chunk the range in use begins.
    #[inline]
    pub fn start(&self) -> u16 {
        self.start
    }

    /// Sets the range in use; it is checked against the frame size when the octets are asked for.
    #[inline]
    pub fn set_range(&mut self, start: u16, len: u16) {
        self.start = start;
        self.len = len;
    }

    /// Drops `n` octets from the front of the range, as when a header was read.
    #[inline]
    pub fn advance(&mut self, n: u16) {
        assert!(n <= self.len, "a header longer than the frame's range");
        self.start += n;
        self.len -= n;
    }
}

/// Contiguous frames set aside for one transmit window.
#[derive(Debug)]
#[must_use = "a run that is dropped is lost: give it back to its pool"]
pub struct Run {
    pub(super) pool: u32,
    pub(super) base: u32,
    pub(super) count: u32,
}

impl Run {
    /// Number of frames.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// Where a frame is, as the pool sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the free list, or never used.
    Free,
    /// A token for it exists.
    Out,
    /// A slot of a window, with the window.
    Slot,
    /// A slot of a window, its token with a link: in flight.
    Lent,
    /// A loose frame in a ring of the kernel; no token exists.
    RingOut,
    /// A slot of a window, in a ring of the kernel; no token exists.
    RingLent,
    /// A loose frame that readers on any thread have; no token exists.
    Leased,
}

impl Place {
    /// For a slot: whether nobody but its window has it.
    #[inline]
    pub(super) fn is_at_rest(self) -> bool {
        self == Self::Slot
    }
}

/// Where all frames are. At rest `out`, `lent` and `leased` are zero and the rest adds up to the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Frames of the slab.
    pub total: u32,
    /// Free to be taken.
    pub free: u32,
    /// Held as loose tokens: held out of order, delivered, in a transmit queue; or in a ring of the kernel.
    pub out: u32,
    /// In windows and at rest there.
    pub slots: u32,
    /// In windows and in flight: as a token or in a ring of the kernel.
    pub lent: u32,
    /// Leased to readers, or on the way home from them.
    pub leased: u32,
}

impl Census {
    /// Whether every frame is accounted for.
    pub fn adds_up(&self) -> bool {
        self.total == self.free + self.out + self.slots + self.lent + self.leased
    }
}

static POOLS: AtomicU32 = AtomicU32::new(1);

/// A number that no other pool ever has: tokens are told apart by it.
fn fresh_id() -> u32 {
    POOLS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1)).expect("fewer than 2^32 pools")
}

/// The pool of one thread.
#[derive(Debug)]
pub struct Pool {
    id: u32,
    pub(super) slab: Arc<Slab>,
    /// All of the slab.
    chunks: Chunks,
    layout: Layout,
    /// One for each frame of the slab.
    pub(super) place: Box<[Place]>,
    /// Used before and free now: the first `free_count`; last in, first out, so that warm frames go round.
    pub(super) free: Box<[u32]>,
    pub(super) free_count: usize,
    /// Frames below `fresh` have been handed out at least once; those from `fresh` to `top` never.
    fresh: u32,
    /// Frames from `top` on belong, or once belonged, to runs.
    top: u32,
    /// Runs that came back.
    spare_runs: Vec<(u32, u32)>,
    fill_reserve: u32,
    pub(super) reorder_reserve: u32,
    /// Apart, because most pools have none; made with the first lease.
    pub(super) leasing: Option<Box<Leasing>>,
}

impl Pool {
    /// A pool over anonymous memory.
    pub fn anonymous(layout: Layout) -> Result<Self, SlabError> {
        Ok(Self::over(Slab::anonymous(layout)?))
    }

    /// A pool over the given slab, which becomes its own.
    pub fn over(slab: Slab) -> Self {
        let layout = slab.layout();
        let frames = layout.frames;
        Self {
            id: fresh_id(),
            chunks: slab.chunks(0, frames),
            slab: Arc::new(slab),
            layout,
            place: vec![Place::Free; frames as usize].into(),
            free: vec![0; frames as usize].into(),
            free_count: 0,
            fresh: 0,
            top: frames,
            spare_runs: Vec::new(),
            fill_reserve: 0,
            reorder_reserve: 0,
            leasing: None,
        }
    }

    /// The shape of the frames.
    #[inline]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// A number that no other pool ever has.
    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn slab(&self) -> &Arc<Slab> {
        &self.slab
    }

    /// Keeps `frames` for [`Pool::take_for_fill`]; everybody else is refused before the reserve is touched.
    pub fn set_fill_reserve(&mut self, frames: u32) {
        self.fill_reserve = frames;
    }

    /// Keeps `frames` more from leases and windows: for what receivers hold out of order and for control packets. See
    /// [`Pool::lease_for`].
    pub fn set_reorder_reserve(&mut self, frames: u32) {
        self.reorder_reserve = frames;
    }

    /// Loose frames that could be taken now, the reserve included.
    #[inline]
    pub fn available(&self) -> u32 {
        self.free_count as u32 + (self.top - self.fresh)
    }

    /// Loose frames that [`Pool::take`] would give.
    #[inline]
    pub fn spare(&self) -> u32 {
        self.available().saturating_sub(self.fill_reserve)
    }

    /// A free frame, for anything but receive buffers; `None` when only the fill reserve is left.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        if self.available() <= self.fill_reserve {
            return None;
        }
        self.take_for_fill()
    }

    /// A free frame for a link's receive buffers: may use the fill reserve.
    #[inline]
    pub fn take_for_fill(&mut self) -> Option<Frame> {
        let index = if self.free_count > 0 {
            self.free_count -= 1;
            self.free[self.free_count]
        } else if self.fresh < self.top {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.place[index as usize] = Place::Out;
        Some(Frame { pool: self.id, index, start: self.layout.start, len: 0 })
    }

    /// Takes a frame back: a loose one becomes free, a lent slot goes home to its window.
    #[inline]
    #[allow(clippy::needless_pass_by_value)] // the token ends here
    pub fn put(&mut self, frame: Frame) {
        let place = self.place_of(&frame);
        match place {
            Place::Out => {
                *place = Place::Free;
                self.set_free(frame.index);
            }
            Place::Lent => *place = Place::Slot,
            _ => came_back_twice(frame.index),
        }
    }

    #[inline]
    fn set_free(&mut self, index: u32) {
        self.free[self.free_count] = index;
        self.free_count += 1;
    }

    /// Turns a token into the number of its frame, for a ring that the kernel reads. Until the number comes back, through
    /// [`Pool::reclaim`] or [`Pool::complete`], nobody touches the frame.
    #[inline]
    #[allow(clippy::needless_pass_by_value)] // the token ends here
    pub fn surrender(&mut self, frame: Frame) -> u32 {
        let place = self.place_of(&frame);
        *place = match place {
            Place::Out => Place::RingOut,
            Place::Lent => Place::RingLent,
            _ => came_back_twice(frame.index),
        };
        frame.index
    }

    /// Mints the token of a frame that came back from a ring; its range is empty.
    ///
    /// # Panics
    /// If no ring has the frame: a ring that gives a frame back twice must not make two owners.
    #[inline]
    pub fn reclaim(&mut self, index: u32) -> Frame {
        let place = &mut self.place[index as usize];
        *place = match place {
            Place::RingOut => Place::Out,
            Place::RingLent => Place::Lent,
            _ => ring_is_wrong(index),
        };
        Frame { pool: self.id, index, start: self.layout.start, len: 0 }
    }

    /// As [`Pool::reclaim`] and [`Pool::put`] in one: what a completed transmission asks for.
    ///
    /// # Panics
    /// If no ring has the frame.
    #[inline]
    pub fn complete(&mut self, index: u32) {
        let place = &mut self.place[index as usize];
        match place {
            Place::RingLent => *place = Place::Slot,
            Place::RingOut => {
                *place = Place::Free;
                self.set_free(index);
            }
            _ => ring_is_wrong(index),
        }
    }

    /// Completes every surrendered frame, and says how many there were: for a link whose rings are gone. A pool serves one link that
    /// surrenders frames. O(frames).
    pub fn recall(&mut self) -> u32 {
        let mut recalled = 0;
        for index in 0..self.layout.frames {
            if matches!(self.place[index as usize], Place::RingOut | Place::RingLent) {
                self.complete(index);
                recalled += 1;
            }
        }
        recalled
    }

    /// The octets in use.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let at = self.locate(frame);
        // SAFETY: `locate` checked pool and range. The token is the only one for this frame and is borrowed, so that nobody can
        // write these octets meanwhile; a lent slot is not touched by its window (`Reader` checks).
        unsafe { core::slice::from_raw_parts(at, frame.len()) }
    }

    /// The octets in use, to be written.
    #[inline]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let at = self.locate(frame);
        // SAFETY: as in `bytes`; the token is borrowed mutably, so this is the only reference.
        unsafe { core::slice::from_raw_parts_mut(at, frame.len()) }
    }

    /// A copy of the octets in use in a free frame of its own, at the same place in the chunk; `None` when [`Pool::take`] gives none.
    pub fn copy(&mut self, original: &Frame) -> Option<Frame> {
        let from = self.locate(original);
        let mut copy = self.take()?;
        copy.set_range(original.start, original.len);
        let to = self.locate(&copy);
        // SAFETY: `locate` checked both ranges, both as long as the original's. The original's token is borrowed and the copy's was
        // just minted, so they are two frames, which do not overlap, and nobody else touches either.
        unsafe { core::ptr::copy_nonoverlapping(from, to, original.len()) };
        Some(copy)
    }

    /// A copy, in a free frame of this pool, of a frame of another one; `None` when [`Pool::take`] gives none, or it is too short.
    pub fn copy_from(&mut self, other: &Self, original: &Frame) -> Option<Frame> {
        if usize::from(self.layout.start) + original.len() > self.layout.frame_size as usize {
            return None;
        }
        let mut copy = self.take()?;
        copy.set_range(self.layout.start, original.len);
        self.bytes_mut(&mut copy).copy_from_slice(other.bytes(original));
        Some(copy)
    }

    /// Sets contiguous frames aside for a window.
    pub fn take_run(&mut self, count: u32) -> Option<Run> {
        if count == 0 {
            return None;
        }
        let fitting = self.spare_runs.iter().enumerate().filter(|(_, run)| run.1 >= count);
        let base = if let Some((at, _)) = fitting.min_by_key(|(_, run)| run.1) {
            let (base, had) = self.spare_runs.swap_remove(at);
            if had > count {
                self.spare_runs.push((base + count, had - count));
            }
            base
        } else if self.top - self.fresh >= count && self.available() - count >= self.fill_reserve + self.reorder_reserve
        {
            self.top -= count;
            self.top
        } else {
            return None;
        };
        self.place[base as usize..(base + count) as usize].fill(Place::Slot);
        Some(Run { pool: self.id, base, count })
    }

    /// Takes a run back. Its frames serve later runs, together with those of its neighbours.
    #[allow(clippy::needless_pass_by_value)] // the token ends here
    pub fn put_run(&mut self, run: Run) {
        assert!(run.pool == self.id, "a run of another pool");
        let places = &mut self.place[run.base as usize..(run.base + run.count) as usize];
        assert!(places.iter().all(|&place| place == Place::Slot), "a run came back with a frame in flight");
        places.fill(Place::Free);
        let (mut base, mut count) = (run.base, run.count);
        self.spare_runs.retain(|&(other, had)| {
            let (is_before, is_behind) = (other + had == base, base + count == other);
            base = if is_before { other } else { base };
            count += if is_before || is_behind { had } else { 0 };
            !is_before && !is_behind
        });
        self.spare_runs.push((base, count));
    }

    /// Whether a slot of a run is in flight.
    #[inline]
    pub(super) fn is_lent(&self, index: u32) -> bool {
        matches!(self.place[index as usize], Place::Lent | Place::RingLent)
    }

    /// Mints the token of a slot at rest.
    #[inline]
    pub(super) fn lend(&mut self, index: u32, start: u16, len: u16) -> Frame {
        assert!(self.place[index as usize] == Place::Slot, "slot {index} lent twice");
        self.place[index as usize] = Place::Lent;
        Frame { pool: self.id, index, start, len }
    }

    /// The places of the slots of a run.
    #[inline]
    pub(super) fn places(&self, run: &Run) -> &[Place] {
        assert!(run.pool == self.id, "a window of another pool");
        &self.place[run.base as usize..][..run.count as usize]
    }

    /// Mints tokens of many slots of one run.
    #[inline]
    pub(super) fn lender(&mut self, run: &Run) -> Lender<'_> {
        assert!(run.pool == self.id, "a window of another pool");
        let places = &mut self.place[run.base as usize..][..run.count as usize];
        Lender { pool: self.id, base: run.base, places }
    }

    /// Counts every frame by place: O(frames), for tests, shutdown and debugging.
    pub fn census(&self) -> Census {
        let places = |wanted: Place| self.place.iter().filter(|&&place| place == wanted).count() as u32;
        let census = Census {
            total: self.layout.frames,
            free: places(Place::Free),
            out: places(Place::Out) + places(Place::RingOut),
            slots: places(Place::Slot),
            lent: places(Place::Lent) + places(Place::RingLent),
            leased: places(Place::Leased),
        };
        let spare_runs: u32 = self.spare_runs.iter().map(|run| run.1).sum();
        assert!(census.free == self.available() + spare_runs, "the free list and the places disagree");
        census
    }

    #[inline]
    fn own(&self, frame: &Frame) {
        assert!(frame.pool == self.id, "a frame of another pool");
    }

    #[inline]
    pub(super) fn place_of(&mut self, frame: &Frame) -> &mut Place {
        self.own(frame);
        debug_assert!((frame.index as usize) < self.place.len());
        // SAFETY: the token is ours, so that its index was checked when it was minted; every frame has a place.
        unsafe { self.place.get_unchecked_mut(frame.index as usize) }
    }

    /// Checks that the range in use lies in the frame.
    #[inline]
    pub(super) fn check_range(&self, frame: &Frame) {
        assert!(u32::from(frame.start) + u32::from(frame.len) <= self.chunks.size(), "a range beyond its frame");
    }

    #[inline]
    fn locate(&self, frame: &Frame) -> *mut u8 {
        self.own(frame);
        self.check_range(frame);
        // SAFETY: the token is ours, so that its index was checked when it was minted; the offset was checked just now.
        unsafe { self.chunks.octet(frame.index, u32::from(frame.start)) }
    }
}

/// Mints tokens of the slots of one run: what is the same for all of them was looked up once.
pub(super) struct Lender<'p> {
    pool: u32,
    base: u32,
    places: &'p mut [Place],
}

impl Lender<'_> {
    /// The token of slot `n` of the run; `None` while it is in flight.
    ///
    /// # Safety
    /// The run has that many slots.
    #[inline]
    pub(super) unsafe fn lend(&mut self, n: u32, start: u16, len: u16) -> Option<Frame> {
        debug_assert!((n as usize) < self.places.len());
        // SAFETY: the caller answers for it.
        let place = unsafe { self.places.get_unchecked_mut(n as usize) };
        if *place != Place::Slot {
            return None;
        }
        *place = Place::Lent;
        Some(Frame { pool: self.pool, index: self.base + n, start, len })
    }
}

#[cold]
fn came_back_twice(index: u32) -> ! {
    unreachable!("frame {index} came back twice")
}

#[cold]
fn ring_is_wrong(index: u32) -> ! {
    panic!("a ring gave frame {index} back, which it does not have")
}

#[cfg(test)]
mod tests;
