//! `links`: what each link moves over a veth cable between two namespaces of its own, beside bare `AF_XDP`, all in one run.
//!
//! Prints medians, spread and ratios, and holds the ratios against what the house promises; exits with 3 when one is below it, with 1
//! when it could not measure. Needs root and two processors. Takes about a minute, and leaves nothing behind.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pgmx_bench::links::bare::Bare;
use pgmx_bench::links::{Contestant, Outcome, Run, Workload, engine};
use pgmx_bench::netns::{Port, on_two_hosts, pin};
use pgmx_bench::rig::{self, NoPlan, Options};
use pgmx_bench::spread::Spread;

const USAGE: &str = "links [--rounds N] [--milliseconds N] [--slots N] [--budget N] [--only NAME,NAME] [--payload N,N]\n  \
    N rounds (15) of each contestant and payload, each sending so long (100),\n  \
    round a window of so many slots (1024), with so many packets at a call (64);\n  \
    contestants: bare, xdp, raw, udp, udp-gso; octets of payload: 42 (frames of 100 octets), 1400";
/// A round is calm when both sides had their processors for this part of it: the timer tick and its like take less than the rest.
const CALM: f64 = 0.97;
/// Fewer calm rounds than this are chance.
const CALM_ROUNDS: usize = 7;
/// What all rounds together may send for.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Bare,
    Xdp,
    Raw,
    Udp,
    UdpGso,
}

impl Who {
    const ALL: [Self; 5] = [Self::Bare, Self::Xdp, Self::Raw, Self::Udp, Self::UdpGso];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Xdp => "xdp",
            Self::Raw => "raw",
            Self::Udp => "udp",
            Self::UdpGso => "udp-gso",
        }
    }

    fn open(self, port: &Port, workload: &Workload, receives: bool) -> Result<Box<dyn Contestant>, String> {
        match self {
            Self::Bare => Ok(Box::new(Bare::open(port, workload, receives)?)),
            Self::Xdp => engine::xdp(port, workload, receives),
            Self::Raw => engine::raw(port, workload, receives),
            Self::Udp => engine::udp(port, workload, receives, false),
            Self::UdpGso => engine::udp(port, workload, receives, true),
        }
    }
}

/// What one is expected to move, as a multiple of another, at a payload.
const EXPECTED: [(Who, Who, usize, f64); 5] = [
    (Who::Xdp, Who::Bare, 42, 0.95),
    (Who::Xdp, Who::Bare, 64, 0.9),
    (Who::Xdp, Who::Bare, 1400, 0.9),
    (Who::Xdp, Who::Raw, 42, 2.0),
    (Who::UdpGso, Who::Udp, 42, 3.0),
];

struct Plan {
    rounds: usize,
    who: Vec<Who>,
    payloads: Vec<usize>,
    workload: Workload,
}

fn main() -> ExitCode {
    rig::run("links", USAGE, plan, measure)
}

fn plan(mut options: Options) -> Result<Plan, NoPlan> {
    let (mut rounds, mut milliseconds, mut slots, mut budget) = (15, 100, 1024, 64);
    let (mut who, mut payloads) = (Who::ALL.to_vec(), vec![42, 1400]);
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--rounds" => rounds = options.number(1..=60_000)?,
            "--milliseconds" => milliseconds = options.number(1..=60_000)?,
            "--slots" => slots = options.number(256..=65_536)?,
            "--budget" => budget = options.number(1..=1024)?,
            "--only" => who = options.some_of(&Who::ALL, Who::name)?,
            "--payload" => payloads = options.numbers(1..=1424)?,
            _ => return Err(options.unknown()),
        }
    }
    let all = Duration::from_millis(rounds * milliseconds).saturating_mul((who.len() * payloads.len()) as u32);
    if all > LONGEST {
        let most = LONGEST.as_secs();
        return Err(format!("{rounds} rounds of {milliseconds} ms refused: all together at most {most} s").into());
    }
    if !slots.is_power_of_two() {
        return Err(format!("{slots} slots refused: a power of two from 256 to 65536").into());
    }
    let payloads = payloads.into_iter().map(|octets| octets as usize).collect();
    let (time, frames, budget) = (Duration::from_millis(milliseconds), slots as u32, budget as u32);
    let workload = Workload { payload: 0, frames, budget, ring: 2048, time };
    Ok(Plan { rounds: rounds as usize, who, payloads, workload })
}

/// Payload and the number of the contestant, in the order in which they are measured, the same on both hosts.
fn schedule(plan: &Plan) -> impl Iterator<Item = (usize, usize)> {
    let count = plan.who.len();
    // Each round another one goes first.
    (0..plan.rounds).flat_map(move |round| {
        plan.payloads.iter().flat_map(move |&payload| (0..count).map(move |n| (payload, (round + n) % count)))
    })
}

