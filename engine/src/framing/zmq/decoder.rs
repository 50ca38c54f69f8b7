//! From TSDUs to messages, for one session.
//!
//! ```text
//!            offset                       loss, or a fault
//!   Out ───────────────▶ Joined ─────────────────────────────▶ Out
//!                         │  ▲
//!        a message is cut │  │ its last octets came
//!                         ▼  │
//!                        Midway: gathered
//! ```
//!
//! A message that lies in one TSDU is shown where it lies; one that does not is gathered, in a buffer that grows with what came, never
//! with what was announced. Guards: a message is shown whole or not at all; what the offsets say and what the lengths say agree, or nothing
//! of the message in question is shown; work is proportional to what comes in, and memory has its limit.

use super::frame::{Message, Progress};
use super::{MESSAGE_MAX, NO_OFFSET, OFFSET_LEN};

/// Octets of buffer that a decoder keeps between messages, and so has for itself, whatever others take. A message that needs more has it for
/// itself.
pub(super) const KEPT: usize = 64 * 1024;

/// What was wrong with a TSDU. The decoder has left the stream then, and joins it again where the next message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// It has no room for an offset.
    #[error("a TSDU under two octets is none of ZeroMQ's; does the other end use another framing?")]
    Short,
    /// Its offset leads beyond its end, or to another place than the lengths before it.
    #[error("the offset of the first message is wrong; does the other end use another framing?")]
    Offset,
    /// A length is zero, though it counts the flags.
    #[error("a frame of length 0 cannot be; does the other end use another framing?")]
    Length,
    /// Flags are set that have no meaning.
    #[error("a frame has unknown flags; does the other end use another framing?")]
    Flags,
    /// A message is longer than the decoder takes.
    #[error("a message is too long; raise the limit of the decoder if it makes sense")]
    TooLong,
}

/// What a decoder has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecoderStats {
    /// Messages that were shown.
    pub messages: u64,
    /// TSDUs that were passed over because no message begins in them that could be joined at.
    pub skipped: u64,
    /// TSDUs under two octets.
    pub short: u64,
    /// Offsets that were wrong.
    pub offset: u64,
    /// Lengths of zero.
    pub length: u64,
    /// Flags without meaning.
    pub flags: u64,
    /// Messages beyond the limit.
    pub too_long: u64,
}

impl DecoderStats {
    /// Faults of all kinds.
    pub fn faults(&self) -> u64 {
        self.short + self.offset + self.length + self.flags + self.too_long
    }

    fn count(&mut self, fault: Fault) {
        let counter = match fault {
            Fault::Short => &mut self.short,
            Fault::Offset => &mut self.offset,
            Fault::Length => &mut self.length,
            Fault::Flags => &mut self.flags,
            Fault::TooLong => &mut self.too_long,
        };
        *counter += 1;
    }

    /// Adds what another one has counted.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { messages, skipped, short, offset, length, flags, too_long } = other;
        self.messages += messages;
        self.skipped += skipped;
        self.short += short;
        self.offset += offset;
        self.length += length;
        self.flags += flags;
        self.too_long += too_long;
    }
}

