//! What a guest said, read into results, and the table of all guests.
//!
//! Guards: a part passed only if it began, ended with status 0 and said that tests passed; silence is failure.

use super::parts::Part;
use std::fmt::Write;

/// Marks of init's own lines among those of the tests.
pub(super) const UP: &str = "@vm up";
pub(super) const BEGIN: &str = "@vm begin";
pub(super) const END: &str = "@vm end";
pub(super) const DONE: &str = "@vm done";

/// How one part fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartResult {
    pub(super) name: String,
    /// Exit status of the test binary; `None`: the guest did not live to see it.
    pub(super) status: Option<u32>,
    pub(super) seconds: u32,
    pub(super) passed: u32,
    /// Names of tests that failed.
    pub(super) failed: Vec<String>,
    /// Tests that ran, but said that what they want cannot be had.
    pub(super) skipped: Vec<String>,
    began: u32,
}

impl PartResult {
    pub(super) fn is_passed(&self) -> bool {
        self.status == Some(0) && self.passed as usize > self.skipped.len()
    }

    fn note(&self) -> String {
        let mut note = match self.status {
            None => "did not end".into(),
            Some(status) if !self.failed.is_empty() => format!("{} (status {status})", self.failed.join(", ")),
            Some(0) if !self.is_passed() => "no test ran".into(),
            Some(0) => format!("{} tests", self.passed as usize - self.skipped.len()),
            Some(127) => "no such test binary".into(),
            Some(137) => "out of time, killed".into(),
            Some(status) => format!("status {status}"),
        };
        if !self.skipped.is_empty() {
            // Writing into a String cannot fail.
            let _ = write!(note, "; skipped there: {}", self.skipped.join(", "));
        }
        note
    }
}

/// What a guest came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) is_up: bool,
    /// It ended as it should.
    pub(super) is_done: bool,
    /// Seconds from power on to init.
    pub(super) boot_seconds: u32,
    pub(super) boots: u32,
    /// What the links over the cards took.
    pub(super) mode: Option<String>,
    pub(super) parts: Vec<PartResult>,
    /// Why it did not end as it should.
    pub(super) died: Option<String>,
    /// The first thing that no hardware would have taken: what passed beside it proves little.
    pub(super) complaint: Option<String>,
}

/// Reads what came over the guest's line.
pub(super) fn read(said: &str) -> Guest {
    let mut guest = Guest::default();
    // The list of failed tests at the end of a binary's output.
    let mut among_failures = false;
    for line in said.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some(rest) = line.strip_prefix(UP) {
            guest.is_up = true;
            guest.boot_seconds = words(rest).1.unwrap_or_default();
        } else if let Some(rest) = line.strip_prefix(BEGIN) {
            let (name, began) = words(rest);
            guest.parts.push(PartResult { name, began: began.unwrap_or_default(), ..PartResult::default() });
            among_failures = false;
        } else if line.starts_with(DONE) {
            guest.is_done = true;
        }
        let Some(part) = guest.parts.last_mut() else { continue };
        if let Some(rest) = line.strip_prefix(END) {
            let numbers: Vec<u32> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [status, now] = numbers[..] {
                part.status = Some(status);
                part.seconds = now.saturating_sub(part.began);
            }
        } else if let Some((_, told)) = line.split_once("data path on ") {
            // The first word about it: every link of the part has the same cards.
            guest.mode = guest.mode.take().or_else(|| told.split_once(": ").map(|(_, mode)| of_mode(mode)));
        } else if let Some(told) = after(line, "skipped: ") {
            part.skipped.push(told.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            part.passed += count(result, "passed").unwrap_or_default();
            among_failures = false;
        } else if line == "failures:" {
            // The names stand in the last of these lists.
            among_failures = true;
            part.failed.clear();
        } else if among_failures
            && let Some(name) = line.strip_prefix("    ")
            && !name.contains(' ')
        {
            part.failed.push(name.to_owned());
        }
    }
    guest
}

/// What was taken, and why not zero-copy if that was refused; the rest of what was refused is about other things.
fn of_mode(told: &str) -> String {
    let mut clauses = told.split("; ");
    let taken = clauses.next().unwrap_or_default();
    clauses.find(|clause| clause.starts_with("zero-copy refused")).map_or(taken.into(), |why| format!("{taken}; {why}"))
}

