//! `cargo xtask fuzz`: coverage-guided fuzzing by cargo-fuzz, which needs a nightly compiler.
//!
//! Installs nothing by itself. New inputs go to a scratch corpus under `target/`; the committed one in `fuzz/corpus` is
//! read beside it and grows by hand only, so that it stays small.

use crate::args::Args;
use crate::lanes::{Outcome, Run};
use crate::process::Cmd;
use std::path::Path;
use std::time::Duration;

const TARGETS: [&str; 4] = ["parse", "source", "receiver", "zmq"];
const DEFAULT_SECONDS: u64 = 60;
/// What building a target with its sanitizer may take on a cold machine.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// `cargo xtask fuzz --seconds N [--target T]`: N seconds for each target.
pub(crate) fn run(root: &Path, mut args: Args) -> Result<bool, String> {
    let seconds = args.number("--seconds")?.unwrap_or(DEFAULT_SECONDS);
    let target = args.value("--target")?;
    args.finish()?;
    let targets: Vec<&str> = TARGETS.into_iter().filter(|t| target.as_deref().is_none_or(|only| only == *t)).collect();
    if targets.is_empty() {
        return Err(format!("no such target; there are: {}", TARGETS.join(", ")));
    }
    let missing = missing_tool(root);
    let mut run = Run::default();
    for target in targets {
        run.lane(target, || match missing {
            Some(why) => Outcome::Skipped(why.into()),
            None => fuzz(root, target, seconds),
        });
    }
    Ok(run.finish())
}

/// Says what is not there and how to get it.
fn missing_tool(root: &Path) -> Option<&'static str> {
    if !nightly(root, &["--version"]).succeeds() {
        return Some("no nightly compiler; to install it: rustup toolchain install nightly --profile minimal");
    }
    if !nightly(root, &["fuzz", "--version"]).succeeds() {
        return Some("no cargo-fuzz; to install it: cargo install cargo-fuzz --locked");
    }
    None
}

/// `cargo +nightly`, asked of rustup's own cargo: the one that runs us is of one toolchain and knows no `+`.
pub(crate) fn nightly(root: &Path, args: &[&str]) -> Cmd {
    let cmd = Cmd::new(root, "cargo", &["+nightly"]).args(args.iter().map(|&a| a.to_owned()));
    cmd.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC")
}

fn fuzz(root: &Path, target: &str, seconds: u64) -> Outcome {
    let scratch = root.join("target/fuzz-corpus").join(target);
    let committed = root.join("fuzz/corpus").join(target);
    for dir in [&scratch, &committed] {
        if let Err(why) = std::fs::create_dir_all(dir) {
            return Outcome::Failed(format!("{}: {why}", dir.display()));
        }
    }
    // libFuzzer writes what it finds into the first directory and only reads the others.
    let cmd = nightly(root, &["fuzz", "run", target])
        .arg(scratch.to_string_lossy())
        .arg(committed.to_string_lossy())
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        // An input that takes ten seconds is a finding: bounded work is a promise.
        .arg("-timeout=10")
        .arg("-rss_limit_mb=2048");
    Outcome::of(&cmd, BUILD_LIMIT + Duration::from_secs(seconds))
}
