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
//! in its order; a full queue is back-pressure, never loss.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
use crate::wire::Tsi;

/// Messages that the worker takes from a queue in one go: as many as leave in one batch.
const DRAINED_AT_ONCE: usize = 64;

/// Buffers on their way there and back.
pub(super) struct Queue {
    free: ArrayQueue<Vec<u8>>,
    full: ArrayQueue<Vec<u8>>,
    crowd: Crowd,
}

impl Queue {
    pub(super) fn new(messages: usize) -> Self {
        let messages = messages.max(1);
        let (free, full) = (ArrayQueue::new(messages), ArrayQueue::new(messages));
        for _ in 0..messages {
            let _ = free.push(Vec::new());
        }
        Self { free, full, crowd: Crowd::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Wakes producers, who find out by themselves why.
    pub(super) fn wake_all(&self) {
        self.crowd.ring();
    }
}

/// The worker's end.
pub(super) struct Drain {
    session: Session,
    queue: Arc<Queue>,
    /// Found no room in the window.
    held: Option<Vec<u8>>,
}

impl Drain {
    pub(super) fn new(session: Session, queue: Arc<Queue>) -> Self {
        Self { session, queue, held: None }
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
            self.queue.crowd.ring();
        }
        published
    }

    /// Whether nothing waits that could be published.
    pub(super) fn is_quiet(&self) -> bool {
        self.held.is_some() || self.queue.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_none() && self.queue.is_empty()
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

/// What the clones share.
struct Shared {
    queue: Arc<Queue>,
    desk: Arc<Desk>,
    id: SourceId,
    tsi: Tsi,
    message_max: usize,
    /// Set by the clone that closes the session.
    closed: AtomicBool,
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
        let closed = AtomicBool::new(false);
        Self { shared: Arc::new(Shared { queue, desk, id, tsi, message_max, closed, clones }) }
    }

    /// The session.
    pub fn tsi(&self) -> Tsi {
        self.shared.tsi
    }

    fn check(&self, len: usize) -> Result<(), PublishError> {
        let Shared { desk, message_max: max, closed, .. } = &*self.shared;
        if let Some(gone) = desk.gone() {
            return Err(gone.clone().into());
        }
        if closed.load(Ordering::Relaxed) {
            return Err(PublishError::Closed);
        }
        if len > *max { Err(PublishError::TooLong { len, max: *max }) } else { Ok(()) }
    }

    /// Publishes if there is room in the queue.
    pub fn try_publish(&self, message: &[u8]) -> Result<(), PublishError> {
        self.check(message.len())?;
        let Shared { queue, desk, .. } = &*self.shared;
        let Some(mut buffer) = queue.free.pop() else { return Err(PublishError::Full) };
        buffer.clear();
        buffer.extend_from_slice(message);
        // There are as many places as buffers.
        let _ = queue.full.push(buffer);
        desk.ring();
        Ok(())
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
        self.shared.closed.store(true, Ordering::Relaxed);
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
        if self.shared.clones.fetch_sub(1, Ordering::AcqRel) == 1 && !self.shared.closed.load(Ordering::Relaxed) {
            let close = Command::Close { id: self.shared.id, how: Close::Graceful, reply: None };
            let _ = self.shared.desk.post(close);
        }
    }
}
