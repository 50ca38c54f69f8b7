//! The memory under the frames: one mapping, cut into chunks of equal size.
//!
//! Only `pool` and `window` ask for pointers into it; they know who owns which chunk.

use core::any::Any;
use core::ptr::NonNull;
use std::io;

/// The shape of a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Octets in a chunk: a power of two, 2048 or 4096 behind AF_XDP.
    pub frame_size: u32,
    /// Number of chunks.
    pub frames: u32,
    /// Where in its chunk a transmitted frame begins. Fixed by the link: AF_XDP fixes it for the whole UMEM.
    pub start: u16,
}

impl Layout {
    /// Room that the kernel keeps for XDP programs at the front of each chunk.
    pub const XDP_HEADROOM: u16 = 256;
    /// Frames for an MTU of 1500 with the same shape that AF_XDP uses.
    pub const fn standard(frames: u32) -> Self {
        Self { frame_size: 2048, frames, start: Self::XDP_HEADROOM }
    }

    /// Octets of the whole slab.
    pub const fn octets(self) -> usize {
        self.frame_size as usize * self.frames as usize
    }

    fn check(self) -> Result<(), SlabError> {
        if !self.frame_size.is_power_of_two() || !(256..=65536).contains(&self.frame_size) {
            return Err(SlabError::FrameSize(self.frame_size));
        }
        if self.frames == 0 || self.frames > 1 << 24 {
            return Err(SlabError::Frames(self.frames));
        }
        if u32::from(self.start) >= self.frame_size {
            return Err(SlabError::Start { start: self.start, frame_size: self.frame_size });
        }
        Ok(())
    }
}

/// Why a slab could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SlabError {
    /// The frame size is not a power of two in range.
    #[error("frame size {0} refused: it must be a power of two from 256 to 65536")]
    FrameSize(u32),
    /// Too many frames or none.
    #[error("{0} frames refused: 1 to 16777216 are possible")]
    Frames(u32),
    /// Frames would begin behind their end.
    #[error("frame start {start} refused: it must lie inside the frame of {frame_size} octets")]
    Start {
        /// The start asked for.
        start: u16,
        /// The frame size it does not fit.
        frame_size: u32,
    },
    /// The kernel gave no memory.
    #[error("mapping {octets} octets of packet memory failed: {error}; use fewer or smaller frames")]
    Map {
        /// Size asked for.
        octets: usize,
        /// What the kernel said.
        error: io::Error,
    },
}

/// The mapping. Shared by a pool and the windows cut from it; freed with the last of them.
pub struct Slab {
    base: NonNull<u8>,
    layout: Layout,
    /// Keeps foreign memory (a UMEM) alive as long as the slab; `None` when the mapping is ours to unmap.
    foreign: Option<Box<dyn Any + Send + Sync>>,
}

// SAFETY: the slab is memory and a shape. Who may touch which octet is decided by frame tokens and window halves, each of which
// exists once; the slab itself reads and writes nothing.
unsafe impl Send for Slab {}
// SAFETY: as above: no access goes through `&Slab` alone.
unsafe impl Sync for Slab {}

impl Slab {
    /// Anonymous, zeroed memory of the given shape.
    pub fn anonymous(layout: Layout) -> Result<Self, SlabError> {
        layout.check()?;
        let octets = layout.octets();
        // SAFETY: a fresh anonymous private mapping; no address is asked for, no descriptor is involved.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let failed = || SlabError::Map { octets, error: io::Error::last_os_error() };
        if base == libc::MAP_FAILED {
            return Err(failed());
        }
        // A window goes round all its frames: by small pages, almost every packet of a large one would be a miss of the TLB.
        // SAFETY: advice about the mapping just made, which changes none of its octets. Where large pages are forbidden it has no effect.
        unsafe { libc::madvise(base, octets, libc::MADV_HUGEPAGE) };
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(failed)?;
        Ok(Self { base, layout, foreign: None })
    }

