//! What links ask of the kernel: what an interface is, group memberships, routes, socket options, who else uses a channel, and calls
//! that move many messages at once.
//!
//! Used by the links `xdp`, `raw` and `udp`. Guards: every answer is of the network namespace of the calling thread, and nothing asked
//! for here outlives the process.

mod attributes;
pub(super) mod channels;
pub(super) mod claims;
pub(super) mod details;
pub(super) mod ethtool;
pub(super) mod filter;
pub(super) mod interface;
pub(super) mod membership;
pub(super) mod messages;
#[cfg(feature = "xdp")]
pub(super) mod netlink;
pub(super) mod presence;
pub(super) mod socket;
pub(super) mod wait;
