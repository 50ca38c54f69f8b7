//! Who drives the endpoint: the command's own loop, or a worker beside it.
//!
//! ```text
//!   Inline    publish ─▶ Endpoint::poll ─▶ rest          one thread, nothing in between
//!   Workers   publish ─▶ ring ─▶ a pinned thread         (workers.rs)
//! ```
//!
//! A command is written once, for any [`Drive`], and compiled for each. Guards: what the inline form does per message is a call that
//! the compiler sees through.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use pgmx::endpoint::{Endpoint, EndpointConfig, Handler, Inbox, ReceiverId, SourceId};
use pgmx::frame::{ClaimError, Pool};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{ReceiverConfig, ReceiverStats};
use pgmx::protocol::source::{Cork, Publisher, Source, SourceConfig, SourceState, SourceStats, TsiAllocator};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Sqn};

use super::failure::Failure;
use super::idle::{Idle, Idler};
use super::{Way, seed};

/// What a drive begins with.
pub(crate) struct Start {
    pub(crate) link: Way,
    pub(crate) pool: Pool,
    pub(crate) interface: String,
    pub(crate) profile: Profile,
    /// `--idle`.
    pub(crate) idle: Option<Idle>,
    /// The worker's core, where there is a worker.
    pub(crate) core: Option<usize>,
    /// Frames that may wait between a worker and us.
    pub(crate) leases: u32,
}

/// Why a session was aborted, as far as receivers are told (RFC 3208 §9.8).
pub(super) const NO_REASON: u8 = 0;

/// Where messages go.
pub(crate) trait Publish {
    /// Publishes a copy of this message, if there is room now.
    fn publish(&mut self, message: &[u8]) -> Result<(), ClaimError>;

