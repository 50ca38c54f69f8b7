//! The subset of TOML that the project's own files use, and no more.
//!
//! Tables of arrays (`[[kind]]`), basic strings with `\"` and `\\`, integers, comments on their own line. Anything else is
//! an error with its line.

/// One `[[kind]]` with its keys.
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) line: usize,
    keys: Vec<(String, String, usize)>,
}

impl Entry {
    pub(crate) fn take(&mut self, key: &str) -> Option<(String, usize)> {
        let at = self.keys.iter().position(|(k, ..)| k == key)?;
        let (_, value, line) = self.keys.remove(at);
        Some((value, line))
    }

    pub(crate) fn must(&mut self, key: &str) -> Result<String, String> {
        let line = self.line;
        self.take(key).map(|(value, _)| value).ok_or(format!("line {line}: [[{}]] has no `{key}`", self.kind))
    }

    pub(crate) fn finish(self) -> Result<(), String> {
        match self.keys.first() {
            None => Ok(()),
            Some((key, _, line)) => Err(format!("line {line}: [[{}]] knows no `{key}`, or has it twice", self.kind)),
        }
    }
}

pub(crate) fn entries(text: &str) -> Result<Vec<Entry>, String> {
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
