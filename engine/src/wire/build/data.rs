//! Data packets: a header in front of a payload that never moves.
//!
//! Called by the source, once per packet on the hot path. The source sums the payload once; the header's constant part is
//! summed once per session; what is left per packet is a handful of additions and three stores.
//!
//! ```text
//!            front: 24 + options.len()                payload: stays where the application wrote it
//!  ┌─────────────────┬───────────┬ ─ ─ ─ ─ ─ ┬───────────────────────────────
//!  │ common header 16│ sqn trail │  options   │ payload
//!  └─────────────────┴───────────┴ ─ ─ ─ ─ ─ ┴───────────────────────────────
//! ```
//!
//! Guards: the checksum of what leaves here is right and never zero, whether computed or patched.

#![forbid(unsafe_code)]

use super::writer::Significance::{Network, Receiver};
use super::writer::Writer;
use super::{BuildError, Session};
use crate::wire::checksum::{self, Sum};
use crate::wire::header::{Flags, PacketType};
use crate::wire::options::{ENCODED, EncodedFragment, Fragment, OPTION_HEADER_LEN, PgmccData, RECORDS_OPTIONS, code};
use crate::wire::sqn::Sqn;

/// Octets in front of the options or the payload of a data packet.
pub const DATA_HEADER_LEN: usize = 24;

/// Octets in front of the payload of a data packet whose only option is `OPT_RECORDS`.
pub const RECORDS_HEADER_LEN: usize = DATA_HEADER_LEN + RECORDS_OPTIONS.len();

/// Original or repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DataType {
    /// Sent unasked.
    Odata = PacketType::Odata.code(),
    /// Sent in answer to a NAK.
    Rdata = PacketType::Rdata.code(),
}

/// What the payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    /// The application's octets.
    #[default]
    Original = 0,
    /// Parity of packets of one length.
    Parity = Flags::PARITY.bits(),
    /// Parity of packets that differ in length.
    // RFC 3208 §8, conformance 5: OPT_VAR_PKTLEN never without OPT_PARITY.
    VariableParity = Flags::PARITY.bits() | Flags::VAR_PKTLEN.bits(),
}

/// The options of a data packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// `OPT_CURR_TGSIZE`: data packets of a transmission group cut short.
    pub curr_tgsize: Option<u32>,
    /// `OPT_FRAGMENT`, of an original.
    pub fragment: Option<Fragment>,
    /// `OPT_FRAGMENT` in its encoded form, of parity.
    pub encoded_fragment: Option<EncodedFragment>,
    /// `OPT_JOIN`: the lowest SQN that a late joiner may ask for.
    pub join: Option<Sqn>,
    /// `OPT_PARITY_GRP`: number of the parity group, of parity; group 0 goes without.
    pub parity_grp: Option<u32>,
    /// `OPT_SYN`: first data of the session.
    pub syn: bool,
    /// `OPT_FIN`: last data of the session.
    pub fin: bool,
    /// `OPT_PGMCC_DATA`: the source's clock and acker.
    pub pgmcc_data: Option<PgmccData>,
    /// `OPT_RECORDS`: the TSDU is a batch of records; never of a fragment.
    pub records: bool,
}

impl DataOptions {
    /// No option.
    pub const NONE: Self = Self {
        curr_tgsize: None,
        fragment: None,
        encoded_fragment: None,
        join: None,
        parity_grp: None,
        syn: false,
        fin: false,
        pgmcc_data: None,
        records: false,
    };

    /// Octets that the options take, `OPT_LENGTH` included; zero without options.
    #[inline]
    pub const fn len(&self) -> usize {
        let body = 8
            * (self.curr_tgsize.is_some() as usize + self.join.is_some() as usize + self.parity_grp.is_some() as usize)
            + 16 * (self.fragment.is_some() as usize + self.encoded_fragment.is_some() as usize)
            + 4 * (self.syn as usize + self.fin as usize + self.records as usize)
            + match self.pgmcc_data {
                None => 0,
                Some(data) if data.acker.is_ipv4() => 16,
                Some(_) => 28,
            };
        if body == 0 { 0 } else { OPTION_HEADER_LEN + body }
    }

    /// True without options.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self, content: Content) -> Result<(), BuildError> {
        let stray = match content {
            Content::Original => [
                (self.encoded_fragment.is_some(), "an encoded OPT_FRAGMENT"),
                (self.parity_grp.is_some(), "OPT_PARITY_GRP"),
                (self.records && self.fragment.is_some(), "OPT_RECORDS beside OPT_FRAGMENT"),
                (false, ""),
            ],
            Content::Parity | Content::VariableParity => [
                (self.fragment.is_some(), "OPT_FRAGMENT"),
                (self.join.is_some(), "OPT_JOIN"),
                (self.pgmcc_data.is_some(), "OPT_PGMCC_DATA"),
                (self.records, "OPT_RECORDS"),
            ],
        };
        let packet = if content == Content::Original { "data packet" } else { "parity packet" };
        match stray.into_iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(BuildError::OptionNotAllowed { option, packet }),
            None => Ok(()),
        }
    }
}

