//! One queue of the interface: a socket and its four rings.
//!
//! ```text
//!              fill ──> kernel ──> rx          (empty frames in, received ones out)
//!                tx ──> kernel ──> completion  (packets in, their frames back)
//! ```
//!
//! Used by the `xdp` link alone; only this file puts frames into rings. Guards: a frame in a ring has no token (the pool was told), no
//! ring is given more than it has room for, and the kernel is called only when a ring asks for it.

use core::error::Error;
use core::time::Duration;
use std::io;
use std::os::fd::AsRawFd;

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::socket::{RxQueue, Socket, SocketCreateError, TxQueue, XdpStatistics};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::umem::{CompQueue, FillQueue};

use super::config::BusyPoll;
use super::descriptors::{Descriptors, Returned};
use crate::frame::{Frame, Pool};
use crate::link::kernel::socket::{option, set_option};

/// Descriptors that move at a time. A ring is shared with the kernel by cache line; a batch of 64 shares the cost of publishing it,
/// and a larger one gains nothing measurable while it delays the first packet.
pub(super) const BATCH: usize = 64;

/// The kernel releases the queue of a closed socket a little after the close: whoever opens again at once finds it busy. Half a
/// second is long for that and short for people.
const RELEASE_TRIES: u32 = 50;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

const SOL_XDP: i32 = 283;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

#[derive(Debug)]
pub(super) struct Queue {
    number: u32,
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    /// Entries of each ring.
    size: u32,
    /// Frames in the transmit ring, or taken from it and not completed.
    in_flight: u32,
    /// Descriptors on their way into or out of a ring.
    scratch: Box<[FrameDesc; BATCH]>,
    /// Those of `scratch` that wait to be posted for transmission.
    staged: usize,
}

impl Queue {
    /// Binds a socket to the queue.
    pub(super) fn bind(
        descriptors: &Descriptors,
        interface: &str,
        number: u32,
        size: u32,
        zero_copy: bool,
    ) -> io::Result<Self> {
        let ring = QueueSize::new(size).map_err(io::Error::other)?;
        let data_path = if zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .bind_flags(data_path | BindFlags::XDP_USE_NEED_WAKEUP)
            // The steering program is ours; libxdp would attach its own.
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .build();
        let interface: Interface = interface.parse().map_err(io::Error::other)?;
        let mut patience = RELEASE_TRIES;
        let (tx, rx, rings) = loop {
            // SAFETY: the flag that inhibits libxdp's own program is set, which is what the function asks of those who share a UMEM.
            match unsafe { Socket::new(config, descriptors.umem(), &interface, number) } {
                Ok(opened) => break opened,
                Err(error) => {
                    let error = answer(&error);
                    if patience == 0 || error.raw_os_error() != Some(libc::EBUSY) {
                        return Err(error);
                    }
                    patience -= 1;
                    std::thread::sleep(RELEASE_PAUSE);
                }
            }
        };
        let (fill, completion) = rings.ok_or_else(|| io::Error::other("the queue is bound already"))?;
        let scratch = Box::new([FrameDesc::default(); BATCH]);
        Ok(Self { number, rx, tx, fill, completion, size, in_flight: 0, scratch, staged: 0 })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.rx.fd().as_raw_fd()
    }

    pub(super) fn statistics(&self) -> io::Result<XdpStatistics> {
        self.rx.fd().xdp_statistics()
    }

    /// Asks the kernel to move this many packets at a call in copy mode.
    pub(super) fn set_tx_budget(&self, packets: u32) -> io::Result<()> {
        set_option(&self.descriptor(), SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &packets)
    }

    /// Lets the worker's calls run the driver.
    pub(super) fn set_busy_poll(&self, wanted: BusyPoll) -> io::Result<()> {
        const SO_BUSY_POLL: i32 = 46;
        const SO_PREFER_BUSY_POLL: i32 = 69;
        const SO_BUSY_POLL_BUDGET: i32 = 70;
        let BusyPoll { microseconds, budget } = wanted;
        set_option(&self.descriptor(), libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1_i32)?;
        set_option(&self.descriptor(), libc::SOL_SOCKET, SO_BUSY_POLL, &(microseconds as i32))?;
        set_option(&self.descriptor(), libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &(budget as i32))
    }

    /// Whether the interface was removed since it was asked last. That it is down the kernel does not report here.
    #[cold]
    pub(super) fn is_unplugged(&self) -> bool {
        matches!(option(&self.descriptor(), libc::SOL_SOCKET, libc::SO_ERROR), Ok(libc::ENETDOWN | libc::ENODEV))
    }

    /// Runs the driver's receive side, or wakes it. What it has to say is in the rings.
    pub(super) fn kick(&self) {
        // SAFETY: an empty buffer: the kernel writes nothing. The descriptor is open as long as the rings.
        unsafe {
            libc::recvfrom(
                self.descriptor(),
                core::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            )
        };
    }

