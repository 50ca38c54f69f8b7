//! The engine and bare rings in turns, on two hosts that are gone afterwards.
//!
//! Called by `pgmx bench receive --loopback veth`. Guards: contestants of one round run one right after the other, each round another one
//! first, and nothing is left behind, however it ends: hosts are descriptors, and the programs go with theirs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::feed::{Feeder, Round};
use super::frame::Speaker;
use super::take::{Taken, Taker, take};
use super::{Bare, Course, Engine, words};
use crate::links::{DATA_PORT, GROUP};
use crate::netns::{Port, on_two_hosts, pin};
use crate::rig;
use crate::spread::Spread;

/// A round is calm when both sides had their processors for this part of it.
const CALM: f64 = 0.97;
/// Fewer calm rounds than this are chance.
const CALM_ROUNDS: usize = 3;
const GONE: &str = "the other side stopped";

/// Who takes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `AF_XDP` rings and nothing else.
    Bare,
    /// The engine.
    Engine,
}

impl Who {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bare, Self::Engine];

    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Engine => "pgmx",
        }
    }

    fn open(self, port: &Port, course: &Course) -> Result<Box<dyn Taker>, String> {
        Ok(match self {
            Self::Bare => Box::new(Bare::open(port, course)?),
            Self::Engine => Box::new(Engine::open(port, course)?),
        })
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What all are given; the payload is one of `payloads`.
    pub course: Course,
    /// Octets of payload.
    pub payloads: Vec<usize>,
    /// Rounds of each payload.
    pub rounds: usize,
    /// Processors of the generator and of the receivers.
    pub cores: [usize; 2],
}

/// One contestant's round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Octets of payload.
    pub payload: usize,
    /// Who.
    pub who: Who,
    /// What came of it.
    pub taken: Taken,
}

/// All rounds.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order in which they were measured.
    pub figures: Vec<Figure>,
    /// What each contestant took of what the interface offers.
    pub forms: Vec<(Who, String)>,
}

impl Outcome {
    /// The rounds of one contestant with one payload.
    pub fn of(&self, who: Who, payload: usize) -> Vec<Taken> {
        let these = self.figures.iter().filter(|figure| (figure.who, figure.payload) == (who, payload));
        these.map(|figure| figure.taken).collect()
    }

    /// The engine's rate over that of bare rings, round by round, because the machine's own pace drifts. Rounds in which other work
    /// took a processor away say nothing, as long as there are others.
    pub fn ratio(&self, payload: usize) -> Option<Spread> {
        let (engine, bare) = (self.of(Who::Engine, payload), self.of(Who::Bare, payload));
        let rounds: Vec<(Taken, Taken)> = engine.into_iter().zip(bare).collect();
        let is_calm = |(a, b): &&(Taken, Taken)| a.attention.min(b.attention) >= CALM;
        let calm: Vec<_> = rounds.iter().filter(is_calm).copied().collect();
        let counted = if calm.len() >= CALM_ROUNDS.min(rounds.len()) { calm } else { rounds };
        (!counted.is_empty()).then(|| Spread::of(counted.iter().map(|(a, b)| a.per_second / b.per_second.max(1.0))))
    }
}

/// Payload and contestant, in the order in which they are measured, the same on both sides.
fn schedule(plan: &Plan) -> impl Iterator<Item = (usize, usize)> {
    let count = Who::ALL.len();
    (0..plan.rounds).flat_map(move |round| {
        plan.payloads.iter().flat_map(move |&payload| (0..count).map(move |n| (payload, (round + n) % count)))
    })
}

/// Measures. Ends early, with what there is, when it is asked to stop.
///
/// # Errors
/// If hosts, programs or sockets cannot be had, or a frame went missing.
pub fn measure(plan: &Plan, is_stopped: impl Fn() -> bool + Sync) -> Result<Outcome, String> {
    let (start, started) = channel();
    let (ready, is_ready) = channel();
    let is_stopped = &is_stopped;
    let (fed, taken) = on_two_hosts(
        &[1; Who::ALL.len()],
        move |ports| feed(&ports, plan, &start, &is_ready, is_stopped),
        move |ports| receive(&ports, plan, &started, &ready, is_stopped),
    )?;
    // Who only saw the other go says nothing new.
    match (fed, taken) {
        (Err(gone), Err(why)) | (Err(why), Err(gone)) if gone == GONE => Err(why),
        (fed, taken) => rig::both(fed, taken).map(|((), outcome)| outcome),
    }
}

fn feed(
    ports: &[Port],
    plan: &Plan,
    start: &Sender<Arc<Round>>,
    is_ready: &Receiver<()>,
    is_stopped: impl Fn() -> bool,
) -> Result<(), String> {
    pin(plan.cores[0]).map_err(|error| format!("processor {}: {error}", plan.cores[0]))?;
    let open = |port: &Port| {
        let survey = pgmx::link::survey::Survey::of(&port.interface).map_err(words("the cable"))?;
        let speaker = Speaker { mac: survey.mac, address: port.address, group: GROUP, data_port: DATA_PORT };
        let course = Course { payload: plan.payloads[0], ..plan.course };
        Feeder::open(survey.index, speaker, &course)
    };
    let mut feeders = ports.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    for (payload, n) in schedule(plan) {
        if is_stopped() {
            break;
        }
        feeders[n].prepare(payload)?;
        let round = Arc::new(Round::new(feeders[n].ledger().clone()));
        start.send(round.clone()).map_err(|_| GONE)?;
        is_ready.recv().map_err(|_| GONE)?;
        round.finish(&feeders[n].feed(plan.course.time, &is_stopped)?);
    }
    Ok(())
}

fn receive(
    ports: &[Port],
    plan: &Plan,
    started: &Receiver<Arc<Round>>,
    ready: &Sender<()>,
    is_stopped: impl Fn() -> bool,
) -> Result<Outcome, String> {
    pin(plan.cores[1]).map_err(|error| format!("processor {}: {error}", plan.cores[1]))?;
    let open = |(who, port): (&Who, _)| who.open(port, &plan.course);
    let mut takers = Who::ALL.iter().zip(ports).map(open).collect::<Result<Vec<_>, _>>()?;
    let forms = Who::ALL.into_iter().zip(&takers).map(|(who, taker)| (who, taker.form())).collect();
    let (origin, mut figures) = (Instant::now(), Vec::new());
    for (payload, n) in schedule(plan) {
        // It was asked to stop.
        let Ok(round) = started.recv() else { break };
        ready.send(()).map_err(|_| GONE)?;
        let taken = take(&mut *takers[n], origin, &round, plan.course.time)?;
        if is_stopped() {
            // A signal ends the kernel's turn in its midst: what that had made and not yet handed over is nobody's loss.
            break;
        }
        figures.push(Figure { payload, who: Who::ALL[n], taken });
    }
    takers.into_iter().try_for_each(<dyn Taker>::close)?;
    Ok(Outcome { figures, forms })
}
