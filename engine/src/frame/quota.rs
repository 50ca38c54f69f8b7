//! Quotas: how many frames of a pool a subscriber may hold, so that nobody starves the rest.
//!
//! A subscriber's quota bounds the frames it holds. Beyond that, [`Pool::lease_for`] refuses while fewer than *fill reserve + reorder
//! reserve* frames are free. Those frames are not leased, and only the same test lets more be leased; so at every moment at least that many
//! frames outside the windows are not leased, whatever subscribers do. A link's receive buffers, what receivers hold out of order and
//! control packets share them; with a reserve of their sum, reception and repair go on. What is refused goes back to the caller, who
//! copies it elsewhere ([`Pool::copy_from`] into a pool for that) or drops it, and says so.
//!
//! For the worker, through its pool; `lease` tells of each frame that goes and comes. Guards: what a subscriber that left still holds counts
//! against nobody who came after it.

use super::lease::Leased;
use super::pool::{Frame, Pool};

/// A subscriber's share of a pool's frames: see [`Pool::add_quota`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a quota that is dropped bounds nobody: remove it from its pool"]
pub struct QuotaId {
    pool: u32,
    number: u16,
}

/// Nobody's: frames that were leased without a quota.
pub(super) const UNBOUNDED: u16 = 0;

#[derive(Debug)]
struct Quota {
    most: u32,
    held: u32,
    /// Its subscriber is gone; the number serves another once the frames are home.
    is_retired: bool,
}

/// All quotas of a pool, and which frame counts against which.
#[derive(Debug)]
pub(super) struct Quotas {
    /// By frame: whose quota it counts against while it is leased.
    owner: Box<[u16]>,
    /// The first is nobody's.
    quotas: Vec<Quota>,
}

impl Quotas {
    /// Of a pool of so many frames.
    pub(super) fn new(frames: u32) -> Self {
        let unbounded = Quota { most: u32::MAX, held: 0, is_retired: false };
        Self { owner: vec![UNBOUNDED; frames as usize].into(), quotas: vec![unbounded] }
    }

    fn add(&mut self, most: u32) -> u16 {
        let fresh = Quota { most, held: 0, is_retired: false };
        let number = if let Some(at) = self.quotas.iter().position(|quota| quota.is_retired && quota.held == 0) {
            self.quotas[at] = fresh;
            at
        } else {
            self.quotas.push(fresh);
            self.quotas.len() - 1
        };
        number.try_into().expect("at most 65,535 quotas")
    }

    fn retire(&mut self, number: u16) {
        self.quotas[usize::from(number)].is_retired = true;
    }

    #[inline]
    fn room(&self, number: u16) -> u32 {
        let Quota { most, held, .. } = self.quotas[usize::from(number)];
        most - held
    }

    fn held(&self, number: u16) -> u32 {
        self.quotas[usize::from(number)].held
    }

    /// A frame was leased against a quota, or nobody's.
    #[inline]
    pub(super) fn leased(&mut self, frame: u32, owner: u16) {
        self.owner[frame as usize] = owner;
        self.quotas[usize::from(owner)].held += 1;
    }

    /// A frame that was leased is home.
    #[inline]
    pub(super) fn came_home(&mut self, frame: u32) {
        self.quotas[usize::from(self.owner[frame as usize])].held -= 1;
    }
}

impl Pool {
    /// Leases a frame against a subscriber's quota; gives it back when the quota is used up or the free frames are down to the reserves.
    #[inline]
    pub fn lease_for(&mut self, quota: &QuotaId, frame: Frame) -> Result<Leased, Frame> {
        if self.lease_room(quota) == 0 {
            return Err(frame);
        }
        Ok(self.lease_out(quota.number, core::iter::once(frame)))
    }

    /// Leases the frames of one message as one, against a subscriber's quota; leaves them where they are when there is no room for all.
    ///
    /// # Panics
    /// As [`Pool::lease_chain`].
    pub fn lease_chain_for(&mut self, quota: &QuotaId, frames: &mut Vec<Frame>) -> Option<Leased> {
        let fits = frames.len() <= self.lease_room(quota) as usize;
        fits.then(|| self.lease_out(quota.number, frames.drain(..)))
    }

