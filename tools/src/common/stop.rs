//! Ctrl-C: once ends the session gracefully, twice ends at once.
//!
//! Asked by every loop, once an iteration. SIGTERM counts the same. Guards: a program that is stuck ends all the same, a second after the
//! second request.

use std::sync::atomic::{AtomicU8, Ordering};

use super::failure::Failure;
use super::kernel;

/// Counts requests to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    requests: &'static AtomicU8,
}

impl Stop {
    /// Counts requests from now on.
    pub(crate) fn install() -> Result<Self, Failure> {
        let requests = kernel::catch().map_err(|error| Failure::error(format_args!("catching Ctrl-C: {error}")))?;
        Ok(Self { requests })
    }

    /// Whether to end well.
    #[inline]
    pub(crate) fn is_asked(self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Whether to end at once.
    #[inline]
    pub(crate) fn is_urgent(self) -> bool {
        self.requests.load(Ordering::Relaxed) > 1
    }
}
