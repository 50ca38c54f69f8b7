//! Reads `docs/conformance.toml`: two tables of arrays, `[[section]]` and `[[requirement]]`.
//!
//! What does not belong there is an error with its line, so that a slip in the file never becomes a requirement that is
//! silently not there.

use crate::toml::{Entry, entries};
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
