//! Ctrl-C: once ends the session gracefully, twice ends at once.
//!
//! Asked by every loop, once an iteration. SIGTERM counts the same. Guards: a program that is stuck ends all the same, a second after the
//! second request.

use super::failure::Failure;
use super::kernel;

/// Proof that requests to end are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop(());

impl Stop {
    /// Counts requests from now on.
    pub(crate) fn install() -> Result<Self, Failure> {
        kernel::catch().map_err(|error| Failure::error(format_args!("catching Ctrl-C: {error}")))?;
        Ok(Self(()))
    }

    /// Whether to end well.
    #[inline]
    pub(crate) fn is_asked(self) -> bool {
        kernel::asked() > 0
    }

    /// Whether to end at once.
    #[inline]
    pub(crate) fn is_urgent(self) -> bool {
        kernel::asked() > 1
    }
}
