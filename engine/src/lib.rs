//! pgmx: a kernel-bypass engine for PGM, the reliable multicast of RFC 3208.

pub mod frame;
pub mod link;
pub mod protocol;
pub mod time;
pub mod wire;
