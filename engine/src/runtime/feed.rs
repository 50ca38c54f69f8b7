//! The worker's end of what a subscriber hears: messages and news into its ring, and what happens when it does not take them.
//!
//! ```text
//!   Receiver ──deliver, event──▶ Post ──▶ Feed ──┬─ a lease ──────────────▶ ring ──▶ Subscriber
//!                                                ├─ quota spent: a copy ──▶ ring
//!                                                └─ no room: lost, and told in the backlog as soon as there is room
//! ```
//!
//! Driven by one worker. Guards: the worker never waits for a subscriber; what one does not take is lost for it alone, told with its range
//! before anything later, and counted; a message is handed over whole or not at all.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::endpoint::{ReceiverId, Sinks};
use crate::frame::{Frame, Leased, Pool, QuotaId};
use crate::protocol::receiver::OnLoss;
use crate::protocol::{Delivery, Event, LossCause, Sink};
use crate::sync::bell::Bell;
use crate::sync::spsc::Producer;
use crate::time::Time;
use crate::wire::{Sqn, Tsi};
use core::net::IpAddr;

/// News that wait for room in one ring, at the most. Losses of one session in a row are one, so that this many sessions have to begin,
/// lose and end while a subscriber takes nothing.
const BACKLOG_MAX: usize = 1024;
/// Losses may be this many more, so that those of sessions that began before all that are told. Beyond, losses of a session in a row are
/// one, whatever caused them.
const LOSSES_MAX: usize = 1024;

/// Names a feed of one worker.
pub(super) type FeedId = u32;

/// What is said of a message beside its octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) tsi: Tsi,
    pub(super) source: IpAddr,
    pub(super) sqn: Sqn,
    pub(super) received: Time,
    /// Number of the channel among the subscriber's.
    pub(super) channel: u16,
    /// Whether it is a batch of records.
    pub(super) records: bool,
}

/// What travels through a ring.
#[derive(Debug)]
pub(super) enum Item {
    Message(Head, Leased),
    News(u16, Event),
}

/// What a feed counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FeedStats {
    /// Messages (batches count as one) handed over.
    pub(super) handed: u64,
    /// Those of them that had to be copied, because the subscriber holds too many.
    pub(super) copied: u64,
    /// Packets lost because the subscriber took nothing in time.
    pub(super) lost_packets: u64,
    /// News lost for the same reason.
    pub(super) lost_news: u64,
}

/// One subscriber's part of one worker.
pub(super) struct Feed {
    ring: Producer<Item>,
    /// Items that the ring takes at least.
    room: usize,
    bell: Arc<Bell>,
    /// What it may hold of the endpoint's frames.
    quota: QuotaId,
    /// Where copies go when it holds all of that.
    spill: Pool,
    /// Of the message that is coming in.
    gathered: Vec<Frame>,
    copies: Vec<Frame>,
    /// News that found no room, in order. While there are any, no message passes them.
    backlog: VecDeque<(u16, Event)>,
    /// Sessions to be reset, since something of them is lost and that is the policy. Nothing more of them is handed over.
    resets: Vec<(u16, Tsi)>,
    /// Something was put into the ring since the bell was rung.
    is_posted: bool,
    stats: FeedStats,
}

impl Feed {
    pub(super) fn new(ring: Producer<Item>, bell: Arc<Bell>, quota: QuotaId, spill: Pool) -> Self {
        Self {
            ring,
            room: 0,
            bell,
            quota,
            spill,
            gathered: Vec::new(),
            copies: Vec::new(),
            backlog: VecDeque::new(),
            resets: Vec::new(),
            is_posted: false,
            stats: FeedStats::default(),
        }
    }

    pub(super) fn into_quota(self) -> QuotaId {
        self.quota
    }

    pub(super) fn stats(&self) -> FeedStats {
        self.stats
    }

    /// Puts what waits into the ring, as far as there is room; says whether nothing waits any more.
    #[cold]
    fn catch_up(&mut self) -> bool {
        while let Some((channel, event)) = self.backlog.pop_front() {
            if !self.has_room() {
                self.backlog.push_front((channel, event));
                return false;
            }
            self.push(Item::News(channel, event));
        }
        true
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        // The subscriber's end is looked at once a lap, not once a message.
        if self.room == 0 {
            self.room = self.ring.room();
        }
        self.room > 0
    }

