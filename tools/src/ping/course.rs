//! A course of pings: when each is due, which were answered, and how long that took.
//!
//! Driven by the loop of `ping`, in whatever time it is told. Guards: a ping that left late, because an answer or the loop was late, is
//! timed from when it was due, so that one slow round trip does not hide those that waited behind it (coordinated omission); and a ping
//! is answered once, or lost.

use core::time::Duration;

use hdrhistogram::Histogram;
use pgmx::time::{Time, nanos};

/// The longest round trip that is told from longer ones: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Without an interval, the next ping leaves after this time though there is no answer: the last was lost for good, at one end or the
/// other.
const GIVEN_UP_NS: u64 = 1_000_000_000;
/// Pings given up whose answers may still come.
const REMEMBERED: u64 = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// From one ping to the next; zero: the next when the answer came.
    pub(crate) interval: Duration,
    /// Pings that are not counted, in front.
    pub(crate) warm_up: u64,
    /// Pings that are counted, if there is an end to them.
    pub(crate) count: Option<u64>,
    /// How long to go on after the warm-up.
    pub(crate) time: Option<Duration>,
    /// How long to wait for an answer.
    pub(crate) patience: Duration,
}

/// How a course goes.
#[derive(Debug)]
pub(crate) struct Course {
    plan: Plan,
    interval_ns: u64,
    /// Pings in all, if they were counted before.
    planned: u64,
    begun: Time,
    /// When the first counted ping was due.
    measured: Option<Time>,
    /// The number of the next ping.
    next: u64,
    /// The number whose answer comes next.
    awaited: u64,
    /// No ping follows.
    is_over: bool,
    /// When the latest pings left, by number.
    left: [Time; REMEMBERED as usize],
    /// When something left or came.
    moved: Time,
    histogram: Histogram<u64>,
    answered: u64,
    lost: u64,
}