fn measure(plan: &Plan) -> Result<bool, String> {
    let (start, started) = channel();
    let (ready, is_ready) = channel();
    let cables = vec![1; plan.who.len()];
    let (sent, received) = on_two_hosts(
        &cables,
        move |ports| send(&ports, plan, &start, &is_ready),
        move |ports| receive(&ports, plan, &started, &ready),
    )?;
    let ((), outcomes) = rig::both(sent, received)?;
    Ok(report(plan, &outcomes))
}

const GONE: &str = "the other host stopped";

fn open(ports: &[Port], plan: &Plan, receives: bool) -> Result<Vec<Box<dyn Contestant>>, String> {
    plan.who.iter().zip(ports).map(|(who, port)| who.open(port, &plan.workload, receives)).collect()
}

fn send(ports: &[Port], plan: &Plan, start: &Sender<Arc<Run>>, is_ready: &Receiver<()>) -> Result<(), String> {
    pin(0).map_err(|error| format!("processor 0: {error}"))?;
    let mut contestants = open(ports, plan, false)?;
    for (who, contestant) in plan.who.iter().zip(&contestants) {
        println!("{:>8}: {}", who.name(), contestant.form());
    }
    println!("{} slots, {} packets a call", plan.workload.frames, plan.workload.budget);
    for (payload, n) in schedule(plan) {
        let run = Arc::new(Run::default());
        start.send(run.clone()).map_err(|_| GONE)?;
        is_ready.recv().map_err(|_| GONE)?;
        contestants[n].send(&Workload { payload, ..plan.workload }, &run)?;
    }
    // The receiver is done with the last run when nobody is left to start one; the cables hold until then.
    contestants.into_iter().try_for_each(<dyn Contestant>::close)
}

/// Payload, who, and what came of it, in the order of the schedule.
type Outcomes = Vec<(usize, Who, Outcome)>;

fn receive(ports: &[Port], plan: &Plan, started: &Receiver<Arc<Run>>, ready: &Sender<()>) -> Result<Outcomes, String> {
    pin(1).map_err(|error| format!("processor 1: {error}"))?;
    let mut contestants = open(ports, plan, true)?;
    let mut outcomes = Outcomes::new();
    for (payload, n) in schedule(plan) {
        let run = started.recv().map_err(|_| GONE)?;
        ready.send(()).map_err(|_| GONE)?;
        let outcome = contestants[n].receive(&Workload { payload, ..plan.workload }, &run)?;
        outcomes.push((payload, plan.who[n], outcome));
    }
    contestants.into_iter().try_for_each(<dyn Contestant>::close)?;
    Ok(outcomes)
}

/// Prints what came out. Says whether it is what is expected.
fn report(plan: &Plan, outcomes: &Outcomes) -> bool {
    let mut enough = true;
    for &payload in &plan.payloads {
        let of = |who| -> Vec<Outcome> {
            outcomes.iter().filter(|one| (one.0, one.1) == (payload, who)).map(|one| one.2).collect()
        };
        for &who in &plan.who {
            print(who, payload, &of(who));
        }
        let here = EXPECTED.iter().filter(|expected| expected.2 == payload);
        for &(who, than, _, least) in here.filter(|one| plan.who.contains(&one.0) && plan.who.contains(&one.1)) {
            let ratio = ratio(&of(who), &of(than));
            let (is_enough, who, than) = (ratio >= least, who.name(), than.name());
            enough &= is_enough;
            let verdict = if is_enough { "" } else { ": TOO LITTLE" };
            println!("{payload:>5} octets: {who} over {than} {ratio:.2} (expected {least:.2}){verdict}");
        }
    }
    enough
}

/// Round by round, because the machine's own pace drifts: those of a round ran one after the other. Rounds in which other work took a
/// processor away say nothing, as long as there are others.
fn ratio(these: &[Outcome], those: &[Outcome]) -> f64 {
    let rounds: Vec<(&Outcome, &Outcome)> = these.iter().zip(those).collect();
    let calm: Vec<_> = rounds.iter().filter(|(a, b)| a.attention.min(b.attention) >= CALM).copied().collect();
    let counted = if calm.len() >= CALM_ROUNDS.min(rounds.len()) { calm } else { rounds };
    Spread::of(counted.iter().map(|(these, those)| these.per_second / those.per_second)).median
}

fn print(who: Who, payload: usize, outcomes: &[Outcome]) {
    let Spread { least, median, most } = Spread::of(outcomes.iter().map(|outcome| outcome.per_second));
    let sent: u64 = outcomes.iter().map(|outcome| outcome.sent).sum();
    let lost: u64 = outcomes.iter().map(Outcome::lost).sum();
    let sender_ns = Spread::of(outcomes.iter().map(|outcome| outcome.sender_ns)).median;
    let calm = outcomes.iter().filter(|outcome| outcome.attention >= CALM).count();
    println!(
        "{payload:>5} octets {:>8}: {median:>8.0} packets/s (from {least:.0} to {most:.0} in {} rounds, {calm} undisturbed), \
         {sent} sent, {lost} lost, sender {sender_ns:.0} ns/packet",
        who.name(),
        outcomes.len()
    );
}
