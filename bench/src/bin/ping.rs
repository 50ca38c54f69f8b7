//! `ping`: what a round trip takes over a veth cable, by `pgmx ping` and by bare `AF_XDP` rings, in turns.
//!
//! Prints medians over rounds and their ratios, and holds those against what the house promises; exits with 3 when one is missed, with 1
//! when it could not measure. Needs root and two processors, both of which it keeps busy. Leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgmx_bench::netns::{Cable, Pair};
use pgmx_bench::pingpong::bare::{Course, Side};
use pgmx_bench::process::{Running, command, number, spinning};
use pgmx_bench::rig::{self, NoPlan, Options};
use pgmx_bench::spread::Spread;
use serde_json::{Value, json};

const USAGE: &str = "\
ping [--rounds N] [--count N] [--size OCTETS] [--only NAME,NAME] [--pgmx PATH] [--json]
  N rounds (7) of each contestant, each of N round trips (20000) after a tenth as many unmeasured ones, of so many octets of payload (64);
  contestants: bare (AF_XDP rings and nothing else), xdp and raw (`pgmx ping` and `pgmx pong`, of the build beside this program or PATH);
  each end is on its own processor and spins, and every frame is as long as a data packet of the engine.
  Bars, by the medians over rounds: xdp at most 1.25 times bare, and less than raw, at p50. Status 3: missed";

/// What the median round trip over `xdp` may be of that over bare rings, and of that over `raw`.
const BARS: [(Who, f64); 2] = [(Who::Bare, 1.25), (Who::Raw, 1.0)];
/// What a contestant's round may take, by the round trip: a hundred times what one needs on an idle machine.
const SLOWEST: Duration = Duration::from_micros(500);
/// How long two processes may need to find each other, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Bare,
    Xdp,
    Raw,
}

impl Who {
    const ALL: [Self; 3] = [Self::Bare, Self::Xdp, Self::Raw];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Xdp => "xdp",
            Self::Raw => "raw",
        }
    }
}

#[derive(Debug)]
struct Plan {
    rounds: usize,
    course: Course,
    who: Vec<Who>,
    pgmx: Option<PathBuf>,
    json: bool,
}

/// A round of one contestant, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Round {
    who: Who,
    p50: f64,
    p99: f64,
}

fn main() -> ExitCode {
    rig::run("ping", USAGE, plan, |plan| Ok(report(plan, &measure(plan)?)))
}

fn plan(mut options: Options) -> Result<Plan, NoPlan> {
    let (mut rounds, mut count, mut size) = (7, 20_000, 64);
    let (mut who, mut pgmx, mut json) = (Who::ALL.to_vec(), None, false);
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--rounds" => rounds = options.number(1..=1_000)?,
            "--count" => count = options.number(100..=10_000_000)?,
            "--size" => size = options.number(16..=1_400)?,
            "--only" => who = options.some_of(&Who::ALL, Who::name)?,
            "--pgmx" => pgmx = Some(options.value()?.into()),
            "--json" => json = true,
            _ => return Err(options.unknown()),
        }
    }
    let course = Course { payload: size as usize, warm_up: count / 10, count };
    Ok(Plan { rounds: rounds as usize, course, who, pgmx, json })
}

fn measure(plan: &Plan) -> Result<Vec<Round>, String> {
    let pgmx = match &plan.pgmx {
        Some(path) => path.clone(),
        None if plan.who == [Who::Bare] => PathBuf::new(),
        None => command()?,
    };
    // Without IPv6 nobody talks on the cables but the contestants, each on one of its own.
    let cable = Cable { ipv6: false, ..Cable::default() };
    let pair = Pair::new(&vec![cable; Who::ALL.len()])?;
    let mut bare = None;
    if plan.who.contains(&Who::Bare) {
        let (left, right) = (&pair.left_ports[0], &pair.right_ports[0]);
        let ping = pair.left.inside(|| Side::ping(left, &plan.course))?;
        bare = Some((ping, pair.right.inside(|| Side::pong(right, &plan.course))?));
    }
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        for n in 0..plan.who.len() {
            // Each round another one goes first.
            let who = plan.who[(round + n) % plan.who.len()];
            let took = match (who, &mut bare) {
                (Who::Bare, Some((ping, pong))) => play_bare(ping, pong, &plan.course)?,
                _ => play_command(&pair, who, &pgmx, &plan.course)?,
            };
            if !plan.json {
                println!(
                    "round {:>2} {:>5}: p50 {:>7.0} ns, p99 {:>7.0} ns",
                    round + 1,
                    who.name(),
                    took.p50,
                    took.p99
                );
            }
            rounds.push(took);
        }
    }
    Ok(rounds)
}

fn limit(course: &Course) -> Duration {
    SLOWEST * (course.warm_up + course.count) as u32 + PATIENCE
}

