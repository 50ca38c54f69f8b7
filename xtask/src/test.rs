//! `cargo xtask test`, `ci` and `budget`: which lanes there are, what each runs, and how long it may take.
//!
//! The limits are for a cold build on two cores, a few times what was needed; they are there so that a hang ends, not
//! to measure anything.

use crate::args::Args;
use crate::conformance;
use crate::interop;
use crate::lanes::{Outcome, Run};
use crate::loom;
use crate::process::{Cmd, Output, cargo};
use crate::proving;
use crate::sanitize;
use crate::setup;
use crate::vm;
use std::path::Path;
use std::time::Duration;

const LANES: [&str; 11] =
    ["conformance", "unit", "bare", "loom", "privileged", "interop", "sanitize", "vm", "sim", "budget", "bench-smoke"];

/// The features every workspace-wide build takes, so that one lane's build serves the next.
pub(crate) const FEATURES: [&str; 2] = ["--features", "pgmx/sim"];

/// Instructions per packet on the memory link, 64-octet payload: what the architecture allows.
const BUDGET_SEND: u64 = 300;
/// The receiving half of the same budget: receive in order and deliver.
const BUDGET_RECEIVE: u64 = 350;
/// A compiler's mood is not a regression; a tenth is.
const BUDGET_SLACK_PERCENT: u64 = 10;

/// Programs that some privileged tests ask, which then have them in their names.
const TOOLS: [&str; 2] = ["tshark", "strace"];

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// `cargo xtask test [--long] [--lane NAME]... [FILTER]`.
pub(crate) fn run(root: &Path, mut args: Args) -> Result<bool, String> {
    let long = args.flag("--long");
    let mut lanes = args.values("--lane")?;
    let filter = args.one_word()?;
    if let Some(unknown) = lanes.iter().find(|l| !LANES.contains(&l.as_str())) {
        return Err(format!("no lane `{unknown}`; there are: {}", LANES.join(", ")));
    }
    if lanes.is_empty() {
        // A filter names tests; lanes that have none would only make its user wait.
        let all: &[&str] = if filter.is_some() { &["unit", "privileged"] } else { &LANES };
        lanes = all.iter().map(|&l| l.to_owned()).collect();
    }
    let mut run = Run::default();
    test_lanes(&mut run, root, &lanes, long, filter.as_deref());
    Ok(run.finish())
}

