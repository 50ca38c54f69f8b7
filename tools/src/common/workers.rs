//! `--workers`: a pinned thread drives the endpoint, and the command publishes and listens beside it.
//!
//! Made by [`Common::open`](super::Common::open). Guards: a worker that is gone ends the command with its reason; a session is closed when
//! all that was published has left, so that the command knows when that was.

use std::time::Duration;

use pgmx::endpoint::{Handler, Inbox};
use pgmx::frame::ClaimError;
use pgmx::protocol::receiver::{ReceiverConfig, ReceiverStats};
use pgmx::protocol::source::{SourceConfig, SourceState, SourceStats};
use pgmx::time::Time;
use pgmx::wire::Sqn;
use pgmx::{Close, Closing, Cork, Engine, PublishError, Publisher, PublisherConfig, Subscriber, SubscriberConfig};

use super::drive::{Drive, NO_REASON, Publish, Session, Start, Wait};
use super::failure::Failure;
use super::idle::Idler;
use super::kernel;

/// Messages and news that are shown in one go: a batch of the link. With more the time of the turn would be too old for the last of them.
const SHOWN: usize = 64;
/// How often a program that listens looks whether its own session is over: seldom enough to cost nothing, soon enough to end.
const GLANCE: Duration = Duration::from_millis(5);

/// How far the session's end has come.
enum Ending {
    /// It has not begun.
    Open,
    /// The last packet has not left.
    Draining(Publisher, Sqn),
    /// Repairs are served.
    Lingering(Closing),
    /// It is over.
    Done,
}

/// A worker drives it.
pub(crate) struct Workers {
    /// Until it is closed.
    engine: Option<Engine>,
    interface: String,
    /// Frames that may wait between the worker and us.
    leases: u32,
    subscriber: Option<Subscriber>,
    ending: Ending,
    /// The session's first packet.
    origin: Sqn,
    /// Packets of a session that was closed, and what it counted in the end.
    left: u32,
    counted: Option<SourceStats>,
}

impl Workers {
    fn engine(&self) -> Result<&Engine, Failure> {
        self.engine.as_ref().ok_or_else(|| Failure::error("the worker was stopped before"))
    }

    /// Goes on with the end of the session, waiting for at most so long; says whether it came a step further.
    #[cold]
    fn go_on(&mut self, at_most: Duration) -> Result<bool, Failure> {
        let ending = core::mem::replace(&mut self.ending, Ending::Done);
        let (ending, moved) = match ending {
            Ending::Draining(mut publisher, last) => match publisher.wait_for_lead(last, at_most) {
                Err(PublishError::TimedOut) => (Ending::Draining(publisher, last), false),
                Ok(()) | Err(PublishError::Closed) => (self.finish(publisher), true),
                Err(error) => return Err(error.into()),
            },
            Ending::Lingering(closing) => match closing.wait(at_most) {
                Err(PublishError::TimedOut) => (Ending::Lingering(closing), false),
                Ok(stats) => {
                    self.counted = Some(stats);
                    (Ending::Done, true)
                }
                Err(error) => return Err(error.into()),
            },
            other => (other, false),
        };
        self.ending = ending;
        Ok(moved)
    }

    fn finish(&mut self, publisher: Publisher) -> Ending {
        self.left = publisher.next_sqn().distance_from(self.origin);
        Ending::Lingering(publisher.close(Close::Graceful))
    }

