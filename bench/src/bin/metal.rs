//! `metal`: what the engine's lower floors keep of bare `AF_XDP`, over a veth cable between two namespaces of its own.
//!
//! Prints medians, spread and the line `metal ratio …`; exits with 3 when a ratio is below 0.9, with 1 when it could not measure.
//! Needs root and two processors. Takes less than a minute, and leaves nothing behind.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pgmx_bench::metal::bare::Bare;
use pgmx_bench::metal::engine::Engine;
use pgmx_bench::metal::{Outcome, Run, Workload};
use pgmx_bench::netns::{Port, on_two_hosts, pin};

const USAGE: &str = "metal [--rounds N] [--milliseconds N] [--slots N] [--budget N]\n  \
    N rounds (51) of each contestant and payload, each sending so long (100),\n  \
    round a window of so many slots (1024), with so many packets at a call (64)";
const PAYLOADS: [usize; 2] = [64, 1400];
const ENOUGH: f64 = 0.9;
/// A round is calm when both sides had their processors for this part of it: the timer tick and its like take less than the rest.
const CALM: f64 = 0.97;
/// Fewer calm rounds than this are chance.
const CALM_ROUNDS: usize = 7;
/// What all rounds together may send for: with setting up and draining it stays below a minute.
const LONGEST: Duration = Duration::from_secs(45);

struct Plan {
    rounds: u32,
    workload: Workload,
}

fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(&plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("metal: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let (mut rounds, mut milliseconds, mut slots, mut budget) = (51, 100, 1024, 64);
    while let Some(argument) = arguments.next() {
        let value = match argument.as_str() {
            "--rounds" => &mut rounds,
            "--milliseconds" => &mut milliseconds,
            "--slots" => &mut slots,
            "--budget" => &mut budget,
            _ => return Err(format!("{argument} is not known")),
        };
        let text = arguments.next().ok_or_else(|| format!("{argument} wants a number"))?;
        *value = text.parse().map_err(|error| format!("{argument} {text}: {error}"))?;
    }
    let time = Duration::from_millis(u64::from(milliseconds));
    let all = time * rounds * 2 * PAYLOADS.len() as u32;
    if rounds == 0 || milliseconds == 0 || all > LONGEST {
        return Err(format!(
            "{rounds} rounds of {milliseconds} ms refused: all together 1 ms to {} s",
            LONGEST.as_secs()
        ));
    }
    if !u32::is_power_of_two(slots) || !(256..=65_536).contains(&slots) {
        return Err(format!("{slots} slots refused: a power of two from 256 to 65536"));
    }
    if !(1..=2048).contains(&budget) {
        return Err(format!("a budget of {budget} refused: 1 to 2048"));
    }
    Ok(Plan { rounds, workload: Workload { payload: 0, frames: slots, budget, ring: 2048, time } })
}

/// What happens in which order, the same on both hosts.
fn schedule(rounds: u32) -> impl Iterator<Item = (usize, bool)> {
    // The contestants take turns, and in turns at going first.
    (0..rounds).flat_map(|round| {
        PAYLOADS.into_iter().flat_map(move |payload| {
            let bare_first = round % 2 == 0;
            [(payload, bare_first), (payload, !bare_first)]
        })
    })
}

fn measure(plan: &Plan) -> Result<bool, String> {
    let (start, started) = channel();
    let (ready, is_ready) = channel();
    let (sent, received) = on_two_hosts(
        &[1, 1],
        move |ports| send(&ports, plan, &start, &is_ready),
        move |ports| receive(&ports, plan, &started, &ready),
    )?;
    match (sent, received) {
        (Ok(()), Ok(outcomes)) => Ok(report(&outcomes)),
        (sent, received) => {
            let words: Vec<String> = [sent.err(), received.err()].into_iter().flatten().collect();
            Err(words.join("; "))
        }
    }
}

const GONE: &str = "the other host stopped";

fn send(ports: &[Port], plan: &Plan, start: &Sender<Arc<Run>>, is_ready: &Receiver<()>) -> Result<(), String> {
    pin(0).map_err(|error| format!("processor 0: {error}"))?;
    let mut bare = Bare::open(&ports[0], &plan.workload, false)?;
    let mut engine = Engine::xdp(&ports[1], &plan.workload, false)?;
    println!("{}; {} slots, {} packets a call", engine.link().taken(), plan.workload.frames, plan.workload.budget);
    for (payload, is_bare) in schedule(plan.rounds) {
        let workload = Workload { payload, ..plan.workload };
        let run = Arc::new(Run::default());
        start.send(run.clone()).map_err(|_| GONE)?;
        is_ready.recv().map_err(|_| GONE)?;
        if is_bare {
            bare.send(&ports[0], &workload, &run)?;
        } else {
            engine.send(&workload, &run)?;
        }
    }
    // The receiver is done with the last run when nobody is left to start one; the cable must hold until then.
    engine.close_rings()
}

/// Payload, whether bare, and what came of it, in the order of the schedule.
type Outcomes = Vec<(usize, bool, Outcome)>;

fn receive(ports: &[Port], plan: &Plan, started: &Receiver<Arc<Run>>, ready: &Sender<()>) -> Result<Outcomes, String> {
    pin(1).map_err(|error| format!("processor 1: {error}"))?;
    let mut bare = Bare::open(&ports[0], &plan.workload, true)?;
    let mut engine = Engine::xdp(&ports[1], &plan.workload, true)?;
    let mut outcomes = Outcomes::new();
    for (payload, is_bare) in schedule(plan.rounds) {
        let workload = Workload { payload, ..plan.workload };
        let run = started.recv().map_err(|_| GONE)?;
        ready.send(()).map_err(|_| GONE)?;
        let outcome = if is_bare { bare.receive(&workload, &run)? } else { engine.receive(&workload, &run)? };
        outcomes.push((payload, is_bare, outcome));
    }
    engine.close_rings()?;
    Ok(outcomes)
}

/// Prints what came out. Says whether it is enough.
fn report(outcomes: &Outcomes) -> bool {
    let mut words = Vec::new();
    let mut enough = true;
    for payload in PAYLOADS {
        let [bare, engine] = [true, false].map(|is_bare| {
            let of = |one: &&(usize, bool, Outcome)| one.0 == payload && one.1 == is_bare;
            outcomes.iter().filter(of).map(|one| one.2).collect::<Vec<Outcome>>()
        });
        print("bare", payload, &bare);
        print("engine", payload, &engine);
        // Round by round, because the machine's own pace drifts: the two of a round ran one after the other. Rounds in which other
        // work took a processor away say nothing, as long as there are others.
        let rounds: Vec<(&Outcome, &Outcome)> = bare.iter().zip(&engine).collect();
        let calm = |(bare, engine): &&(&Outcome, &Outcome)| bare.attention.min(engine.attention) >= CALM;
        let calm: Vec<_> = rounds.iter().filter(calm).copied().collect();
        let counted = if calm.len() >= CALM_ROUNDS.min(rounds.len()) { calm } else { rounds };
        if counted.len() < bare.len() {
            println!(
                "{payload:>5} octets: {} of {} rounds count, the others were disturbed",
                counted.len(),
                bare.len()
            );
        } else if counted.iter().any(|(bare, engine)| bare.attention.min(engine.attention) < CALM) {
            println!("{payload:>5} octets: other work disturbs nearly every round; measure again on an idle machine");
        }
        let ratio = Spread::of(counted.iter().map(|(bare, engine)| engine.per_second / bare.per_second)).median;
        enough &= ratio >= ENOUGH;
        words.push(format!("{ratio:.2} ({payload} octets)"));
    }
    println!("metal ratio {}", words.join(" "));
    enough
}

fn print(who: &str, payload: usize, outcomes: &[Outcome]) {
    let Spread { least, median, most } = Spread::of(outcomes.iter().map(|outcome| outcome.per_second));
    let sent: u64 = outcomes.iter().map(|outcome| outcome.sent).sum();
    let lost: u64 = outcomes.iter().map(Outcome::lost).sum();
    let (rounds, sender_ns) = (outcomes.len(), Spread::of(outcomes.iter().map(|outcome| outcome.sender_ns)).median);
    println!(
        "{payload:>5} octets {who:>6}: {median:>8.0} packets/s (from {least:.0} to {most:.0} in {rounds} rounds), \
         {sent} sent, {lost} lost, sender {sender_ns:.0} ns/packet"
    );
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Of at least one figure: there is at least one round.
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Self { least: figures[0], median: figures[figures.len() / 2], most: figures[figures.len() - 1] }
    }
}
