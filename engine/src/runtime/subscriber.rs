//! The application's ear: messages and news from the rings of the workers that feed it.
//!
//! ```text
//!   worker 1 ── ring ──┐
//!   worker 2 ── ring ──┼─▶ take ─▶ try_recv, recv, poll, Stream
//!                      └─ a batch is taken apart here, one message a call
//! ```
//!
//! Guards: what one worker handed over comes in its order; a worker that is gone is told once, after all that it had handed over.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use futures_core::Stream;

use super::after;
use super::desk::{Command, Desk};
use super::error::{ReceiveError, WorkerGone};
use super::feed::{FeedId, Head, Item};
use super::message::{Message, Received};
use crate::endpoint::{Handler, MessageView};
use crate::frame::Lease;
use crate::link::Channel;
use crate::protocol::Event;
use crate::protocol::receiver::ReceiverStats;
use crate::sync::bell::Bell;
use crate::sync::spsc::Consumer;
use crate::wire::{RECORD_HEADER_LEN, Records};

/// What became of a subscriber's messages, and what its receivers counted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Messages (a batch counts as one) that were handed over.
    pub handed: u64,
    /// Those that were copied, because the subscriber held too many.
    pub copied: u64,
    /// Packets that were lost because it did not take them in time.
    pub lost_packets: u64,
    /// News that were lost for the same reason: beyond a thousand that waited.
    pub lost_news: u64,
    /// Batches that ended in the middle of a record: their source is wrong.
    pub cut_batches: u64,
    /// What each receiver counted: one for each channel, on each interface.
    pub receivers: Vec<ReceiverStats>,
}

/// Items that one ring gives before the others are looked at: a busy interface must not keep a quiet one waiting.
const IN_A_ROW: usize = 64;

/// One worker's ring.
struct Intake {
    ring: Consumer<Item>,
    desk: Arc<Desk>,
    feed: FeedId,
    /// The worker is gone, and that was told.
    is_over: bool,
}

/// A batch that is being taken apart.
struct Batch {
    lease: Lease,
    head: Head,
    /// Where the next record begins.
    at: usize,
}

/// What was taken from a ring.
enum Taken {
    Message(Head, Lease),
    News(u16, Event),
    Gone(WorkerGone),
}

/// Receives from one group or several, on one interface or several.
///
/// ```
/// # use pgmx::{Encapsulation, Engine, PublisherConfig, SubscriberConfig};
/// # let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_522)).frames(4096).build()?;
/// let group = [239, 192, 0, 1].into();
/// let mut subscriber = engine.subscriber(&SubscriberConfig::new(group, 7500))?;
/// let mut publisher = engine.publisher(&PublisherConfig::new(group, 7500).window(256))?;
/// publisher.publish(b"hello")?;
/// let message = loop {
///     if let Some(message) = subscriber.recv()?.message() {
///         break message;
///     }
/// };
/// assert_eq!(message.as_slice(), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscriber {
    intakes: Vec<Intake>,
    channels: Vec<Channel>,
    bell: Arc<Bell>,
    /// Which ring is looked at first: the one that gave last, but not more than a batch in a row.
    at: usize,
    in_a_row: usize,
    batch: Option<Batch>,
    cut_batches: u64,
}

impl Subscriber {
    pub(super) fn new(channels: Vec<Channel>, bell: Arc<Bell>) -> Self {
        Self { intakes: Vec::new(), channels, bell, at: 0, in_a_row: 0, batch: None, cut_batches: 0 }
    }

    pub(super) fn add(&mut self, desk: Arc<Desk>, ring: Consumer<Item>, feed: FeedId) {
        self.intakes.push(Intake { ring, desk, feed, is_over: false });
    }

    /// The channels that it hears.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The next item of any ring; `None` when all are empty.
    #[inline]
    fn take(&mut self) -> Result<Option<Taken>, ReceiveError> {
        let count = self.intakes.len();
        let mut over = 0;
        self.in_a_row += 1;
        if self.in_a_row > IN_A_ROW {
            self.turn();
        }
        for _ in 0..count {
            let intake = &mut self.intakes[self.at];
            match intake.ring.pop() {
                Some(Item::Message(head, leased)) => {
                    return Ok(Some(Taken::Message(head, leased.into())));
                }
                Some(Item::News(channel, event)) => return Ok(Some(Taken::News(channel, event))),
                None if intake.is_over => over += 1,
                // Looked at after it was found empty: what was put in before the end comes first, at the next call.
                None if intake.ring.is_closed() && intake.ring.is_empty() => {
                    intake.is_over = true;
                    return Ok(Some(Taken::Gone(intake.desk.epitaph())));
                }
                None => {}
            }
            self.turn();
        }
        if over == count { Err(ReceiveError::Ended) } else { Ok(None) }
    }

    /// On to the next ring.
    fn turn(&mut self) {
        self.in_a_row = 0;
        self.at += 1;
        if self.at == self.intakes.len() {
            self.at = 0;
        }
    }

    /// The next record of the batch that is being taken apart.
    #[inline]
    fn next_record(&mut self) -> Option<Message> {
        let batch = self.batch.as_mut()?;
        let payload = batch.lease.as_slice().unwrap_or_default();
        let mut records = Records::new(&payload[batch.at..]);
        if let Some(record) = records.next() {
            let (start, len) = (batch.at + RECORD_HEADER_LEN, record.len());
            batch.at = start + len;
            let channel = self.channels[usize::from(batch.head.channel)];
            return Some(Message::new(batch.lease.part(start, len), batch.head, channel));
        }
        self.cut_batches += u64::from(records.is_cut());
        self.batch = None;
        None
    }

