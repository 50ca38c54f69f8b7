//! The three intervals of the NAK procedures, fixed or following the network, and the draw of a back-off.
//!
//! One per session; `repair` calls it. What it learns:
//!
//! * the repair round trip (NAK → RDATA, smoothed) and how much it varies set NAK_RPT_IVL and NAK_RDATA_IVL: SRTT + 4 × its variation, between
//!   floor and ceiling, doubling with each retry of the same SQN. NAK_BO_IVL starts from it as well: long enough to hear the NCF for somebody
//!   else's NAK;
//! * a repair that we asked for and nobody else narrows NAK_BO_IVL by a quarter, down to the floor: a receiver alone soon asks at once;
//! * a confirmation for which we had not asked says that others share our losses: NAK_BO_IVL goes back to 4 × SRTT + margin at least, and from
//!   there narrows by a sixteenth only;
//! * an NCF beyond the first says that another receiver asked before it could hear the confirmation: NAK_BO_IVL doubles;
//! * an original that comes after our NAK was late, not lost: NAK_BO_IVL doubles as well.
//!
//! The wider the interval had to become, the more receivers share our losses, and the more the draw leans to its end: then few draw a short
//! back-off, and they silence the many.
//!
//! Guards the bounds: nothing that is measured or heard makes an interval shorter or longer than configured. The source alone may set the
//! bounds of NAK_BO_IVL (OPT_NAK_BO_RNG), and those only up to `NAK_BO_LIMIT`.

use core::time::Duration;

use super::config::{Interval, NAK_BO_LIMIT, ReceiverConfig};
use crate::protocol::Rng;
use crate::time::{Time, nanos};

/// One interval in nanoseconds. A fixed one has `floor == ceiling`.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    floor: u64,
    start: u64,
    ceiling: u64,
}

impl Bounds {
    fn new(interval: Interval) -> Self {
        let ns = |duration: Duration| nanos(duration).max(1);
        match interval {
            Interval::Fixed(fixed) => Self { floor: ns(fixed), start: ns(fixed), ceiling: ns(fixed) },
            Interval::Adaptive { floor, start, ceiling } => {
                Self { floor: ns(floor), start: ns(start), ceiling: ns(ceiling) }
            }
        }
    }

    fn is_adaptive(self) -> bool {
        self.floor < self.ceiling
    }

    /// For an SQN that was tried in vain `retries` times.
    fn after(self, base: u64, retries: u32) -> u64 {
        doubled(base.clamp(self.floor, self.ceiling), retries).min(self.ceiling)
    }
}

/// `ns` doubled `times` times; saturates.
fn doubled(ns: u64, times: u32) -> u64 {
    ns.checked_shl(times.min(32)).filter(|&wide| wide >> times.min(32) == ns).unwrap_or(u64::MAX)
}

/// What the learning starts from: the same for all sessions of a receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baseline {
    back_off: Bounds,
    /// Shortest draw of a fixed interval.
    least: u64,
    /// Bounds of an advertised interval.
    advertised: (u64, u64),
    repeat: Bounds,
    rdata: Bounds,
}

impl Baseline {
    pub(super) fn new(config: &ReceiverConfig) -> Self {
        Self {
            back_off: Bounds::new(config.nak_bo_ivl),
            least: nanos(config.nak_bo_least),
            advertised: (nanos(config.nak_bo_min), nanos(config.nak_bo_max)),
            repeat: Bounds::new(config.nak_rpt_ivl),
            rdata: Bounds::new(config.nak_rdata_ivl),
        }
    }
}

/// The intervals of one session.
#[derive(Clone, Debug)]
pub(super) struct Adapt {
    base: Baseline,
    /// NAK_BO_IVL now.
    back_off: u64,
    /// The source set NAK_BO_IVL: ours no longer adapts.
    is_advertised: bool,
    /// Smoothed repair round trip; 0: not measured.
    srtt: u64,
    /// How far single round trips are from it.
    variation: u64,
    /// Doublings that the waits keep from SQNs whose answer came after several NAKs, until one comes after one.
    kept: u32,
    /// No second verdict on the width before this: the SQNs of one loss are one experience.
    settled_at: Time,
}