    /// Puts something into the ring, where there is room.
    #[inline]
    fn push(&mut self, item: Item) {
        self.room -= 1;
        // Refused only when the subscriber is gone: what is dropped then comes home by itself.
        if self.ring.push(item).is_ok() {
            self.is_posted = true;
        }
    }

    #[inline]
    fn is_open(&mut self) -> bool {
        (self.backlog.is_empty() || self.catch_up()) && self.has_room()
    }

    #[inline]
    fn deliver(&mut self, route: Route, now: Time, pool: &mut Pool, delivery: Delivery) {
        if delivery.place.is_some() {
            return self.gather(route, now, pool, delivery);
        }
        let Delivery { tsi, source, sqn, records, frame, .. } = delivery;
        let head = Head { tsi, source, sqn, received: now, channel: route.channel, records };
        let resetting = !self.resets.is_empty() && self.resets.contains(&(route.channel, tsi));
        if resetting || !self.is_open() {
            pool.put(frame);
            return self.lose(route, tsi, sqn, sqn);
        }
        match self.lease(pool, frame) {
            Some(leased) => self.hand_over(head, leased),
            None => self.lose(route, tsi, sqn, sqn),
        }
    }

    /// Leases a frame, or a copy of it; the frame is home if neither can be had.
    #[inline]
    fn lease(&mut self, pool: &mut Pool, frame: Frame) -> Option<Leased> {
        match pool.lease_for(&self.quota, frame) {
            Ok(leased) => Some(leased),
            Err(frame) => self.copy(pool, frame).map(|copy| self.spill.lease(copy)),
        }
    }

    #[cold]
    fn copy(&mut self, pool: &mut Pool, frame: Frame) -> Option<Frame> {
        self.spill.collect();
        let copy = self.spill.copy_from(pool, &frame);
        pool.put(frame);
        self.stats.copied += u64::from(copy.is_some());
        copy
    }

    #[inline]
    fn hand_over(&mut self, head: Head, leased: Leased) {
        self.stats.handed += 1;
        self.push(Item::Message(head, leased));
    }

    /// Takes in a fragment. Those of a message come one right after the other.
    #[cold]
    fn gather(&mut self, route: Route, now: Time, pool: &mut Pool, delivery: Delivery) {
        let Delivery { tsi, source, sqn, .. } = delivery;
        let is_last = delivery.is_last();
        self.gathered.push(delivery.frame);
        if !is_last {
            return;
        }
        let first = Sqn::new(sqn.get().wrapping_sub(self.gathered.len() as u32 - 1));
        let head = Head { tsi, source, sqn: first, received: now, channel: route.channel, records: false };
        let resetting = self.resets.contains(&(route.channel, tsi));
        if resetting || !self.is_open() {
            self.gathered.drain(..).for_each(|frame| pool.put(frame));
            return self.lose(route, tsi, first, sqn);
        }
        let leased = pool.lease_chain_for(&self.quota, &mut self.gathered).or_else(|| self.copy_all(pool));
        match leased {
            Some(leased) => self.hand_over(head, leased),
            None => self.lose(route, tsi, first, sqn),
        }
    }

    /// Copies what was gathered, all of it or nothing. The originals are home then.
    #[cold]
    fn copy_all(&mut self, pool: &mut Pool) -> Option<Leased> {
        self.spill.collect();
        if self.spill.spare() as usize >= self.gathered.len() {
            self.copies.extend(self.gathered.iter().map_while(|frame| self.spill.copy_from(pool, frame)));
        }
        let complete = self.copies.len() == self.gathered.len();
        self.gathered.drain(..).for_each(|frame| pool.put(frame));
        if complete {
            self.stats.copied += 1;
            return Some(self.spill.lease_chain(self.copies.drain(..)));
        }
        self.copies.drain(..).for_each(|frame| self.spill.put(frame));
        None
    }

    /// What was not taken in time is lost, and that is told.
    #[cold]
    fn lose(&mut self, route: Route, tsi: Tsi, first: Sqn, last: Sqn) {
        self.stats.lost_packets += u64::from(last.distance_from(first)) + 1;
        self.tell_of_loss(route.channel, tsi, first, last);
        if route.on_loss == OnLoss::Reset && !self.resets.contains(&(route.channel, tsi)) {
            self.resets.push((route.channel, tsi));
        }
    }

