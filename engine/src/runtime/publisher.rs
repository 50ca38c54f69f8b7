//! The application's hand on a session: claim, write in place, commit.
//!
//! ```text
//!   claim ─ two loads ─▶ the slot itself ─ commit: a release store, a fence and a load where the worker may sleep ─▶ worker
//!      └─ full: back-pressure, in four forms: an error now, a wait, a wait with an end, a future
//! ```
//!
//! Guards: nothing is lost for want of room; a worker that is gone is an error at the next call, and ends every wait; what was committed
//! after the end of its session is told by whatever is asked next.

use core::future::poll_fn;
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use std::io::{IoSlice, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use super::after;
use super::desk::{Begun, Command, Desk};
use super::error::{PublishError, WorkerGone};
use super::headway::{Headway, Standing};
use crate::endpoint::SourceId;
use crate::frame::{self, ClaimError, copy_octets};
use crate::protocol::source::{Publisher as Session, SourceStats};
use crate::wire::{Sqn, Tsi};

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What was committed leaves, receivers are told that it was all, and repairs are served for as long as the configuration lingers.
    Graceful,
    /// At once; receivers are told, with a code of six bits (0: no reason).
    Abort(u8),
}

/// Publishes into one session, from one thread at a time.
///
/// Dropping it ends the session gracefully, in the background; [`Publisher::close`] tells when it is over.
///
/// ```
/// # use pgmx::{Encapsulation, Engine, PublisherConfig};
/// # use std::time::Duration;
/// # let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_521)).frames(4096).build()?;
/// let config = PublisherConfig::new([239, 192, 0, 1].into(), 7500).window(256);
/// let mut publisher = engine.publisher(&config)?;
///
/// publisher.publish(b"copied once")?;
///
/// let mut claim = publisher.claim(5)?;
/// claim.copy_from_slice(b"place");
/// claim.commit();
///
/// publisher.flush(Duration::from_secs(10))?;
/// assert_eq!(publisher.stats()?.odata, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Publisher {
    session: Session,
    desk: Arc<Desk>,
    id: SourceId,
    headway: Arc<Headway>,
    first: Sqn,
    is_closed: bool,
}

impl Publisher {
    pub(super) fn new(desk: Arc<Desk>, session: Session, begun: Begun) -> Self {
        let Begun { id, headway, first, .. } = begun;
        Self { session, desk, id, headway, first, is_closed: false }
    }

    /// The session.
    pub fn tsi(&self) -> Tsi {
        self.session.tsi()
    }

    /// The sequence number that the next message will take, unless it joins a batch.
    pub fn next_sqn(&self) -> Sqn {
        self.session.next_sqn()
    }

    /// The longest message that fits the next packet, and so [`Publisher::claim`].
    pub fn claim_max(&self) -> usize {
        self.session.claim_max()
    }

    /// The longest message that can be published: that of the configuration, or what fits the window.
    pub fn message_max(&self) -> usize {
        self.session.message_max()
    }

    /// Packets that could be claimed now.
    pub fn free(&mut self) -> u64 {
        self.session.free()
    }

    #[inline]
    fn alive(&self) -> Result<(), PublishError> {
        match self.desk.gone() {
            None => Ok(()),
            Some(gone) => Err(PublishError::WorkerGone(gone.clone())),
        }
    }

    /// Claims room for a message that fits one packet, to be written in place; an error if there is none now.
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_>, PublishError> {
        self.alive()?;
        let Self { session, desk, first, .. } = self;
        match session.claim(len) {
            Ok(inner) => Ok(Claim { inner, desk, first: *first }),
            Err(error) => Err(refused(desk, error)),
        }
    }

    /// As [`Publisher::try_claim`], but waits for room.
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_>, PublishError> {
        self.wait(None, |session| session.claim(len).map(drop))?;
        self.try_claim(len)
    }

