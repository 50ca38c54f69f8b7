//! Which Ethernet address leads to which host: learnt from what we receive, else as the kernel knows it.
//!
//! A source's own frames show the next hop back to it, router or host. One table of fixed size: a host that floods us with invented
//! addresses displaces entries and gains nothing else; a displaced one is learnt again with its next packet. Whom we never heard the
//! kernel is asked for, and its answers are kept for a while.
//!
//! Used by the `xdp` link. Guards: constant time and memory, whatever comes in; no more questions to the kernel than one for each
//! destination in [`RETRY_NS`], whatever is sent; no way to where no route leads.

use core::net::{IpAddr, Ipv4Addr};

use crate::link::kernel::netlink::{Netlink, NextHop};
use crate::time::Time;
use crate::wire::net::MacAddr;

/// Places in the table: a thousand receivers that answer one source find room, at 24 octets each.
const PLACES: usize = 1024;

/// Answers of the kernel that are kept: the sources that NAKs go to before they were heard are few.
const ANSWERS: usize = 64;

/// How long an answer without a card holds. Resolving takes the kernel less on a network at rest.
const RETRY_NS: u64 = 100_000_000;

/// How long a card that the kernel knows holds before it is asked again: a host that moved is out of reach for no longer.
const LIFE_NS: u64 = 1_000_000_000;

/// The way to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To this card, until then.
    Card(MacAddr, Time),
    /// Through the kernel, which finds out.
    Kernel,
    /// No route leads there, or nobody can be asked.
    Nowhere,
}

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Kernel {
    netlink: Netlink,
    interface: u32,
    /// Whether packets can go through the kernel; otherwise a card that it would not rely on is better than none.
    detour: bool,
    answers: Vec<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    host: IpAddr,
    asked: Time,
    hop: NextHop,
}

impl Kernel {
    pub(super) fn new(netlink: Netlink, interface: u32, detour: bool) -> Self {
        Self { netlink, interface, detour, answers: Vec::with_capacity(ANSWERS) }
    }

    fn way(&mut self, host: IpAddr, now: Time) -> Way {
        let Some(Answer { asked, hop, .. }) = self.answer(host, now) else { return Way::Nowhere };
        match hop {
            NextHop::Card { mac, confirmed: true } => Way::Card(mac, asked.plus(LIFE_NS)),
            NextHop::Card { mac, .. } if !self.detour => Way::Card(mac, asked.plus(RETRY_NS)),
            NextHop::Card { .. } | NextHop::Unresolved if self.detour => Way::Kernel,
            _ => Way::Nowhere,
        }
    }

    /// The kernel's answer, as old as it may be.
    fn answer(&mut self, host: IpAddr, now: Time) -> Option<Answer> {
        let holds = |answer: &Answer| {
            let life = if matches!(answer.hop, NextHop::Card { confirmed: true, .. }) { LIFE_NS } else { RETRY_NS };
            now.since(answer.asked) < life
        };
        let known = self.answers.iter().position(|answer| answer.host == host);
        if let Some(at) = known
            && holds(&self.answers[at])
        {
            return Some(self.answers[at]);
        }
        let place = match known {
            Some(at) => at,
            None if self.answers.len() < ANSWERS => self.answers.len(),
            // A thousand destinations at once ask no more than the table has places.
            None => self.answers.iter().position(|answer| now.since(answer.asked) >= RETRY_NS)?,
        };
        let hop = self.netlink.next_hop(self.interface, host).unwrap_or(NextHop::Unreachable);
        let answer = Answer { host, asked: now, hop };
        match self.answers.get_mut(place) {
            Some(old) => *old = answer,
            None => self.answers.push(answer),
        }
        Some(answer)
    }
}

#[derive(Debug)]
pub(super) struct Neighbours {
    /// Where an address may be is decided by its low bits, which differ among neighbours.
    table: Box<[Option<(IpAddr, MacAddr)>]>,
    /// The last one seen: most packets come from one source.
    last: (IpAddr, MacAddr),
    /// Grows with every change: what was built from an older answer is stale.
    changes: u64,
    kernel: Option<Kernel>,
}

impl Neighbours {
    /// Those that are heard, and those that the kernel knows.
    pub(super) fn new(kernel: Option<Kernel>) -> Self {
        let nobody = (Ipv4Addr::UNSPECIFIED.into(), [0; 6]);
        Self { table: vec![None; PLACES].into(), last: nobody, changes: 0, kernel }
    }

    /// A packet came from this address through that neighbour.
    #[inline]
    pub(super) fn learn(&mut self, address: IpAddr, mac: MacAddr) {
        if self.last != (address, mac) {
            self.enter(address, mac);
        }
    }

    #[cold]
    fn enter(&mut self, address: IpAddr, mac: MacAddr) {
        // A multicast address names no host, in either world.
        if mac[0] & 1 == 1 || !is_host(address) {
            return;
        }
        self.last = (address, mac);
        let place = &mut self.table[place(address)];
        if *place != Some((address, mac)) {
            *place = Some((address, mac));
            self.changes += 1;
        }
    }