/// The part of the data header that is the same for all packets of a session, with its sum.
#[derive(Clone, Copy, Debug)]
pub struct DataTemplate {
    /// Octets 0..8 and 8..16 of the header as little-endian numbers; type, flags, checksum and TSDU length are zero.
    words: [u64; 2],
}

impl DataTemplate {
    /// The template of this session.
    pub fn new(session: &Session) -> Self {
        let [s0, s1] = session.tsi.port.to_be_bytes();
        // RFC 3208 §8, conformance 11: downstream, so data-source port first.
        let [d0, d1] = session.data_port.to_be_bytes();
        let [a, b, c, d, e, f] = session.tsi.gsi.octets();
        Self { words: [u64::from_le_bytes([s0, s1, d0, d1, 0, 0, 0, 0]), u64::from_le_bytes([a, b, c, d, e, f, 0, 0])] }
    }

    /// Writes the header of a data packet without options. `payload_sum` is the sum of the payload that follows.
    #[inline]
    #[allow(clippy::too_many_arguments)] // each is one field of the packet; a structure would be built and taken apart
    pub fn plain(
        &self,
        front: &mut [u8; DATA_HEADER_LEN],
        data_type: DataType,
        content: Content,
        sqn: Sqn,
        trail: Sqn,
        payload_len: u16,
        payload_sum: Sum,
    ) {
        self.head(front, data_type, Flags::from_bits(content as u8), sqn, trail, payload_len, payload_sum);
    }

    /// Writes the header of a batch of records, whose only option is `OPT_RECORDS`. `payload_sum` is the sum of the payload that follows.
    #[inline]
    pub fn records(
        &self,
        front: &mut [u8; RECORDS_HEADER_LEN],
        sqn: Sqn,
        trail: Sqn,
        payload_len: u16,
        payload_sum: Sum,
    ) {
        let Some((head, options)) = front.split_first_chunk_mut() else { return };
        options.copy_from_slice(&RECORDS_OPTIONS);
        let sum = payload_sum.plus_le_u64s([u64::from_le_bytes(RECORDS_OPTIONS)]);
        self.head(head, DataType::Odata, Flags::OPT_PRESENT, sqn, trail, payload_len, sum);
    }

    /// Writes the header and options of a data packet. `front` ends where the payload starts and is exactly
    /// `24 + options.len()` octets long.
    #[inline]
    #[allow(clippy::too_many_arguments)] // as above
    pub fn data(
        &self,
        front: &mut [u8],
        data_type: DataType,
        content: Content,
        sqn: Sqn,
        trail: Sqn,
        options: &DataOptions,
        payload_len: u16,
        payload_sum: Sum,
    ) -> Result<(), BuildError> {
        let (head, rest) = front.split_first_chunk_mut().ok_or(BuildError::BufferTooSmall)?;
        let mut flags = Flags::from_bits(content as u8);
        let mut sum = payload_sum;
        if rest.is_empty() && options.is_empty() {
            self.head(head, data_type, flags, sqn, trail, payload_len, sum);
            return Ok(());
        }
        if rest.len() != options.len() {
            return Err(BuildError::BufferTooSmall);
        }
        options.check(content)?;
        flags = flags | write_options(rest, data_type, options)?;
        sum = sum.combine(checksum::sum(rest));
        self.head(head, data_type, flags, sqn, trail, payload_len, sum);
        Ok(())
    }

    #[inline]
    #[allow(clippy::too_many_arguments)] // as above
    fn head(
        &self,
        head: &mut [u8; DATA_HEADER_LEN],
        data_type: DataType,
        flags: Flags,
        sqn: Sqn,
        trail: Sqn,
        payload_len: u16,
        rest: Sum,
    ) {
        // Three little-endian words are the whole header; a number that is big-endian on the wire is swapped into place.
        let first = self.words[0] | (data_type as u64) << 32 | u64::from(flags.bits()) << 40;
        let second = self.words[1] | u64::from(payload_len.swap_bytes()) << 48;
        let third = u64::from(sqn.get().swap_bytes()) | u64::from(trail.get().swap_bytes()) << 32;
        let sum = rest.plus_le_u64s([first, second, third]);
        // RFC 3208 §8, conformance 6, 8: over the whole packet, and never zero on data.
        let first = first | u64::from(sum.finish_le()) << 48;
        let words = head.as_chunks_mut::<8>().0;
        words[0] = first.to_le_bytes();
        words[1] = second.to_le_bytes();
        words[2] = third.to_le_bytes();
    }
}