    /// As [`Publisher::try_claim`], but waits for room until `until`.
    pub fn claim_until(&mut self, len: usize, until: Instant) -> Result<Claim<'_>, PublishError> {
        self.wait(Some(until), |session| session.claim(len).map(drop))?;
        self.try_claim(len)
    }

    /// As [`Publisher::try_claim`], but waits for room, in any executor.
    pub async fn claim_async(&mut self, len: usize) -> Result<Claim<'_>, PublishError> {
        self.wait_async(|session| session.claim(len).map(drop)).await?;
        self.try_claim(len)
    }

    /// Claims room for a message of any size up to the session's largest; an error if there is not so much now.
    pub fn try_claim_apdu(&mut self, len: usize) -> Result<ClaimApdu<'_>, PublishError> {
        self.alive()?;
        let Self { session, desk, first, .. } = self;
        match session.claim_apdu(len) {
            Ok(inner) => Ok(ClaimApdu { inner, desk, first: *first }),
            Err(error) => Err(refused(desk, error)),
        }
    }

    /// As [`Publisher::try_claim_apdu`], but waits for room.
    pub fn claim_apdu(&mut self, len: usize) -> Result<ClaimApdu<'_>, PublishError> {
        self.wait(None, |session| session.claim_apdu(len).map(drop))?;
        self.try_claim_apdu(len)
    }

    /// As [`Publisher::try_claim_apdu`], but waits for room until `until`.
    pub fn claim_apdu_until(&mut self, len: usize, until: Instant) -> Result<ClaimApdu<'_>, PublishError> {
        self.wait(Some(until), |session| session.claim_apdu(len).map(drop))?;
        self.try_claim_apdu(len)
    }

    /// As [`Publisher::try_claim_apdu`], but waits for room, in any executor.
    pub async fn claim_apdu_async(&mut self, len: usize) -> Result<ClaimApdu<'_>, PublishError> {
        self.wait_async(|session| session.claim_apdu(len).map(drop)).await?;
        self.try_claim_apdu(len)
    }

    /// Publishes a message of any size by copying it, if there is room now. Returns the sequence number of its (first) packet.
    #[inline]
    pub fn try_publish(&mut self, message: &[u8]) -> Result<Sqn, PublishError> {
        self.alive()?;
        match self.session.publish(message) {
            Ok(sqn) => {
                self.desk.ring();
                Ok(sqn)
            }
            Err(error) => Err(refused(&self.desk, error)),
        }
    }

    /// As [`Publisher::try_publish`], but waits for room.
    #[inline]
    pub fn publish(&mut self, message: &[u8]) -> Result<Sqn, PublishError> {
        match self.try_publish(message) {
            Err(PublishError::Full) => self.publish_by(message, None),
            other => other,
        }
    }

    /// As [`Publisher::try_publish`], but waits for room until `until`.
    pub fn publish_until(&mut self, message: &[u8], until: Instant) -> Result<Sqn, PublishError> {
        match self.try_publish(message) {
            Err(PublishError::Full) => self.publish_by(message, Some(until)),
            other => other,
        }
    }

    #[cold]
    fn publish_by(&mut self, message: &[u8], until: Option<Instant>) -> Result<Sqn, PublishError> {
        let sqn = self.wait(until, |session| session.publish(message))?;
        self.desk.ring();
        Ok(sqn)
    }

    /// As [`Publisher::try_publish`], but waits for room, in any executor.
    pub async fn publish_async(&mut self, message: &[u8]) -> Result<Sqn, PublishError> {
        let sqn = self.wait_async(|session| session.publish(message)).await?;
        self.desk.ring();
        Ok(sqn)
    }

    /// Publishes one message from several pieces, if there is room now.
    pub fn try_publish_vectored(&mut self, pieces: &[IoSlice<'_>]) -> Result<Sqn, PublishError> {
        self.alive()?;
        match gather(&mut self.session, pieces) {
            Ok(position) => {
                self.desk.ring();
                Ok(self.session.sqn_of(position))
            }
            Err(error) => Err(refused(&self.desk, error)),
        }
    }

    /// As [`Publisher::try_publish_vectored`], but waits for room.
    pub fn publish_vectored(&mut self, pieces: &[IoSlice<'_>]) -> Result<Sqn, PublishError> {
        self.publish_vectored_by(pieces, None)
    }

    /// As [`Publisher::try_publish_vectored`], but waits for room until `until`.
    pub fn publish_vectored_until(&mut self, pieces: &[IoSlice<'_>], until: Instant) -> Result<Sqn, PublishError> {
        self.publish_vectored_by(pieces, Some(until))
    }

    fn publish_vectored_by(&mut self, pieces: &[IoSlice<'_>], until: Option<Instant>) -> Result<Sqn, PublishError> {
        let position = self.wait(until, |session| gather(session, pieces))?;
        self.desk.ring();
        Ok(self.session.sqn_of(position))
    }

    /// As [`Publisher::try_publish_vectored`], but waits for room, in any executor.
    pub async fn publish_vectored_async(&mut self, pieces: &[IoSlice<'_>]) -> Result<Sqn, PublishError> {
        let position = self.wait_async(|session| gather(session, pieces)).await?;
        self.desk.ring();
        Ok(self.session.sqn_of(position))
    }

    /// Begins a burst of messages that are handed to the worker together: in a session that batches they cost a fraction of what
    /// they cost one by one. Messages that fill a packet are handed over when the next one begins, all when the burst ends.
    ///
    /// ```
    /// # use pgmx::{Encapsulation, Engine, PublisherConfig};
    /// # let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_529)).frames(4096).build()?;
    /// # let config = PublisherConfig::new([239, 192, 0, 1].into(), 7500).window(256);
    /// let mut publisher = engine.publisher(&config.batch(true))?;
    /// let mut burst = publisher.cork();
    /// for quote in [17_u64, 18, 19] {
    ///     burst.try_publish_with(8, |to| to.copy_from_slice(&quote.to_le_bytes()))?;
    /// }
    /// drop(burst);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cork(&mut self) -> Cork<'_> {
        Cork { publisher: self }
    }

    /// Waits until an attempt finds room or fails for another reason.
    fn wait<T>(
        &mut self,
        until: Option<Instant>,
        mut attempt: impl FnMut(&mut Session) -> Result<T, ClaimError>,
    ) -> Result<T, PublishError> {
        let Self { session, desk, headway, .. } = self;
        headway.bell.wait(|| settled(desk, attempt(session)), until).unwrap_or(Err(PublishError::TimedOut))
    }

    async fn wait_async<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Session) -> Result<T, ClaimError>,
    ) -> Result<T, PublishError> {
        let Self { session, desk, headway, .. } = self;
        poll_fn(|cx| headway.bell.poll(cx, || settled(desk, attempt(session)))).await
    }

    /// Waits until the claim that was refused last for want of room can be had, for `at_most` so long. For who has other things to do in
    /// between: the other forms try again by themselves.
    pub fn wait_for_room(&mut self, at_most: Duration) -> Result<(), PublishError> {
        self.wait(after(at_most), |session| match session.has_room() {
            _ if session.is_closed() => Err(ClaimError::Closed),
            true => Ok(()),
            false => Err(ClaimError::Full),
        })
    }

    /// The leading edge of the transmit window: the last packet that has left, or the one before the first. What the worker does at this
    /// moment may not count yet.
    pub fn lead(&self) -> Result<Sqn, WorkerGone> {
        self.desk.gone().map_or_else(|| Ok(self.headway.lead()), |gone| Err(gone.clone()))
    }

    /// Waits until the packet `sqn` has left, for `at_most` so long: for who wants to publish no further ahead than so much. Repairs may
    /// still be asked for. [`PublishError::Closed`] at once if it never will.
    ///
    /// ```
    /// # use pgmx::{Encapsulation, Engine, PublisherConfig};
    /// # use std::time::Duration;
    /// # let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_527)).frames(4096).build()?;
    /// # let mut publisher = engine.publisher(&PublisherConfig::new([239, 192, 0, 1].into(), 7500).window(256))?;
    /// let sqn = publisher.publish(b"it leaves")?;
    /// publisher.wait_for_lead(sqn, Duration::from_secs(10))?;
    /// assert_eq!(publisher.lead()?, sqn);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_lead(&mut self, sqn: Sqn, at_most: Duration) -> Result<(), PublishError> {
        let Self { session, desk, headway, .. } = self;
        // A session that was closed still sends what was committed before.
        let is_published = session.next_sqn().is_after(sqn);
        let ended = || {
            // Before the lead, which a worker moves no more once it is gone.
            let gone = desk.gone();
            match (headway.standing(sqn), gone) {
                (Standing::Left, _) => Some(Ok(())),
                (_, Some(gone)) => Some(Err(gone.clone().into())),
                (Standing::Never, None) => Some(Err(PublishError::Closed)),
                (Standing::Waits, None) => (session.is_closed() && !is_published).then_some(Err(PublishError::Closed)),
            }
        };
        headway.wait(sqn, after(at_most), ended).unwrap_or(Err(PublishError::TimedOut))
    }

    /// Waits until everything that was committed has left this host, for `at_most` so long. Repairs may still be asked for.
    /// [`PublishError::Closed`] at once if some of it never will.
    pub fn flush(&mut self, at_most: Duration) -> Result<(), PublishError> {
        let (id, until) = (self.id, Some(self.session.next_sqn()));
        let asked = self.desk.ask(|reply| Command::Flush { id, until, reply })?;
        asked.wait_until(after(at_most))?.ok_or(PublishError::TimedOut)
    }

    /// What the session counted. Asks the worker: not for the hot path.
    pub fn stats(&self) -> Result<SourceStats, PublishError> {
        let id = self.id;
        Ok(self.desk.ask(|reply| Command::SourceStats { id, reply })?.wait()?)
    }

    /// Says that nothing before `sqn` has to be kept for repair. Counts where the window advances by application control.
    pub fn advance_trail(&mut self, sqn: Sqn) {
        self.session.advance_trail(sqn);
        self.desk.knock();
    }

    /// Ends the session. What comes back tells when it is over; whoever does not care drops it.
    pub fn close(mut self, how: Close) -> Closing {
        self.is_closed = true;
        closing(&self.desk, self.id, how)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if !self.is_closed {
            // A worker that is gone has ended it already.
            let _ = self.desk.post(Command::Close { id: self.id, how: Close::Graceful, reply: None });
        }
    }
}

