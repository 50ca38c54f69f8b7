//! Bare `AF_XDP` rings that take what comes, read it and post the frame again. The yardstick.
//!
//! It looks at a packet's type, since SPMs are not counted, and reads its payload; nothing else is checked.

use pgmx::time::Time;
use xsk_rs::umem::frame::FrameDesc;

use super::take::Taker;
use super::{Course, frame};
use crate::links::rings::{Rings, Shape};
use crate::links::{DATA_PORT, read};
use crate::netns::Port;

const BATCH: usize = 64;
/// Where a packet's type is in its frame, and which are counted.
const TYPE: usize = 14 + 20 + 4;
const ODATA: u8 = 4;

/// The rings.
pub struct Bare {
    rings: Rings,
    sum: u64,
}

impl Bare {
    /// Opens a socket on the port that takes what the generator sends.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn open(port: &Port, course: &Course) -> Result<Self, String> {
        let Course { ring, .. } = *course;
        let shape = Shape { ring, frames: ring * 2, filled: ring, budget: 32, heard: Some(DATA_PORT) };
        Ok(Self { rings: Rings::open(port, &shape)?, sum: 0 })
    }
}

impl Taker for Bare {
    #[inline]
    fn take(&mut self, _: Time) -> Result<u64, String> {
        let mut came = [FrameDesc::default(); BATCH];
        let Rings { rx, fill, umem, .. } = &mut self.rings;
        // The kernel publishes what came before it publishes the room that this left in the fill ring.
        let most = BATCH.min(fill.nb_free(BATCH as u32) as usize);
        // SAFETY: only descriptors are overwritten.
        let count = unsafe { rx.consume(&mut came[..most]) };
        let mut taken = 0;
        for desc in &came[..count] {
            // SAFETY: a frame of this memory that just came out of the ring.
            let data = unsafe { umem.data(desc) };
            let packet = data.contents();
            taken += u64::from(packet.get(TYPE) == Some(&ODATA));
            self.sum = self.sum.wrapping_add(read(packet.get(frame::HEADERS..).unwrap_or_default()));
        }
        // SAFETY: the frames that just came out, read by now.
        let filled = unsafe { fill.produce(&came[..count]) };
        assert_eq!(filled, count, "a fill ring takes as many frames as it has room for");
        Ok(taken)
    }

    fn form(&self) -> String {
        "bare AF_XDP rings, native, copy".into()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        core::hint::black_box(self.sum);
        Ok(())
    }
}
