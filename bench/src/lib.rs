//! Measurements: budgets, the simulator driver, the links.

#[cfg(feature = "xdp")]
pub mod links;
#[cfg(feature = "xdp")]
#[path = "../../engine/tests/support/netns.rs"]
pub mod netns;
