//! One line of the report: what was looked at, how it stands, and what to do about it.
//!
//! Made by `host` and `card`, printed by `print`. Guards: what blocks says what works instead, and what could be better says how.

use serde::Serialize;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// It cannot be seen from here.
    Unknown,
    /// It works, and would work better after the command.
    Better,
    /// Something does not work.
    Blocks,
}

/// A line of the report. Its JSON form has the same keys, which stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Names what was looked at, for programs.
    pub(crate) key: &'static str,
    /// How it stands.
    pub(crate) state: State,
    /// What was seen.
    pub(crate) says: String,
    /// The command, or the deed, that makes it better.
    pub(crate) remedy: Option<String>,
    /// What works as long as this blocks.
    pub(crate) instead: Option<String>,
}

impl Check {
    pub(crate) fn ok(key: &'static str, says: impl Into<String>) -> Self {
        Self { key, state: State::Ok, says: says.into(), remedy: None, instead: None }
    }

    pub(crate) fn unknown(key: &'static str, says: impl Into<String>) -> Self {
        Self { state: State::Unknown, ..Self::ok(key, says) }
    }

    pub(crate) fn better(key: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Better, remedy: Some(remedy.into()), ..Self::ok(key, says) }
    }

    pub(crate) fn blocks(
        key: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        Self { state: State::Blocks, instead: Some(instead.into()), ..Self::better(key, says, remedy) }
    }
}
