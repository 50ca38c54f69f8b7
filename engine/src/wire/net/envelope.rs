//! The headers around what we send: Ethernet, IP, UDP, made once and stamped in front of every packet.
//!
//! Held by a link or an endpoint, one per destination and kind (with and without Router Alert). Guards: lengths and
//! checksums of what leaves agree with the payload it stands in front of; no IP packet of ours may be fragmented.

#![forbid(unsafe_code)]

use core::net::IpAddr;

use super::ethernet::{self, MacAddr, Vlans};
use super::ip::{ROUTER_ALERT, V4_HEADER_LEN, V6_HEADER_LEN};
use super::{PROTO_PGM, PROTO_UDP, UDP_HEADER_LEN};
use crate::wire::build::BuildError;
use crate::wire::checksum::{self, Sum};

/// The largest envelope: Ethernet, two tags, IPv6, UDP.
const MAX_LEN: usize = ethernet::HEADER_LEN + ethernet::MAX_TAGS * ethernet::TAG_LEN + V6_HEADER_LEN + UDP_HEADER_LEN;

/// Ethernet around a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLayer {
    /// Our interface.
    pub source: MacAddr,
    /// The next hop, or [`super::multicast_mac`] of the group.
    pub destination: MacAddr,
    /// Tags to put, outermost first.
    pub vlans: Vlans,
}

/// What PGM travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// IP protocol 113.
    Pgm,
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
}

/// What an [`Envelope`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeConfig {
    /// Ethernet, where the link wants frames; `None` where it wants IP packets.
    pub link: Option<LinkLayer>,
    /// IP source.
    pub source: IpAddr,
    /// IP destination.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Put Router Alert. IPv6 has no value of it for PGM, so there it is left out.
    pub router_alert: bool,
    /// What PGM travels in.
    pub transport: Transport,
}

/// Finished headers, but for lengths and checksums.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    octets: [u8; MAX_LEN],
    len: u8,
    /// Where the IP header starts.
    ip_at: u8,
    /// Where the UDP header starts; equals `len` without UDP.
    udp_at: u8,
    is_ipv4: bool,
    /// Sum of the IPv4 header with length and checksum zero.
    ip_sum: Sum,
    /// Sum of pseudo-header and UDP header with lengths and checksum zero.
    udp_sum: Sum,
}

impl Envelope {
    /// Makes the headers.
    pub fn new(config: &EnvelopeConfig) -> Result<Self, BuildError> {
        let mut octets = [0u8; MAX_LEN];
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            octets[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
            len
        };

        let mut ip_at = 0;
        if let Some(link) = &config.link {
            put(&link.destination);
            put(&link.source);
            let tags = link.vlans.tags();
            for (index, tag) in tags.iter().enumerate() {
                let last = index + 1 == tags.len();
                put(&if last { ethernet::TAG } else { ethernet::SERVICE_TAG }.to_be_bytes());
                put(&tag.to_be_bytes());
            }
            let ethertype = if config.source.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
            ip_at = put(&ethertype.to_be_bytes());
        }

        // RFC 3208 §8, conformance 1
        let proto = if config.transport == Transport::Pgm { PROTO_PGM } else { PROTO_UDP };
        let mut udp_sum = Sum::ZERO.plus_u16(u16::from(proto));
        let udp_at = match (config.source, config.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let options: &[u8] = if config.router_alert { &ROUTER_ALERT } else { &[] };
                let header_words = (V4_HEADER_LEN + options.len()) / 4;
                // conformance 16: DF set; an identification is of no use to a packet that is never fragmented.
                put(&[0x40 | header_words as u8, config.tos, 0, 0, 0, 0, 0x40, 0, config.ttl, proto, 0, 0]);
                put(&source.octets());
                put(&destination.octets());
                udp_sum =
                    udp_sum.combine(checksum::sum(&source.octets())).combine(checksum::sum(&destination.octets()));
                put(options)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                put(&[0x60 | config.tos >> 4, config.tos << 4, 0, 0, 0, 0, proto, config.ttl]);
                put(&source.octets());
                udp_sum =
                    udp_sum.combine(checksum::sum(&source.octets())).combine(checksum::sum(&destination.octets()));
                put(&destination.octets())
            }
            _ => return Err(BuildError::MixedFamilies),
        };
        if let Transport::Udp { source_port, destination_port } = config.transport {
            put(&source_port.to_be_bytes());
            put(&destination_port.to_be_bytes());
            put(&[0; 4]);
            udp_sum = udp_sum.plus_u16(source_port).plus_u16(destination_port);
        }
        Ok(Self {
            len: len as u8,
            ip_at: ip_at as u8,
            udp_at: udp_at as u8,
            is_ipv4: config.source.is_ipv4(),
            ip_sum: checksum::sum(&octets[ip_at..udp_at]),
            udp_sum,
            octets,
        })
    }

    /// Octets that the headers take.
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.len as usize
    }

    /// Octets of link header among them, which do not count against the MTU.
    #[inline]
    pub const fn link_len(&self) -> usize {
        self.ip_at as usize
    }

    /// Stamps the headers into `front`, which ends where a PGM packet of `packet_len` octets starts and is exactly
    /// [`Self::header_len`] octets long. The PGM packet must have its checksum filled in.
    #[inline]
    pub fn write(&self, front: &mut [u8], packet_len: usize) -> Result<(), BuildError> {
        if front.len() != self.len as usize {
            return Err(BuildError::BufferTooSmall);
        }
        front.copy_from_slice(&self.octets[..self.len as usize]);
        let (ip_at, udp_at) = (self.ip_at as usize, self.udp_at as usize);
        let udp_len = self.len as usize - udp_at + packet_len;
        // An IPv6 length counts the payload only, an IPv4 length the header as well.
        let ip_len = if self.is_ipv4 { udp_at - ip_at + udp_len } else { udp_len };
        let ip_len =
            u16::try_from(ip_len).map_err(|_| BuildError::FieldOverflow { what: "the length of the IP packet" })?;
        if self.is_ipv4 {
            front[ip_at + 2..ip_at + 4].copy_from_slice(&ip_len.to_be_bytes());
            let checksum = self.ip_sum.plus_u16(ip_len).finish();
            front[ip_at + 10..ip_at + 12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            front[ip_at + 4..ip_at + 6].copy_from_slice(&ip_len.to_be_bytes());
        }
        if udp_at < self.len as usize {
            let udp_len = udp_len as u16;
            // A PGM packet with its checksum sums to all ones, which is nothing in one's complement: the UDP checksum
            // needs none of its octets. The length stands in the pseudo-header and in the header.
            let checksum = self.udp_sum.plus_u16(udp_len).plus_u16(udp_len).finish();
            front[udp_at + 4..udp_at + 6].copy_from_slice(&udp_len.to_be_bytes());
            front[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
        }
        Ok(())
    }
}
