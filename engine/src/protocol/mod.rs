//! RFC 3208 as pure state machines.
//!
//! Nothing in here reads a clock, blocks, logs, allocates after construction, or draws randomness but from the seed it was given. Time
//! and packets come in as arguments; what must go out is asked for. The same seed and the same inputs give the same octets.
//!
//! * [`source`]: the transmit window, SPMs, NAK → NCF → RDATA, rate and trail (RFC 3208 §5, §16).
//! * [`receiver`]: sessions, the NAK state machine, delivery and loss (RFC 3208 §6, §13).

#![forbid(unsafe_code)]

pub mod config;
mod delivery;
pub mod receiver;
mod rng;
pub mod source;
pub mod timers;

pub use delivery::{Delivery, End, Event, LossCause, Place, Sink};
pub use rng::Rng;