    /// Puts a loss into the backlog. Since the first that stands there nothing was handed over, so that losses of a session in a row are
    /// one.
    fn tell_of_loss(&mut self, channel: u16, tsi: Tsi, first: Sqn, last: Sqn) {
        if !self.prolong_loss(channel, tsi, first, last, false) {
            self.tell(channel, Event::Loss { tsi, first, last, cause: LossCause::SlowConsumer });
        }
    }

    /// Makes the latest news of a session, if that is a loss which ends where another one begins, tell of both. Of `any_cause`, or only of
    /// those to a slow consumer.
    fn prolong_loss(&mut self, channel: u16, tsi: Tsi, first: Sqn, last: Sqn, any_cause: bool) -> bool {
        let of_session = |waiting: &&mut (u16, Event)| {
            waiting.0 == channel
                && match waiting.1 {
                    Event::Opened { tsi: of, .. } | Event::Loss { tsi: of, .. } | Event::Closed { tsi: of, .. } => {
                        of == tsi
                    }
                }
        };
        let Some((_, Event::Loss { last: end, cause, .. })) = self.backlog.iter_mut().rev().find(of_session) else {
            return false;
        };
        let fits = end.next() == first && (any_cause || *cause == LossCause::SlowConsumer);
        *end = if fits { last } else { *end };
        fits
    }

    #[cold]
    fn tell(&mut self, channel: u16, event: Event) {
        if let Event::Closed { tsi, .. } = event {
            self.resets.retain(|reset| *reset != (channel, tsi));
        }
        let (loss, most) = match event {
            Event::Loss { tsi, first, last, .. } => (Some((tsi, first, last)), BACKLOG_MAX + LOSSES_MAX),
            Event::Opened { .. } | Event::Closed { .. } => (None, BACKLOG_MAX),
        };
        if self.backlog.len() < most {
            self.backlog.push_back((channel, event));
        } else if !loss.is_some_and(|(tsi, first, last)| self.prolong_loss(channel, tsi, first, last, true)) {
            self.stats.lost_news += 1;
        }
        self.catch_up();
    }
}

/// Which feed a receiver's news go into.
#[derive(Clone, Copy, Debug)]
struct Route {
    receiver: ReceiverId,
    feed: usize,
    channel: u16,
    on_loss: OnLoss,
}

/// All feeds of a worker, and which receiver goes where.
#[derive(Default)]
pub(super) struct Post {
    routes: Vec<Route>,
    counter: Counter,
    next: FeedId,
}

/// What takes the news of one receiver at a time.
#[derive(Default)]
pub(super) struct Counter {
    feeds: Vec<(FeedId, Feed)>,
    /// Whose news they are.
    route: Option<Route>,
    now: Time,
}

impl Post {
    /// Takes on a feed without receivers.
    pub(super) fn add(&mut self, feed: Feed) -> FeedId {
        self.next += 1;
        self.counter.feeds.push((self.next, feed));
        self.next
    }

    /// Leads what this receiver hears into a feed.
    pub(super) fn lead(&mut self, receiver: ReceiverId, to: FeedId, channel: u16, on_loss: OnLoss) {
        if let Some(feed) = self.counter.feeds.iter().position(|feed| feed.0 == to) {
            self.routes.push(Route { receiver, feed, channel, on_loss });
            self.counter.route = None;
        }
    }

    /// The receivers of a feed.
    pub(super) fn receivers(&self, of: FeedId) -> Vec<ReceiverId> {
        let to = self.counter.feeds.iter().position(|feed| feed.0 == of);
        self.routes.iter().filter(|route| Some(route.feed) == to).map(|route| route.receiver).collect()
    }

    pub(super) fn feed(&self, of: FeedId) -> Option<&Feed> {
        self.counter.feeds.iter().find(|feed| feed.0 == of).map(|feed| &feed.1)
    }

    /// Takes a feed out, and the ways to it.
    pub(super) fn remove(&mut self, of: FeedId) -> Option<Feed> {
        let at = self.counter.feeds.iter().position(|feed| feed.0 == of)?;
        self.routes.retain(|route| route.feed != at);
        for route in &mut self.routes {
            route.feed -= usize::from(route.feed > at);
        }
        self.counter.route = None;
        Some(self.counter.feeds.remove(at).1)
    }

    /// Closes all rings. Whoever waits at them is still to be told.
    pub(super) fn into_bells(self) -> impl Iterator<Item = Arc<Bell>> {
        self.counter.feeds.into_iter().map(|(_, feed)| feed.bell)
    }