    /// Fills the fill ring as far as there are frames; says whether the pool ran dry.
    #[inline]
    pub(super) fn refill(&mut self, descriptors: &Descriptors, pool: &mut Pool) -> bool {
        debug_assert!(self.staged == 0);
        // The kernel publishes a received frame before it publishes the room that the frame left in the fill ring, so that only the
        // ring itself knows how much it takes. Less than a batch is not worth publishing.
        let mut room = self.fill.nb_free(BATCH as u32) as usize;
        while room >= BATCH {
            let mut taken = 0;
            while taken < BATCH
                && let Some(frame) = pool.take_for_fill()
            {
                self.scratch[taken] = descriptors.pristine(pool.surrender(frame));
                taken += 1;
            }
            // SAFETY: descriptors of this UMEM, of frames that were surrendered a moment ago and are in no other ring.
            let posted = unsafe { self.fill.produce(&self.scratch[..taken]) };
            assert!(posted == taken, "the fill ring takes fewer frames than it has room for");
            if taken < BATCH {
                return true;
            }
            room -= BATCH;
        }
        false
    }

    /// Takes up to a batch of received frames out of the ring. They are in the pool's books as being in a ring until reclaimed.
    #[inline]
    pub(super) fn receive(&mut self, most: usize) -> &[FrameDesc] {
        debug_assert!(self.staged == 0);
        let most = most.min(BATCH);
        // SAFETY: the ring holds frames of this UMEM only; the scratch is overwritten with their descriptors.
        let came = unsafe { self.rx.consume(&mut self.scratch[..most]) };
        &self.scratch[..came]
    }

    /// Wakes a driver that sleeps though its fill ring has frames again.
    #[inline]
    pub(super) fn wake_receive(&mut self) -> io::Result<bool> {
        if !self.fill.needs_wakeup() {
            return Ok(false);
        }
        self.fill.wakeup(self.rx.fd_mut(), 0)?;
        Ok(true)
    }

    /// Packets that the transmit ring takes now, at least, if they are not more than `wanted`.
    #[inline]
    pub(super) fn room(&mut self, wanted: usize) -> usize {
        // Not in flight: a completion needs a place as well. And the ring's own word, which the kernel may publish later than that.
        let free = (self.size - self.in_flight).min(self.tx.nb_free(wanted as u32));
        wanted.min(free as usize)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Puts a packet into the transmit ring, at the latest with [`Queue::post`]. Its range begins where frames begin; there is room.
    #[inline]
    pub(super) fn stage(&mut self, descriptors: &Descriptors, pool: &mut Pool, frame: Frame) {
        assert!(self.in_flight < self.size && frame.start() == pool.layout().start, "a packet that no ring can take");
        let len = frame.len() as u16;
        self.scratch[self.staged] = descriptors.outgoing(pool.surrender(frame), len);
        self.staged += 1;
        self.in_flight += 1;
        if self.staged == BATCH {
            self.post();
        }
    }

    /// Publishes what was staged.
    #[inline]
    pub(super) fn post(&mut self) {
        // SAFETY: descriptors of this UMEM, of frames surrendered when they were staged, in no other ring; nobody touches them until
        // the completion ring gives them back.
        let posted = unsafe { self.tx.produce(&self.scratch[..self.staged]) };
        assert!(posted == self.staged, "the transmit ring takes fewer packets than it has room for");
        self.staged = 0;
    }

    /// Calls the kernel if the transmit ring holds packets and asks for it.
    #[inline]
    pub(super) fn wake_transmit(&mut self) -> io::Result<bool> {
        if self.in_flight == 0 || !self.tx.needs_wakeup() || self.tx.nb_free_exact() == self.size {
            return Ok(false);
        }
        self.tx.wakeup()?;
        Ok(true)
    }

    /// Gives the frames that have left back to the pool; returns how many.
    #[inline]
    pub(super) fn reap(&mut self, descriptors: &Descriptors, pool: &mut Pool) -> u32 {
        if self.in_flight == 0 {
            return 0;
        }
        debug_assert!(self.staged == 0);
        let mut reaped = 0;
        loop {
            // SAFETY: as in `receive`.
            let came = unsafe { self.completion.consume(&mut self.scratch[..]) };
            for desc in &self.scratch[..came] {
                let Returned { index, .. } = descriptors.returned(desc);
                pool.complete(index);
            }
            reaped += came as u32;
            // No more come back than were in flight, so this ends.
            if came < BATCH {
                break;
            }
        }
        self.in_flight -= reaped;
        reaped
    }
}

/// The kernel's answer in an error of the ring library.
fn answer(error: &SocketCreateError) -> io::Error {
    let code = error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    code.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}
