//! Finished headers by destination: made once, stamped in front of every packet.
//!
//! Used by the `xdp` link. Guards: bounded memory (the entry used longest ago makes room), and no header that leads to a neighbour's
//! former card.

use core::net::IpAddr;

use super::neighbours::{Neighbours, Way};
use crate::frame::To;
use crate::link::Encapsulation;
use crate::time::Time;
use crate::wire::net::{Envelope, EnvelopeConfig, LinkLayer, MacAddr, Transport, Vlans, multicast_mac};

/// Destinations that are kept: a handful of groups in two header forms, and the sources that NAKs go to.
const KEPT: usize = 64;

/// TTL towards one host; the next PGM hop is on this network or a few routers away.
const UNICAST_TTL: u8 = 64;

/// The end of time: an envelope to a group stays as it is.
const ALWAYS: Time = Time::from_nanos(u64::MAX);

/// What all our packets have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) mac: MacAddr,
    pub(super) address: IpAddr,
    pub(super) vlans: Vlans,
    pub(super) encapsulation: Encapsulation,
    pub(super) ttl: u8,
    pub(super) tos: u8,
}

impl Sender {
    /// The headers towards `to`, behind this link header or none.
    pub(super) fn envelope(&self, to: To, router_alert: bool, card: Option<MacAddr>) -> Option<Envelope> {
        let (destination, ttl) = match to {
            To::Group(group) => (group, self.ttl),
            // RFC 3208 §6.3, conformance 104: a NAK's copy for the neighbours stays on this network.
            To::Neighbours(group) => (group, 1),
            To::Unicast(host) => (host, UNICAST_TTL),
        };
        let transport = match self.encapsulation {
            Encapsulation::Pgm => Transport::Pgm,
            // conformance 17: one port for groups, one for hosts; answers come to our unicast port.
            Encapsulation::Udp { unicast_port, multicast_port } => Transport::Udp {
                source_port: unicast_port,
                destination_port: if matches!(to, To::Unicast(_)) { unicast_port } else { multicast_port },
            },
        };
        let config = EnvelopeConfig {
            link: card.map(|destination| LinkLayer { source: self.mac, destination, vlans: self.vlans }),
            source: self.address,
            destination,
            ttl,
            tos: self.tos,
            // Routers look for it in front of PGM alone.
            router_alert: router_alert && transport == Transport::Pgm,
            transport,
        };
        Envelope::new(&config).ok()
    }
}

/// Why a packet has no headers of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The kernel has to find out who is next.
    NextHop,
    /// Nothing leads there.
    Way,
}

#[derive(Debug)]
struct Entry {
    to: To,
    router_alert: bool,
    /// What [`Neighbours::changes`] was.
    changes: u64,
    /// How long the way holds.
    until: Time,
    /// When it was last looked for, in lookups.
    used: u64,
    envelope: Envelope,
}

#[derive(Debug)]
pub(super) struct Destinations {
    sender: Sender,
    entries: Vec<Entry>,
    /// The entry used last: most packets of a batch go the same way.
    last: usize,
    lookups: u64,
}

