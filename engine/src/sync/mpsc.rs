//! Numbers that come home: any thread sends, one takes all that have arrived.
//!
//! For frames whose last reader is done. Numbers are below a bound and each is under way at most once, so that a link of its own for
//! every number is all the room there has to be: sending needs no free place, and cannot fail. What is under way is a list; a sender
//! puts itself in front of it, the taker takes it whole. A sender that is stopped in the middle holds nobody up, which places handed out
//! by a counter would. Newest first: the frames that are still in the caches.
//!
//! Guards: what a thread did before it sent a number is seen by whoever takes it.

use crossbeam::utils::CachePadded;

use super::atomic::{AtomicU32, Ordering};

/// No number: the end of the list.
const NONE: u32 = u32::MAX;
/// In place of the first number: nobody will take anything any more.
const CLOSED: u32 = u32::MAX - 1;

/// The numbers under way.
#[derive(Debug)]
pub(crate) struct Homecoming {
    /// The number sent last.
    first: CachePadded<AtomicU32>,
    /// The number sent before this one. Written by the sender of a number, read by its taker.
    before: Box<[AtomicU32]>,
}

/// Nobody takes numbers any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Homecoming {
    /// For the numbers below `bound`.
    pub(crate) fn new(bound: u32) -> Self {
        assert!(bound < CLOSED, "numbers that mean something else");
        let before = (0..bound).map(|_| AtomicU32::new(NONE)).collect();
        Self { first: CachePadded::new(AtomicU32::new(NONE)), before }
    }

    /// Sends a number home, from any thread. It must not be under way already.
    #[inline]
    pub(crate) fn send(&self, number: u32) -> Result<(), Closed> {
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            if first == CLOSED {
                return Err(Closed);
            }
            self.before[number as usize].store(first, Ordering::Relaxed);
            // Release: what was done before is seen by the taker. Later senders only prolong the chain of changes to `first` that
            // begins here, so that the taker sees what all of them did.
            match self.first.compare_exchange_weak(first, number, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => first = now,
            }
        }
    }

    /// Whether nothing has arrived.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.first.load(Ordering::Relaxed), NONE | CLOSED)
    }

    /// Takes what has arrived. For one thread: the numbers of two would be told apart, but not which is whose.
    #[inline]
    pub(crate) fn take(&self) -> Arrived<'_> {
        let next = if self.is_empty() { NONE } else { self.first.swap(NONE, Ordering::Acquire) };
        Arrived { before: &self.before, next }
    }

    /// Takes what has arrived, and refuses what comes later.
    pub(crate) fn close(&self) -> Arrived<'_> {
        let first = self.first.swap(CLOSED, Ordering::Acquire);
        Arrived { before: &self.before, next: if first == CLOSED { NONE } else { first } }
    }
}

/// Numbers that are home.
#[derive(Debug)]
pub(crate) struct Arrived<'h> {
    before: &'h [AtomicU32],
    next: u32,
}

impl Iterator for Arrived<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let number = self.next;
        if number == NONE {
            return None;
        }
        // Looked up now: once the number is out of here, it may be sent again.
        self.next = self.before[number as usize].load(Ordering::Relaxed);
        Some(number)
    }
}

#[cfg(test)]
mod tests;