    /// Frames that [`Pool::lease_for`] would lease against this quota now.
    ///
    /// # Panics
    /// If the quota is of another pool.
    #[inline]
    pub fn lease_room(&self, quota: &QuotaId) -> u32 {
        assert!(quota.pool == self.id(), "a quota of another pool");
        if self.spare() < self.reorder_reserve {
            return 0;
        }
        self.leasing.as_ref().map_or(0, |leasing| leasing.quotas.room(quota.number))
    }

    /// Frames that are leased against this quota.
    pub fn leased_to(&self, quota: &QuotaId) -> u32 {
        assert!(quota.pool == self.id(), "a quota of another pool");
        self.leasing.as_ref().map_or(0, |leasing| leasing.quotas.held(quota.number))
    }

    /// A quota of `frames` for a new subscriber.
    ///
    /// # Panics
    /// With the 65,536th.
    pub fn add_quota(&mut self, frames: u32) -> QuotaId {
        QuotaId { pool: self.id(), number: self.leasing().quotas.add(frames) }
    }

    /// Ends a quota. What is leased against it comes home as before.
    #[allow(clippy::needless_pass_by_value)] // the quota ends here
    pub fn remove_quota(&mut self, quota: QuotaId) {
        assert!(quota.pool == self.id(), "a quota of another pool");
        self.leasing().quotas.retire(quota.number);
    }
}

#[cfg(all(test, not(loom)))] // outside of a model the atomics of loom do not work
mod tests {
    use super::*;
    use crate::frame::Layout;

    fn pool(frames: u32) -> Pool {
        Pool::anonymous(Layout::standard(frames)).expect("a small mapping")
    }

    #[test]
    fn a_subscriber_over_its_quota_gets_nothing_and_another_is_unharmed() {
        let mut pool = pool(8);
        let (greedy, modest) = (pool.add_quota(2), pool.add_quota(2));
        let mut kept = Vec::new();
        for _ in 0..2 {
            let frame = pool.take().expect("a free frame");
            kept.push(pool.lease_for(&greedy, frame).expect("two"));
        }
        let frame = pool.take().expect("a free frame");
        let frame = pool.lease_for(&greedy, frame).expect_err("a third");
        let fine = pool.lease_for(&modest, frame).expect("its first");
        let mut message = vec![pool.take().expect("a free frame"), pool.take().expect("another")];
        assert!(pool.lease_chain_for(&modest, &mut message).is_none(), "room for one of two");
        assert_eq!((message.len(), pool.lease_room(&modest), pool.leased_to(&greedy)), (2, 1, 2));
        drop(fine);
        pool.collect();
        let chain = pool.lease_chain_for(&modest, &mut message).expect("room for two");
        assert_eq!((message.len(), pool.lease_room(&modest)), (0, 0));
        drop((chain, kept));
        assert_eq!(pool.collect(), 4);
        assert_eq!((pool.lease_room(&modest), pool.lease_room(&greedy)), (2, 2));
        assert_eq!((pool.census().free, pool.census().leased), (8, 0));
    }

    #[test]
    fn the_frames_of_a_subscriber_that_left_do_not_count_against_its_successor() {
        let mut pool = pool(8);
        let left = pool.add_quota(1);
        let frame = pool.take().expect("a free frame");
        let kept = pool.lease_for(&left, frame).expect("one");
        pool.remove_quota(left);
        let next = pool.add_quota(3);
        assert_eq!((pool.lease_room(&next), pool.leased_to(&next)), (3, 0));
        drop(kept);
        pool.collect();
        assert_eq!((pool.lease_room(&next), pool.leased_to(&next)), (3, 0));
        let third = pool.add_quota(1);
        assert_eq!(third.number, 1, "the number serves again once its frames are home");
    }

    #[test]
    fn reserves_are_never_leased_and_windows_leave_them_alone() {
        let mut pool = pool(16);
        let quota = pool.add_quota(100);
        pool.set_fill_reserve(3);
        pool.set_reorder_reserve(4);
        assert!(pool.take_run(10).is_none());
        let run = pool.take_run(2).expect("which leaves 14");
        let mut kept = Vec::new();
        let back = loop {
            let frame = pool.take_for_fill().expect("what is received finds a frame for ever");
            match pool.lease_for(&quota, frame) {
                Ok(leased) => kept.push(leased),
                Err(back) => break back,
            }
        };
        assert_eq!((kept.len(), pool.available()), (7, 6));
        pool.put(back);
        assert_eq!(pool.available(), 7);
        drop(kept);
        pool.collect();
        pool.put_run(run);
    }
}
