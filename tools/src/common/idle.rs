//! What a loop does when nothing moved, and which core it runs on.
//!
//! Used by every command that drives an endpoint. Guards: whatever the strategy, nobody sleeps past the endpoint's deadline, and only a
//! core that was set aside is spun on unasked.

use std::time::Duration;

use clap::ValueEnum;
use pgmx::time::{Time, nanos};

use super::failure::Failure;
use super::kernel;

/// How long a loop spins before it does something else: about what a sleep and its wake-up cost, so that at most half is wasted.
const SPIN_NS: u64 = 20_000;
/// Where the doubling of a back-off begins and ends: below, a sleep costs more than it saves; above, a message waits for too long.
const BACK_OFF_NS: (u64, u64) = (1_000, 1_000_000);

/// Cores that a set of them can name.
const CORES_MAX: usize = 1024;

/// `--idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Idle {
    /// Never leave the core
    Spin,
    /// Spin 20 µs, then let others run
    Yield,
    /// Spin, then sleep for longer and longer, 1 ms at the most
    Backoff,
    /// Sleep at once until something comes
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    Asked(Idle),
    SpinThenBlock,
}

/// Rests between two iterations.
#[derive(Debug)]
pub(crate) struct Idler {
    strategy: Strategy,
    idle_since: Option<Time>,
    step_ns: u64,
}

impl Idler {
    /// For a loop on this core, if it was given one.
    pub(crate) fn new(idle: Option<Idle>, core: Option<usize>) -> Self {
        let strategy = match idle {
            Some(idle) => Strategy::Asked(idle),
            None if core.is_some_and(is_isolated) => Strategy::Asked(Idle::Spin),
            None => Strategy::SpinThenBlock,
        };
        kernel::wake_in_time();
        Self { strategy, idle_since: None, step_ns: BACK_OFF_NS.0 }
    }

    /// Something moved.
    #[inline]
    pub(crate) fn busy(&mut self) {
        self.idle_since = None;
    }

    /// Nothing moved. Rests for at most `at_most`: spins, naps until `deadline` at the latest, or calls `block`, which ends when there may
    /// be something to do. Says whether it may have slept.
    #[inline]
    pub(crate) fn rest<E>(
        &mut self,
        now: Time,
        at_most: Duration,
        deadline: impl FnOnce() -> Option<Time>,
        block: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let since = *self.idle_since.get_or_insert_with(|| {
            self.step_ns = BACK_OFF_NS.0;
            now
        });
        let is_fresh = now.since(since) < SPIN_NS;
        match self.strategy {
            Strategy::Asked(Idle::Spin) => core::hint::spin_loop(),
            Strategy::Asked(Idle::Yield | Idle::Backoff) | Strategy::SpinThenBlock if is_fresh => {
                core::hint::spin_loop();
            }
            Strategy::Asked(Idle::Yield) => std::thread::yield_now(),
            Strategy::Asked(Idle::Backoff) => {
                let due = deadline().map_or(u64::MAX, |at| at.since(now));
                let sleep = self.step_ns.min(due).min(nanos(at_most));
                self.step_ns = (self.step_ns * 2).min(BACK_OFF_NS.1);
                std::thread::sleep(Duration::from_nanos(sleep));
                return Ok(true);
            }
            Strategy::Asked(Idle::Block) | Strategy::SpinThenBlock => {
                block()?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl From<Idle> for pgmx::Idle {
    fn from(idle: Idle) -> Self {
        match idle {
            Idle::Spin => Self::Spin,
            Idle::Yield => Self::SpinThenYield,
            Idle::Backoff => Self::BackOff,
            Idle::Block => Self::Block,
        }
    }
}

/// Fails unless a thread of this process may run on a core alone. Tried out, by a thread of its own: a core that was set aside is in
/// nobody's mask until asked for.
pub(crate) fn check(core: usize) -> Result<(), Failure> {
    let tried = || core < CORES_MAX && core_affinity::set_for_current(core_affinity::CoreId { id: core });
    if std::thread::scope(|scope| scope.spawn(tried).join()).unwrap_or(false) {
        return Ok(());
    }
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let numbers: Vec<String> = cores.iter().map(|one| one.id.to_string()).collect();
    let numbers = numbers.join(", ");
    Err(Failure::usage(format_args!("--core {core}: this process has no such core; it has: {numbers}")))
}

/// Binds the calling thread to a core that was checked.
pub(crate) fn pin(core: usize) -> Result<(), Failure> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(Failure::error(format_args!("--core {core}: the kernel does not let this thread run there alone")))
    }
}

/// Whether the kernel keeps other work off this core.
fn is_isolated(core: usize) -> bool {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    is_listed(&list, core)
}

/// Whether a number is in a list such as `1-3,7`.
fn is_listed(list: &str, wanted: usize) -> bool {
    list.trim().split(',').any(|item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let range = first.parse::<usize>().ok().zip(last.parse::<usize>().ok());
        range.is_some_and(|(first, last)| (first..=last).contains(&wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_that_are_set_aside_are_read_as_the_kernel_writes_them() {
        assert!(!is_listed("\n", 0));
        for core in [1, 2, 3, 7] {
            assert!(is_listed("1-3,7\n", core), "{core}");
        }
        for core in [0, 4, 6, 8, 13] {
            assert!(!is_listed("1-3,7\n", core), "{core}");
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let failure = check(100_000).expect_err("nobody has so many");
        assert_eq!(failure.status, 2);
        assert!(failure.line.starts_with("--core 100000: this process has no such core; it has: "), "{}", failure.line);
        assert!(failure.line.ends_with(|last: char| last.is_ascii_digit()), "{}", failure.line);
    }

    #[test]
    fn a_core_outside_of_our_own_mask_can_be_asked_for() {
        let cores = core_affinity::get_core_ids().expect("Linux tells");
        let [first, other, ..] = cores[..] else { return };
        let outside = std::thread::spawn(move || {
            pin(first.id).expect("it is ours");
            check(other.id).is_ok()
        });
        assert!(outside.join().expect("no panic"));
    }
}