fn play_bare(ping: &mut Side, pong: &mut Side, course: &Course) -> Result<Round, String> {
    let is_over = AtomicBool::new(false);
    let time = || {
        let timed = ping.time(course);
        is_over.store(true, Ordering::Release);
        timed
    };
    let (histogram, ()) = rig::side_by_side(time, || pong.answer(&is_over, limit(course)))?;
    let at = |quantile| histogram.value_at_quantile(quantile) as f64;
    Ok(Round { who: Who::Bare, p50: at(0.5), p99: at(0.99) })
}

fn play_command(pair: &Pair, who: Who, pgmx: &Path, course: &Course) -> Result<Round, String> {
    let (port, at_most) = (who as usize, limit(course));
    let pong = spinning("pong", &pair.right_ports[port].interface, who.name(), 1, &[]);
    let more =
        [("--count", course.count), ("--warmup", course.warm_up), ("--size", course.payload as u64), ("--interval", 0)];
    let ping = spinning("ping", &pair.left_ports[port].interface, who.name(), 0, &more);
    let pong = Running::begin(&pair.right, pgmx, &pong)?;
    let ping = Running::begin(&pair.left, pgmx, &ping)?;
    let result = ping.finish(at_most);
    // What pong has to say explains what ping misses.
    let (result, _) = rig::both(result, pong.finish(PATIENCE))?;
    let lost = number(&result, "/lost")?;
    if lost > 0.0 {
        return Err(format!("{lost} round trips over {} got lost", who.name()));
    }
    Ok(Round { who, p50: number(&result, "/latency_ns/p50")?, p99: number(&result, "/latency_ns/p99")? })
}

/// The medians of one contestant.
fn medians(rounds: &[Round], who: Who) -> (Spread, Spread) {
    let of = || rounds.iter().filter(|round| round.who == who);
    (Spread::of(of().map(|round| round.p50)), Spread::of(of().map(|round| round.p99)))
}

/// Prints what came out. Says whether it is what is expected.
fn report(plan: &Plan, rounds: &[Round]) -> bool {
    let mut result = json!({ "size": plan.course.payload, "rounds": plan.rounds, "round_trips": plan.course.count });
    for &who in &plan.who {
        let (p50, p99) = medians(rounds, who);
        result[who.name()] = json!({ "p50_ns": p50.median, "p99_ns": p99.median });
        if !plan.json {
            println!(
                "{:>5}: p50 {:.0} ns (from {:.0} to {:.0}), p99 {:.0} ns (from {:.0} to {:.0}); medians of {} rounds",
                who.name(),
                p50.median,
                p50.least,
                p50.most,
                p99.median,
                p99.least,
                p99.most,
                plan.rounds
            );
        }
    }
    let mut is_enough = true;
    for (than, bar) in BARS.into_iter().filter(|bar| plan.who.contains(&bar.0) && plan.who.contains(&Who::Xdp)) {
        let (ours, theirs) = (medians(rounds, Who::Xdp), medians(rounds, than));
        let (p50, p99) = (ours.0.median / theirs.0.median, ours.1.median / theirs.1.median);
        // As fast as raw sockets is not faster.
        let is_met = if than == Who::Raw { p50 < bar } else { p50 <= bar };
        is_enough &= is_met;
        result[format!("xdp_over_{}", than.name())] = json!({ "p50": p50, "p99": p99, "bar_p50": bar, "met": is_met });
        if !plan.json {
            let verdict = if is_met { "" } else { ": MISSED" };
            println!("xdp over {}: {p50:.2} at p50 (bar {bar:.2}), {p99:.2} at p99{verdict}", than.name());
        }
    }
    result["passed"] = Value::Bool(is_enough);
    if plan.json {
        println!("{result}");
    }
    is_enough
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<Plan, NoPlan> {
        plan(Options::of(line))
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for line in ["--rounds 0", "--size 8", "--size 1401", "--count soon", "--only dpdk", "--rounds", "--fast 1"] {
            assert!(planned(line).is_err(), "{line}");
        }
        assert!(matches!(planned("--rounds 3 --help"), Err(NoPlan::Help)));
        let plan = planned("--rounds 3 --count 1000 --only bare,xdp --json").expect("sound");
        assert_eq!((plan.rounds, plan.course.warm_up, plan.course.count), (3, 100, 1000));
        assert_eq!((plan.who, plan.json), (vec![Who::Bare, Who::Xdp], true));
    }

    #[test]
    fn the_median_is_that_of_the_contestant() {
        let round = |who, p50| Round { who, p50, p99: 2.0 * p50 };
        let rounds = [round(Who::Xdp, 5.0), round(Who::Bare, 1.0), round(Who::Xdp, 7.0), round(Who::Xdp, 6.0)];
        let (p50, p99) = medians(&rounds, Who::Xdp);
        assert_eq!((p50.median, p99.median, p50.least, p50.most), (6.0, 12.0, 5.0, 7.0));
    }
}
