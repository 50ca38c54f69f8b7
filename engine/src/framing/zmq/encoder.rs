//! From messages to TSDUs.
//!
//! For publishers: a claim is wrapped into a [`Tsdu`], parts go in until it is full or there are no more, and as much as was used is
//! committed. Guards what a ZeroMQ receiver ends its process over: no TSDU under two octets, no offset beyond its end. And its promise to
//! who joins: the offset leads to the first part of a message, and is there in each TSDU in which one begins.

use super::frame::Head;
use super::{NO_OFFSET, OFFSET_LEN};
use crate::frame::copy_octets;

/// Longer TSDUs there are not; and an offset in them is never the one that says that there is none.
const TSDU_MAX: usize = 0xFFFF;

/// Where the stream stands between two TSDUs.
#[derive(Clone, Copy, Debug, Default)]
struct Stand {
    /// Octets of the part under way, its head included, that are in TSDUs before.
    taken: usize,
    /// Octets of that part, and whether another follows.
    part: (usize, bool),
    /// Whether the next part belongs to a message that has begun.
    within: bool,
}

/// Writes the stream of one session. Each session has its own, from its first packet on.
///
/// A message longer than a TSDU:
///
/// ```
/// # use pgmx::framing::zmq::{Decoder, Encoder};
/// let message = vec![7; 3000];
/// let mut encoder = Encoder::new();
/// let mut decoder = Decoder::new();
/// let mut is_all_in = false;
/// while !is_all_in {
///     let mut claim = [0; 1444];
///     let mut tsdu = encoder.tsdu(&mut claim);
///     // As long as it is refused, the same part is offered again: to the TSDU behind.
///     is_all_in = tsdu.part(&message, false);
///     let len = tsdu.finish();
///     decoder.take(&claim[..len], |heard| assert_eq!(heard.as_slice(), Some(&message[..])))?;
/// }
/// assert_eq!(decoder.stats().messages, 1);
/// # Ok::<(), pgmx::framing::zmq::Fault>(())
/// ```
#[derive(Debug, Default)]
pub struct Encoder {
    stand: Stand,
}

impl Encoder {
    /// The beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a TSDU in these octets, of which it uses as many as it needs.
    ///
    /// # Panics
    /// If they are fewer than three: the offset, and one of the stream.
    #[inline]
    pub fn tsdu<'a>(&'a mut self, room: &'a mut [u8]) -> Tsdu<'a> {
        assert!(room.len() > OFFSET_LEN, "a TSDU without room for a stream");
        let len = room.len().min(TSDU_MAX);
        let stand = self.stand;
        Tsdu { encoder: self, room: &mut room[..len], at: OFFSET_LEN, offset: NO_OFFSET, stand }
    }

    /// Whether a message has begun that has not ended: who ended the stream now would leave it behind as nobody's.
    pub fn is_midway(&self) -> bool {
        self.stand.taken > 0 || self.stand.within
    }
}

/// A TSDU that is being written. Dropped without [`Tsdu::finish`] it was never begun, and what went into it has to be offered again.
#[derive(Debug)]
#[must_use = "a TSDU that is not finished was never begun"]
pub struct Tsdu<'a> {
    encoder: &'a mut Encoder,
    room: &'a mut [u8],
    at: usize,
    offset: u16,
    stand: Stand,
}

impl Tsdu<'_> {
    /// Writes a part, or as much of it as there is room for. `more`: another part of the same message follows. Says whether all of it is in;
    /// else the same part has to be offered to the TSDU behind this one, which goes on where this one ends.
    #[inline]
    pub fn part(&mut self, octets: &[u8], more: bool) -> bool {
        self.part_in_place(octets.len(), more, |at, room| copy_octets(room, &octets[at..at + room.len()]))
    }

    /// As [`Tsdu::part`], for a part of `len` octets that is written where it lies: `write` gets the room, and where in the part it
    /// begins.
    ///
    /// # Panics
    /// If a part is under way, and this is one of another length, or of another place in its message.
    #[inline]
    pub fn part_in_place(&mut self, len: usize, more: bool, mut write: impl FnMut(usize, &mut [u8])) -> bool {
        if self.is_full() {
            return false;
        }
        if self.offset == NO_OFFSET && self.stand.taken == 0 && !self.stand.within {
            self.offset = (self.at - OFFSET_LEN) as u16;
        }
        let head = Head::new(len, more);
        let head = head.as_slice();
        let Stand { mut taken, part, within } = self.stand;
        assert!(taken == 0 || part == (len, more), "another part is under way: {part:?}, not {:?}", (len, more));
        if let Some(rest @ [_, ..]) = head.get(taken..) {
            let now = rest.len().min(self.room.len() - self.at);
            self.room[self.at..self.at + now].copy_from_slice(&rest[..now]);
            self.at += now;
            taken += now;
        }
        let end = head.len() + len;
        if taken >= head.len() {
            let now = (end - taken).min(self.room.len() - self.at);
            if now > 0 {
                write(taken - head.len(), &mut self.room[self.at..self.at + now]);
            }
            self.at += now;
            taken += now;
        }
        let is_all_in = taken >= end;
        self.stand = if is_all_in {
            Stand { within: more, ..Stand::default() }
        } else {
            Stand { taken, part: (len, more), within }
        };
        is_all_in
    }

    /// Whether nothing more goes in.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.at == self.room.len()
    }

    /// Ends it. Returns its length: 0 if nothing went in, which is no TSDU, and must not be sent.
    #[inline]
    pub fn finish(self) -> usize {
        if self.at == OFFSET_LEN {
            return 0;
        }
        self.room[..OFFSET_LEN].copy_from_slice(&self.offset.to_be_bytes());
        self.encoder.stand = self.stand;
        self.at
    }
}
