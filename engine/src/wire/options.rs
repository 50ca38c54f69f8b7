//! Option extensions: what each one says, and where it may stand.
//!
//! The parser walks the options once, checks them, and leaves an [`OptionSet`] of eight octets in the header: where the
//! options lie and which valid ones belong in this packet type. The accessors here walk the same bytes again for the one
//! option asked for. Guards: an option that does not belong in its packet is never seen above; bytes that are not those
//! the set was made from give `None`, never a panic.

#![forbid(unsafe_code)]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::slice::ChunksExact;

use super::header::PacketType;
use super::sqn::Sqn;

/// Entries that fit one `OPT_NAK_LIST`, beside the SQN in the NAK itself.
pub const MAX_NAK_LIST: usize = 62;

/// Options in one packet, `OPT_LENGTH` not counted.
pub(super) const MAX_OPTIONS: usize = 16;

/// Octets of an option header, and of the whole `OPT_LENGTH`.
pub(super) const OPTION_HEADER_LEN: usize = 4;

/// `OPT_END`: the bit in the type octet that marks the last option.
pub(super) const END: u8 = 0x80;
/// `OPT_INVALID`: what a network element writes over the type of an option it does not know, if it is asked to.
pub(super) const INVALID: u8 = 0x7F;

/// `OP_ENCODED`: the bit in the third octet that marks an encoded option of a parity packet.
pub(super) const ENCODED: u8 = 0x04;

/// The bits that are taken for it: some senders use the one beside.
pub(super) const ENCODED_SEEN: u8 = ENCODED | 0x08;

/// Codes of the options.
pub(super) mod code {
    pub(in crate::wire) const LENGTH: u8 = 0x00;
    pub(in crate::wire) const FRAGMENT: u8 = 0x01;
    pub(in crate::wire) const NAK_LIST: u8 = 0x02;
    pub(in crate::wire) const JOIN: u8 = 0x03;
    pub(in crate::wire) const NAK_BO_IVL: u8 = 0x04;
    pub(in crate::wire) const NAK_BO_RNG: u8 = 0x05;
    pub(in crate::wire) const REDIRECT: u8 = 0x07;
    pub(in crate::wire) const PARITY_PRM: u8 = 0x08;
    pub(in crate::wire) const PARITY_GRP: u8 = 0x09;
    pub(in crate::wire) const CURR_TGSIZE: u8 = 0x0A;
    pub(in crate::wire) const NBR_UNREACH: u8 = 0x0B;
    pub(in crate::wire) const PATH_NLA: u8 = 0x0C;
    pub(in crate::wire) const SYN: u8 = 0x0D;
    pub(in crate::wire) const FIN: u8 = 0x0E;
    pub(in crate::wire) const RST: u8 = 0x0F;
    pub(in crate::wire) const CR: u8 = 0x10;
    pub(in crate::wire) const CRQST: u8 = 0x11;
    pub(in crate::wire) const PGMCC_DATA: u8 = 0x12;
    pub(in crate::wire) const PGMCC_FEEDBACK: u8 = 0x13;
    /// `OPT_RECORDS`, our own: far above what the RFC and its practice number, and readable in a dump (`R`).
    pub(in crate::wire) const RECORDS: u8 = 0x52;
    /// Not a code: the bit that `OPT_RECORDS` takes in an [`super::OptionSet`].
    pub(in crate::wire) const RECORDS_BIT: u8 = 30;
    /// Not a code: the bit that `OPT_FRAGMENT` with F set takes in an [`super::OptionSet`].
    pub(in crate::wire) const ENCODED_FRAGMENT: u8 = 31;
}

/// `OPT_RECORDS` alone, with the `OPT_LENGTH` in front of it: all options of a batch as we send it. OPX says that who does not know the
/// option passes over it.
pub(super) const RECORDS_OPTIONS: [u8; 8] =
    [code::LENGTH, OPTION_HEADER_LEN as u8, 0, 8, END | code::RECORDS, OPTION_HEADER_LEN as u8, 0, 0];

