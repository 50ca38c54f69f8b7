//! Finds citations of requirements in the sources of the workspace.
//!
//! The form is `conformance 53` or `conformance 53, 54`. In a `//` comment outside tests it says "obeyed here"; in the
//! `///` comment of a `#[test]` function, or anywhere in `///` under a `tests/` directory, it says "proved here".
//! Everything else counts for nothing and is listed as such. The simulator and the benchmarks prove and do not obey, so a
//! `//` there is idle too.
//!
//! The scanner reads lines, not Rust: it leans on rustfmt, which puts the brace that closes a module below its `mod`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Workspace members that are looked at; this tool speaks about citations and makes none.
const MEMBERS: [&str; 4] = ["engine", "ebpf", "tools", "bench"];
/// Where a `//` citation proves nothing about the product obeying a rule.
const PROVING: [&str; 2] = ["engine/src/sim", "bench/"];

/// A line of a file, from the workspace root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    file: String,
    line: usize,
}

/// What kind of file a citation stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Code that obeys, with tests in `#[cfg(test)]` modules.
    Product,
    /// The simulator, the benchmarks: `//` is idle, `#[test]` counts.
    Proving,
    /// Only ever compiled for tests, below `src`.
    TestModule,
    /// Below a `tests/` directory.
    TestFile,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.file, self.line))
    }
}

/// All citations, by what they count for.
#[derive(Debug, Default)]
pub(crate) struct Citations {
    code: BTreeMap<u16, Vec<Place>>,
    test: BTreeMap<u16, Vec<Place>>,
    /// Citations that count for nothing.
    pub(crate) idle: Vec<(u16, Place)>,
    /// The word is there, and what follows is not a plain list of numbers.
    pub(crate) malformed: Vec<Place>,
}