/// `cargo xtask ci`: what must hold before a change is merged.
pub(crate) fn ci(root: &Path) -> bool {
    let mut run = Run::default();
    let strict = ["--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run.lane("fmt", || Outcome::of(&cargo(root, &["fmt", "--all", "--check"]), minutes(2)));
    run.lane("clippy", || Outcome::of(&cargo(root, &["clippy"]).args(strict.map(String::from)), minutes(15)));
    run.lane("doc", || {
        let doc = cargo(root, &["doc", "--workspace", "--no-deps", "--all-features"]);
        Outcome::of(&doc.env("RUSTDOCFLAGS", "-D warnings"), minutes(10))
    });
    run.lane("build", || Outcome::of(&cargo(root, &["build", "--release", "--workspace"]), minutes(15)));
    test_lanes(&mut run, root, &LANES.map(String::from), false, None);
    run.finish()
}

fn test_lanes(run: &mut Run, root: &Path, lanes: &[String], long: bool, filter: Option<&str>) {
    for lane in LANES {
        if !lanes.iter().any(|l| l == lane) {
            continue;
        }
        run.lane(lane, || match lane {
            "conformance" => conformance::lane(root),
            "unit" => unit(root, long, filter),
            "bare" => bare(root),
            "loom" => loom::lane(root),
            "privileged" => privileged(root, long, filter),
            "interop" => interop::lane(root),
            "sanitize" => sanitize::lane(root, long),
            "vm" => vm::lane(root),
            "sim" => sim(root, long),
            "bench-smoke" => proving::lane(root),
            _ => budget_lane(root),
        });
    }
}

/// Without the default features everything but the `xdp` link still builds, and no C compiler is called: this one would fail.
fn bare(root: &Path) -> Outcome {
    let cmd = cargo(root, &["check", "-p", "pgmx", "-p", "pgmx-tools", "--no-default-features"]);
    Outcome::of(&cmd.env("CC", "false").env("CLANG", "false"), minutes(10))
}

fn with_long(cmd: Cmd, long: bool) -> Cmd {
    // Tests that take more than seconds look for this and do their full count.
    if long { cmd.env("PGMX_LONG", "1") } else { cmd }
}

fn unit(root: &Path, long: bool, filter: Option<&str>) -> Outcome {
    let cmd = cargo(root, &["test", "--workspace", "--no-fail-fast"]).args(FEATURES.map(String::from));
    let cmd = cmd.args(filter.map(String::from));
    Outcome::of(&with_long(cmd, long), minutes(if long { 60 } else { 15 }))
}

/// Tests that need root stand in `*/tests/privileged_*.rs` and are ignored by a plain `cargo test`.
fn privileged(root: &Path, long: bool, filter: Option<&str>) -> Outcome {
    if !has_privileged_tests(root) {
        return Outcome::Skipped("there are none (*/tests/privileged_*.rs)".into());
    }
    let cmd = cargo(root, &["test", "--workspace", "--no-fail-fast", "--test", "privileged_*"]);
    let cmd = cmd.args(FEATURES.map(String::from)).args(filter.map(String::from)).arg("--").arg("--ignored");
    let refused = if setup::is_root() {
        // A container's root may lack the right to make a namespace.
        let probe = Cmd::new(root, "unshare", &["--net", "true"]).succeeds();
        (!probe).then_some("this root may not make a network namespace")
    } else {
        Some("needs root")
    };
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !setup::has_command(tool)).collect();
    let list = || {
        let list = cmd.clone().arg("--list").bounded(minutes(15), Output::Keep);
        list.and_then(|ended| ended.verdict().map(|()| ended.stdout))
            .map_err(|why| Outcome::Failed(format!("cannot even be listed: {why}")))
    };
    if refused.is_none() && missing.is_empty() {
        return privileged_run(cmd, long);
    }
    let list = match list() {
        Ok(list) => list,
        Err(failed) => return failed,
    };
    let tests = listed_tests(&list);
    if let Some(refused) = refused {
        return Outcome::Skipped(format!("{refused}: {}", tests.join(", ")));
    }
    let skips = missing.iter().flat_map(|tool| ["--skip".to_owned(), (*tool).to_owned()]);
    match privileged_run(cmd.args(skips), long) {
        Outcome::Passed(_) => Outcome::Passed(format!(
            "skipped, for want of {} (`cargo xtask setup`): {}",
            missing.join(", "),
            tests_that_need(&missing, &tests).join(", ")
        )),
        other => other,
    }
}

fn privileged_run(cmd: Cmd, long: bool) -> Outcome {
    Outcome::of(&with_long(cmd.arg("--test-threads=1"), long), minutes(if long { 60 } else { 15 }))
}

/// The tests whose names hold that of a missing tool.
fn tests_that_need<'a>(missing: &[&str], tests: &[&'a str]) -> Vec<&'a str> {
    tests.iter().filter(|test| missing.iter().any(|tool| test.contains(tool))).copied().collect()
}

fn has_privileged_tests(root: &Path) -> bool {
    let entries =
        |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    entries(root).iter().flat_map(|member| entries(&member.join("tests"))).any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("privileged_") && file.extension().is_some_and(|e| e == "rs")
    })
}

/// The names in the output of `--list`.
fn listed_tests(list: &str) -> Vec<&str> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).collect()
}

