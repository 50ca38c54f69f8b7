//! How fast packets may leave: a token bucket, and a leaky bucket behind it.
//!
//! Called by the source before and after every packet it emits. Guards the promise of RFC 3208 §5.1.2: over *any* interval the
//! octets sent are at most bucket + rate · t. Integer arithmetic makes it exact: levels are counted in billionths of an octet, so
//! that nanoseconds times octets per second needs no division and loses nothing. Octets are those of IP packets.

use crate::time::Time;

/// A rate in octets of IP per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the link takes it.
    Max,
    /// At most this many octets a second.
    OctetsPerSecond(u64),
}

/// Billionths in an octet: what one octet per second yields in one nanosecond.
const NANO: u64 = 1_000_000_000;

/// Nanoseconds that `rate` octets a second need for `nano_octets`, rounded up. Off the hot path: it divides.
#[cold]
fn time_for(nano_octets: u64, rate: u64) -> u64 {
    nano_octets.div_ceil(rate)
}

/// RFC 3208 §5.1.2: tokens flow in at the sustained rate, a packet needs as many as it has octets.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    rate: u64,
    size: u64,
    tokens: u64,
    at: Time,
}

impl TokenBucket {
    /// The largest bucket that can be counted.
    pub(super) const OCTETS_MAX: u64 = u64::MAX / NANO / 2;

    pub(super) fn new(rate: u64, octets: u64, now: Time) -> Self {
        let size = octets.min(Self::OCTETS_MAX) * NANO;
        Self { rate, size, tokens: size, at: now }
    }

    /// Lets flow in what came since the last call. Time that runs backwards yields nothing.
    #[inline]
    pub(super) fn refill(&mut self, now: Time) {
        // RFC 3208 §5.1.2, conformance 32: what may leave grows by rate · t, and never beyond the bucket.
        let gained = now.since(self.at).saturating_mul(self.rate);
        // Saturation errs on the side of a full bucket, which is where the minimum ends anyhow.
        self.tokens = self.tokens.saturating_add(gained).min(self.size);
        self.at = self.at.max(now);
    }

    #[inline]
    pub(super) fn allows(&self, octets: u32) -> bool {
        self.tokens >= u64::from(octets) * NANO
    }

    /// Takes the tokens of a packet that [`TokenBucket::allows`] allowed.
    #[inline]
    pub(super) fn take(&mut self, octets: u32) {
        self.tokens -= u64::from(octets) * NANO;
    }

    fn ready_at(&self, octets: u32) -> Time {
        let missing = (u64::from(octets) * NANO).saturating_sub(self.tokens);
        self.at.plus(time_for(missing, self.rate))
    }
}

/// RFC 3208 §5.1.2: bounds the rate of successive packets. A packet fills the bucket, which drains at the peak rate; the next
/// packet waits until it is empty.
#[derive(Clone, Debug)]
pub(super) struct LeakyBucket {
    rate: u64,
    level: u64,
    at: Time,
}

impl LeakyBucket {
    pub(super) fn new(rate: u64, now: Time) -> Self {
        Self { rate, level: 0, at: now }
    }

    #[inline]
    pub(super) fn drain(&mut self, now: Time) {
        self.level = self.level.saturating_sub(now.since(self.at).saturating_mul(self.rate));
        self.at = self.at.max(now);
    }

    #[inline]
    pub(super) fn allows(&self) -> bool {
        // RFC 3208 §5.1.2, conformance 33: the packet before has drained at the peak rate.
        self.level == 0
    }

    #[inline]
    pub(super) fn pour(&mut self, octets: u32) {
        self.level += u64::from(octets) * NANO;
    }

    fn ready_at(&self) -> Time {
        self.at.plus(time_for(self.level, self.rate))
    }
}

/// What a packet is, for the question which buckets it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Never part of the cumulative rate; only spaced by the peak rate.
    Confirmation,
    /// SPM and ODATA.
    Sustained,
    /// RDATA.
    Repair,
}

/// All the buckets of a source.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    sustained: Option<TokenBucket>,
    /// Repairs beside the sustained rate, where the advance rule wants that.
    repairs: Option<TokenBucket>,
    peak: Option<LeakyBucket>,
    limited: bool,
}

impl Limiter {
    /// `repairs_extra`: repairs do not count against the rate. They are not unbounded then: they have a bucket of the same shape
    /// of their own, so that a flood of NAKs can at most double what leaves.
    pub(super) fn new(rate: Rate, bucket: u64, peak: Rate, repairs_extra: bool, now: Time) -> Self {
        let sustained = match rate {
            Rate::Max => None,
            Rate::OctetsPerSecond(rate) => Some(TokenBucket::new(rate, bucket, now)),
        };
        let peak = match peak {
            Rate::Max => None,
            Rate::OctetsPerSecond(rate) => Some(LeakyBucket::new(rate, now)),
        };
        let repairs = if repairs_extra { sustained.clone() } else { None };
        let limited = sustained.is_some() || peak.is_some();
        Self { sustained, repairs, peak, limited }
    }

