//! The oracle: one witness beside each receiver, who knows what was sent and holds every delivery against it.
//!
//! What a receiver delivers must be what was sent from its joining point on: in order (or as complete APDUs, if so configured), once,
//! octet for octet; what is missing must have been reported as lost, exactly, before anything behind it comes.

use core::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::ledger::{Ledger, Ledgers};
use super::wire_watch::WireWatch;
use crate::frame::{Frame, Pool};
use crate::protocol::receiver::Order;
use crate::protocol::{Delivery, End, Event, LossCause, Sink};
use crate::wire::{Sqn, Tsi};

/// One session as one receiver has seen it.
#[derive(Debug)]
pub struct View {
    /// The session.
    pub tsi: Tsi,
    ledger: usize,
    /// Position at which the receiver joined.
    pub first: u64,
    /// In order: what has to come next. As complete: behind the last position that is settled without a gap.
    next: u64,
    /// Within an APDU: the position that has to follow at once.
    within: Option<u64>,
    /// As complete: what was delivered or reported lost, from `first` on.
    settled: Vec<bool>,
    /// How it ended.
    pub end: Option<End>,
    /// Packets delivered.
    pub delivered: u64,
    /// Packets reported lost.
    pub lost: u64,
    /// Those of them that are the beginning of an APDU whose rest was never sent.
    pub cut_short: u64,
    /// Times that it was opened.
    pub opened: u32,
}

/// Takes what one receiver delivers.
pub struct Witness {
    node: u32,
    /// `None` beside a node without a receiver.
    order: Option<Order>,
    ledgers: Rc<RefCell<Ledgers>>,
    watch: Rc<RefCell<WireWatch>>,
    views: Vec<View>,
    /// The view that the last delivery belonged to.
    last: usize,
    /// Deliveries that the application is still reading, and how many it keeps.
    leases: VecDeque<Frame>,
    lease_max: usize,
    fault: Option<String>,
    /// Packets delivered, of all sessions.
    pub delivered: u64,
    /// Octets delivered.
    pub octets: u64,
    /// Packets reported lost.
    pub lost: u64,
}

impl View {
    /// Fragments of an APDU that began before the joining point can never be complete: they are passed over in silence.
    fn pass_over_partial(&mut self, ledger: &Ledger) {
        if let Some(sent) = ledger.packets.get(self.next as usize)
            && sent.index > 0
            && self.next - u64::from(sent.index) < self.first
        {
            self.next += u64::from(sent.packets - sent.index);
        }
    }

    fn settle(&mut self, position: u64) -> Result<(), String> {
        let at = (position - self.first) as usize;
        if self.settled.len() <= at {
            self.settled.resize(at + 1, false);
        }
        if core::mem::replace(&mut self.settled[at], true) {
            return Err(format!("position {position} comes twice"));
        }
        while self.settled.get((self.next - self.first) as usize) == Some(&true) {
            self.next += 1;
        }
        Ok(())
    }

    /// Position of the first packet that is neither delivered nor reported, if the session is `ledger`.
    pub fn unsettled(&mut self, ledger: &Ledger) -> Option<u64> {
        self.pass_over_partial(ledger);
        while self.settled.get((self.next - self.first) as usize) == Some(&true) {
            self.next += 1;
        }
        (self.next < ledger.sent()).then_some(self.next)
    }
}

impl Witness {
    /// A witness beside the receiver of `node`, whose application reads `lease_max` deliveries at a time.
    pub fn new(
        node: u32,
        order: Option<Order>,
        ledgers: Rc<RefCell<Ledgers>>,
        watch: Rc<RefCell<WireWatch>>,
        lease_max: usize,
    ) -> Self {
        Self {
            node,
            order,
            ledgers,
            watch,
            views: Vec::new(),
            last: 0,
            leases: VecDeque::with_capacity(lease_max + 1),
            lease_max,
            fault: None,
            delivered: 0,
            octets: 0,
            lost: 0,
        }
    }

