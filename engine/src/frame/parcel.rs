//! Frames with an address: what the protocol hands to a link and what a link hands up.
//!
//! Links and the protocol do not know each other; these types are all they share. The range of the frame is always the PGM packet,
//! nothing before it and nothing behind; a link writes its own headers into the room in front.
//!
//! The invariant behind the `unsafe` of [`Batch`]: the places `first .. end` hold an item each, all others hold none.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::net::IpAddr;

use super::pool::Frame;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The group, with the session's TTL.
    Group(IpAddr),
    /// The group, with TTL 1: PGM neighbours on this network only.
    Neighbours(IpAddr),
    /// One host.
    Unicast(IpAddr),
}

/// A packet on its way out.
#[derive(Debug)]
#[must_use = "its frame would be lost"]
pub struct Outgoing {
    /// The PGM packet, beginning at `layout.start + path.front` (`+ path.alert` with Router Alert).
    pub frame: Frame,
    /// Destination.
    pub to: To,
    /// Whether the IP header carries Router Alert.
    pub router_alert: bool,
}

/// A packet that came in.
#[derive(Debug)]
#[must_use = "its frame would be lost"]
pub struct Incoming {
    /// The PGM packet.
    pub frame: Frame,
    /// IP source.
    pub from: IpAddr,
    /// IP destination: the group or one of our addresses.
    pub to: IpAddr,
}

/// What the protocol has to know about the way to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// Our address on the interface: the source of our packets and the path in our SPMs.
    pub nla: IpAddr,
    /// Octets of the largest IP packet.
    pub mtu: u16,
    /// Octets of link and network headers in front of a PGM packet, without Router Alert.
    pub front: u16,
    /// Octets that Router Alert adds to them: 4 over native IPv4; 0 over IPv6, where PGM has none, and in UDP.
    pub alert: u16,
    /// Octets of IP (and UDP) headers in front of a PGM packet, without Router Alert: what a rate limit counts.
    pub ip_header: u16,
}

impl PathFacts {
    /// Octets of the IP packet around `tpdu` octets of PGM.
    #[inline]
    pub fn ip_octets(&self, tpdu: usize, router_alert: bool) -> u32 {
        tpdu as u32 + u32::from(self.ip_header) + if router_alert { u32::from(self.alert) } else { 0 }
    }

    /// The largest PGM packet that fits the MTU whatever its header form.
    pub fn tpdu_max(&self) -> u16 {
        self.mtu - self.ip_header - self.alert
    }
}

/// A bounded queue of packets, first in, first out. Never grows.
///
/// The items lie in one piece, so that adding and taking are a move and a count. When the end of the memory is reached, what is left
/// moves to its front: never more than a batch, and not before as many places were filled as are free.
#[derive(Debug)]
pub struct Batch<T> {
    places: Box<[MaybeUninit<T>]>,
    first: usize,
    end: usize,
}

/// Packets for a link to send.
pub type TxBatch = Batch<Outgoing>;
/// Packets that a link received.
pub type RxBatch = Batch<Incoming>;

impl<T> Batch<T> {
    /// Room for `bound` packets.
    pub fn new(bound: usize) -> Self {
        Self { places: (0..bound).map(|_| MaybeUninit::uninit()).collect(), first: 0, end: 0 }
    }

