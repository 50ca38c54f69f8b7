//! The source's part in keeping NAKs from imploding: steering the receivers' back-off, and containing failures.
//!
//! Called by `nak` for every request and by `data` for every repair. Guards RFC 3208 §15.2.1 (the interval stays within its bounds and
//! moves by factors of two) and §15.3 (a network that swallows NCFs is noticed).

use super::config::{BackOffTuning, SourceConfig};
use crate::time::{Time, nanos};
use crate::wire::{NakBoIvl, NakBoRng, Sqn};

/// `NAK_BO_IVL` of this source, if it steers at all.
#[derive(Debug)]
pub(super) struct BackOff {
    tuning: Option<BackOffTuning>,
    ivl_ns: u64,
    quiet_losses: u32,
    /// No other doubling before: duplicates that were under way already must not count again.
    doubled_until: Time,
    dup_nak_max: u16,
}

impl BackOff {
    pub(super) fn new(config: &SourceConfig) -> Self {
        Self {
            tuning: config.back_off,
            ivl_ns: config.back_off.map_or(0, |tuning| nanos(tuning.start)),
            quiet_losses: 0,
            doubled_until: Time::ZERO,
            dup_nak_max: config.dup_nak_max.unwrap_or(u16::MAX),
        }
    }

    /// A NAK came, the `naks`th for its loss. Tells whether the network must be assumed broken.
    pub(super) fn on_nak(&mut self, now: Time, naks: u16) -> bool {
        if naks > 1 {
            self.quiet_losses = 0;
            if let Some(tuning) = self.tuning.filter(|_| naks == 2 && now >= self.doubled_until) {
                // RFC 3208 §15.2.1, conformance 143: the first duplicate for a packet means that receivers back off too little.
                // Those after it say nothing new, or one receiver that keeps asking would slow down all.
                self.ivl_ns = self.ivl_ns.saturating_mul(2).min(nanos(tuning.max));
                self.doubled_until = now.plus(self.ivl_ns);
            }
        }
        // RFC 3208 §15.3: so many receivers would not ask for one packet if they heard our NCFs.
        (self.dup_nak_max..u16::MAX).contains(&naks)
    }

    /// A repair left for which `naks` NAKs had come.
    pub(super) fn on_repair(&mut self, naks: u16) {
        let Some(tuning) = self.tuning.filter(|_| naks == 1) else { return };
        self.quiet_losses += 1;
        if self.quiet_losses >= tuning.probes {
            // RFC 3208 §15.2.1, conformance 143: NAK_PROBE_NUM losses without a duplicate.
            self.quiet_losses = 0;
            self.ivl_ns = (self.ivl_ns / 2).max(nanos(tuning.min));
        }
    }

    /// `OPT_NAK_BO_IVL` for NCFs: usable at once, as no POLL stands behind it.
    pub(super) fn interval(&self) -> Option<NakBoIvl> {
        self.tuning.map(|_| NakBoIvl { ivl_us: micros(self.ivl_ns), poll_sqn: Sqn::default() })
    }

    /// `OPT_NAK_BO_RNG` for SPMs.
    pub(super) fn range(&self) -> Option<NakBoRng> {
        self.tuning.map(|tuning| NakBoRng { max_us: micros(nanos(tuning.max)), min_us: micros(nanos(tuning.min)) })
    }
}

fn micros(ns: u64) -> u32 {
    u32::try_from(ns / 1_000).unwrap_or(u32::MAX).max(1)
}
