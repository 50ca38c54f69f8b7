//! Frames with an address: what the protocol hands to a link and what a link hands up.
//!
//! Links and the protocol do not know each other; these types are all they share. The range of the frame is always the PGM packet,
//! nothing before it and nothing behind; a link writes its own headers into the room in front.
//!
//! The invariant behind the `unsafe` of [`Batch`]: the places `first .. end` hold an item each, all others hold none.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::net::IpAddr;
use core::ops::Deref;
use core::slice;

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

    /// The room, to be filled in one go: what is looked up once for all is not looked up for each.
    #[inline]
    pub fn tail(&mut self) -> Tail<'_, T> {
        if self.first > 0 {
            self.gather();
        }
        let Self { places, end, .. } = self;
        let bound = places.len();
        Tail { free: places[*end..].iter_mut(), end, bound }
    }

    /// Takes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.peek().map(Peek::take)
    }

    /// Looks at the oldest, to take it or to leave it.
    #[inline]
    pub fn peek(&mut self) -> Option<Peek<'_, T>> {
        (self.first < self.end).then_some(Peek { batch: self })
    }

    /// Looks at the oldest.
    #[inline]
    pub fn front(&self) -> Option<&T> {
        self.as_slice().first()
    }

    /// Looks at all, the oldest first.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        let items = &self.places[self.first..self.end];
        // SAFETY: each of these places holds an item, and `MaybeUninit` is laid out as what it may hold.
        unsafe { slice::from_raw_parts(items.as_ptr().cast(), items.len()) }
    }

    /// As [`Batch::as_slice`], to write headers in front of packets that stay in the batch until they are taken.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let items = &mut self.places[self.first..self.end];
        // SAFETY: as in `as_slice`; the batch is borrowed mutably, so this is the only reference.
        unsafe { slice::from_raw_parts_mut(items.as_mut_ptr().cast(), items.len()) }
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
    fn gather(&mut self) {
        assert!(self.first > 0, "a batch beyond its bound");
        let len = self.len();
        if len > 0 {
            self.places.rotate_left(self.first);
        }
        (self.first, self.end) = (0, len);
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

/// The free places of a batch, behind its newest item; see [`Batch::tail`].
#[derive(Debug)]
pub struct Tail<'b, T> {
    free: slice::IterMut<'b, MaybeUninit<T>>,
    /// Follows when the tail is dropped.
    end: &'b mut usize,
    bound: usize,
}

impl<T> Tail<'_, T> {
    /// As [`Batch::push_with`].
    ///
    /// # Panics
    /// If there is no room.
    #[inline]
    pub fn push_with(&mut self, item: impl FnOnce() -> T) {
        assert!(self.free.len() > 0, "a batch beyond its bound");
        // Made before its place is counted as filled.
        let item = item();
        if let Some(place) = self.free.next() {
            place.write(item);
        }
    }
}

impl<T> Drop for Tail<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // The places that were passed hold an item each.
        *self.end = self.bound - self.free.len();
    }
}

/// The oldest item of a batch that is not empty; see [`Batch::peek`].
#[derive(Debug)]
pub struct Peek<'b, T> {
    batch: &'b mut Batch<T>,
}

impl<T> Peek<'_, T> {
    /// Takes it.
    #[inline]
    pub fn take(self) -> T {
        // SAFETY: the batch is not empty, so that this is one of its places and holds an item; it is read once, because from the next
        // line on the place is none of those that hold one.
        let item = unsafe { self.batch.places.get_unchecked(self.batch.first).assume_init_read() };
        self.batch.first += 1;
        item
    }
}

impl<T> Deref for Peek<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the batch is not empty, so that this is one of its places and holds an item.
        unsafe { self.batch.places.get_unchecked(self.batch.first).assume_init_ref() }
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
                    if step % 3 == 0 {
                        batch.tail().push_with(|| (step, witness.clone()));
                    } else {
                        batch.push((step, witness.clone()));
                    }
                    queue.push_back(step);
                } else {
                    assert_eq!(batch.pop().map(|item| item.0), queue.pop_front());
                }
                assert_eq!((batch.len(), batch.room()), (queue.len(), 3 - queue.len()));
                assert_eq!(batch.peek().map(|item| item.0), queue.front().copied());
                assert_eq!(batch.front().map(|item| item.0), queue.front().copied());
                assert!(batch.as_slice().iter().map(|item| &item.0).eq(&queue));
                for (item, number) in batch.as_mut_slice().iter_mut().zip(&mut queue) {
                    item.0 += 100;
                    *number += 100;
                }
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
        // SAFETY: gives back the count that was leaked just now, so that a leak checker has nothing to tell.
        unsafe { Rc::decrement_strong_count(Rc::as_ptr(&witness)) };
    }

    #[test]
    #[should_panic(expected = "beyond its bound")]
    fn its_tail_is_as_long_as_its_room() {
        let mut batch = Batch::new(3);
        batch.push(1);
        let mut tail = batch.tail();
        for n in 0..3 {
            tail.push_with(|| n);
        }
    }

    #[test]
    #[should_panic(expected = "beyond its bound")]
    fn a_batch_never_grows() {
        let mut batch = Batch::new(1);
        batch.push(1);
        batch.push(2);
    }
}
