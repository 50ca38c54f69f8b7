//! Measurements: budgets, the simulator driver, the links, round trips, batches; a new one begins with [`rig`]. And [`interop`], the
//! matrix of `pgmx` and its peers.

#[cfg(feature = "xdp")]
pub mod interop;
#[cfg(feature = "xdp")]
pub mod links;
#[cfg(feature = "xdp")]
#[path = "../../engine/tests/support/netns.rs"]
pub mod netns;
#[cfg(feature = "xdp")]
pub mod pingpong;
#[cfg(feature = "xdp")]
pub mod process;
pub mod rig;
pub mod spread;
