//! `cargo xtask bench`: the proving ground, and its lane.
//!
//! Builds the command, the benchmarks and the peers, and becomes the program that plays them, so that its status is ours. Guards: a peer that
//! cannot be built is no failure here, because the report names it as a gap; standard output is the program's alone.

use crate::lanes::Outcome;
use crate::process::{Cmd, cargo};
use crate::setup;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What the smoke test leaves, from the root.
const SMOKE: &str = "target/bench-smoke";
/// With a cold build on two cores; played it is in seconds.
const BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);
const SMOKE_LIMIT: Duration = Duration::from_secs(60);

/// The command beside the benchmarks: those that stand in the report are among them.
fn builds(root: &Path) -> [Cmd; 2] {
    [
        cargo(root, &["build", "--release", "-p", "pgmx-tools"]),
        cargo(root, &["build", "--release", "-p", "pgmx-bench", "--bins"]),
    ]
}

fn program(root: &Path) -> Cmd {
    Cmd::new(root, "target/release/proving", &[])
}

/// The whole of `cargo xtask bench`; comes back only where it fails, or where it only helps.
pub(crate) fn run(root: &Path, words: Vec<String>) -> Result<bool, String> {
    let is_told = |word: &str| words.iter().any(|said| said == word);
    // These play nothing.
    let only_says = is_told("--help") || is_told("-h") || is_told("--list") || is_told("--redraw");
    if !setup::is_root() && !only_says {
        return Err("makes network namespaces and AF_XDP sockets, which needs root; run it as root".into());
    }
    for build in builds(root) {
        if !build.beside_stdout()? {
            return Ok(false);
        }
    }
    if !only_says {
        let ourselves = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
        // What is missing is named there, and once more in the report.
        Cmd::new(root, &ourselves.to_string_lossy(), &["peers"]).beside_stdout()?;
    }
    Err(program(root).args(words).become_it())
}

/// Two cells, once: whether all parts still fit together, and the report is written.
pub(crate) fn lane(root: &Path) -> Outcome {
    if !setup::is_root() {
        return Outcome::Skipped("needs root: two cells of the proving ground".into());
    }
    for build in builds(root) {
        if let failed @ Outcome::Failed(_) = Outcome::of(&build, BUILD_LIMIT) {
            return failed;
        }
    }
    let out = root.join(SMOKE);
    // Otherwise an older report would pass for this one.
    if let Err(error) = fs::remove_dir_all(&out)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Outcome::Failed(format!("{}: {error}", out.display()));
    }
    match Outcome::of(&program(root).args(["--smoke", "--out", SMOKE].map(String::from)), SMOKE_LIMIT) {
        Outcome::Passed(_) => {}
        other => return other,
    }
    let ends = [("index.html", "</html>\n"), ("headline.svg", "</svg>\n"), ("results.json", "}\n")];
    let is_cut = |(name, end): &(&str, &str)| !fs::read_to_string(out.join(name)).is_ok_and(|text| text.ends_with(end));
    match ends.iter().find(|file| is_cut(file)) {
        Some((name, _)) => Outcome::Failed(format!("{SMOKE}/{name} is not whole")),
        None => Outcome::Passed(format!("{SMOKE}/index.html")),
    }
}
