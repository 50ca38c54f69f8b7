//! What threads of the engine share: rings between them, and bells that wake them.
//!
//! ```text
//!   spsc   a bounded ring: one thread pushes, another pops       messages, commands, events
//!   mpsc   numbers that come home from any thread to one         frames whose last reader is done
//!   bell   Bell: wakes an application thread or a task           Doorbell: wakes a worker that sleeps on descriptors
//! ```
//!
//! For `runtime` and `frame`; nothing here knows what it carries. Guards: nothing is lost, nothing comes twice, nobody sleeps through
//! a ring; after construction nothing is allocated on the way of a packet, and no lock is taken unless somebody sleeps.
//!
//! Atomics, cells and locks come from here, because under `cfg(loom)` they are those of loom, which plays every interleaving.

pub(crate) mod bell;
pub(crate) mod mpsc;
pub(crate) mod spsc;

#[cfg(not(loom))]
pub(crate) use core::sync::atomic;
#[cfg(loom)]
pub(crate) use loom::sync::atomic;

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Mutex};
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Mutex};

#[cfg(loom)]
pub(crate) use loom::thread;
#[cfg(not(loom))]
pub(crate) use std::thread;

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// A cell with loom's interface, so that one source serves both.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// The pointer that `f` gets is for reading.
    #[inline]
    #[allow(dead_code)] // as `with_mut`, whichever its users need
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// The pointer that `f` gets is for writing, too.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
