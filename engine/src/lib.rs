//! pgmx: a kernel-bypass engine for PGM, the reliable multicast of RFC 3208.

pub mod endpoint;
pub mod frame;
pub mod link;
pub mod protocol;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod wire;
