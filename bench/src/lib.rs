//! Measurements: budgets, the simulator driver, the links, round trips, batches, reception from the generator; and the engine by itself, over
//! the memory link and with packets missing. A new one begins with [`rig`]. [`interop`] is the matrix of `pgmx` and its peers,
//! [`proving`] how fast they are, side by side.

#[cfg(feature = "xdp")]
pub mod generator;
#[cfg(feature = "xdp")]
pub mod interop;
#[cfg(feature = "xdp")]
pub mod links;
pub mod memory;
pub mod missing;
#[cfg(feature = "xdp")]
#[path = "../../engine/tests/support/netns.rs"]
pub mod netns;
#[cfg(feature = "xdp")]
pub mod pingpong;
#[cfg(feature = "xdp")]
pub mod process;
#[cfg(feature = "xdp")]
pub mod proving;
pub mod rig;
pub mod spread;
#[cfg(feature = "xdp")]
pub mod stop;
pub mod watch;
