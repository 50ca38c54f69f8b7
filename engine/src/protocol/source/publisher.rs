//! The application's half of a source: claim, write in place, commit.
//!
//! Called by the publishing thread only. Guards: what is claimed belongs to the publisher until it is committed, and a publisher
//! that cannot go on leaves word how far the trail must move (the advance-with-data rule needs to know).

use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use crate::frame::{Claim, ClaimApdu, ClaimError, Writer, copy_octets};
use crate::wire::{Sqn, Tsi};

/// What the publisher tells the source beside the window itself.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The position that the publisher wanted to claim up to and could not, when it last failed.
    wanted: CachePadded<AtomicU64>,
    /// The trail that the application asks for.
    released: CachePadded<AtomicU64>,
}

impl Notes {
    /// The end of the claim that last failed for lack of room.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// The position in front of which the application needs nothing any more.
    pub(super) fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }
}

/// Publishes into one session. May live on any one thread.
///
/// ```
/// # use core::net::{IpAddr, Ipv4Addr};
/// # use pgmx::frame::{Layout, PathFacts, Pool, TxBatch};
/// # use pgmx::protocol::source::{Source, SourceConfig};
/// # use pgmx::time::Time;
/// # use pgmx::wire::Tsi;
/// # let mut config = SourceConfig::new(IpAddr::from([239, 192, 0, 1]), 7500);
/// # config.window_slots = 64;
/// # let nla = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// # let path = PathFacts { nla, mtu: 1500, front: 42, alert: 4, ip_header: 20 };
/// # let mut pool = Pool::anonymous(Layout::standard(128))?;
/// let (mut source, mut publisher) = Source::new(&config, path, Tsi::default(), &mut pool, Time::ZERO, 7)?;
/// let sqn = publisher.publish(b"forty-two")?;
///
/// let mut claim = publisher.claim(4)?;
/// claim.copy_from_slice(b"more");
/// claim.commit();
/// # assert_eq!(publisher.next_sqn(), sqn.plus(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Publisher {
    writer: Writer,
    notes: Arc<Notes>,
    tsi: Tsi,
    first: Sqn,
    apdu_max: usize,
}

impl Publisher {
    pub(super) fn new(writer: Writer, notes: Arc<Notes>, tsi: Tsi, first: Sqn, apdu_max: usize) -> Self {
        Self { writer, notes, tsi, first, apdu_max }
    }

    /// The session.
    pub fn tsi(&self) -> Tsi {
        self.tsi
    }

    /// The sequence number of the packet at a position, as commits return them.
    #[inline]
    pub fn sqn_of(&self, position: u64) -> Sqn {
        self.first.plus(position as u32)
    }

    /// The sequence number that the next packet will take: that of the next commit, unless it joins others in a batch.
    pub fn next_sqn(&self) -> Sqn {
        self.sqn_of(self.writer.position())
    }

    /// Slots that could be claimed now. Looking does not ask for more: where the window advances with data, a claim that fails
    /// does, so do not wait for this to grow without having tried.
    pub fn free(&mut self) -> u64 {
        self.writer.free()
    }

    /// Whether the claim that failed last for want of room can be had now.
    pub fn has_room(&mut self) -> bool {
        let wanted = self.notes.wanted();
        wanted <= self.writer.position() + self.writer.free()
    }

    /// The longest message that [`Publisher::claim`] takes for the next packet.
    pub fn claim_max(&self) -> usize {
        usize::from(self.writer.layout().message_max(self.writer.position()))
    }

    /// The longest message that [`Publisher::publish`] and [`Publisher::claim_apdu`] take: that of the configuration, or what fits the window.
    pub fn message_max(&self) -> usize {
        self.apdu_max.min(self.writer.apdu_max())
    }

