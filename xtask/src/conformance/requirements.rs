//! Reads `docs/conformance.toml`: the subset of TOML that the file uses, and no more.
//!
//! Two tables of arrays (`[[section]]`, `[[requirement]]`), basic strings with `\"` and `\\`, integers, comments on
//! their own line. Anything else is an error with its line, so that a slip in the file never becomes a requirement that
//! is silently not there.

use std::fmt;

/// How binding a requirement is, as the table prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Must,
    Should,
    /// A choice of the RFC's that we took: the choice must hold.
    May,
    /// Our own decision, or the practice of the field.
    Own,
    /// What peers on the wire or the Windows interface do.
    Peer,
}

const LEVELS: [(&str, Level); 5] =
    [("MUST", Level::Must), ("SHOULD", Level::Should), ("MAY", Level::May), ("OWN", Level::Own), ("PEER", Level::Peer)];

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LEVELS.iter().find(|(_, level)| level == self).map_or("?", |(name, _)| name);
        f.pad(name)
    }
}

#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) letter: String,
    pub(crate) title: String,
}

#[derive(Debug)]
pub(crate) struct Requirement {
    pub(crate) number: u16,
    pub(crate) section: String,
    pub(crate) level: Level,
    pub(crate) text: String,
    /// Seen from outside only: no single place in the code obeys it, a test is all there can be.
    pub(crate) observed: bool,
    /// Why it is not covered yet.
    pub(crate) open: Option<String>,
    /// The line that says so, counted from 1.
    pub(crate) open_line: usize,
}

#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) sections: Vec<Section>,
    pub(crate) requirements: Vec<Requirement>,
}

/// One `[[kind]]` with its keys.
struct Entry {
    kind: String,
    line: usize,
    keys: Vec<(String, String, usize)>,
}

impl Entry {
    fn take(&mut self, key: &str) -> Option<(String, usize)> {
        let at = self.keys.iter().position(|(k, ..)| k == key)?;
        let (_, value, line) = self.keys.remove(at);
        Some((value, line))
    }

    fn must(&mut self, key: &str) -> Result<String, String> {
        let line = self.line;
        self.take(key).map(|(value, _)| value).ok_or(format!("line {line}: [[{}]] has no `{key}`", self.kind))
    }

    fn finish(self) -> Result<(), String> {
        match self.keys.first() {
            None => Ok(()),
            Some((key, _, line)) => Err(format!("line {line}: [[{}]] knows no `{key}`, or has it twice", self.kind)),
        }
    }
}

pub(crate) fn parse(text: &str) -> Result<Document, String> {
    let mut document = Document { sections: Vec::new(), requirements: Vec::new() };
    for mut entry in entries(text)? {
        let line = entry.line;
        match entry.kind.as_str() {
            "section" => {
                document.sections.push(Section { letter: entry.must("letter")?, title: entry.must("title")? });
            }
            "requirement" => {
                let requirement = requirement(&mut entry)?;
                if !document.sections.iter().any(|s| s.letter == requirement.section) {
                    return Err(format!("line {line}: no section `{}` above", requirement.section));
                }
                let expected = document.requirements.len() + 1;
                if usize::from(requirement.number) != expected {
                    return Err(format!("line {line}: number {} stands where {expected} should", requirement.number));
                }
                document.requirements.push(requirement);
            }
            other => return Err(format!("line {line}: what is [[{other}]]?")),
        }
        entry.finish()?;
    }
    Ok(document)
}

fn requirement(entry: &mut Entry) -> Result<Requirement, String> {
    let line = entry.line;
    let number = entry.must("number")?;
    let level = entry.must("level")?;
    entry.must("source")?;
    let (open, open_line) = entry.take("open").unzip();
    Ok(Requirement {
        number: number.parse().map_err(|_| format!("line {line}: `{number}` is no number"))?,
        section: entry.must("section")?,
        level: LEVELS
            .iter()
            .find(|(name, _)| *name == level)
            .map(|(_, level)| *level)
            .ok_or(format!("line {line}: no level `{level}`"))?,
        text: entry.must("text")?,
        observed: match entry.take("kind").as_ref().map(|(kind, _)| kind.as_str()) {
            None | Some("behaviour") => false,
            Some("observed") => true,
            Some(other) => return Err(format!("line {line}: no kind `{other}`")),
        },
        open,
        open_line: open_line.unwrap_or(0),
    })
}

fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for (line, at) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(kind) = line.strip_prefix("[[").and_then(|l| l.strip_suffix("]]")) {
            entries.push(Entry { kind: kind.into(), line: at, keys: Vec::new() });
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(format!("line {at}: neither `key = value` nor `[[table]]`"))?;
        let value = value_of(value.trim()).ok_or(format!("line {at}: neither an integer nor a basic string"))?;
        let entry = entries.last_mut().ok_or(format!("line {at}: a key before the first [[table]]"))?;
        entry.keys.push((key.trim().into(), value, at));
    }
    Ok(entries)
}

/// A basic string on one line, or an integer.
fn value_of(value: &str) -> Option<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(value.into());
    }
    let mut out = String::new();
    let mut chars = value.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(out),
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => out.push(c),
                _ => return None,
            },
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# a comment\n[[section]]\nletter = \"A\"\ntitle = \"Framing\"\n\n";

    fn with(requirement: &str) -> Result<Document, String> {
        parse(&format!("{HEAD}[[requirement]]\n{requirement}"))
    }

    #[test]
    fn a_requirement_is_read_with_all_its_keys() {
        let document = with(
            "number = 1\nsection = \"A\"\nlevel = \"SHOULD\"\nsource = \"RFC\"\ntext = \"say \\\"no\\\" = \\\\\"\n\
             kind = \"observed\"\nopen = \"later\"\n",
        )
        .unwrap();
        let r = &document.requirements[0];
        assert_eq!((r.number, r.level, r.text.as_str(), r.observed), (1, Level::Should, r#"say "no" = \"#, true));
        assert_eq!((r.open.as_deref(), r.open_line), (Some("later"), 13));
    }

    #[test]
    fn a_slip_in_the_file_is_an_error_with_its_line() {
        let good = "number = 1\nsection = \"A\"\nlevel = \"MUST\"\nsource = \"RFC\"\ntext = \"t\"\n";
        assert!(with(good).is_ok());
        for (from, to, says) in [
            ("number = 1", "number = 2", "line 6: number 2 stands where 1 should"),
            ("number = 1", "number = one", "line 7: neither an integer"),
            ("\"A\"", "\"B\"", "no section `B`"),
            ("MUST", "must", "no level `must`"),
            ("text = \"t\"", "text = \"t", "line 11: neither"),
            ("text = \"t\"", "text = \"t\" x", "line 11: neither"),
            ("text = \"t\"", "texd = \"t\"", "has no `text`"),
            ("text = \"t\"", "text = \"t\"\nopne = \"\"", "line 12: [[requirement]] knows no `opne`"),
            ("text = \"t\"", "text = \"t\"\nkind = \"odd\"", "no kind `odd`"),
            ("text = \"t\"", "words", "line 11: neither `key = value`"),
        ] {
            let error = with(&good.replace(from, to)).unwrap_err();
            assert!(error.contains(says), "{error} / {says}");
        }
        assert!(parse("text = \"t\"\n").is_err());
    }
}
