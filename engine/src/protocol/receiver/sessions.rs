//! The session table: sessions by TSI, never more than bounded.
//!
//! `Receiver` finds, adds and removes through it. Guards two invariants: a newcomer never displaces a session that has proven itself, and
//! the work of a lookup does not depend on what strangers choose as their TSIs (the hash is seeded, the table at most half full).

use super::session::{Phase, Session};
use crate::wire::Tsi;

/// An empty cell of the index.
const EMPTY: u16 = u16::MAX;

/// The table.
#[derive(Debug)]
pub(super) struct Sessions {
    slots: Vec<Option<Session>>,
    /// Open addressing with linear probing; cells name slots.
    index: Box<[u16]>,
    free: Vec<u16>,
    seed: u64,
    /// The slot that was found last.
    last: usize,
}

impl Sessions {
    pub(super) fn new(bound: u32, seed: u64) -> Self {
        assert!(bound > 0 && bound < u32::from(EMPTY), "an impossible number of sessions");
        Self {
            slots: (0..bound).map(|_| None).collect(),
            index: vec![EMPTY; (2 * bound as usize).next_power_of_two()].into(),
            free: (0..bound as u16).rev().collect(),
            seed: seed | 1,
            last: 0,
        }
    }

    /// The session that was found last.
    #[inline]
    pub(super) fn latest(&mut self) -> Option<&mut Session> {
        self.slots.get_mut(self.last)?.as_mut()
    }

    /// Makes the session with this [`Tsi::key`] the latest, if it is there.
    #[inline]
    pub(super) fn turn_to(&mut self, key: u64) {
        if self.latest().is_some_and(|session| session.key == key) {
            return;
        }
        if let Some(cell) = self.cell_of(key) {
            self.last = usize::from(self.index[cell]);
        }
    }

