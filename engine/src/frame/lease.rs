//! Leases: delivered frames that any thread may read, and that come home when the last reader is done.
//!
//! ```text
//!   worker                                        any thread
//!   Pool::lease ── Leased ───── a ring ─────────> Leases::adopt ── Lease ── clone, part, drop
//!        ^                                                                          |
//!   Pool::collect <──────────── numbers of frames that come home <── the last drop ─┘
//! ```
//!
//! A side table has a counter for each frame, and a link that makes one lease of the fragments of a message: the counter of the first
//! frame stands for all. Nothing is allocated for a lease, and nothing but its own counter is written by its readers: the table lives as
//! long as the pool or any lease, without a count of its references that all readers would fight for. A [`Leased`] that is dropped on its
//! way (its subscriber is gone, its ring too) is a lease that was dropped.
//!
//! Invariant behind the `unsafe` below: *a frame whose place is `Leased` has no token, so that nobody writes its octets; it stays in
//! that place until its number comes home, which the drop of its last lease sends, once.* When the pool goes first, its leases stay
//! readable: they own the memory from then on, and the last of them frees it. How many frames a subscriber may hold is the business of
//! `quota`.

use core::ptr::NonNull;
use std::sync::Arc;

use super::pool::{Frame, Place, Pool};
use super::quota::{Quotas, UNBOUNDED};
use super::slab::{Chunks, Slab};
use crate::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, Ordering, fence};
use crate::sync::mpsc::Homecoming;

/// No next frame: the end of a message.
const END: u32 = u32::MAX;
/// More leases of one frame than this are a leak of leases, which must not wrap the counter.
const COUNT_MAX: u32 = u32::MAX / 2;

/// What stands in the side table about a frame.
#[derive(Debug)]
struct Entry {
    /// next frame 32 | start 16 | len 16. Written by the worker before the lease is handed out.
    link: AtomicU64,
    /// Leases of the message that begins with this frame.
    count: AtomicU32,
}

/// A frame of a message: where its octets are, and which frame follows.
#[derive(Clone, Copy)]
struct Piece {
    index: u32,
    next: u32,
    start: u16,
    len: u16,
}

/// The side table of a pool's leases, shared by whoever holds one.
#[derive(Debug)]
pub struct Leases {
    entries: Box<[Entry]>,
    home: Homecoming,
    /// Leases that outlive the pool; below zero while it has not said yet how many there are.
    orphans: AtomicIsize,
    chunks: Chunks,
    /// Keeps the octets where they are.
    _slab: Arc<Slab>,
}

impl Leases {
    fn new(slab: &Arc<Slab>) -> Self {
        let frames = slab.layout().frames;
        let entry = || Entry { link: AtomicU64::new(0), count: AtomicU32::new(0) };
        Self {
            entries: (0..frames).map(|_| entry()).collect(),
            home: Homecoming::new(frames),
            orphans: AtomicIsize::new(0),
            chunks: slab.chunks(0, frames),
            _slab: slab.clone(),
        }
    }

    /// Makes the lease that a descriptor stands for.
    ///
    /// # Panics
    /// If the descriptor is of another pool.
    #[inline]
    pub fn adopt(self: &Arc<Self>, leased: Leased) -> Lease {
        assert!(core::ptr::eq(leased.0.table.as_ptr(), Arc::as_ptr(self)), "a lease of another pool");
        leased.0
    }

    #[inline]
    fn set(&self, piece: Piece) {
        let link = u64::from(piece.next) << 32 | u64::from(piece.start) << 16 | u64::from(piece.len);
        self.entries[piece.index as usize].link.store(link, Ordering::Relaxed);
    }

    #[inline]
    fn piece(&self, index: u32) -> Piece {
        let link = self.entries[index as usize].link.load(Ordering::Relaxed);
        Piece { index, next: (link >> 32) as u32, start: (link >> 16) as u16, len: link as u16 }
    }

    /// `len` octets from octet `skip` of a piece.
    ///
    /// # Safety
    /// The piece is of a lease that lives as long as `'a`, and `skip + len` is not more than its length.
    #[inline]
    unsafe fn octets<'a>(&self, piece: Piece, skip: u32, len: u32) -> &'a [u8] {
        debug_assert!(skip + len <= u32::from(piece.len));
        // SAFETY: the pool checked index and range when it made the lease. The lease keeps the frame in its place, where no token for it
        // exists and nobody writes it, and the memory mapped; the caller answers for the rest.
        unsafe {
            let at = self.chunks.octet(piece.index, u32::from(piece.start) + skip);
            core::slice::from_raw_parts(at, len as usize)
        }
    }
}

/// A lease on its way to its reader: small, and fit for a ring. Becomes a [`Lease`] by [`Leases::adopt`] or `Lease::from`; dropped, it
/// sends its frames home.
#[derive(Debug)]
#[must_use = "a descriptor that is dropped sends its frames home unread"]
pub struct Leased(Lease);

