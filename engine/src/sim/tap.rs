//! A link that shows every packet to the wire watch: what its endpoint sends, and what really reaches a source.

use core::cell::RefCell;
use std::rc::Rc;

use super::wire_watch::WireWatch;
use crate::frame::{Pool, RxBatch, TxBatch};
use crate::link::{Link, LinkError, pass_on};
use crate::time::Time;

/// Packets that are looked at in one go.
const STAGE: usize = 64;

/// Wraps the link of one node.
pub struct Tap<L> {
    inner: L,
    watch: Rc<RefCell<WireWatch>>,
    node: u32,
    /// Whether what comes in is shown too.
    listens: bool,
    arrived: RxBatch,
    leaving: TxBatch,
}

impl<L: Link> Tap<L> {
    /// Shows what `node` sends, and what it receives if `listens`.
    pub fn new(inner: L, watch: Rc<RefCell<WireWatch>>, node: u32, listens: bool) -> Self {
        Self { inner, watch, node, listens, arrived: RxBatch::new(STAGE), leaving: TxBatch::new(STAGE) }
    }

    /// The link behind the tap.
    pub fn inner(&self) -> &L {
        &self.inner
    }
}

impl<L: Link> Link for Tap<L> {
    pass_on!(inner);

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        if !self.listens {
            return self.inner.receive(now, pool, into);
        }
        let before = into.len();
        if self.arrived.is_empty() {
            self.inner.receive(now, pool, &mut self.arrived)?;
        }
        let mut watch = self.watch.borrow_mut();
        while into.room() > 0 {
            let Some(incoming) = self.arrived.pop() else { break };
            watch.reached(now, self.node, pool.bytes(&incoming.frame));
            into.push(incoming);
        }
        Ok(into.len() - before)
    }

    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let mut taken = 0;
        loop {
            if !from.is_empty() {
                let mut watch = self.watch.borrow_mut();
                while self.leaving.room() > 0 {
                    let Some(out) = from.pop() else { break };
                    watch.sent(now, self.node, pool.bytes(&out.frame), out.to, out.router_alert);
                    self.leaving.push(out);
                    taken += 1;
                }
            }
            self.inner.send(now, pool, &mut self.leaving)?;
            if from.is_empty() || self.leaving.room() == 0 {
                return Ok(taken);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        if !self.arrived.is_empty() || !self.leaving.is_empty() {
            return Some(Time::ZERO);
        }
        self.inner.deadline()
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        while let Some(packet) = self.arrived.pop() {
            pool.put(packet.frame);
        }
        while let Some(packet) = self.leaving.pop() {
            pool.put(packet.frame);
        }
        self.inner.shut_down(pool);
    }
}
