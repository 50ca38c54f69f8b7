//! Finished IP headers by destination, beside the address that the kernel wants for it.
//!
//! Used by the `raw` link alone. The kernel finds the next hop, so that a route never becomes stale. Guards: bounded memory (the route
//! used longest ago makes room).

use core::net::IpAddr;

use super::super::kernel::socket::KernelAddress;
use crate::frame::To;
use crate::wire::net::{Envelope, EnvelopeConfig, Transport};

/// Destinations that are kept: a handful of groups in two header forms, and the sources that NAKs go to.
const KEPT: usize = 64;

/// TTL towards one host; the next PGM hop is on this network or a few routers away.
const UNICAST_TTL: u8 = 64;

/// How packets reach a destination.
pub(super) struct Route {
    to: To,
    router_alert: bool,
    /// When it was last looked for, in lookups.
    used: u64,
    pub(super) envelope: Envelope,
    pub(super) name: KernelAddress,
}

/// What all headers of a link have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) source: IpAddr,
    pub(super) interface: u32,
    pub(super) ttl: u8,
    pub(super) tos: u8,
}

pub(super) struct Routes {
    common: Common,
    entries: Vec<Route>,
    /// The entry used last: most packets of a batch go the same way.
    last: usize,
    lookups: u64,
}

impl Routes {
    pub(super) fn new(common: Common) -> Self {
        Self { common, entries: Vec::with_capacity(KEPT), last: 0, lookups: 0 }
    }

    /// The route to `to`; `None` where our address is of the other family.
    #[inline]
    pub(super) fn find(&mut self, to: To, router_alert: bool) -> Option<&Route> {
        let wanted = |route: &Route| route.to == to && route.router_alert == router_alert;
        if !self.entries.get(self.last).is_some_and(wanted) {
            self.last = match self.entries.iter().position(wanted) {
                Some(at) => at,
                None => self.enter(to, router_alert)?,
            };
            self.lookups += 1;
            self.entries[self.last].used = self.lookups;
        }
        Some(&self.entries[self.last])
    }

    #[cold]
    fn enter(&mut self, to: To, router_alert: bool) -> Option<usize> {
        let Common { source, interface, ttl, tos } = self.common;
        let (destination, ttl) = match to {
            To::Group(group) => (group, ttl),
            // RFC 3208 §6.3, conformance 104: a NAK's copy for the neighbours stays on this network.
            To::Neighbours(group) => (group, 1),
            To::Unicast(host) => (host, UNICAST_TTL),
        };
        let config =
            EnvelopeConfig { link: None, source, destination, ttl, tos, router_alert, transport: Transport::Pgm };
        let envelope = Envelope::new(&config).ok()?;
        let name = KernelAddress::of(destination, interface);
        let route = Route { to, router_alert, used: 0, envelope, name };
        if self.entries.len() < KEPT {
            self.entries.push(route);
            return Some(self.entries.len() - 1);
        }
        let (oldest, _) = self.entries.iter().enumerate().min_by_key(|(_, route)| route.used)?;
        self.entries[oldest] = route;
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::kernel::socket::read_address;
    use core::net::Ipv4Addr;

    fn routes(source: &str) -> Routes {
        Routes::new(Common { source: source.parse().expect("an address"), interface: 7, ttl: 16, tos: 0xB8 })
    }

    fn header(routes: &mut Routes, to: To, router_alert: bool) -> (Vec<u8>, IpAddr) {
        let route = routes.find(to, router_alert).expect("of the family");
        let mut front = vec![0; route.envelope.header_len()];
        route.envelope.write(&mut front, 100).expect("it fits");
        (front, read_address(route.name.storage()).expect("an address").ip())
    }

    /// RFC 3208 §6.3, conformance 15, 16, 104
    #[test]
    fn a_group_gets_the_ttl_asked_for_its_neighbours_one_and_a_host_what_reaches_it() {
        let mut routes = routes("10.0.0.9");
        let (group, host) = (IpAddr::from([239, 192, 0, 1]), IpAddr::from([10, 0, 0, 7]));
        for (to, destination, ttl) in
            [(To::Group(group), group, 16), (To::Neighbours(group), group, 1), (To::Unicast(host), host, 64)]
        {
            for router_alert in [false, true] {
                let (header, name) = header(&mut routes, to, router_alert);
                assert_eq!(name, destination);
                assert_eq!((header[1], header[8], header[9]), (0xB8, ttl, 113), "{to:?}");
                assert_eq!(header[6] & 0x40, 0x40, "it may not be fragmented");
                let options: &[u8] = if router_alert { &[0x94, 4, 0, 0] } else { &[] };
                assert_eq!(&header[20..], options);
            }
        }
        assert_eq!(routes.entries.len(), 6);
    }

    #[test]
    fn over_ipv6_there_is_no_router_alert_and_no_way_to_ipv4() {
        let mut routes = routes("fe80::9");
        let group = "ff02::113".parse().expect("a group");
        for router_alert in [false, true] {
            let (header, name) = header(&mut routes, To::Neighbours(group), router_alert);
            assert_eq!((header.len(), header[6], header[7], name), (40, 113, 1, group));
        }
        assert!(routes.find(To::Group([239, 192, 0, 1].into()), false).is_none());
    }

    #[test]
    fn a_thousand_groups_take_no_more_room_than_is_kept() {
        let mut routes = routes("10.0.0.9");
        for n in 0..1000_u16 {
            let [a, b] = n.to_be_bytes();
            let group = Ipv4Addr::new(239, 192, a, b).into();
            assert_eq!(header(&mut routes, To::Group(group), false).1, group);
        }
        assert_eq!(routes.entries.len(), KEPT);
    }
}
