//! From packets to messages, in place: what an application without threads hangs on [`Endpoint::poll`].
//!
//! An [`Inbox`] is a [`Sink`] that gathers the fragments of a message, takes batches of records apart, and shows each message to a
//! [`Handler`], which reads it where it lies. The frames go back when the handler returns. Guards: a message is shown whole or not at
//! all.
//!
//! [`Endpoint::poll`]: super::Endpoint::poll

use core::net::IpAddr;

use crate::frame::{Frame, Lease, LeaseChunks, Pool};
use crate::protocol::{Delivery, Event, Sink};
use crate::time::Time;
use crate::wire::{Records, Sqn, Tsi};

/// A message that can be read for as long as the call lasts.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    /// The session.
    pub tsi: Tsi,
    /// Address of its source.
    pub source: IpAddr,
    /// Sequence number of its packet, or of the first of them.
    pub sqn: Sqn,
    /// When it was taken from the link, or became complete.
    pub received: Time,
    parts: Parts<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Parts<'a> {
    One(&'a [u8]),
    Many { pool: &'a Pool, frames: &'a [Frame], len: usize },
    Leased(&'a Lease),
}

impl<'a> MessageView<'a> {
    /// A message that lies in one piece.
    pub(crate) fn one(tsi: Tsi, source: IpAddr, sqn: Sqn, received: Time, octets: &'a [u8]) -> Self {
        Self { tsi, source, sqn, received, parts: Parts::One(octets) }
    }

    /// A message that is leased.
    pub(crate) fn leased(tsi: Tsi, source: IpAddr, sqn: Sqn, received: Time, lease: &'a Lease) -> Self {
        let parts = lease.as_slice().map_or(Parts::Leased(lease), Parts::One);
        Self { tsi, source, sqn, received, parts }
    }

    /// Octets of the message.
    #[inline]
    pub fn len(&self) -> usize {
        match self.parts {
            Parts::One(octets) => octets.len(),
            Parts::Many { len, .. } => len,
            Parts::Leased(lease) => lease.len(),
        }
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its octets, if they lie in one piece: those of a message that came in one packet do.
    #[inline]
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        match self.parts {
            Parts::One(octets) => Some(octets),
            Parts::Many { .. } | Parts::Leased(_) => None,
        }
    }

    /// Its pieces, in order.
    #[inline]
    pub fn chunks(&self) -> Chunks<'a> {
        Chunks(match self.parts {
            Parts::One(octets) => Left::One(octets),
            Parts::Many { pool, frames, .. } => Left::Many { pool, frames },
            Parts::Leased(lease) => Left::Leased(lease.chunks()),
        })
    }

    /// Copies as much of it as `to` has room for; returns how much.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let mut copied = 0;
        for chunk in self.chunks() {
            let room = &mut to[copied..];
            let now = chunk.len().min(room.len());
            room[..now].copy_from_slice(&chunk[..now]);
            copied += now;
        }
        copied
    }

    /// A copy of it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.len());
        self.chunks().for_each(|chunk| octets.extend_from_slice(chunk));
        octets
    }
}

/// The pieces of a message; see [`MessageView::chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a>(Left<'a>);

#[derive(Clone, Debug)]
enum Left<'a> {
    One(&'a [u8]),
    Many { pool: &'a Pool, frames: &'a [Frame] },
    Leased(LeaseChunks<'a>),
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match &mut self.0 {
            Left::One(octets) => {
                let octets = core::mem::take(octets);
                (!octets.is_empty()).then_some(octets)
            }
            Left::Many { pool, frames } => {
                let (first, rest) = frames.split_first()?;
                *frames = rest;
                Some(pool.bytes(first))
            }
            Left::Leased(chunks) => chunks.next(),
        }
    }
}

/// What an application does with what it hears.
pub trait Handler {
    /// A message, to be read or copied before the call ends.
    fn message(&mut self, message: MessageView<'_>);

    /// News of a session.
    fn event(&mut self, event: Event);
}

/// Turns a receiver's deliveries into messages for a handler.
#[derive(Debug)]
pub struct Inbox<H> {
    handler: H,
    now: Time,
    /// Of the message that is coming in.
    gathered: Vec<Frame>,
    /// Batches that ended in the middle of a record.
    cut_batches: u64,
}

impl<H: Handler> Inbox<H> {
    /// An inbox for this handler.
    pub fn new(handler: H) -> Self {
        Self { handler, now: Time::ZERO, gathered: Vec::new(), cut_batches: 0 }
    }

    /// Sets the time that messages are said to be received at: that of the poll which is about to begin.
    #[inline]
    pub fn at(&mut self, now: Time) -> &mut Self {
        self.now = now;
        self
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, to be changed.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Batches of records that ended in the middle of one: their source is wrong, and what followed is lost.
    pub fn cut_batches(&self) -> u64 {
        self.cut_batches
    }

    #[cold]
    fn gather(&mut self, pool: &mut Pool, delivery: Delivery) {
        let Delivery { tsi, source, sqn, place, .. } = delivery;
        let is_last = delivery.is_last();
        self.gathered.push(delivery.frame);
        if is_last {
            let len = place.map_or(0, |place| place.len as usize);
            let sqn = Sqn::new(sqn.get().wrapping_sub(self.gathered.len() as u32 - 1));
            let parts = Parts::Many { pool, frames: &self.gathered, len };
            self.handler.message(MessageView { tsi, source, sqn, received: self.now, parts });
            self.gathered.drain(..).for_each(|frame| pool.put(frame));
        }
    }
}

impl<H: Handler> Sink for Inbox<H> {
    #[inline]
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        if delivery.place.is_some() {
            return self.gather(pool, delivery);
        }
        let Delivery { tsi, source, sqn, records, frame, .. } = delivery;
        let payload = pool.bytes(&frame);
        if records {
            let mut records = Records::new(payload);
            for record in records.by_ref() {
                self.handler.message(MessageView::one(tsi, source, sqn, self.now, record));
            }
            self.cut_batches += u64::from(records.is_cut());
        } else {
            self.handler.message(MessageView::one(tsi, source, sqn, self.now, payload));
        }
        pool.put(frame);
    }

    fn event(&mut self, event: Event) {
        self.handler.event(event);
    }
}
