//! What other systems put into the TSDUs of PGM.
//!
//! RFC 3208 carries TSDUs and does not ask what is in them; a peer's library may. Pure: octets in, messages out, and back. For
//! applications, which own both the publisher and the handler; nothing below calls it. Guards: what is read came from a network, so
//! that any octets cost bounded work and memory, and never a panic.

#![forbid(unsafe_code)]

pub mod zmq;
