//! A lane is a bounded piece of checking with a name; a run is lanes one after the other and a table at the end.
//!
//! A failing lane does not stop the next one: one run tells everything it can.

use crate::process::{Cmd, Output};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How a lane ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed(String),
    Failed(String),
    /// Not run here; says why, and what would have run.
    Skipped(String),
}

impl Outcome {
    /// A lane that is one command.
    pub(crate) fn of(cmd: &Cmd, limit: Duration) -> Self {
        match cmd.bounded(limit, Output::Show).and_then(|ended| ended.verdict()) {
            Ok(()) => Self::Passed(String::new()),
            Err(why) => Self::Failed(why),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }

    fn note(&self) -> &str {
        match self {
            Self::Passed(note) | Self::Failed(note) | Self::Skipped(note) => note,
        }
    }
}

/// The lanes that ran so far.
#[derive(Debug, Default)]
pub(crate) struct Run {
    done: Vec<(&'static str, Outcome, Duration)>,
}

impl Run {
    /// Runs one lane and prints its line.
    pub(crate) fn lane(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) {
        println!("\n=== {name}");
        let started = Instant::now();
        let outcome = work();
        let took = started.elapsed();
        println!("=== {name}: {} in {:.1} s {}", outcome.word(), took.as_secs_f64(), outcome.note());
        self.done.push((name, outcome, took));
    }

    /// Prints the table; true when nothing failed.
    pub(crate) fn finish(&self) -> bool {
        print!("\n{}", self.table());
        self.passed()
    }

    fn passed(&self) -> bool {
        !self.done.iter().any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
    }

    fn table(&self) -> String {
        let mut table = format!("{:<14} {:<8} {:>8}\n", "lane", "result", "seconds");
        let mut row = |name: &str, result: &str, took: Duration, note: &str| {
            // Writing into a String cannot fail.
            let _ =
                writeln!(table, "{}", format!("{name:<14} {result:<8} {:>8.1}  {note}", took.as_secs_f64()).trim_end());
        };
        for (name, outcome, took) in &self.done {
            row(name, outcome.word(), *took, outcome.note());
        }
        let total = self.done.iter().map(|(_, _, took)| *took).sum();
        row("all", if self.passed() { "passed" } else { "FAILED" }, total, "");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_lane_fails_the_run_and_a_skipped_one_does_not() {
        let mut run = Run::default();
        run.lane("one", || Outcome::Passed(String::new()));
        run.lane("two", || Outcome::Skipped("needs root: a, b".into()));
        assert!(run.passed());
        run.lane("three", || Outcome::Failed("exit status: 1".into()));
        assert!(!run.passed());
        let table = run.table();
        assert!(table.contains("two            skipped       0.0  needs root: a, b\n"), "{table}");
        assert!(table.contains("all            FAILED"), "{table}");
    }

    #[test]
    fn a_lane_is_what_its_command_says() {
        let here = std::path::Path::new(".");
        let limit = Duration::from_secs(20);
        assert_eq!(Outcome::of(&Cmd::new(here, "true", &[]), limit), Outcome::Passed(String::new()));
        assert_eq!(Outcome::of(&Cmd::new(here, "false", &[]), limit), Outcome::Failed("exit status: 1".into()));
        assert!(matches!(Outcome::of(&Cmd::new(here, "no-such-program", &[]), limit), Outcome::Failed(_)));
    }
}
