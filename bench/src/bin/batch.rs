//! `batch`: small messages that share packets, from `pgmx send` to `pgmx recv` over a veth cable, beside bare `AF_XDP` rings that move frames
//! of the same size, in turns.
//!
//! Prints messages a second and their ratio to what the bare frames could have carried; exits with 3 when that is below what the house
//! promises or anything was lost, with 1 when it could not measure. Needs root and two processors, both of which it keeps busy. Leaves
//! nothing behind.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmx_bench::links::bare::Bare;
use pgmx_bench::links::{Contestant, HEADERS, Outcome, Run, Workload};
use pgmx_bench::netns::{Cable, Pair};
use pgmx_bench::process::{Running, command, number, spinning};
use pgmx_bench::rig::{self, NoPlan, Options};
use pgmx_bench::spread::Spread;
use serde_json::json;

const USAGE: &str = "\
batch [--rounds N] [--count N] [--size OCTETS] [--milliseconds N] [--pgmx PATH] [--json]
  N rounds (5), each of bare AF_XDP rings that send frames as large as a full batch for so long (300), and of
  `pgmx send --batch --rate max` to `pgmx recv --verify` with N messages (10000000) of so many octets (64), of the build beside this
  program or PATH; each end is on its own processor and spins.
  Bar, by the median over rounds: 0.75 of the bare frames a second times the messages of a frame, and nothing lost. Status 3: missed";

/// What messages may be of what bare frames could have carried.
const BAR: f64 = 0.75;
const MTU: usize = 1500;
/// Octets of a packet that are not records: IPv4 with the room that Router Alert takes from a repair, the data header, and the option that
/// says that records follow.
const NOT_RECORDS: usize = 20 + 4 + 24 + 8;
/// Octets in front of a record, and of the option, which the bare payload has as well.
const RECORD_HEAD: usize = 2;
const OPTION: usize = 8;
/// What a round of the command may take, by the message, and beyond: fifty times what an idle machine needs.
const SLOWEST: Duration = Duration::from_micros(5);
const PATIENCE: Duration = Duration::from_secs(20);
/// A round in which the bare rings had their processors for less of the time says little: other work runs here.
const CALM: f64 = 0.97;
/// The group as the kernel lists it.
const GROUP_LISTED: &str = "0100C0EF";

#[derive(Debug)]
struct Plan {
    rounds: usize,
    count: u64,
    size: usize,
    time: Duration,
    pgmx: Option<PathBuf>,
    json: bool,
}

impl Plan {
    /// Messages that a full packet holds.
    fn per_frame(&self) -> usize {
        (MTU - NOT_RECORDS) / (self.size + RECORD_HEAD)
    }

    /// The payload with which a bare frame is as large as that packet.
    fn bare_payload(&self) -> usize {
        OPTION + self.per_frame() * (self.size + RECORD_HEAD)
    }
}

/// A round: frames a second over bare rings, and messages a second by the command.
#[derive(Clone, Copy, Debug)]
struct Round {
    frames: f64,
    messages: f64,
    lost: u64,
    /// The part of the time that both sides of the bare rings had their processors.
    attention: f64,
}

fn main() -> ExitCode {
    rig::run("batch", USAGE, plan, |plan| Ok(report(plan, &measure(plan)?)))
}

fn plan(mut options: Options) -> Result<Plan, NoPlan> {
    let (mut rounds, mut count, mut size, mut milliseconds, mut pgmx, mut json) = (5, 10_000_000, 64, 300, None, false);
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--rounds" => rounds = options.number(1..=1_000)?,
            "--count" => count = options.number(1_000..=1_000_000_000)?,
            "--size" => size = options.number(16..=700)?,
            "--milliseconds" => milliseconds = options.number(10..=10_000)?,
            "--pgmx" => pgmx = Some(options.value()?.into()),
            "--json" => json = true,
            _ => return Err(options.unknown()),
        }
    }
    let (rounds, size, time) = (rounds as usize, size as usize, Duration::from_millis(milliseconds));
    Ok(Plan { rounds, count, size, time, pgmx, json })
}

fn measure(plan: &Plan) -> Result<Vec<Round>, String> {
    let pgmx = plan.pgmx.clone().map_or_else(command, Ok)?;
    // Without IPv6 nobody talks on the cables but the contestants, each on one of its own.
    let cable = Cable { ipv6: false, ..Cable::default() };
    let pair = Pair::new(&[cable.clone(), cable])?;
    let workload = Workload { payload: plan.bare_payload(), frames: 1024, budget: 64, ring: 2048, time: plan.time };
    let (left, right) = (&pair.left_ports[0], &pair.right_ports[0]);
    let mut sender = pair.left.inside(|| Bare::open(left, &workload, false))?;
    let mut receiver = pair.right.inside(|| Bare::open(right, &workload, true))?;
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        // Each round another one goes first.
        let (bare, (messages, lost)) = if round % 2 == 0 {
            let bare = play_bare(&mut sender, &mut receiver, &workload)?;
            (bare, play_command(&pair, &pgmx, plan)?)
        } else {
            let messages = play_command(&pair, &pgmx, plan)?;
            (play_bare(&mut sender, &mut receiver, &workload)?, messages)
        };
        let took = Round { frames: bare.per_second, messages, lost, attention: bare.attention };
        if !plan.json {
            println!(
                "round {:>2}: bare {:>8.0} frames/s, pgmx {:>9.0} messages/s ({:.2} of {} a frame), {} lost",
                round + 1,
                took.frames,
                took.messages,
                ratio(plan, &took),
                plan.per_frame(),
                took.lost
            );
        }
        rounds.push(took);
    }
    Ok(rounds)
}