/// Powers of two: the share by which a quiet repair narrows NAK_BO_IVL. Among others: a sixteenth, for a crowd is not forgotten in a moment.
const NARROW_AMONG_OTHERS: u32 = 4;
/// Alone: a quarter; from 200 µs to 5 µs takes 13 losses.
const NARROW_ALONE: u32 = 2;
/// As in RFC 6298: a new measurement counts an eighth.
const SRTT_SHIFT: u32 = 3;
/// Less than half of the silence after which a source of the same profile lets its trail pass.
const HURRY_FLOORS: u64 = 4;
/// ... and its distance from what was expected a quarter.
const VARIATION_SHIFT: u32 = 2;

/// From the floor of `low-latency` to the longest that a queue of its links holds: 50 µs to 3 ms.
const KEPT_MAX: u32 = 6;

impl Adapt {
    pub(super) fn new(base: Baseline) -> Self {
        Self {
            back_off: base.back_off.start,
            base,
            is_advertised: false,
            srtt: 0,
            variation: 0,
            kept: 0,
            settled_at: Time::ZERO,
        }
    }

    /// NAK_BO_IVL now.
    pub(super) fn nak_bo_ivl_ns(&self) -> u64 {
        self.back_off
    }

    /// The smoothed repair round trip; 0 when not yet measured.
    pub(super) fn srtt_ns(&self) -> u64 {
        self.srtt
    }

    /// Draws NAK_RB_IVL.
    // RFC 3208 §6.3, conformance 92: random over NAK_BO_IVL.
    pub(super) fn draw_back_off(&self, retries: u32, rng: &mut Rng) -> u64 {
        let bounds = self.base.back_off;
        if !self.is_adapting() {
            let least = self.base.least.min(self.back_off);
            return least + rng.up_to(self.back_off - least);
        }
        let interval = bounds.after(self.back_off, retries);
        // Segments of equal length, each twice as likely as the one before: as many as the interval is doublings above its floor. One segment
        // is a uniform draw.
        let segments = u64::from((interval / bounds.floor).max(2).ilog2().min(12));
        let segment = u64::from((1 + rng.below((1 << segments) - 1)).ilog2());
        let length = interval / segments;
        segment * length + rng.up_to(length)
    }

    /// Draws NAK_RB_IVL for an SQN that the trail may pass soon.
    pub(super) fn draw_hurried(&self, rng: &mut Rng) -> u64 {
        rng.up_to(self.back_off.min(self.shortest_wait()))
    }

    /// NAK_RPT_IVL for an SQN tried in vain `retries` times.
    pub(super) fn nak_rpt_ivl(&self, retries: u32) -> u64 {
        self.measured_or_start(self.base.repeat, retries)
    }

    /// NAK_RDATA_IVL likewise.
    pub(super) fn nak_rdata_ivl(&self, retries: u32) -> u64 {
        self.measured_or_start(self.base.rdata, retries)
    }

    /// The wait of those who hurry, if the round trip is not shorter.
    pub(super) fn shortest_wait(&self) -> u64 {
        self.base.rdata.floor.saturating_mul(HURRY_FLOORS)
    }

    fn measured_or_start(&self, bounds: Bounds, retries: u32) -> u64 {
        // As RFC 6298 has it. The wait for data begins anew with the NCF, which has most of the round trip behind it: that is the margin.
        let spread = self.variation.saturating_mul(4).max(bounds.floor / 4);
        let base = if self.srtt == 0 { bounds.start } else { self.srtt.saturating_add(spread) };
        bounds.after(base, retries + self.kept)
    }