    /// What is there, without waiting: `None` if nothing is.
    pub fn try_recv(&mut self) -> Result<Option<Received>, ReceiveError> {
        loop {
            if let Some(message) = self.next_record() {
                return Ok(Some(Received::Message(message)));
            }
            match self.take()? {
                None => return Ok(None),
                Some(Taken::Gone(gone)) => return Err(gone.into()),
                Some(Taken::News(channel, event)) => {
                    return Ok(Some(Received::Event(self.channels[usize::from(channel)], event)));
                }
                Some(Taken::Message(head, lease)) if head.records => {
                    self.batch = Some(Batch { lease, head, at: 0 });
                }
                Some(Taken::Message(head, lease)) => {
                    let channel = self.channels[usize::from(head.channel)];
                    return Ok(Some(Received::Message(Message::new(lease, head, channel))));
                }
            }
        }
    }

    /// Waits for the next message or news.
    pub fn recv(&mut self) -> Result<Received, ReceiveError> {
        match self.recv_by(None)? {
            Some(received) => Ok(received),
            // Without a deadline nothing but an end ends the wait.
            None => Err(ReceiveError::Ended),
        }
    }

    /// Waits for the next message or news, for `at_most` so long: `None` if nothing came.
    pub fn recv_timeout(&mut self, at_most: Duration) -> Result<Option<Received>, ReceiveError> {
        self.recv_by(after(at_most))
    }

    fn recv_by(&mut self, until: Option<Instant>) -> Result<Option<Received>, ReceiveError> {
        // First without a second hand on the bell: that would be one more line for worker and reader to quarrel about.
        if let Some(received) = self.try_recv()? {
            return Ok(Some(received));
        }
        let bell = self.bell.clone();
        bell.wait(|| self.try_recv().transpose(), until).transpose()
    }

    /// Waits for the next message or news, in any executor.
    pub async fn recv_async(&mut self) -> Result<Received, ReceiveError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ReceiveError>> {
        if let Some(received) = self.try_recv().transpose() {
            return Poll::Ready(received);
        }
        let bell = self.bell.clone();
        bell.poll(cx, || self.try_recv().transpose())
    }

    /// Shows what is there to a handler, at most `limit` messages and news, without waiting. A batch is shown as a whole, so that there
    /// may be a few more. Returns how many there were.
    ///
    /// The quickest form: nothing is counted or copied per message, and frames go back as soon as the handler returns.
    pub fn poll(&mut self, limit: usize, handler: &mut impl Handler) -> Result<usize, ReceiveError> {
        let mut shown = 0;
        while let Some(message) = self.next_record() {
            handler.message(message.view());
            shown += 1;
        }
        while shown < limit {
            match self.take() {
                Ok(None) => break,
                Ok(Some(Taken::News(_, event))) => {
                    handler.event(event);
                    shown += 1;
                }
                Ok(Some(Taken::Message(head, lease))) => shown += self.show(head, &lease, handler),
                Ok(Some(Taken::Gone(gone))) => return Err(gone.into()),
                // What was shown before counts; the end is told by the next call.
                Err(_) if shown > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    #[inline]
    fn show(&mut self, head: Head, lease: &Lease, handler: &mut impl Handler) -> usize {
        let Head { tsi, source, sqn, received, .. } = head;
        if !head.records {
            handler.message(MessageView::leased(tsi, source, sqn, received, lease));
            return 1;
        }
        let mut shown = 0;
        let mut records = Records::new(lease.as_slice().unwrap_or_default());
        for record in records.by_ref() {
            handler.message(MessageView::one(tsi, source, sqn, received, record));
            shown += 1;
        }
        self.cut_batches += u64::from(records.is_cut());
        shown
    }

    /// Waits until there is something to [`Subscriber::poll`] for, for `at_most` so long. Says whether there is.
    pub fn wait(&mut self, at_most: Duration) -> bool {
        let bell = self.bell.clone();
        bell.wait(|| self.has_news().then_some(()), after(at_most)).is_some()
    }

    /// Whether a call would show or tell something.
    fn has_news(&mut self) -> bool {
        let is_there = |intake: &mut Intake| !intake.is_over && (!intake.ring.is_empty() || intake.ring.is_closed());
        self.batch.is_some()
            || self.intakes.iter_mut().any(is_there)
            || self.intakes.iter().all(|intake| intake.is_over)
    }

    /// What it counted. Asks the workers: not for the hot path.
    pub fn stats(&self) -> Result<SubscriberStats, WorkerGone> {
        let mut all = SubscriberStats { cut_batches: self.cut_batches, ..SubscriberStats::default() };
        for Intake { desk, feed, .. } in &self.intakes {
            let asked = desk.ask(|reply| Command::FeedStats { feed: *feed, reply })?;
            let (stats, receivers) = asked.wait().map_err(|_| desk.epitaph())?;
            all.handed += stats.handed;
            all.copied += stats.copied;
            all.lost_packets += stats.lost_packets;
            all.lost_news += stats.lost_news;
            all.receivers.extend(receivers);
        }
        Ok(all)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for intake in &self.intakes {
            // A worker that is gone has forgotten it already.
            let _ = intake.desk.post(Command::Unlisten { feed: intake.feed });
        }
    }
}

/// Ends when no worker feeds the subscriber any more; each worker that is gone is an error first.
impl Stream for Subscriber {
    type Item = Result<Received, ReceiveError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(cx).map(|received| match received {
            Err(ReceiveError::Ended) => None,
            other => Some(other),
        })
    }
}
