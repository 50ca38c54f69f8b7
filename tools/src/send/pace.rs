//! How many messages are due, and since when: `--pps` and `--bursts`.
//!
//! Asked by the loop of `send`, once an iteration. Guards: what is late is made up for, so that the rate holds over any time; what nobody
//! had to send is not.

use std::str::FromStr;

use pgmx::time::Time;

/// When messages are due.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beat {
    /// As they come.
    Any,
    /// So many a nanosecond, evenly.
    Even(f64),
    /// So many at once, at intervals.
    Bursts(Bursts),
}

/// `--bursts`: so many messages at once, so far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bursts {
    messages: u64,
    every_ns: u64,
}

impl FromStr for Bursts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "wants messages and how far apart, such as 10@100ms or 500@1s (us, ms, s; up to an hour)";
        let (messages, every) = text.split_once('@').ok_or(EXPECTED)?;
        let digits = every.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = every.split_at(digits);
        let unit_ns = match unit {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            _ => return Err(EXPECTED),
        };
        let messages = messages.parse().ok().filter(|messages| (1..=1_000_000).contains(messages)).ok_or(EXPECTED)?;
        let every_ns = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ns));
        let every_ns = every_ns.filter(|ns| (1..=3_600_000_000_000).contains(ns)).ok_or(EXPECTED)?;
        Ok(Self { messages, every_ns })
    }
}

/// A rate of messages.
#[derive(Debug)]
pub(super) struct Pace {
    beat: Beat,
    begun: Time,
    /// Messages that were sent, or forfeited.
    gone: u64,
}

impl Pace {
    /// So many messages per second from now on, or bursts, or as many as come.
    pub(super) fn new(per_second: Option<f64>, bursts: Option<Bursts>, begun: Time) -> Self {
        let beat = match (per_second, bursts) {
            (_, Some(bursts)) => Beat::Bursts(bursts),
            (Some(rate), None) => Beat::Even(rate / 1e9),
            (None, None) => Beat::Any,
        };
        Self { beat, begun, gone: 0 }
    }

    /// Messages that may leave by now.
    #[inline]
    pub(super) fn due(&self, now: Time) -> u64 {
        let lasted = now.since(self.begun);
        let by_now = match self.beat {
            Beat::Any => return u64::MAX,
            // The first one at once.
            Beat::Even(rate) => (lasted as f64 * rate) as u64 + 1,
            Beat::Bursts(Bursts { messages, every_ns }) => (lasted / every_ns + 1) * messages,
        };
        by_now.saturating_sub(self.gone)
    }

    /// So many left.
    #[inline]
    pub(super) fn sent(&mut self, messages: u64) {
        self.gone += messages;
    }

    /// There is no message: those that were due are not made up for, but for one.
    #[inline]
    pub(super) fn forfeit(&mut self, now: Time) {
        if self.beat != Beat::Any {
            self.gone += self.due(now).saturating_sub(1);
        }
    }

    /// When the next message is due.
    pub(super) fn next(&self) -> Time {
        self.due_at(0)
    }

    /// How long the message behind so many others has been due: who is late must not make its messages look young.
    #[inline]
    pub(super) fn late_ns(&self, now: Time, behind: u64) -> u64 {
        if self.beat == Beat::Any { 0 } else { now.since(self.due_at(behind)) }
    }

    fn due_at(&self, behind: u64) -> Time {
        let number = self.gone + behind;
        match self.beat {
            Beat::Any => Time::ZERO,
            Beat::Even(rate) => self.begun.plus((number as f64 / rate).ceil() as u64),
            Beat::Bursts(Bursts { messages, every_ns }) => self.begun.plus(number / messages * every_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_however_unevenly_it_is_asked() {
        let begun = Time::from_nanos(5_000);
        let mut pace = Pace::new(Some(1000.0), None, begun);
        assert_eq!(pace.due(begun), 1, "the first one at once");
        let mut sent = 0;
        for at_ms in [0, 0, 1, 7, 8, 8, 90, 999] {
            let due = pace.due(begun.plus(at_ms * 1_000_000));
            pace.sent(due);
            sent += due;
        }
        assert_eq!(sent, 1000);
        assert_eq!(pace.next(), begun.plus(1_000_000_000));
        assert_eq!(pace.due(pace.next()), 1);
    }

    #[test]
    fn what_nobody_had_to_send_is_not_made_up_for() {
        let mut pace = Pace::new(Some(1000.0), None, Time::ZERO);
        pace.forfeit(Time::from_nanos(10_000_000_000));
        assert_eq!(pace.due(Time::from_nanos(10_000_000_000)), 1);
        assert_eq!(Pace::new(None, None, Time::ZERO).due(Time::ZERO), u64::MAX);
    }

    #[test]
    fn a_message_that_leaves_late_has_been_due_since_its_time() {
        let begun = Time::from_nanos(5_000);
        let mut pace = Pace::new(Some(1000.0), None, begun);
        let now = begun.plus(10_500_000);
        assert_eq!((pace.due(now), pace.late_ns(now, 0), pace.late_ns(now, 10)), (11, 10_500_000, 500_000));
        pace.sent(10);
        assert_eq!(pace.late_ns(now, 0), 500_000);
        assert_eq!(Pace::new(None, None, begun).late_ns(now, 3), 0, "without a rate it is due when it leaves");
    }

    #[test]
    fn bursts_come_at_their_times_and_whole() {
        let mut pace = Pace::new(None, Some("10@100ms".parse().expect("a good one")), Time::ZERO);
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        assert_eq!(pace.due(at(0)), 10);
        pace.sent(10);
        assert_eq!((pace.due(at(99)), pace.next()), (0, at(100)));
        assert_eq!(
            (pace.due(at(205)), pace.late_ns(at(205), 9), pace.late_ns(at(205), 10)),
            (20, 105_000_000, 5_000_000)
        );
        for text in ["10", "10@", "0@1s", "10@0ms", "10@5", "x@1s", "10@9999s", "10@1h"] {
            assert!(text.parse::<Bursts>().is_err(), "{text}");
        }
    }
}
