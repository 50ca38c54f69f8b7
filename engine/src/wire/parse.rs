//! The parser: hostile bytes in, a checked [`Header`] or a named [`Reject`] out.
//!
//! Called once for every packet that arrives. Guards: whatever the bytes, the work is bounded (one pass for the checksum,
//! at most 16 options), nothing outside the slice is read, and a header that comes out has passed every rule that can
//! be checked without knowing the session.

#![forbid(unsafe_code)]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;
use super::header::{Ack, Data, Flags, HEADER_LEN, Header, Kind, Nak, PacketType, Poll, Polr, Spm};
use super::ids::{Gsi, Tsi};
use super::options::{
    self, END, MAX_NAK_LIST, MAX_OPTIONS, OPTION_HEADER_LEN, OptionSet, ParityPrm, RECORDS_OPTIONS, code,
};
use super::reject::Reject;
use super::sqn::Sqn;

/// Length of the common header and the type-specific part of ODATA and RDATA.
const DATA_HEADER_LEN: usize = 24;

/// Address families of an NLA (RFC 1700).
const AFI_IPV4: u16 = 1;
const AFI_IPV6: u16 = 2;

/// A window holds at most this many sequence numbers.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Limits on what a fragment may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest APDU that is accepted.
    pub max_apdu: u32,
    /// The most fragments of one APDU that are accepted.
    pub max_fragments: u32,
}

impl Default for Limits {
    /// 64 KiB, the message size of Windows, in up to 128 fragments: enough for TSDUs of 512 octets.
    fn default() -> Self {
        Self { max_apdu: 65_536, max_fragments: 128 }
    }
}

/// Parses and checks one PGM packet. `packet` is exactly the IP or UDP payload: link padding must be cut already.
#[allow(clippy::trivially_copy_pass_by_ref)] // limits belong to the caller's configuration and grow with it
pub fn parse(packet: &[u8], limits: &Limits) -> Result<Header, Reject> {
    match parse_plain(packet) {
        Some(plain) => plain.map(PlainData::header),
        None => parse_general(packet, *limits),
    }
}

/// The same for the common case alone: ODATA and RDATA without options, or with `OPT_RECORDS` alone, of the length that the header says.
/// `None` for all else, right or wrong, which is left to [`parse`].
#[inline(always)]
#[allow(clippy::inline_always)] // its result is in registers where it is inlined, and in memory where it is not
pub fn parse_plain(packet: &[u8]) -> Option<Result<PlainData, Reject>> {
    let plain = PlainData::load(packet.first_chunk()?);
    if !plain.is_plain() || packet.len() != DATA_HEADER_LEN + usize::from(plain.payload_len()) {
        // The only other shape that comes packet after packet.
        let options = u64::from_le_bytes(*packet[DATA_HEADER_LEN..].first_chunk()?);
        let front = DATA_HEADER_LEN + RECORDS_OPTIONS.len();
        if !plain.is_batch(options) || packet.len() != front + usize::from(plain.payload_len()) {
            return None;
        }
    }
    if !checksum::verify(packet) {
        return Some(Err(Reject::ChecksumWrong));
    }
    Some(Ok(plain))
}

/// Data without options, or with `OPT_RECORDS` alone, as [`parse_plain`] finds it: the words of its header, taken apart when somebody asks.
///
/// ```text
///   octet  0             4                    8                 14     16    20    24
///          | source data | type flags check-  | GSI             | TSDU | SQN | trail |
///          | port   port |            sum     |                 | len  |     |       |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainData {
    // All in little-endian order, as they were loaded.
    ports: u32,
    /// Type, flags, checksum, from the low end.
    type_and_flags: u32,
    gsi_and_len: u64,
    sqn: u32,
    trail: u32,
}

impl PlainData {
    #[inline]
    fn load(head: &[u8; DATA_HEADER_LEN]) -> Self {
        let quads = head.as_chunks::<4>().0;
        let quad = |n: usize| u32::from_le_bytes(quads[n]);
        let gsi_and_len = u64::from_le_bytes(head.as_chunks::<8>().0[1]);
        Self { ports: quad(0), type_and_flags: quad(1), gsi_and_len, sqn: quad(4), trail: quad(5) }
    }

