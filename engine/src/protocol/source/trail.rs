//! When the trailing edge moves: the four rules of RFC 3208 §16.
//!
//! Called by the source: [`Trail::on_sent`] after data left, [`Trail::on_nak`] for a NAK in the window, [`Trail::on_repair`] for what it
//! brought, [`Trail::target`] to learn where the trail should be. It says where the trail *should* go; the source moves it there, as far as slots in flight allow.
//! Guards: the trail never passes what was not sent yet, and only the chosen rule moves it.
//!
//! With data, the RFC's timer counts data sent. At full speed it counts to its end in milliseconds, sooner than a receiver that lost a repair
//! as well can know and ask again. So it takes three things to move the trail across an increment window for which NAKs came: the timer, no
//! repair that waits, and a little silence after the last one that left. What was repaired often counts for none of it, and no hold lasts longer
//! than `max_hold`.
//!
//! ```text
//!      trail        TXW_INC                                           next to send
//!        |-- increment --|                                                 |
//!        [ ............. | ............................................... )        window: `slots` long
//! ```

use std::collections::VecDeque;

use super::config::{Advance, SourceConfig};
use crate::time::{Time, earliest, nanos};

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The trail.
    pub(super) trail: u64,
    /// The position that will be sent next.
    pub(super) next: u64,
    /// The position that will be committed next.
    pub(super) head: u64,
    /// End of the claim that last failed.
    pub(super) wanted: u64,
    /// Trail that the application asked for.
    pub(super) released: u64,
    /// Repairs sent so far.
    pub(super) repairs: u64,
    /// How long who lost a repair takes to ask again.
    pub(super) asked_again_ns: u64,
    /// Whether any repair waits.
    pub(super) repairs_wait: bool,
}

/// Data that leaves the window together.
#[derive(Clone, Copy, Debug)]
struct Segment {
    leaves_at: Time,
    end: u64,
}

/// The rule with its timers.
#[derive(Debug)]
pub(super) struct Trail {
    rule: Advance,
    target: u64,
    slots: u64,
    /// Slots in the increment window.
    increment: u64,
    // Advance with data.
    /// `TXW_ADV_IVL`, in data packets sent.
    interval: u64,
    /// The position whose sending starts `TXW_ADV_IVL_TMR`: what is free then is one increment.
    starts_at: u64,
    /// Set by a NAK that restarted the timer: it expires when `next` + repairs reach this.
    restarted: Option<u64>,
    /// Since when the trail would have moved, had no NAK restarted the timer.
    held_since: Option<Time>,
    /// The last NAK or repair for the increment window.
    last_stir: Option<Time>,
    /// No repair waits before this position.
    looked_to: u64,
    /// One waits at it.
    waiting: bool,
    max_hold_ns: u64,
    hold_quiet_ns: u64,
    holds_broken: u64,
    // Advance with time.
    window_ns: u64,
    step_ns: u64,
    segment_began: Option<Time>,
    segments: VecDeque<Segment>,
    segments_max: usize,
}

impl Trail {
    pub(super) fn new(config: &SourceConfig) -> Self {
        let slots = u64::from(config.window_slots);
        let percent = u64::from(config.advance_percent);
        let increment = (slots * percent / 100).max(1);
        // Inside (0, TXW_ADV_SECS), and short enough that without NAKs the trail moves before the window is full.
        let interval = (increment / 2).max(1);
        let window_ns = nanos(config.window_time);
        let segments_max = 100 / usize::from(config.advance_percent) + 3;
        Self {
            rule: config.advance,
            target: 0,
            slots,
            increment,
            interval,
            starts_at: if config.advance == Advance::Data { slots - increment } else { u64::MAX / 2 },
            restarted: None,
            held_since: None,
            last_stir: None,
            looked_to: 0,
            waiting: false,
            max_hold_ns: nanos(config.max_hold),
            hold_quiet_ns: nanos(config.hold_quiet),
            holds_broken: 0,
            window_ns,
            step_ns: (window_ns / 100 * percent).max(1),
            segment_began: None,
            segments: VecDeque::with_capacity(segments_max),
            segments_max,
        }
    }