/// What follows `mark`, which may stand behind the name of the test that is running.
fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.strip_prefix(mark).or_else(|| line.split_once(&format!(" ... {mark}")).map(|(_, rest)| rest))
}

/// The first word and the number behind it.
fn words(rest: &str) -> (String, Option<u32>) {
    let mut words = rest.split_whitespace();
    (words.next().unwrap_or_default().to_owned(), words.next().and_then(|word| word.parse().ok()))
}

/// N of `N passed;`.
fn count(result: &str, what: &str) -> Option<u32> {
    let before = result.split([';', '.']).find_map(|field| field.trim().strip_suffix(what))?;
    before.trim().parse().ok()
}

/// A kernel's row: what came of it, or why it was not run.
#[derive(Debug)]
pub(super) enum Row {
    Ran { release: String, wants_zero_copy: bool, parts: Vec<&'static Part>, guest: Guest },
    Skipped { wanted: String, reason: String },
    Failed { wanted: String, reason: String },
}

impl Row {
    /// What is wrong, by part.
    pub(super) fn faults(&self) -> Vec<String> {
        match self {
            Self::Skipped { .. } => Vec::new(),
            Self::Failed { wanted, reason } => vec![format!("{wanted}: {reason}")],
            Self::Ran { release, parts, guest, .. } => {
                let missing = parts.iter().filter(|part| !guest.parts.iter().any(|result| result.name == part.name));
                let missing = missing.map(|part| format!("{release}: {} did not begin", part.name));
                let failed = guest.parts.iter().filter(|part| !part.is_passed());
                let failed = failed.map(|part| format!("{release}: {}: {}", part.name, part.note()));
                let died = guest.died.iter().map(|why| format!("{release}: {why}"));
                let complaint = guest.complaint.iter().map(|what| format!("{release}: the emulator: {what}"));
                died.chain(complaint).chain(failed).chain(missing).chain(self.wrong_mode()).collect()
            }
        }
    }

