//! What a packet says, as owned `Copy` values.
//!
//! [`super::parse`] returns a [`Header`]; the builders take the same structures. Guards: ports are already resolved to
//! data-source port (in the TSI) and data-destination port, whatever the direction of the packet.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::IpAddr;
use core::ops::{BitOr, Range};

use super::ids::Tsi;
use super::options::OptionSet;
use super::parse::PlainData;
use super::sqn::Sqn;

/// Octets of the header that every packet starts with.
pub const HEADER_LEN: usize = 16;

/// The type of a packet, by its code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Source path message.
    Spm = 0x00,
    /// Request to the receivers or repairers of one hop to answer.
    Poll = 0x01,
    /// Answer to a POLL.
    Polr = 0x02,
    /// Original data.
    Odata = 0x04,
    /// Repair data.
    Rdata = 0x05,
    /// Request for a repair.
    Nak = 0x08,
    /// NAK between repairers that asks for no repair.
    Nnak = 0x09,
    /// Confirmation of a NAK.
    Ncf = 0x0A,
    /// Request for an SPM.
    Spmr = 0x0C,
    /// Acknowledgement of PGMCC; practice, not RFC 3208.
    Ack = 0x0D,
}

impl PacketType {
    /// All types, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::Spm,
        Self::Poll,
        Self::Polr,
        Self::Odata,
        Self::Rdata,
        Self::Nak,
        Self::Nnak,
        Self::Ncf,
        Self::Spmr,
        Self::Ack,
    ];

    /// The type with this code, if it is assigned.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Self::Spm,
            0x01 => Self::Poll,
            0x02 => Self::Polr,
            0x04 => Self::Odata,
            0x05 => Self::Rdata,
            0x08 => Self::Nak,
            0x09 => Self::Nnak,
            0x0A => Self::Ncf,
            0x0C => Self::Spmr,
            0x0D => Self::Ack,
            _ => return None,
        })
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// True for packets that travel towards the source and therefore carry swapped ports.
    pub const fn is_upstream(self) -> bool {
        // RFC 3208 §8.3, §13.6, §14.7.2, conformance 11: all of these swap, though §8.3 names only NAK and NNAK.
        matches!(self, Self::Polr | Self::Nak | Self::Nnak | Self::Spmr | Self::Ack)
    }

    /// True for ODATA and RDATA.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Odata | Self::Rdata)
    }

    /// The name in the RFC's spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spm => "SPM",
            Self::Poll => "POLL",
            Self::Polr => "POLR",
            Self::Odata => "ODATA",
            Self::Rdata => "RDATA",
            Self::Nak => "NAK",
            Self::Nnak => "NNAK",
            Self::Ncf => "NCF",
            Self::Spmr => "SPMR",
            Self::Ack => "ACK",
        }
    }
}

/// The flags octet.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    // RFC 3208 §8, conformance 3: the RFC's closing sentence numbers these bits from the other end; every
    // implementation there is numbers them like this.
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Option extensions follow the type-specific part.
    pub const OPT_PRESENT: Self = Self(0x01);
    /// At least one option matters to network elements.
    pub const OPT_NETWORK: Self = Self(0x02);
    /// Parity of a group whose packets differ in length.
    pub const VAR_PKTLEN: Self = Self(0x40);
    /// Parity data, or a request for parity.
    pub const PARITY: Self = Self(0x80);

    /// The flags in this octet.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The octet on the wire.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True when all flags of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when option extensions are present.
    #[inline]
    pub const fn has_options(self) -> bool {
        self.contains(Self::OPT_PRESENT)
    }

    /// True when an option matters to network elements.
    #[inline]
    pub const fn is_network_significant(self) -> bool {
        self.contains(Self::OPT_NETWORK)
    }

    /// True for parity data, and for a NAK, NNAK or NCF about parity.
    #[inline]
    pub const fn is_parity(self) -> bool {
        self.contains(Self::PARITY)
    }

    /// True for parity of a group whose packets differ in length. The flag alone, without parity, means nothing.
    #[inline]
    pub const fn is_variable_parity(self) -> bool {
        // RFC 3208 §8: OPT_VAR_PKTLEN is defined beside OPT_PARITY only.
        self.contains(Self(Self::PARITY.0 | Self::VAR_PKTLEN.0))
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#04x})", self.0)
    }
}

/// A parsed packet: fields and ranges, no borrow, so that it travels beside the frame's token.
///
/// Options and payload are read through the packet bytes it was parsed from:
/// `header.options.fragment(packet)`, `header.payload(packet)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The packet type with the fields of its type-specific part.
    pub kind: Kind,
    /// The session. Upstream packets carry it with swapped ports; that is already undone.
    pub tsi: Tsi,
    /// The data-destination port, likewise resolved.
    pub data_port: u16,
    /// The flags octet as received.
    pub flags: Flags,
    /// Where the application's octets start in the packet.
    pub payload_start: u16,
    /// How many they are; zero in everything but data.
    pub payload_len: u16,
    /// Which options are there.
    pub options: OptionSet,
}

