//! The clocks of a command: monotonic time for the engine, the time of day for what two hosts compare.
//!
//! Read once an iteration. Guards: the engine's time never turns back, whatever is done to the time of day.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pgmx::time::Time;

/// How often the two are compared: what a clock that is being slewed moves in between, 500 ppm at the most, stays below 100 µs.
const COMPARE_NS: u64 = 200_000_000;

/// The clocks.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    /// Time of day at the origin, in nanoseconds since 1970.
    origin_wall_ns: u64,
    compared: Time,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn new() -> Self {
        let mut clock = Self { origin: Instant::now(), origin_wall_ns: 0, compared: Time::ZERO };
        clock.compare(Time::ZERO);
        clock
    }

    /// The time for the engine.
    #[inline]
    pub(crate) fn now(&self) -> Time {
        // 584 years fit.
        Time::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    /// The time of day at `now`, in nanoseconds since 1970.
    #[inline]
    pub(crate) fn wall_ns(&mut self, now: Time) -> u64 {
        if now.since(self.compared) > COMPARE_NS {
            self.compare(now);
        }
        self.origin_wall_ns.wrapping_add(now.as_nanos())
    }

    #[cold]
    fn compare(&mut self, now: Time) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |wall| wall.as_nanos() as u64);
        self.origin_wall_ns = wall.wrapping_sub(self.now().as_nanos());
        self.compared = now;
    }
}