impl From<Leased> for Lease {
    /// For who does not know of which pool it is: that the message lies in one, or in another where it was copied.
    #[inline]
    fn from(leased: Leased) -> Self {
        leased.0
    }
}

/// Octets of a message, readable on any thread for as long as it is held; when the last clone or part of it is dropped, the frames of
/// the message go home.
///
/// ```
/// use pgmx::frame::{Layout, Pool};
///
/// let mut pool = Pool::anonymous(Layout::standard(8))?;
/// let leases = pool.leases();
/// let mut frame = pool.take().expect("a fresh pool");
/// frame.set_range(300, 5);
/// pool.bytes_mut(&mut frame).copy_from_slice(b"hello");
///
/// let lease = leases.adopt(pool.lease(frame));
/// let reader = std::thread::spawn(move || assert_eq!(lease.part(1, 4).as_slice(), Some(&b"ello"[..])));
/// reader.join().expect("it reads what was written");
/// assert_eq!(pool.collect(), 1);
/// assert_eq!(pool.census().free, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Lease {
    table: NonNull<Leases>,
    /// The first frame of the message.
    head: u32,
    /// The range of the message that this lease shows.
    start: u32,
    len: u32,
}

// SAFETY: what a lease points at is read by any number of threads and written by none while it lives; its counter is atomic.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl Lease {
    #[inline]
    fn table(&self) -> &Leases {
        // SAFETY: the pool holds a reference to the table. When it goes, it leaves that reference to the leases that are out, and the
        // last of them drops it: the table is there as long as this lease is.
        unsafe { self.table.as_ref() }
    }

    #[inline]
    fn count(&self) -> &AtomicU32 {
        &self.table().entries[self.head as usize].count
    }

    /// Octets.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The octets, if they lie in one piece: those of a message that came in one packet do.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        let piece = self.table().piece(self.head);
        if self.start + self.len <= u32::from(piece.len) {
            // SAFETY: the piece is the first of this lease, and the range was checked just now.
            return Some(unsafe { self.table().octets(piece, self.start, self.len) });
        }
        let first = self.chunks().next().unwrap_or_default();
        (first.len() == self.len()).then_some(first)
    }

    /// The pieces, in order; none of them is empty.
    #[inline]
    pub fn chunks(&self) -> LeaseChunks<'_> {
        LeaseChunks { table: self.table(), next: self.head, skip: self.start, left: self.len }
    }

    /// A lease of `len` octets from octet `start` of this one, such as a record of a batch.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub fn part(&self, start: usize, len: usize) -> Self {
        assert!(start <= self.len() && len <= self.len() - start, "a part beyond its message");
        let mut part = self.clone();
        part.start += start as u32;
        part.len = len as u32;
        part
    }
}

impl Clone for Lease {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: whoever the clone is given to gets it by something that synchronises, as with `Arc`.
        if self.count().fetch_add(1, Ordering::Relaxed) > COUNT_MAX {
            too_many();
        }
        Self { ..*self }
    }
}

/// Leases were forgotten by the billion: a counter that wraps would free what is still read.
#[cold]
fn too_many() -> ! {
    std::process::abort()
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let count = self.count();
        // With one lease left, this one, nobody else can raise the counter: nothing to agree on. Acquire: what readers did before they
        // dropped theirs is done.
        if count.load(Ordering::Acquire) != 1 {
            if count.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        // From here on the table is left alone once this has succeeded: the pool may be gone before we return.
        if self.table().home.send(self.head).is_err() {
            self.leave_orphaned();
        }
    }
}

impl Lease {
    /// The end of a lease whose pool is gone.
    #[cold]
    fn leave_orphaned(&self) {
        if self.table().orphans.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the pool left the reference when it went, before it said how many orphans there are; counting down to zero
            // happens once, and no other lease is left to look at the table.
            drop(unsafe { Arc::from_raw(self.table.as_ptr()) });
        }
    }
}

impl core::fmt::Debug for Lease {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Lease")
            .field("head", &self.head)
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The pieces of a lease; see [`Lease::chunks`].
#[derive(Clone, Debug)]
pub struct LeaseChunks<'l> {
    table: &'l Leases,
    next: u32,
    /// Octets of the message before the range, and of the range, from the next frame on.
    skip: u32,
    left: u32,
}

impl<'l> Iterator for LeaseChunks<'l> {
    type Item = &'l [u8];

    #[inline]
    fn next(&mut self) -> Option<&'l [u8]> {
        while self.left > 0 {
            let piece = self.table.piece(self.next);
            self.next = piece.next;
            let skip = self.skip.min(piece.len.into());
            let len = self.left.min(u32::from(piece.len) - skip);
            self.skip -= skip;
            self.left -= len;
            if len > 0 {
                // SAFETY: `'l` is a borrow of the lease, whose range ends before its frames do; skip and length were cut to the piece.
                return Some(unsafe { self.table.octets(piece, skip, len) });
            }
        }
        None
    }
}