/// Writes the options, which fill `out`. Gives the flags they call for.
fn write_options(out: &mut [u8], data_type: DataType, options: &DataOptions) -> Result<Flags, BuildError> {
    let mut out = Writer::new(out, 0).options();
    if let Some(size) = options.curr_tgsize {
        // RFC 3208 §11.8.3: matters to network elements, except on ODATA. It stands first in both, so that turning
        // ODATA into RDATA moves nothing.
        let significance = if data_type == DataType::Rdata { Network } else { Receiver };
        out.put(code::CURR_TGSIZE, significance, [0, 0], |body| body.u32(size))?;
    }
    if let Some(fragment) = options.fragment {
        // RFC 3208 §9.2, conformance 27: 16 octets, as the figure has it.
        out.put(code::FRAGMENT, Receiver, [0, 0], |body| {
            body.sqn(fragment.first_sqn)?;
            body.u32(fragment.offset)?;
            body.u32(fragment.apdu_len)
        })?;
    }
    if let Some(EncodedFragment([specific, body_octets @ ..])) = options.encoded_fragment {
        // RFC 3208 §9, conformance 24: F in parity packets only; U is part of the encoded octets.
        out.put(code::FRAGMENT, Receiver, [ENCODED, specific], |body| body.bytes(&body_octets))?;
    }
    if let Some(sqn) = options.join {
        out.put(code::JOIN, Receiver, [0, 0], |body| body.sqn(sqn))?;
    }
    if let Some(group) = options.parity_grp {
        out.put(code::PARITY_GRP, Receiver, [0, 0], |body| body.u32(group))?;
    }
    if options.syn {
        out.mark(code::SYN, Receiver, 0)?;
    }
    if options.fin {
        out.mark(code::FIN, Receiver, 0)?;
    }
    if let Some(data) = options.pgmcc_data {
        out.put(code::PGMCC_DATA, Receiver, [0, 0], |body| {
            body.u32(data.timestamp_ms)?;
            body.nla(data.acker, 0)
        })?;
    }
    if options.records {
        out.mark(code::RECORDS, Receiver, 0)?;
    }
    Ok(out.close().0)
}

/// Replaces what `OPT_JOIN` says in a data packet that was built before; the checksum follows. A packet that has none is left alone.
pub fn patch_join(packet: &mut [u8], join: Sqn) {
    const FRAGMENT_LEN: usize = 16;
    let first = DATA_HEADER_LEN + OPTION_HEADER_LEN;
    let kind = |at: usize| packet.get(at).map(|octet| octet & 0x7F);
    // Nothing but OPT_FRAGMENT is ever written in front of it; see `write_options`.
    let at = if kind(first) == Some(code::FRAGMENT) { first + FRAGMENT_LEN } else { first };
    if packet.get(5).is_none_or(|flags| !Flags::from_bits(*flags).has_options()) || kind(at) != Some(code::JOIN) {
        return;
    }
    let body = at + OPTION_HEADER_LEN;
    let Some(old) = packet.get(body..).and_then(|body| body.first_chunk()).copied() else { return };
    let checksum = u16::from_be_bytes([packet[6], packet[7]]);
    // RFC 1624, equation 3. The option begins at an even octet.
    let without = Sum::ZERO.plus_u16(!checksum).plus_u32(!u32::from_be_bytes(old));
    let checksum = without.plus_u32(join.get()).finish();
    packet[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet[body..][..4].copy_from_slice(&join.get().to_be_bytes());
}

/// Turns a data packet that was built before into the one to send now: type and trail are replaced, the checksum follows.
///
/// `packet` is the built header with its options; the payload may follow, and is not looked at. Other slices than such a
/// header are left alone.
#[inline]
pub fn patch_data(packet: &mut [u8], data_type: DataType, trail: Sqn) {
    let first_option = packet.get(DATA_HEADER_LEN + OPTION_HEADER_LEN).copied();
    let Some(head) = packet.first_chunk_mut::<DATA_HEADER_LEN>() else { return };
    let mut flags = Flags::from_bits(head[5]);
    if flags.has_options() && first_option.is_some_and(|octet| octet & 0x7F == code::CURR_TGSIZE) {
        flags = Flags::from_bits(flags.bits() & !Flags::OPT_NETWORK.bits());
        if data_type == DataType::Rdata {
            flags = flags | Flags::OPT_NETWORK;
        }
    }
    let checksum = u16::from_be_bytes([head[6], head[7]]);
    let old_type = u16::from_be_bytes([head[4], head[5]]);
    let new_type = u16::from_be_bytes([data_type as u8, flags.bits()]);
    let old_trail = u32::from_be_bytes([head[20], head[21], head[22], head[23]]);
    // RFC 3208 §8.2, conformance 38: a repair carries the trail of now, not that of the original.
    // RFC 1624, equation 3, for all three words at once.
    let without = Sum::ZERO.plus_u16(!checksum).plus_u16(!old_type).plus_u32(!old_trail);
    let checksum = without.plus_u16(new_type).plus_u32(trail.get()).finish();
    head[4..6].copy_from_slice(&new_type.to_be_bytes());
    head[6..8].copy_from_slice(&checksum.to_be_bytes());
    head[20..24].copy_from_slice(&trail.get().to_be_bytes());
}
