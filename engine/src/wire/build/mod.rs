//! The builders: meaning in, bytes out, into a slice of the caller.
//!
//! Control packets are written from their first octet on ([`spm`], [`nak`], [`poll`], [`polr`], [`spmr`], [`ack`]). Data
//! packets are written *in front of* a payload that stays where it is ([`DataTemplate`]). Guards: what leaves here obeys
//! the format: checksum filled, ports in the right order, reserved bits zero, options in the RFC's order, END on the last.

#![forbid(unsafe_code)]

mod control;
mod data;
mod writer;

pub use control::{NakOptions, NakType, SpmOptions, ack, nak, poll, polr, spm, spmr};
pub use data::{
    Content, DATA_HEADER_LEN, DataOptions, DataTemplate, DataType, RECORDS_HEADER_LEN, patch_data, patch_join,
};

use super::ids::Tsi;

/// What every packet of a session says about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session's name.
    pub tsi: Tsi,
    /// The data-destination port.
    pub data_port: u16,
}

/// Why a packet was not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The packet does not fit the buffer.
    #[error("the packet does not fit the buffer; give it a whole MTU")]
    BufferTooSmall,
    /// A NAK list of more than 62 entries.
    #[error("{len} entries in a NAK list; 62 fit one packet, send the rest in the next")]
    NakListTooLong {
        /// Entries given.
        len: usize,
    },
    /// A NAK list with an entry out of order, given twice, or equal to the SQN of the NAK itself.
    #[error("a NAK list must ascend and not repeat the SQN of the NAK")]
    NakListOrder,
    /// An option given that does not belong in the packet.
    #[error("{option} does not belong in a {packet}")]
    OptionNotAllowed {
        /// The option.
        option: &'static str,
        /// The packet.
        packet: &'static str,
    },
    /// Parity parameters that no receiver accepts.
    #[error("a transmission group has 2 to 128 packets, a power of two, and parity is pro-active, on demand or both")]
    ParityParameters,
    /// A header of the network that cannot be expressed.
    #[error("{what} does not fit its field")]
    FieldOverflow {
        /// The field.
        what: &'static str,
    },
    /// Source and destination of different address families.
    #[error("source and destination are of different address families")]
    MixedFamilies,
}