const fn bits(codes: &[u8]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < codes.len() {
        bits |= 1 << codes[index];
        index += 1;
    }
    bits
}

const SPM: u32 = bits(&[
    code::JOIN,
    code::NAK_BO_IVL,
    code::NAK_BO_RNG,
    code::PARITY_PRM,
    code::CURR_TGSIZE,
    code::NBR_UNREACH,
    code::FIN,
    code::RST,
    code::CRQST,
]);
const POLL: u32 = bits(&[code::NAK_BO_IVL]);
const POLR: u32 = bits(&[code::REDIRECT]);
const RDATA: u32 = bits(&[code::FRAGMENT, code::JOIN, code::CURR_TGSIZE, code::SYN, code::FIN, code::RECORDS_BIT]);
const ODATA: u32 = RDATA | bits(&[code::PGMCC_DATA]);
const PARITY_DATA: u32 = bits(&[code::ENCODED_FRAGMENT, code::PARITY_GRP, code::CURR_TGSIZE, code::SYN, code::FIN]);
const NAK: u32 = bits(&[code::NAK_LIST, code::CR, code::PGMCC_FEEDBACK]);
const NNAK: u32 = bits(&[code::NAK_LIST]);
const NCF: u32 = bits(&[code::NAK_LIST, code::NAK_BO_IVL, code::NBR_UNREACH, code::PATH_NLA]);
const ACK: u32 = bits(&[code::PGMCC_FEEDBACK]);

/// The options that mean something in a packet of this type. All others are passed over.
pub(super) const fn allowed(packet: PacketType, parity: bool) -> u32 {
    // conformance 30: an option where it does not belong is ignored.
    match packet {
        PacketType::Spm => SPM,
        PacketType::Poll => POLL,
        PacketType::Polr => POLR,
        PacketType::Odata | PacketType::Rdata if parity => PARITY_DATA,
        PacketType::Odata => ODATA,
        PacketType::Rdata => RDATA,
        PacketType::Nak => NAK,
        PacketType::Nnak => NNAK,
        PacketType::Ncf => NCF,
        PacketType::Spmr => 0,
        PacketType::Ack => ACK,
    }
}

/// Which options a packet carries, and where they lie in it.
///
/// Every accessor takes the bytes of the packet that the set was parsed from. Where an option stands twice, the first
/// counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSet {
    /// Of the first option after `OPT_LENGTH`.
    start: u16,
    end: u16,
    present: u32,
}

impl OptionSet {
    /// No options.
    pub const EMPTY: Self = Self { start: 0, end: 0, present: 0 };

    /// `OPT_RECORDS` alone, in a data packet.
    pub(super) const RECORDS: Self = Self { start: 28, end: 32, present: bits(&[code::RECORDS_BIT]) };

    pub(super) const fn new(start: u16, end: u16, present: u32) -> Self {
        Self { start, end, present }
    }

    /// Where the options begin, `OPT_LENGTH` passed over, and where they end.
    pub(super) const fn range(self) -> (usize, usize) {
        (self.start as usize, self.end as usize)
    }

