//! Ethernet frames, put together header by header from the inside out. Lengths and checksums that the steering program does not read
//! are zero.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const PGM: u8 = 113;
pub const UDP: u8 = 17;
pub const TCP: u8 = 6;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION: u8 = 60;

pub const SPM: u8 = 0x00;
pub const POLR: u8 = 0x02;
pub const ODATA: u8 = 0x04;
pub const NAK: u8 = 0x08;
pub const NNAK: u8 = 0x09;
pub const NCF: u8 = 0x0a;
pub const SPMR: u8 = 0x0c;
pub const ACK: u8 = 0x0d;

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const ARP: u16 = 0x0806;
pub const CUSTOMER: u16 = 0x8100;
pub const SERVICE: u16 = 0x88a8;

/// The PGM header that every type has, and nothing behind it: what is cut off here is cut off from the header.
pub fn pgm(kind: u8, from_port: u16, to_port: u16) -> Vec<u8> {
    let mut bytes = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
    bytes.extend([kind, 0, 0, 0]);
    bytes.extend(*b"gsi789\0\0");
    bytes
}

pub fn udp(to_port: u16, body: &[u8]) -> Vec<u8> {
    [&40_000_u16.to_be_bytes()[..], &to_port.to_be_bytes(), &[0; 4], body].concat()
}

/// An IPv4 packet with these options (a multiple of four octets) and this fragment word.
pub fn ipv4_with(options: &[u8], fragment: u16, protocol: u8, from: Ipv4Addr, to: Ipv4Addr, body: &[u8]) -> Vec<u8> {
    let length = 0x40 | (5 + options.len() / 4) as u8;
    let [high, low] = fragment.to_be_bytes();
    let fixed = [length, 0, 0, 0, 0, 0, high, low, 16, protocol, 0, 0];
    [&fixed[..], &from.octets(), &to.octets(), options, body].concat()
}

pub fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> Vec<u8> {
    [&[0x60, 0, 0, 0, 0, 0, next, 16][..], &from.octets(), &to.octets(), body].concat()
}

/// An IP packet of the addresses' version.
pub fn ip(protocol: u8, from: IpAddr, to: IpAddr, body: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4_with(&[], 0, protocol, from, to, body),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(protocol, from, to, body),
        _ => panic!("addresses of two versions"),
    }
}

/// An IPv6 extension header of `8 + 8 * more` octets, with these octets behind its length.
pub fn extension(next: u8, more: u8, front: [u8; 2], body: &[u8]) -> Vec<u8> {
    [&[next, more][..], &front, &[0; 4], &vec![0; 8 * usize::from(more)], body].concat()
}

/// A frame with these tags, outermost first.
pub fn tagged(tags: &[(u16, u16)], kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (kind, tag) in tags {
        bytes.extend([kind.to_be_bytes(), tag.to_be_bytes()].concat());
    }
    bytes.extend(kind.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A frame without tags, of the packet's version.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    tagged(&[], kind_of(packet), packet)
}

pub fn kind_of(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }
}
