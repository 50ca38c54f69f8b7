//! Finished headers by destination: made once, stamped in front of every packet.
//!
//! Used by the `xdp` link. Guards: bounded memory (the entry used longest ago makes room), and no header that leads to a neighbour's
//! former card.

use core::net::{IpAddr, Ipv4Addr};

use super::neighbours::Neighbours;
use crate::frame::To;
use crate::wire::net::{Envelope, EnvelopeConfig, LinkLayer, MacAddr, Transport, Vlans, multicast_mac};

/// Destinations that are kept: a handful of groups in two header forms, and the sources that NAKs go to.
const KEPT: usize = 64;

/// TTL towards one host; the next PGM hop is on this network or a few routers away.
const UNICAST_TTL: u8 = 64;

#[derive(Debug)]
struct Entry {
    to: To,
    router_alert: bool,
    /// What [`Neighbours::changes`] was.
    changes: u64,
    /// When it was last looked for, in lookups.
    used: u64,
    envelope: Envelope,
}

#[derive(Debug)]
pub(super) struct Destinations {
    mac: MacAddr,
    address: Ipv4Addr,
    ttl: u8,
    tos: u8,
    entries: Vec<Entry>,
    /// The entry used last: most packets of a batch go the same way.
    last: usize,
    lookups: u64,
}

impl Destinations {
    pub(super) fn new(mac: MacAddr, address: Ipv4Addr, ttl: u8, tos: u8) -> Self {
        Self { mac, address, ttl, tos, entries: Vec::with_capacity(KEPT), last: 0, lookups: 0 }
    }

    /// The headers towards `to`; `None` when no neighbour is known to lead there.
    #[inline]
    pub(super) fn envelope(&mut self, to: To, router_alert: bool, neighbours: &Neighbours) -> Option<&Envelope> {
        let current = |entry: &Entry| {
            let stale = matches!(to, To::Unicast(_)) && entry.changes != neighbours.changes();
            entry.to == to && entry.router_alert == router_alert && !stale
        };
        if !self.entries.get(self.last).is_some_and(current) {
            self.last = match self.entries.iter().position(current) {
                Some(at) => at,
                None => self.enter(to, router_alert, neighbours)?,
            };
            self.lookups += 1;
            self.entries[self.last].used = self.lookups;
        }
        Some(&self.entries[self.last].envelope)
    }

    #[cold]
    fn enter(&mut self, to: To, router_alert: bool, neighbours: &Neighbours) -> Option<usize> {
        let (destination, ttl, mac) = match to {
            To::Group(group) => (group, self.ttl, multicast_mac(group)),
            // RFC 3208 §6.3, conformance 104: a NAK's copy for the neighbours stays on this network.
            To::Neighbours(group) => (group, 1, multicast_mac(group)),
            To::Unicast(IpAddr::V4(host)) => (host.into(), UNICAST_TTL, neighbours.find(host)?),
            To::Unicast(IpAddr::V6(_)) => return None,
        };
        let envelope = Envelope::new(&EnvelopeConfig {
            link: Some(LinkLayer { source: self.mac, destination: mac, vlans: Vlans::NONE }),
            source: self.address.into(),
            destination,
            ttl,
            tos: self.tos,
            router_alert,
            transport: Transport::Pgm,
        })
        .ok()?;
        let entry = Entry { to, router_alert, changes: neighbours.changes(), used: 0, envelope };
        let same = self.entries.iter().position(|entry| entry.to == to && entry.router_alert == router_alert);
        if let Some(at) = same {
            self.entries[at] = entry;
            return Some(at);
        }
        if self.entries.len() < KEPT {
            self.entries.push(entry);
            return Some(self.entries.len() - 1);
        }
        let (oldest, _) = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used)?;
        self.entries[oldest] = entry;
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn destinations() -> Destinations {
        Destinations::new([2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 0, 0, 9), 16, 0)
    }

    fn header(envelope: &Envelope) -> Vec<u8> {
        let mut front = vec![0; envelope.header_len()];
        envelope.write(&mut front, 100).expect("it fits");
        front
    }

    /// RFC 3208 §6.3, conformance 104
    #[test]
    fn a_group_needs_no_neighbour_and_its_neighbours_get_a_ttl_of_one() {
        let (mut destinations, neighbours) = (destinations(), Neighbours::new());
        let group = IpAddr::from([239, 192, 0, 1]);
        let wide = header(destinations.envelope(To::Group(group), false, &neighbours).expect("a group"));
        assert_eq!((wide.len(), &wide[..6], wide[22]), (34, &[1, 0, 0x5e, 0x40, 0, 1][..], 16));
        let near = header(destinations.envelope(To::Neighbours(group), true, &neighbours).expect("a group"));
        assert_eq!((near.len(), near[22], &near[34..]), (38, 1, &[0x94, 4, 0, 0][..]));
    }

    #[test]
    fn a_host_is_reached_once_it_was_heard_and_at_its_present_card() {
        let (mut destinations, mut neighbours) = (destinations(), Neighbours::new());
        let to = To::Unicast(HOST.into());
        assert!(destinations.envelope(to, false, &neighbours).is_none());
        for mac in [[2; 6], [4; 6]] {
            neighbours.learn(HOST, mac);
            assert_eq!(header(destinations.envelope(to, false, &neighbours).expect("learnt"))[..6], mac);
        }
        assert_eq!(destinations.entries.len(), 1);
    }

    #[test]
    fn a_thousand_groups_take_no_more_room_than_is_kept() {
        let (mut destinations, neighbours) = (destinations(), Neighbours::new());
        for n in 0..1000_u16 {
            let [a, b] = n.to_be_bytes();
            let envelope = destinations.envelope(To::Group([239, 192, a, b].into()), false, &neighbours);
            assert_eq!(header(envelope.expect("a group"))[30..34], [239, 192, a, b]);
        }
        assert_eq!(destinations.entries.len(), KEPT);
    }
}
