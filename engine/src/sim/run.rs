//! The world: nodes, a clock that jumps from event to event, and the end of a run, when everything must have come out right.

use core::cell::RefCell;
use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::ledger::{Ledger, Ledgers};
use super::net::{Net, PortConfig, SimLink};
use super::oracle::Witness;
use super::report::Coverage;
use super::scenario::{Ending, ReceiverPlan, Scenario, Start};
use super::speaker::{Speaker, facts};
use super::tap::Tap;
use super::wire_watch::{WireCounts, WireWatch};
use crate::endpoint::{Endpoint, EndpointConfig};
use crate::frame::{Layout, Pool};
use crate::link::Link;
use crate::link::faults::{FaultPlan, Faults};
use crate::protocol::receiver::{NakCopy, OnRst};
use crate::protocol::source::SourceState;
use crate::protocol::{End, Rng};
use crate::time::{Time, nanos};
use crate::wire::{Gsi, Tsi};

/// The link of a simulated node.
pub type NodeLink = Tap<Faults<SimLink>>;

/// Looks at one node in one instant that are too many: it spins.
const SPIN_MAX: u32 = 10_000;
/// Frames of a source's pool besides its window: its control packets, repairs, and what comes in.
const SPARE_FRAMES: u32 = 512;

/// What is to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Poll a node.
    Look(usize),
    /// The application of a source publishes.
    Publish(usize),
    /// A source begins.
    Begin(usize),
    /// A source ends.
    Finish(usize),
    /// A receiver joins.
    Join(usize),
}

struct Node {
    endpoint: Option<Endpoint<NodeLink>>,
    witness: Witness,
    /// When it is looked at next.
    next: Time,
    stalls: Vec<(u64, u64)>,
    spins: u32,
    /// The source it runs, or the receiver.
    speaker: Option<usize>,
    listener: Option<usize>,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong, if anything.
    pub fault: Option<String>,
    /// A digest of all octets sent, with their times and senders.
    pub digest: u64,
    /// Packets delivered to applications.
    pub delivered: u64,
    /// Octets delivered.
    pub octets: u64,
    /// Packets reported lost.
    pub lost: u64,
    /// Receivers.
    pub receivers: u64,
    /// Packets sent, by kind.
    pub wire: WireCounts,
    /// Virtual time at the end.
    pub virtual_ns: u64,
    /// What happened at all.
    pub coverage: Coverage,
}

/// A simulated network with its nodes.
pub struct World {
    scenario: Scenario,
    net: Rc<RefCell<Net>>,
    watch: Rc<RefCell<WireWatch>>,
    ledgers: Rc<RefCell<Ledgers>>,
    nodes: Vec<Node>,
    speakers: Vec<Speaker>,
    heap: BinaryHeap<Reverse<(Time, u64, What)>>,
    sequence: u64,
    now: Time,
    rng: Rng,
    fault: Option<String>,
    coverage: Coverage,
}

/// The time after which whatever is still open will never end.
fn patience_ns(scenario: &Scenario) -> u64 {
    let expiry = scenario.receivers.iter().map(|receiver| nanos(receiver.config.expiry)).max().unwrap_or(0);
    let linger = scenario.sources.iter().map(|source| nanos(source.config.window_time)).max().unwrap_or(0);
    // A session that expires does so a heartbeat or two late; a repair that is given up takes its retries first.
    expiry + linger.min(3_000_000_000_000) + 120_000_000_000
}

impl World {
    /// The world of a scenario, at time zero.
    pub fn new(scenario: Scenario) -> Self {
        let ledgers = Rc::new(RefCell::new(Ledgers::default()));
        let watch = Rc::new(RefCell::new(WireWatch::new(ledgers.clone(), scenario.completion_ns)));
        let mut world = Self {
            net: Net::new(),
            watch,
            ledgers,
            nodes: Vec::new(),
            speakers: Vec::new(),
            heap: BinaryHeap::new(),
            sequence: 0,
            now: Time::ZERO,
            rng: Rng::new(scenario.seed ^ 0x0b5e_55ed),
            fault: None,
            coverage: Coverage::default(),
            scenario,
        };
        for n in 0..world.scenario.sources.len() {
            let plan = world.scenario.sources[n].clone();
            if let Start::At(at) = plan.start {
                world.schedule(Time::from_nanos(at), What::Begin(n));
            }
            world.coverage.plan(&world.scenario, &plan);
            let gsi = Gsi::new([0, 0, 0, 0, (n >> 8) as u8, n as u8]);
            world.speakers.push(Speaker {
                tsi: Tsi::new(gsi, 10_000 + n as u16),
                node: None,
                id: None,
                publisher: None,
                ledger: 0,
                left: plan.messages,
                waiting: None,
                rng: Rng::new(world.rng.next_u64()),
                over: None,
                plan,
            });
        }
        for n in 0..world.scenario.receivers.len() {
            world.schedule(Time::from_nanos(world.scenario.receivers[n].joins_ns), What::Join(n));
        }
        world
    }