    /// The way to this address.
    pub(super) fn way(&mut self, address: IpAddr, now: Time) -> Way {
        if let Some((_, mac)) = self.table[place(address)].filter(|entry| entry.0 == address) {
            return Way::Card(mac, Time::from_nanos(u64::MAX));
        }
        match &mut self.kernel {
            Some(kernel) if is_host(address) => kernel.way(address, now),
            _ => Way::Nowhere,
        }
    }

    /// Grows with every change of what was heard.
    #[inline]
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

fn is_host(address: IpAddr) -> bool {
    let everybody = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || everybody)
}

fn place(address: IpAddr) -> usize {
    let bits = match address {
        IpAddr::V4(v4) => u32::from(v4),
        // The interface part, folded.
        IpAddr::V6(v6) => (v6.to_bits() as u64 ^ v6.to_bits() as u64 >> 32) as u32,
    };
    (bits ^ bits >> 10 ^ bits >> 20) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = [2, 0, 0, 0, 0, 1];
    const NOW: Time = Time::ZERO;

    fn card(neighbours: &mut Neighbours, host: IpAddr) -> Option<MacAddr> {
        match neighbours.way(host, NOW) {
            Way::Card(mac, _) => Some(mac),
            Way::Kernel | Way::Nowhere => None,
        }
    }

    #[test]
    fn what_was_heard_is_found_and_a_new_card_replaces_the_old_one() {
        for host in ["10.0.0.7", "fe80::7"] {
            let (mut neighbours, host) = (Neighbours::new(None), host.parse().expect("an address"));
            assert_eq!(neighbours.way(host, NOW), Way::Nowhere);
            neighbours.learn(host, MAC);
            assert_eq!((card(&mut neighbours, host), neighbours.changes()), (Some(MAC), 1));
            neighbours.learn(host, MAC);
            assert_eq!(neighbours.changes(), 1);
            neighbours.learn(host, [2; 6]);
            assert_eq!((card(&mut neighbours, host), neighbours.changes()), (Some([2; 6]), 2));
        }
    }

    #[test]
    fn a_million_invented_hosts_take_no_more_room_and_the_real_one_is_learnt_again() {
        let (mut neighbours, host) = (Neighbours::new(None), IpAddr::from([10, 0, 0, 7]));
        for n in 0..1_000_000_u32 {
            neighbours.learn(Ipv4Addr::from(0x0b00_0000 + n).into(), MAC);
        }
        assert_eq!(neighbours.table.len(), PLACES);
        neighbours.learn(host, MAC);
        assert_eq!(card(&mut neighbours, host), Some(MAC));
    }

    #[test]
    fn groups_are_not_neighbours() {
        let mut neighbours = Neighbours::new(None);
        for group in ["239.1.1.1", "ff3e::1", "255.255.255.255", "::"] {
            neighbours.learn(group.parse().expect("an address"), MAC);
        }
        neighbours.learn([10, 0, 0, 1].into(), [1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(neighbours.changes(), 0);
    }

    #[test]
    fn the_kernel_is_asked_once_in_a_while_and_not_for_more_than_there_is_room_for() {
        let netlink = Netlink::open().expect("a socket");
        // No interface has this number, so no route leads anywhere.
        let mut kernel = Kernel::new(netlink, u32::MAX >> 1, true);
        let host = |n: u8| IpAddr::from([192, 0, 2, n]);
        let asked = |kernel: &Kernel, n| kernel.answers.iter().find(|answer| answer.host == host(n)).map(|it| it.asked);
        let at = |ns| Time::from_nanos(ns);
        for now in [0, RETRY_NS - 1, RETRY_NS] {
            assert_eq!(kernel.way(host(1), at(now)), Way::Nowhere);
            assert_eq!(asked(&kernel, 1), Some(at(if now < RETRY_NS { 0 } else { now })));
        }
        for n in 2..200 {
            assert_eq!(kernel.way(host(n), at(RETRY_NS)), Way::Nowhere);
        }
        assert_eq!(kernel.answers.len(), ANSWERS);
        assert_eq!(asked(&kernel, 199), None, "not asked: all places were asked for lately");
        kernel.way(host(199), at(2 * RETRY_NS));
        assert_eq!(asked(&kernel, 199), Some(at(2 * RETRY_NS)));
    }

    #[test]
    fn a_card_that_the_kernel_would_not_rely_on_serves_where_nothing_can_go_through_it() {
        for (detour, confirmed, way) in [
            (true, false, Way::Kernel),
            (false, false, Way::Card(MAC, Time::from_nanos(RETRY_NS))),
            (true, true, Way::Card(MAC, Time::from_nanos(LIFE_NS))),
        ] {
            let mut kernel = Kernel::new(Netlink::open().expect("a socket"), 1, detour);
            let host = IpAddr::from([10, 0, 0, 7]);
            kernel.answers.push(Answer { host, asked: NOW, hop: NextHop::Card { mac: MAC, confirmed } });
            assert_eq!(kernel.way(host, NOW), way);
        }
    }
}
