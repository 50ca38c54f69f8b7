//! What all configurations share: the profiles, and the error that refuses a bad value.

use core::fmt::{Debug, Display};

/// A named set of defaults. Every value of it can be set by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A LAN without PGM routers, microsecond timers, no Router Alert.
    LowLatency,
    /// A LAN.
    #[default]
    Lan,
    /// Wide area: the timers of RFC 3208's era.
    Wan,
    /// As the Windows PGM sockets behave.
    Windows,
}

impl Profile {
    /// All profiles, by the names that people type.
    pub const ALL: [(&'static str, Self); 4] =
        [("low-latency", Self::LowLatency), ("lan", Self::Lan), ("wan", Self::Wan), ("windows", Self::Windows)];
}

/// A configuration value that was refused, and what would have been accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value} refused: {allowed}")]
pub struct ConfigError {
    /// The field as it is named in the configuration.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// The allowed range, or what it contradicts.
    pub allowed: String,
}

impl ConfigError {
    /// Refuses `value` of `field`.
    pub fn new(field: &'static str, value: impl Debug, allowed: impl Display) -> Self {
        Self { field, value: format!("{value:?}"), allowed: allowed.to_string() }
    }

    /// Refuses `value` of `field` unless it is `good`.
    pub fn unless(good: bool, field: &'static str, value: impl Debug, allowed: impl Display) -> Result<(), Self> {
        if good { Ok(()) } else { Err(Self::new(field, value, allowed)) }
    }
}
