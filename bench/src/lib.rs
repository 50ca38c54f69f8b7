//! Measurements: budgets, the simulator driver, the metal.

#[cfg(feature = "xdp")]
pub mod metal;
#[cfg(feature = "xdp")]
#[path = "../../engine/tests/support/netns.rs"]
pub mod netns;