    /// The first thing that was wrong.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// In which order its receiver delivers; `None` beside a node without one.
    pub fn order(&self) -> Option<Order> {
        self.order
    }

    /// What it has seen of each session.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The same, to settle the end.
    pub fn views_mut(&mut self) -> &mut [View] {
        &mut self.views
    }

    /// The application has read all it was given.
    pub fn return_leases(&mut self, pool: &mut Pool) {
        for frame in self.leases.drain(..) {
            pool.put(frame);
        }
    }

    #[cold]
    fn blame(&mut self, tsi: Tsi, what: impl core::fmt::Display) {
        if self.fault.is_none() {
            self.fault = Some(format!("oracle, node {}, session {tsi}: {what}", self.node));
        }
    }

    fn view(&mut self, tsi: Tsi) -> Option<usize> {
        if self.views.get(self.last).is_none_or(|view| view.tsi != tsi) {
            self.last = self.views.iter().position(|view| view.tsi == tsi)?;
        }
        Some(self.last)
    }

    fn judge_delivery(&mut self, delivery: &Delivery, payload: &[u8]) -> Result<(), String> {
        let order = self.order;
        let Some(at) = self.view(delivery.tsi) else { return Err("a delivery before the session was opened".into()) };
        let view = &mut self.views[at];
        if let Some(end) = view.end {
            return Err(format!("a delivery after the end ({end:?})"));
        }
        let ledgers = self.ledgers.borrow();
        let ledger = &ledgers.0[view.ledger];
        let position = ledger.position(delivery.sqn);
        let Some(sent) = usize::try_from(position).ok().and_then(|position| ledger.packets.get(position)) else {
            return Err(format!("position {position} was never sent"));
        };
        let position = position as u64;
        if position < view.first {
            return Err(format!("position {position} is before the joining point {}", view.first));
        }
        match view.within {
            Some(within) if within != position => {
                return Err(format!("position {position} in the middle of an APDU that goes on with {within}"));
            }
            None if sent.index != 0 => return Err(format!("position {position} begins in the middle of an APDU")),
            _ => {}
        }
        if order == Some(Order::InOrder) {
            view.pass_over_partial(ledger);
            if position != view.next {
                return Err(format!("position {position} delivered, {} was next", view.next));
            }
            view.next += 1;
        } else {
            view.settle(position)?;
        }
        view.within = (sent.index + 1 < sent.packets).then_some(position + 1);
        let placed = match delivery.place {
            None => sent.packets == 1,
            Some(place) => sent.packets > 1 && place.offset == sent.offset && place.len == sent.apdu_len,
        };
        if !placed {
            return Err(format!("position {position} has the wrong place in its APDU"));
        }
        if payload.len() != usize::from(sent.len) || !ledger.matches(position, payload) {
            return Err(format!("position {position} is not what was sent"));
        }
        if delivery.is_last() == view.within.is_some() {
            return Err(format!("position {position} says that its APDU ends elsewhere"));
        }
        view.delivered += 1;
        Ok(())
    }

    fn open(&mut self, tsi: Tsi, first: Sqn, from_start: bool) -> Result<(), String> {
        let ledgers = self.ledgers.borrow();
        let Some(number) = ledgers.find(tsi) else { return Err("a session that does not exist was opened".into()) };
        let ledger = &ledgers.0[number];
        let position = ledger.position(first);
        if position < 0 || position as u64 > ledger.sent() {
            return Err(format!("opened at position {position}"));
        }
        let first = position as u64;
        if from_start && first != 0 {
            return Err(format!("opened at position {first} as if from the start"));
        }
        let fresh = View {
            tsi,
            ledger: number,
            first,
            next: first,
            within: None,
            settled: Vec::new(),
            end: None,
            delivered: 0,
            lost: 0,
            cut_short: 0,
            opened: 1,
        };
        let Some(view) = self.views.iter_mut().find(|view| view.tsi == tsi) else {
            self.views.push(fresh);
            return Ok(());
        };
        if view.end.is_none() {
            return Err("opened while it was open".into());
        }
        *view = View { opened: view.opened + 1, delivered: view.delivered, lost: view.lost, ..fresh };
        Ok(())
    }

