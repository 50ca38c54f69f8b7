//! What links ask of the kernel besides packets: what an interface is, group memberships, socket options, and who else uses a channel.
//!
//! Used by the links `xdp`, `raw` and `udp`. Guards: every answer is of the network namespace of the calling thread, and nothing asked
//! for here outlives the process.

pub(super) mod claims;
pub(super) mod details;
pub(super) mod ethtool;
pub(super) mod interface;
pub(super) mod membership;
pub(super) mod socket;
pub(super) mod wait;
