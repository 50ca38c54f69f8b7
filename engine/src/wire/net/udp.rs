//! UDP headers, read.

#![forbid(unsafe_code)]

use core::ops::Range;

use super::{NetHeader, NetReject, PROTO_UDP};

/// Octets of a UDP header.
pub const UDP_HEADER_LEN: usize = 8;

/// What a UDP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Where the datagram's data start in the slice.
    pub payload_start: u16,
    /// Their length.
    pub payload_len: u16,
}

impl Udp {
    /// Where the datagram's data lie in the slice.
    #[inline]
    pub const fn payload_range(&self) -> Range<usize> {
        self.payload_start as usize..self.payload_start as usize + self.payload_len as usize
    }

    /// The datagram's data. Empty if `bytes` is not what this header was parsed from and is too short.
    #[inline]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload_range()).unwrap_or_default()
    }
}

/// Reads the UDP header behind an IP header.
///
/// The UDP checksum is not looked at: the kernel leaves it unfilled between virtual interfaces, and the PGM checksum
/// covers all that we read.
#[inline]
pub fn parse_udp(bytes: &[u8], net: &NetHeader) -> Result<Udp, NetReject> {
    if net.proto != PROTO_UDP {
        return Err(NetReject::Protocol);
    }
    if net.fragment {
        return Err(NetReject::Fragment);
    }
    let head = net.payload(bytes).first_chunk::<UDP_HEADER_LEN>().ok_or(NetReject::UdpTruncated)?;
    let [s0, s1, d0, d1, l0, l1, _, _] = *head;
    let len = u16::from_be_bytes([l0, l1]);
    if len < UDP_HEADER_LEN as u16 || len > net.payload_len {
        return Err(NetReject::UdpLength);
    }
    Ok(Udp {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        payload_start: net.payload_start + UDP_HEADER_LEN as u16,
        payload_len: len - UDP_HEADER_LEN as u16,
    })
}
