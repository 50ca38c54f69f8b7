//! Many producers, one session: a bounded queue of buffers that the worker empties into the session's window.
//!
//! ```text
//!   producer ── free buffer ──▶ copy the message ──▶ full ──▶ worker: publish ──▶ window
//!        ▲                                                        │
//!        └────────────────── free ◀───────────────────────────────┘
//! ```
//!
//! No lock on either side, and no allocation once the buffers have grown to the messages' size. A message is copied twice; whoever can
//! have one thread publish takes a [`Publisher`](super::Publisher), which copies once or not at all. Guards: messages of one producer leave
//! in its order; a full queue is back-pressure, never loss; what was taken before the end leaves before the end.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::Arc;
use std::time::Instant;

use crossbeam::queue::ArrayQueue;

use super::crowd::Crowd;
use super::desk::{Command, Desk};
use super::error::PublishError;
use super::publisher::{Closing, closing};
use super::{Close, after};
use crate::endpoint::SourceId;
use crate::frame::ClaimError;
use crate::protocol::source::{Publisher as Session, SourceStats};
use crate::wire::{Sqn, Tsi};

/// Messages that the worker takes from a queue in one go: as many as leave in one batch.
const DRAINED_AT_ONCE: usize = 64;

/// Buffers on their way there and back.
pub(super) struct Queue {
    free: ArrayQueue<Vec<u8>>,
    full: ArrayQueue<Vec<u8>>,
    crowd: Crowd,
    /// Nothing more is taken. Looked at by who has a buffer in hand, so that whoever set it knows by the free ones that nobody is under way.
    closed: AtomicBool,
}

impl Queue {
    pub(super) fn new(messages: usize) -> Self {
        let messages = messages.max(1);
        let (free, full) = (ArrayQueue::new(messages), ArrayQueue::new(messages));
        for _ in 0..messages {
            let _ = free.push(Vec::new());
        }
        Self { free, full, crowd: Crowd::default(), closed: AtomicBool::new(false) }
    }

    /// Takes no more messages, and tells those who wait for room.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        // Pairs with that in `take`: who does not see this is seen, by the buffer that is missing.
        fence(Ordering::SeqCst);
        self.crowd.ring();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes a copy of a message, if there is room and this is not the end.
    fn take(&self, message: &[u8]) -> Result<(), PublishError> {
        let Some(mut buffer) = self.free.pop() else {
            return Err(if self.is_closed() { PublishError::Closed } else { PublishError::Full });
        };
        fence(Ordering::SeqCst);
        let is_closed = self.is_closed();
        if !is_closed {
            buffer.clear();
            buffer.extend_from_slice(message);
        }
        // There are as many places as buffers, on either side.
        let _ = if is_closed { &self.free } else { &self.full }.push(buffer);
        if is_closed { Err(PublishError::Closed) } else { Ok(()) }
    }
}

/// The worker's end.
pub(super) struct Drain {
    session: Session,
    queue: Arc<Queue>,
    /// Found no room in the window.
    held: Option<Vec<u8>>,
    /// Messages that were taken out of the queue and out of `held`.
    published: u64,
}

impl Drain {
    pub(super) fn new(session: Session, queue: Arc<Queue>) -> Self {
        Self { session, queue, held: None, published: 0 }
    }

    /// Publishes what waits, as far as there is room. Says how many messages that were.
    pub(super) fn run(&mut self) -> usize {
        let mut published = 0;
        while published < DRAINED_AT_ONCE {
            let Some(message) = self.held.take().or_else(|| self.queue.full.pop()) else { break };
            if self.session.publish(&message) == Err(ClaimError::Full) {
                self.held = Some(message);
                break;
            }
            // Its length was checked when it came; one that comes after the end has nowhere to go.
            let _ = self.queue.free.push(message);
            published += 1;
        }
        if published > 0 {
            self.published += published as u64;
            self.queue.crowd.ring();
        }
        published
    }

    /// Whether nothing waits that could be published.
    pub(super) fn is_quiet(&self) -> bool {
        self.held.is_some() || self.queue.full.is_empty()
    }

    /// Whether nothing waits, and no producer is about to change that: once the queue is closed, it stays so.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.free.is_full()
    }

    /// Where the messages end that were taken until now.
    pub(super) fn end(&self) -> u64 {
        self.published + u64::from(self.held.is_some()) + self.queue.full.len() as u64
    }

    /// The sequence number behind all messages before `end`, as soon as they are in the window.
    pub(super) fn sqn_after(&self, end: u64) -> Option<Sqn> {
        (self.published >= end).then(|| self.session.next_sqn())
    }

    /// Lets no producer wait any more, nor begin to.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}

/// What the clones share.
struct Shared {
    queue: Arc<Queue>,
    desk: Arc<Desk>,
    id: SourceId,
    tsi: Tsi,
    message_max: usize,
    clones: AtomicUsize,
}

/// Publishes into one session from many threads: clone it for each.
///
/// ```
/// # use pgmx::{Close, Encapsulation, Engine, Idle, PublisherConfig};
/// # use std::time::Duration;
/// # let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_520)).frames(4096).build()?;
/// let config = PublisherConfig::new([239, 192, 0, 1].into(), 7500).window(256);
/// let publisher = engine.shared_publisher(&config)?;
/// std::thread::scope(|scope| {
///     for desk in 0..3_u8 {
///         let publisher = publisher.clone();
///         scope.spawn(move || publisher.publish(&[desk; 16]));
///     }
/// });
/// publisher.flush(Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedPublisher {
    shared: Arc<Shared>,
}

impl SharedPublisher {
    pub(super) fn new(desk: Arc<Desk>, queue: Arc<Queue>, id: SourceId, tsi: Tsi, message_max: usize) -> Self {
        let clones = AtomicUsize::new(1);
        Self { shared: Arc::new(Shared { queue, desk, id, tsi, message_max, clones }) }
    }

