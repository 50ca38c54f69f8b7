//! Senders whose packets go no further: what the steering program does on AF_XDP, for links that have none.
//!
//! Wraps the links over sockets. Guards: with a list, a packet from elsewhere never leaves the link; without one it costs a branch a
//! batch.

use core::net::IpAddr;
use core::time::Duration;
use std::os::fd::BorrowedFd;

use crate::frame::{Pool, RxBatch, TxBatch};
use crate::link::{Link, LinkError};
use crate::time::Time;

/// Packets that wait between the two, at the most: one batch.
const STAGE: usize = 64;

/// A link that passes on what allowed senders sent.
#[derive(Debug)]
pub struct Allowed<L> {
    inner: L,
    list: Option<List>,
}

#[derive(Debug)]
struct List {
    /// The bits that count, and what they must be.
    prefixes: Box<[(u128, u128)]>,
    arrived: RxBatch,
    refused: u64,
}

impl<L> Allowed<L> {
    /// Passes on what these senders sent, by prefix; everything if there are none.
    pub(super) fn new(inner: L, sources: &[(IpAddr, u8)]) -> Self {
        let prefixes = sources.iter().map(|&(address, bits)| prefix(address, bits)).collect();
        let list = List { prefixes, arrived: RxBatch::new(STAGE), refused: 0 };
        Self { inner, list: (!sources.is_empty()).then_some(list) }
    }

    /// The link itself.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// Packets from senders that are not on the list.
    pub fn refused(&self) -> u64 {
        self.list.as_ref().map_or(0, |list| list.refused)
    }
}

/// IPv4 addresses as IPv6 has them, so that there is one kind of number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn prefix(address: IpAddr, bits: u8) -> (u128, u128) {
    let bits = u32::from(bits) + if address.is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    (mask, number(address) & mask)
}

impl List {
    fn allows(&self, from: IpAddr) -> bool {
        let from = number(from);
        self.prefixes.iter().any(|(mask, wanted)| from & mask == *wanted)
    }
}

impl<L: Link> Link for Allowed<L> {
    pass_on!(inner);

    #[inline]
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let Some(list) = &mut self.list else { return self.inner.receive(now, pool, into) };
        let before = into.len();
        // What the last batch had no room for comes first.
        let answer = if list.arrived.is_empty() { self.inner.receive(now, pool, &mut list.arrived) } else { Ok(0) };
        while into.room() > 0
            && let Some(packet) = list.arrived.pop()
        {
            if list.allows(packet.from) {
                into.push(packet);
            } else {
                list.refused += 1;
                pool.put(packet.frame);
            }
        }
        answer.map(|_| into.len() - before)
    }

    #[inline]
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        self.inner.send(now, pool, from)
    }

    fn deadline(&self) -> Option<Time> {
        let waits = self.list.as_ref().is_some_and(|list| !list.arrived.is_empty());
        if waits { Some(Time::ZERO) } else { self.inner.deadline() }
    }

    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        if self.deadline() == Some(Time::ZERO) { Ok(()) } else { self.inner.wait(at_most, wake) }
    }

    fn loops_back(&self) -> bool {
        self.inner.loops_back()
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        if let Some(list) = &mut self.list {
            while let Some(packet) = list.arrived.pop() {
                pool.put(packet.frame);
            }
        }
        self.inner.shut_down(pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, Outgoing, To};
    use crate::link::memory::Hub;

    #[test]
    fn prefixes_of_both_families_are_held_apart() {
        let list = |sources: &[(&str, u8)]| {
            let sources: Vec<(IpAddr, u8)> =
                sources.iter().map(|(text, bits)| (text.parse().expect("an address"), *bits)).collect();
            Allowed::new((), &sources).list.expect("a list")
        };
        let allows = |list: &List, from: &str| list.allows(from.parse().expect("an address"));
        let four = list(&[("10.1.2.0", 24), ("192.0.2.7", 32)]);
        assert!(allows(&four, "10.1.2.255") && allows(&four, "192.0.2.7"));
        assert!(!allows(&four, "10.1.3.0") && !allows(&four, "192.0.2.6") && !allows(&four, "2001:db8::1"));
        let six = list(&[("2001:db8::", 32), ("fe80::1", 128)]);
        assert!(allows(&six, "2001:db8:ffff::1") && allows(&six, "fe80::1"));
        assert!(!allows(&six, "2001:db9::1") && !allows(&six, "fe80::2") && !allows(&six, "10.0.0.1"));
        assert!(allows(&list(&[("0.0.0.0", 0)]), "203.0.113.9"));
        assert!(!allows(&list(&[("0.0.0.0", 0)]), "2001:db8::1"), "all of IPv4 is not all");
        assert!(allows(&list(&[("::", 0)]), "2001:db8::1"));
    }

    #[test]
    fn packets_from_elsewhere_end_here_and_the_others_wait_for_room() {
        let hub = Hub::new(64);
        let own: IpAddr = [10, 0, 0, 9].into();
        let mut link = Allowed::new(hub.port(own), &[([10, 0, 0, 1].into(), 32)]);
        let mut pool = Pool::anonymous(Layout::standard(64)).expect("a small mapping");
        let mut others = [1, 2].map(|n| hub.port([10, 0, 0, n].into()));
        for n in 0..10_u8 {
            for other in &mut others {
                let mut frame = pool.take().expect("a frame");
                frame.set_range(pool.layout().start + other.path().front, 1);
                pool.bytes_mut(&mut frame)[0] = n;
                let mut batch = TxBatch::new(1);
                batch.push(Outgoing { frame, to: To::Unicast(own), router_alert: false });
                other.send(Time::ZERO, &mut pool, &mut batch).expect("memory never fails");
            }
        }
        let (mut came, mut batch) = (Vec::new(), RxBatch::new(4));
        for expected in [4, 4, 2, 0] {
            assert_eq!(link.receive(Time::ZERO, &mut pool, &mut batch).expect("memory never fails"), expected);
            assert_eq!(link.deadline().is_some(), came.len() < 6, "it asks to be called again");
            while let Some(packet) = batch.pop() {
                came.push(pool.bytes(&packet.frame)[0]);
                assert_eq!(packet.from, IpAddr::from([10, 0, 0, 1]));
                pool.put(packet.frame);
            }
        }
        assert_eq!((came, link.refused()), ((0..10).collect(), 10));
        link.shut_down(&mut pool);
        assert_eq!(pool.census().out, 0);
    }
}
