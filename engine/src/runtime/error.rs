//! What can go wrong between an application and its engine.
//!
//! Guards: each error says what was attempted and what to do next; none of them is silence.

use std::io;
use std::sync::Arc;

use crate::endpoint::AddError;
use crate::frame::ClaimError;
use crate::link::auto::OpenError;
use crate::protocol::config::ConfigError;

/// Why there is no engine, or no session on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Nothing was named to work on.
    #[error("an engine needs an interface: name one with `.interface(\"eth0\")`, or give it a link")]
    NoInterface,
    /// No link could be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A value that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A core that this process cannot run on.
    #[error("core {wanted} cannot be reached: this process may run on {present}")]
    Core {
        /// The core asked for.
        wanted: usize,
        /// Those that there are.
        present: String,
    },
    /// More cores were named than there is work for.
    #[error("{cores} cores for {workers} workers: name as many cores as interfaces, or none")]
    Cores {
        /// Cores named.
        cores: usize,
        /// Workers that there are.
        workers: usize,
    },
    /// The operating system gave no thread.
    #[error("starting the worker of {interface} failed: {error}")]
    Thread {
        /// Its interface.
        interface: String,
        /// The answer.
        error: io::Error,
    },
    /// A session is wanted on an interface that the engine does not have.
    #[error("this engine does not work on interface `{wanted}`; it works on: {present}")]
    Interface {
        /// The interface asked for.
        wanted: String,
        /// Those that it has.
        present: String,
    },
    /// The session could not be added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The host has no data-source port left.
    #[error("all 65,535 data-source ports of this host are in use; close a publisher")]
    NoPort,
    /// The worker that should have done it is gone.
    #[error(transparent)]
    WorkerGone(#[from] WorkerGone),
}

/// A worker has stopped: its engine was shut down, its link failed, or it panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker of {interface} is gone: {reason}")]
pub struct WorkerGone {
    /// The interface that it worked on.
    pub interface: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Back-pressure: there is no room now. Try again later, or use a form that waits.
    #[error("the transmit window is full; try again when receivers and rate have let it advance")]
    Full,
    /// There was no room until the deadline.
    #[error("the transmit window stayed full until the deadline; try again, or slow down")]
    TimedOut,
    /// The message does not fit.
    #[error("{len} octets do not fit: at most {max} are possible here")]
    TooLong {
        /// Octets asked for.
        len: usize,
        /// Octets possible.
        max: usize,
    },
    /// The session has ended.
    #[error("the session is closed; open another publisher")]
    Closed,
    /// The worker is gone, and with it the session.
    #[error("{0}")]
    WorkerGone(#[from] WorkerGone),
}

impl From<ClaimError> for PublishError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Full => Self::Full,
            ClaimError::TooLong { len, max } => Self::TooLong { len, max },
            ClaimError::Closed => Self::Closed,
        }
    }
}

/// Why nothing more is received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A worker that fed the subscriber is gone. Told once for each, after everything that it had delivered; others go on.
    #[error("{0}")]
    WorkerGone(#[from] WorkerGone),
    /// All of them are.
    #[error("no worker feeds this subscriber any more; build another engine")]
    Ended,
}