/// An attempt that has come to something: full is not, unless nobody is left who could make room.
fn settled<T>(desk: &Desk, attempt: Result<T, ClaimError>) -> Option<Result<T, PublishError>> {
    if let Some(gone) = desk.gone() {
        return Some(Err(gone.clone().into()));
    }
    match attempt {
        Err(ClaimError::Full) => {
            desk.knock();
            None
        }
        other => Some(other.map_err(PublishError::from)),
    }
}

#[cold]
fn refused(desk: &Desk, error: ClaimError) -> PublishError {
    if error == ClaimError::Full {
        // The claim left word of what it wanted; a worker that sleeps has to read it.
        desk.knock();
    }
    error.into()
}

fn gather(session: &mut Session, pieces: &[IoSlice<'_>]) -> Result<u64, ClaimError> {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    match session.claim(len) {
        Ok(mut claim) => {
            let mut rest = &mut claim[..];
            for piece in pieces {
                let (now, later) = rest.split_at_mut(piece.len());
                now.copy_from_slice(piece);
                rest = later;
            }
            return Ok(claim.commit());
        }
        Err(ClaimError::TooLong { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut claim = session.claim_apdu(len)?;
    for piece in pieces {
        // There is as much room as was counted.
        let written = claim.write_all(piece);
        debug_assert!(written.is_ok(), "a claim that is shorter than asked for");
    }
    Ok(claim.commit())
}

/// Room for a message, being written. Derefs to it; dropped without [`Claim::commit`] it leaves no trace.
///
/// An engine that closes ends its sessions whatever is being written. What is committed after that never leaves, and a commit costs too
/// little to find out: the next claim, [`Publisher::flush`] and [`Publisher::close`] say [`PublishError::Closed`].
#[must_use = "a claim that is not committed is abandoned"]
pub struct Claim<'p> {
    inner: frame::Claim<'p>,
    desk: &'p Desk,
    first: Sqn,
}

impl Claim<'_> {
    /// Publishes the message. Returns the sequence number of its packet.
    #[inline]
    pub fn commit(self) -> Sqn {
        let position = self.inner.commit();
        self.desk.ring();
        self.first.plus(position as u32)
    }

    /// Publishes its first `len` octets.
    #[inline]
    pub fn commit_len(self, len: usize) -> Sqn {
        let position = self.inner.commit_len(len);
        self.desk.ring();
        self.first.plus(position as u32)
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.inner
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.inner
    }
}

/// Room for a message of several packets, being written: through [`Write`], or chunk by chunk.
#[must_use = "a claim that is not committed is abandoned"]
pub struct ClaimApdu<'p> {
    inner: frame::ClaimApdu<'p>,
    desk: &'p Desk,
    first: Sqn,
}

