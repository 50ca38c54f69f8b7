//! `memory`: packets a second over the memory link, one core doing both ends, and how flat that stays.
//!
//! Prints the rate with one session and whether it keeps with more sessions, with larger windows, and with packets missing; exits with 3
//! when a figure misses what the house promises. Rates are by processor time, since one thread does all and never waits: other work on the
//! machine lowers them by what it takes from the caches, and by nothing else. Needs no rights.

use std::process::ExitCode;

use pgmx_bench::memory::{Couple, PAYLOAD};
use pgmx_bench::missing::Fed;
use pgmx_bench::rig::{self, NoPlan, Options};
use pgmx_bench::spread::Spread;
use pgmx_bench::watch::Watch;
use serde_json::{Value, json};

const USAGE: &str = "\
memory [--rounds N] [--milliseconds N] [--json]
  N rounds (5) of each figure, all figures of a round one after the other, each for so long (100).
  sessions: each has a burst to send at every turn; sparse: a packet or none; slots: of one session's window; missing: at one receiver
  Bars: 12 million packets/s of 64 octets; within 20 % with 1, 10 and 100 sessions and with windows of 1,024 to 1,048,576 SQNs; twice the
  cost at most with 100,000 packets missing. Status 3: missed";

/// Packets a second, one session.
const BAR_RATE: f64 = 12e6;
/// What the least of some rates may be of the most.
const BAR_FLAT: f64 = 0.8;
/// What receiving may cost with 100,000 packets missing, as a multiple of what it costs with none.
const BAR_MISSING: f64 = 2.0;
/// Windows of the first figure and of the sessions: the smallest in which a burst nearly always finds room, since 100 of
/// them take memory.
const WINDOW: u32 = 4096;
const SESSION_WINDOW: u32 = 2048;
const SESSIONS: [u16; 3] = [1, 10, 100];
const WINDOWS: [u32; 5] = [1 << 10, 1 << 14, 1 << 16, 1 << 18, 1 << 20];
const MISSING: [u32; 3] = [0, 1000, 100_000];
/// Turns between two looks at the watch.
const TURNS: u32 = 256;

struct Plan {
    rounds: usize,
    seconds: f64,
    json: bool,
}

fn main() -> ExitCode {
    rig::run("memory", USAGE, plan, measure)
}

fn plan(mut options: Options) -> Result<Plan, NoPlan> {
    let (mut rounds, mut milliseconds, mut json) = (5, 100, false);
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--rounds" => rounds = options.number(1..=1000)?,
            "--milliseconds" => milliseconds = options.number(1..=1000)?,
            "--json" => json = true,
            _ => return Err(options.unknown()),
        }
    }
    Ok(Plan { rounds: rounds as usize, seconds: milliseconds as f64 / 1e3, json })
}

/// Packets a second of processor time, for about so long.
fn rate(seconds: f64, mut turn: impl FnMut() -> u64) -> f64 {
    let (watch, mut packets) = (Watch::start(), 0);
    loop {
        for _ in 0..TURNS {
            packets += turn();
        }
        let took = watch.read().0.as_secs_f64();
        if took >= seconds {
            return packets as f64 / took;
        }
    }
}

/// Packets a second that a receiver takes while so many are missing: as far as its window lets it.
fn rate_missing(seconds: f64, missing: u32) -> Result<f64, String> {
    let mut fed = Fed::new(missing)?;
    let (mut packets, watch) = (0, Watch::start());
    loop {
        for _ in 0..TURNS {
            packets += fed.burst();
        }
        let took = watch.read().0.as_secs_f64();
        // Half the window stays free: what is measured is not how it fills.
        if took >= seconds || fed.room() < 1 << 18 {
            return if fed.missing() == u64::from(missing) {
                Ok(packets as f64 / took)
            } else {
                Err(format!("{} packets are missing in the end, not {missing}", fed.missing()))
            };
        }
    }
}

/// Rates of one row, round by round, by what differs in it.
type Row = Vec<(u32, Vec<f64>)>;

