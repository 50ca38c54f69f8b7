//! The one clock of an engine.
//!
//! Read by workers, once an iteration, and by applications that compare [`Message::received`] with now. Guards: all workers of an engine
//! count from one origin.
//!
//! [`Message::received`]: super::Message::received

use core::time::Duration;
use std::time::Instant;

use crate::time::{Time, nanos};

/// Counts from where the engine was built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    #[inline]
    pub(super) fn now(self) -> Time {
        Time::from_nanos(nanos(self.origin.elapsed()))
    }
}

/// The moment that lies `at_most` ahead; `None`, which is never, where the clock does not reach so far.
pub(super) fn after(at_most: Duration) -> Option<Instant> {
    Instant::now().checked_add(at_most)
}