impl Destinations {
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, entries: Vec::with_capacity(KEPT), last: 0, lookups: 0 }
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The headers towards `to`.
    #[inline]
    pub(super) fn envelope(
        &mut self,
        to: To,
        router_alert: bool,
        neighbours: &mut Neighbours,
        now: Time,
    ) -> Result<&Envelope, Missing> {
        let changes = neighbours.changes();
        let current = |entry: &Entry| {
            let stale = matches!(to, To::Unicast(_)) && (entry.changes != changes || entry.until <= now);
            entry.to == to && entry.router_alert == router_alert && !stale
        };
        if !self.entries.get(self.last).is_some_and(current) {
            self.last = match self.entries.iter().position(current) {
                Some(at) => at,
                None => self.enter(to, router_alert, neighbours, now)?,
            };
            self.lookups += 1;
            self.entries[self.last].used = self.lookups;
        }
        Ok(&self.entries[self.last].envelope)
    }

    #[cold]
    fn enter(&mut self, to: To, router_alert: bool, neighbours: &mut Neighbours, now: Time) -> Result<usize, Missing> {
        let (mac, until) = match to {
            To::Group(group) | To::Neighbours(group) => (multicast_mac(group), ALWAYS),
            To::Unicast(host) => match neighbours.way(host, now) {
                Way::Card(mac, until) => (mac, until),
                Way::Kernel => return Err(Missing::NextHop),
                Way::Nowhere => return Err(Missing::Way),
            },
        };
        let envelope = self.sender.envelope(to, router_alert, Some(mac)).ok_or(Missing::Way)?;
        let entry = Entry { to, router_alert, changes: neighbours.changes(), until, used: 0, envelope };
        let same = self.entries.iter().position(|entry| entry.to == to && entry.router_alert == router_alert);
        if let Some(at) = same {
            self.entries[at] = entry;
            return Ok(at);
        }
        if self.entries.len() < KEPT {
            self.entries.push(entry);
            return Ok(self.entries.len() - 1);
        }
        let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used);
        let oldest = oldest.map(|(at, _)| at).ok_or(Missing::Way)?;
        self.entries[oldest] = entry;
        Ok(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::ZERO;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn sender(from: &str) -> Sender {
        Sender {
            mac: [2, 0, 0, 0, 0, 9],
            address: address(from),
            vlans: Vlans::NONE,
            encapsulation: Encapsulation::Pgm,
            ttl: 16,
            tos: 0,
        }
    }

    fn header(envelope: &Envelope) -> Vec<u8> {
        let mut front = vec![0; envelope.header_len()];
        envelope.write(&mut front, 100).expect("it fits");
        front
    }

    fn headers(sender: Sender, to: To, router_alert: bool) -> Vec<u8> {
        let (mut destinations, mut neighbours) = (Destinations::new(sender), Neighbours::new(None));
        if let To::Unicast(host) = to {
            neighbours.learn(host, [4; 6]);
        }
        header(destinations.envelope(to, router_alert, &mut neighbours, NOW).expect("a way"))
    }

    /// RFC 3208 §6.3, conformance 104
    #[test]
    fn a_group_needs_no_neighbour_and_its_neighbours_get_a_ttl_of_one() {
        let group = address("239.192.0.1");
        let wide = headers(sender("10.0.0.9"), To::Group(group), false);
        assert_eq!((wide.len(), &wide[..6], wide[22]), (34, &[1, 0, 0x5e, 0x40, 0, 1][..], 16));
        let near = headers(sender("10.0.0.9"), To::Neighbours(group), true);
        assert_eq!((near.len(), near[22], &near[34..]), (38, 1, &[0x94, 4, 0, 0][..]));
    }

    #[test]
    fn a_host_is_reached_once_it_was_heard_and_at_its_present_card() {
        let (mut destinations, mut neighbours) = (Destinations::new(sender("10.0.0.9")), Neighbours::new(None));
        let host = address("10.0.0.7");
        let to = To::Unicast(host);
        assert_eq!(destinations.envelope(to, false, &mut neighbours, NOW).err(), Some(Missing::Way));
        for mac in [[2; 6], [4; 6]] {
            neighbours.learn(host, mac);
            let found = destinations.envelope(to, false, &mut neighbours, NOW).expect("learnt");
            assert_eq!(header(found)[..6], mac);
        }
        assert_eq!(destinations.entries.len(), 1);
    }

    #[test]
    fn a_thousand_groups_take_no_more_room_than_is_kept() {
        let (mut destinations, mut neighbours) = (Destinations::new(sender("10.0.0.9")), Neighbours::new(None));
        for n in 0..1000_u16 {
            let [a, b] = n.to_be_bytes();
            let envelope = destinations.envelope(To::Group([239, 192, a, b].into()), false, &mut neighbours, NOW);
            assert_eq!(header(envelope.expect("a group"))[30..34], [239, 192, a, b]);
        }
        assert_eq!(destinations.entries.len(), KEPT);
    }

    /// conformance 17
    #[test]
    fn in_udp_groups_and_hosts_have_a_port_each_and_router_alert_is_left_out() {
        let udp = Sender { encapsulation: Encapsulation::UDP, ..sender("10.0.0.9") };
        let group = headers(udp, To::Group(address("239.192.0.1")), true);
        assert_eq!((group.len(), group[23]), (42, 17));
        assert_eq!(group[34..38], [3055_u16.to_be_bytes(), 3056_u16.to_be_bytes()].concat());
        let host = headers(udp, To::Unicast(address("10.0.0.7")), false);
        assert_eq!(host[34..38], [3055_u16.to_be_bytes(), 3055_u16.to_be_bytes()].concat());
    }

    #[test]
    fn ipv6_has_its_own_cards_for_groups_and_no_router_alert() {
        let group = headers(sender("fe80::9"), To::Group(address("ff3e::4321:1")), true);
        assert_eq!((group.len(), &group[..6], group[20]), (54, &[0x33, 0x33, 0x43, 0x21, 0, 1][..], 113));
        let host = headers(sender("fe80::9"), To::Unicast(address("fe80::7")), false);
        assert_eq!((host[..6].to_vec(), host[21]), (vec![4; 6], UNICAST_TTL));
    }

    #[test]
    fn tags_stand_in_front_of_every_packet_as_they_were_given() {
        let tagged = Sender { vlans: Vlans::two(0x0064, 0x6007), ..sender("10.0.0.9") };
        let group = headers(tagged, To::Group(address("239.192.0.1")), false);
        assert_eq!((group.len(), &group[12..20]), (42, &[0x88, 0xa8, 0, 0x64, 0x81, 0, 0x60, 7][..]));
    }
}
