//! Data-source ports: what makes the TSIs of one host differ.
//!
//! Called by whoever opens sources on a host. Guards: no two sessions of a host have one port, and a session that is opened again
//! gets another one, so that receivers never take it for the old one.

use crate::protocol::Rng;
use crate::wire::{Gsi, Tsi};

/// Ports, 0 included, which is never given.
const PORTS: usize = 1 << 16;

/// Hands out the TSIs of one host, in an order that the seed decides.
///
/// ```
/// use pgmx::protocol::source::TsiAllocator;
/// use pgmx::wire::Gsi;
/// let mut host = TsiAllocator::new(Gsi::from_host_name("pgm.example.com"), 7);
/// assert_ne!(host.open(), host.open());
/// ```
#[derive(Debug)]
pub struct TsiAllocator {
    gsi: Gsi,
    /// Where the walk through the ports stands, and its stride: odd, so that it meets every port before any twice.
    at: u16,
    stride: u16,
    open: Box<[u64]>,
    left: usize,
}

impl TsiAllocator {
    /// The TSIs of the host `gsi`. A seed that differs from one start to the next keeps restarted sessions apart.
    pub fn new(gsi: Gsi, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut open: Box<[u64]> = vec![0; PORTS / 64].into();
        open[0] = 1;
        Self { gsi, at: rng.next_u64() as u16, stride: rng.next_u64() as u16 | 1, open, left: PORTS - 1 }
    }

    /// A TSI that no open session of this host has, and that none had for as long as the ports last; `None` when all are open.
    pub fn open(&mut self) -> Option<Tsi> {
        if self.left == 0 {
            return None;
        }
        // RFC 3208 §8, conformance 14: the data-source port is random, and unique in its host.
        while self.is_open(self.at) {
            self.at = self.at.wrapping_add(self.stride);
        }
        let port = self.at;
        self.at = self.at.wrapping_add(self.stride);
        self.open[usize::from(port) / 64] |= 1 << (port % 64);
        self.left -= 1;
        Some(Tsi::new(self.gsi, port))
    }

    /// The session is over; its port comes round again after all others.
    pub fn close(&mut self, tsi: Tsi) {
        if tsi.gsi == self.gsi && tsi.port != 0 && self.is_open(tsi.port) {
            self.open[usize::from(tsi.port) / 64] &= !(1 << (tsi.port % 64));
            self.left += 1;
        }
    }

    fn is_open(&self, port: u16) -> bool {
        self.open[usize::from(port) / 64] & (1 << (port % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// RFC 3208 §8, conformance 14
    #[test]
    fn all_sessions_of_a_host_have_ports_of_their_own_and_a_session_opened_again_gets_a_new_one() {
        let mut host = TsiAllocator::new(Gsi::new([1; 6]), 42);
        let open: HashSet<Tsi> = (0..PORTS - 1).map(|_| host.open().expect("a port is left")).collect();
        assert_eq!(open.len(), PORTS - 1);
        assert!(open.iter().all(|tsi| tsi.port != 0));
        assert_eq!(host.open(), None);

        let mut host = TsiAllocator::new(Gsi::new([1; 6]), 42);
        let mut used = HashSet::new();
        for _ in 0..1_000 {
            let tsi = host.open().expect("a port is left");
            assert!(used.insert(tsi), "{tsi} twice");
            host.close(tsi);
        }
    }
}
