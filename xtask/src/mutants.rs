//! `cargo xtask mutants`: breaks one rule at a time in a copy of the tree and demands that the simulator notices.
//!
//! The rules to break stand in `docs/mutants.toml`, each as one line to find (exactly once) and what to put there. The
//! copy lives under `target/mutants`; the tree that is being worked on is only read.

use crate::args::Args;
use crate::process::{Cmd, Output, cargo};
use crate::toml::entries;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIST: &str = "docs/mutants.toml";
/// The bar: a broken rule shows within so many seeds.
const DEFAULT_SEEDS: u64 = 1000;
const BUILD_LIMIT: Duration = Duration::from_secs(600);
/// A mutant may make every seed slow; then the time that is up says as much as an oracle.
const RUN_LIMIT: Duration = Duration::from_secs(900);

#[derive(Debug)]
struct Mutant {
    name: String,
    breaks: String,
    file: String,
    find: String,
    replace: String,
}

/// How a mutant fared.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Caught(String),
    Survived,
    Broken(String),
}

/// `cargo xtask mutants [--seeds N] [--only NAME]`.
pub(crate) fn run(root: &Path, mut args: Args) -> Result<bool, String> {
    let seeds = args.number("--seeds")?.unwrap_or(DEFAULT_SEEDS);
    let only = args.value("--only")?;
    args.finish()?;
    let text = fs::read_to_string(root.join(LIST)).map_err(|why| format!("{LIST}: {why}"))?;
    let mut mutants = parse(&text).map_err(|why| format!("{LIST}: {why}"))?;
    if let Some(only) = &only {
        mutants.retain(|mutant| mutant.name == *only);
        if mutants.is_empty() {
            return Err(format!("no mutant `{only}` in {LIST}"));
        }
    }
    let tree = copy_tree(root)?;
    let mut rows = Vec::new();
    for mutant in &mutants {
        println!("\n=== {}: {}", mutant.name, mutant.breaks);
        let fate = try_one(root, &tree, mutant, seeds)?;
        println!("=== {}: {fate:?}", mutant.name);
        rows.push((mutant, fate));
    }
    println!("\n| mutation | where | caught |\n|---|---|---|");
    for (mutant, fate) in &rows {
        let caught = match fate {
            Fate::Caught(how) => how.as_str(),
            Fate::Survived => "NOT CAUGHT",
            Fate::Broken(why) => why.as_str(),
        };
        println!("| `{}`: {} | `{}` | {caught} |", mutant.name, mutant.breaks, mutant.file);
    }
    Ok(rows.iter().all(|(_, fate)| matches!(fate, Fate::Caught(_))))
}

fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for mut entry in entries(text)? {
        if entry.kind != "mutant" {
            return Err(format!("line {}: what is [[{}]]?", entry.line, entry.kind));
        }
        mutants.push(Mutant {
            name: entry.must("name")?,
            breaks: entry.must("breaks")?,
            file: entry.must("file")?,
            find: entry.must("find")?,
            replace: entry.must("replace")?,
        });
        entry.finish()?;
    }
    Ok(mutants)
}

/// The one line of `text` that contains `find`, with `find` replaced.
fn mutate(text: &str, mutant: &Mutant) -> Result<String, String> {
    match text.matches(&mutant.find).count() {
        1 => Ok(text.replacen(&mutant.find, &mutant.replace, 1)),
        found => Err(format!("`{}` stands {found} times in {}, not once", mutant.find, mutant.file)),
    }
}

/// Copies what git tracks, and what it would track; files that are there already and equal keep their time stamps, so that
/// only what differs is built again.
fn copy_tree(root: &Path) -> Result<PathBuf, String> {
    let tree = root.join("target/mutants/tree");
    let list = Cmd::new(root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"])
        .stdout()
        .ok_or("git ls-files failed: mutants are tried on a git checkout")?;
    // What was moved or deleted since the last time would still be built.
    let names: BTreeSet<PathBuf> = list.lines().map(|name| tree.join(name)).collect();
    prune(&tree, &names)?;
    for name in list.lines() {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        let written = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&to, bytes));
        written.map_err(|why| format!("{}: {why}", to.display()))?;
    }
    Ok(tree)
}