    /// The time that messages are said to be received at.
    #[inline]
    pub(super) fn at(&mut self, now: Time) -> &mut Self {
        self.counter.now = now;
        self
    }

    /// Tells what waited, wakes who got something. Says whether news wait still: for room that nobody will tell of.
    #[inline]
    pub(super) fn ring(&mut self) -> bool {
        let mut waits = false;
        for (_, feed) in &mut self.counter.feeds {
            if !feed.backlog.is_empty() {
                waits |= !feed.catch_up();
            }
            if feed.is_posted {
                feed.is_posted = false;
                feed.bell.ring();
            }
        }
        waits
    }

    /// Frames that came back from subscribers by way of the spill pools are taken when they are needed; sessions to be reset are
    /// here, each once.
    #[inline]
    pub(super) fn take_reset(&mut self) -> Option<(ReceiverId, Tsi)> {
        for (at, (_, feed)) in self.counter.feeds.iter().enumerate() {
            if let Some(&(channel, tsi)) = feed.resets.first() {
                let route = self.routes.iter().find(|route| route.feed == at && route.channel == channel);
                return route.map(|route| (route.receiver, tsi));
            }
        }
        None
    }

    /// A session was reset, or was none any more.
    pub(super) fn was_reset(&mut self, receiver: ReceiverId, tsi: Tsi) {
        let Some(route) = self.routes.iter().find(|route| route.receiver == receiver) else { return };
        self.counter.feeds[route.feed].1.resets.retain(|reset| *reset != (route.channel, tsi));
    }
}

impl Sinks for Post {
    type Sink = Counter;

    #[inline]
    fn of(&mut self, receiver: ReceiverId) -> &mut Counter {
        if self.counter.route.is_none_or(|route| route.receiver != receiver) {
            self.counter.route = self.routes.iter().find(|route| route.receiver == receiver).copied();
        }
        &mut self.counter
    }
}

impl Sink for Counter {
    #[inline]
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        match self.route {
            Some(route) => self.feeds[route.feed].1.deliver(route, self.now, pool, delivery),
            // A receiver whose subscriber left in this moment.
            None => pool.put(delivery.frame),
        }
    }

    #[cold]
    fn event(&mut self, event: Event) {
        if let Some(route) = self.route {
            self.feeds[route.feed].1.tell(route.channel, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Layout;
    use crate::protocol::End;
    use crate::sync::spsc::ring;
    use crate::wire::Gsi;

    fn tsi(session: u32) -> Tsi {
        let [_, a, b, c] = session.to_be_bytes();
        Tsi::new(Gsi::new([1, 2, 3, 4, a, b]), u16::from(c))
    }

    #[test]
    fn a_loss_is_told_however_much_else_waits_to_be_told() {
        let mut pool = Pool::anonymous(Layout::standard(4)).expect("a small mapping");
        let spill = Pool::anonymous(Layout::standard(1)).expect("a smaller one");
        let (producer, mut received) = ring(1);
        let mut feed = Feed::new(producer, Arc::new(Bell::new()), pool.add_quota(1), spill);
        // One that is heard since long, and strangers that come and go.
        let heard = tsi(0);
        for stranger in 1..2_000 {
            feed.tell(0, Event::Closed { tsi: tsi(stranger), end: End::Expired });
        }
        let mut next = Sqn::new(u32::MAX - 100);
        for n in 0..5_000 {
            // Lost on the way, then for lack of room, and so on.
            if n % 2 == 0 {
                feed.tell(0, Event::Loss { tsi: heard, first: next, last: next, cause: LossCause::WindowPassed });
            } else {
                feed.tell_of_loss(0, heard, next, next);
            }
            next = next.next();
        }
        let mut told = Sqn::new(u32::MAX - 100);
        let mut news = 0;
        loop {
            match received.pop() {
                Some(Item::News(_, Event::Loss { first, last, .. })) => {
                    assert_eq!(first, told, "without a gap");
                    told = last.next();
                }
                Some(Item::News(_, Event::Closed { .. })) => news += 1,
                Some(other) => panic!("{other:?}"),
                None if feed.backlog.is_empty() => break,
                None => {
                    feed.catch_up();
                }
            }
        }
        assert_eq!(told, next);
        assert_eq!((news, feed.stats.lost_news), (BACKLOG_MAX + 1, 1_999 - (BACKLOG_MAX as u64 + 1)));
    }
}
