//! How far a session has come, as its worker tells its publisher.
//!
//! ```text
//!   worker      lead (store)   fence   is somebody waiting for it?   bell
//!   publisher   awaited (store)  asleep   fence   lead (load)        sleeps
//! ```
//!
//! Written by the worker after each poll, read by the publisher. Guards: who waits for a packet to leave is woken when it has, or when it
//! is certain that it never will, and not by each one before it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::time::Instant;

use crate::sync::bell::Bell;
use crate::wire::Sqn;

/// One session's progress.
pub(super) struct Headway {
    /// Rung when the window may have room again, or what was waited for has left.
    pub(super) bell: Bell,
    /// Last packet that has left: the worker's.
    lead: AtomicU32,
    /// The lead moves no more: the worker's.
    is_final: AtomicBool,
    /// The packet that is waited for: the publisher's.
    awaited: AtomicU32,
}

impl Headway {
    /// Of a session that has sent nothing before `first`.
    pub(super) fn new(first: Sqn) -> Self {
        let before = first.prev().get();
        let [lead, awaited] = [before; 2].map(AtomicU32::new);
        Self { bell: Bell::new(), lead, is_final: AtomicBool::new(false), awaited }
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

    /// No more packets will leave than have. The worker's, which may say so again.
    #[inline]
    pub(super) fn finish(&self) {
        if !self.is_final.load(Ordering::Relaxed) {
            self.is_final.store(true, Ordering::Release);
            self.bell.ring();
        }
    }

    /// How it stands with `sqn`. The publisher's.
    pub(super) fn standing(&self, sqn: Sqn) -> Standing {
        // Before the lead: the one that is read then is the last one.
        let is_final = self.is_final.load(Ordering::Acquire);
        match (sqn.is_after(self.lead()), is_final) {
            (false, _) => Standing::Left,
            (true, false) => Standing::Waits,
            (true, true) => Standing::Never,
        }
    }

    /// Waits until `ready` has something to say, and is woken when `sqn` has left. The publisher's.
    pub(super) fn wait<T>(&self, sqn: Sqn, until: Option<Instant>, ready: impl FnMut() -> Option<T>) -> Option<T> {
        self.awaited.store(sqn.get(), Ordering::Relaxed);
        self.bell.wait(ready, until)
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has left.
    Left,
    /// It may leave yet.
    Waits,
    /// It did not leave, and never will.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_packet_has_left_when_the_lead_has_reached_it_across_the_wrap_too() {
        let headway = Headway::new(Sqn::new(u32::MAX));
        let has_left = |sqn| headway.standing(Sqn::new(sqn)) == Standing::Left;
        assert!(!has_left(u32::MAX) && !has_left(0));
        headway.set_lead(Sqn::new(0));
        assert!(has_left(u32::MAX) && has_left(0) && !has_left(1));
    }

    #[test]
    fn who_waits_for_a_packet_is_woken_though_no_time_ends_the_wait() {
        let headway = &Headway::new(Sqn::new(0));
        std::thread::scope(|scope| {
            let last = Sqn::new(99);
            let lead = move || (headway.standing(last) == Standing::Left).then(|| headway.lead());
            let waiter = scope.spawn(move || headway.wait(last, None, lead));
            for sqn in 0..100 {
                headway.set_lead(Sqn::new(sqn));
                std::thread::sleep(Duration::from_micros(10));
            }
            assert_eq!(waiter.join().expect("no panic"), Some(Sqn::new(99)));
        });
    }

    #[test]
    fn who_waits_for_a_packet_that_never_leaves_is_told_when_that_is_certain() {
        let headway = &Headway::new(Sqn::new(0));
        std::thread::scope(|scope| {
            let (left, never) = (Sqn::new(3), Sqn::new(4));
            let ended = move || Some(headway.standing(never)).filter(|standing| *standing != Standing::Waits);
            let waiter = scope.spawn(move || headway.wait(never, None, ended));
            headway.set_lead(left);
            headway.finish();
            assert_eq!(waiter.join().expect("no panic"), Some(Standing::Never));
            assert_eq!(headway.standing(left), Standing::Left);
        });
    }
}
