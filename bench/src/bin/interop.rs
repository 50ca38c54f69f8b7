//! `interop`: the matrix of `pgmx` and the PGM implementations that people run, each cell between hosts of its own.
//!
//! Prints a table; exits with 0 only when every cell holds. Needs root, and the programs of `bench/peers` (`cargo xtask peers`). Leaves
//! nothing behind but the logs of cells that failed.

use std::path::PathBuf;
use std::process::ExitCode;

use pgmx_bench::interop::matrix::rows;
use pgmx_bench::interop::run::{Cell, Programs, play};
use pgmx_bench::interop::table;
use pgmx_bench::process::command;

const USAGE: &str = "\
interop [--quick] [--only WORDS]... [--list] [--json] [--jobs N] [--rate MBIT/S] [--count N]
        [--pgmx PATH] [--peers DIRECTORY] [--logs DIRECTORY]
  Plays every cell of the matrix: OpenPGM and ZeroMQ to `pgmx` and back, over xdp, raw and udp.
  --quick   few messages a cell, some cells at a time, within a minute
  --only    cells whose line in --list holds these words, whatever the case; may be repeated, all have to hold
  --jobs    so many cells at a time (1; with --quick 4)
  --rate    other than the rows have it, in those that have one, to find out what a peer can take
  --count   messages of those rows
  --logs    where the logs of failed cells stay (target/interop)";

#[derive(Debug, Default)]
struct Plan {
    quick: bool,
    only: Vec<String>,
    list: bool,
    json: bool,
    jobs: usize,
    rate: Option<u32>,
    count: Option<u64>,
    pgmx: Option<PathBuf>,
    peers: Option<PathBuf>,
    logs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut rows = rows(plan.quick);
    for row in &mut rows {
        row.bend(plan.rate, plan.count);
    }
    let cells = Cell::of(&rows, &plan.only);
    if cells.is_empty() {
        eprintln!("interop: no cell is called so; --list tells what there is");
        return ExitCode::from(2);
    }
    if plan.list {
        for cell in &cells {
            println!("{cell}");
        }
        return ExitCode::SUCCESS;
    }
    match places(&plan) {
        Ok((programs, logs)) => {
            let played = play(&cells, &programs, &logs, plan.jobs);
            if plan.json {
                println!("{}", table::object(&played));
            } else {
                print!("{}", table::table(&played));
            }
            if table::all_held(&played) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("interop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Programs and logs: what was named, else what lies in the directory of this build.
fn places(plan: &Plan) -> Result<(Programs, PathBuf), String> {
    let here = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
    let target =
        here.parent().and_then(|profile| profile.parent()).ok_or("this program lies in no target directory")?;
    let pgmx = plan.pgmx.clone().map_or_else(command, Ok)?;
    let peers = plan.peers.clone().unwrap_or_else(|| target.join("peers"));
    Ok((Programs { pgmx, peers }, plan.logs.clone().unwrap_or_else(|| target.join("interop"))))
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Option<Plan>, String> {
    let mut jobs = None;
    let mut plan = Plan::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--quick" => plan.quick = true,
            "--list" => plan.list = true,
            "--json" => plan.json = true,
            "--only" | "--jobs" | "--rate" | "--count" | "--pgmx" | "--peers" | "--logs" => {
                let value = arguments.next().ok_or_else(|| format!("{argument} wants a value"))?;
                let number = |least: u64, most: u64| {
                    let number: u64 = value.parse().map_err(|error| format!("{argument} {value}: {error}"))?;
                    let refused = || format!("{argument} {value} refused: {least} to {most}");
                    (least..=most).contains(&number).then_some(number).ok_or_else(refused)
                };
                match argument.as_str() {
                    "--jobs" => jobs = Some(number(1, 16)? as usize),
                    "--rate" => plan.rate = Some(number(1, 100_000)? as u32),
                    "--count" => plan.count = Some(number(1, 100_000_000)?),
                    "--only" => plan.only.push(value),
                    "--pgmx" => plan.pgmx = Some(value.into()),
                    "--peers" => plan.peers = Some(value.into()),
                    _ => plan.logs = Some(value.into()),
                }
            }
            _ => return Err(format!("{argument} is not known")),
        }
    }
    plan.jobs = jobs.unwrap_or(if plan.quick { 4 } else { 1 });
    Ok(Some(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<Option<Plan>, String> {
        plan(line.split_whitespace().map(String::from))
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--jobs 0", "--rate 0", "--count 1k", "--jobs 17", "--jobs many", "--only", "--fast"] {
            assert!(planned(line).is_err(), "{line}");
        }
        assert!(planned("--quick --help").expect("help").is_none());
        let plan = planned("--quick --only xdp --only zeromq --json").expect("sound").expect("a plan");
        assert_eq!((plan.quick, plan.json, plan.jobs, plan.only.len()), (true, true, 4, 2));
    }
}