/// Reads the stream of one session.
///
/// ```
/// # use pgmx::framing::zmq::{Decoder, Fault};
/// let mut decoder = Decoder::new();
/// let mut heard = Vec::new();
/// // It joins behind the end of a message whose beginning it missed.
/// for tsdu in [&[0xFF, 0xFF, b'e', b'r'][..], &[0, 2, b'l', b'y', 3, 0, b'o'], &[0xFF, 0xFF, b'n']] {
///     decoder.take(tsdu, |message| heard.push(message.to_vec()))?;
/// }
/// assert_eq!(heard, [b"on"]);
/// // After a loss it joins again.
/// decoder.on_loss();
/// decoder.take(&[0, 1, b'x', 2, 0, b'a'], |message| heard.push(message.to_vec()))?;
/// assert_eq!(heard, [&b"on"[..], b"a"]);
/// # Ok::<(), Fault>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// Else what comes is passed over until a message begins.
    is_joined: bool,
    /// The beginning of a message that goes on in the next TSDU; empty between messages.
    gathered: Vec<u8>,
    /// How far that was read.
    progress: Progress,
    message_max: usize,
    stats: DecoderStats,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Takes messages of up to [`MESSAGE_MAX`] octets.
    pub fn new() -> Self {
        Self::with_message_max(MESSAGE_MAX)
    }

    /// Takes messages of up to so many octets, the heads of their parts included, and no more memory than that.
    pub fn with_message_max(message_max: usize) -> Self {
        Self {
            is_joined: false,
            gathered: Vec::new(),
            progress: Progress::default(),
            message_max,
            stats: DecoderStats::default(),
        }
    }

    /// Reads a TSDU, the one behind the last, and shows each message that is whole with it. What it says is wrong with the TSDU is counted
    /// as well; there is nothing to be done about it.
    #[inline]
    pub fn take(&mut self, tsdu: &[u8], each: impl FnMut(Message<'_>)) -> Result<(), Fault> {
        self.take_within(tsdu, self.message_max, each)
    }

    /// As [`Decoder::take`], but gathers at most `memory` octets.
    #[inline]
    pub(super) fn take_within(
        &mut self,
        tsdu: &[u8],
        memory: usize,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Fault> {
        let read = self.read(tsdu, memory, &mut each);
        read.inspect_err(|fault| self.stats.count(*fault))
    }

    #[inline]
    fn read(&mut self, tsdu: &[u8], memory: usize, each: &mut impl FnMut(Message<'_>)) -> Result<(), Fault> {
        let Some((offset, stream)) = tsdu.split_first_chunk::<OFFSET_LEN>() else {
            self.on_loss();
            return Err(Fault::Short);
        };
        let offset = Some(u16::from_be_bytes(*offset)).filter(|offset| *offset != NO_OFFSET).map(usize::from);
        if offset.is_some_and(|offset| offset > stream.len()) {
            self.on_loss();
            return Err(Fault::Offset);
        }
        let mut finished = Ok(());
        if self.is_joined {
            // What lies before the offset ends the message under way, and the offset tells where.
            let tail = &stream[..offset.unwrap_or(stream.len())];
            if !(tail.is_empty() && self.gathered.is_empty()) {
                finished = self.go_on(tail, offset.is_some(), memory, each);
            }
        }
        if finished.is_err() || !self.is_joined {
            self.on_loss();
            self.is_joined = offset.is_some();
        }
        let Some(offset) = offset else {
            self.stats.skipped += u64::from(!self.is_joined && finished.is_ok());
            return finished;
        };
        let begun = self.begin(&stream[offset..], memory, each);
        if let Err(fault) = finished
            && begun.is_err()
        {
            // Of two only one is returned, and counted by who gets it.
            self.stats.count(fault);
        }
        begun.and(finished)
    }

    /// Reads messages from the beginning of one on.
    #[inline]
    fn begin(&mut self, stream: &[u8], memory: usize, each: &mut impl FnMut(Message<'_>)) -> Result<(), Fault> {
        let mut rest = stream;
        // A turn takes two octets or more.
        while !rest.is_empty() {
            let mut progress = Progress::default();
            match progress.advance(rest, self.message_max) {
                Ok(true) => {
                    self.stats.messages += 1;
                    each(progress.message(rest));
                    rest = &rest[progress.end()..];
                }
                Ok(false) => return self.keep(rest, progress, memory),
                Err(fault) => {
                    self.on_loss();
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// Keeps the beginning of a message.
    #[inline(never)]
    fn keep(&mut self, octets: &[u8], progress: Progress, memory: usize) -> Result<(), Fault> {
        self.progress = progress;
        self.gather(octets, memory).inspect_err(|_| self.on_loss())
    }

    /// More of the message under way; with `is_end` the rest of it.
    #[inline(never)]
    fn go_on(
        &mut self,
        octets: &[u8],
        is_end: bool,
        memory: usize,
        each: &mut impl FnMut(Message<'_>),
    ) -> Result<(), Fault> {
        if self.gathered.is_empty() {
            // A message has ended with the last TSDU, and this one begins with none.
            return Err(Fault::Offset);
        }
        self.gather(octets, memory)?;
        let is_whole = self.progress.advance(&self.gathered, self.message_max)?;
        if !is_whole && !is_end {
            return Ok(());
        }
        if !is_whole || self.progress.end() < self.gathered.len() {
            return Err(Fault::Offset);
        }
        self.stats.messages += 1;
        each(self.progress.message(&self.gathered));
        self.forget();
        Ok(())
    }

    fn gather(&mut self, octets: &[u8], memory: usize) -> Result<(), Fault> {
        let (filled, room) = (self.gathered.len(), self.gathered.capacity());
        let wanted = filled + octets.len();
        if wanted > memory.min(self.message_max) {
            return Err(Fault::TooLong);
        }
        if wanted > room {
            // Doubled, so that a long message is not moved at each TSDU, but never beyond the limit.
            let room = wanted.max((2 * room).min(memory.min(self.message_max)));
            self.gathered.reserve_exact(room - filled);
        }
        self.gathered.extend_from_slice(octets);
        Ok(())
    }

    /// The message under way is shown, or lost.
    fn forget(&mut self) {
        self.gathered.clear();
        self.progress = Progress::default();
        if self.gathered.capacity() > KEPT {
            self.gathered = Vec::new();
        }
    }

    /// TSDUs are missing before the next one: joins again where a message begins.
    pub fn on_loss(&mut self) {
        self.is_joined = false;
        self.forget();
    }

    /// Whether the next TSDU goes on where the last one ended.
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Octets of memory that the message under way has taken. Between messages up to 64 KiB are kept for the next one.
    pub fn memory(&self) -> usize {
        if self.gathered.is_empty() { 0 } else { self.gathered.capacity() }
    }

    /// What it has counted.
    pub fn stats(&self) -> &DecoderStats {
        &self.stats
    }
}
