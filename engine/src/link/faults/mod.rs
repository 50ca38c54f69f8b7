//! The faulty link: wraps any link and does to its packets what bad networks do, as a seed decides.
//!
//! Loss (single, in bursts, by list), duplication, reordering, corruption, truncation, delay and one-way cuts, on what is received and
//! on what is sent. A feature for users and the simulator's bad network at once: what the simulator proves, it proves through this
//! code. Frames that are held back stay owned by the link, in bounded number, and go back at [`Link::shut_down`].

mod drops;
mod lane;
mod plan;

use core::time::Duration;
use std::os::fd::BorrowedFd;

pub use drops::Drops;
pub use lane::FaultCounts;
use lane::Lane;
pub use plan::{Burst, Chance, FaultPlan, PlanError, SidePlan};

use super::{Link, LinkError};
use crate::frame::{Incoming, Outgoing, Pool, RxBatch, TxBatch};
use crate::time::{Time, earliest, nanos};

/// Packets that wait between the two links, at the most: one batch.
const STAGE: usize = 64;

/// A link with faults.
pub struct Faults<L> {
    inner: L,
    origin: Time,
    until: Option<Time>,
    receive: Lane<Incoming>,
    send: Lane<Outgoing>,
    /// Received, their fate not decided yet.
    arrived: RxBatch,
    /// Their fate decided, not taken by the inner link yet.
    leaving: TxBatch,
    /// The inner link filled the last batch: there may be more, whatever came of those.
    more: bool,
}

impl<L: Link> Faults<L> {
    /// Puts faults in front of `inner`; the times of the plan count from `origin`.
    pub fn new(inner: L, plan: &FaultPlan, origin: Time) -> Self {
        let hold = plan.hold.min(FaultPlan::HOLD_MAX);
        // Two generators: what happens to one direction does not depend on the traffic of the other.
        let receive = Lane::new(plan.receive.clone(), plan.seed, hold);
        let send = Lane::new(plan.send.clone(), plan.seed ^ 0x5e4d_0000_0000_0000, hold);
        Self {
            inner,
            origin,
            until: plan.until.map(|until| origin.plus(nanos(until))),
            receive,
            send,
            arrived: RxBatch::new(STAGE),
            leaving: TxBatch::new(STAGE),
            more: false,
        }
    }

    /// The link behind the faults.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// Notes from now on which data was lost on its way in, and when: what it took to repair it can be told from that.
    pub fn note_drops(&mut self) -> Drops {
        self.receive.drops.get_or_insert_with(Drops::new).clone()
    }

    /// What was done to packets received.
    pub fn receive_counts(&self) -> FaultCounts {
        self.receive.counts
    }

    /// What was done to packets sent.
    pub fn send_counts(&self) -> FaultCounts {
        self.send.counts
    }

    fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

impl<L: Link> Link for Faults<L> {
    pass_on!(inner);

    #[inline]
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let over = self.is_over(now);
        if self.receive.is_idle(over) && self.arrived.is_empty() {
            self.more = false;
            return self.inner.receive(now, pool, into);
        }
        let before = into.len();
        let at_ns = now.since(self.origin);
        self.receive.release_due(now);
        // Bounded: the inner link is asked once, and everything it gave is looked at once.
        if self.arrived.room() > 0 && into.room() > 0 {
            self.inner.receive(now, pool, &mut self.arrived)?;
            self.more = self.arrived.room() == 0;
        }
        loop {
            while into.room() > 0 {
                let Some(packet) = self.receive.ready.pop_front() else { break };
                into.push(packet);
            }
            if into.room() == 0 {
                break;
            }
            let Some(packet) = self.arrived.pop() else { break };
            self.receive.take(now, at_ns, over, pool, packet);
        }
        Ok(into.len() - before)
    }

    #[inline]
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let over = self.is_over(now);
        if self.send.is_idle(over) && self.leaving.is_empty() {
            return self.inner.send(now, pool, from);
        }
        let at_ns = now.since(self.origin);
        let mut taken = 0;
        self.send.release_due(now);
        loop {
            while self.leaving.room() > 0 {
                let Some(packet) = self.send.ready.pop_front() else { break };
                self.leaving.push(packet);
            }
            if self.leaving.room() == 0 {
                self.inner.send(now, pool, &mut self.leaving)?;
                if self.leaving.room() == 0 {
                    break;
                }
            }
            if !self.send.ready.is_empty() {
                continue;
            }
            let Some(packet) = from.pop() else { break };
            taken += 1;
            self.send.take(now, at_ns, over, pool, packet);
        }
        // Also with nothing to send: the inner link takes its completions back.
        self.inner.send(now, pool, &mut self.leaving)?;
        Ok(taken)
    }

    fn deadline(&self) -> Option<Time> {
        if self.more || !self.arrived.is_empty() || !self.leaving.is_empty() {
            return Some(Time::ZERO);
        }
        earliest(self.inner.deadline(), earliest(self.receive.deadline(), self.send.deadline()))
    }

    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        self.inner.wait(at_most, wake)
    }

    fn loops_back(&self) -> bool {
        self.inner.loops_back()
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.receive.empty(pool);
        self.send.empty(pool);
        while let Some(packet) = self.arrived.pop() {
            pool.put(packet.frame);
        }
        while let Some(packet) = self.leaving.pop() {
            pool.put(packet.frame);
        }
        self.inner.shut_down(pool);
    }
}

#[cfg(test)]
mod tests;