    /// Memory that somebody else mapped, such as a UMEM.
    ///
    /// # Safety
    /// `base` points at `layout.octets()` initialised octets that stay mapped and unmoved while `owner` lives, and that nobody
    /// touches but through frames of this slab (the kernel touches those that were handed to it).
    pub unsafe fn foreign(
        base: NonNull<u8>,
        layout: Layout,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Self, SlabError> {
        layout.check()?;
        Ok(Self { base, layout, foreign: Some(owner) })
    }

    /// The shape.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Chunks `base .. base + count`, for whoever looks into them packet by packet. In bounds by the assert.
    pub(super) fn chunks(&self, base: u32, count: u32) -> Chunks {
        assert!(base.checked_add(count).is_some_and(|end| end <= self.layout.frames), "chunks beyond the slab");
        let octets = base as usize * self.layout.frame_size as usize;
        // SAFETY: the first of these chunks lies in the mapping, or one past its end if there are none.
        let first = unsafe { self.base.add(octets) };
        Chunks { first, count, size: self.layout.frame_size }
    }

    /// Pointer to octet `offset` of chunk `index`. In bounds by the asserts; the caller owns the chunk.
    #[inline]
    pub(super) fn octet(&self, index: u32, offset: u32) -> *mut u8 {
        assert!(index < self.layout.frames && offset <= self.layout.frame_size);
        let at = index as usize * self.layout.frame_size as usize + offset as usize;
        // SAFETY: chunk and offset were checked: the result lies inside the mapping or one past its end.
        unsafe { self.base.as_ptr().add(at) }
    }

    /// Asks for the cache lines of `len` octets from `offset` of chunk `index`, which will be written soon. Changes nothing.
    #[inline]
    pub(super) fn prefetch(&self, index: u32, offset: u32, len: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            const LINE: usize = 64;
            let first = self.octet(index, offset).cast_const().cast::<i8>();
            for line in 0..=len / LINE {
                // SAFETY: a hint: whatever the address, nothing is read or written as far as the program can tell.
                unsafe { _mm_prefetch(first.wrapping_add(line * LINE), _MM_HINT_T0) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (index, offset, len);
    }
}

/// How many octets ahead [`prefetch_two`] is called for: eight slots of 2,048. A constant, because then it costs two instructions a packet. Four
/// slots are late for a window that lies in the third-level cache, sixteen of each of a hundred sessions push each other out of the second.
pub(super) const SHORT_AHEAD: usize = 8 * 2048;

/// Asks for two cache lines from `at` on, which will be written soon, wherever that is: behind the end of a window it is others' memory, or
/// none. Changes nothing.
#[inline]
pub(super) fn prefetch_two(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let at = at.cast::<i8>();
        // To the second level: slots of 2 KiB share so few sets of the first that a burst of them would push itself out.
        // SAFETY: a hint: whatever the address, nothing is read or written as far as the program can tell.
        unsafe { _mm_prefetch(at, _MM_HINT_T1) };
        // SAFETY: as above.
        unsafe { _mm_prefetch(at.wrapping_add(64), _MM_HINT_T1) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Where some contiguous chunks of a slab are; whoever keeps it also keeps the slab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    first: NonNull<u8>,
    count: u32,
    size: u32,
}

// SAFETY: a place and a shape, as the slab itself; who may touch which octet is decided elsewhere.
unsafe impl Send for Chunks {}
// SAFETY: as above.
unsafe impl Sync for Chunks {}

impl Chunks {
    /// Octets of a chunk.
    #[inline]
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Pointer to octet `offset` of chunk `n`. The caller owns the chunk.
    ///
    /// # Safety
    /// `n` is less than the number of chunks, and `offset` not beyond their size.
    #[inline]
    pub(super) unsafe fn octet(&self, n: u32, offset: u32) -> *mut u8 {
        debug_assert!(n < self.count && offset <= self.size);
        // SAFETY: the chunks lie in the mapping, one behind the other; so does the octet, or one past its end.
        unsafe { self.first.as_ptr().add(n as usize * self.size as usize + offset as usize) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if self.foreign.is_none() {
            // SAFETY: `base` and the length are those of the mapping made in `anonymous`, and no frame can be in use: pools and
            // windows hold the slab alive.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.layout.octets()) };
        }
    }
}

impl core::fmt::Debug for Slab {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slab").field("layout", &self.layout).finish_non_exhaustive()
    }
}
