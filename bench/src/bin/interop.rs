//! `interop`: the matrix of `pgmx` and the PGM implementations that people run, each cell between hosts of its own.
//!
//! Prints a table; exits with 0 only when every cell holds, else with 3. Needs root, and the programs of `bench/peers`
//! (`cargo xtask peers`). Leaves nothing behind but the logs of cells that failed.

use std::path::PathBuf;
use std::process::ExitCode;

use pgmx_bench::interop::matrix::rows;
use pgmx_bench::interop::run::{Cell, Programs, play};
use pgmx_bench::interop::table;
use pgmx_bench::process::command;
use pgmx_bench::rig::{self, NoPlan, Options};

const USAGE: &str = "\
interop [--quick] [--only WORDS]... [--list] [--json] [--jobs N] [--rate MBIT/S] [--count N]
        [--pgmx PATH] [--peers DIRECTORY] [--logs DIRECTORY]
  Plays every cell of the matrix: OpenPGM and ZeroMQ to `pgmx` and back, over xdp, raw and udp.
  --quick   few messages a cell, some cells at a time, within a minute
  --only    cells whose line in --list holds these words, whatever the case; may be repeated, all have to hold
  --jobs    so many cells at a time (1; with --quick 6)
  --rate    other than the rows have it, in those that have one, to find out what a peer can take
  --count   messages of those rows
  --logs    where the logs of failed cells stay (target/interop)
  Status 3: a cell does not hold";

#[derive(Debug, Default)]
struct Plan {
    quick: bool,
    only: Vec<String>,
    list: bool,
    json: bool,
    jobs: Option<usize>,
    rate: Option<u32>,
    count: Option<u64>,
    pgmx: Option<PathBuf>,
    peers: Option<PathBuf>,
    logs: Option<PathBuf>,
}

fn main() -> ExitCode {
    rig::run("interop", USAGE, plan, interop)
}

fn plan(mut options: Options) -> Result<Plan, NoPlan> {
    let mut plan = Plan::default();
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--quick" => plan.quick = true,
            "--list" => plan.list = true,
            "--json" => plan.json = true,
            "--only" => plan.only.push(options.value()?),
            "--jobs" => plan.jobs = Some(options.number(1..=16)? as usize),
            "--rate" => plan.rate = Some(options.number(1..=100_000)? as u32),
            "--count" => plan.count = Some(options.number(1..=100_000_000)?),
            "--pgmx" => plan.pgmx = Some(options.value()?.into()),
            "--peers" => plan.peers = Some(options.value()?.into()),
            "--logs" => plan.logs = Some(options.value()?.into()),
            _ => return Err(options.unknown()),
        }
    }
    Ok(plan)
}

fn interop(plan: &Plan) -> Result<bool, String> {
    let mut rows = rows(plan.quick);
    for row in &mut rows {
        row.bend(plan.rate, plan.count);
    }
    let cells = Cell::of(&rows, &plan.only);
    if cells.is_empty() {
        return Err("no cell is called so; --list tells what there is".into());
    }
    if plan.list {
        for cell in &cells {
            println!("{cell}");
        }
        return Ok(true);
    }
    let (programs, logs) = places(plan)?;
    let played = play(&cells, &programs, &logs, plan.jobs.unwrap_or(if plan.quick { 6 } else { 1 }));
    if plan.json {
        println!("{}", table::object(&played));
    } else {
        print!("{}", table::table(&played));
    }
    Ok(table::all_held(&played))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<Plan, NoPlan> {
        plan(Options::of(line))
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--jobs 0", "--rate 0", "--count 1k", "--jobs 17", "--only", "--fast"] {
            assert!(planned(line).is_err(), "{line}");
        }
        let plan = planned("--quick --only xdp --only zeromq --json").expect("sound");
        assert_eq!((plan.quick, plan.json, plan.only.len()), (true, true, 2));
    }
}