    /// True when no option of the packet means anything in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.present == 0
    }

    #[inline]
    const fn has(self, code: u8) -> bool {
        self.present & (1 << code) != 0
    }

    /// The octets of one option, header included.
    #[inline]
    fn find(self, packet: &[u8], code: u8) -> Option<&[u8]> {
        if self.has(code) { self.walk(packet, code, 0) } else { None }
    }

    /// The first option of this code that has one of these bits of its third octet set; zero bits ask for none.
    fn walk(self, packet: &[u8], code: u8, bits: u8) -> Option<&[u8]> {
        let mut rest = packet.get(self.start as usize..self.end as usize)?;
        for _ in 0..MAX_OPTIONS {
            let len = *rest.get(1)? as usize;
            let option = rest.get(..len)?;
            if option.first()? & !END == code && (bits == 0 || option.get(2)? & bits != 0) {
                return Some(option);
            }
            rest = &rest[len..];
        }
        None
    }

    /// `OPT_FRAGMENT`: the packet is a fragment of an APDU. Never set in parity packets, whose copy is encoded.
    #[inline]
    pub fn fragment(self, packet: &[u8]) -> Option<Fragment> {
        let option = self.find(packet, code::FRAGMENT)?;
        Some(Fragment { first_sqn: sqn(option, 4)?, offset: be32(option, 8)?, apdu_len: be32(option, 12)? })
    }

    /// `OPT_FRAGMENT` of a parity packet: the encoded octets of the group's fragment options.
    pub fn encoded_fragment(self, packet: &[u8]) -> Option<EncodedFragment> {
        if !self.has(code::ENCODED_FRAGMENT) {
            return None;
        }
        self.walk(packet, code::FRAGMENT, ENCODED_SEEN)?.get(3..)?.first_chunk().copied().map(EncodedFragment)
    }

    /// `OPT_NAK_LIST`: requested sequence numbers beside the one in the header. Empty when there is no list.
    ///
    /// The order on the wire is not checked: a list out of order costs its sender, not us.
    #[inline]
    pub fn nak_list(self, packet: &[u8]) -> NakList<'_> {
        let entries = self.find(packet, code::NAK_LIST).and_then(|option| option.get(OPTION_HEADER_LEN..));
        NakList { entries: entries.unwrap_or_default().chunks_exact(4) }
    }

    /// `OPT_JOIN`: the lowest SQN that a late joiner may ask for.
    pub fn join(self, packet: &[u8]) -> Option<Sqn> {
        sqn(self.find(packet, code::JOIN)?, 4)
    }

    /// `OPT_NAK_BO_IVL`: the back-off interval for NAKs. Not yet bounded.
    pub fn nak_bo_ivl(self, packet: &[u8]) -> Option<NakBoIvl> {
        let option = self.find(packet, code::NAK_BO_IVL)?;
        Some(NakBoIvl { ivl_us: be32(option, 4)?, poll_sqn: sqn(option, 8)? })
    }

    /// `OPT_NAK_BO_RNG`: the range of back-off intervals. Not yet bounded, and maybe the wrong way round.
    pub fn nak_bo_rng(self, packet: &[u8]) -> Option<NakBoRng> {
        let option = self.find(packet, code::NAK_BO_RNG)?;
        // RFC 3208 §15.4.2: the maximum stands first.
        Some(NakBoRng { max_us: be32(option, 4)?, min_us: be32(option, 8)? })
    }

    /// `OPT_REDIRECT`: address of a designated local repairer.
    pub fn redirect(self, packet: &[u8]) -> Option<IpAddr> {
        address(self.find(packet, code::REDIRECT)?.get(8..)?)
    }

    /// `OPT_PARITY_PRM`: the session's parity parameters.
    pub fn parity_prm(self, packet: &[u8]) -> Option<ParityPrm> {
        let option = self.find(packet, code::PARITY_PRM)?;
        let mode = *option.get(3)?;
        Some(ParityPrm {
            proactive: mode & ParityPrm::PROACTIVE != 0,
            on_demand: mode & ParityPrm::ON_DEMAND != 0,
            tg_size: be32(option, 4)?,
        })
    }

    /// `OPT_PARITY_GRP`: the number of the parity group within its transmission group.
    pub fn parity_grp(self, packet: &[u8]) -> Option<u32> {
        be32(self.find(packet, code::PARITY_GRP)?, 4)
    }

    /// `OPT_CURR_TGSIZE`: data packets in a transmission group that was cut short.
    pub fn curr_tgsize(self, packet: &[u8]) -> Option<u32> {
        be32(self.find(packet, code::CURR_TGSIZE)?, 4)
    }

    /// `OPT_NBR_UNREACH`: the upstream neighbour is out of reach.
    #[inline]
    pub const fn nbr_unreach(self) -> bool {
        self.has(code::NBR_UNREACH)
    }

    /// `OPT_PATH_NLA`: the address that `SPM_PATH` should have been.
    pub fn path_nla(self, packet: &[u8]) -> Option<IpAddr> {
        // RFC 3208 §15.4.4: a bare address, the only one without an address family.
        address(self.find(packet, code::PATH_NLA)?.get(4..)?)
    }

    /// `OPT_SYN`: the first data of the session.
    #[inline]
    pub const fn syn(self) -> bool {
        self.has(code::SYN)
    }

    /// `OPT_RECORDS`: the TSDU is a batch of records, which [`super::Records`] takes apart.
    #[inline]
    pub const fn records(self) -> bool {
        self.has(code::RECORDS_BIT)
    }

    /// Whether it says both that the TSDU is a batch and that it is a part of something.
    pub(super) const fn contradicts_itself(self) -> bool {
        self.has(code::RECORDS_BIT) && self.has(code::FRAGMENT)
    }

    /// `OPT_FIN`: the last data of the session, or an SPM after it.
    #[inline]
    pub const fn fin(self) -> bool {
        self.has(code::FIN)
    }

    /// `OPT_RST`: the source gave the session up.
    pub fn rst(self, packet: &[u8]) -> Option<Rst> {
        let octet = *self.find(packet, code::RST)?.get(3)?;
        Some(Rst { no_naks: octet & Rst::NO_NAKS != 0, code: octet & Rst::CODE })
    }

    /// `OPT_CR`: congestion report.
    pub fn cr(self, packet: &[u8]) -> Option<Cr> {
        let option = self.find(packet, code::CR)?;
        Some(Cr {
            reports: CrRequest::from_bits(*option.get(3)?),
            lead: sqn(option, 4)?,
            worst_link: be16(option, 8)?,
            worst_path: be16(option, 10)?,
            receiver_path: be16(option, 12)?,
            receiver: address(option.get(20..)?)?,
        })
    }

    /// `OPT_CRQST`: the congestion reports that the source asks for.
    pub fn crqst(self, packet: &[u8]) -> Option<CrRequest> {
        Some(CrRequest::from_bits(*self.find(packet, code::CRQST)?.get(3)?))
    }

    /// `OPT_PGMCC_DATA`: the source's clock and acker.
    pub fn pgmcc_data(self, packet: &[u8]) -> Option<PgmccData> {
        let option = self.find(packet, code::PGMCC_DATA)?;
        Some(PgmccData { timestamp_ms: be32(option, 4)?, acker: address(option.get(12..)?)? })
    }

    /// `OPT_PGMCC_FEEDBACK`: the clock sent back, and a receiver's loss rate.
    pub fn pgmcc_feedback(self, packet: &[u8]) -> Option<PgmccFeedback> {
        let option = self.find(packet, code::PGMCC_FEEDBACK)?;
        Some(PgmccFeedback {
            timestamp_ms: be32(option, 4)?,
            loss: be16(option, 10)?,
            receiver: address(option.get(12..)?)?,
        })
    }
}

