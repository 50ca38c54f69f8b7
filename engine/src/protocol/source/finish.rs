//! The end of a session: drained, lingering, done (RFC 3208 §9.7, §9.8).
//!
//! Called by the source alone. Guards: FIN goes out only with a final lead, RST goes out in every SPM once decided, and a source that
//! is done sends nothing more.

use super::config::{Linger, SourceConfig};
use crate::time::{Time, nanos};
use crate::wire::Rst;

/// How far a source's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// It takes and sends data.
    Open,
    /// It was closed and sends what was committed before.
    Draining,
    /// All was sent, or the session was aborted: it says so and answers NAKs.
    Lingering,
    /// It is silent for good.
    Done,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    Rst(Rst),
}

/// The state with its timers.
#[derive(Debug)]
pub(super) struct Finish {
    state: SourceState,
    end: Option<End>,
    since: Time,
    last_nak: Time,
    quiet_ns: u64,
    at_most_ns: u64,
}

impl Finish {
    pub(super) fn new() -> Self {
        let (since, last_nak) = (Time::ZERO, Time::ZERO);
        Self { state: SourceState::Open, end: None, since, last_nak, quiet_ns: 0, at_most_ns: 0 }
    }

    #[inline]
    pub(super) fn state(&self) -> SourceState {
        self.state
    }

    /// Whether new data may still leave.
    #[inline]
    pub(super) fn sends_data(&self) -> bool {
        matches!(self.state, SourceState::Open | SourceState::Draining)
    }

    /// Whether NAKs are answered.
    #[inline]
    pub(super) fn answers(&self) -> bool {
        match self.state {
            SourceState::Open | SourceState::Draining => true,
            SourceState::Lingering => !self.rst().is_some_and(|rst| rst.no_naks),
            SourceState::Done => false,
        }
    }

    /// Whether SPMs carry FIN.
    pub(super) fn fin(&self) -> bool {
        matches!(self.end, Some(End::Fin))
    }

    /// The RST that SPMs carry.
    pub(super) fn rst(&self) -> Option<Rst> {
        if let Some(End::Rst(rst)) = self.end { Some(rst) } else { None }
    }

    /// No more data comes.
    pub(super) fn drain(&mut self) {
        if self.state == SourceState::Open {
            self.state = SourceState::Draining;
        }
    }

    /// Everything was sent.
    pub(super) fn finish(&mut self, now: Time, config: &SourceConfig) {
        self.linger(now, End::Fin, config.linger, config);
    }

    /// The session is given up.
    pub(super) fn abort(&mut self, now: Time, code: u8, config: &SourceConfig) {
        // RFC 3208 §9.8, conformance 69: six bits of code; N says that NAKs will not be answered.
        let rst = Rst { no_naks: !config.naks_after_abort, code: code & 0x3F };
        self.linger(now, End::Rst(rst), config.abort_linger, config);
    }

    fn linger(&mut self, now: Time, end: End, linger: Linger, config: &SourceConfig) {
        self.state = SourceState::Lingering;
        self.end = Some(end);
        self.since = now;
        self.last_nak = now;
        // RFC 3208 §9.7.2, conformance 68: TXW_SECS in full, or less where the profile knows its receivers.
        (self.quiet_ns, self.at_most_ns) = match linger {
            Linger::Full => (nanos(config.window_time), nanos(config.window_time)),
            Linger::Quiet { quiet, at_most } => (nanos(quiet), nanos(at_most)),
        };
    }

    /// A NAK was answered.
    pub(super) fn on_nak(&mut self, now: Time) {
        self.last_nak = now;
    }

    /// When lingering ends, if nobody asks for anything more.
    pub(super) fn deadline(&self) -> Option<Time> {
        let ends = || self.since.plus(self.at_most_ns).min(self.last_nak.plus(self.quiet_ns));
        (self.state == SourceState::Lingering).then(ends)
    }

    /// Ends it when its time has come.
    pub(super) fn tick(&mut self, now: Time) {
        if self.deadline().is_some_and(|at| now >= at) {
            self.state = SourceState::Done;
        }
    }
}