    /// A header of data without options, or with `OPT_RECORDS` alone, as its words; `None` for any other.
    #[inline]
    pub(super) fn of(header: &Header) -> Option<Self> {
        let (Kind::Odata(data) | Kind::Rdata(data)) = header.kind else { return None };
        let options = if header.flags.has_options() { OptionSet::RECORDS } else { OptionSet::EMPTY };
        if header.options != options {
            return None;
        }
        let [s0, s1] = header.tsi.port.to_be_bytes();
        let [d0, d1] = header.data_port.to_be_bytes();
        let [a, b, c, d, e, f] = header.tsi.gsi.octets();
        let [t0, t1] = header.payload_len.to_be_bytes();
        Some(Self {
            ports: u32::from_le_bytes([s0, s1, d0, d1]),
            // What was parsed had a checksum; nobody asks for it again.
            type_and_flags: u32::from_le_bytes([header.packet_type().code(), header.flags.bits(), 0xFF, 0xFF]),
            gsi_and_len: u64::from_le_bytes([a, b, c, d, e, f, t0, t1]),
            sqn: data.sqn.get().swap_bytes(),
            trail: data.trail.get().swap_bytes(),
        })
    }

    /// Whether it is data without options and has a checksum.
    #[inline]
    fn is_plain(self) -> bool {
        const ODATA_OR_RDATA: u32 = PacketType::Odata.code() as u32;
        let plain_bits = 0xFE | u32::from(Flags::OPT_PRESENT.bits()) << 8;
        // RFC 3208 §8, conformance 2: version and reserved bits, which stand beside the type, are zero.
        self.type_and_flags & plain_bits == ODATA_OR_RDATA && self.type_and_flags > 0xFFFF
    }

    /// Whether it is a batch of records, by its first words and the one behind its header.
    #[inline]
    fn is_batch(self, options: u64) -> bool {
        const BATCH: u32 = PacketType::Odata.code() as u32 | (Flags::OPT_PRESENT.bits() as u32) << 8;
        // conformance 25: reserved bits and OPX, in the last two octets, are for network elements.
        const OPTIONS: u64 = u64::from_le_bytes(RECORDS_OPTIONS);
        let bits = 0xFE | u32::from(Flags::OPT_PRESENT.bits() | Flags::PARITY.bits()) << 8;
        self.type_and_flags & bits == BATCH && self.type_and_flags > 0xFFFF && options << 16 == OPTIONS << 16
    }

    /// Whether its payload is a batch of records, which [`super::Records`] takes apart.
    #[inline]
    pub fn records(self) -> bool {
        self.type_and_flags & u32::from(Flags::OPT_PRESENT.bits()) << 8 != 0
    }

    #[inline]
    fn is_odata(self) -> bool {
        self.type_and_flags & 0xFF == u32::from(PacketType::Odata.code())
    }

    /// Whether it is original data in an ODATA: not a repair and not parity.
    #[inline]
    pub fn is_new(self) -> bool {
        let new_bits = 0xFF | u32::from(Flags::PARITY.bits()) << 8;
        self.type_and_flags & new_bits == u32::from(PacketType::Odata.code())
    }

    /// The flags octet.
    #[inline]
    pub fn flags(self) -> Flags {
        Flags::from_bits((self.type_and_flags >> 8) as u8)
    }

    /// The data-destination port.
    #[inline]
    pub fn data_port(self) -> u16 {
        ((self.ports >> 16) as u16).swap_bytes()
    }

    /// The session.
    #[inline]
    pub fn tsi(self) -> Tsi {
        // RFC 3208 §8, conformance 11: downstream, so data-source port first.
        let port = (self.ports as u16).swap_bytes();
        let [a, b, c, d, e, f, _, _] = self.gsi_and_len.to_le_bytes();
        Tsi { gsi: Gsi::new([a, b, c, d, e, f]), port }
    }