    fn lose(&mut self, tsi: Tsi, first: Sqn, last: Sqn, cause: LossCause) -> Result<(), String> {
        let order = self.order;
        let Some(at) = self.view(tsi) else { return Err("a loss before the session was opened".into()) };
        let view = &mut self.views[at];
        if view.end.is_some() || view.within.is_some() {
            return Err(format!("a loss after the end or within an APDU: {:?}, {:?}", view.end, view.within));
        }
        let ledgers = self.ledgers.borrow();
        let ledger = &ledgers.0[view.ledger];
        let (first, last) = (ledger.position(first), ledger.position(last));
        if first < view.first as i64 || last < first || last as u64 >= ledger.sent() {
            return Err(format!("a loss of {first} to {last}, joined at {}, {} sent", view.first, ledger.sent()));
        }
        // An APDU is lost as a whole, once the trail has passed any of its packets.
        let begins = last - i64::from(ledger.packets[last as usize].index);
        if cause == LossCause::WindowPassed && begins >= self.watch.borrow().trail(tsi) {
            return Err(format!("{begins} to {last} reported as behind a trail that has not reached it"));
        }
        if order == Some(Order::InOrder) {
            if first as u64 != view.next {
                view.pass_over_partial(ledger);
            }
            if first as u64 != view.next {
                return Err(format!("a loss of {first} to {last} ({cause:?}), {} was next", view.next));
            }
            view.next = last as u64 + 1;
        } else {
            for position in first..=last {
                view.settle(position as u64)?;
            }
        }
        view.lost += (last - first) as u64 + 1;
        let (begin, end) = (&ledger.packets[first as usize], &ledger.packets[last as usize]);
        if cause == LossCause::SessionEnded && begin.index == 0 && i64::from(end.index) == last - first {
            view.cut_short = (last - first) as u64 + 1;
        }
        self.lost += (last - first) as u64 + 1;
        Ok(())
    }

    fn close(&mut self, tsi: Tsi, end: End) -> Result<(), String> {
        let Some(at) = self.view(tsi) else { return Err("the end of a session that was never opened".into()) };
        let view = &mut self.views[at];
        if let Some(before) = view.end {
            return Err(format!("ended twice: {before:?}, {end:?}"));
        }
        if view.within.is_some() {
            return Err("ended within an APDU".into());
        }
        view.end = Some(end);
        if end == End::Finished {
            let ledgers = self.ledgers.borrow();
            if let Some(position) = view.unsettled(&ledgers.0[view.ledger]) {
                return Err(format!("finished, but {position} was neither delivered nor reported lost"));
            }
        }
        Ok(())
    }
}

impl Sink for Witness {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        if let Err(what) = self.judge_delivery(&delivery, pool.bytes(&delivery.frame)) {
            self.blame(delivery.tsi, what);
        }
        self.delivered += 1;
        self.octets += delivery.frame.len() as u64;
        if self.lease_max == 0 {
            pool.put(delivery.frame);
            return;
        }
        self.leases.push_back(delivery.frame);
        if self.leases.len() > self.lease_max
            && let Some(oldest) = self.leases.pop_front()
        {
            pool.put(oldest);
        }
    }

    fn event(&mut self, event: Event) {
        let (tsi, judged) = match event {
            Event::Opened { tsi, first, from_start, .. } => (tsi, self.open(tsi, first, from_start)),
            Event::Loss { tsi, first, last, cause } => (tsi, self.lose(tsi, first, last, cause)),
            Event::Closed { tsi, end } => (tsi, self.close(tsi, end)),
        };
        if let Err(what) = judged {
            self.blame(tsi, format_args!("{what} [{event:?}]"));
        }
    }
}