impl ClaimApdu<'_> {
    /// Number of its chunks: packets that it will take.
    pub fn chunks(&self) -> u64 {
        self.inner.chunks()
    }

    /// The octets of chunk `n`.
    ///
    /// # Panics
    /// If there are not that many chunks.
    pub fn chunk(&mut self, n: u64) -> &mut [u8] {
        self.inner.chunk(n)
    }

    /// Publishes the message. Returns the sequence number of its first packet.
    pub fn commit(self) -> Sqn {
        let position = self.inner.commit();
        self.desk.ring();
        self.first.plus(position as u32)
    }
}

impl Write for ClaimApdu<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A burst of messages, see [`Publisher::cork`].
#[must_use = "a burst ends when this is dropped"]
pub struct Cork<'p> {
    publisher: &'p mut Publisher,
}

impl Cork<'_> {
    /// Publishes a message of `len` octets that fits one packet, which `write` writes in place; an error if there is no room now.
    #[inline]
    pub fn try_publish_with(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> Result<(), PublishError> {
        self.publisher.alive()?;
        let Publisher { session, desk, .. } = &mut *self.publisher;
        session.publish_corked(len, write).map_err(|error| refused(desk, error))
    }

    /// Publishes a message of any size by copying it, if there is room now.
    #[inline]
    pub fn try_publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
        match self.try_publish_with(message.len(), |to| copy_octets(to, message)) {
            Err(PublishError::TooLong { .. }) => self.publisher().try_publish(message).map(drop),
            other => other,
        }
    }

    /// The publisher itself; what the burst held back is handed over first.
    pub fn publisher(&mut self) -> &mut Publisher {
        self.publisher.session.hand_over();
        self.publisher.desk.ring();
        self.publisher
    }
}

