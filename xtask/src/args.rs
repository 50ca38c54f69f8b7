//! A tiny argument parser: flags, options with a value, and the words that are left.
//!
//! Each subcommand takes what it knows and ends with [`Args::finish`] or [`Args::one_word`], so a misspelt option is an
//! error and never silently a test filter.

/// The words after the subcommand, consumed one by one.
#[derive(Debug)]
pub(crate) struct Args {
    words: Vec<String>,
}

impl Args {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// Takes `name` wherever it stands.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|w| w != name);
        self.words.len() != before
    }

    /// Takes `name VALUE` or `name=VALUE`, the first one that stands.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        for at in 0..self.words.len() {
            if self.words[at] == name {
                self.words.remove(at);
                if at == self.words.len() || self.words[at].starts_with("--") {
                    return Err(format!("{name} wants a value"));
                }
                return Ok(Some(self.words.remove(at)));
            }
            if let Some(value) = self.words[at].strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                let value = value.to_owned();
                self.words.remove(at);
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Takes every `name VALUE`.
    pub(crate) fn values(&mut self, name: &str) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        while let Some(value) = self.value(name)? {
            all.push(value);
        }
        Ok(all)
    }

    /// Takes `name N`.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        self.value(name)?.map(|v| v.parse().map_err(|_| format!("{name} wants a number, not `{v}`"))).transpose()
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("does not know what to do with `{word}`; see `cargo xtask help`")),
        }
    }

    /// At most one word that is not an option may be left.
    pub(crate) fn one_word(mut self) -> Result<Option<String>, String> {
        let word = match self.words.first() {
            Some(word) if !word.starts_with('-') => Some(self.words.remove(0)),
            _ => None,
        };
        self.finish().map(|()| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_values_and_a_word_are_taken_in_any_order() {
        let mut a = args("serial --lane unit --long --lane=sim --seeds 12");
        assert!(a.flag("--long"));
        assert!(!a.flag("--long"));
        assert_eq!(a.values("--lane").unwrap(), ["unit", "sim"]);
        assert_eq!(a.number("--seeds").unwrap(), Some(12));
        assert_eq!(a.one_word().unwrap().as_deref(), Some("serial"));
    }

    #[test]
    fn what_nobody_took_is_an_error() {
        assert!(args("--lnog").one_word().is_err());
        assert!(args("one two").one_word().is_err());
        assert!(args("one").finish().is_err());
        assert!(args("").finish().is_ok());
    }

    #[test]
    fn an_option_without_its_value_is_an_error() {
        assert!(args("--lane").value("--lane").is_err());
        assert!(args("--lane --long").value("--lane").is_err());
        assert!(args("--seconds soon").number("--seconds").is_err());
        assert_eq!(args("--lanes x").value("--lane").unwrap(), None);
    }
}