    /// The [`Tsi::key`] of its session.
    #[inline]
    pub fn key(self) -> u64 {
        self.gsi_and_len << 16 | u64::from(self.ports & 0xFFFF)
    }

    /// Whether it is of the session whose [`Tsi::key`] this is.
    #[inline]
    pub fn is_of(self, key: u64) -> bool {
        self.key() == key
    }

    /// Octets of the application.
    #[inline]
    pub fn payload_len(self) -> u16 {
        ((self.gsi_and_len >> 48) as u16).swap_bytes()
    }

    /// Where they start in the packet.
    #[inline]
    pub fn payload_start(self) -> u16 {
        // The one flag that says whether there are options is the lowest bit of its octet.
        const { assert!(Flags::OPT_PRESENT.bits() == 1 && RECORDS_OPTIONS.len() == 8) };
        DATA_HEADER_LEN as u16 + (self.type_and_flags >> 8 << 3) as u16 % 16
    }

    /// The sequence number.
    #[inline]
    pub fn sqn(self) -> Sqn {
        Sqn::new(self.sqn.swap_bytes())
    }

    /// Trailing edge of the transmit window when the packet was sent.
    #[inline]
    pub fn trail(self) -> Sqn {
        Sqn::new(self.trail.swap_bytes())
    }

    /// The whole header.
    #[inline]
    pub fn header(self) -> Header {
        let data = Data { sqn: self.sqn(), trail: self.trail() };
        Header {
            kind: if self.is_odata() { Kind::Odata(data) } else { Kind::Rdata(data) },
            tsi: self.tsi(),
            data_port: self.data_port(),
            flags: self.flags(),
            payload_start: self.payload_start(),
            payload_len: self.payload_len(),
            options: if self.records() { OptionSet::RECORDS } else { OptionSet::EMPTY },
        }
    }
}

/// Every packet that is not data without options, and every broken one.
#[inline(never)]
pub(super) fn parse_general(packet: &[u8], limits: Limits) -> Result<Header, Reject> {
    let head = packet.first_chunk::<HEADER_LEN>().ok_or(Reject::TooShort)?;
    let [s0, s1, d0, d1, type_octet, flags, c0, c1, g0, g1, g2, g3, g4, g5, t0, t1] = *head;

    // RFC 3208 §8, conformance 2: version and reserved bits are zero, else the packet is not for us to read.
    if type_octet & 0xC0 != 0 {
        return Err(Reject::Version);
    }
    if type_octet & 0x30 != 0 {
        return Err(Reject::ReservedTypeBits);
    }
    let packet_type = PacketType::from_code(type_octet & 0x0F).ok_or(Reject::UnknownType)?;

    if c0 | c1 == 0 {
        // RFC 3208 §8, conformance 8, 9: zero says "no checksum", which data may not say and all else may.
        if packet_type.is_data() {
            return Err(Reject::ChecksumMissing);
        }
    } else if !checksum::verify(packet) {
        return Err(Reject::ChecksumWrong);
    }

    let mut rest = Reader(&packet[HEADER_LEN..]);
    let kind = type_part(packet_type, &mut rest)?;

    let flags = Flags::from_bits(flags);
    let payload_len = u16::from_be_bytes([t0, t1]);
    // RFC 3208 §8, conformance 10: only data have a TSDU.
    if !packet_type.is_data() && payload_len != 0 {
        return Err(Reject::TsduOnControl);
    }
    let room = rest.0.len().checked_sub(payload_len as usize).ok_or(Reject::TsduLength)?;
    let start = packet.len() - rest.0.len();
    let options = if flags.has_options() {
        let present = options::allowed(packet_type, flags.is_parity());
        parse_options(rest.0, room, start, present, |code, option| {
            check_option(code, option, &kind, payload_len, limits)
        })?
    } else {
        OptionsEnd { len: 0, set: OptionSet::EMPTY }
    };
    if options.len != room {
        return Err(Reject::TrailingOctets);
    }
    if options.set.contradicts_itself() {
        return Err(Reject::RecordsOnFragment);
    }

    // RFC 3208 §8, conformance 11, 12: upstream packets carry the session's ports the other way round.
    let (source, destination) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let (port, data_port) = if packet_type.is_upstream() { (destination, source) } else { (source, destination) };
    Ok(Header {
        kind,
        tsi: Tsi { gsi: Gsi::new([g0, g1, g2, g3, g4, g5]), port },
        data_port,
        flags,
        payload_start: (start + options.len) as u16,
        payload_len,
        options: options.set,
    })
}

