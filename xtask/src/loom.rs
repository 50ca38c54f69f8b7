//! `cargo xtask loom`: plays every interleaving of the engine's own rings, bells and counters, by loom.
//!
//! Models are unit tests whose names begin with `loom_`; they exist under `cfg(loom)` alone, where atomics and threads are loom's. That
//! changes every crate below, so the build has a directory of its own.

use crate::args::Args;
use crate::lanes::{Outcome, Run};
use crate::process::{Cmd, Output, cargo};
use std::path::Path;
use std::time::Duration;

/// Involuntary switches of threads in one play. Nearly every fault of such code shows with two; four take minutes a model.
const PREEMPTIONS_MAX: &str = "3";
/// A cold build and all models, on two cores that others use, too.
const LIMIT: Duration = Duration::from_secs(900);

/// `cargo xtask loom [FILTER]`.
pub(crate) fn run(root: &Path, args: Args) -> Result<bool, String> {
    let filter = args.one_word()?;
    let mut run = Run::default();
    run.lane("loom", || models(root, filter));
    Ok(run.finish())
}

/// All models.
pub(crate) fn lane(root: &Path) -> Outcome {
    models(root, None)
}

fn models(root: &Path, filter: Option<String>) -> Outcome {
    let cmd = command(root, &filter.unwrap_or_else(|| "loom_".into()));
    let printed = cmd.bounded(LIMIT, Output::ShowAndKeep).and_then(|ended| ended.verdict().map(|()| ended.stdout));
    match printed.map(|printed| played(&printed)) {
        Ok(0) => Outcome::Failed("not one model was played".into()),
        Ok(models) => Outcome::Passed(format!("{models} models, {PREEMPTIONS_MAX} preemptions each")),
        Err(why) => Outcome::Failed(why),
    }
}

fn command(root: &Path, filter: &str) -> Cmd {
    let test = ["test", "-p", "pgmx", "--no-default-features", "--lib", "--release", "--target-dir", "target/loom"];
    cargo(root, &test)
        .arg(filter)
        .env("RUSTFLAGS", "--cfg loom")
        .env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS_MAX)
        // The models spend their time in loom; what the product needs would only make the build longer.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
}

/// How many models there are in what the test harness printed.
fn played(printed: &str) -> usize {
    printed.lines().filter(|line| line.contains("::loom_") && line.ends_with("... ok")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_that_passed_are_counted() {
        let printed = "running 3 tests\ntest sync::tests::loom_a ... ok\ntest sync::tests::other ... ok\n\
                       test sync::tests::loom_b ... FAILED\n";
        assert_eq!(played(printed), 1);
    }
}