fn measure(plan: &Plan) -> Result<bool, String> {
    let couple = |(sessions, window)| Couple::new(sessions, window);
    let sparse = |sessions| Couple::sparse(sessions, SESSION_WINDOW);
    let mut first = couple((1, WINDOW))?;
    let mut sessions = SESSIONS.into_iter().map(|n| couple((n, SESSION_WINDOW))).collect::<Result<Vec<_>, _>>()?;
    let mut sparse = SESSIONS.into_iter().map(sparse).collect::<Result<Vec<_>, _>>()?;
    let mut windows = WINDOWS.into_iter().map(|slots| couple((1, slots))).collect::<Result<Vec<_>, _>>()?;
    // Once round every window: all memory was touched then.
    let all = [(&mut first, WINDOW)].into_iter();
    let many = sessions.iter_mut().zip(SESSIONS).chain(sparse.iter_mut().zip(SESSIONS));
    let all = all.chain(many.map(|(couple, n)| (couple, u32::from(n) * SESSION_WINDOW)));
    for (couple, slots) in all.chain(windows.iter_mut().zip(WINDOWS)) {
        let mut passed = 0;
        while passed < 2 * slots {
            passed += couple.turn() as u32;
        }
    }
    let empty = |keys: &[u32]| -> Row { keys.iter().map(|key| (*key, Vec::new())).collect() };
    let mut rates = Vec::new();
    let (mut by_sessions, mut by_window) = (empty(&SESSIONS.map(u32::from)), empty(&WINDOWS));
    let (mut by_sparse, mut by_missing) = (empty(&SESSIONS.map(u32::from)), empty(&MISSING));
    for _ in 0..plan.rounds {
        rates.push(rate(plan.seconds, || first.turn()));
        for (couple, row) in sessions.iter_mut().zip(&mut by_sessions) {
            row.1.push(rate(plan.seconds, || couple.turn()));
        }
        for (couple, row) in sparse.iter_mut().zip(&mut by_sparse) {
            row.1.push(rate(plan.seconds, || couple.turn()));
        }
        for (couple, row) in windows.iter_mut().zip(&mut by_window) {
            row.1.push(rate(plan.seconds, || couple.turn()));
        }
        for row in &mut by_missing {
            row.1.push(rate_missing(plan.seconds, row.0)?);
        }
    }
    for couple in [&mut first].into_iter().chain(&mut sessions).chain(&mut sparse).chain(&mut windows) {
        couple.settle()?;
    }
    let rows = [
        ("sessions", by_sessions, Some(BAR_FLAT)),
        ("sparse", by_sparse, None),
        ("slots", by_window, Some(BAR_FLAT)),
        ("missing", by_missing, Some(1.0 / BAR_MISSING)),
    ];
    Ok(report(plan, &rates, &rows))
}

/// The least and the most of a row over its first, round by round.
fn flatness(row: &Row) -> Vec<Spread> {
    let first = &row[0].1;
    row.iter().map(|(_, rates)| Spread::of(rates.iter().zip(first).map(|(rate, first)| rate / first))).collect()
}

fn spread(Spread { least, median, most }: Spread) -> Value {
    json!({ "least": least, "median": median, "most": most })
}

/// A row's name, its figures, and what the least of them may be of the first.
type Named = (&'static str, Row, Option<f64>);

fn report(plan: &Plan, rates: &[f64], named: &[Named]) -> bool {
    let rate = Spread::of(rates.iter().copied());
    let mut enough = rate.median >= BAR_RATE;
    let mut rows = Vec::new();
    let verdict = |is_enough: bool| if is_enough { "" } else { ": MISSED" };
    if !plan.json {
        println!(
            "{PAYLOAD} octets, one core doing both ends: {:.2} million packets/s (from {:.2} to {:.2}; bar {:.0}){}",
            rate.median / 1e6,
            rate.least / 1e6,
            rate.most / 1e6,
            BAR_RATE / 1e6,
            verdict(enough)
        );
    }
    for (what, row, bar) in named {
        let words = bar.map_or("no bar".into(), |bar| format!("bar {bar:.2}"));
        for ((key, rates), over_first) in row.iter().zip(flatness(row)) {
            let median = Spread::of(rates.iter().copied()).median;
            let is_enough = bar.is_none_or(|bar| over_first.median >= bar);
            enough &= is_enough;
            if !plan.json {
                println!(
                    "{key:>8} {what:<8} {:>6.2} million packets/s, {:.2} of the first (from {:.2} to {:.2}; {words}){}",
                    median / 1e6,
                    over_first.median,
                    over_first.least,
                    over_first.most,
                    verdict(is_enough)
                );
            }
            rows.push(json!({ "what": what, "number": key, "packets_per_s": median, "of_first": spread(over_first) }));
        }
    }
    if plan.json {
        println!(
            "{}",
            json!({ "payload": PAYLOAD, "rounds": plan.rounds, "packets_per_s": spread(rate), "rows": rows })
        );
    }
    enough
}