    /// A repair came after several NAKs, with so many waits in vain between them, and `after` the last.
    pub(super) fn ambiguous(&mut self, retries: u32, after: u64) {
        // One that came when the answer to the last NAK was to be expected most likely is that: what was lost says nothing of the way.
        let spread = self.variation.saturating_mul(4).max(self.srtt / 4);
        if after.abs_diff(self.srtt) > spread {
            // Karn and Partridge: it measures nothing, but the waits that were long enough for it stay, or a round trip that has grown
            // beyond them would never be measured, and every loss be asked for many times.
            self.kept = (self.kept + retries).min(KEPT_MAX);
        }
    }

    /// A repair that was asked for once came `rtt` after the NAK.
    pub(super) fn measured(&mut self, rtt: u64) {
        let rtt = rtt.max(1);
        self.kept = 0;
        let is_first = self.srtt == 0;
        if is_first {
            (self.srtt, self.variation) = (rtt, rtt / 2);
        } else {
            let off = self.srtt.abs_diff(rtt);
            self.variation = self.variation - (self.variation >> VARIATION_SHIFT) + (off >> VARIATION_SHIFT);
            self.srtt = (self.srtt - (self.srtt >> SRTT_SHIFT) + (rtt >> SRTT_SHIFT)).max(1);
        }
        if is_first {
            self.listen();
        }
    }

    /// Long enough to hear the NCF for somebody else's NAK.
    fn listening(&self) -> u64 {
        let bounds = self.base.back_off;
        self.srtt.saturating_mul(4).saturating_add(bounds.floor).clamp(bounds.floor, bounds.ceiling)
    }

    fn listen(&mut self) {
        if self.is_adapting() {
            self.back_off = self.back_off.max(self.listening());
        }
    }

    /// Others ask for what we miss, before we did.
    pub(super) fn others_heard(&mut self) {
        self.listen();
    }

    /// Something that was asked for came; `alone`: by us, and by nobody else.
    pub(super) fn repaired(&mut self, alone: bool, now: Time) {
        if self.settle(now) {
            let (share, least) = if alone {
                (NARROW_ALONE, self.base.back_off.floor)
            } else {
                (NARROW_AMONG_OTHERS, self.listening().min(self.back_off))
            };
            self.back_off = (self.back_off - (self.back_off >> share)).max(least);
        }
    }

    /// Others asked for what we miss or missed, although it had been confirmed already.
    pub(super) fn duplicate_heard(&mut self, now: Time) {
        if self.is_adapting() {
            self.back_off = self.base.back_off.after(self.back_off, 1);
            // What this crowd was about to say is no proof of calm.
            self.settled_at = now.plus(self.back_off);
        }
    }

    /// The original came after all: the network reorders further than our back-off waits.
    pub(super) fn asked_too_soon(&mut self, now: Time) {
        self.duplicate_heard(now);
    }

    fn is_adapting(&self) -> bool {
        !self.is_advertised && self.base.back_off.is_adaptive()
    }

    fn settle(&mut self, now: Time) -> bool {
        let settled = self.is_adapting() && now >= self.settled_at;
        if settled {
            self.settled_at = now.plus(self.back_off);
        }
        settled
    }

    /// The source advertises NAK_BO_IVL.
    pub(super) fn advertised(&mut self, ivl_us: u32) {
        let (min, max) = self.base.advertised;
        // Clamped: neither 0 nor an hour is taken from the network.
        self.back_off = (u64::from(ivl_us) * 1000).clamp(min, max).max(1);
        self.is_advertised = true;
    }

