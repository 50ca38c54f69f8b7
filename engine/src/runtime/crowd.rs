//! A bell with many waiters: producers that wait for room in one queue.
//!
//! Used by [`SharedPublisher`](super::SharedPublisher). Guards: who waits is woken when something was returned after it looked; ringing
//! costs a fence and a load while nobody waits.

use core::sync::atomic::{AtomicUsize, Ordering, fence};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;
use std::thread::Thread;
use std::time::Instant;

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Crowd {
    /// Wakes everybody.
    #[inline]
    pub(super) fn ring(&self) {
        // Pairs with the fence in `enlist`: either we see who waits, or who waits sees what was done before.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(0, Ordering::Relaxed);
        let all = core::mem::take(&mut *wakers);
        drop(wakers);
        all.into_iter().for_each(Waker::wake);
    }

    fn enlist(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|one| one.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        self.waiting.store(wakers.len(), Ordering::Relaxed);
        drop(wakers);
        fence(Ordering::SeqCst);
    }

    /// Who gave up is not woken any more.
    #[cold]
    fn dismiss(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.retain(|one| !one.will_wake(waker));
        self.waiting.store(wakers.len(), Ordering::Relaxed);
    }

    /// Waits in a task until `ready` gives something.
    pub(super) fn poll<T>(&self, cx: &mut Context<'_>, mut ready: impl FnMut() -> Option<T>) -> Poll<T> {
        if let Some(got) = ready() {
            return Poll::Ready(got);
        }
        self.enlist(cx.waker());
        ready().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits in a thread until `ready` gives something, or until `until`.
    pub(super) fn wait<T>(&self, mut ready: impl FnMut() -> Option<T>, until: Option<Instant>) -> Option<T> {
        if let Some(got) = ready() {
            return Some(got);
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            self.enlist(&waker);
            if let Some(got) = ready() {
                return Some(got);
            }
            match until {
                None => std::thread::park(),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.dismiss(&waker);
                        return None;
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::queue::ArrayQueue;
    use std::time::Duration;

    #[test]
    fn nobody_sleeps_through_what_was_returned_for_it() {
        let (crowd, places) = (Crowd::default(), ArrayQueue::new(2));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let far = Instant::now() + Duration::from_secs(60);
                        crowd.wait(|| places.pop(), Some(far)).expect("as many were returned as are taken");
                    }
                });
            }
            for place in 0..8_000_u32 {
                while places.push(place).is_err() {
                    std::thread::yield_now();
                }
                crowd.ring();
            }
        });
        assert!(places.is_empty());
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let crowd = Crowd::default();
        assert_eq!(crowd.wait(|| None::<()>, Some(Instant::now() + Duration::from_millis(2))), None);
    }

    #[test]
    fn who_gave_up_waiting_is_not_kept_in_mind() {
        let crowd = Crowd::default();
        for _ in 0..100 {
            assert_eq!(crowd.wait(|| None::<()>, Some(Instant::now())), None);
        }
        assert_eq!(crowd.wakers.lock().expect("no panic under it").len(), 0);
        assert_eq!(crowd.waiting.load(Ordering::Relaxed), 0);
    }
}
