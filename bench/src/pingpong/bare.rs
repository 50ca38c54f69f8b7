//! Ping and pong over bare `AF_XDP` rings. The floor.
//!
//! Each side spins on its receive ring and answers at once; books are kept after the answer has left. The kernel is called only when a ring
//! asks for it, which for sending in copy mode it always does. Both frames are as long as a data packet of the engine with the same
//! payload. Guards: every answer is that of the ping it belongs to, so that nothing lost or doubled is ever timed.

use core::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use xsk_rs::umem::frame::FrameDesc;

use crate::links::rings::{Rings, Shape, packet, words};
use crate::links::{DATA_PORT, HEADERS, PATIENCE};
use crate::netns::Port;

/// Entries of each ring: as the links' benchmark has them.
const RING: u32 = 2048;
/// Frames that packets come in. Not all that the fill ring could hold: the kernel publishes a received frame before the room that it left
/// there, and the frame must find room when it was read.
const COMING: usize = RING as usize - 64;
/// Frames that packets leave in, one after the other. More than ever are in flight: a packet has left before its answer comes.
const LEAVING: usize = 64;
/// Looks into an empty ring between two looks at the clock, or at whether it is over. A look takes nanoseconds, a round trip thousands.
const LOOKS: u32 = 1 << 12;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Octets of payload, eight at least: the ping's number.
    pub payload: usize,
    /// Round trips before any is timed.
    pub warm_up: u64,
    /// Round trips that are timed.
    pub count: u64,
}

/// One side and its rings.
pub struct Side {
    rings: Rings,
    /// The frame that the next packet leaves in, and how many left and did not come back.
    next: usize,
    in_flight: usize,
}

impl Side {
    /// The side that begins.
    pub fn ping(port: &Port, course: &Course) -> Result<Self, String> {
        Self::open(port, course, DATA_PORT, DATA_PORT + 1)
    }

    /// The side that answers.
    pub fn pong(port: &Port, course: &Course) -> Result<Self, String> {
        Self::open(port, course, DATA_PORT + 1, DATA_PORT)
    }

    fn open(port: &Port, course: &Course, to: u16, from: u16) -> Result<Self, String> {
        if course.payload < size_of::<u64>() {
            return Err(format!("a payload of {} octets has no room for a number", course.payload));
        }
        let (filled, frames) = (COMING as u32, (COMING + LEAVING) as u32);
        let shape = Shape { ring: RING, frames, filled, budget: 32, heard: Some(from) };
        let mut rings = Rings::open(port, &shape)?;
        let packet = packet(port.address, to, course.payload);
        for frame in &mut rings.frames[COMING..] {
            // SAFETY: a frame of this memory that was put into no ring.
            unsafe { Rings::write(&rings.umem, frame, &packet)? };
        }
        Ok(Self { rings, next: 0, in_flight: 0 })
    }

    /// Sends this number.
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), String> {
        let Rings { tx, umem, frames, .. } = &mut self.rings;
        let frame = &mut frames[COMING + self.next];
        // SAFETY: a frame of this memory. It left `LEAVING` packets ago and came back: `tidy` saw to it.
        let mut data = unsafe { umem.data_mut(frame) };
        data.contents_mut()[HEADERS..HEADERS + size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
        // SAFETY: as above, and nobody touches it until it came back.
        let posted = unsafe { tx.produce_one(frame) };
        if posted != 1 {
            return Err("the transmit ring is full".into());
        }
        self.next = (self.next + 1) % LEAVING;
        self.in_flight += 1;
        if tx.needs_wakeup() {
            tx.wakeup().map_err(words("sending"))?;
        }
        Ok(())
    }

    /// The number that came in, and the frame it came in, if one did.
    #[inline]
    fn receive(&mut self) -> Result<Option<(u64, FrameDesc)>, String> {
        let Rings { rx, fill, umem, .. } = &mut self.rings;
        let mut came = FrameDesc::default();
        // SAFETY: only the descriptor is overwritten.
        if unsafe { rx.consume_one(&mut came) } == 0 {
            if fill.needs_wakeup() {
                fill.wakeup(rx.fd_mut(), 0).map_err(words("receiving"))?;
            }
            return Ok(None);
        }
        // SAFETY: a frame of this memory that just came out of the ring.
        let data = unsafe { umem.data(&came) };
        let number = data.contents().get(HEADERS..).and_then(<[u8]>::first_chunk);
        Ok(Some((u64::from_le_bytes(*number.ok_or("a packet that is cut")?), came)))
    }

    /// Gives a frame that was read back to the kernel, and takes those that have left.
    #[inline]
    fn tidy(&mut self, read: FrameDesc) -> Result<(), String> {
        let Rings { fill, completion, .. } = &mut self.rings;
        // SAFETY: the frame came out of the receive ring and was read.
        if unsafe { fill.produce_one(&read) } != 1 {
            return Err("the fill ring is full".into());
        }
        let mut done = [FrameDesc::default(); LEAVING];
        // SAFETY: only descriptors are overwritten.
        self.in_flight -= unsafe { completion.consume(&mut done) };
        if self.in_flight == LEAVING { Err("no frame that left came back".into()) } else { Ok(()) }
    }

    /// Plays the side that begins. Returns what each round trip took, in nanoseconds.
    pub fn time(&mut self, course: &Course) -> Result<Histogram<u64>, String> {
        let longest = PATIENCE.as_nanos() as u64;
        let mut histogram = Histogram::new_with_bounds(1, longest, 3).map_err(words("histogram"))?;
        for number in 0..course.warm_up + course.count {
            let begun = Instant::now();
            self.send(number)?;
            let mut looks = 0_u32;
            let (answer, frame) = loop {
                if let Some(came) = self.receive()? {
                    break came;
                }
                looks += 1;
                if looks.is_multiple_of(LOOKS) && begun.elapsed() > PATIENCE {
                    return Err(format!("no answer to ping {number} of the bare rings"));
                }
            };
            let took = begun.elapsed();
            if answer != number {
                return Err(format!("{answer} came for an answer to ping {number}"));
            }
            self.tidy(frame)?;
            if number >= course.warm_up {
                histogram.record(took.as_nanos() as u64).map_err(words("a round trip beyond all patience"))?;
            }
        }
        Ok(histogram)
    }

    /// Plays the side that answers, until it is told that it is over, or for this time.
    pub fn answer(&mut self, is_over: &AtomicBool, at_most: Duration) -> Result<(), String> {
        let end = Instant::now() + at_most;
        let mut looks = 0_u32;
        loop {
            if let Some((number, frame)) = self.receive()? {
                self.send(number)?;
                self.tidy(frame)?;
                looks = 0;
                continue;
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                if is_over.load(Ordering::Acquire) {
                    return Ok(());
                }
                if Instant::now() > end {
                    return Err("nobody ended the ping-pong".into());
                }
            }
        }
    }
}