    /// Times that a hold was broken.
    pub(super) fn holds_broken(&self) -> u64 {
        self.holds_broken
    }

    /// Whether the trail may not pass repairs that wait.
    pub(super) fn waits_for_repairs(&self) -> bool {
        self.rule == Advance::Windows
    }

    /// Whether an idle source drops its data in the course of time.
    fn by_time(&self) -> bool {
        matches!(self.rule, Advance::Time | Advance::Windows)
    }

    /// The application moves the trail up to `position`.
    pub(super) fn release(&mut self, position: u64, next: u64) {
        // conformance 66: by application control alone, and never beyond what was sent.
        if self.rule == Advance::Application {
            self.target = self.target.max(position.min(next));
        }
    }

    /// New data was sent at `now`.
    #[inline]
    pub(super) fn on_sent(&mut self, now: Time) {
        if self.segment_began.is_none() && self.by_time() {
            self.segment_began = Some(now);
        }
    }

    /// A NAK for a packet in the window. Tells whether it is the first that holds the trail.
    pub(super) fn on_nak(&mut self, now: Time, position: u64, view: &View) -> bool {
        self.looked_to = self.looked_to.min(position);
        // RFC 3208 §16.2, conformance 64: while TXW_ADV_IVL_TMR runs, a NAK in the increment window restarts it.
        let running = self.target <= view.trail && (view.next >= self.starts_at || self.is_full(view));
        if self.rule != Advance::Data || !running || position >= view.trail + self.increment {
            return false;
        }
        let first = self.restarted.is_none();
        self.restarted = Some(view.next + view.repairs + self.interval);
        self.last_stir = Some(now);
        first
    }

    /// A repair left.
    pub(super) fn on_repair(&mut self, now: Time, position: u64, trail: u64) {
        if position < trail + self.increment {
            self.last_stir = Some(now);
        }
        if position == self.looked_to {
            self.waiting = false;
        }
    }

    /// Whether the publisher has no room and everything is sent, so that no more data can drive the timer.
    fn is_full(&self, view: &View) -> bool {
        view.wanted > view.trail + self.slots && view.next == view.head
    }

    /// Where the trail should be. `waits` tells whether a repair of a position waits.
    pub(super) fn target(&mut self, now: Time, view: &View, waits: impl Fn(u64) -> bool) -> u64 {
        match self.rule {
            Advance::Data => self.by_data(now, view, waits),
            Advance::Time | Advance::Windows => self.tick(now, view.next),
            Advance::Application => self.release(view.released, view.next),
        }
        self.target
    }

    fn by_data(&mut self, now: Time, view: &View, waits: impl Fn(u64) -> bool) {
        if self.target > view.trail || !self.needs_room(view) {
            return;
        }
        // RFC 3208 §16.2: the timer counts data sent, not time. When nothing more can be sent it would stand still for ever: then
        // silence alone counts, and in the end the longest hold.
        let expired = self.has_expired(view) && now >= self.quiet_at(view) && !self.is_waiting(view, waits);
        if !expired {
            self.held_since = self.held_since.or(Some(now));
        }
        let overdue = !expired && self.broken_at().is_some_and(|at| now >= at);
        if expired || overdue {
            self.holds_broken += u64::from(overdue);
            self.target = (view.trail + self.increment).min(view.next);
            self.starts_at = self.target + self.slots - self.increment;
            self.restarted = None;
            self.held_since = None;
            self.waiting = false;
        }
    }

    /// Whether new data, or a publisher without room, may move the trail. As [`Trail::target`] sees it, at a fraction of the cost.
    #[inline]
    pub(super) fn is_pressed(&self, next: u64, head: u64, trail: u64, wanted: u64) -> bool {
        next >= self.starts_at + self.interval || (wanted > trail + self.slots && next == head)
    }