    /// How many more it takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.places.len() - self.len()
    }

    /// How many it holds.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.first
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.end == self.first
    }

    /// Appends one.
    ///
    /// # Panics
    /// If there is no [`Batch::room`].
    #[inline]
    pub fn push(&mut self, item: T) {
        self.push_with(|| item);
    }

    /// Appends what `item` makes. It is asked after the room was found, so that the item is written where it stays.
    ///
    /// # Panics
    /// If there is no [`Batch::room`].
    #[inline]
    pub fn push_with(&mut self, item: impl FnOnce() -> T) {
        if self.end == self.places.len() {
            self.gather();
        }
        debug_assert!(self.end < self.places.len());
        // SAFETY: `end` is never beyond the last place, and what was gathered leaves room behind it.
        let place = unsafe { self.places.get_unchecked_mut(self.end) };
        place.write(item());
        self.end += 1;
    }

    /// Takes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.first == self.end {
            return None;
        }
        let place = &self.places[self.first];
        self.first += 1;
        // SAFETY: the place was the first of those that hold an item, and is none of them any more: the item is read once.
        Some(unsafe { place.assume_init_read() })
    }

    /// Looks at the oldest.
    #[inline]
    pub fn front(&self) -> Option<&T> {
        // SAFETY: `first .. end` hold an item each.
        (self.first < self.end).then(|| unsafe { self.places[self.first].assume_init_ref() })
    }

    /// Looks at all, the oldest first.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        let items = &self.places[self.first..self.end];
        // SAFETY: each of these places holds an item, and `MaybeUninit` is laid out as what it may hold.
        unsafe { core::slice::from_raw_parts(items.as_ptr().cast(), items.len()) }
    }

    /// Takes all, the oldest first. What the iterator was not asked for is dropped with it.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_, T> {
        const { assert!(size_of::<T>() > 0, "the iterator counts by addresses") };
        let items = &self.places[self.first..self.end];
        // From here on the items are the iterator's, even if it is never dropped.
        (self.first, self.end) = (0, 0);
        let items = items.as_ptr_range();
        Drain { next: items.start.cast(), end: items.end.cast(), batch: PhantomData }
    }

    /// Moves what is left to the front of the memory.
    #[cold]
    fn gather(&mut self) {
        assert!(self.first > 0, "a batch beyond its bound");
        let len = self.len();
        self.places.rotate_left(self.first);
        (self.first, self.end) = (0, len);
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

/// The items of a batch on their way out; see [`Batch::drain`].
#[derive(Debug)]
pub struct Drain<'b, T> {
    next: *const T,
    end: *const T,
    batch: PhantomData<&'b mut Batch<T>>,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: `next .. end` are the items that were not read yet, in the memory of a batch that is borrowed for as long as the
        // iterator lives and counts none of them as its own any more.
        unsafe {
            let item = self.next.read();
            self.next = self.next.add(1);
            Some(item)
        }
    }
}

impl<T> Drop for Drain<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if core::mem::needs_drop::<T>() {
            self.for_each(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// Every order of adding and taking, against a queue of the standard library; each item is dropped once.
    #[test]
    fn a_batch_is_a_queue_wherever_in_its_memory_the_items_lie() {
        let witness = Rc::new(());
        for pattern in 0..1_u32 << 14 {
            let mut batch = Batch::new(3);
            let mut queue = VecDeque::new();
            for step in 0..14 {
                if pattern >> step & 1 == 1 && batch.room() > 0 {
                    batch.push((step, witness.clone()));
                    queue.push_back(step);
                } else {
                    assert_eq!(batch.pop().map(|item| item.0), queue.pop_front());
                }
                assert_eq!((batch.len(), batch.room()), (queue.len(), 3 - queue.len()));
                assert_eq!(batch.front().map(|item| item.0), queue.front().copied());
                assert!(batch.as_slice().iter().map(|item| &item.0).eq(&queue));
                assert_eq!(Rc::strong_count(&witness), 1 + queue.len());
            }
            if pattern & 1 == 0 {
                assert!(batch.drain().map(|item| item.0).eq(queue));
            }
        }
        assert_eq!(Rc::strong_count(&witness), 1);
    }

    #[test]
    fn what_is_not_drained_is_dropped_once_and_the_batch_is_as_good_as_new() {
        let witness = Rc::new(());
        let mut batch = Batch::new(2);
        batch.push(witness.clone());
        batch.push(witness.clone());
        let mut drain = batch.drain();
        assert!(drain.next().is_some());
        drop(drain);
        assert_eq!((Rc::strong_count(&witness), batch.room()), (1, 2));
        batch.push(witness.clone());
        core::mem::forget(batch.drain());
        assert!(batch.is_empty());
        drop(batch);
        assert_eq!(Rc::strong_count(&witness), 2, "leaked, as asked for, and not dropped twice");
    }

    #[test]
    #[should_panic(expected = "beyond its bound")]
    fn a_batch_never_grows() {
        let mut batch = Batch::new(1);
        batch.push(1);
        batch.push(2);
    }
}
