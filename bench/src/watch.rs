//! A watch with two hands: the processor time of a thread, and the wall's.
//!
//! Called by every benchmark that has to say whether it had its processor to itself.

use std::time::{Duration, Instant};

/// Processor time of this thread beside the wall's.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    processor: Duration,
    wall: Instant,
}

impl Watch {
    /// From now on.
    pub fn start() -> Self {
        Self { processor: processor_time(), wall: Instant::now() }
    }

    /// What this thread used since, and what passed.
    pub fn read(self) -> (Duration, Duration) {
        (processor_time().saturating_sub(self.processor), self.wall.elapsed())
    }
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a structure that lives through the call. This clock exists wherever threads do.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
