//! Which Ethernet address leads to which host: learnt from what we receive.
//!
//! A source's own frames show the next hop back to it, router or host. One table of fixed size: a host that floods us with invented
//! addresses displaces entries and gains nothing else; a displaced one is learnt again with its next packet.
//!
//! Used by the `xdp` link. Guards: constant time and memory, whatever comes in.

use core::net::Ipv4Addr;

use crate::wire::net::MacAddr;

/// Places in the table: a thousand receivers that answer one source find room, at 16 octets each.
const PLACES: usize = 1024;

#[derive(Debug)]
pub(super) struct Neighbours {
    /// Where an address may be is decided by its low bits, which differ among neighbours.
    table: Box<[Option<(Ipv4Addr, MacAddr)>]>,
    /// The last one seen: most packets come from one source.
    last: (Ipv4Addr, MacAddr),
    /// Grows with every change: what was built from an older answer is stale.
    changes: u64,
}

impl Neighbours {
    pub(super) fn new() -> Self {
        Self { table: vec![None; PLACES].into(), last: (Ipv4Addr::UNSPECIFIED, [0; 6]), changes: 0 }
    }

    /// A packet came from this address through that neighbour.
    #[inline]
    pub(super) fn learn(&mut self, address: Ipv4Addr, mac: MacAddr) {
        if self.last != (address, mac) {
            self.enter(address, mac);
        }
    }

    #[cold]
    fn enter(&mut self, address: Ipv4Addr, mac: MacAddr) {
        // A multicast address names no host, in either world.
        if mac[0] & 1 == 1 || address.is_multicast() || address.is_unspecified() || address.is_broadcast() {
            return;
        }
        self.last = (address, mac);
        let place = &mut self.table[place(address)];
        if *place != Some((address, mac)) {
            *place = Some((address, mac));
            self.changes += 1;
        }
    }

    /// The way to this address, if it was learnt.
    pub(super) fn find(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.table[place(address)].filter(|entry| entry.0 == address).map(|entry| entry.1)
    }

    /// Grows with every change of an answer.
    #[inline]
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

fn place(address: Ipv4Addr) -> usize {
    let bits = u32::from(address);
    (bits ^ bits >> 10 ^ bits >> 20) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = [2, 0, 0, 0, 0, 1];

    #[test]
    fn what_was_heard_is_found_and_a_new_card_replaces_the_old_one() {
        let (mut neighbours, host) = (Neighbours::new(), Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(neighbours.find(host), None);
        neighbours.learn(host, MAC);
        assert_eq!((neighbours.find(host), neighbours.changes()), (Some(MAC), 1));
        neighbours.learn(host, MAC);
        assert_eq!(neighbours.changes(), 1);
        neighbours.learn(host, [2; 6]);
        assert_eq!((neighbours.find(host), neighbours.changes()), (Some([2; 6]), 2));
    }

    #[test]
    fn a_million_invented_hosts_take_no_more_room_and_the_real_one_is_learnt_again() {
        let (mut neighbours, host) = (Neighbours::new(), Ipv4Addr::new(10, 0, 0, 7));
        for n in 0..1_000_000_u32 {
            neighbours.learn(Ipv4Addr::from(0x0b00_0000 + n), MAC);
        }
        assert_eq!(neighbours.table.len(), PLACES);
        neighbours.learn(host, MAC);
        assert_eq!(neighbours.find(host), Some(MAC));
    }

    #[test]
    fn groups_are_not_neighbours() {
        let mut neighbours = Neighbours::new();
        neighbours.learn(Ipv4Addr::new(239, 1, 1, 1), MAC);
        neighbours.learn(Ipv4Addr::new(10, 0, 0, 1), [1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(neighbours.changes(), 0);
    }
}
