//! What a receiver tells the application: messages, losses and the lives of sessions, in one order.

use core::net::IpAddr;

use crate::frame::{Frame, Pool};
use crate::wire::{Sqn, Tsi};

/// Where a packet's payload stands in its APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Octets of the APDU before it.
    pub offset: u32,
    /// Octets of the whole APDU.
    pub len: u32,
}

/// One packet's payload. The packets of an APDU come one right after the other, all of them or none.
#[derive(Debug)]
#[must_use = "its frame would be lost"]
pub struct Delivery {
    /// The session.
    pub tsi: Tsi,
    /// Address of its source.
    pub source: IpAddr,
    /// Sequence number of the packet.
    pub sqn: Sqn,
    /// `None` for an APDU of one packet.
    pub place: Option<Place>,
    /// Whether the payload is a batch of records, each with its length in front: several messages.
    pub records: bool,
    /// The payload; goes back to the pool when it was read.
    pub frame: Frame,
}

impl Delivery {
    /// Whether this completes its APDU.
    #[inline]
    pub fn is_last(&self) -> bool {
        self.place.is_none_or(|place| place.offset as usize + self.frame.len() == place.len as usize)
    }
}

/// Why data is lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossCause {
    /// The source no longer keeps it: its trail has passed.
    WindowPassed,
    /// Asked for too often without an NCF.
    NoConfirmation,
    /// Confirmed, but not repaired often enough.
    NoRepair,
    /// The session ended before it could be repaired.
    SessionEnded,
    /// We had no memory to keep it.
    Resources,
    /// The application did not take it in time.
    SlowConsumer,
    /// The source sent something that contradicts itself.
    Protocol,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The source said that it was done, and all it sent was delivered or reported lost.
    Finished,
    /// The source gave up, with its reason (0: unknown).
    Aborted(u8),
    /// Nothing was heard of the source for too long.
    Expired,
    /// Data was lost and the policy is to reset.
    Lost(LossCause),
    /// We ended it.
    Local,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session was joined; its first packet will be `first`.
    Opened {
        /// The session.
        tsi: Tsi,
        /// Its source.
        source: IpAddr,
        /// Where we joined.
        first: Sqn,
        /// Whether that is where the session began (OPT_SYN).
        from_start: bool,
    },
    /// Packets `first ..= last` will never be delivered.
    Loss {
        /// The session.
        tsi: Tsi,
        /// The first packet lost.
        first: Sqn,
        /// The last packet lost.
        last: Sqn,
        /// Why.
        cause: LossCause,
    },
    /// The session is over.
    Closed {
        /// The session.
        tsi: Tsi,
        /// How it ended.
        end: End,
    },
}

/// Takes what a receiver has for the application, in order.
pub trait Sink {
    /// A payload. The sink owns the frame and gives it back to the pool when it has been read.
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery);

    /// News of a session.
    fn event(&mut self, event: Event);
}
