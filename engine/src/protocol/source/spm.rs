//! When SPMs leave: opening, ambient, heartbeat, and on request.
//!
//! Called by the source alone. Guards RFC 3208 §5.1.4–5.1.6: the ambient timer runs while data flows, the heartbeat timer while it
//! does not, and neither touches the other.

use super::config::SourceConfig;
use crate::time::{Time, earliest, nanos};
use crate::wire::Sqn;

/// The schedule.
#[derive(Debug)]
pub(super) struct SpmSchedule {
    /// `SPM_SQN` of the next SPM: a sequence of its own.
    sqn: Sqn,
    /// An SPM has to leave as soon as it can.
    due: bool,

    /// SPMs that follow each other by the opening gap: at the start of the session and at its end.
    opening: u8,
    opening_spms: u8,
    opening_at: Time,
    opening_gap_ns: u64,

    /// `IHB_TMR`: when the next heartbeat is due; none before the opening is over.
    heartbeat_at: Option<Time>,
    /// The present interval.
    ihb_ns: u64,
    ihb_min_ns: u64,
    ihb_max_ns: u64,

    /// When the last SPM left.
    last: Time,
    /// Set while data has left since the last SPM.
    ambient_at: Option<Time>,
    ambient_ns: u64,
    ambient_packets: u64,
    packets_since: u64,

    /// When somebody who asked will be answered.
    answer_at: Option<Time>,
    answered: Option<Time>,
}

impl SpmSchedule {
    pub(super) fn new(config: &SourceConfig, now: Time) -> Self {
        Self {
            sqn: Sqn::default(),
            due: false,
            opening: config.opening_spms,
            opening_spms: config.opening_spms,
            opening_at: now,
            opening_gap_ns: nanos(config.opening_gap),
            heartbeat_at: None,
            ihb_ns: nanos(config.ihb_min),
            ihb_min_ns: nanos(config.ihb_min),
            ihb_max_ns: nanos(config.ihb_max),
            last: now,
            ambient_at: None,
            ambient_ns: nanos(config.ambient_spm),
            ambient_packets: config.ambient_packets.map_or(u64::MAX, u64::from),
            packets_since: 0,
            answer_at: None,
            answered: None,
        }
    }

    /// Whether all the SPMs that come before the first data have left.
    #[inline]
    pub(super) fn opened(&self) -> bool {
        self.opening == 0
    }

    /// The next SPM's sequence number.
    pub(super) fn sqn(&self) -> Sqn {
        self.sqn
    }

    /// Whether an SPM has to leave at `now`.
    #[inline]
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.due || self.timers().is_some_and(|at| now >= at)
    }

    /// Whether the SPM that is due is a heartbeat and nothing more.
    pub(super) fn is_heartbeat(&self, now: Time) -> bool {
        let others = earliest(self.ambient_at, self.answer_at);
        !self.due && self.opening == 0 && others.is_none_or(|at| now < at)
    }

    #[inline]
    fn timers(&self) -> Option<Time> {
        let opening = (self.opening > 0).then_some(self.opening_at);
        earliest(earliest(opening, self.heartbeat_at), earliest(self.ambient_at, self.answer_at))
    }

    /// An SPM has to leave at once.
    pub(super) fn demand(&mut self) {
        self.due = true;
    }

    /// The session ends: SPMs leave as at its start, since any of them may get lost, and heartbeats begin anew.
    pub(super) fn restart(&mut self, now: Time) {
        self.opening = self.opening_spms;
        self.opening_at = now;
        self.ihb_ns = self.ihb_min_ns;
        self.heartbeat_at = Some(now.plus(self.ihb_ns));
    }

    /// Somebody asked for an SPM.
    pub(super) fn request(&mut self, now: Time) {
        // RFC 3208 §13.4, conformance 50: answered at once, but no more than one answer in IHB_MIN.
        let free_at = self.answered.map_or(now, |answered| answered.plus(self.ihb_min_ns));
        self.answer_at = Some(self.answer_at.unwrap_or(free_at.max(now)));
    }

    /// An SPM left.
    pub(super) fn on_spm(&mut self, now: Time) {
        // RFC 3208 §3.6.1, conformance 47: one step per SPM, whatever the data does.
        self.sqn = self.sqn.next();
        self.due = false;
        self.last = now;
        self.ambient_at = None;
        self.packets_since = 0;
        if self.answer_at.is_some_and(|at| now >= at) {
            self.answer_at = None;
            self.answered = Some(now);
        }
        if self.opening > 0 {
            self.opening -= 1;
            self.opening_at = now.plus(self.opening_gap_ns);
            if self.opening == 0 && self.heartbeat_at.is_none() {
                self.heartbeat_at = Some(now.plus(self.ihb_ns));
            }
        }
        // RFC 3208 §5.1.5, conformance 44: each heartbeat doubles the interval; SPMs of other kinds leave it alone.
        if self.heartbeat_at.is_some_and(|at| now >= at) {
            self.ihb_ns = self.ihb_ns.saturating_mul(2).min(self.ihb_max_ns);
            self.heartbeat_at = Some(now.plus(self.ihb_ns));
        }
    }

    /// Data left, `packets` of it.
    #[inline]
    pub(super) fn on_data(&mut self, now: Time, packets: u64) {
        // RFC 3208 §5.1.5, conformance 45: any data sets the heartbeat back to IHB_MIN.
        self.ihb_ns = self.ihb_min_ns;
        self.heartbeat_at = Some(now.plus(self.ihb_min_ns));
        // RFC 3208 §5.1.6, conformance 43: interleaved with data, whatever its rate.
        if self.ambient_at.is_none() {
            // Counted from the last SPM; where that is too long ago, heartbeats have been in charge, and it begins anew.
            let at = self.last.plus(self.ambient_ns);
            self.ambient_at = Some(if at > now { at } else { now.plus(self.ambient_ns) });
        }
        self.packets_since += packets;
        if self.packets_since >= self.ambient_packets {
            self.due = true;
        }
    }

    /// How many data packets may leave before an SPM has to.
    #[inline]
    pub(super) fn packets_left(&self) -> u64 {
        self.ambient_packets - self.packets_since.min(self.ambient_packets)
    }

    /// Until then no SPM leaves, if no data does and nobody asks.
    #[inline]
    pub(super) fn calm_until(&self) -> Time {
        if self.due { Time::ZERO } else { self.timers().unwrap_or(Time::from_nanos(u64::MAX)) }
    }

    /// When the next SPM is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        if self.due { Some(Time::ZERO) } else { self.timers() }
    }
}