    fn schedule(&mut self, at: Time, what: What) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, what)));
    }

    #[cold]
    fn blame(&mut self, what: String) {
        if self.fault.is_none() {
            self.fault = Some(what);
        }
    }

    /// Plugs a node in; its seeds come from the world's.
    fn add_node(&mut self, port: PortConfig, faults: &FaultPlan, frames: u32, witness: Witness) -> usize {
        let number = self.nodes.len();
        let link = Net::plug(&self.net, port);
        debug_assert_eq!(link.port() as usize, number);
        let listens = witness.order().is_none();
        let link = Tap::new(Faults::new(link, faults, Time::ZERO), self.watch.clone(), number as u32, listens);
        let mut pool = Pool::anonymous(Layout::standard(frames)).expect("memory for the frames of a simulated node");
        pool.set_fill_reserve(64);
        let endpoint = Endpoint::new(link, pool, &EndpointConfig::default()).expect("the default configuration");
        self.nodes.push(Node {
            endpoint: Some(endpoint),
            witness,
            next: Time::from_nanos(u64::MAX),
            stalls: Vec::new(),
            spins: 0,
            speaker: None,
            listener: None,
        });
        number
    }

    fn begin(&mut self, n: usize) {
        let plan = self.speakers[n].plan.clone();
        let tsi = self.speakers[n].tsi;
        let port = PortConfig {
            address: plan.address,
            out_ns: plan.way_ns.0,
            in_ns: plan.way_ns.1,
            octet_ps: self.scenario.octet_ps,
            queue: 1 << 20,
            completion_ns: self.scenario.completion_ns,
        };
        let witness = Witness::new(self.nodes.len() as u32, None, self.ledgers.clone(), self.watch.clone(), 0);
        let node = self.add_node(port, &plan.faults, plan.config.window_slots + SPARE_FRAMES, witness);
        self.nodes[node].speaker = Some(n);
        let endpoint = self.nodes[node].endpoint.as_mut().expect("just made");
        let path = endpoint.link().path();
        // Before the source, so that nothing it sends is unheard of.
        let (id, publisher) = match endpoint.add_source(&plan.config, tsi, self.now, self.rng.next_u64()) {
            Ok(added) => added,
            Err(error) => return self.blame(format!("source {n} refused: {error}")),
        };
        let speaker = &mut self.speakers[n];
        speaker.node = Some(node);
        speaker.id = Some(id);
        speaker.ledger = self.ledgers.borrow().0.len();
        self.ledgers.borrow_mut().0.push(Ledger::new(tsi, publisher.next_sqn()));
        speaker.publisher = Some(publisher);
        let copies = self.scenario.receivers.iter().any(|receiver| receiver.config.nak_copy != NakCopy::Never);
        self.watch.borrow_mut().begin(facts(&plan.config, copies, tsi, node as u32, &path));
        self.schedule(self.now, What::Publish(n));
        self.look(node);
    }

    fn join(&mut self, n: usize) {
        let plan: ReceiverPlan = self.scenario.receivers[n].clone();
        let number = self.nodes.len() as u32;
        let host = 0x0001_0000 + n as u32;
        let address = if self.scenario.group.is_ipv6() {
            core::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, (host >> 16) as u16, host as u16])
        } else {
            core::net::IpAddr::from([10, (host >> 16) as u8, (host >> 8) as u8, host as u8])
        };
        let port = PortConfig {
            address,
            out_ns: plan.way_ns.0,
            in_ns: plan.way_ns.1,
            octet_ps: self.scenario.octet_ps,
            queue: plan.queue,
            completion_ns: self.scenario.completion_ns,
        };
        let witness =
            Witness::new(number, Some(plan.config.order), self.ledgers.clone(), self.watch.clone(), plan.leases);
        let node = self.add_node(port, &plan.faults, plan.frames, witness);
        self.nodes[node].listener = Some(n);
        self.nodes[node].stalls.clone_from(&plan.stalls);
        let seed = self.rng.next_u64();
        let endpoint = self.nodes[node].endpoint.as_mut().expect("just made");
        if let Err(error) = endpoint.add_receiver(&plan.config, seed) {
            return self.blame(format!("receiver {n} refused: {error}"));
        }
        self.look(node);
    }

    /// Polls a node until it has nothing more to do now, and notes when it wants to be polled again.
    fn look(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(endpoint) = &mut node.endpoint else { return };
        if let Some(&(_, to)) = node.stalls.iter().find(|stall| (stall.0..stall.1).contains(&now.as_nanos())) {
            self.coverage.stalls += 1;
            self.wake_at(n, Time::from_nanos(to));
            return;
        }
        // A full batch may have left something behind; less than that has not.
        let mut rounds = 0;
        loop {
            match endpoint.poll(now, &mut node.witness) {
                Ok(work) if work >= 64 && rounds < 1_000 => rounds += 1,
                Ok(_) => break,
                Err(error) => return self.blame(format!("node {n}: {error}")),
            }
        }
        let next = match endpoint.deadline() {
            Some(at) if at > now => {
                node.spins = 0;
                at
            }
            Some(_) => {
                // Time goes on a little, as it does for a worker that polls again at once.
                node.spins += 1;
                now.plus(1_000)
            }
            None => {
                node.spins = 0;
                Time::from_nanos(u64::MAX)
            }
        };
        let spins = node.spins > SPIN_MAX;
        let fault = node.witness.fault().map(str::to_owned);
        let speaker = node.speaker;
        if spins {
            self.blame(format!("node {n} spins at {} ns: its deadline has passed and it does nothing", now.as_nanos()));
        }
        if let Some(fault) = fault {
            self.blame(fault);
        }
        self.wake_at(n, next);
        if let Some(speaker) = speaker {
            self.see_to(speaker);
        }
        loop {
            let woken = self.net.borrow_mut().pop_woken();
            let Some((port, at)) = woken else { break };
            let port = port as usize;
            if at < self.nodes[port].next {
                self.wake_at(port, at);
            }
        }
    }

    fn wake_at(&mut self, n: usize, at: Time) {
        self.nodes[n].next = at;
        self.net.borrow_mut().set_wake(n as u32, at);
        if at.as_nanos() != u64::MAX {
            self.schedule(at, What::Look(n));
        }
    }

    /// Lets a source go that has done its work.
    fn see_to(&mut self, n: usize) {
        let speaker = &self.speakers[n];
        let (Some(node), Some(id)) = (speaker.node, speaker.id) else { return };
        let Some(endpoint) = &self.nodes[node].endpoint else { return };
        if endpoint.source(id).is_some_and(|source| source.state() == SourceState::Done) {
            self.bury(n, node);
        }
    }

    /// Whether a source confirmed all that it was asked for.
    fn check_speaker(&mut self, n: usize, until: Time) {
        let speaker = &self.speakers[n];
        let (Some(node), Some(id)) = (speaker.node, speaker.id) else { return };
        let mut watch = self.watch.borrow_mut();
        watch.check_confirmations(until);
        if let Some(source) = self.nodes[node].endpoint.as_ref().and_then(|endpoint| endpoint.source(id)) {
            watch.check_dropped(speaker.tsi, source.stats().ncfs_dropped);
        }
    }

    /// Ends the machine of a source.
    fn bury(&mut self, n: usize, node: usize) {
        self.speakers[n].publisher = None;
        self.speakers[n].over.get_or_insert(self.now);
        self.check_speaker(n, self.now);
        self.watch.borrow_mut().retires(self.speakers[n].tsi);
        if let Some(endpoint) = self.nodes[node].endpoint.take() {
            self.close_node(node, endpoint);
        }
        self.nodes[node].next = Time::from_nanos(u64::MAX);
    }

    fn close_node(&mut self, n: usize, mut endpoint: Endpoint<NodeLink>) {
        let node = &mut self.nodes[n];
        self.coverage.faults(endpoint.link().inner());
        node.witness.return_leases(endpoint.pool_mut());
        endpoint.shut_down(&mut node.witness);
        node.witness.return_leases(endpoint.pool_mut());
        let census = endpoint.pool().census();
        let home = census.adds_up() && census.out == 0 && census.lent == 0 && census.slots == 0;
        if !home || endpoint.is_retiring() {
            self.blame(format!("node {n}: frames are missing at the end: {census:?}"));
        }
    }

    fn publish(&mut self, n: usize) {
        let speaker = &mut self.speakers[n];
        let Some(node) = speaker.node.filter(|_| speaker.publisher.is_some()) else { return };
        let published = speaker.publish(&mut self.ledgers.borrow_mut().0[speaker.ledger]);
        let full = match published {
            Ok(full) => full,
            Err(refused) => return self.blame(format!("source {n}: {refused}")),
        };
        let gap = speaker.plan.gap_ns;
        let (left, wait) = (speaker.left, if full { gap.clamp(20_000, 20_000_000) } else { gap });
        self.coverage.back_pressure += u64::from(full);
        let next = self.now.plus(wait);
        self.schedule(next, if left == 0 { What::Finish(n) } else { What::Publish(n) });
        self.look(node);
    }

    fn finish(&mut self, n: usize) {
        let speaker = &mut self.speakers[n];
        let (Some(node), Some(id)) = (speaker.node, speaker.id) else { return };
        let tsi = speaker.tsi;
        speaker.publisher = None;
        speaker.over = Some(self.now);
        let ending = speaker.plan.ending;
        self.coverage.ending(ending);
        let now = self.now;
        let source = self.nodes[node].endpoint.as_mut().and_then(|endpoint| endpoint.source_mut(id));
        match ending {
            Ending::Fin => {
                self.watch.borrow_mut().closes(tsi);
                if let Some(source) = source {
                    source.close(now);
                }
                self.look(node);
            }
            Ending::Rst(code) => {
                self.watch.borrow_mut().aborts(tsi);
                if let Some(source) = source {
                    source.abort(now, code);
                }
                self.look(node);
            }
            Ending::Silence => {
                self.bury(n, node);
                for heir in 0..self.speakers.len() {
                    if let Start::After { source, gap_ns } = self.speakers[heir].plan.start
                        && source == n
                    {
                        self.coverage.restarts += 1;
                        self.schedule(now.plus(gap_ns), What::Begin(heir));
                    }
                }
            }
        }
    }

    /// Whether nothing more can happen that matters.
    fn is_over(&self) -> bool {
        let silent = |node: &Node| node.witness.views().iter().all(|view| view.end.is_some());
        self.speakers.iter().all(|speaker| speaker.over.is_some())
            && self.nodes.iter().all(|node| silent(node) && (node.speaker.is_none() || node.endpoint.is_none()))
    }

    /// Plays until everything has ended, or something is wrong.
    pub fn run(mut self) -> Outcome {
        let mut steps = 0_u64;
        let mut last_over = Time::ZERO;
        // Publishing takes its time, but not for ever: an hour beyond any patience.
        let mut limit = Time::from_nanos(patience_ns(&self.scenario) + 3_600_000_000_000);
        let joined_by = self.scenario.receivers.iter().map(|receiver| receiver.joins_ns).max().unwrap_or(0);
        while let Some(Reverse((at, _, what))) = self.heap.pop() {
            if at > limit {
                if last_over == Time::ZERO {
                    self.blame(format!(
                        "an application still waits to publish after {} s",
                        at.as_nanos() / 1_000_000_000
                    ));
                }
                break;
            }
            self.now = at;
            match what {
                // An older note for a node that was looked at since.
                What::Look(n) if self.nodes[n].next != at => continue,
                What::Look(n) => self.look(n),
                What::Publish(n) => self.publish(n),
                What::Begin(n) => self.begin(n),
                What::Finish(n) => self.finish(n),
                What::Join(n) => self.join(n),
            }
            steps += 1;
            if self.fault.is_some() || self.watch.borrow().fault().is_some() {
                break;
            }
            if steps.is_multiple_of(64) {
                self.watch.borrow_mut().check_confirmations(at);
                if last_over == Time::ZERO && self.speakers.iter().all(|speaker| speaker.over.is_some()) {
                    last_over = at;
                    limit = at.max(Time::from_nanos(joined_by)).plus(patience_ns(&self.scenario));
                }
                if last_over != Time::ZERO && at.as_nanos() > joined_by && self.is_over() {
                    break;
                }
            }
        }
        self.conclude()
    }

    fn conclude(mut self) -> Outcome {
        for n in 0..self.speakers.len() {
            self.check_speaker(n, self.now.plus(1_000_000_000));
        }
        let wire_fault = self.watch.borrow().fault().map(str::to_owned);
        if let Some(fault) = wire_fault {
            self.blame(fault);
        }
        if self.fault.is_none() {
            self.judge_endings();
        }
        for speaker in &mut self.speakers {
            speaker.publisher = None;
        }
        for n in 0..self.nodes.len() {
            if let Some(endpoint) = self.nodes[n].endpoint.take() {
                self.close_node(n, endpoint);
            }
        }
        for n in 0..self.nodes.len() {
            let touched = self.net.borrow().touched(n as u32);
            if touched > 0 {
                self.blame(format!("node {n}: {touched} frames were touched in flight"));
            }
        }
        let sum = |count: fn(&Witness) -> u64| self.nodes.iter().map(|node| count(&node.witness)).sum();
        let watch = self.watch.borrow();
        let overruns: u64 = (0..self.nodes.len()).map(|n| self.net.borrow().overruns(n as u32)).sum();
        self.coverage.overruns += overruns;
        self.coverage.wire(&watch.counts);
        Outcome {
            seed: self.scenario.seed,
            fault: self.fault.clone(),
            digest: watch.digest(),
            delivered: sum(|witness| witness.delivered),
            octets: sum(|witness| witness.octets),
            lost: sum(|witness| witness.lost),
            receivers: self.scenario.receivers.len() as u64,
            wire: watch.counts,
            virtual_ns: self.now.as_nanos(),
            coverage: self.coverage,
        }
    }

    /// How each session must have ended for each receiver.
    fn judge_endings(&mut self) {
        let mut faults = Vec::new();
        let ledgers = self.ledgers.borrow();
        for (n, node) in self.nodes.iter_mut().enumerate() {
            let Some(listener) = node.listener else { continue };
            let receiver = &self.scenario.receivers[listener];
            for speaker in &self.speakers {
                let ledger = &ledgers.0[speaker.ledger];
                let view = node.witness.views_mut().iter_mut().find(|view| view.tsi == speaker.tsi);
                let clean = self.scenario.is_clean(&speaker.plan, receiver);
                let whole = receiver.joins_ns == 0 && clean && self.scenario.roomy;
                let Some(view) = view else {
                    if whole {
                        faults.push(format!("node {n} never heard of session {}", speaker.tsi));
                    }
                    continue;
                };
                let Some(end) = view.end else {
                    faults.push(format!(
                        "node {n}: session {} has not ended by {} ns; unsettled {:?} of {}",
                        speaker.tsi,
                        self.now.as_nanos(),
                        view.unsettled(ledger),
                        ledger.sent(),
                    ));
                    continue;
                };
                let all_right = match speaker.plan.ending {
                    Ending::Fin => end == End::Finished,
                    Ending::Rst(code) => end == End::Aborted(code),
                    Ending::Silence => end == End::Expired,
                };
                // A source that stops short may cut a message in the middle; what came of it is reported as lost.
                // What overran the queue of a port is repaired, unless nobody answers any more or nobody asks.
                let mended = match speaker.plan.ending {
                    Ending::Fin => true,
                    Ending::Rst(_) => {
                        speaker.plan.config.naks_after_abort && receiver.config.on_rst == OnRst::FinishWindow
                    }
                    Ending::Silence => false,
                };
                let cut = match speaker.plan.ending {
                    Ending::Fin => 0,
                    _ if !mended && self.net.borrow().overruns(n as u32) > 0 => u64::MAX,
                    _ => view.cut_short,
                };
                if whole && (!all_right || view.first != 0 || view.lost > cut) {
                    faults.push(format!(
                        "node {n}: session {} on a clean network ended {end:?} instead of {:?}, joined at {}, {} lost",
                        speaker.tsi, speaker.plan.ending, view.first, view.lost
                    ));
                }
                let recoverable = self.scenario.is_recoverable(&speaker.plan, receiver);
                if recoverable && speaker.plan.ending == Ending::Fin && (end != End::Finished || view.lost != 0) {
                    faults.push(format!(
                        "node {n}: session {} could have been repaired, but ended {end:?} with {} lost",
                        speaker.tsi, view.lost
                    ));
                }
            }
        }
        drop(ledgers);
        for fault in faults {
            self.blame(fault);
        }
    }
}

/// Plays the scenario of a seed.
pub fn play(seed: u64) -> Outcome {
    World::new(Scenario::draw(seed)).run()
}
