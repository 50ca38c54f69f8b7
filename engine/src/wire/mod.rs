//! Bytes to meaning and back: the packets of RFC 3208 and the network headers in front of them.
//!
//! What lives here: the parser ([`parse`]), the builders ([`build`]), the checksum ([`checksum`]), the numbers and names
//! that all floors above speak ([`Sqn`], [`Tsi`], [`Header`]), and Ethernet, IP and UDP headers ([`net`]).
//! Everybody may call it; it calls nobody. It reads and writes slices of the caller, never copies a payload, never
//! allocates and never panics on what came from a network.
//!
//! ```text
//!            net::parse_frame          parse
//!  frame ──────────────────────▶ PGM ──────────▶ Header (Copy)  + options.xxx(packet)
//!  frame ◀────────────────────── PGM ◀────────── Spm, Nak, ...  + SpmOptions, NakOptions, DataOptions
//!             net::Envelope            build
//! ```

#![deny(unsafe_code)]

pub mod build;
pub mod checksum;
mod header;
mod ids;
mod md5;
pub mod net;
mod options;
mod opx;
mod parse;
mod records;
mod reject;
mod rules;
mod sqn;

pub use header::{Ack, Data, Flags, HEADER_LEN, Header, Kind, Nak, PacketType, Poll, Polr, Spm};
pub use ids::{Gsi, ParseIdError, Tsi};
pub use options::{
    Cr, CrRequest, EncodedFragment, Fragment, MAX_NAK_LIST, NakBoIvl, NakBoRng, NakList, OptionSet, ParityPrm,
    PgmccData, PgmccFeedback, Rst,
};
pub use opx::{Unknown, treat_unknown_options};
pub use parse::{Limits, PlainData, parse, parse_plain};
pub use records::{RECORD_HEADER_LEN, Records};
pub use reject::{Reject, RejectCounters};
pub use sqn::Sqn;

#[cfg(test)]
mod tests;
