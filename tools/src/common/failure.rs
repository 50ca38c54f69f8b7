//! Why a command ends before its work is done: an exit status and one line.
//!
//! Made wherever something fails; printed by [`Failure::exit`] alone. Guards: whatever went wrong is told in a single line on stderr, and
//! the status says of which kind it was.

use std::fmt::Display;
use std::process::ExitCode;

use pgmx::EngineError;
use pgmx::PublishError;
use pgmx::endpoint::AddError;
use pgmx::link::LinkError;
use pgmx::link::auto::OpenError;
use pgmx::protocol::config::ConfigError;

/// Exit statuses, the same for all commands.
pub(crate) mod status {
    /// Something could not be done.
    pub(crate) const ERROR: u8 = 1;
    /// The arguments make no sense; nothing was done.
    pub(crate) const USAGE: u8 = 2;
    /// Data was lost, or came damaged.
    pub(crate) const LOST: u8 = 3;
    /// Nothing came for as long as the caller was ready to wait.
    pub(crate) const TIMEOUT: u8 = 4;
    /// Ended at once by a second Ctrl-C, as shells number it.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) status: u8,
    /// What was attempted, why it failed and what to do next; empty if there is nothing to say.
    pub(crate) line: String,
}

impl Failure {
    /// Something could not be done.
    pub(crate) fn error(line: impl Display) -> Self {
        Self { status: status::ERROR, line: line.to_string() }
    }

    /// The arguments make no sense.
    pub(crate) fn usage(line: impl Display) -> Self {
        Self { status: status::USAGE, line: line.to_string() }
    }

    /// A value that the engine refused: the caller's, but for the MTU, which is the interface's.
    pub(crate) fn refused(error: &ConfigError, interface: &str) -> Self {
        match error.field {
            "mtu" => Self::error(format_args!(
                "the MTU of {interface} is {}, and PGM needs {}: `ip link set dev {interface} mtu 1500`",
                error.value, error.allowed
            )),
            "window_slots" => Self::usage(format_args!("--window: {error}")),
            "rate" | "window_time" => Self::usage(format_args!("--rate: {error}; or another --window or --profile")),
            _ => Self::usage(error),
        }
    }

    /// A source or a receiver that the endpoint refused.
    pub(crate) fn not_added(error: AddError, interface: &str) -> Self {
        match error {
            AddError::Config(error) => Self::refused(&error, interface),
            AddError::Link(error) => error.into(),
        }
    }

    /// An engine that could not be had, or a session that it refused.
    pub(crate) fn of_engine(error: EngineError, interface: &str) -> Self {
        match error {
            EngineError::Config(error) => Self::refused(&error, interface),
            EngineError::Add(error) => Self::not_added(error, interface),
            error => Self::error(error),
        }
    }

    /// Says it, and gives the status to end with.
    pub(crate) fn exit(&self, command: &str) -> ExitCode {
        if !self.line.is_empty() {
            let line = self.line.split_whitespace().collect::<Vec<_>>().join(" ");
            let space = if command.is_empty() { "" } else { " " };
            super::say(format_args!("pgmx{space}{command}: {line}"));
        }
        ExitCode::from(self.status)
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::error(error)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::error(error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Contradiction { .. } => Self::usage(error),
            _ => Self::error(error),
        }
    }
}