impl Citations {
    pub(crate) fn code(&self, number: u16) -> &[Place] {
        self.code.get(&number).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn test(&self, number: u16) -> &[Place] {
        self.test.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Every citation that counts or wants to, with its place.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u16, &Place)> {
        let counted = self.code.iter().chain(&self.test).flat_map(|(n, places)| places.iter().map(move |p| (*n, p)));
        counted.chain(self.idle.iter().map(|(n, p)| (*n, p)))
    }
}

/// Scans all members of the workspace at `root`.
pub(crate) fn workspace(root: &Path) -> Result<Citations, String> {
    let mut files = Vec::new();
    for member in MEMBERS {
        rust_files(&root.join(member), &mut files)?;
    }
    files.sort();
    let mut sources = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        sources.push((name, text));
    }
    let test_modules: BTreeSet<String> = sources.iter().flat_map(|(name, text)| test_modules(name, text)).collect();
    let mut citations = Citations::default();
    for (name, text) in &sources {
        file(name, text, kind_of(name, &test_modules), &mut citations);
    }
    Ok(citations)
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("{}: {e}", dir.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                rust_files(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// `test_modules` are module paths without extension, as [`test_modules`] gives them.
fn kind_of(name: &str, test_modules: &BTreeSet<String>) -> Kind {
    let member_tests = name.split_once('/').is_some_and(|(_, rest)| rest.starts_with("tests/"));
    let module = name.strip_suffix(".rs").unwrap_or(name);
    let module = module.strip_suffix("/mod").unwrap_or(module);
    let under = |m: &String| module == m || module.strip_prefix(m.as_str()).is_some_and(|rest| rest.starts_with('/'));
    if member_tests {
        Kind::TestFile
    } else if module.ends_with("/tests") || module.contains("/tests/") || test_modules.iter().any(under) {
        Kind::TestModule
    } else if PROVING.iter().any(|p| name.starts_with(p)) {
        Kind::Proving
    } else {
        Kind::Product
    }
}

/// The modules that `name` declares as `#[cfg(test)] mod x;`.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    let (dir, last) = stem.rsplit_once('/').unwrap_or(("", stem));
    let base = if matches!(last, "mod" | "lib" | "main") { dir } else { stem };
    let mut found = Vec::new();
    let mut armed = false;
    for line in text.lines().map(str::trim) {
        if is_test_cfg(line) {
            armed = true;
        } else if armed && !line.starts_with("#[") && !line.starts_with("//") {
            armed = false;
            let module = module_name(line).and_then(|rest| rest.strip_suffix(';'));
            found.extend(module.map(|module| format!("{base}/{module}")));
        }
    }
    found
}

fn is_test_cfg(line: &str) -> bool {
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,")
}

/// What follows `mod` in a declaration.
fn module_name(line: &str) -> Option<&str> {
    let line =
        line.strip_prefix("pub").map_or(line, |rest| rest.trim_start_matches("(crate)").trim_start_matches("(super)"));
    line.trim_start().strip_prefix("mod ").map(str::trim)
}

/// Scans one file.
pub(crate) fn file(name: &str, text: &str, kind: Kind, citations: &mut Citations) {
    // The indentation of the `#[cfg(test)] mod` we are in.
    let mut test_module: Option<usize> = None;
    let mut armed = false;
    // The doc comments and attributes that stand directly above what comes next.
    let mut above = Above::default();
    for (line, at) in text.lines().zip(1..) {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        let place = Place { file: name.into(), line: at };
        if test_module == Some(indent) && trimmed == "}" {
            test_module = None;
        }
        if above.in_attribute(trimmed) {
            armed |= is_test_cfg(trimmed);
            continue;
        }
        if let Some(doc) = trimmed.strip_prefix("///") {
            above.docs.extend(cited(doc, &place, citations).into_iter().map(|n| (n, place.clone())));
            continue;
        }
        if trimmed.starts_with("//!") {
            let numbers = cited(trimmed, &place, citations);
            citations.idle.extend(numbers.into_iter().map(|n| (n, place.clone())));
            continue;
        }
        if armed && test_module.is_none() && module_name(trimmed).is_some_and(|rest| rest.ends_with('{')) {
            test_module = Some(indent);
        }
        if let Some(comment) = comment_of(line) {
            for number in cited(comment, &place, citations) {
                if kind == Kind::Product && test_module.is_none() {
                    citations.code.entry(number).or_default().push(place.clone());
                } else {
                    citations.idle.push((number, place.clone()));
                }
            }
            if trimmed.starts_with("//") {
                continue;
            }
        }
        armed = false;
        let above = std::mem::take(&mut above);
        let proves = above.is_test || kind == Kind::TestFile;
        for (number, place) in above.docs {
            if proves {
                citations.test.entry(number).or_default().push(place);
            } else {
                citations.idle.push((number, place));
            }
        }
    }
}

/// What stands above an item.
#[derive(Default)]
struct Above {
    docs: Vec<(u16, Place)>,
    is_test: bool,
    /// Brackets of an attribute that are still open at the end of a line.
    open: usize,
}

impl Above {
    /// Whether the line is (part of) an attribute, which it then notes.
    fn in_attribute(&mut self, line: &str) -> bool {
        if self.open == 0 && !line.starts_with("#[") {
            return false;
        }
        self.is_test |= line.starts_with("#[test]");
        // Brackets in a message are text: every second piece between quotes is one.
        for c in line.split('"').step_by(2).flat_map(str::chars) {
            match c {
                '[' => self.open += 1,
                ']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
        // `#[test] fn f() {` on one line: the attribute is noted, the rest is an item.
        self.open > 0 || line.ends_with(']') || line.contains("] //")
    }
}

/// The text of the `//` comment of a line, doc comments apart.
fn comment_of(line: &str) -> Option<&str> {
    let bytes = line.as_bytes();
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            // `'"'` is a character and opens nothing.
            b'"' if at > 0 && bytes[at - 1] == b'\'' && bytes.get(at + 1) == Some(&b'\'') => {}
            b'"' => in_string = !in_string,
            b'/' if !in_string && bytes.get(at + 1) == Some(&b'/') => return line.get(at + 2..),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The numbers cited in a comment; a form that is only half understood is noted.
fn cited(comment: &str, place: &Place, citations: &mut Citations) -> Vec<u16> {
    let mut numbers = Vec::new();
    let mut rest = comment;
    while let Some(at) = rest.find(WORD) {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + WORD.len()..];
        if before.is_some_and(char::is_alphanumeric) || !rest.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        loop {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            match rest[..end].parse() {
                Ok(number) => numbers.push(number),
                Err(_) => citations.malformed.push(place.clone()),
            }
            rest = &rest[end..];
            match rest.strip_prefix(", ") {
                Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
                _ => break,
            }
        }
        if is_half_read(rest) {
            citations.malformed.push(place.clone());
        }
    }
    numbers
}

const WORD: &str = "conformance ";

/// Whether what follows a list looks like more numbers: `53 and 54`, `53-55`, `53,54`, or a list that wraps.
fn is_half_read(rest: &str) -> bool {
    let more = |rest: &str| rest.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let joined = ["and", "or", "to", "&", "/", "-", "–", "+", ";", ","];
    let follows = rest.trim_start();
    joined.iter().filter_map(|j| follows.strip_prefix(j)).any(more)
        || rest.trim_end().ends_with(',') && rest.trim() == ","
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(name: &str, text: &str) -> Citations {
        let mut citations = Citations::default();
        let modules = test_modules(name, text).into_iter().collect();
        file(name, text, kind_of(name, &modules), &mut citations);
        citations
    }

    fn keys(map: &BTreeMap<u16, Vec<Place>>) -> Vec<u16> {
        map.keys().copied().collect()
    }

    #[test]
    fn a_comment_in_the_product_is_a_code_citation() {
        let text = "\
//! conformance 1
// RFC 3208 §5.2, conformance 53, 54: confirmed at once.
fn f() {
    let x = \"// conformance 2\"; // conformance 55 (here too)
    let quote = '\"'; // conformance 57
    //conformance 56.
}
/// conformance 3
fn g() {}
";
        let found = scanned("engine/src/a.rs", text);
        assert_eq!(keys(&found.code), [53, 54, 55, 56, 57]);
        assert_eq!(found.code(54)[0].to_string(), "engine/src/a.rs:2");
        assert!(found.test.is_empty());
        assert_eq!(found.idle.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 3]);
        assert!(found.malformed.is_empty());
    }

    #[test]
    fn a_doc_comment_directly_above_a_test_is_a_test_citation() {
        let text = "\
// conformance 9
fn obeyed() {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    /// RFC 3208 §5.2, conformance 53, 55
    #[test]
    #[ignore = \"needs [root\"]
    fn one() {
        // conformance 4
    }

    #[test]
    #[cfg_attr(
        miri,
        ignore
    )]
    /// conformance 56
    fn two() {}

    proptest! {
        /// conformance 57
        #[test]
        fn three(x in 0..3) {}
    }

    /// conformance 5
    struct NoTest;

    #[test]
    fn four() {}
}

// conformance 10
fn after_the_tests() {}
";
        let found = scanned("engine/src/a.rs", text);
        assert_eq!(keys(&found.test), [53, 55, 56, 57]);
        assert_eq!(keys(&found.code), [9, 10]);
        assert_eq!(found.idle.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn files_that_only_tests_see_obey_nothing() {
        let parent =
            "#[cfg(test)]\nmod golden;\n#[cfg(all(test, feature = \"sim\"))]\npub(crate) mod pair;\nmod real;\n";
        let modules: BTreeSet<_> = test_modules("engine/src/wire/mod.rs", parent).into_iter().collect();
        assert_eq!(modules.iter().collect::<Vec<_>>(), ["engine/src/wire/golden", "engine/src/wire/pair"]);
        assert_eq!(test_modules("engine/src/wire.rs", parent)[0], "engine/src/wire/golden");
        let kind = |name| kind_of(name, &modules);
        assert_eq!(kind("engine/src/wire/golden.rs"), Kind::TestModule);
        assert_eq!(kind("engine/src/wire/pair/steps.rs"), Kind::TestModule);
        assert_eq!(kind("engine/src/wire/real.rs"), Kind::Product);
        assert_eq!(kind("engine/src/wire/goldenrod.rs"), Kind::Product);
        assert_eq!(kind("engine/src/wire/tests.rs"), Kind::TestModule);
        assert_eq!(kind("engine/tests/privileged_veth.rs"), Kind::TestFile);
        assert_eq!(kind("engine/src/sim/oracle.rs"), Kind::Proving);
        assert_eq!(kind("bench/src/bin/sim.rs"), Kind::Proving);
    }

    #[test]
    fn under_tests_a_doc_comment_above_any_item_counts() {
        let found = scanned("engine/tests/links.rs", "/// conformance 160\nfn suite() {}\n// conformance 7\n");
        assert_eq!(keys(&found.test), [160]);
        assert!(found.code.is_empty());
        let found = scanned("engine/src/sim/oracle.rs", "/// conformance 1\n#[test]\nfn a() {}\n// conformance 2\n");
        assert_eq!((keys(&found.test), keys(&found.code)), (vec![1], vec![]));
    }

    #[test]
    fn a_list_in_another_form_is_malformed() {
        for form in ["53 and 54", "53-55", "53–55", "53,54", "53,", "99999", "53, 54 or 55"] {
            let found = scanned("engine/src/a.rs", &format!("// conformance {form}\n"));
            assert_eq!(found.malformed.len(), 1, "{form}");
        }
        for form in ["53", "53: so", "53, 54.", "53, which 2 know", "(conformance 53)", "s of old", "53, 54; so"] {
            let found = scanned("engine/src/a.rs", &format!("// conformance {form}\n"));
            assert!(found.malformed.is_empty(), "{form}");
        }
    }
}