    fn block(&mut self, at_most: Duration, wait: Wait<'_, Publisher>) -> Result<(), Failure> {
        let waited = match (wait, &mut self.subscriber) {
            (Wait::Input(input), _) => {
                kernel::wait_readable(input, at_most);
                Ok(())
            }
            (Wait::Room(publisher), _) => publisher.wait_for_room(at_most),
            (Wait::Lead(publisher, sqn), _) => publisher.wait_for_lead(sqn, at_most),
            (Wait::News, Some(subscriber)) => {
                let is_ending = matches!(self.ending, Ending::Draining(..) | Ending::Lingering(_));
                subscriber.wait(if is_ending { at_most.min(GLANCE) } else { at_most });
                Ok(())
            }
            (Wait::News, None) => match self.ending {
                Ending::Draining(..) | Ending::Lingering(_) => return self.go_on(at_most).map(drop),
                Ending::Open | Ending::Done => {
                    std::thread::sleep(at_most);
                    Ok(())
                }
            },
        };
        match waited {
            // A session that is closed is found to be so by the next turn.
            Ok(()) | Err(PublishError::TimedOut | PublishError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drive for Workers {
    type Publisher = Publisher;

    // What the link sends while a thread that sleeps is told to go on, and does.
    const BACKLOG: u32 = 1024;

    fn start(start: Start) -> Result<Self, Failure> {
        let Start { link, pool, interface, profile, idle, core, leases } = start;
        let mut engine = Engine::builder().over(&interface, link, pool).profile(profile).cores(core);
        if let Some(idle) = idle {
            engine = engine.idle(idle.into());
        }
        let engine = engine.build().map_err(|error| Failure::of_engine(error, &interface))?;
        Ok(Self {
            engine: Some(engine),
            interface,
            leases,
            subscriber: None,
            ending: Ending::Open,
            origin: Sqn::new(0),
            left: 0,
            counted: None,
        })
    }

    fn publish(&mut self, config: &SourceConfig, _: Time) -> Result<Publisher, Failure> {
        let publisher = self.engine()?.publisher(&PublisherConfig::from(config.clone()));
        let publisher = publisher.map_err(|error| Failure::of_engine(error, &self.interface))?;
        self.origin = publisher.next_sqn();
        Ok(publisher)
    }

    fn listen(&mut self, config: &ReceiverConfig) -> Result<(), Failure> {
        let config = SubscriberConfig::from(config.clone()).ring(self.leases as usize).lease_frames(self.leases);
        let subscriber = self.engine()?.subscriber(&config);
        self.subscriber = Some(subscriber.map_err(|error| Failure::of_engine(error, &self.interface))?);
        Ok(())
    }

    #[inline]
    fn poll<H: Handler>(&mut self, _: Time, inbox: &mut Inbox<H>) -> Result<usize, Failure> {
        let mut moved = 0;
        if let Some(subscriber) = &mut self.subscriber {
            moved = subscriber.poll(SHOWN, inbox.handler_mut()).map_err(Failure::error)?;
        }
        if matches!(self.ending, Ending::Draining(..) | Ending::Lingering(_)) {
            moved += usize::from(self.go_on(Duration::ZERO)?);
        }
        Ok(moved)
    }

    #[inline]
    fn rest(
        &mut self,
        idler: &mut Idler,
        now: Time,
        at_most: Duration,
        wait: Wait<'_, Publisher>,
    ) -> Result<bool, Failure> {
        idler.rest(now, at_most, || None, || self.block(at_most, wait))
    }

    fn left(&self, publisher: Option<&Publisher>) -> Result<u32, Failure> {
        let draining = if let Ending::Draining(publisher, _) = &self.ending { Some(publisher) } else { None };
        let Some(publisher) = publisher.or(draining) else { return Ok(self.left) };
        let lead = publisher.lead().map_err(Failure::error)?;
        Ok(lead.next().distance_from(self.origin))
    }

    fn end(&mut self, publisher: Publisher, _: Time) {
        // Who listens as well has other things to wait for.
        self.ending = if self.subscriber.is_some() {
            self.finish(publisher)
        } else {
            let last = publisher.next_sqn().prev();
            Ending::Draining(publisher, last)
        };
    }

    fn abort(&mut self, publisher: Publisher, _: Time) {
        self.ending = Ending::Lingering(publisher.close(Close::Abort(NO_REASON)));
    }

    fn state(&self) -> SourceState {
        match self.ending {
            Ending::Open => SourceState::Open,
            Ending::Draining(..) => SourceState::Draining,
            Ending::Lingering(_) => SourceState::Lingering,
            Ending::Done => SourceState::Done,
        }
    }

    fn source_stats(&self, publisher: Option<&Publisher>) -> Option<SourceStats> {
        match &self.ending {
            Ending::Open => publisher?.stats().ok(),
            Ending::Draining(publisher, _) => publisher.stats().ok(),
            Ending::Lingering(closing) => closing.stats().ok(),
            Ending::Done => self.counted,
        }
    }

    fn receiver_stats(&self) -> Option<ReceiverStats> {
        // One channel on one interface.
        self.subscriber.as_ref()?.stats().ok()?.receivers.first().copied()
    }

    fn cut_batches(&self) -> u64 {
        let stats = self.subscriber.as_ref().and_then(|subscriber| subscriber.stats().ok());
        stats.map_or(0, |stats| stats.cut_batches)
    }

    fn close<H: Handler>(&mut self, _: &mut Inbox<H>) {
        self.subscriber = None;
        if let Some(engine) = self.engine.take() {
            // What ended it before, if anything did, was told by the last turn.
            drop(engine.shutdown());
        }
    }
}

impl Publish for Publisher {
    #[inline]
    fn publish(&mut self, message: &[u8]) -> Result<(), ClaimError> {
        self.try_publish(message).map(drop).map_err(|error| refusal(&error))
    }

    #[inline]
    fn publish_in_place(&mut self, len: usize, mut write: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError> {
        match self.try_claim(len) {
            Ok(mut claim) => {
                write(0, &mut claim);
                claim.commit();
                Ok(())
            }
            Err(PublishError::TooLong { .. }) => {
                let mut claim = self.try_claim_apdu(len).map_err(|error| refusal(&error))?;
                let mut at = 0;
                for n in 0..claim.chunks() {
                    let chunk = claim.chunk(n);
                    write(at, chunk);
                    at += chunk.len();
                }
                claim.commit();
                Ok(())
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    #[inline]
    fn publish_packet(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Result<(), ClaimError> {
        let mut claim = self.try_claim(len).map_err(|error| refusal(&error))?;
        let used = write(&mut claim);
        if used > 0 {
            claim.commit_len(used);
        }
        Ok(())
    }

    #[inline]
    fn next_sqn(&self) -> Sqn {
        Self::next_sqn(self)
    }

    fn claim_max(&self) -> usize {
        Self::claim_max(self)
    }
}

impl Session for Publisher {
    type Burst<'p> = Cork<'p>;

    #[inline]
    fn burst(&mut self) -> Cork<'_> {
        self.cork()
    }

    fn free(&mut self) -> u64 {
        Self::free(self)
    }
}

impl Publish for Cork<'_> {
    #[inline]
    fn publish(&mut self, message: &[u8]) -> Result<(), ClaimError> {
        self.try_publish(message).map_err(|error| refusal(&error))
    }

    #[inline]
    fn publish_in_place(&mut self, len: usize, mut write: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError> {
        match self.try_publish_with(len, |to| write(0, to)) {
            Ok(()) => Ok(()),
            Err(PublishError::TooLong { .. }) => Publish::publish_in_place(self.publisher(), len, write),
            Err(error) => Err(refusal(&error)),
        }
    }

    #[inline]
    fn publish_packet(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Result<(), ClaimError> {
        self.publisher().publish_packet(len, write)
    }

    #[inline]
    fn next_sqn(&self) -> Sqn {
        Publisher::next_sqn(self)
    }

    fn claim_max(&self) -> usize {
        Publisher::claim_max(self)
    }
}

/// As the inline form says it. Why a worker is gone is told by the next turn.
#[cold]
fn refusal(error: &PublishError) -> ClaimError {
    match *error {
        PublishError::Full | PublishError::TimedOut => ClaimError::Full,
        PublishError::TooLong { len, max } => ClaimError::TooLong { len, max },
        _ => ClaimError::Closed,
    }
}
