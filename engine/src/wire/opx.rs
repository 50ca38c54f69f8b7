//! What a network element does with options it does not know (RFC 3208 §9, the OPX bits).
//!
//! For elements that forward packets; a receiver passes over such options whatever these bits say. Works in place on a packet that
//! was parsed, bounded by the options that a packet may carry. Guards: nothing but the type of an option and the checksum changes.

#![forbid(unsafe_code)]

use super::checksum;
use super::header::Header;
use super::options::{END, INVALID, MAX_OPTIONS, OptionSet, code};

/// OPX: what the sender wants done.
const OPX: u8 = 0x03;
const OPX_INVALIDATE: u8 = 1;
const OPX_DISCARD: u8 = 2;

/// What became of a packet's unknown options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The packet goes on as it is; so many of its options were invalidated.
    Forward {
        /// Options whose type is `OPT_INVALID` now.
        invalidated: u8,
    },
    /// The packet goes no further.
    Discard,
}

/// Treats the options of `packet` that this implementation does not know as their OPX bits ask. `header` is what the parser made of it.
pub fn treat_unknown_options(packet: &mut [u8], header: &Header) -> Unknown {
    let mut doomed = [0_usize; MAX_OPTIONS];
    let mut invalidated = 0;
    for at in unknown(header.options, packet) {
        match packet[at + 2] & OPX {
            OPX_DISCARD => return Unknown::Discard,
            OPX_INVALIDATE => {
                doomed[invalidated] = at;
                invalidated += 1;
            }
            // To be ignored; so is the value that has no meaning yet.
            _ => {}
        }
    }
    for &at in &doomed[..invalidated] {
        // RFC 3208 §9, conformance 26: its type becomes OPT_INVALID; whether it is the last one stays.
        set_octet(packet, at, packet[at] & END | INVALID);
    }
    Unknown::Forward { invalidated: invalidated as u8 }
}

/// Where the unknown options begin.
fn unknown(options: OptionSet, packet: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let mut found = [0_usize; MAX_OPTIONS];
    let mut count = 0;
    let (mut at, end) = options.range();
    for _ in 0..MAX_OPTIONS {
        let Some(&[kind, len, _, _]) = packet.get(at..end.min(packet.len())).and_then(<[u8]>::first_chunk) else {
            break;
        };
        let known = matches!(kind & !END, code::LENGTH..=code::NAK_BO_RNG | code::REDIRECT..=code::PGMCC_FEEDBACK | code::RECORDS | INVALID);
        if !known {
            found[count] = at;
            count += 1;
        }
        at += usize::from(len).max(4);
    }
    found.into_iter().take(count)
}

/// Changes one octet and brings the checksum along (RFC 1624); a packet without one stays without.
fn set_octet(packet: &mut [u8], at: usize, octet: u8) {
    let old = packet[at];
    packet[at] = octet;
    let checksum = u16::from_be_bytes([packet[6], packet[7]]);
    if checksum != 0 {
        let word = |octet: u8| if at.is_multiple_of(2) { u16::from(octet) << 8 } else { u16::from(octet) };
        packet[6..8].copy_from_slice(&checksum::update16(checksum, word(old), word(octet)).to_be_bytes());
    }
}