fn type_part(packet_type: PacketType, rest: &mut Reader<'_>) -> Result<Kind, Reject> {
    Ok(match packet_type {
        PacketType::Spm => {
            let (sqn, trail, lead) = (rest.sqn()?, rest.sqn()?, rest.sqn()?);
            let spm = Spm { sqn, trail, lead, path: rest.nla()? };
            // RFC 3208 §3.3: a window is smaller than half the space, unless there is none.
            if spm.window().is_some_and(|(trail, lead)| lead.next().distance_from(trail) > MAX_WINDOW) {
                return Err(Reject::WindowTooLarge);
            }
            Kind::Spm(spm)
        }
        PacketType::Poll => Kind::Poll(Poll {
            sqn: rest.sqn()?,
            round: rest.u16()?,
            s_type: rest.u16()?,
            path: rest.nla()?,
            backoff_us: rest.u32()?,
            rand: rest.u32()?,
            mask: rest.u32()?,
        }),
        PacketType::Polr => {
            let polr = Polr { sqn: rest.sqn()?, round: rest.u16()? };
            let _reserved = rest.u16()?;
            Kind::Polr(polr)
        }
        PacketType::Odata => Kind::Odata(data(*rest.take()?)),
        PacketType::Rdata => Kind::Rdata(data(*rest.take()?)),
        PacketType::Nak => Kind::Nak(rest.nak()?),
        PacketType::Nnak => Kind::Nnak(rest.nak()?),
        PacketType::Ncf => Kind::Ncf(rest.nak()?),
        PacketType::Spmr => Kind::Spmr,
        PacketType::Ack => Kind::Ack(Ack { rx_max: rest.sqn()?, bitmap: rest.u32()? }),
    })
}

#[inline]
fn data(part: [u8; 8]) -> Data {
    let [a, b, c, d, e, f, g, h] = part;
    Data { sqn: Sqn::new(u32::from_be_bytes([a, b, c, d])), trail: Sqn::new(u32::from_be_bytes([e, f, g, h])) }
}

/// Where the options end, and what they are.
struct OptionsEnd {
    len: usize,
    set: OptionSet,
}

