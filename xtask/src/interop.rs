//! `cargo xtask interop`: `pgmx` beside OpenPGM and ZeroMQ, and the lane that runs the small form of it.
//!
//! Builds the peers, the command and the program that plays the cells, which has the rest. Guards: what a machine lacks is named; the
//! matrix fails for it, the lane is skipped.

use crate::lanes::Outcome;
use crate::peers;
use crate::process::{Cmd, cargo};
use crate::setup;
use std::path::Path;
use std::time::Duration;

/// For a cold build on two cores, and a minute of cells.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The whole of `cargo xtask interop`. Comes back only if it could not be started.
pub(crate) fn run(root: &Path, words: Vec<String>) -> Result<bool, String> {
    let asks = |words: &[String], what: &[&str]| words.iter().any(|word| what.contains(&word.as_str()));
    // Who only wants to know needs neither rights nor peers.
    if !asks(&words, &["--help", "-h", "--list"]) {
        if !setup::is_root() {
            return Err("makes network namespaces, which needs root; run it as root".into());
        }
        for missing in peers::build(root)?.missing {
            // Its cells say so again, and fail.
            eprintln!("MISSING {missing}");
        }
        if !command(root).beside_stdout()? {
            return Ok(false);
        }
    }
    Err(cells(root).args(words).become_it())
}

/// The command, as people run it.
fn command(root: &Path) -> Cmd {
    cargo(root, &["build", "--release", "-p", "pgmx-tools"])
}

/// What plays the cells, ready for its arguments.
fn cells(root: &Path) -> Cmd {
    cargo(root, &["run", "--release", "-p", "pgmx-bench", "--bin", "interop", "--"])
}

/// The small form, where this machine has all that it needs.
pub(crate) fn lane(root: &Path) -> Outcome {
    if !setup::is_root() || !Cmd::new(root, "unshare", &["--net", "true"]).succeeds() {
        return Outcome::Skipped("needs root, with the right to make network namespaces".into());
    }
    match peers::build(root) {
        Err(why) => return Outcome::Failed(why),
        Ok(built) if !built.missing.is_empty() => return Outcome::Skipped(built.missing.join("; ")),
        Ok(_) => {}
    }
    match Outcome::of(&command(root), LIMIT) {
        Outcome::Passed(_) => Outcome::of(&cells(root).arg("--quick"), LIMIT),
        other => other,
    }
}