    /// Publishes a message of `len` octets that is written where it lies: `write` gets each piece, and where in the message it begins.
    fn publish_in_place(&mut self, len: usize, write: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError>;

    /// Publishes what `write` puts into the `len` octets of a packet that it is given: as many as it says, or nothing.
    fn publish_packet(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Result<(), ClaimError>;

    /// The sequence number of the next packet.
    fn next_sqn(&self) -> Sqn;

    /// The longest message that fits the next packet.
    fn claim_max(&self) -> usize;
}

/// A session of one's own.
pub(crate) trait Session: Publish {
    /// Publishes what is handed over together.
    type Burst<'p>: Publish
    where
        Self: 'p;

    /// Begins a burst, which ends when it is dropped.
    fn burst(&mut self) -> Self::Burst<'_>;

    /// Packets that could be claimed now.
    fn free(&mut self) -> u64;
}

/// What a loop waits for when nothing moves.
pub(crate) enum Wait<'a, P> {
    /// Whatever the network or the time brings.
    News,
    /// Something to read here.
    Input(BorrowedFd<'a>),
    /// Room for what was refused.
    Room(&'a mut P),
    /// This packet to leave.
    Lead(&'a mut P, Sqn),
}

/// Drives at most one session and one receiver.
pub(crate) trait Drive: Sized {
    /// Publishes into the session.
    type Publisher: Session;

    /// Packets that may wait to be sent. Fewer would leave the link without work until more are published; more would be published long
    /// before they leave, where a rate holds them back: their times would say nothing, and Ctrl-C would not end them soon.
    const BACKLOG: u32;

    /// Begins.
    fn start(start: Start) -> Result<Self, Failure>;

    /// Begins the session.
    fn publish(&mut self, config: &SourceConfig, now: Time) -> Result<Self::Publisher, Failure>;

    /// Listens.
    fn listen(&mut self, config: &ReceiverConfig) -> Result<(), Failure>;

    /// Shows what came; returns how much moved.
    fn poll<H: Handler>(&mut self, now: Time, inbox: &mut Inbox<H>) -> Result<usize, Failure>;

    /// Rests as `idler` has it, until what is waited for may be there or `at_most` has passed. Says whether it may have slept.
    fn rest(
        &mut self,
        idler: &mut Idler,
        now: Time,
        at_most: Duration,
        wait: Wait<'_, Self::Publisher>,
    ) -> Result<bool, Failure>;

    /// Data packets of the session that have left, modulo 2^32, as sequence numbers are.
    fn left(&self, publisher: Option<&Self::Publisher>) -> Result<u32, Failure>;

    /// Ends the session: nothing more is published.
    fn end(&mut self, publisher: Self::Publisher, now: Time);

    /// Ends the session at once: receivers are told that more was to come.
    fn abort(&mut self, publisher: Self::Publisher, now: Time);

    /// How far its life has come.
    fn state(&self) -> SourceState;

    /// What the session counted, if there is one.
    fn source_stats(&self, publisher: Option<&Self::Publisher>) -> Option<SourceStats>;

    /// What the receiver counted, if there is one.
    fn receiver_stats(&self) -> Option<ReceiverStats>;

    /// Batches that ended in the middle of a message, beside those that the inbox has counted.
    fn cut_batches(&self) -> u64;

    /// Leaves the network.
    fn close<H: Handler>(&mut self, inbox: &mut Inbox<H>);
}

impl Publish for Publisher {
    #[inline]
    fn publish(&mut self, message: &[u8]) -> Result<(), ClaimError> {
        Self::publish(self, message).map(drop)
    }

    #[inline]
    fn publish_in_place(&mut self, len: usize, mut write: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError> {
        match self.claim(len) {
            Ok(mut claim) => {
                write(0, &mut claim);
                claim.commit();
                Ok(())
            }
            Err(ClaimError::TooLong { .. }) => publish_chunks(self, len, write),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn publish_packet(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Result<(), ClaimError> {
        let mut claim = self.claim(len)?;
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
        Self::publish(self, message)
    }

    #[inline]
    fn publish_in_place(&mut self, len: usize, mut write: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError> {
        match self.publish_with(len, |to| write(0, to)) {
            Err(ClaimError::TooLong { .. }) => publish_chunks(self.publisher(), len, write),
            other => other,
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

/// Out of the way of messages that fit one packet, so that what writes those is compiled into their loop.
#[cold]
fn publish_chunks(to: &mut Publisher, len: usize, mut write: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError> {
    let mut claim = to.claim_apdu(len)?;
    let mut at = 0;
    for n in 0..claim.chunks() {
        let chunk = claim.chunk(n);
        write(at, chunk);
        at += chunk.len();
    }
    claim.commit();
    Ok(())
}

/// The command's own loop drives it.
pub(crate) struct Inline {
    endpoint: Endpoint<Way>,
    interface: String,
    source: Option<SourceId>,
    receiver: Option<ReceiverId>,
    tsis: TsiAllocator,
}

impl Inline {
    #[inline]
    fn source(&self) -> Option<&Source> {
        self.source.and_then(|id| self.endpoint.source(id))
    }
}

impl Drive for Inline {
    type Publisher = Publisher;

    // Four batches of the link.
    const BACKLOG: u32 = 256;

    fn start(start: Start) -> Result<Self, Failure> {
        let Start { link, pool, interface, .. } = start;
        let endpoint = Endpoint::new(link, pool, &EndpointConfig::default());
        let endpoint = endpoint.map_err(|error| Failure::refused(&error, &interface))?;
        // Two programs on one host, and one that is started again, are different sources.
        let gsi = Gsi::new(seed().to_le_bytes()[..6].try_into().unwrap_or_default());
        Ok(Self { endpoint, interface, source: None, receiver: None, tsis: TsiAllocator::new(gsi, seed()) })
    }

    fn publish(&mut self, config: &SourceConfig, now: Time) -> Result<Publisher, Failure> {
        let tsi = self.tsis.open().ok_or_else(|| Failure::error("no port is free for another session"))?;
        let added = self.endpoint.add_source(config, tsi, now, seed());
        let (id, publisher) = added.map_err(|error| Failure::not_added(error, &self.interface))?;
        self.source = Some(id);
        Ok(publisher)
    }

    fn listen(&mut self, config: &ReceiverConfig) -> Result<(), Failure> {
        let added = self.endpoint.add_receiver(config, seed());
        self.receiver = Some(added.map_err(|error| Failure::not_added(error, &self.interface))?);
        Ok(())
    }

    #[inline]
    fn poll<H: Handler>(&mut self, now: Time, inbox: &mut Inbox<H>) -> Result<usize, Failure> {
        Ok(self.endpoint.poll(now, inbox.at(now))?)
    }

    #[inline]
    fn rest(
        &mut self,
        idler: &mut Idler,
        now: Time,
        at_most: Duration,
        wait: Wait<'_, Publisher>,
    ) -> Result<bool, Failure> {
        // Room comes with packets that leave, and these with polls.
        let wake = if let Wait::Input(input) = wait { Some(input) } else { None };
        let endpoint = &self.endpoint;
        idler.rest(now, at_most, || endpoint.deadline(), || Ok(endpoint.wait(now, at_most, wake)?))
    }

    #[inline]
    fn left(&self, _: Option<&Publisher>) -> Result<u32, Failure> {
        Ok(self.source().map_or(0, |source| source.stats().odata as u32))
    }

    fn end(&mut self, publisher: Publisher, now: Time) {
        drop(publisher);
        if let Some(source) = self.source.and_then(|id| self.endpoint.source_mut(id)) {
            source.close(now);
        }
    }

    fn abort(&mut self, publisher: Publisher, now: Time) {
        drop(publisher);
        if let Some(source) = self.source.and_then(|id| self.endpoint.source_mut(id)) {
            source.abort(now, NO_REASON);
        }
    }

    #[inline]
    fn state(&self) -> SourceState {
        self.source().map_or(SourceState::Done, Source::state)
    }

    fn source_stats(&self, _: Option<&Publisher>) -> Option<SourceStats> {
        self.source().map(|source| *source.stats())
    }

    fn receiver_stats(&self) -> Option<ReceiverStats> {
        let receiver = self.receiver.and_then(|id| self.endpoint.receiver(id));
        receiver.map(|receiver| *receiver.stats())
    }

    fn cut_batches(&self) -> u64 {
        0
    }

    fn close<H: Handler>(&mut self, inbox: &mut Inbox<H>) {
        self.endpoint.shut_down(inbox);
    }
}
