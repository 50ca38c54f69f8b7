//! `cargo xtask conformance`: requirement, code, test, or why not yet.
//!
//! The requirements stand in `docs/conformance.toml` ([`requirements`]), the citations in the sources ([`scan`]). This
//! file holds one against the other. The invariant it guards: a requirement without `open` has what it needs in the
//! sources, and one with `open` lacks something; neither can drift without the conformance lane failing.

mod requirements;
mod scan;

use crate::args::Args;
use crate::lanes::Outcome;
use requirements::{Document, Requirement};
use scan::{Citations, Place};
use std::fmt::Write;
use std::path::Path;

const FILE: &str = "docs/conformance.toml";

/// `cargo xtask conformance [--check | --unopen]`.
pub(crate) fn run(root: &Path, mut args: Args) -> Result<bool, String> {
    let check = args.flag("--check");
    let unopen = args.flag("--unopen");
    args.finish()?;
    let (text, document, citations) = load(root)?;
    if unopen {
        let (kept, closed) = unopened(&text, &document, &citations);
        std::fs::write(root.join(FILE), kept).map_err(|e| format!("{FILE}: {e}"))?;
        println!("no longer open: {}", list(&closed));
        return Ok(true);
    }
    print!("{}", table(&document, &citations));
    let faults = faults(&document, &citations);
    if !faults.is_empty() {
        println!("\n{} to mend:", faults.len());
        for fault in &faults {
            println!("  {fault}");
        }
    }
    Ok(!check || faults.is_empty())
}

/// The lane: the check without the table.
pub(crate) fn lane(root: &Path) -> Outcome {
    let (document, citations) = match load(root) {
        Ok((_, document, citations)) => (document, citations),
        Err(why) => return Outcome::Failed(why),
    };
    let faults = faults(&document, &citations);
    if faults.is_empty() {
        let open = document.requirements.iter().filter(|r| r.open.is_some()).count();
        return Outcome::Passed(format!("{} covered, {open} open", document.requirements.len() - open));
    }
    for fault in &faults {
        println!("{fault}");
    }
    Outcome::Failed(format!("{} to mend; see `cargo xtask conformance`", faults.len()))
}

fn load(root: &Path) -> Result<(String, Document, Citations), String> {
    let text = std::fs::read_to_string(root.join(FILE)).map_err(|e| format!("{FILE}: {e}"))?;
    let document = requirements::parse(&text).map_err(|e| format!("{FILE}: {e}"))?;
    let citations = scan::workspace(root)?;
    Ok((text, document, citations))
}

/// Whether everything a requirement of this kind needs is cited.
fn is_covered(requirement: &Requirement, citations: &Citations) -> bool {
    let code = !citations.code(requirement.number).is_empty();
    let test = !citations.test(requirement.number).is_empty();
    test && (code || requirement.observed)
}

/// What `--check` refuses, one line each.
fn faults(document: &Document, citations: &Citations) -> Vec<String> {
    let mut faults = Vec::new();
    for requirement in &document.requirements {
        let number = requirement.number;
        match (&requirement.open, is_covered(requirement, citations)) {
            (None, true) | (Some(_), false) => {}
            (Some(_), true) => {
                faults
                    .push(format!("{number} is cited by code and test, yet open (`cargo xtask conformance --unopen`)"));
            }
            (None, false) => {
                let code = requirement.observed || !citations.code(number).is_empty();
                let what = match (code, citations.test(number).is_empty()) {
                    (true, _) => "test",
                    (false, false) => "code",
                    (false, true) => "code and test",
                };
                faults.push(format!("{number} has lost its {what} citation: {}", requirement.text));
            }
        }
    }
    for (number, place) in citations.all() {
        if !document.requirements.iter().any(|r| r.number == number) {
            faults.push(format!("{place} cites {number}, and there is no such requirement"));
        }
    }
    faults.extend(citations.malformed.iter().map(|place| format!("{place} cites in a form that is only half read")));
    faults
}

/// Removes the `open` line of every requirement that is covered; returns the new text and their numbers.
fn unopened(text: &str, document: &Document, citations: &Citations) -> (String, Vec<u16>) {
    let closed = document.requirements.iter().filter(|r| r.open.is_some() && is_covered(r, citations));
    let (numbers, lines): (Vec<u16>, Vec<usize>) = closed.map(|r| (r.number, r.open_line)).unzip();
    let kept =
        text.split_inclusive('\n').zip(1..).filter(|(_, at)| !lines.contains(at)).map(|(line, _)| line).collect();
    (kept, numbers)
}