    /// Until then [`Trail::target`] stays where the trail is, unless it is pressed or a NAK comes.
    #[inline]
    pub(super) fn calm_until(&self, trail: u64) -> Time {
        match self.rule {
            // What the application releases, it tells nobody but the source.
            Advance::Application => Time::ZERO,
            _ if self.target > trail => Time::ZERO,
            Advance::Data => Time::from_nanos(u64::MAX),
            Advance::Time | Advance::Windows => self.steps_at().unwrap_or(Time::from_nanos(u64::MAX)),
        }
    }

    /// When data that gets old moves the trail, or is the next to do so.
    fn steps_at(&self) -> Option<Time> {
        let step = self.segment_began.map(|began| began.plus(self.step_ns));
        earliest(step, self.segments.front().map(|oldest| oldest.leaves_at))
    }

    /// Whether the trail would move if there were no NAKs. Only then do they hold anything: they never move it sooner.
    fn needs_room(&self, view: &View) -> bool {
        view.next >= self.starts_at + self.interval || self.is_full(view)
    }

    /// Whether so much was sent since the last NAK for the increment window, if there was any; or all that the window lets in.
    fn has_expired(&self, view: &View) -> bool {
        self.restarted.is_none_or(|at| view.next + view.repairs >= at) || self.is_full(view)
    }

    /// When the increment window will have been quiet for long enough, if it stays so.
    fn quiet_at(&self, view: &View) -> Time {
        // Twice as long as it took before; but a receiver that sleeps for long is waited for in vain.
        let quiet_ns = (2 * view.asked_again_ns).min(self.max_hold_ns / 8).max(self.hold_quiet_ns);
        self.last_stir.map_or(Time::ZERO, |at| at.plus(quiet_ns))
    }

    /// Whether a repair waits in the increment window. Looks at each position once, unless a NAK comes for it again.
    fn is_waiting(&mut self, view: &View, waits: impl Fn(u64) -> bool) -> bool {
        let end = (view.trail + self.increment).min(view.next);
        // On the way of every packet: where nothing is asked for there is nothing to look for.
        self.looked_to = if view.repairs_wait { self.looked_to.max(view.trail) } else { end };
        while self.looked_to < end && !waits(self.looked_to) {
            self.looked_to += 1;
        }
        self.waiting = self.looked_to < end;
        self.waiting
    }

    fn broken_at(&self) -> Option<Time> {
        self.held_since.map(|since| since.plus(self.max_hold_ns))
    }

    fn tick(&mut self, now: Time, next: u64) {
        if let Some(began) = self.segment_began.filter(|began| now.since(*began) >= self.step_ns) {
            self.segment_began = None;
            // RFC 3208 §16.3, conformance 63: TXW_SECS of data at the most, in steps of TXW_ADV_SECS: the segment goes when its oldest is due.
            let segment = Segment { leaves_at: began.plus(self.window_ns), end: next };
            if self.segments.len() < self.segments_max {
                self.segments.push_back(segment);
            } else if let Some(last) = self.segments.back_mut() {
                *last = segment;
            }
        }
        while let Some(oldest) = self.segments.front().copied().filter(|oldest| now >= oldest.leaves_at) {
            self.target = oldest.end;
            self.segments.pop_front();
        }
    }

    /// When [`Trail::target`] must be asked again.
    pub(super) fn deadline(&self, view: &View) -> Option<Time> {
        match self.rule {
            Advance::Application => (view.released.min(view.next) > view.trail).then_some(Time::ZERO),
            Advance::Data if self.target > view.trail || !self.needs_room(view) => None,
            Advance::Data if self.held_since.is_none() => Some(Time::ZERO),
            // What waits to be repaired is due by itself, and stirs when it has left.
            Advance::Data if self.waiting => self.broken_at(),
            Advance::Data => earliest(self.has_expired(view).then(|| self.quiet_at(view)), self.broken_at()),
            Advance::Time | Advance::Windows => self.steps_at(),
        }
    }
}
