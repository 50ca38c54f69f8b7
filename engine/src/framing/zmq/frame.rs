//! A frame and a message: octets and their meaning, both ways.
//!
//! Called by encoder and decoder; [`Message`] is what applications read. Guards: every length that was read leads to a place inside the
//! octets at hand before anybody follows it.

use super::HEAD_MAX;
use super::decoder::Fault;

/// Bit 0 of a frame's flags.
const MORE: u8 = 0x01;
/// A length octet that says that the length follows.
const LONG: u8 = 0xFF;

/// The octets in front of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    octets: [u8; HEAD_MAX],
    len: usize,
}

impl Head {
    /// In front of a part of `body` octets.
    #[inline]
    pub(super) fn new(body: usize, more: bool) -> Self {
        let mut octets = [0; HEAD_MAX];
        // The flags count.
        let length = body as u64 + 1;
        let flags = if more { MORE } else { 0 };
        if length < u64::from(LONG) {
            octets[0] = length as u8;
            octets[1] = flags;
            return Self { octets, len: 2 };
        }
        octets[0] = LONG;
        octets[1..9].copy_from_slice(&length.to_be_bytes());
        octets[9] = flags;
        Self { octets, len: HEAD_MAX }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// What a head says.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Octets of the head.
    head: usize,
    /// Octets of the part.
    body: usize,
    more: bool,
}

impl Frame {
    /// Reads the head in front of these octets; `None` where it is not all there yet. A part is at most `max` octets long.
    #[inline]
    fn read(octets: &[u8], max: usize) -> Result<Option<Self>, Fault> {
        let (head, length, flags) = match *octets {
            [LONG, a, b, c, d, e, f, g, h, flags, ..] => {
                (HEAD_MAX, u64::from_be_bytes([a, b, c, d, e, f, g, h]), flags)
            }
            [] | [LONG, ..] => return Ok(None),
            [length, flags, ..] => (2, u64::from(length), flags),
            // A length that cannot be need not wait for the rest of the head.
            [length] => return if length == 0 { Err(Fault::Length) } else { Ok(None) },
        };
        let body = length.checked_sub(1).ok_or(Fault::Length)?;
        if flags & !MORE != 0 {
            return Err(Fault::Flags);
        }
        let body = usize::try_from(body).ok().filter(|body| *body <= max).ok_or(Fault::TooLong)?;
        Ok(Some(Self { head, body, more: flags & MORE != 0 }))
    }
}

/// How far a message was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Octets of whole frames.
    at: usize,
    parts: usize,
    /// Octets of their parts.
    len: usize,
}

impl Progress {
    /// Goes on over the frames that are whole in `octets`, which begin with the message. Says whether the last one is among them; then it
    /// ends at [`Progress::end`]. With its heads the message is at most `max` octets long.
    #[inline]
    pub(super) fn advance(&mut self, octets: &[u8], max: usize) -> Result<bool, Fault> {
        // A turn takes two octets or more.
        while let Some(Frame { head, body, more }) = Frame::read(&octets[self.at..], max)? {
            // Neither term exceeds `isize::MAX` by much: octets at hand, and a length that was held against `max`.
            let end = self.at.saturating_add(head).saturating_add(body);
            if end > max {
                return Err(Fault::TooLong);
            }
            if end > octets.len() {
                return Ok(false);
            }
            self.at = end;
            self.parts += 1;
            self.len += body;
            if !more {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the whole frames end.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.at
    }

    /// The message that was read to its end from these octets.
    #[inline]
    pub(super) fn message<'a>(&self, octets: &'a [u8]) -> Message<'a> {
        Message { frames: &octets[..self.at], parts: self.parts, len: self.len }
    }
}

/// A whole message, which can be read for as long as the call lasts.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its frames, all whole; the last one says that it is the last.
    frames: &'a [u8],
    parts: usize,
    len: usize,
}

impl<'a> Message<'a> {
    /// Octets of all its parts.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none. Its parts may be there all the same, each of them empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its parts, in order: one or more.
    #[inline]
    pub fn parts(&self) -> Parts<'a> {
        Parts { rest: self.frames, left: self.parts }
    }

    /// The octets of its only part, if there is no other.
    #[inline]
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        if self.parts == 1 { Some(self.first()) } else { None }
    }

    /// The octets of its first part: the topic, for those who subscribe.
    #[inline]
    pub fn first(&self) -> &'a [u8] {
        self.parts().next().map_or(&[], |part| part.octets)
    }

    /// Whether a subscription to `prefix` takes it.
    #[inline]
    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        self.first().starts_with(prefix)
    }

    /// A copy of its parts, one right behind the other.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.len);
        self.parts().for_each(|part| octets.extend_from_slice(part.octets));
        octets
    }
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What is in it; may be nothing.
    pub octets: &'a [u8],
    /// Whether another part follows.
    pub more: bool,
}

/// The parts of a message; see [`Message::parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    #[inline]
    fn next(&mut self) -> Option<Part<'a>> {
        let frame = Frame::read(self.rest, self.rest.len()).ok()??;
        let (octets, rest) = self.rest.get(frame.head..)?.split_at_checked(frame.body)?;
        self.rest = rest;
        self.left -= 1;
        Some(Part { octets, more: frame.more })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Parts<'_> {}