impl Course {
    /// A course that begins now.
    pub(crate) fn new(plan: Plan, now: Time) -> Result<Self, String> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).map_err(|error| format!("histogram: {error}"))?;
        Ok(Self {
            plan,
            interval_ns: nanos(plan.interval),
            planned: plan.count.map_or(u64::MAX, |count| plan.warm_up.saturating_add(count)),
            begun: now,
            measured: None,
            next: 0,
            awaited: 0,
            is_over: false,
            left: [now; REMEMBERED as usize],
            moved: now,
            histogram,
            answered: 0,
            lost: 0,
        })
    }

    /// Begins again at `now`, as if nothing had happened: everything before was preparation.
    pub(crate) fn begin(&mut self, now: Time) {
        (self.begun, self.moved) = (now, now);
    }

    fn is_closed_loop(&self) -> bool {
        self.interval_ns == 0
    }

    /// When ping `number` is due, where that follows from its number.
    fn due_at(&self, number: u64) -> Time {
        self.begun.plus(number.saturating_mul(self.interval_ns))
    }

    /// The number of the ping to send now, if one is due.
    #[inline]
    pub(crate) fn due(&mut self, now: Time) -> Option<u64> {
        if self.is_over || self.next >= self.planned {
            return None;
        }
        let number = self.next;
        let is_due = if self.is_closed_loop() {
            self.awaited == number || now.since(self.left[((number - 1) % REMEMBERED) as usize]) >= self.given_up_ns()
        } else {
            self.due_at(number) <= now
        };
        if !is_due {
            return None;
        }
        if number >= self.plan.warm_up {
            let measured = *self.measured.get_or_insert(now);
            if self.plan.time.is_some_and(|time| now.since(measured) >= nanos(time)) {
                self.is_over = true;
                return None;
            }
        }
        Some(number)
    }

    fn given_up_ns(&self) -> u64 {
        // However patient the caller: no more answers are awaited than are remembered.
        GIVEN_UP_NS.max(nanos(self.plan.patience) / (REMEMBERED / 2))
    }

    /// The ping that was due has left.
    #[inline]
    pub(crate) fn sent(&mut self, now: Time) {
        if self.awaited == self.next {
            self.moved = now;
        }
        self.left[(self.next % REMEMBERED) as usize] = now;
        self.next += 1;
    }

    /// An answer came. Those in front of it will not: a session is in order.
    #[inline]
    pub(crate) fn answered(&mut self, number: u64, now: Time) {
        if number < self.awaited || number >= self.next {
            // Doubled by somebody who answers twice, or never asked.
            return;
        }
        self.moved = now;
        self.lose_before(number);
        self.awaited = number + 1;
        if number >= self.plan.warm_up {
            let begun =
                if self.is_closed_loop() { self.left[(number % REMEMBERED) as usize] } else { self.due_at(number) };
            self.answered += 1;
            self.histogram.saturating_record(now.since(begun));
        }
    }

    fn lose_before(&mut self, number: u64) {
        let first = self.awaited.max(self.plan.warm_up);
        self.lost += number.saturating_sub(first);
    }

    /// No ping follows, whatever was planned.
    pub(crate) fn stop(&mut self) {
        self.is_over = true;
    }

    /// What is still unanswered is lost.
    pub(crate) fn give_up(&mut self) {
        self.stop();
        self.lose_before(self.next);
        self.awaited = self.next;
    }

    /// Whether everything was sent, and answered or lost.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        (self.is_over || self.next >= self.planned) && self.awaited >= self.next
    }

    /// Whether an answer has been awaited for longer than the caller is ready to.
    #[inline]
    pub(crate) fn is_silent(&self, now: Time) -> bool {
        self.awaited < self.next && now.since(self.moved) >= nanos(self.plan.patience)
    }

    /// How long nothing is to be done, if no answer comes.
    pub(crate) fn rest(&self, now: Time) -> Duration {
        let patience = if self.awaited < self.next {
            self.moved.plus(nanos(self.plan.patience)).since(now)
        } else {
            nanos(self.plan.patience)
        };
        let due = if self.is_over || self.next >= self.planned {
            u64::MAX
        } else if !self.is_closed_loop() {
            self.due_at(self.next).since(now)
        } else if self.awaited == self.next {
            0
        } else {
            let last = self.left[((self.next - 1) % REMEMBERED) as usize];
            last.plus(self.given_up_ns()).since(now)
        };
        Duration::from_nanos(patience.min(due))
    }

    /// Round trips in nanoseconds.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Pings that were counted and answered.
    pub(crate) fn count(&self) -> u64 {
        self.answered
    }

    /// Pings that were counted and will not be answered.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// How long it has been measured: from the first counted ping until something left or came for the last time.
    pub(crate) fn measured_for(&self) -> Duration {
        Duration::from_nanos(self.measured.map_or(0, |begun| self.moved.since(begun)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    fn at(us: u64) -> Time {
        Time::from_nanos(us * US)
    }

    fn plan(interval_us: u64, warm_up: u64, count: u64) -> Plan {
        Plan {
            interval: Duration::from_micros(interval_us),
            warm_up,
            count: Some(count),
            time: None,
            patience: Duration::from_secs(5),
        }
    }

    fn course(plan: Plan) -> Course {
        Course::new(plan, Time::ZERO).expect("a histogram")
    }

    #[test]
    fn without_an_interval_the_next_ping_waits_for_the_answer() {
        let mut course = course(plan(0, 1, 2));
        for number in 0..3 {
            let us = number * 10;
            assert_eq!(course.due(at(us)), Some(number));
            course.sent(at(us));
            assert_eq!(course.due(at(us + 1)), None);
            course.answered(number, at(us + 4));
        }
        assert!(course.is_done());
        // The first was warm-up.
        assert_eq!((course.count(), course.lost(), course.histogram().len()), (2, 0, 2));
        assert!((3_999..=4_003).contains(&course.histogram().max()), "{}", course.histogram().max());
    }

    #[test]
    fn a_stall_is_felt_by_every_ping_that_was_due_in_it() {
        let mut course = course(plan(100, 0, 10));
        // Nothing runs for a millisecond: ten pings are due, each is answered at its end.
        let now = at(1_000);
        for number in 0..10 {
            assert_eq!(course.due(now), Some(number));
            course.sent(now);
        }
        (0..10).for_each(|number| course.answered(number, now));
        assert!(course.is_done());
        let histogram = course.histogram();
        assert!((99_900..=100_100).contains(&histogram.min()), "{}", histogram.min());
        assert!((999_000..=1_001_000).contains(&histogram.max()), "{}", histogram.max());
    }

    #[test]
    fn an_answer_that_was_passed_by_is_lost_and_one_that_came_twice_counts_once() {
        let mut course = course(plan(10, 0, 4));
        for _ in 0..4 {
            assert!(course.due(at(100)).is_some());
            course.sent(at(100));
        }
        course.answered(0, at(101));
        course.answered(0, at(102));
        course.answered(3, at(103));
        course.answered(9, at(104));
        assert!(course.is_done());
        assert_eq!((course.count(), course.lost()), (2, 2));
    }

    #[test]
    fn a_lost_ping_does_not_stall_the_course_and_its_late_answer_still_counts() {
        let mut course = course(plan(0, 0, 2));
        assert_eq!(course.due(at(0)), Some(0));
        course.sent(at(0));
        assert_eq!(course.due(at(999_999)), None);
        assert_eq!(course.rest(at(999_999)), Duration::from_micros(1));
        assert_eq!(course.due(at(1_000_000)), Some(1));
        course.sent(at(1_000_000));
        course.answered(0, at(1_200_000));
        course.answered(1, at(1_200_000));
        assert!(course.is_done());
        assert_eq!((course.count(), course.lost()), (2, 0));
        assert!((1_199_000_000..=1_201_000_000).contains(&course.histogram().max()));
    }

    #[test]
    fn silence_is_told_only_when_something_is_awaited() {
        let mut course = course(plan(10_000_000, 0, 2));
        assert_eq!(course.due(at(0)), Some(0));
        course.sent(at(0));
        assert!(!course.is_silent(at(4_999_999)));
        assert!(course.is_silent(at(5_000_000)));
        course.answered(0, at(5_000_001));
        assert!(!course.is_silent(at(9_999_999)));
        // The next is due ten seconds after the first; silence counts from when it left.
        assert_eq!(course.due(at(10_000_000)), Some(1));
        course.sent(at(10_000_000));
        assert!(!course.is_silent(at(10_000_001)));
        course.give_up();
        assert!(course.is_done());
        assert_eq!(course.lost(), 1);
    }

    #[test]
    fn time_is_measured_from_the_end_of_the_warm_up() {
        let timed = Plan { time: Some(Duration::from_micros(50)), count: None, ..plan(10, 3, 0) };
        let mut course = course(timed);
        let mut sent = 0;
        for us in 0..200 {
            while let Some(number) = course.due(at(us)) {
                course.sent(at(us));
                course.answered(number, at(us));
                sent += 1;
            }
        }
        // Three for warming up, at 0, 10 and 20; then those at 30, 40, 50, 60 and 70.
        assert_eq!((sent, course.count()), (8, 5));
        assert!(course.is_done());
    }
}
