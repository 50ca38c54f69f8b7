//! One direction of a faulty link: decides the fate of each packet and holds back what comes later.
//!
//! Packets go in one by one ([`Lane::take`]) and come out of `ready`, which the link empties before it puts in another. The lane
//! owns the frames it holds: whatever happens, each leaves through `ready` or goes back to its pool.

use core::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use super::drops::Drops;
use super::plan::{Chance, SidePlan};
use crate::frame::{Frame, Incoming, Outgoing, Pool};
use crate::protocol::Rng;
use crate::time::{Time, earliest, nanos};

/// How many packets may wait to be overtaken at once: reordering is a local disorder, a long wait is a delay.
const BEHIND_MAX: usize = 16;
/// A packet that nothing overtakes comes after this time: longer than the gaps in a stream, shorter than anybody's patience.
const BEHIND_NS: u64 = 1_000_000;

/// What a lane did, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Packets that came to the lane.
    pub packets: u64,
    /// Lost one by one.
    pub lost: u64,
    /// Lost in bursts.
    pub lost_in_bursts: u64,
    /// Lost because they were listed.
    pub lost_by_list: u64,
    /// Lost in a cut.
    pub cut: u64,
    /// Sent on twice.
    pub duplicated: u64,
    /// Made to fall behind.
    pub reordered: u64,
    /// Changed in one octet.
    pub corrupted: u64,
    /// Shortened.
    pub truncated: u64,
    /// Delayed.
    pub delayed: u64,
    /// Not held back, because too many were held already.
    pub over_bound: u64,
    /// Neither doubled nor changed, because there was no frame to do it in.
    pub no_frame: u64,
}

/// A packet of either direction.
pub(super) trait Packet: Sized {
    /// Whether its octets may be changed where they are. Those of a packet on its way out belong to a window.
    const IN_PLACE: bool;
    fn frame(&mut self) -> &mut Frame;
    /// The same packet in another frame; gives the old one.
    fn exchange(&mut self, frame: Frame) -> Frame {
        core::mem::replace(self.frame(), frame)
    }
    fn twin(&self, frame: Frame) -> Self;
    fn into_frame(self) -> Frame;
}

impl Packet for Incoming {
    const IN_PLACE: bool = true;
    fn frame(&mut self) -> &mut Frame {
        &mut self.frame
    }
    fn twin(&self, frame: Frame) -> Self {
        Self { frame, from: self.from, to: self.to }
    }
    fn into_frame(self) -> Frame {
        self.frame
    }
}

impl Packet for Outgoing {
    const IN_PLACE: bool = false;
    fn frame(&mut self) -> &mut Frame {
        &mut self.frame
    }
    fn twin(&self, frame: Frame) -> Self {
        Self { frame, to: self.to, router_alert: self.router_alert }
    }
    fn into_frame(self) -> Frame {
        self.frame
    }
}

/// A packet that comes at a time.
struct Delayed<T> {
    due: Time,
    /// Breaks ties: first come, first served.
    number: u64,
    packet: T,
}

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<T> Eq for Delayed<T> {}
impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Delayed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// A packet that waits to be overtaken.
struct Behind<T> {
    packets_left: u32,
    due: Time,
    packet: T,
}

pub(super) struct Lane<T> {
    plan: SidePlan,
    rng: Rng,
    in_burst: bool,
    hold: usize,
    delayed: BinaryHeap<Reverse<Delayed<T>>>,
    behind: Vec<Behind<T>>,
    pub(super) ready: VecDeque<T>,
    pub(super) counts: FaultCounts,
    /// Where losses are noted, if somebody wants to know.
    pub(super) drops: Option<Drops>,
}

impl<T: Packet> Lane<T> {
    pub(super) fn new(plan: SidePlan, seed: u64, hold: usize) -> Self {
        // A quiet lane holds nothing: a thousand simulated links should not cost a thousand heaps.
        let hold = if plan.is_quiet() { 0 } else { hold };
        Self {
            plan,
            rng: Rng::new(seed),
            in_burst: false,
            hold,
            delayed: BinaryHeap::with_capacity(hold),
            behind: Vec::with_capacity(if hold == 0 { 0 } else { BEHIND_MAX }),
            ready: VecDeque::with_capacity(if hold == 0 { 0 } else { hold + 2 * BEHIND_MAX }),
            counts: FaultCounts::default(),
            drops: None,
        }
    }

    /// Whether packets may pass beside the lane.
    #[inline]
    pub(super) fn is_idle(&self, over: bool) -> bool {
        self.hold == 0 || (over && self.delayed.is_empty() && self.behind.is_empty() && self.ready.is_empty())
    }

    fn draw(&mut self, chance: Chance) -> bool {
        // No draw for what never happens: a plan's seed means the same with other faults switched off.
        chance != Chance::NEVER && self.rng.chance(u64::from(chance.get()), u64::from(Chance::WHOLE))
    }