    /// The session.
    pub fn tsi(&self) -> Tsi {
        self.shared.tsi
    }

    fn check(&self, len: usize) -> Result<(), PublishError> {
        let Shared { desk, message_max: max, .. } = &*self.shared;
        if let Some(gone) = desk.gone() {
            return Err(gone.clone().into());
        }
        if len > *max { Err(PublishError::TooLong { len, max: *max }) } else { Ok(()) }
    }

    /// Publishes if there is room in the queue.
    pub fn try_publish(&self, message: &[u8]) -> Result<(), PublishError> {
        self.check(message.len())?;
        let Shared { queue, desk, .. } = &*self.shared;
        let taken = queue.take(message);
        // Though it was not: the worker may wait for the buffer that we had in hand.
        desk.ring();
        taken
    }

    fn attempt(&self, message: &[u8]) -> Option<Result<(), PublishError>> {
        match self.try_publish(message) {
            Err(PublishError::Full) => None,
            other => Some(other),
        }
    }

    /// Publishes as soon as there is room.
    pub fn publish(&self, message: &[u8]) -> Result<(), PublishError> {
        self.publish_by(message, None)
    }

    /// Publishes if there is room before `until`.
    pub fn publish_until(&self, message: &[u8], until: Instant) -> Result<(), PublishError> {
        self.publish_by(message, Some(until))
    }

    fn publish_by(&self, message: &[u8], until: Option<Instant>) -> Result<(), PublishError> {
        self.shared.queue.crowd.wait(|| self.attempt(message), until).unwrap_or(Err(PublishError::TimedOut))
    }

    /// Publishes as soon as there is room.
    pub async fn publish_async(&self, message: &[u8]) -> Result<(), PublishError> {
        poll_fn(|cx| self.shared.queue.crowd.poll(cx, || self.attempt(message))).await
    }

    /// Waits until everything that was published before has left, for `at_most` so long.
    pub fn flush(&self, at_most: core::time::Duration) -> Result<(), PublishError> {
        let Shared { desk, id, .. } = &*self.shared;
        let asked = desk.ask(|reply| Command::Flush { id: *id, until: None, reply })?;
        asked.wait_until(after(at_most))?.ok_or(PublishError::TimedOut)
    }

    /// What the session counted.
    pub fn stats(&self) -> Result<SourceStats, PublishError> {
        let id = self.shared.id;
        Ok(self.shared.desk.ask(|reply| Command::SourceStats { id, reply })?.wait()?)
    }

    /// Ends the session for all clones. What was published before still leaves, unless it is aborted.
    pub fn close(self, how: Close) -> Closing {
        self.shared.queue.close();
        closing(&self.shared.desk, self.shared.id, how)
    }
}

impl Clone for SharedPublisher {
    fn clone(&self) -> Self {
        self.shared.clones.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl Drop for SharedPublisher {
    fn drop(&mut self) {
        // The last one ends the session: gracefully, in the background.
        if self.shared.clones.fetch_sub(1, Ordering::AcqRel) == 1 && !self.shared.queue.is_closed() {
            let close = Command::Close { id: self.shared.id, how: Close::Graceful, reply: None };
            let _ = self.shared.desk.post(close);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PathFacts, Pool};
    use crate::protocol::source::{Source, SourceConfig};
    use crate::time::Time;

    /// A drain whose window has four slots and stays as it is.
    fn drain(queue: &Arc<Queue>) -> (Pool, Source, Drain) {
        let mut config = SourceConfig::new([239, 192, 0, 1].into(), 7500);
        config.window_slots = 4;
        let path = PathFacts { nla: [10, 0, 0, 1].into(), mtu: 1500, front: 42, alert: 4, ip_header: 20 };
        let mut pool = Pool::anonymous(Layout::standard(16)).expect("a small mapping");
        let (source, session) =
            Source::new(&config, path, Tsi::default(), &mut pool, Time::ZERO, 7).expect("a small session");
        (pool, source, Drain::new(session, queue.clone()))
    }

    #[test]
    fn a_flush_does_not_wait_for_what_comes_behind_it() {
        let queue = Arc::new(Queue::new(8));
        let (_pool, _source, mut drain) = drain(&queue);
        let first = drain.session.next_sqn();
        assert_eq!(drain.sqn_after(drain.end()), Some(first));
        for n in 0..3 {
            queue.take(&[n]).expect("room");
        }
        let end = drain.end();
        assert_eq!((end, drain.sqn_after(end)), (3, None));
        for n in 3..8 {
            queue.take(&[n]).expect("room");
        }
        // The window takes four, and the fifth waits for room with those behind it.
        assert_eq!(drain.run(), 4);
        assert_eq!((drain.end(), drain.sqn_after(end)), (8, Some(first.plus(4))));
        assert_eq!(drain.sqn_after(drain.end()), None);
        assert!(!drain.is_empty());
    }

    #[test]
    fn what_was_taken_before_the_end_is_still_there_and_nothing_is_taken_after_it() {
        let queue = Arc::new(Queue::new(2));
        let (_pool, _source, mut drain) = drain(&queue);
        queue.take(b"in time").expect("room");
        queue.close();
        assert_eq!(queue.take(b"late"), Err(PublishError::Closed));
        assert!(!drain.is_empty());
        assert_eq!(drain.run(), 1);
        assert!(drain.is_empty());
        // A producer that has a buffer in hand may still put it in.
        let buffer = queue.free.pop().expect("both are back");
        assert!(!drain.is_empty() && drain.is_quiet());
        let _ = queue.free.push(buffer);
        assert!(drain.is_empty());
    }
}
