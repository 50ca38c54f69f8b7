//! Measurements: budgets, the simulator driver, the links, round trips, batches, and the whole, side by side ([`proving`]); a new one begins
//! with [`rig`].

#[cfg(feature = "xdp")]
pub mod links;
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
