//! What a faulty link lost, and when: the beginning of a repair, whose end is the delivery.
//!
//! ```text
//!   link's thread ── note(SQN, now) ──▶ [ table, a place for each of 65,536 SQNs in a row ] ──▶ take(SQN) ── who gets the message
//! ```
//!
//! Written by the link, read by whoever was given a copy, on any thread. Guards: bounded memory, and no wait on either side; what is
//! overwritten before somebody asked for it was never noted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Time;
use crate::wire::{Kind, Limits, Sqn, Tsi, parse};

/// Losses that are remembered: more than a window of any profile has slots.
const PLACES: usize = 1 << 16;

/// A loss; `key` is 0 where there is none.
#[derive(Debug, Default)]
struct Place {
    key: AtomicU64,
    at_ns: AtomicU64,
}

/// Losses of original data, each until somebody asks for it.
#[derive(Clone, Debug)]
pub struct Drops(Arc<[Place]>);

impl Drops {
    pub(super) fn new() -> Self {
        Self((0..PLACES).map(|_| Place::default()).collect())
    }

    /// The place of an SQN, and what stands there if it was lost. Sessions are told apart by a sum of their TSI, which is enough for two of them.
    fn place(&self, tsi: Tsi, sqn: Sqn) -> (&Place, u64) {
        let sum = tsi
            .gsi
            .octets()
            .iter()
            .chain(&tsi.port.to_be_bytes())
            .fold(0x811c_9dc5_u32, |sum, octet| (sum ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
        // Never 0, which is nobody's.
        let key = u64::from(sum | 1) << 32 | u64::from(sqn.get());
        (&self.0[sqn.get() as usize % PLACES], key)
    }

    /// This packet is lost now. Only original data counts: a repair that is lost as well makes the same repair take longer.
    #[cold]
    pub(super) fn note(&self, now: Time, packet: &[u8]) {
        let Ok(header) = parse(packet, &Limits::default()) else { return };
        let Kind::Odata(data) = header.kind else { return };
        let (place, key) = self.place(header.tsi, data.sqn);
        place.key.store(0, Ordering::Release);
        place.at_ns.store(now.as_nanos(), Ordering::Relaxed);
        place.key.store(key, Ordering::Release);
    }

    /// When this packet was lost, if it was and nobody asked before.
    #[inline]
    pub fn take(&self, tsi: Tsi, sqn: Sqn) -> Option<Time> {
        let (place, key) = self.place(tsi, sqn);
        if place.key.load(Ordering::Acquire) != key {
            return None;
        }
        let at_ns = place.at_ns.load(Ordering::Relaxed);
        // Whoever wrote something else there meanwhile has overwritten the time as well.
        let taken = place.key.compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok().then(|| Time::from_nanos(at_ns))
    }
}
