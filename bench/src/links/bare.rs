//! Bare `AF_XDP`: rings, descriptors and nothing else. The yardstick.
//!
//! The sender writes its frames once and posts them round and round; the receiver reads each payload and posts the frame again.
//! Neither keeps books. What is safe here rests on the order of the rings: a frame is posted again only after everything before it.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use xsk_rs::umem::frame::FrameDesc;

use super::rings::{Rings, Shape, words};
use super::{Contestant, DATA_PORT, HEADERS, Outcome, PATIENCE, Run, Watch, Workload, read};
use crate::links::rings::packet;
use crate::netns::Port;

const BATCH: usize = 64;

/// One end.
pub struct Bare {
    rings: Rings,
    address: Ipv4Addr,
    /// Whether the receiver sleeps until something comes, and does not spin.
    blocks: bool,
}

impl Bare {
    /// Opens a socket on the port. A receiver puts `ring` frames into its fill ring; all are for one or the other.
    pub fn open(port: &Port, workload: &Workload, receives: bool) -> Result<Self, String> {
        let frames = if receives { workload.ring * 2 } else { workload.frames };
        let heard = receives.then_some(DATA_PORT);
        let Workload { ring, budget, .. } = *workload;
        let shape = Shape { ring, frames, filled: ring, budget, heard };
        Ok(Self { rings: Rings::open(port, &shape)?, address: port.address, blocks: false })
    }

    /// A receiver that sleeps until something comes: where there are more of them than processors.
    pub fn blocking(mut self) -> Self {
        self.blocks = true;
        self
    }
}

impl Contestant for Bare {
    fn send(&mut self, workload: &Workload, run: &Run) -> Result<(), String> {
        let packet = packet(self.address, DATA_PORT, workload.payload);
        let Rings { umem, frames, tx, completion, .. } = &mut self.rings;
        for frame in &mut *frames {
            // SAFETY: a frame of this memory; no ring holds one: the last run ended when all had come back.
            unsafe { Rings::write(umem, frame, &packet)? };
        }
        let mut done = [FrameDesc::default(); BATCH];
        let (mut in_flight, mut next, mut sent) = (0, 0, 0_u64);
        let (budget, ring) = (workload.budget as usize, workload.ring as usize);
        let watch = Watch::start();
        let end = Instant::now() + workload.time;
        let mut over = false;
        while !over || in_flight > 0 {
            loop {
                // SAFETY: only descriptors are overwritten.
                let came = unsafe { completion.consume(&mut done) };
                in_flight -= came;
                if came < BATCH {
                    break;
                }
            }
            let now = Instant::now();
            if now > end + PATIENCE {
                return Err(format!("{in_flight} frames did not come back"));
            }
            over = now >= end;
            let free = (ring - in_flight).min(frames.len() - in_flight);
            let posted = if over { 0 } else { budget.min(free).min(frames.len() - next) };
            // SAFETY: frames of this memory; those from `next` on came back already, because rings keep their order and no more are
            // in flight than there are others.
            let posted = unsafe { tx.produce(&frames[next..next + posted]) };
            next = (next + posted) % frames.len();
            in_flight += posted;
            sent += posted as u64;
            if in_flight > 0 && tx.needs_wakeup() {
                tx.wakeup().map_err(words("sending"))?;
            }
        }
        run.finish(sent, watch);
        Ok(())
    }

    fn receive(&mut self, workload: &Workload, run: &Run) -> Result<Outcome, String> {
        let mut came = [FrameDesc::default(); BATCH];
        let mut sum = 0_u64;
        let blocks = self.blocks;
        let Rings { rx, fill, umem, .. } = &mut self.rings;
        let outcome = run.collect(workload, || {
            // The kernel publishes what came before it publishes the room that this left in the fill ring.
            let most = BATCH.min(fill.nb_free(BATCH as u32) as usize);
            // SAFETY: only descriptors are overwritten.
            let count = unsafe { rx.consume(&mut came[..most]) };
            if count == 0 && blocks {
                wait(rx.fd().as_raw_fd());
            }
            for desc in &came[..count] {
                // SAFETY: a frame of this memory that just came out of the ring.
                let data = unsafe { umem.data(desc) };
                sum = sum.wrapping_add(read(data.contents().get(HEADERS..).unwrap_or_default()));
            }
            // SAFETY: the frames that just came out, read by now.
            let filled = unsafe { fill.produce(&came[..count]) };
            assert_eq!(filled, count, "a fill ring takes as many frames as it has room for");
            Ok(count as u64)
        });
        core::hint::black_box(sum);
        outcome
    }

    fn form(&self) -> String {
        "bare AF_XDP rings, native, copy".into()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

/// Sleeps until the socket has something, or a millisecond: whoever waits must see that it is over.
fn wait(socket: i32) {
    let mut asked = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which lives through the call. A sleep that was disturbed is followed by another.
    unsafe { libc::poll(&raw mut asked, 1, 1) };
}