    /// The tests demand the mode themselves; this one notices when none of them said a word about it.
    fn wrong_mode(&self) -> Option<String> {
        let Self::Ran { release, wants_zero_copy, parts, guest } = self else { return None };
        if !parts.iter().any(|part| part.tells_mode) {
            return None;
        }
        let is_as_wanted = guest.mode.as_deref().is_some_and(|mode| is_zero_copy(mode) == *wants_zero_copy);
        (!is_as_wanted)
            .then(|| format!("{release}: {} over the cards", guest.mode.as_deref().unwrap_or("no link told its mode")))
    }
}

fn is_zero_copy(mode: &str) -> bool {
    mode.split(';').next().is_some_and(|taken| taken.contains("zero-copy"))
}

/// One line for each part of each kernel.
pub(super) fn table(rows: &[Row]) -> String {
    let mut out = format!("{:<26} {:<12} {:<8} {:>8}\n", "kernel", "part", "result", "seconds");
    let mut line = |kernel: &str, part: &str, result: &str, seconds: u32, note: &str| {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{}", format!("{kernel:<26} {part:<12} {result:<8} {seconds:>8}  {note}").trim_end());
    };
    for row in rows {
        match row {
            Row::Skipped { wanted, reason } => line(wanted, "all", "skipped", 0, reason),
            Row::Failed { wanted, reason } => line(wanted, "all", "FAILED", 0, reason),
            Row::Ran { release, parts, guest, .. } => {
                let booted = if guest.is_up { "passed" } else { "FAILED" };
                let again = if guest.boots > 1 { format!("at the {}. attempt", guest.boots) } else { String::new() };
                line(release, "boot", booted, guest.boot_seconds, &again);
                if parts.iter().any(|part| part.tells_mode) {
                    let mode = if row.wrong_mode().is_none() { "passed" } else { "FAILED" };
                    line("", "data path", mode, 0, guest.mode.as_deref().unwrap_or("none told"));
                }
                for part in &guest.parts {
                    let result = if part.is_passed() { "passed" } else { "FAILED" };
                    line("", &part.name, result, part.seconds, &part.note());
                }
                if let Some(what) = &guest.complaint {
                    line("", "emulator", "FAILED", 0, what);
                }
                if let Some(why) = &guest.died {
                    line("", "end", "FAILED", 0, why);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::parts::PARTS;
    use super::*;

    fn parts() -> Vec<&'static Part> {
        PARTS.iter().collect()
    }

    const GOOD: &str = "@vm up 7.2.12+deb13-cloud-amd64 3\r\n@vm begin session 3\r\n\r\nrunning 2 tests\r\n\
        test a ... data path on left0: AF_XDP native, zero-copy, queues: 1\r\nok\r\ntest b ... ok\r\n\r\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.05s\r\n\
        @vm end session 0 7\r\n@vm done\r\n";

    const BAD: &str = "@vm up 6.1.0-50-cloud-amd64 2\n@vm begin session 2\ntest a ... data path on left0: AF_XDP native, copy, \
        queues: 1; huge pages refused: none; zero-copy refused: no; budget refused: x\nok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n    a line of b\n\n\
        failures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; finished in 1s\n@vm end session 101 9\n\
        @vm begin steering 9\ntest c ... skipped: c: wants two cables\nok\n";

    #[test]
    fn what_a_good_guest_says_is_read() {
        let guest = read(GOOD);
        assert!(guest.is_up && guest.is_done);
        assert_eq!(guest.boot_seconds, 3);
        assert_eq!(guest.mode.as_deref(), Some("AF_XDP native, zero-copy, queues: 1"));
        let [part] = &guest.parts[..] else { panic!("{guest:?}") };
        assert_eq!((part.name.as_str(), part.status, part.seconds, part.passed), ("session", Some(0), 4, 2));
        assert!(part.is_passed());
    }

    #[test]
    fn a_failed_test_is_named_and_a_part_that_did_not_end_is_no_success() {
        let guest = read(BAD);
        assert!(!guest.is_done);
        let [session, steering] = &guest.parts[..] else { panic!("{guest:?}") };
        assert_eq!(session.failed, ["b"]);
        assert_eq!(guest.mode.as_deref(), Some("AF_XDP native, copy, queues: 1; zero-copy refused: no"));
        assert!(!session.is_passed() && session.note().starts_with("b (status 101)"));
        assert!(!steering.is_passed());
        assert_eq!(steering.note(), "did not end; skipped there: c: wants two cables");
        let row = Row::Ran { release: "6.1".into(), wants_zero_copy: false, parts: parts(), guest };
        assert_eq!(row.faults().len(), 2 + PARTS.len() - 2, "{:?}", row.faults());
        assert!(table(&[row]).contains("session      FAILED          7  b (status 101)"));
    }

    #[test]
    fn a_part_in_which_no_test_ran_has_proven_nothing() {
        let guest = read("@vm begin session 1\ntest result: ok. 0 passed; 0 failed; 0 ignored\n@vm end session 0 1\n");
        assert!(!guest.parts[0].is_passed());
        assert_eq!(guest.parts[0].note(), "no test ran");
        let skipped = "@vm begin session 1\ntest a ... skipped: a: no card\nok\ntest result: ok. 1 passed; 0 failed\n@vm end session 0 1\n";
        assert!(!read(skipped).parts[0].is_passed(), "a test that skipped itself is none");
    }

    #[test]
    fn the_wrong_mode_fails_a_kernel_though_every_test_passed() {
        let row = |said: &str, wants_zero_copy| Row::Ran {
            release: "k".into(),
            wants_zero_copy,
            parts: parts(),
            guest: read(said),
        };
        assert_eq!(row(GOOD, true).wrong_mode(), None);
        assert!(row(GOOD, false).wrong_mode().is_some());
        assert_eq!(row(BAD, false).wrong_mode(), None, "a refusal of zero-copy is not zero-copy");
        assert!(row("", true).wrong_mode().is_some());
    }

    #[test]
    fn what_the_emulator_complains_of_fails_a_kernel() {
        let guest = Guest { complaint: Some("Invalid read".into()), ..read(GOOD) };
        let parts = PARTS.iter().filter(|part| part.name == "session").collect();
        let row = Row::Ran { release: "k".into(), wants_zero_copy: true, parts, guest };
        assert_eq!(row.faults(), ["k: the emulator: Invalid read"]);
    }

    #[test]
    fn a_skipped_kernel_is_named_with_its_reason_and_is_no_fault() {
        let row = Row::Skipped { wanted: "6.1".into(), reason: "this host has no apt".into() };
        assert!(row.faults().is_empty());
        assert!(
            table(&[row]).contains("6.1                        all          skipped         0  this host has no apt\n")
        );
    }
}
