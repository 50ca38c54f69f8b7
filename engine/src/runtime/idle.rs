//! What a worker does when there is nothing to do.
//!
//! Chosen when an engine is built, obeyed by its workers. Guards: nobody spins on a core that others need, unless told to.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use crate::time::{Time, nanos};

/// How long [`Idle::default_on`] spins before it sleeps: longer than a packet and its answer take on a LAN, shorter than what the
/// scheduler would charge for a sleep and a wake-up many times over.
const SPIN: Duration = Duration::from_micros(20);
/// Turns that are spun before the processor is given away: about as long as giving it away takes.
const SPINS: u32 = 100;
/// Turns after those that yield, before [`Idle::BackOff`] begins to sleep.
const YIELDS: u32 = 20;
/// Where the sleeps of [`Idle::BackOff`] begin, and where their doubling ends: what comes in waits as long at the most.
const NAP_MIN: Duration = Duration::from_micros(1);
const NAP_MAX: Duration = Duration::from_micros(250);

/// How a worker passes the time when nothing moves.
///
/// ```
/// use pgmx::Idle;
///
/// assert_eq!("yield".parse(), Ok(Idle::SpinThenYield));
/// assert_eq!(Idle::BackOff.to_string(), "backoff");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// Looks again at once: least latency, and a whole core for it.
    Spin,
    /// Looks again, and after a while offers the core to others in between.
    SpinThenYield,
    /// Looks again, yields, then sleeps in steps that double up to 250 µs.
    BackOff,
    /// Sleeps until a packet, a timer or the application has something to do.
    Block,
    /// Looks again for so long, then sleeps as [`Idle::Block`] does.
    SpinThenBlock {
        /// How long.
        spin: Duration,
    },
}

impl Idle {
    /// What is best for everybody: spins on a core that was set aside for it, sleeps elsewhere.
    pub(super) fn default_on(isolated_core: bool) -> Self {
        if isolated_core { Self::Spin } else { Self::SpinThenBlock { spin: SPIN } }
    }

    /// Whether a worker may ever wait for its doorbell.
    pub(super) fn sleeps(self) -> bool {
        matches!(self, Self::Block | Self::SpinThenBlock { .. })
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spin => "spin",
            Self::SpinThenYield => "yield",
            Self::BackOff => "backoff",
            Self::Block => "block",
            Self::SpinThenBlock { .. } => "spin-block",
        })
    }
}

/// A name of no strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no way to idle is called `{0}`; there are: spin, yield, backoff, block, spin-block")]
pub struct UnknownIdle(String);

impl FromStr for Idle {
    type Err = UnknownIdle;

    fn from_str(text: &str) -> Result<Self, UnknownIdle> {
        match text {
            "spin" => Ok(Self::Spin),
            "yield" => Ok(Self::SpinThenYield),
            "backoff" => Ok(Self::BackOff),
            "block" => Ok(Self::Block),
            "spin-block" => Ok(Self::default_on(false)),
            _ => Err(UnknownIdle(text.into())),
        }
    }
}

/// What to do in this idle turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Go on.
    Spin,
    /// Offer the core.
    Yield,
    /// Sleep so long, or until something is due, without being woken.
    Nap(Duration),
    /// Sleep until woken.
    Block,
}

/// Counts idle turns.
#[derive(Debug)]
pub(super) struct Idler {
    idle: Idle,
    turns: u32,
    since: Time,
}

impl Idler {
    pub(super) fn new(idle: Idle) -> Self {
        Self { idle, turns: 0, since: Time::ZERO }
    }

    /// Something was done.
    #[inline]
    pub(super) fn reset(&mut self) {
        self.turns = 0;
    }

    /// Nothing was done in the turn that began at `now`.
    #[inline]
    pub(super) fn rest(&mut self, now: Time) -> Rest {
        if self.turns == 0 {
            self.since = now;
        }
        self.turns = self.turns.saturating_add(1);
        match self.idle {
            Idle::Spin => Rest::Spin,
            Idle::SpinThenBlock { spin } if now.since(self.since) < nanos(spin) => Rest::Spin,
            Idle::Block | Idle::SpinThenBlock { .. } => Rest::Block,
            _ if self.turns <= SPINS => Rest::Spin,
            Idle::SpinThenYield => Rest::Yield,
            Idle::BackOff if self.turns <= SPINS + YIELDS => Rest::Yield,
            Idle::BackOff => {
                let doublings = (self.turns - SPINS - YIELDS - 1).min(16);
                Rest::Nap((NAP_MIN * (1 << doublings)).min(NAP_MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(idle: Idle, turns: u64) -> Vec<Rest> {
        let mut idler = Idler::new(idle);
        (0..turns).map(|turn| idler.rest(Time::from_nanos(turn * 1_000))).collect()
    }

    #[test]
    fn each_strategy_rests_as_its_name_says() {
        assert!(rests(Idle::Spin, 1000).iter().all(|rest| *rest == Rest::Spin));
        assert!(rests(Idle::Block, 3).iter().all(|rest| *rest == Rest::Block));
        let yielding = rests(Idle::SpinThenYield, 102);
        assert_eq!(yielding[99..], [Rest::Spin, Rest::Yield, Rest::Yield]);
        let blocking = rests(Idle::SpinThenBlock { spin: Duration::from_micros(3) }, 5);
        assert_eq!(blocking, [Rest::Spin, Rest::Spin, Rest::Spin, Rest::Block, Rest::Block]);
    }

    #[test]
    fn a_nap_doubles_up_to_its_bound_and_begins_anew_after_work() {
        let naps: Vec<Rest> = rests(Idle::BackOff, 1000).split_off(120);
        assert_eq!(naps[..3], [1, 2, 4].map(|us| Rest::Nap(Duration::from_micros(us))));
        assert!(naps[8..].iter().all(|rest| *rest == Rest::Nap(NAP_MAX)));
        let mut idler = Idler::new(Idle::BackOff);
        for _ in 0..500 {
            idler.rest(Time::ZERO);
        }
        idler.reset();
        assert_eq!(idler.rest(Time::ZERO), Rest::Spin);
    }

    #[test]
    fn a_strategy_is_read_as_it_is_written() {
        for idle in [Idle::Spin, Idle::SpinThenYield, Idle::BackOff, Idle::Block, Idle::default_on(false)] {
            assert_eq!(idle.to_string().parse(), Ok(idle));
        }
        let error = "doze".parse::<Idle>().expect_err("there is none").to_string();
        assert_eq!(error, "no way to idle is called `doze`; there are: spin, yield, backoff, block, spin-block");
    }
}