    /// Whether there is any limit at all.
    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.limited
    }

    /// Whether repairs draw on a bucket of their own.
    pub(super) fn repairs_apart(&self) -> bool {
        self.repairs.is_some()
    }

    /// Brings all buckets up to `now`.
    #[inline]
    pub(super) fn refill(&mut self, now: Time) {
        if self.limited {
            for bucket in [&mut self.sustained, &mut self.repairs].into_iter().flatten() {
                bucket.refill(now);
            }
            if let Some(peak) = &mut self.peak {
                peak.drain(now);
            }
        }
    }

    fn bucket(&self, class: Class) -> Option<&TokenBucket> {
        match class {
            Class::Confirmation => None,
            Class::Sustained => self.sustained.as_ref(),
            Class::Repair => self.repairs.as_ref().or(self.sustained.as_ref()),
        }
    }

    /// Whether the peak rate keeps every packet waiting.
    pub(super) fn is_spacing(&self) -> bool {
        self.peak.as_ref().is_some_and(|peak| !peak.allows())
    }

    /// Whether a packet may leave now.
    #[inline]
    pub(super) fn allows(&self, class: Class, octets: u32) -> bool {
        !self.limited
            || (self.peak.as_ref().is_none_or(LeakyBucket::allows)
                && self.bucket(class).is_none_or(|bucket| bucket.allows(octets)))
    }

    /// A packet that was allowed left.
    #[inline]
    pub(super) fn sent(&mut self, class: Class, octets: u32) {
        if self.limited {
            let bucket = match class {
                Class::Confirmation => None,
                Class::Sustained => self.sustained.as_mut(),
                Class::Repair => self.repairs.as_mut().or(self.sustained.as_mut()),
            };
            if let Some(bucket) = bucket {
                bucket.take(octets);
            }
            if let Some(peak) = &mut self.peak {
                peak.pour(octets);
            }
        }
    }

    /// When a packet that was not allowed may leave, if nothing else does before.
    #[cold]
    pub(super) fn ready_at(&self, class: Class, octets: u32) -> Time {
        let peak = self.peak.as_ref().map_or(Time::ZERO, LeakyBucket::ready_at);
        self.bucket(class).map_or(Time::ZERO, |bucket| bucket.ready_at(octets)).max(peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sends as greedily as the limiter allows, at the given steps in time, and returns (time, octets) of every packet.
    fn greedy(limiter: &mut Limiter, steps: &[(u32, u16)]) -> Vec<(u64, u64)> {
        let mut now = Time::from_nanos(1_000);
        let mut sent = Vec::new();
        for &(wait, octets) in steps {
            now = now.plus(u64::from(wait));
            limiter.refill(now);
            let octets = u32::from(octets).max(1);
            while limiter.allows(Class::Sustained, octets) && sent.len() < 4_000 {
                limiter.sent(Class::Sustained, octets);
                sent.push((now.as_nanos(), u64::from(octets)));
            }
        }
        sent
    }

    proptest! {
        /// RFC 3208 §5.1.2, conformance 32
        #[test]
        fn over_every_interval_the_octets_are_at_most_bucket_plus_rate_times_time(
            rate in 1_u64..1_000_000_000,
            bucket in 1_500_u64..100_000,
            steps in proptest::collection::vec((0_u32..5_000_000, 1_u16..1_500), 1..60),
        ) {
            let mut limiter =
                Limiter::new(Rate::OctetsPerSecond(rate), bucket, Rate::Max, false, Time::from_nanos(1_000));
            let sent = greedy(&mut limiter, &steps);
            // Every interval that begins and ends with a packet; the first packet of each is enough for those at one time.
            for (first, &(from, _)) in sent.iter().enumerate().filter(|&(n, packet)| n == 0 || sent[n - 1].0 != packet.0) {
                let mut octets = 0_u128;
                for &(to, packet) in &sent[first..] {
                    octets += u128::from(packet);
                    let allowed = u128::from(bucket) * 1_000_000_000 + u128::from(rate) * u128::from(to - from);
                    prop_assert!(octets * 1_000_000_000 <= allowed);
                }
            }
        }

        /// RFC 3208 §5.1.2, conformance 33
        #[test]
        fn successive_packets_are_never_closer_than_the_peak_rate(
            peak in 1_000_u64..10_000_000_000,
            steps in proptest::collection::vec((0_u32..5_000, 1_u16..1_500), 1..200),
        ) {
            let mut limiter = Limiter::new(Rate::Max, 0, Rate::OctetsPerSecond(peak), false, Time::from_nanos(1_000));
            let sent = greedy(&mut limiter, &steps);
            prop_assert!(!sent.is_empty());
            for pair in sent.windows(2) {
                let distance = u128::from(pair[1].0 - pair[0].0);
                prop_assert!(distance * u128::from(peak) >= u128::from(pair[0].1) * 1_000_000_000);
            }
        }

        #[test]
        fn the_promised_time_is_the_earliest_at_which_the_packet_may_leave(
            rate in 1_u64..10_000_000_000, octets in 1_u32..1_500,
        ) {
            let mut bucket = TokenBucket::new(rate, 1_500, Time::ZERO);
            bucket.take(1_500);
            let at = bucket.ready_at(octets);
            let mut early = bucket.clone();
            early.refill(Time::from_nanos(at.as_nanos() - 1));
            prop_assert!(!early.allows(octets));
            bucket.refill(at);
            prop_assert!(bucket.allows(octets));
        }
    }

    #[test]
    fn a_bucket_is_full_after_a_silence_of_centuries_and_no_fuller() {
        let mut bucket = TokenBucket::new(u64::MAX, 3_000, Time::ZERO);
        bucket.take(3_000);
        bucket.refill(Time::from_nanos(u64::MAX));
        assert!(bucket.allows(3_000) && !bucket.allows(3_001));
        bucket.refill(Time::ZERO);
        assert!(bucket.allows(3_000), "time that runs backwards takes nothing away");
    }

    #[test]
    fn without_a_limit_everything_is_allowed() {
        let mut limiter = Limiter::new(Rate::Max, 0, Rate::Max, true, Time::ZERO);
        limiter.sent(Class::Sustained, 1_500);
        assert!(!limiter.is_limited() && limiter.allows(Class::Repair, u32::MAX));
    }
}