/// Deletes every file below `dir` that is not in `keep`.
fn prune(dir: &Path, keep: &BTreeSet<PathBuf>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            prune(&path, keep)?;
        } else if !keep.contains(&path) {
            fs::remove_file(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        }
    }
    Ok(())
}

fn try_one(root: &Path, tree: &Path, mutant: &Mutant, seeds: u64) -> Result<Fate, String> {
    let (original, copy) = (root.join(&mutant.file), tree.join(&mutant.file));
    let text = fs::read_to_string(&original).map_err(|why| format!("{}: {why}", mutant.file))?;
    let mutated = match mutate(&text, mutant) {
        Ok(mutated) => mutated,
        Err(why) => return Ok(Fate::Broken(why)),
    };
    let write = |text: &str| fs::write(&copy, text).map_err(|why| format!("{}: {why}", copy.display()));
    write(&mutated)?;
    let fate = judge(root, tree, seeds);
    write(&text)?;
    fate
}

fn judge(root: &Path, tree: &Path, seeds: u64) -> Result<Fate, String> {
    let target = root.join("target/mutants/target").to_string_lossy().into_owned();
    let sim = |verb: &str| {
        cargo(
            tree,
            &[verb, "--release", "-p", "pgmx-bench", "--no-default-features", "--features", "sim", "--bin", "sim"],
        )
        .env("CARGO_TARGET_DIR", target.clone())
    };
    if let Err(why) = sim("build").bounded(BUILD_LIMIT, Output::Show)?.verdict() {
        return Ok(Fate::Broken(format!("does not build ({why})")));
    }
    let ended = sim("run").arg("--").arg("--seeds").arg(seeds.to_string()).bounded(RUN_LIMIT, Output::Keep)?;
    Ok(match ended.verdict() {
        Ok(()) => Fate::Survived,
        Err(_) => Fate::Caught(first_failure(&ended.stdout).unwrap_or("it did not end").to_owned()),
    })
}

/// The simulator's line about a failing seed.
fn first_failure(stdout: &str) -> Option<&str> {
    stdout.lines().map(str::trim).find(|line| line.starts_with("seed ") && line.contains("FAILED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "[[mutant]]\nname = \"n\"\nbreaks = \"b\"\nfile = \"f\"\nfind = \"a < b\"\nreplace = \"a <= b\"\n";

    #[test]
    fn a_mutant_changes_its_line_and_nothing_else() {
        let mutants = parse(ONE).unwrap();
        assert_eq!(mutate("x\nif a < b {\n", &mutants[0]).unwrap(), "x\nif a <= b {\n");
    }

    #[test]
    fn a_mutant_that_does_not_know_its_place_is_refused() {
        let mutants = parse(ONE).unwrap();
        assert!(mutate("nothing", &mutants[0]).is_err());
        assert!(mutate("a < b; a < b", &mutants[0]).is_err());
        assert!(parse(&ONE.replace("find", "fnd")).is_err());
    }

    #[test]
    fn what_is_gone_from_the_project_goes_from_the_copy() {
        let dir = std::env::temp_dir().join(format!("xtask-prune-{}", std::process::id()));
        fs::create_dir_all(dir.join("deep")).unwrap();
        let (old, new) = (dir.join("deep/old"), dir.join("deep/new"));
        fs::write(&old, "").unwrap();
        fs::write(&new, "").unwrap();
        prune(&dir, &BTreeSet::from([new.clone()])).unwrap();
        assert!(new.exists() && !old.exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_first_failing_seed_is_found_in_the_output() {
        let out = "playing\nseed 17 FAILED: receiver 2 lost 4\nseed 18 FAILED: x\n";
        assert_eq!(first_failure(out), Some("seed 17 FAILED: receiver 2 lost 4"));
        assert_eq!(first_failure("all well\n"), None);
    }
}