/// The worker's side of the leases, a part of its pool.
#[derive(Debug)]
pub(super) struct Leasing {
    table: Arc<Leases>,
    /// Where it is; a pointer that may be used for its reference count, too, as one made of a reference may not.
    at: NonNull<Leases>,
    /// Leases out, each with all its frames.
    out: usize,
    pub(super) quotas: Quotas,
}

impl Leasing {
    fn new(slab: &Arc<Slab>) -> Self {
        let table = Arc::new(Leases::new(slab));
        let at = NonNull::new(Arc::as_ptr(&table).cast_mut()).expect("an Arc is somewhere");
        Self { table, at, out: 0, quotas: Quotas::new(slab.layout().frames) }
    }
}

// SAFETY: the pointer is that of the `Arc` beside it, which is `Send` and `Sync`.
unsafe impl Send for Leasing {}
// SAFETY: as above.
unsafe impl Sync for Leasing {}

impl Drop for Leasing {
    /// Leaves the memory to the leases that are out.
    fn drop(&mut self) {
        let orphans = (self.out - self.table.home.close().count()) as isize;
        if orphans == 0 {
            return;
        }
        let theirs = Arc::into_raw(self.table.clone());
        if self.table.orphans.fetch_add(orphans, Ordering::AcqRel) + orphans == 0 {
            // SAFETY: all of them went between the two steps, and found less than nothing to count down: the reference is ours again.
            drop(unsafe { Arc::from_raw(theirs) });
        }
    }
}

impl Pool {
    pub(super) fn leasing(&mut self) -> &mut Leasing {
        let slab = &self.slab;
        self.leasing.get_or_insert_with(|| Box::new(Leasing::new(slab)))
    }

    /// The side table of this pool's leases. The first call makes it: call once before the first lease, so that none of them allocates.
    pub fn leases(&mut self) -> Arc<Leases> {
        self.leasing().table.clone()
    }

    /// Leases a loose frame to whoever gets the descriptor, outside any quota: for those who bound their leases themselves.
    ///
    /// # Panics
    /// If the frame is a slot of a window, of another pool, or its range lies beyond it.
    #[inline]
    pub fn lease(&mut self, frame: Frame) -> Leased {
        self.lease_out(UNBOUNDED, core::iter::once(frame))
    }

    /// Leases the frames of one message, in order, as one.
    ///
    /// # Panics
    /// As [`Pool::lease`], and if there are none.
    pub fn lease_chain(&mut self, frames: impl Iterator<Item = Frame>) -> Leased {
        self.lease_out(UNBOUNDED, frames)
    }

    /// Takes back the frames whose last lease was dropped; returns how many. Once an iteration: a load when there are none.
    ///
    /// # Panics
    /// If a frame comes home that was not leased: two owners would be worse.
    #[inline]
    pub fn collect(&mut self) -> usize {
        let Some(leasing) = &self.leasing else { return 0 };
        if leasing.table.home.is_empty() { 0 } else { self.collect_arrived() }
    }

    fn collect_arrived(&mut self) -> usize {
        let Some(leasing) = self.leasing.as_deref_mut() else { return 0 };
        let Leasing { table, out, quotas, .. } = leasing;
        let before = self.free_count;
        for head in table.home.take() {
            *out -= 1;
            let mut index = head;
            // Bounded, whatever the links say: a frame that was there already is not leased any more.
            while index != END {
                let place = &mut self.place[index as usize];
                assert!(*place == Place::Leased, "frame {index} came home, but was not leased");
                *place = Place::Free;
                quotas.came_home(index);
                self.free[self.free_count] = index;
                self.free_count += 1;
                index = table.piece(index).next;
            }
        }
        self.free_count - before
    }

    #[inline]
    pub(super) fn lease_out(&mut self, owner: u16, frames: impl Iterator<Item = Frame>) -> Leased {
        let (mut head, mut last, mut len) = (END, None, 0_u64);
        for frame in frames {
            self.check_range(&frame);
            let place = self.place_of(&frame);
            assert!(*place == Place::Out, "only a loose frame can be leased");
            *place = Place::Leased;
            let piece = Piece { index: frame.index(), next: END, start: frame.start(), len: frame.len() as u16 };
            len += u64::from(piece.len);
            let leasing = self.leasing();
            leasing.quotas.leased(piece.index, owner);
            leasing.table.set(piece);
            match last.replace(piece) {
                None => head = piece.index,
                Some(before) => leasing.table.set(Piece { next: piece.index, ..before }),
            }
        }
        assert!(head != END, "a lease without a frame");
        let len = u32::try_from(len).expect("messages are shorter than 4 GiB");
        let leasing = self.leasing();
        leasing.out += 1;
        leasing.table.entries[head as usize].count.store(1, Ordering::Relaxed);
        Leased(Lease { table: leasing.at, head, start: 0, len })
    }
}

#[cfg(test)]
mod tests;