/// Walks the options at the front of `bytes`. They may take `room` octets; `start` is where they lie in the packet.
/// `check` is called for the first occurrence of each option in `allowed`.
fn parse_options(
    bytes: &[u8],
    room: usize,
    start: usize,
    allowed: u32,
    mut check: impl FnMut(u8, &[u8]) -> Result<(), Reject>,
) -> Result<OptionsEnd, Reject> {
    // RFC 3208 §9.1, conformance 20: OPT_LENGTH comes first and counts itself.
    let [first, first_len, t0, t1] =
        *bytes[..room].first_chunk::<OPTION_HEADER_LEN>().ok_or(Reject::OptionsTruncated)?;
    if first != code::LENGTH {
        return Err(Reject::OptLengthMissing);
    }
    if first_len as usize != OPTION_HEADER_LEN {
        return Err(Reject::OptLengthLength);
    }
    let total = u16::from_be_bytes([t0, t1]) as usize;
    if total < 2 * OPTION_HEADER_LEN {
        return Err(Reject::OptTotalTooShort);
    }
    if total > room {
        return Err(Reject::OptTotalTooLong);
    }

    let mut rest = &bytes[OPTION_HEADER_LEN..total];
    let mut present = 0u32;
    // RFC 3208 §9.1, conformance 23: at most 16 options. The bound also ends the loop, whatever the lengths say.
    for _ in 0..MAX_OPTIONS {
        if rest.is_empty() {
            return Err(Reject::OptEndMissing);
        }
        let [type_octet, len, reserved, _] = *rest.first_chunk::<OPTION_HEADER_LEN>().ok_or(Reject::OptionTruncated)?;
        // conformance 29: a length below the header would stand still, one above the rest would run away.
        if (len as usize) < OPTION_HEADER_LEN {
            return Err(Reject::OptionTooShort);
        }
        let (option, after) = rest.split_at_checked(len as usize).ok_or(Reject::OptionTooLong)?;

        // conformance 25, 163: options unknown or out of place are passed over by their length; reserved bits and OPX
        // are for network elements.
        let bit = option_bit(type_octet & !END, reserved, allowed);
        if bit & allowed & !present != 0 {
            check(bit.trailing_zeros() as u8, option)?;
            present |= bit;
        }

        if type_octet & END != 0 {
            // conformance 21: OPT_END on the last option and on no other.
            if !after.is_empty() {
                return Err(Reject::OptEndEarly);
            }
            // 16 options end within 4 KiB of a header of at most 60 octets: both fit 16 bits.
            let set = OptionSet::new((start + OPTION_HEADER_LEN) as u16, (start + total) as u16, present);
            return Ok(OptionsEnd { len: total, set });
        }
        rest = after;
    }
    Err(if rest.is_empty() { Reject::OptEndMissing } else { Reject::TooManyOptions })
}

/// The bit of an option in the set; zero for codes that no option has.
#[inline]
fn option_bit(code: u8, reserved: u8, allowed: u32) -> u32 {
    let encoded_fragment = 1 << code::ENCODED_FRAGMENT;
    if code == code::FRAGMENT && allowed & encoded_fragment != 0 {
        // RFC 3208 §9, conformance 24: F is read in parity packets only, where OPT_FRAGMENT is expected encoded.
        let encoded = reserved & options::ENCODED_SEEN != 0;
        return if encoded { encoded_fragment } else { 0 };
    }
    match code {
        0..=code::PGMCC_FEEDBACK => 1 << code,
        code::RECORDS => 1 << code::RECORDS_BIT,
        _ => 0,
    }
}

/// The checks on the inside of one option. Its framing is sound already.
fn check_option(code: u8, option: &[u8], kind: &Kind, payload_len: u16, limits: Limits) -> Result<(), Reject> {
    // conformance 27: the lengths of the figures, where text and figure of the RFC differ.
    match code {
        code::FRAGMENT => {
            exact(option, 16)?;
            let (Kind::Odata(data) | Kind::Rdata(data)) = kind else { return Ok(()) };
            check_fragment(option, data.sqn, payload_len, limits)
        }
        code::ENCODED_FRAGMENT => exact(option, 16),
        code::NAK_LIST => {
            // RFC 3208 §9.3, conformance 28: one to 62 entries.
            let entries = option.len() - OPTION_HEADER_LEN;
            let sound = entries.is_multiple_of(4) && (1..=MAX_NAK_LIST).contains(&(entries / 4));
            if sound { Ok(()) } else { Err(Reject::NakListLength) }
        }
        code::JOIN | code::PARITY_GRP | code::CURR_TGSIZE => exact(option, 8),
        code::NAK_BO_IVL | code::NAK_BO_RNG => exact(option, 12),
        code::REDIRECT => family(option, 4, 12),
        code::PARITY_PRM => {
            exact(option, 8)?;
            check_parity_prm(option)
        }
        code::NBR_UNREACH | code::SYN | code::FIN | code::RST | code::CRQST | code::RECORDS_BIT => exact(option, 4),
        code::PATH_NLA => match option.len() {
            8 | 20 => Ok(()),
            _ => Err(Reject::OptionLength),
        },
        code::CR => family(option, 16, 24),
        code::PGMCC_DATA | code::PGMCC_FEEDBACK => family(option, 8, 16),
        _ => Ok(()),
    }
}