fn list(numbers: &[u16]) -> String {
    if numbers.is_empty() {
        return "none".into();
    }
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The first place, and how many more there are.
fn cell(places: &[Place]) -> String {
    match places {
        [] => "-".into(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

fn table(document: &Document, citations: &Citations) -> String {
    let mut out = String::new();
    let mut totals = String::new();
    let mut sums = [0; 5];
    for section in &document.sections {
        let _ = writeln!(out, "\n{}. {}", section.letter, section.title);
        let rows: Vec<_> = document.requirements.iter().filter(|r| r.section == section.letter).collect();
        let mut counts = [0; 5];
        for row in &rows {
            let (code, test) = (citations.code(row.number), citations.test(row.number));
            let code_cell = if row.observed && code.is_empty() { "(observed)".into() } else { cell(code) };
            let test_cell = match &row.open {
                Some(why) if test.is_empty() => format!("not yet: {why}"),
                Some(why) => format!("{}; not yet: {why}", cell(test)),
                None => cell(test),
            };
            let _ = writeln!(out, "{:>4} {:<6} {code_cell:<44} {test_cell}", row.number, row.level);
            let facts = [true, !code.is_empty(), !test.is_empty(), is_covered(row, citations), row.open.is_some()];
            counts.iter_mut().zip(facts).for_each(|(count, fact)| *count += usize::from(fact));
        }
        total_row(&mut totals, &format!("{}. {}", section.letter, section.title), counts);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    total_row(&mut totals, "all", sums);
    let head = ["rules", "code", "test", "covered", "open"].map(|h| format!("{h:>8}")).concat();
    let _ = write!(out, "\n{:<44}{head}\n{totals}", "section");
    if !citations.idle.is_empty() {
        let _ =
            writeln!(out, "\ncitations that count for nothing (a doc comment on what is no test, a `//` inside one):");
        for (number, place) in &citations.idle {
            let _ = writeln!(out, "  {place} ({number})");
        }
    }
    out
}

fn total_row(out: &mut String, name: &str, counts: [usize; 5]) {
    let cells = counts.map(|c| format!("{c:>8}")).concat();
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{name:<44}{cells}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "\
[[section]]
letter = \"A\"
title = \"Framing\"

[[requirement]]
number = 1
section = \"A\"
level = \"MUST\"
source = \"RFC 3208 §8\"
text = \"one\"

[[requirement]]
number = 2
section = \"A\"
level = \"OWN\"
source = \"ours\"
text = \"two\"
kind = \"observed\"
open = \"soon\"
";
    const CODE: &str = "// conformance 1\nfn f() {}\n";
    const TEST: &str = "/// conformance 1\n#[test]\nfn one_holds() {}\n";
    const OBSERVED: &str = "/// conformance 2\n#[test]\nfn two_holds() {}\n";

    fn held(toml: &str, source: &str) -> (Document, Citations) {
        let mut citations = Citations::default();
        scan::file("engine/src/x.rs", source, scan::Kind::Product, &mut citations);
        (requirements::parse(toml).unwrap(), citations)
    }

    #[test]
    fn a_covered_requirement_that_loses_a_citation_is_a_fault() {
        for (source, what) in [(String::new(), "code and test"), (CODE.into(), "test"), (TEST.into(), "code")] {
            let (document, citations) = held(TOML, &source);
            let faults = faults(&document, &citations);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(&format!("1 has lost its {what} citation")), "{faults:?}");
        }
        let (document, citations) = held(TOML, &[CODE, TEST].concat());
        assert_eq!(faults(&document, &citations), Vec::<String>::new());
    }

    #[test]
    fn an_open_requirement_that_is_covered_is_a_fault_until_it_is_unopened() {
        let source = [CODE, TEST, OBSERVED].concat();
        let (document, citations) = held(TOML, &source);
        assert!(faults(&document, &citations)[0].contains("yet open"));
        let (text, closed) = unopened(TOML, &document, &citations);
        assert_eq!(closed, [2]);
        assert_eq!(text, TOML.replace("open = \"soon\"\n", ""));
        let (document, citations) = held(&text, &source);
        assert_eq!(faults(&document, &citations), Vec::<String>::new());
    }

    #[test]
    fn a_number_that_is_no_requirement_is_a_fault() {
        let (document, citations) = held(TOML, &[CODE, TEST, "// conformance 3\n"].concat());
        assert!(faults(&document, &citations)[0].contains("cites 3"));
    }

    #[test]
    fn the_table_counts_each_section() {
        let (document, citations) = held(TOML, &[CODE, TEST].concat());
        let table = table(&document, &citations);
        assert!(table.contains("   1 MUST   engine/src/x.rs:1"), "{table}");
        assert!(table.contains("not yet: soon"), "{table}");
        let all = table.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(all, ["all", "2", "1", "1", "1", "1"]);
    }
}
