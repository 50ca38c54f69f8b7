//! How fast a source's window passes: what is left of the time in which a missing SQN can still be repaired.
//!
//! One per session; `repair` asks it before it waits. The trail follows the lead, so that the speed of the lead is the speed of both. Guards
//! nothing but its own arithmetic: what a hostile source makes of it is NAKs at the shortest interval of the profile, never shorter.

use crate::time::Time;
use crate::wire::Sqn;

/// No sample shorter than this: a batch is no speed.
const SAMPLE_NS: u64 = 1_000_000;
/// Speeds are SQNs in 2^20 ns, about a millisecond.
const UNIT_SHIFT: u32 = 20;
/// Several tries have to fit into what is left, and each is granted a like share of what is left then.
const SHARE: u64 = 8;

/// The speed of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    at: Time,
    lead: Sqn,
    /// SQNs in 2^20 ns.
    speed: u64,
}

impl Pace {
    /// The lead at `now`. Cheap, and to be called whenever something is missing.
    pub(super) fn see(&mut self, now: Time, lead: Sqn) {
        let elapsed = now.since(self.at);
        if elapsed < SAMPLE_NS {
            return;
        }
        if self.at != Time::ZERO && lead.at_or_after(self.lead) {
            let sqns = u64::from(lead.distance_from(self.lead));
            let speed = (sqns << UNIT_SHIFT) / elapsed;
            // A pause is forgotten at once, a burst slowly: who hurries in vain loses less than who comes late.
            self.speed = speed.max(self.speed / 4 * 3);
        }
        (self.at, self.lead) = (now, lead);
    }

    /// The longest wait for an answer about `sqn`, which lies in the window `trail ..= lead`.
    pub(super) fn longest_wait(&self, sqn: Sqn, trail: Sqn, lead: Sqn) -> u64 {
        // The trail moves in steps, of which we know no more than that they are a fraction of the window.
        let step = u64::from(lead.next().distance_from(trail)) / 4;
        let ahead = if sqn.is_before(trail) { 0 } else { u64::from(sqn.distance_from(trail)) };
        self.share_of(ahead.saturating_sub(step))
    }

    /// The share for one try of the time in which the lead moves by `sqns`.
    pub(super) fn share_of(&self, sqns: u64) -> u64 {
        (sqns << UNIT_SHIFT).checked_div(self.speed).map_or(u64::MAX, |ns| ns / SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_trail_and_the_faster_it_comes_the_shorter_the_wait() {
        let mut pace = Pace::default();
        let (trail, lead) = (Sqn::new(u32::MAX - 20_000), Sqn::new(u32::MAX).plus(40_000));
        assert_eq!(pace.longest_wait(lead, trail, lead), u64::MAX, "not known yet");
        let mut now = Time::from_nanos(1);
        let mut told = lead.minus(7_000);
        for _ in 0..=10 {
            pace.see(now, told);
            (now, told) = (now.plus(SAMPLE_NS), told.plus(700));
        }
        let wait = |sqn| pace.longest_wait(sqn, trail, lead);
        // 60,000 SQNs at 700 a millisecond are 86 ms: three quarters of it in eight parts.
        assert!((7_500_000..8_500_000).contains(&wait(lead)), "{} ns", wait(lead));
        assert!(wait(lead.minus(20_000)) < wait(lead));
        assert_eq!((wait(trail.plus(10_000)), wait(trail), wait(trail.minus(1))), (0, 0, 0));
    }

    #[test]
    fn after_a_pause_the_session_is_slow_again() {
        let mut pace = Pace::default();
        let lead = Sqn::new(1_000_000);
        pace.see(Time::from_nanos(SAMPLE_NS), lead.minus(10_000));
        pace.see(Time::from_nanos(2 * SAMPLE_NS), lead);
        let fast = pace.longest_wait(lead, lead.minus(50_000), lead);
        for n in 3..=60 {
            pace.see(Time::from_nanos(n * 1_000_001), lead);
        }
        assert!(pace.longest_wait(lead, lead.minus(50_000), lead) > fast.saturating_mul(100));
    }
}
