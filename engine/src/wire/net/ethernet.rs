//! Ethernet: addresses, VLAN tags, and the address of a multicast group.

#![forbid(unsafe_code)]

use core::net::IpAddr;

use super::NetReject;

/// Hardware address of an Ethernet interface.
pub type MacAddr = [u8; 6];

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86DD;
pub(super) const TAG: u16 = 0x8100;
pub(super) const SERVICE_TAG: u16 = 0x88A8;

/// Octets of the header without tags.
pub(super) const HEADER_LEN: usize = 14;

/// Octets of one tag.
pub(super) const TAG_LEN: usize = 4;

/// Tags that are looked through: customer and service. A third is no Ethernet we know.
pub(super) const MAX_TAGS: usize = 2;

/// The VLAN tags of a frame, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    len: u8,
    tags: [u16; MAX_TAGS],
}

impl Vlans {
    /// No tag.
    pub const NONE: Self = Self { len: 0, tags: [0; MAX_TAGS] };

    /// One tag: priority, drop eligibility and VLAN number, as on the wire.
    pub const fn one(tag: u16) -> Self {
        Self { len: 1, tags: [tag, 0] }
    }

    /// An outer and an inner tag.
    pub const fn two(outer: u16, inner: u16) -> Self {
        Self { len: 2, tags: [outer, inner] }
    }

    /// The tags, outermost first.
    pub fn tags(&self) -> &[u16] {
        &self.tags[..self.len as usize]
    }
}

/// The Ethernet address that frames to `group` carry.
pub const fn multicast_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(group) => {
            // RFC 1112 §6.4: the low 23 bits of the group.
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5E, b & 0x7F, c, d]
        }
        IpAddr::V6(group) => {
            // RFC 2464 §7: the low 32 bits of the group.
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

pub(super) struct Link {
    pub(super) len: usize,
    pub(super) ethertype: u16,
    pub(super) vlans: Vlans,
    pub(super) src_mac: MacAddr,
}

#[inline]
pub(super) fn parse(frame: &[u8]) -> Result<Link, NetReject> {
    let [_, _, _, _, _, _, a, b, c, d, e, f, t0, t1] =
        *frame.first_chunk::<HEADER_LEN>().ok_or(NetReject::EthernetTruncated)?;
    let mut link = Link {
        len: HEADER_LEN,
        ethertype: u16::from_be_bytes([t0, t1]),
        vlans: Vlans::NONE,
        src_mac: [a, b, c, d, e, f],
    };
    for tag in 0..MAX_TAGS {
        if link.ethertype != TAG && link.ethertype != SERVICE_TAG {
            break;
        }
        let [v0, v1, t0, t1] = *frame[link.len..].first_chunk::<TAG_LEN>().ok_or(NetReject::EthernetTruncated)?;
        link.vlans.tags[tag] = u16::from_be_bytes([v0, v1]);
        link.vlans.len += 1;
        link.ethertype = u16::from_be_bytes([t0, t1]);
        link.len += TAG_LEN;
    }
    Ok(link)
}
