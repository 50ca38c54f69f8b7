//! `--framing`: how messages lie in packets, where the other end is of another system.
//!
//! Shared by `send` and `recv`. Without it a message is an APDU, or a record of a batch. Guards: both ends of the command know the same
//! framings by the same names.

use clap::ValueEnum;

/// A framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// ZeroMQ's, of its PUB and SUB sockets
    Zmq,
}
