//! What a subscriber receives: messages that it may keep, and news.
//!
//! Guards: a message is read where the network put it; its frames go back when the last part of it is dropped, on whichever thread.

use core::fmt;
use core::net::IpAddr;

use super::feed::Head;
use crate::endpoint::MessageView;
use crate::frame::Lease;
use crate::link::Channel;
use crate::protocol::Event;
use crate::time::Time;
use crate::wire::{Sqn, Tsi};

/// Something received.
#[derive(Clone, Debug)]
pub enum Received {
    /// A message.
    Message(Message),
    /// News of a session, and the channel on which it was heard.
    Event(Channel, Event),
}

impl Received {
    /// The message, if it is one.
    pub fn message(self) -> Option<Message> {
        if let Self::Message(message) = self { Some(message) } else { None }
    }
}

/// A message, in place: a lease of the frames that it arrived in.
///
/// It may be kept, cloned (which copies no octet), sent to another thread and dropped there. While it lives its frames are missing from
/// the engine: a subscriber that keeps many, for long, is served by copies and in the end loses messages, and is told.
#[derive(Clone)]
pub struct Message {
    lease: Lease,
    head: Head,
    channel: Channel,
}

impl Message {
    pub(super) fn new(lease: Lease, head: Head, channel: Channel) -> Self {
        Self { lease, head, channel }
    }

    /// To be shown to a handler.
    #[inline]
    pub(super) fn view(&self) -> MessageView<'_> {
        MessageView::leased(self.head.tsi, self.head.source, self.head.sqn, self.head.received, &self.lease)
    }

    /// Octets of the message.
    #[inline]
    pub fn len(&self) -> usize {
        self.lease.len()
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its octets, if they lie in one piece: those of a message that came in one packet do.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.lease.as_slice()
    }

    /// Its pieces, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.lease.chunks()
    }

    /// Copies as much of it as `to` has room for; returns how much.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        self.view().copy_to(to)
    }

    /// A copy of it.
    pub fn to_vec(&self) -> Vec<u8> {
        self.view().to_vec()
    }

    /// The session.
    pub fn tsi(&self) -> Tsi {
        self.head.tsi
    }

    /// Address of its source.
    pub fn source(&self) -> IpAddr {
        self.head.source
    }

    /// Sequence number of its packet, or of the first of them. Messages of one batch share it.
    pub fn sqn(&self) -> Sqn {
        self.head.sqn
    }

    /// When the worker took it from the network, or it became complete, by [`Engine::now`](super::Engine::now).
    pub fn received(&self) -> Time {
        self.head.received
    }

    /// The channel on which it was heard.
    pub fn channel(&self) -> Channel {
        self.channel
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("tsi", &self.tsi())
            .field("sqn", &self.sqn())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
