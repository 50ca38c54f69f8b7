//! IPv4 and IPv6 headers, read.

#![forbid(unsafe_code)]

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{NetHeader, NetReject, Vlans};
use crate::wire::checksum;

/// Octets of an IPv4 header without options, and of an IPv6 header.
pub(super) const V4_HEADER_LEN: usize = 20;
pub(super) const V6_HEADER_LEN: usize = 40;

/// The IPv4 Router Alert option (RFC 2113).
// RFC 3208 §4, conformance 15
pub(super) const ROUTER_ALERT: [u8; 4] = [0x94, 0x04, 0x00, 0x00];

/// Extension headers that are looked through. More than hop-by-hop, destination and routing has no use here.
const MAX_EXTENSIONS: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

#[inline]
pub(super) fn parse_v4(bytes: &[u8], start: usize) -> Result<NetHeader, NetReject> {
    let packet = &bytes[start..];
    let head = packet.first_chunk::<V4_HEADER_LEN>().ok_or(NetReject::IpTruncated)?;
    let [version, tos, l0, l1, _, _, f0, f1, ttl, proto, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *head;
    if version >> 4 != 4 {
        return Err(NetReject::IpVersion);
    }
    let header_len = (version & 0x0F) as usize * 4;
    if header_len < V4_HEADER_LEN {
        return Err(NetReject::IpHeaderLength);
    }
    // conformance 19: the IP length decides, not the frame: what follows is padding.
    let total_len = u16::from_be_bytes([l0, l1]) as usize;
    if total_len < header_len || total_len > packet.len() {
        return Err(NetReject::IpTotalLength);
    }
    let header = &packet[..header_len];
    if !checksum::verify(header) {
        return Err(NetReject::IpChecksum);
    }
    let router_alert = header_len > V4_HEADER_LEN && v4_router_alert(&header[V4_HEADER_LEN..])?;
    Ok(NetHeader {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        ttl,
        tos,
        proto,
        router_alert,
        // More fragments, or an offset.
        fragment: u16::from_be_bytes([f0, f1]) & 0x3FFF != 0,
        payload_start: (start + header_len) as u16,
        payload_len: (total_len - header_len) as u16,
        vlans: Vlans::NONE,
        src_mac: [0; 6],
    })
}

/// Looks for Router Alert among at most 40 octets of options.
#[inline(never)]
fn v4_router_alert(mut options: &[u8]) -> Result<bool, NetReject> {
    let mut found = false;
    while let Some(kind) = options.first() {
        let len = match *kind {
            0 => break,
            1 => 1,
            kind => {
                // Below 2 the walk would stand still.
                let len = options.get(1).copied().filter(|len| *len >= 2).ok_or(NetReject::IpOptions)? as usize;
                found |= kind == ROUTER_ALERT[0] && len == ROUTER_ALERT.len();
                len
            }
        };
        options = options.get(len..).ok_or(NetReject::IpOptions)?;
    }
    Ok(found)
}

#[inline]
pub(super) fn parse_v6(bytes: &[u8], start: usize) -> Result<NetHeader, NetReject> {
    let packet = &bytes[start..];
    let head = packet.first_chunk::<V6_HEADER_LEN>().ok_or(NetReject::IpTruncated)?;
    let [v0, v1, _, _, l0, l1, next, ttl, addresses @ ..] = *head;
    if v0 >> 4 != 6 {
        return Err(NetReject::IpVersion);
    }
    let payload_len = u16::from_be_bytes([l0, l1]) as usize;
    let payload = packet[V6_HEADER_LEN..].get(..payload_len).ok_or(NetReject::IpTotalLength)?;
    let (source, destination) = addresses.split_at(16);
    let mut header = NetHeader {
        source: Ipv6Addr::from(<[u8; 16]>::try_from(source).unwrap_or_default()).into(),
        destination: Ipv6Addr::from(<[u8; 16]>::try_from(destination).unwrap_or_default()).into(),
        ttl,
        tos: v0 << 4 | v1 >> 4,
        proto: next,
        router_alert: false,
        fragment: false,
        payload_start: (start + V6_HEADER_LEN) as u16,
        payload_len: payload_len as u16,
        vlans: Vlans::NONE,
        src_mac: [0; 6],
    };
    if matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
        skip_extensions(payload, &mut header)?;
    }
    Ok(header)
}

#[inline(never)]
fn skip_extensions(payload: &[u8], header: &mut NetHeader) -> Result<(), NetReject> {
    let mut rest = payload;
    for _ in 0..MAX_EXTENSIONS {
        let extension = header.proto;
        if !matches!(extension, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Ok(());
        }
        let [next, len, ..] = *rest.first_chunk::<8>().ok_or(NetReject::IpOptions)?;
        // The fragment header has no length field: always eight octets.
        let len = if extension == FRAGMENT { 8 } else { 8 + len as usize * 8 };
        let (body, after) = rest.split_at_checked(len).ok_or(NetReject::IpOptions)?;
        if extension == HOP_BY_HOP {
            header.router_alert |= v6_router_alert(&body[2..])?;
        }
        header.proto = next;
        // Bounded by four headers of at most 2 KiB.
        header.payload_start += len as u16;
        header.payload_len -= len as u16;
        if extension == FRAGMENT {
            // Offset or more-fragments; an atomic fragment is whole.
            header.fragment = (body[2], body[3] & 0xF9) != (0, 0);
            if header.fragment {
                return Ok(());
            }
        }
        rest = after;
    }
    if matches!(header.proto, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
        Err(NetReject::IpOptions)
    } else {
        Ok(())
    }
}

/// Looks for Router Alert (RFC 2711) in a hop-by-hop header.
fn v6_router_alert(mut options: &[u8]) -> Result<bool, NetReject> {
    let mut found = false;
    while let Some(kind) = options.first() {
        let len = match *kind {
            0 => 1,
            kind => {
                found |= kind == 5;
                2 + *options.get(1).ok_or(NetReject::IpOptions)? as usize
            }
        };
        options = options.get(len..).ok_or(NetReject::IpOptions)?;
    }
    Ok(found)
}
