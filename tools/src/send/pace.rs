//! How many messages are due: `--pps`.
//!
//! Asked by the loop of `send`, once an iteration. Guards: what is late is made up for, so that the rate holds over any time; what nobody
//! had to send is not.

use pgmx::time::Time;

/// A rate of messages.
#[derive(Debug)]
pub(super) struct Pace {
    /// Messages per nanosecond.
    rate: Option<f64>,
    begun: Time,
    /// Messages that were sent, or forfeited.
    gone: u64,
}

impl Pace {
    /// So many messages per second from now on, or as many as come.
    pub(super) fn new(per_second: Option<f64>, begun: Time) -> Self {
        Self { rate: per_second.map(|rate| rate / 1e9), begun, gone: 0 }
    }

    /// Messages that may leave by now.
    #[inline]
    pub(super) fn due(&self, now: Time) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        // The first one at once.
        let by_now = (now.since(self.begun) as f64 * rate) as u64 + 1;
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
        if self.rate.is_some() {
            self.gone += self.due(now).saturating_sub(1);
        }
    }

    /// When the next message is due.
    pub(super) fn next(&self) -> Time {
        let Some(rate) = self.rate else { return Time::ZERO };
        self.begun.plus((self.gone as f64 / rate).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_however_unevenly_it_is_asked() {
        let begun = Time::from_nanos(5_000);
        let mut pace = Pace::new(Some(1000.0), begun);
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
        let mut pace = Pace::new(Some(1000.0), Time::ZERO);
        pace.forfeit(Time::from_nanos(10_000_000_000));
        assert_eq!(pace.due(Time::from_nanos(10_000_000_000)), 1);
        assert_eq!(Pace::new(None, Time::ZERO).due(Time::ZERO), u64::MAX);
    }
}