    /// Whether the packet is lost; `at_ns` is the time since the link's start.
    fn loses(&mut self, at_ns: u64) -> bool {
        let number = self.counts.packets;
        let counts = &mut self.counts;
        if self.plan.cuts.iter().any(|&(from, to)| (nanos(from)..nanos(to)).contains(&at_ns)) {
            counts.cut += 1;
            return true;
        }
        if self.plan.listed.binary_search(&number).is_ok() {
            counts.lost_by_list += 1;
            return true;
        }
        if let Some(burst) = self.plan.burst {
            self.in_burst = if self.in_burst {
                !self.rng.chance(1, u64::from(burst.packets_mean))
            } else {
                self.draw(burst.begins)
            };
            if self.in_burst {
                self.counts.lost_in_bursts += 1;
                return true;
            }
        }
        if self.draw(self.plan.loss) {
            self.counts.lost += 1;
            return true;
        }
        false
    }

    /// A copy of the packet's octets in a frame of its own.
    fn copy(&mut self, pool: &mut Pool, packet: &mut T) -> Option<Frame> {
        let copy = pool.copy(packet.frame());
        self.counts.no_frame += u64::from(copy.is_none());
        copy
    }

    /// Decides about one packet. Whatever comes of it, now or later, comes out of `ready`.
    pub(super) fn take(&mut self, now: Time, at_ns: u64, over: bool, pool: &mut Pool, mut packet: T) {
        if over {
            self.ready.push_back(packet);
            return;
        }
        self.counts.packets += 1;
        if self.loses(at_ns) {
            if let Some(drops) = &self.drops {
                drops.note(now, pool.bytes(packet.frame()));
            }
            pool.put(packet.into_frame());
            return;
        }
        if self.draw(self.plan.duplication)
            && let Some(frame) = self.copy(pool, &mut packet)
        {
            self.counts.duplicated += 1;
            let twin = packet.twin(frame);
            self.pass(now, twin);
        }
        if self.draw(self.plan.corruption) {
            self.corrupt(pool, &mut packet);
        }
        if self.draw(self.plan.truncation) {
            let frame = packet.frame();
            let len = self.rng.below(frame.len() as u64) as u16;
            frame.set_range(frame.start(), len);
            self.counts.truncated += 1;
        }
        if self.draw(self.plan.reordering) {
            if self.behind.len() < BEHIND_MAX {
                self.counts.reordered += 1;
                let packets_left = 1 + self.rng.below(u64::from(self.plan.reorder_depth.max(1))) as u32;
                self.behind.push(Behind { packets_left, due: now.plus(BEHIND_NS), packet });
                return;
            }
            self.counts.over_bound += 1;
        }
        self.pass(now, packet);
        self.overtaken();
    }

    /// One octet is changed: the Internet checksum finds every such error, so that what gets through is a bug and no bad luck.
    fn corrupt(&mut self, pool: &mut Pool, packet: &mut T) {
        if packet.frame().is_empty() {
            return;
        }
        if !T::IN_PLACE {
            let Some(copy) = self.copy(pool, packet) else { return };
            pool.put(packet.exchange(copy));
        }
        let at = self.rng.below(packet.frame().len() as u64) as usize;
        let change = 1 + self.rng.below(255) as u8;
        pool.bytes_mut(packet.frame())[at] ^= change;
        self.counts.corrupted += 1;
    }

    fn pass(&mut self, now: Time, packet: T) {
        let (delay, jitter) = (nanos(self.plan.delay), nanos(self.plan.jitter));
        if delay == 0 && jitter == 0 {
            self.ready.push_back(packet);
            return;
        }
        if self.delayed.len() >= self.hold {
            self.counts.over_bound += 1;
            self.ready.push_back(packet);
            return;
        }
        self.counts.delayed += 1;
        let due = now.plus(delay).plus(self.rng.up_to(jitter));
        self.delayed.push(Reverse(Delayed { due, number: self.counts.packets, packet }));
    }

    /// A packet has passed: those that waited for it come behind it.
    fn overtaken(&mut self) {
        let mut n = 0;
        while n < self.behind.len() {
            self.behind[n].packets_left -= 1;
            if self.behind[n].packets_left == 0 {
                let behind = self.behind.remove(n);
                self.ready.push_back(behind.packet);
            } else {
                n += 1;
            }
        }
    }

    /// Moves what has waited long enough to `ready`.
    pub(super) fn release_due(&mut self, now: Time) {
        while self.delayed.peek().is_some_and(|Reverse(next)| next.due <= now) {
            if let Some(Reverse(next)) = self.delayed.pop() {
                self.ready.push_back(next.packet);
            }
        }
        while self.behind.first().is_some_and(|next| next.due <= now) {
            let next = self.behind.remove(0);
            self.ready.push_back(next.packet);
        }
    }

    /// When something held back is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time::ZERO);
        }
        earliest(self.delayed.peek().map(|Reverse(next)| next.due), self.behind.first().map(|next| next.due))
    }

    /// Gives every frame back.
    pub(super) fn empty(&mut self, pool: &mut Pool) {
        let held = self.delayed.drain().map(|Reverse(delayed)| delayed.packet);
        let held = held.chain(self.behind.drain(..).map(|behind| behind.packet)).chain(self.ready.drain(..));
        for packet in held {
            pool.put(packet.into_frame());
        }
    }
}