fn play_bare(sender: &mut Bare, receiver: &mut Bare, workload: &Workload) -> Result<Outcome, String> {
    let run = Arc::new(Run::default());
    let ((), outcome) = rig::side_by_side(|| sender.send(workload, &run), || receiver.receive(workload, &run))?;
    Ok(outcome)
}

/// Messages a second, and how many were lost or damaged.
fn play_command(pair: &Pair, pgmx: &Path, plan: &Plan) -> Result<(f64, u64), String> {
    let mut recv =
        spinning("recv", &pair.right_ports[1].interface, "xdp", 1, &[("--count", plan.count), ("--timeout", 10)]);
    recv.push("--verify".into());
    let more = [("--count", plan.count), ("--size", plan.size as u64)];
    let mut send = spinning("send", &pair.left_ports[1].interface, "xdp", 0, &more);
    send.extend(["--batch", "--rate", "max"].map(String::from));
    let mut recv = Running::begin(&pair.right, pgmx, &recv)?;
    await_member(&mut recv)?;
    let send = Running::begin(&pair.left, pgmx, &send)?;
    let at_most = SLOWEST * u32::try_from(plan.count).map_err(|error| error.to_string())? + PATIENCE;
    let (_, result) = rig::both(send.finish(at_most), recv.finish(PATIENCE))?;
    let missing = number(&result, "/lost")? + number(&result, "/corrupt")?;
    Ok((number(&result, "/messages_per_s")?, missing as u64))
}

/// Waits until a receiver is a member of the group: a sender that begins earlier is heard from its middle.
fn await_member(recv: &mut Running) -> Result<(), String> {
    let (list, end) = (format!("/proc/{}/net/igmp", recv.process()), Instant::now() + PATIENCE);
    loop {
        if std::fs::read_to_string(&list).is_ok_and(|list| list.contains(GROUP_LISTED)) {
            return Ok(());
        }
        if Instant::now() > end || !recv.is_running() {
            return Err("pgmx recv did not join its group".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the messages of a round are of those that its bare frames could have carried.
fn ratio(plan: &Plan, round: &Round) -> f64 {
    round.messages / (round.frames * plan.per_frame() as f64)
}

/// Prints what came out. Says whether it is what is expected.
fn report(plan: &Plan, rounds: &[Round]) -> bool {
    let frames = Spread::of(rounds.iter().map(|round| round.frames));
    let messages = Spread::of(rounds.iter().map(|round| round.messages));
    // Round by round, because the machine's own pace drifts: those of a round ran one after the other.
    let share = Spread::of(rounds.iter().map(|round| ratio(plan, round)));
    let lost: u64 = rounds.iter().map(|round| round.lost).sum();
    let is_enough = share.median >= BAR && lost == 0;
    let calm = rounds.iter().filter(|round| round.attention >= CALM).count();
    if calm * 2 < rounds.len() {
        eprintln!(
            "batch: other work took the processors in {} of {} rounds: this says little",
            rounds.len() - calm,
            rounds.len()
        );
    }
    if plan.json {
        let result = json!({
            "rounds": plan.rounds, "count": plan.count, "size": plan.size, "messages_per_frame": plan.per_frame(),
            "frame_octets": HEADERS + plan.bare_payload(), "bare_frames_per_s": frames.median,
            "messages_per_s": messages.median, "share": share.median, "bar": BAR, "lost": lost,
            "calm_rounds": calm, "passed": is_enough
        });
        println!("{result}");
    } else {
        println!(
            "bare: {:.0} frames/s of {} octets (from {:.0} to {:.0}), room for {} messages of {} octets each",
            frames.median,
            HEADERS + plan.bare_payload(),
            frames.least,
            frames.most,
            plan.per_frame(),
            plan.size
        );
        println!(
            "pgmx: {:.0} messages/s (from {:.0} to {:.0}), {lost} lost",
            messages.median, messages.least, messages.most
        );
        let verdict = if is_enough { "" } else { ": MISSED" };
        println!("pgmx over bare: {:.2} (bar {BAR:.2}); medians of {} rounds{verdict}", share.median, plan.rounds);
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
        for line in ["--rounds 0", "--size 15", "--size 701", "--count 1e6", "--milliseconds", "--loud 1"] {
            assert!(planned(line).is_err(), "{line}");
        }
        assert!(matches!(planned("-h"), Err(NoPlan::Help)));
    }

    #[test]
    fn a_bare_frame_is_as_large_as_a_full_batch() {
        let plan = planned("").expect("sound");
        assert_eq!((plan.per_frame(), plan.bare_payload()), (21, 1394));
        // Never longer than what a packet holds, and no record more would fit.
        for size in 16..=700 {
            let plan = Plan { size, ..planned("").expect("sound") };
            let (records, room) = (plan.bare_payload() - OPTION, MTU - NOT_RECORDS);
            assert!(records <= room && room < records + size + RECORD_HEAD, "{size}");
        }
    }

    #[test]
    fn the_share_is_of_what_the_frames_could_have_carried() {
        let plan = planned("").expect("sound");
        let round = Round { frames: 1_000.0, messages: 15_750.0, lost: 0, attention: 1.0 };
        assert!((ratio(&plan, &round) - 0.75).abs() < 1e-9);
    }
}
