//! A bounded ring between two threads: one pushes, the other pops.
//!
//! ```text
//!        head (consumer writes)                tail (producer writes)
//!          v                                     v
//!  [ free | pushed, the consumer's ............. | free, the producer's ... ]
//! ```
//!
//! Positions count items since the ring was made and wrap with `usize`. Guards: a place is touched by the producer while its position is
//! in `tail .. head + capacity` and by the consumer while it is in `head .. tail`; the release store of an index hands places over.
//! Each side keeps what it last saw of the other's index, so that the other's cache line is asked for only when the ring looks full
//! or empty.

use core::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use super::atomic::{AtomicBool, AtomicUsize, Ordering};
use super::{Arc, UnsafeCell};

struct Ring<T> {
    /// Written by the consumer.
    head: CachePadded<AtomicUsize>,
    /// Written by the producer.
    tail: CachePadded<AtomicUsize>,
    /// Written once, by whichever side goes first.
    closed: CachePadded<AtomicBool>,
    /// A power of two of them.
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: an item is touched by one side at a time, as the indices tell, and passes from one thread to the other: `Send` is enough.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above; no reference to an item is ever shared.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn place(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.places[position & (self.places.len() - 1)]
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Both sides are gone: the last one to let go of the ring saw all that the other did.
        let (mut head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        while head != tail {
            // SAFETY: positions from head to tail hold items, and nobody else is left to touch them.
            self.place(head).with_mut(|place| unsafe { (*place).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// A ring for at most `capacity` items, and its two ends.
///
/// # Panics
/// If `capacity` is zero.
pub(crate) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring without a place");
    let places = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let (head, tail, closed) = (CachePadded::default(), CachePadded::default(), CachePadded::default());
    let ring = Arc::new(Ring { head, tail, closed, places });
    (Producer { ring: ring.clone(), capacity, tail: 0, head_seen: 0 }, Consumer { ring, head: 0, tail_seen: 0 })
}

/// The end that pushes.
pub(crate) struct Producer<T> {
    ring: Arc<Ring<T>>,
    capacity: usize,
    tail: usize,
    head_seen: usize,
}

impl<T> Producer<T> {
    /// Appends an item; gives it back when the ring is full or the consumer is gone.
    #[inline]
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.capacity && self.room() == 0 || self.is_closed() {
            return Err(item);
        }
        // SAFETY: the position is less than `capacity` ahead of the head: the consumer is done with the place, which the acquire load of
        // the head made visible, and does not look at it before the store below.
        self.ring.place(self.tail).with_mut(|place| unsafe { (*place).write(item) });
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Items that can be pushed now.
    pub(crate) fn room(&mut self) -> usize {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        self.capacity - self.tail.wrapping_sub(self.head_seen)
    }

    /// Whether the consumer is gone: what is pushed would be read by nobody.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.ring.closed.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.ring.closed.store(true, Ordering::Release);
    }
}

/// The end that pops.
pub(crate) struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    tail_seen: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest item.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen && self.is_empty() {
            return None;
        }
        // SAFETY: the position is below the tail, whose acquire load made the item visible; the producer does not touch the place
        // before the head has passed it, and we do not read it again.
        let item = self.ring.place(self.head).with_mut(|place| unsafe { (*place).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.ring.head.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Whether there is nothing to pop.
    #[inline]
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.ring.tail.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }

    /// Whether the producer is gone. What it pushed before is seen by whoever saw this first: empty now is empty for ever.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.ring.closed.load(Ordering::Acquire)
    }
}

impl<T> Drop for Consumer<T> {
    /// Drops what it has not popped. An item that is being pushed at this moment goes when the producer does.
    fn drop(&mut self) {
        self.ring.closed.store(true, Ordering::Relaxed);
        while self.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests;
