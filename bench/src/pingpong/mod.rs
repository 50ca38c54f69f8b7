//! Round trips: what a message and its answer take, and what the same two packets take over bare `AF_XDP` rings.
//!
//! [`bare`] is the floor: the same frames on the same kind of cable, between two threads that do nothing else. The command is started by
//! the benchmark itself, each end a process on a host of its own ([`crate::process`]).

pub mod bare;