/// The simulator, ready for its arguments.
pub(crate) fn sim_command(root: &Path) -> Cmd {
    cargo(
        root,
        &["run", "--release", "-p", "pgmx-bench", "--no-default-features", "--features", "sim", "--bin", "sim", "--"],
    )
}

fn sim(root: &Path, long: bool) -> Outcome {
    let (seeds, limit) = if long { ("10000", minutes(40)) } else { ("300", minutes(15)) };
    Outcome::of(&sim_command(root).args(["--seeds".into(), seeds.into()]), limit)
}

/// `cargo xtask budget`.
pub(crate) fn budget(root: &Path) -> bool {
    let mut run = Run::default();
    run.lane("budget", || budget_lane(root));
    run.finish()
}

fn budget_lane(root: &Path) -> Outcome {
    if !setup::has_command("valgrind") {
        return Outcome::Skipped(
            "valgrind is missing (`cargo xtask setup`): send and receive budgets not measured".into(),
        );
    }
    let cmd = cargo(root, &["run", "--release", "-p", "pgmx-bench", "--bin", "budget"]);
    let printed =
        cmd.bounded(minutes(10), Output::ShowAndKeep).and_then(|ended| ended.verdict().map(|()| ended.stdout));
    match printed.and_then(|out| judge_budget(&out)) {
        Ok(note) => Outcome::Passed(note),
        Err(why) => Outcome::Failed(why),
    }
}

/// Holds `send N instructions/packet` and `receive N instructions/packet` against the budget.
fn judge_budget(printed: &str) -> Result<String, String> {
    let mut said = Vec::new();
    for (what, budget) in [("send", BUDGET_SEND), ("receive", BUDGET_RECEIVE)] {
        let limit = budget + budget * BUDGET_SLACK_PERCENT / 100;
        let number = |line: &str| {
            let number = line.trim().strip_prefix(what)?.trim().strip_suffix("instructions/packet")?;
            number.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0)
        };
        let measured = printed.lines().find_map(number).ok_or(format!("no line `{what} N instructions/packet`"))?;
        if measured > limit as f64 {
            return Err(format!(
                "{what} takes {measured} instructions/packet, over {budget} + {BUDGET_SLACK_PERCENT} %"
            ));
        }
        said.push(format!("{what} {measured} of {budget}"));
    }
    Ok(said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_kept_up_to_a_tenth_above_it() {
        let printed = |send: &str, receive: &str| {
            format!("noise\nsend {send} instructions/packet\nreceive {receive} instructions/packet\n")
        };
        assert_eq!(judge_budget(&printed("291.4", "350")), Ok("send 291.4 of 300, receive 350 of 350".into()));
        assert!(judge_budget(&printed("330", "385")).is_ok());
        assert!(judge_budget(&printed("331", "300")).unwrap_err().contains("send takes 331"));
        assert!(judge_budget(&printed("300", "385.5")).unwrap_err().contains("receive"));
    }

    #[test]
    fn a_budget_that_was_not_measured_is_not_kept() {
        assert!(judge_budget("send 200 instructions/packet\n").is_err());
        assert!(judge_budget("send 0 instructions/packet\nreceive 0 instructions/packet\n").is_err());
        assert!(judge_budget("send NaN instructions/packet\nreceive 1 instructions/packet\n").is_err());
    }

    #[test]
    fn tests_that_ask_a_program_which_is_not_there_are_told_by_their_names() {
        let tests = ["xdp::tshark_reads_it", "frames_come_home", "strace_sees_no_call"];
        assert_eq!(tests_that_need(&["strace"], &tests), ["strace_sees_no_call"]);
        assert_eq!(tests_that_need(&TOOLS, &tests), ["xdp::tshark_reads_it", "strace_sees_no_call"]);
        assert!(tests_that_need(&[], &tests).is_empty());
    }

    #[test]
    fn the_names_of_listed_tests_are_found() {
        let list = "veth_carries_odata: test\nin_flight: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(listed_tests(list), ["veth_carries_odata", "in_flight"]);
    }
}
