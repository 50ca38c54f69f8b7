//! Which packets are for this link: by group and data port, or by our address and a port we listen on.
//!
//! The kernel sorts by UDP port and group only; sessions are told apart by the ports inside the PGM header. No filter in the kernel looks
//! at those, because packets of several sessions may come as one. Asked by `intake` for every packet; changed by the link. Guards: what
//! nobody asked for is not handed up, whatever it holds.

use core::net::IpAddr;

use crate::link::Channel;
use crate::link::kernel::claims::Claim;
use crate::wire::{HEADER_LEN, PacketType};

/// A channel that was joined.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) channel: Channel,
    /// Whom it wants to hear; empty: all.
    pub(super) sources: Vec<IpAddr>,
    /// Held for as long as it is joined.
    pub(super) _claim: Option<Claim>,
}

/// Why a packet is not handed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// Shorter than a PGM header.
    NotPgm,
    /// For a group, port or address that nobody here asked for.
    Unclaimed,
}

#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) own: IpAddr,
    pub(super) joined: Vec<Joined>,
    pub(super) ports: Vec<u16>,
}

impl Wanted {
    pub(super) fn new(own: IpAddr) -> Self {
        Self { own, joined: Vec::new(), ports: Vec::new() }
    }

    /// Judges a packet by its addresses and the ports in its header.
    #[inline]
    pub(super) fn judge(&self, from: IpAddr, to: IpAddr, packet: &[u8]) -> Result<(), Unwanted> {
        let [s0, s1, d0, d1, kind, ..] = *packet.first_chunk::<HEADER_LEN>().ok_or(Unwanted::NotPgm)?;
        let (source_port, destination_port) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        let wanted = if to == self.own {
            self.ports.contains(&destination_port)
        } else {
            // RFC 3208 §8.2: what goes upstream carries the data port as its source port, what comes downstream as its destination.
            let is_upstream = PacketType::from_code(kind & 0x0F).is_some_and(PacketType::is_upstream);
            let channel = Channel { group: to, data_port: if is_upstream { source_port } else { destination_port } };
            self.joined
                .iter()
                .any(|one| one.channel == channel && (one.sources.is_empty() || one.sources.contains(&from)))
        };
        if wanted { Ok(()) } else { Err(Unwanted::Unclaimed) }
    }

    /// Whom all channels of a group together want to hear; empty: all, `None`: the group is not joined.
    pub(super) fn sources_of(&self, group: IpAddr) -> Option<Vec<IpAddr>> {
        let mut all: Option<Vec<IpAddr>> = None;
        for one in self.joined.iter().filter(|one| one.channel.group == group) {
            match &mut all {
                None => all = Some(one.sources.clone()),
                Some(all) if all.is_empty() => {}
                Some(all) if one.sources.is_empty() => all.clear(),
                Some(all) => all.extend_from_slice(&one.sources),
            }
        }
        let mut all = all?;
        all.sort_unstable();
        all.dedup();
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));
    const PEER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2));
    const GROUP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(239, 192, 0, 1));

    fn packet(source_port: u16, destination_port: u16, kind: PacketType) -> [u8; HEADER_LEN] {
        let mut packet = [0; HEADER_LEN];
        packet[..2].copy_from_slice(&source_port.to_be_bytes());
        packet[2..4].copy_from_slice(&destination_port.to_be_bytes());
        packet[4] = kind.code();
        packet
    }

    fn joined(data_port: u16, sources: &[IpAddr]) -> Joined {
        Joined { channel: Channel { group: GROUP, data_port }, sources: sources.to_vec(), _claim: None }
    }

    #[test]
    fn a_group_is_heard_by_its_data_port_whichever_way_the_packet_goes() {
        let wanted = Wanted { own: OWN, joined: vec![joined(7500, &[])], ports: vec![7400] };
        for kind in PacketType::ALL {
            let (down, up) = (packet(7400, 7500, kind), packet(7500, 7400, kind));
            let (right, wrong) = if kind.is_upstream() { (up, down) } else { (down, up) };
            assert_eq!(wanted.judge(PEER, GROUP, &right), Ok(()), "{kind:?}");
            assert_eq!(wanted.judge(PEER, GROUP, &wrong), Err(Unwanted::Unclaimed), "{kind:?}");
            assert_eq!(wanted.judge(PEER, OWN, &up), Ok(()), "{kind:?}");
            assert_eq!(wanted.judge(PEER, OWN, &down), Err(Unwanted::Unclaimed), "{kind:?}");
            assert_eq!(wanted.judge(PEER, PEER, &up), Err(Unwanted::Unclaimed), "{kind:?}");
            assert_eq!(wanted.judge(PEER, GROUP, &right[..15]), Err(Unwanted::NotPgm), "{kind:?}");
        }
    }

    #[test]
    fn each_channel_hears_its_own_sources_and_the_kernel_is_asked_for_all_of_them() {
        let mut wanted = Wanted { own: OWN, joined: vec![joined(1, &[PEER]), joined(2, &[OWN, PEER])], ports: vec![] };
        let data = |port| packet(9, port, PacketType::Odata);
        assert_eq!(wanted.judge(PEER, GROUP, &data(1)), Ok(()));
        assert_eq!(wanted.judge(OWN, GROUP, &data(1)), Err(Unwanted::Unclaimed));
        assert_eq!(wanted.judge(OWN, GROUP, &data(2)), Ok(()));
        assert_eq!(wanted.sources_of(GROUP), Some(vec![OWN, PEER]));
        for at in [0, 2, 4] {
            wanted.joined.insert(at.min(wanted.joined.len()), joined(3, &[]));
            assert_eq!(wanted.sources_of(GROUP), Some(vec![]), "one that wants all is enough");
        }
        assert_eq!(wanted.sources_of(PEER), None);
    }
}