    /// Whether the session was closed.
    pub fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }

    /// Claims room for a message of `len` octets that fits one packet. Where the session batches ([`SourceConfig::batch`]), that is in the
    /// newest packet, if it has not left, else in the next; and the window counts as full while no packet beyond the newest is free.
    ///
    /// [`SourceConfig::batch`]: super::SourceConfig::batch
    #[inline(always)]
    #[allow(clippy::inline_always)] // returned through memory, a claim costs as much again as it does
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        let wanted = self.writer.position() + 1;
        let notes = &self.notes;
        self.writer.claim(len).inspect_err(|error| starve(notes, *error, wanted))
    }

    /// Claims the run of slots that a message of `len` octets needs, whatever its size.
    pub fn claim_apdu(&mut self, len: usize) -> Result<ClaimApdu<'_>, ClaimError> {
        if len > self.apdu_max {
            return Err(ClaimError::TooLong { len, max: self.apdu_max });
        }
        let position = self.writer.position();
        let layout = self.writer.layout();
        // Fragments at their shortest, so that the note asks for enough slots; whether the claim is possible the writer knows.
        let each = usize::from(layout.payload_max(0, true));
        let wanted = position + (len.div_ceil(each) as u64).clamp(1, self.writer.capacity());
        let notes = &self.notes;
        self.writer.claim_apdu(len).inspect_err(|error| starve(notes, *error, wanted))
    }

    /// Publishes a message of any size by copying it. Returns the sequence number of its first packet.
    #[inline]
    pub fn publish(&mut self, message: &[u8]) -> Result<Sqn, ClaimError> {
        let position = match self.writer.claim_slot(message.len()) {
            Ok(mut claim) => {
                copy_octets(&mut claim, message);
                claim.commit()
            }
            Err(_) => return self.publish_otherwise(message),
        };
        Ok(self.sqn_of(position))
    }

    /// Publishes what is not a packet by itself, or finds no room.
    #[inline(never)]
    fn publish_otherwise(&mut self, message: &[u8]) -> Result<Sqn, ClaimError> {
        let position = match self.claim(message.len()) {
            Ok(mut claim) => {
                copy_octets(&mut claim, message);
                claim.commit()
            }
            Err(ClaimError::TooLong { .. }) => return self.publish_fragments(message),
            Err(error) => return Err(error),
        };
        Ok(self.sqn_of(position))
    }

    #[cold]
    fn publish_fragments(&mut self, mut message: &[u8]) -> Result<Sqn, ClaimError> {
        let mut claim = self.claim_apdu(message.len())?;
        for n in 0..claim.chunks() {
            let chunk = claim.chunk(n);
            let (now, later) = message.split_at(chunk.len());
            chunk.copy_from_slice(now);
            message = later;
        }
        let position = claim.commit();
        Ok(self.sqn_of(position))
    }

    /// Begins a burst of messages that are handed over together: in a session that batches ([`SourceConfig::batch`]) they cost a fraction
    /// of what they cost one by one. Messages that fill a packet are handed over when the next one begins, all when the burst ends.
    ///
    /// ```
    /// # use core::net::{IpAddr, Ipv4Addr};
    /// # use pgmx::frame::{Layout, PathFacts, Pool, TxBatch};
    /// # use pgmx::protocol::source::{Source, SourceConfig};
    /// # use pgmx::time::Time;
    /// # use pgmx::wire::Tsi;
    /// # let mut config = SourceConfig::new(IpAddr::from([239, 192, 0, 1]), 7500);
    /// # config.window_slots = 64;
    /// # let nla = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    /// # let path = PathFacts { nla, mtu: 1500, front: 42, alert: 4, ip_header: 20 };
    /// # let mut pool = Pool::anonymous(Layout::standard(128))?;
    /// config.batch = true;
    /// let (mut source, mut publisher) = Source::new(&config, path, Tsi::default(), &mut pool, Time::ZERO, 7)?;
    /// let mut burst = publisher.cork();
    /// for quote in [17_u64, 18, 19] {
    ///     burst.publish_with(8, |to| to.copy_from_slice(&quote.to_le_bytes()))?;
    /// }
    /// drop(burst);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`SourceConfig::batch`]: super::SourceConfig::batch
    pub fn cork(&mut self) -> Cork<'_> {
        Cork { publisher: self }
    }

    /// Hands over what was held back for a burst.
    pub(crate) fn hand_over(&mut self) {
        self.writer.hand_over();
    }

    /// Publishes a message that fits one packet as a part of a burst.
    #[inline(always)]
    #[allow(clippy::inline_always)] // `write` is compiled into the loop that publishes
    pub(crate) fn publish_corked(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> Result<(), ClaimError> {
        let Self { writer, notes, .. } = self;
        let published = writer.publish_corked(len, write);
        if let Err(error) = published {
            starve(notes, error, writer.position() + 1);
        }
        published
    }

    /// Says that nothing before `sqn` has to be kept for repair. Counts where the window advances by application control.
    pub fn advance_trail(&mut self, sqn: Sqn) {
        // Counted back from the head, which is less than 2^31 ahead of anything that can be kept.
        let back = self.next_sqn().distance_from(sqn);
        if u64::from(back) <= self.writer.capacity() {
            let position = self.writer.position().saturating_sub(u64::from(back));
            self.notes.released.fetch_max(position, Ordering::Relaxed);
        }
    }
}

/// A burst of messages, see [`Publisher::cork`].
#[must_use = "a burst ends when this is dropped"]
pub struct Cork<'p> {
    publisher: &'p mut Publisher,
}

impl Cork<'_> {
    /// Publishes a message of `len` octets that fits one packet, which `write` writes in place.
    #[inline(always)]
    #[allow(clippy::inline_always)] // `write` is compiled into the loop that publishes
    pub fn publish_with(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> Result<(), ClaimError> {
        self.publisher.publish_corked(len, write)
    }

    /// Publishes a message of any size by copying it.
    #[inline]
    pub fn publish(&mut self, message: &[u8]) -> Result<(), ClaimError> {
        match self.publish_with(message.len(), |to| copy_octets(to, message)) {
            Err(ClaimError::TooLong { .. }) => self.publisher().publish_fragments(message).map(drop),
            other => other,
        }
    }

    /// The publisher itself; what the burst held back is handed over first.
    pub fn publisher(&mut self) -> &mut Publisher {
        self.publisher.writer.hand_over();
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

#[cold]
fn starve(notes: &Notes, error: ClaimError, wanted: u64) {
    if error == ClaimError::Full {
        notes.wanted.store(wanted, Ordering::Relaxed);
    }
}
