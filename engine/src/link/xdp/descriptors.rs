//! Frame numbers into the ring library's descriptors, and back.
//!
//! xsk-rs speaks in descriptors of 32 octets whose address cannot be set; it gives one for each frame when the UMEM is made. They are
//! kept here as they were, by frame number, and copied into a ring when their frame goes there. What a ring gives back is a copy with
//! an address, and the address names the frame.
//!
//! Used by the queues of one `xdp` link. Guards: a descriptor that goes into a ring is that of a frame the pool has marked as being in
//! a ring, and begins where the layout says; the memory outlives the link for whoever still reads it, and holds no queue meanwhile.

use core::num::NonZeroU32;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use xsk_rs::config::{FrameSize, QueueSize, UmemConfigBuilder};
use xsk_rs::umem::Umem;
use xsk_rs::umem::frame::FrameDesc;

use super::error::XdpError;
use crate::frame::{Layout, Pool, Slab};

/// The descriptors of one UMEM.
#[derive(Debug)]
pub(super) struct Descriptors {
    umem: Umem,
    pristine: Box<[FrameDesc]>,
    layout: Layout,
    /// The socket that the memory was registered with, once it is bound: the first queue's.
    registrar: Option<RawFd>,
}

/// A frame that came back: its number, and the range in its chunk that the kernel filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returned {
    pub(super) index: u32,
    pub(super) start: u16,
    pub(super) len: u16,
}

impl Descriptors {
    /// Registers memory of this shape with the kernel, and makes the pool over it. In huge pages it must be a whole number of them.
    pub(super) fn register(layout: Layout, ring: u32, huge_pages: bool) -> Result<(Self, Pool), XdpError> {
        let refused = |reason: String| XdpError::Memory { octets: layout.octets(), reason };
        let words = |error: &dyn core::error::Error| match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let ring = QueueSize::new(ring).map_err(|error| refused(error.to_string()))?;
        let config = UmemConfigBuilder::new()
            .frame_size(FrameSize::new(layout.frame_size).map_err(|error| refused(error.to_string()))?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let frames = NonZeroU32::new(layout.frames).ok_or_else(|| refused("no frames".into()))?;
        let (umem, pristine) = Umem::new(config, frames, huge_pages).map_err(|error| refused(words(&error)))?;
        let descriptors = Self { umem, pristine: pristine.into(), layout, registrar: None };
        let fits = |(index, desc): (usize, &FrameDesc)| {
            desc.addr() == index * layout.frame_size as usize + usize::from(layout.start)
        };
        assert!(descriptors.pristine.iter().enumerate().all(fits), "frames do not begin where the layout says");

        // SAFETY: the descriptor is this UMEM's, and no frame is in use yet. The slice is empty: only where it begins is asked.
        let first = unsafe { descriptors.umem.data(&descriptors.pristine[0]) }.contents().as_ptr();
        // The slice may be used for its own octets only; the address of the whole mapping is known to the kernel and to libxdp.
        let base = with_exposed_provenance_mut::<u8>(first.addr() - usize::from(layout.start));
        let base = NonNull::new(base).ok_or_else(|| refused("mapped at address 0".into()))?;
        // SAFETY: the mapping has `layout.octets()` octets (frames × frame size, as it was made), zeroed by the kernel, and lives as
        // long as any handle of the UMEM, one of which the slab keeps. xsk-rs touches octets of a frame only when asked through a
        // descriptor; we ask for the length of what leaves (`outgoing`) and read or write nothing that way.
        let slab = unsafe { Slab::foreign(base, layout, Box::new(descriptors.umem.clone())) }?;
        Ok((descriptors, Pool::over(slab)))
    }

    pub(super) fn umem(&self) -> &Umem {
        &self.umem
    }

    /// The first queue is bound, on this socket: libxdp gives it the one that the memory was registered with.
    pub(super) fn bound(&mut self, first: RawFd) {
        self.registrar = Some(first);
    }

    /// Gives the first queue back to the interface, after all queues were dropped. libxdp closes the socket it was bound to no earlier
    /// than it gives up the memory, and a message that is still being read keeps that.
    pub(super) fn unbind(&mut self) {
        let Some(socket) = self.registrar.take() else { return };
        // Without a file to put in its place the queue is free when the last reader is done.
        let Ok(nothing) = File::open("/dev/null") else { return };
        // SAFETY: both are open: the socket until libxdp closes it, which is when the memory goes, of which we have a handle. It asks the
        // socket for nothing before that but where rings were that are unmapped by now, and takes a refusal for an answer.
        unsafe { libc::dup3(nothing.as_raw_fd(), socket, libc::O_CLOEXEC) };
    }

    /// The descriptor of a frame as it was made: for a fill ring.
    #[inline]
    pub(super) fn pristine(&self, index: u32) -> FrameDesc {
        self.pristine[index as usize]
    }

    /// The descriptor of the `len` octets from where frames begin: for a transmit ring. The frame must be in no other hands.
    #[inline]
    pub(super) fn outgoing(&self, index: u32, len: u16) -> FrameDesc {
        let mut desc = self.pristine[index as usize];
        // SAFETY: the descriptor is this UMEM's. The frame was surrendered by its owner for this ring (the callers do so), so nobody
        // else looks at its octets; they are not touched here either: the cursor is moved, which sets the length.
        unsafe { self.umem.data_mut(&mut desc) }.cursor().set_pos(usize::from(len));
        desc
    }

    /// What a descriptor out of a receive or completion ring says.
    #[inline]
    pub(super) fn returned(&self, desc: &FrameDesc) -> Returned {
        let mask = self.layout.frame_size as usize - 1;
        Returned {
            index: (desc.addr() >> self.layout.frame_size.trailing_zeros()) as u32,
            start: (desc.addr() & mask) as u16,
            len: desc.lengths().data() as u16,
        }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        self.unbind();
    }
}
