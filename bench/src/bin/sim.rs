//! Plays many seeds of the simulator on all threads it is given, and says what they covered.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use pgmx::sim::report::Report;
use pgmx::sim::run::play;
use pgmx::sim::scenario::Scenario;
use pgmx_bench::rig::{self, NoPlan, Options};

const HELP: &str = "\
Plays the protocol on a bad network in virtual time; an oracle checks every delivery and every packet.

usage: cargo xtask sim [--seeds N] [--first F] [--threads T] [--keep-going]
       cargo xtask sim --seed S [-v]

  --seeds N      how many seeds (default 300)
  --first F      the first of them (default 1)
  --threads T    how many threads (default: one a core)
  --keep-going   do not stop at the first seed that fails
  --seed S       plays one seed twice and compares the octets sent
  -v             prints the scenario

From 1000 seeds on every kind of fault and of ending must come in a twentieth of them.

exit status: 0 all well, 1 a seed failed or something was not covered, 2 the arguments make no sense";

struct Plan {
    seeds: u64,
    first: u64,
    threads: usize,
    keep_going: bool,
    seed: Option<u64>,
    verbose: bool,
}

fn plan(mut options: Options) -> Result<Plan, NoPlan> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut plan = Plan { seeds: 300, first: 1, threads, keep_going: false, seed: None, verbose: false };
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--seeds" => plan.seeds = options.number(0..=u64::MAX)?,
            "--first" => plan.first = options.number(0..=u64::MAX)?,
            "--threads" => plan.threads = options.number(1..=256)? as usize,
            "--seed" => plan.seed = Some(options.number(0..=u64::MAX)?),
            "--keep-going" => plan.keep_going = true,
            "-v" | "--verbose" => plan.verbose = true,
            _ => return Err(options.unknown()),
        }
    }
    Ok(plan)
}

fn replay(seed: u64, verbose: bool) -> ExitCode {
    if verbose {
        print!("{}", Scenario::draw(seed));
    }
    let (one, two) = (play(seed), play(seed));
    let mut report = Report::default();
    report.add(&one);
    print!("{report}");
    if one.digest != two.digest {
        println!("seed {seed} FAILED: two runs sent different octets ({:016x}, {:016x})", one.digest, two.digest);
        return ExitCode::FAILURE;
    }
    if let Some(fault) = one.fault {
        println!("seed {seed} FAILED: {fault}");
        return ExitCode::FAILURE;
    }
    println!("seed {seed} passed, twice with the same octets");
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let wanted = match rig::planned(HELP, plan) {
        Ok(plan) => plan,
        Err(status) => return status,
    };
    if let Some(seed) = wanted.seed {
        return replay(seed, wanted.verbose);
    }
    let begun = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..wanted.threads {
            scope.spawn(|| {
                let mut report = Report::default();
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= wanted.seeds {
                        break;
                    }
                    let seed = wanted.first.wrapping_add(n);
                    if wanted.verbose {
                        print!("{}", Scenario::draw(seed));
                    }
                    // A panic in the engine is a failing seed like any other.
                    let outcome = std::panic::catch_unwind(|| play(seed));
                    let failed = if let Ok(outcome) = outcome {
                        report.add(&outcome);
                        outcome.fault
                    } else {
                        let fault = "panicked; the message is above".to_owned();
                        report.failures.push((seed, fault.clone()));
                        Some(fault)
                    };
                    if let Some(fault) = failed {
                        println!("seed {seed} FAILED: {fault}\n  replay: cargo xtask sim --seed {seed} -v");
                        stop.store(!wanted.keep_going, Ordering::Relaxed);
                    }
                }
                if let Ok(mut total) = total.lock() {
                    total.merge(&report);
                }
            });
        }
    });
    let Ok(total) = total.into_inner() else { return ExitCode::FAILURE };
    print!("{total}");
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{seconds:.1} s on {} threads, {:.0} packets delivered a second",
        wanted.threads,
        total.delivered as f64 / seconds
    );
    let uncovered = total.uncovered();
    if !uncovered.is_empty() {
        println!("in less than a twentieth of the seeds: {}", uncovered.join(", "));
    }
    if !total.failures.is_empty() {
        println!("{} seeds FAILED", total.failures.len());
        return ExitCode::FAILURE;
    }
    if total.seeds >= 1000 && !uncovered.is_empty() {
        return ExitCode::FAILURE;
    }
    println!("all {} seeds passed", total.seeds);
    ExitCode::SUCCESS
}
