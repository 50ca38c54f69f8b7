//! The headers in front of PGM: Ethernet with up to two VLAN tags, IPv4, IPv6, UDP.
//!
//! Called by the links: [`parse_frame`] or [`parse_ip`] on what arrives, then [`parse_udp`] where PGM travels in UDP;
//! [`Envelope`] for what leaves. Guards: no length of a header is believed beyond the slice it came in, and padding
//! after the IP packet never reaches the PGM parser.

#![forbid(unsafe_code)]

mod envelope;
mod ethernet;
mod ip;
#[cfg(test)]
mod tests;
mod udp;

use core::net::IpAddr;
use core::ops::Range;

pub use envelope::{Envelope, EnvelopeConfig, LinkLayer, Transport};
pub use ethernet::{MacAddr, Vlans, multicast_mac};
pub use udp::{UDP_HEADER_LEN, Udp, parse_udp};

use super::rules::rules;

/// IP protocol number of PGM.
// RFC 3208 §8, conformance 1: PGM is protocol 113, right after the IP header.
pub const PROTO_PGM: u8 = 113;

/// IP protocol number of UDP.
pub const PROTO_UDP: u8 = 17;

/// UDP port of unicast PGM packets, by practice.
// conformance 17: the two ports of every other implementation.
pub const UDP_UNICAST_PORT: u16 = 3055;

/// UDP port of multicast PGM packets, by practice.
pub const UDP_MULTICAST_PORT: u16 = 3056;

/// What the headers in front of a payload say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetHeader {
    /// IP source.
    pub source: IpAddr,
    /// IP destination.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Protocol of the payload.
    pub proto: u8,
    /// The packet asks routers to look at it.
    pub router_alert: bool,
    /// The packet is a fragment: its payload is not whole. Drop it and count [`NetReject::Fragment`].
    pub fragment: bool,
    /// Where the IP payload starts in the slice.
    pub payload_start: u16,
    /// Its length, by the IP header.
    pub payload_len: u16,
    /// VLAN tags, outermost first.
    pub vlans: Vlans,
    /// Ethernet source; zero without Ethernet.
    pub src_mac: MacAddr,
}

impl NetHeader {
    /// Where the IP payload lies in the slice.
    #[inline]
    pub const fn payload_range(&self) -> Range<usize> {
        self.payload_start as usize..self.payload_start as usize + self.payload_len as usize
    }

    /// The IP payload. Empty if `bytes` is not what this header was parsed from and is too short.
    #[inline]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.payload_range()).unwrap_or_default()
    }
}

rules! {
    /// Why a frame holds no packet for us.
    enum NetReject;
    /// How often each reason applied.
    struct NetRejectCounters;

    /// Too short for an Ethernet header and its tags.
    EthernetTruncated = "ethernet_truncated", "shorter than its Ethernet header";
    /// Neither IPv4 nor IPv6.
    NotIp = "not_ip", "neither IPv4 nor IPv6";
    /// Too short for an IP header.
    IpTruncated = "ip_truncated", "shorter than its IP header";
    /// The version does not suit the ethertype, or is unknown.
    IpVersion = "ip_version", "wrong IP version";
    /// IPv4 header length below 20 octets.
    IpHeaderLength = "ip_header_length", "IPv4 header length below 20 octets";
    /// The length in the IP header does not fit header or slice.
    IpTotalLength = "ip_total_length", "IP length does not fit";
    /// Wrong IPv4 header checksum.
    IpChecksum = "ip_checksum", "wrong IPv4 header checksum";
    /// IPv4 options or IPv6 extension headers that cannot be walked.
    IpOptions = "ip_options", "broken IP options or extension headers";
    /// A fragment.
    Fragment = "fragment", "IP fragment";
    /// Too short for a UDP header.
    UdpTruncated = "udp_truncated", "shorter than its UDP header";
    /// The UDP length does not fit header or IP payload.
    UdpLength = "udp_length", "UDP length does not fit";
    /// The protocol is not the one asked for.
    Protocol = "protocol", "another IP protocol";
}

/// Reads the headers of an Ethernet frame.
#[inline]
pub fn parse_frame(frame: &[u8]) -> Result<NetHeader, NetReject> {
    let link = ethernet::parse(frame)?;
    let mut header = match link.ethertype {
        ethernet::IPV4 => ip::parse_v4(frame, link.len)?,
        ethernet::IPV6 => ip::parse_v6(frame, link.len)?,
        _ => return Err(NetReject::NotIp),
    };
    header.vlans = link.vlans;
    header.src_mac = link.src_mac;
    Ok(header)
}

/// Reads the headers of an IP packet without a link header, as a raw IPv4 socket gives it.
#[inline]
pub fn parse_ip(packet: &[u8]) -> Result<NetHeader, NetReject> {
    match packet.first().ok_or(NetReject::IpTruncated)? >> 4 {
        4 => ip::parse_v4(packet, 0),
        6 => ip::parse_v6(packet, 0),
        _ => Err(NetReject::IpVersion),
    }
}