#[inline]
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

#[inline]
fn sqn(bytes: &[u8], at: usize) -> Option<Sqn> {
    be32(bytes, at).map(Sqn::new)
}

/// The address that fills `bytes`: four octets or sixteen.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// `OPT_FRAGMENT`: the place of a fragment in its APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// SQN of the APDU's first fragment.
    pub first_sqn: Sqn,
    /// Where the fragment's data lie in the APDU.
    pub offset: u32,
    /// Length of the whole APDU.
    pub apdu_len: u32,
}

/// The octets of `OPT_FRAGMENT` that parity packets carry encoded: octets 3 to 15 of the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedFragment(pub [u8; 13]);

/// The sequence numbers of an `OPT_NAK_LIST`, in the order on the wire.
#[derive(Clone, Debug)]
pub struct NakList<'a> {
    entries: ChunksExact<'a, u8>,
}

impl Iterator for NakList<'_> {
    type Item = Sqn;

    #[inline]
    fn next(&mut self) -> Option<Sqn> {
        sqn(self.entries.next()?, 0)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for NakList<'_> {}

/// `OPT_NAK_BO_IVL`: how long receivers back off before a NAK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NakBoIvl {
    /// The interval.
    pub ivl_us: u32,
    /// `POLL_SQN` of the poll it was derived from; zero: usable at once.
    pub poll_sqn: Sqn,
}