    /// The source sets NAK_BO_IVL_MIN and NAK_BO_IVL_MAX.
    // RFC 3208 §15.2.2, conformance 107: the local bounds are what OPT_NAK_BO_RNG says, short of absurdity.
    pub(super) fn advertised_bounds(&mut self, min_us: u32, max_us: u32) {
        let limit = nanos(NAK_BO_LIMIT);
        let max = (u64::from(max_us) * 1000).clamp(1000, limit);
        let min = (u64::from(min_us) * 1000).clamp(0, max);
        self.base.advertised = (min, max);
        if self.is_adapting() {
            let floor = min.max(1000);
            let max = max.max(floor);
            self.base.back_off = Bounds { floor, start: self.base.back_off.start.clamp(floor, max), ceiling: max };
            self.back_off = self.back_off.clamp(floor, max);
        } else {
            self.back_off = self.back_off.clamp(min, max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::config::Profile;

    const US: u64 = 1_000;

    fn low_latency() -> Adapt {
        let config = ReceiverConfig::profile(Profile::LowLatency, [239, 1, 1, 1].into(), 1);
        Adapt::new(Baseline::new(&config))
    }

    #[test]
    fn whatever_is_heard_the_intervals_stay_inside_their_bounds() {
        let (mut adapt, mut rng) = (low_latency(), Rng::new(1));
        let mut now = Time::ZERO;
        for _ in 0..10_000 {
            now = now.plus(rng.up_to(1_000_000));
            match rng.below(5) {
                0 => adapt.measured(rng.next_u64() >> rng.below(64)),
                1 => adapt.repaired(rng.chance(1, 2), now),
                2 => adapt.others_heard(),
                3 => adapt.duplicate_heard(now),
                _ => adapt = low_latency(),
            }
            let retries = rng.below(300) as u32;
            assert!((5 * US..=2000 * US).contains(&adapt.nak_bo_ivl_ns()));
            assert!(adapt.draw_back_off(retries, &mut rng) <= 2000 * US);
            assert!((50 * US..=10_000 * US).contains(&adapt.nak_rpt_ivl(retries)));
            assert!((50 * US..=20_000 * US).contains(&adapt.nak_rdata_ivl(retries)));
        }
    }

    #[test]
    fn a_wide_interval_is_drawn_from_its_end() {
        let (mut adapt, mut rng) = (low_latency(), Rng::new(1));
        let early = |adapt: &Adapt, rng: &mut Rng| {
            let quarter = adapt.nak_bo_ivl_ns() / 4;
            (0..10_000).filter(|_| adapt.draw_back_off(0, rng) < quarter).count()
        };
        for _ in 0..30 {
            adapt.repaired(true, Time::from_nanos(u64::MAX));
            adapt.settled_at = Time::ZERO;
        }
        assert_eq!(adapt.nak_bo_ivl_ns(), 5 * US);
        assert!((2_300..2_700).contains(&early(&adapt, &mut rng)), "at the floor the draw is uniform");
        for _ in 0..9 {
            adapt.duplicate_heard(Time::ZERO);
        }
        assert_eq!(adapt.nak_bo_ivl_ns(), 2000 * US);
        assert!((20..300).contains(&early(&adapt, &mut rng)), "one in a hundred or so is early");
    }

    #[test]
    fn a_round_trip_that_has_grown_is_waited_for_until_it_is_measured() {
        let mut adapt = low_latency();
        for _ in 0..100 {
            adapt.measured(100 * US);
        }
        let before = adapt.nak_rdata_ivl(0);
        // Four NAKs were in vain, and the answer comes too late for any of them but the first ones.
        adapt.ambiguous(4, 1_000 * US);
        assert_eq!(adapt.nak_rdata_ivl(0), 16 * before);
        adapt.measured(1_500 * US);
        assert!(adapt.nak_rdata_ivl(0) >= 1_500 * US, "the measurement takes over");
        // A repair that was lost says nothing of the way.
        let before = adapt.nak_rdata_ivl(0);
        adapt.ambiguous(1, adapt.srtt_ns());
        assert_eq!(adapt.nak_rdata_ivl(0), before);
    }

    #[test]
    fn the_round_trip_is_smoothed_and_sets_the_waits() {
        let mut adapt = low_latency();
        assert_eq!((adapt.nak_rpt_ivl(0), adapt.nak_rdata_ivl(0)), (500 * US, 1000 * US));
        adapt.measured(100 * US);
        assert_eq!((adapt.nak_rpt_ivl(0), adapt.nak_rdata_ivl(1)), (300 * US, 600 * US));
        for _ in 0..100 {
            adapt.measured(20 * US);
        }
        assert!((18 * US..22 * US).contains(&adapt.srtt_ns()));
    }
}