impl Header {
    /// The type of the packet.
    #[inline]
    pub const fn packet_type(&self) -> PacketType {
        self.kind.packet_type()
    }

    /// The header as that of data without options, if it is such.
    #[inline]
    pub fn plain(&self) -> Option<PlainData> {
        PlainData::of(self)
    }

    /// Where the application's octets lie in the packet.
    #[inline]
    pub const fn payload_range(&self) -> Range<usize> {
        self.payload_start as usize..self.payload_start as usize + self.payload_len as usize
    }

    /// The application's octets. Empty if `packet` is not the packet that this header was parsed from and is too short.
    #[inline]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.payload_range()).unwrap_or_default()
    }
}

/// The packet types with the fields of their type-specific parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Source path message.
    Spm(Spm),
    /// Request to the receivers or repairers of one hop to answer.
    Poll(Poll),
    /// Answer to a POLL.
    Polr(Polr),
    /// Original data.
    Odata(Data),
    /// Repair data.
    Rdata(Data),
    /// Request for a repair.
    Nak(Nak),
    /// NAK between repairers that asks for no repair.
    Nnak(Nak),
    /// Confirmation of a NAK.
    Ncf(Nak),
    /// Request for an SPM.
    Spmr,
    /// Acknowledgement of PGMCC.
    Ack(Ack),
}

impl Kind {
    /// The type of the packet.
    #[inline]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Spm(_) => PacketType::Spm,
            Self::Poll(_) => PacketType::Poll,
            Self::Polr(_) => PacketType::Polr,
            Self::Odata(_) => PacketType::Odata,
            Self::Rdata(_) => PacketType::Rdata,
            Self::Nak(_) => PacketType::Nak,
            Self::Nnak(_) => PacketType::Nnak,
            Self::Ncf(_) => PacketType::Ncf,
            Self::Spmr => PacketType::Spmr,
            Self::Ack(_) => PacketType::Ack,
        }
    }
}

/// Source path message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spm {
    /// `SPM_SQN`: a sequence of its own, one step per SPM.
    pub sqn: Sqn,
    /// `SPM_TRAIL`: trailing edge of the transmit window.
    pub trail: Sqn,
    /// `SPM_LEAD`: leading edge of the transmit window.
    pub lead: Sqn,
    /// `SPM_PATH`: where NAKs go, the upstream PGM neighbour.
    pub path: IpAddr,
}

impl Spm {
    /// `lead` of an SPM that carries no window, beside a `trail` of zero.
    pub const NO_WINDOW_LEAD: Sqn = Sqn::new(0x8000_0000);

    /// Trail and lead, or `None` when the SPM says that it has no information about the window. An empty window has
    /// `trail == lead + 1`.
    #[inline]
    pub fn window(&self) -> Option<(Sqn, Sqn)> {
        // RFC 3208 §8.1: trail 0 with lead 0x80000000 stands for "no window information".
        let absent = self.trail == Sqn::new(0) && self.lead == Self::NO_WINDOW_LEAD;
        (!absent).then_some((self.trail, self.lead))
    }
}

/// The type-specific part of ODATA and RDATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Sequence number; for parity: that of the transmission group with the parity index in its low bits.
    pub sqn: Sqn,
    /// Trailing edge of the transmit window when the packet was sent.
    pub trail: Sqn,
}

/// The type-specific part of NAK, NNAK and NCF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nak {
    /// The requested sequence number; for parity: that of the transmission group with the zero-based count in its low bits.
    pub sqn: Sqn,
    /// `NAK_SRC`: address of the source of the original data.
    pub source: IpAddr,
    /// `NAK_GRP`: multicast group of the session.
    pub group: IpAddr,
}

/// Request to the receivers or repairers of one hop to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// `POLL_SQN`, scoped by path and TSI.
    pub sqn: Sqn,
    /// Round within one poll.
    pub round: u16,
    /// `POLL_S_TYPE`: who shall answer. A type that is not known must be ignored.
    pub s_type: u16,
    /// `POLL_PATH`: address of the polling interface, where answers go.
    pub path: IpAddr,
    /// `POLL_BO_IVL`: random back-off before the answer. Not yet bounded.
    pub backoff_us: u32,
    /// `POLL_RAND`: random string to match against.
    pub rand: u32,
    /// `POLL_MASK`: which bits of it count.
    pub mask: u32,
}

impl Poll {
    /// `POLL_S_TYPE` that asks all receivers of one hop.
    pub const GENERAL: u16 = 0;
    /// `POLL_S_TYPE` that asks designated local repairers.
    pub const DLR: u16 = 1;
}

/// Answer to a POLL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polr {
    /// `POLL_SQN` of the poll.
    pub sqn: Sqn,
    /// `POLL_ROUND` of the poll.
    pub round: u16,
}

/// Acknowledgement of PGMCC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The highest data SQN received.
    pub rx_max: Sqn,
    /// Bit i: `rx_max - i` was received.
    pub bitmap: u32,
}
