//! The best link that an interface gives, and why it gave nothing better.
//!
//! ```text
//!   LinkConfig ── choose   which ways there are for an encapsulation, in which order, and what ends the search
//!                   └───── ways   the links themselves: what each is asked for, and what its refusal means
//!   AnyLink ── allow       senders whose packets go no further, where no steering program sees to it
//! ```
//!
//! | encapsulation | `Io::Auto` tries |
//! |---|---|
//! | PGM (`pgm://`) | AF_XDP zero-copy, AF_XDP copy, AF_XDP behind the driver (generic), raw sockets |
//! | UDP (`epgm://`) | AF_XDP in the same order, UDP sockets |
//!
//! Called by whoever opens a link and does not care which. Guards: the encapsulation never changes by itself, because the peers would
//! hear nothing; what was asked for by name is taken or refused, never replaced; and each step back is kept with its reason and remedy.
//!
//! ```no_run
//! use pgmx::link::auto::{LinkConfig, open};
//!
//! let opened = open(&LinkConfig::new("eth0"))?;
//! println!("{}", opened.path); // eth0: AF_XDP native, copy, queues: 4; xdp zero-copy refused: ...
//! # Ok::<(), pgmx::link::auto::OpenError>(())
//! ```

mod allow;
mod any;
mod choose;
mod config;
mod ways;

pub use allow::Allowed;
pub use any::{AnyLink, Counters};
pub use choose::{OpenError, Path, Refusal, Way};
pub use config::{Io, LinkConfig, UnknownIo};

use super::survey::Survey;
use crate::frame::Pool;

/// What came of opening a link.
#[derive(Debug)]
pub struct Opened {
    /// The link.
    pub link: AnyLink,
    /// The pool whose frames it carries.
    pub pool: Pool,
    /// Which way it goes, and why no better one.
    pub path: Path,
}

/// Opens the best link that this configuration allows, and says which in the log (`pgmx::link`, at `info`).
pub fn open(config: &LinkConfig) -> Result<Opened, OpenError> {
    let survey = Survey::of(&config.interface)?;
    let mut doors = ways::Doors { config };
    let (through, path) = choose::walk(config, &survey.name, survey.loopback, &mut doors)?;
    tracing::info!(target: "pgmx::link", "{path}");
    for note in &path.notes {
        tracing::debug!(target: "pgmx::link", "{}: {note}", path.interface);
    }
    Ok(Opened { link: through.link, pool: through.pool, path })
}