#[inline]
fn exact(option: &[u8], len: usize) -> Result<(), Reject> {
    if option.len() == len { Ok(()) } else { Err(Reject::OptionLength) }
}

/// An option that ends in an NLA: its length follows from the address family at `afi_at`.
fn family(option: &[u8], afi_at: usize, ipv4_len: usize) -> Result<(), Reject> {
    let expected = if option.len() == ipv4_len {
        AFI_IPV4
    } else if option.len() == ipv4_len + 12 {
        AFI_IPV6
    } else {
        return Err(Reject::OptionLength);
    };
    let mut rest = Reader(&option[afi_at..]);
    if rest.u16()? == expected { Ok(()) } else { Err(Reject::OptionAddressFamily) }
}

fn check_fragment(option: &[u8], sqn: Sqn, payload_len: u16, limits: Limits) -> Result<(), Reject> {
    let mut body = Reader(&option[OPTION_HEADER_LEN..]);
    let (first_sqn, offset, apdu_len) = (body.sqn()?, body.u32()?, body.u32()?);
    // conformance 29: these four numbers have hung and crashed receivers before; none is used unchecked.
    if apdu_len > limits.max_apdu {
        return Err(Reject::ApduTooLong);
    }
    if offset >= apdu_len && !(offset == 0 && apdu_len == 0) {
        return Err(Reject::FragmentOffset);
    }
    if apdu_len - offset < u32::from(payload_len) {
        return Err(Reject::FragmentOverrun);
    }
    if payload_len == 0 && apdu_len != 0 {
        return Err(Reject::FragmentEmpty);
    }
    if !first_sqn.at_or_before(sqn) {
        return Err(Reject::FragmentFirstSqn);
    }
    if sqn.distance_from(first_sqn) >= limits.max_fragments {
        return Err(Reject::TooManyFragments);
    }
    if (offset == 0) != (first_sqn == sqn) {
        return Err(Reject::FragmentStart);
    }
    Ok(())
}

fn check_parity_prm(option: &[u8]) -> Result<(), Reject> {
    let mut body = Reader(&option[OPTION_HEADER_LEN..]);
    let tg_size = body.u32()?;
    if !tg_size.is_power_of_two() || !ParityPrm::TG_SIZES.contains(&tg_size) {
        return Err(Reject::ParityGroupSize);
    }
    // RFC 3208 §11.8.1: at least one of the two kinds of parity is offered.
    if option[3] & (ParityPrm::PROACTIVE | ParityPrm::ON_DEMAND) == 0 {
        return Err(Reject::ParityMode);
    }
    Ok(())
}

/// Takes fields off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Reject> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Reject::TypePartTruncated)?;
        self.0 = rest;
        Ok(field)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, Reject> {
        self.take().copied().map(u16::from_be_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, Reject> {
        self.take().copied().map(u32::from_be_bytes)
    }

    #[inline]
    fn sqn(&mut self) -> Result<Sqn, Reject> {
        self.u32().map(Sqn::new)
    }

    fn nla(&mut self) -> Result<IpAddr, Reject> {
        let [a0, a1, _reserved @ ..] = *self.take::<4>()?;
        let truncated = |_| Reject::AddressTruncated;
        // RFC 3208 §8, conformance 18: the address family says how long the address is.
        match u16::from_be_bytes([a0, a1]) {
            AFI_IPV4 => Ok(Ipv4Addr::from(*self.take::<4>().map_err(truncated)?).into()),
            AFI_IPV6 => Ok(Ipv6Addr::from(*self.take::<16>().map_err(truncated)?).into()),
            _ => Err(Reject::AddressFamily),
        }
    }

    fn nak(&mut self) -> Result<Nak, Reject> {
        Ok(Nak { sqn: self.sqn()?, source: self.nla()?, group: self.nla()? })
    }
}