    /// The slot of a session.
    // RFC 3208 §3.1, conformance 85: the TSI alone says which session a packet belongs to.
    pub(super) fn find(&mut self, tsi: Tsi) -> Option<usize> {
        let key = tsi.key();
        if self.latest().is_some_and(|session| session.key == key) {
            return Some(self.last);
        }
        let slot = usize::from(self.index[self.cell_of(key)?]);
        self.last = slot;
        Some(slot)
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Session> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn get(&self, tsi: Tsi) -> Option<&Session> {
        self.slots[usize::from(self.index[self.cell_of(tsi.key())?])].as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slots.iter_mut().flatten()
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Adds a session whose TSI is not in the table. The table must not be full.
    pub(super) fn add(&mut self, session: Session) -> Option<usize> {
        debug_assert!(self.cell_of(session.key).is_none(), "a session added twice");
        let slot = self.free.pop()?;
        let mask = self.index.len() - 1;
        let mut cell = self.home(session.key);
        while self.index[cell] != EMPTY {
            cell = (cell + 1) & mask;
        }
        self.index[cell] = slot;
        self.slots[usize::from(slot)] = Some(session);
        self.last = usize::from(slot);
        Some(usize::from(slot))
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Session> {
        let tsi = self.slots.get(slot)?.as_ref()?.tsi;
        let mut hole = self.cell_of(tsi.key())?;
        let mask = self.index.len() - 1;
        self.index[hole] = EMPTY;
        // What stands behind the hole and was displaced past it moves up, so that no search stops short.
        let mut cell = (hole + 1) & mask;
        while self.index[cell] != EMPTY {
            let moved = self.slots[usize::from(self.index[cell])].as_ref().map(|session| session.key);
            if let Some(home) = moved.map(|key| self.home(key))
                && cell.wrapping_sub(home) & mask >= cell.wrapping_sub(hole) & mask
            {
                self.index[hole] = self.index[cell];
                self.index[cell] = EMPTY;
                hole = cell;
            }
            cell = (cell + 1) & mask;
        }
        self.free.push(slot as u16);
        self.slots[slot].take()
    }

    /// Who has to go when a newcomer finds the table full; `None` when everybody has earned his place.
    // conformance 157: strangers displace strangers.
    pub(super) fn victim(&self) -> Option<usize> {
        let rank = |session: &Session| match session.phase {
            Phase::Over => Some(2),
            _ if session.is_proven() => None,
            // One packet is what a flood of invented sessions looks like.
            _ if session.stats.data_packets <= 1 => Some(0),
            _ => Some(1),
        };
        let ranked = self.slots.iter().enumerate().filter_map(|(slot, session)| {
            let session = session.as_ref()?;
            Some((rank(session)?, session.heard_at, slot))
        });
        ranked.min().map(|(_, _, slot)| slot)
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        let key = key ^ self.seed;
        let mixed = (key ^ (key >> 32)).wrapping_mul(self.seed.rotate_left(17) | 1);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as usize & (self.index.len() - 1)
    }

    /// Where the index names the session with this [`Tsi::key`].
    #[inline]
    fn cell_of(&self, key: u64) -> Option<usize> {
        let mask = self.index.len() - 1;
        let mut cell = self.home(key);
        loop {
            let slot = self.index[cell];
            if slot == EMPTY {
                return None;
            }
            if self.slots[usize::from(slot)].as_ref().is_some_and(|session| session.key == key) {
                return Some(cell);
            }
            cell = (cell + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::protocol::Rng;
    use crate::protocol::config::Profile;
    use crate::protocol::receiver::adapt::Baseline;
    use crate::protocol::receiver::config::ReceiverConfig;
    use crate::time::Time;
    use crate::wire::{Gsi, Sqn};

    fn session(tsi: Tsi) -> Session {
        let config = ReceiverConfig::profile(Profile::Lan, [239, 1, 1, 1].into(), 1);
        Session::new(tsi, [10, 0, 0, 1].into(), Time::ZERO, Baseline::new(&config))
    }

    #[test]
    fn the_table_agrees_with_a_map_whatever_comes_and_goes() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut table = Sessions::new(13, seed);
            let mut model: BTreeMap<Tsi, usize> = BTreeMap::new();
            for _ in 0..2_000 {
                let tsi = Tsi::new(Gsi::new([1, 2, 3, 4, 5, rng.below(2) as u8]), rng.below(12) as u16);
                assert_eq!(table.find(tsi), model.get(&tsi).copied());
                assert_eq!(table.get(tsi).is_some(), model.contains_key(&tsi));
                match model.get(&tsi).copied() {
                    Some(slot) if rng.chance(1, 2) => {
                        assert_eq!(table.remove(slot).map(|session| session.tsi), Some(tsi));
                        assert!(table.remove(slot).is_none());
                        model.remove(&tsi);
                    }
                    None if !table.is_full() => {
                        let slot = table.add(session(tsi)).expect("room");
                        assert!(model.values().all(|&taken| taken != slot));
                        model.insert(tsi, slot);
                    }
                    _ => assert!(model.contains_key(&tsi) || model.len() == 13),
                }
                assert_eq!(table.iter().count(), model.len());
            }
        }
    }

    /// conformance 157
    #[test]
    fn who_has_shown_least_goes_first_and_who_has_proven_himself_stays() {
        let mut table = Sessions::new(4, 1);
        let tsi = |port| Tsi::new(Gsi::new([0; 6]), port);
        for port in 0..4 {
            table.add(session(tsi(port)));
        }
        let mut change = |port: u16, change: fn(&mut Session)| {
            let slot = table.find(tsi(port)).expect("it is there");
            change(table.get_mut(slot).expect("it is there"));
            table.victim().and_then(|victim| table.get_mut(victim)).map(|session| session.tsi.port)
        };
        assert_eq!(change(0, |session| session.heard_at = Time::from_nanos(5)), Some(1));
        assert_eq!(change(1, |session| session.stats.data_packets = 2), Some(2));
        assert_eq!(change(2, |session| session.phase = Phase::Over), Some(3));
        let prove = |session: &mut Session| {
            session.has_data = true;
            session.spm = Some(super::super::session::LastSpm { sqn: Sqn::new(0), path: session.source });
        };
        assert_eq!(change(3, prove), Some(0));
        assert_eq!(change(0, prove), Some(1));
        assert_eq!(change(1, prove), Some(2));
        assert_eq!(change(2, |session| session.phase = Phase::Live), Some(2));
        assert_eq!(change(2, prove), None);
    }
}
