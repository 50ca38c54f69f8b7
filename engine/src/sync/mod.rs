//! What threads of the engine share. Atomics come from here, because under `cfg(loom)` they are those of loom, which plays every
//! interleaving.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic;
#[cfg(loom)]
pub(crate) use loom::sync::atomic;