/// `OPT_NAK_BO_RNG`: the bounds of the back-off interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NakBoRng {
    /// Upper bound; first on the wire.
    pub max_us: u32,
    /// Lower bound.
    pub min_us: u32,
}

/// `OPT_PARITY_PRM`: what parity a session offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParityPrm {
    /// Parity is sent unasked.
    pub proactive: bool,
    /// Parity is sent in answer to parity NAKs.
    pub on_demand: bool,
    /// Data packets of a transmission group: a power of two from 2 to 128.
    pub tg_size: u32,
}

impl ParityPrm {
    // RFC 3208 §11.8.1, conformance 51: P is the bit left of O in the figure.
    pub(super) const PROACTIVE: u8 = 0x02;
    pub(super) const ON_DEMAND: u8 = 0x01;
    /// The smallest and the largest group that a session may have: 2, because 1 is no group; 128, because the code has
    /// 255 rows and every known implementation stops there.
    pub const TG_SIZES: core::ops::RangeInclusive<u32> = 2..=128;
}

/// `OPT_RST`: why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rst {
    /// The source will not answer NAKs any more.
    pub no_naks: bool,
    /// Zero: unknown; else up to 63, by agreement of the applications.
    pub code: u8,
}

impl Rst {
    pub(super) const NO_NAKS: u8 = 0x40;
    pub(super) const CODE: u8 = 0x3F;
}

/// The reports that `OPT_CRQST` asks for, and that `OPT_CR` carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrRequest {
    /// Worst link, as a network element sees it.
    pub worst_link: bool,
    /// Worst path, as a network element sees it.
    pub worst_path: bool,
    /// Worst path, as a receiver sees it.
    pub receiver_path: bool,
}

impl CrRequest {
    fn from_bits(bits: u8) -> Self {
        Self { worst_link: bits & 0x04 != 0, worst_path: bits & 0x02 != 0, receiver_path: bits & 0x01 != 0 }
    }

    pub(super) fn bits(self) -> u8 {
        u8::from(self.worst_link) << 2 | u8::from(self.worst_path) << 1 | u8::from(self.receiver_path)
    }
}

/// `OPT_CR`: congestion report. Loads run from 0 to 0xFFFF for 0 to 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cr {
    /// Which of the three figures are reported.
    pub reports: CrRequest,
    /// `OPT_CR_LEAD`: the SQN that the report refers to.
    pub lead: Sqn,
    /// Load of the worst link.
    pub worst_link: u16,
    /// Load of the worst path, by a network element.
    pub worst_path: u16,
    /// Load of the worst path, by a receiver.
    pub receiver_path: u16,
    /// That receiver.
    pub receiver: IpAddr,
}

/// `OPT_PGMCC_DATA`: what a source under PGMCC sends with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgmccData {
    /// The source's clock.
    pub timestamp_ms: u32,
    /// The receiver that acknowledges; unspecified: elect one.
    pub acker: IpAddr,
}

/// `OPT_PGMCC_FEEDBACK`: what a receiver under PGMCC reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgmccFeedback {
    /// The source's last clock plus the time passed here since.
    pub timestamp_ms: u32,
    /// Loss rate from 0 to 0xFFFF for 0 to 100 %.
    pub loss: u16,
    /// The receiver that reports.
    pub receiver: IpAddr,
}