impl Deref for Cork<'_> {
    type Target = Publisher;
    fn deref(&self) -> &Publisher {
        self.publisher
    }
}

impl Drop for Cork<'_> {
    fn drop(&mut self) {
        self.publisher();
    }
}

/// Asks for the end of a session.
pub(super) fn closing(desk: &Arc<Desk>, id: SourceId, how: Close) -> Closing {
    let (reply, answer) = channel();
    let posted = desk.post(Command::Close { id, how, reply: Some(reply) });
    Closing { answer: posted.map(|()| answer), desk: desk.clone(), id }
}

/// A session that is ending. Dropping this lets it end in the background.
#[must_use = "wait for the end of the session, or drop this to let it end in the background"]
pub struct Closing {
    answer: Result<Receiver<SourceStats>, WorkerGone>,
    desk: Arc<Desk>,
    id: SourceId,
}

impl Closing {
    /// Waits until the session is over, lingering included, for `at_most` so long. Returns what it counted: once, then it is closed. It is
    /// closed from the beginning if the end was to be graceful, but came before a message that was committed late.
    pub fn wait(&self, at_most: Duration) -> Result<SourceStats, PublishError> {
        self.answer.as_ref().map_err(Clone::clone)?.recv_timeout(at_most).map_err(|error| match error {
            RecvTimeoutError::Timeout => PublishError::TimedOut,
            RecvTimeoutError::Disconnected => self.desk.gone().cloned().map_or(PublishError::Closed, Into::into),
        })
    }

    /// What the session has counted so far, while it is not over.
    pub fn stats(&self) -> Result<SourceStats, PublishError> {
        let id = self.id;
        Ok(self.desk.ask(|reply| Command::SourceStats { id, reply })?.wait()?)
    }
}
