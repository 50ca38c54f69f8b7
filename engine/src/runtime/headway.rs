//! How far a session has come, as its worker tells its publisher.
//!
//! ```text
//!   worker      lead (store)   fence   is somebody waiting for it?   bell
//!   publisher   awaited (store)  asleep   fence   lead (load)        sleeps
//! ```
//!
//! Written by the worker after each poll, read by the publisher. Guards: who waits for a packet to leave is woken when it has, and not by
//! each one before it.

use core::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Instant;

use crate::sync::bell::Bell;
use crate::wire::Sqn;

/// One session's progress.
pub(super) struct Headway {
    /// Rung when the window may have room again, or what was waited for has left.
    pub(super) bell: Bell,
    /// Last packet that has left: the worker's.
    lead: AtomicU32,
    /// The packet that is waited for: the publisher's.
    awaited: AtomicU32,
}

impl Headway {
    /// Of a session that has sent nothing before `first`.
    pub(super) fn new(first: Sqn) -> Self {
        let before = first.prev().get();
        Self { bell: Bell::new(), lead: AtomicU32::new(before), awaited: AtomicU32::new(before) }
    }

    /// The last packet that has left.
    #[inline]
    pub(super) fn lead(&self) -> Sqn {
        Sqn::new(self.lead.load(Ordering::Acquire))
    }

    /// More packets have left. The worker's.
    #[inline]
    pub(super) fn set_lead(&self, lead: Sqn) {
        let before = Sqn::new(self.lead.load(Ordering::Relaxed));
        self.lead.store(lead.get(), Ordering::Release);
        // Before the load: either we see who waits, or who waits sees the lead.
        fence(Ordering::SeqCst);
        let awaited = Sqn::new(self.awaited.load(Ordering::Relaxed));
        if awaited.is_after(before) && !awaited.is_after(lead) {
            self.bell.ring();
        }
    }

    /// Waits until `sqn` has left, or `ready` has something else to say. The publisher's.
    pub(super) fn wait<T>(
        &self,
        sqn: Sqn,
        until: Option<Instant>,
        mut ready: impl FnMut(bool) -> Option<T>,
    ) -> Option<T> {
        self.awaited.store(sqn.get(), Ordering::Relaxed);
        self.bell.wait(|| ready(!sqn.is_after(self.lead())), until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_packet_has_left_when_the_lead_has_reached_it_across_the_wrap_too() {
        let headway = Headway::new(Sqn::new(u32::MAX));
        let has_left = |sqn| headway.wait(Sqn::new(sqn), Some(Instant::now()), |left| left.then_some(())).is_some();
        assert!(!has_left(u32::MAX) && !has_left(0));
        headway.set_lead(Sqn::new(0));
        assert!(has_left(u32::MAX) && has_left(0) && !has_left(1));
    }

    #[test]
    fn who_waits_for_a_packet_is_woken_though_no_time_ends_the_wait() {
        let headway = Headway::new(Sqn::new(0));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| headway.wait(Sqn::new(99), None, |left| left.then_some(headway.lead())));
            for sqn in 0..100 {
                headway.set_lead(Sqn::new(sqn));
                std::thread::sleep(Duration::from_micros(10));
            }
            assert_eq!(waiter.join().expect("no panic"), Some(Sqn::new(99)));
        });
    }
}
