//! The order in which ways are tried, and what ends the search.
//!
//! Pure but for the doors it knocks at, which tests replace. Guards: the order of the table in `auto`; what was asked for by name is the
//! only thing that is tried; a value that cannot work ends the search at once, because the next link would hide it.

use core::fmt;

use super::config::{Io, LinkConfig};
use crate::frame::Pool;
use crate::link::{Encapsulation, InterfaceError, Right};

/// The way that packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// AF_XDP in the driver, without a copy.
    XdpZeroCopy,
    /// AF_XDP in the driver, with one copy.
    XdpCopy,
    /// AF_XDP behind the driver.
    XdpGeneric,
    /// Raw sockets.
    Raw,
    /// UDP sockets.
    Udp,
}

impl Way {
    /// What to ask for to get it, or to be refused.
    pub fn io(self) -> Io {
        match self {
            Self::XdpZeroCopy | Self::XdpCopy => Io::Xdp,
            Self::XdpGeneric => Io::XdpGeneric,
            Self::Raw => Io::Raw,
            Self::Udp => Io::Udp,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XdpZeroCopy => "xdp zero-copy",
            Self::XdpCopy => "xdp copy",
            Self::XdpGeneric => "xdp generic",
            Self::Raw => "raw",
            Self::Udp => "udp",
        })
    }
}

/// Something better that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// What was tried.
    pub attempt: String,
    /// Why it is not to be had.
    pub reason: String,
    /// What helps; empty where nothing is known to.
    pub remedy: String,
    /// Rights that this process lacks for it.
    pub missing: Vec<Right>,
}

impl Refusal {
    pub(super) fn new(attempt: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { attempt: attempt.into(), reason: reason.into(), remedy: remedy.into(), missing: Vec::new() }
    }

    /// For want of rights.
    pub(super) fn of_rights(attempt: &str, missing: Vec<Right>) -> Self {
        let names: Vec<&str> = missing.iter().map(|right| right.name()).collect();
        let reason = format!("it needs {}, which this process does not have", names.join(", "));
        Self { missing, ..Self::new(attempt, reason, grant()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, reason, remedy, .. } = self;
        write!(f, "{attempt} refused: {reason}")?;
        if remedy.is_empty() { Ok(()) } else { write!(f, " ({remedy})") }
    }
}

/// How to grant what links need.
fn grant() -> String {
    let binary = std::env::current_exe();
    let binary = binary.map_or_else(|_| "PROGRAM".into(), |path| path.display().to_string());
    format!("`sudo setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep {binary}`, or run as root")
}

/// Which way was taken, and why no better one. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Path {
    /// The interface.
    pub interface: String,
    /// The way.
    pub way: Way,
    /// The way in words, with what was taken of it.
    pub detail: String,
    /// Each better way that was refused, the best first.
    pub refusals: Vec<Refusal>,
    /// What else would be better on the way that was taken: larger buffers, huge pages.
    pub notes: Vec<Refusal>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.detail)?;
        self.refusals.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}

/// Why no link could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Sockets of one kind were asked to carry the other kind's packets.
    #[error("{}", contradiction(*.io))]
    Contradiction {
        /// What was asked for.
        io: Io,
    },
    /// A value that cannot work, in the words of the link that it was for.
    #[error("{0}")]
    Config(String),
    /// The interface cannot be asked or used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// Every way was refused.
    #[error("{}", nothing(.interface, *.encapsulation, .refusals))]
    Refused {
        /// The interface.
        interface: String,
        /// What PGM was to travel in.
        encapsulation: Encapsulation,
        /// Each way, the best first.
        refusals: Vec<Refusal>,
    },
}

fn contradiction(io: Io) -> &'static str {
    if io == Io::Udp {
        "UDP sockets cannot carry native PGM: use epgm://, which peers must use as well, or --io raw"
    } else {
        "raw sockets cannot carry PGM in UDP: use --io udp, or pgm://, which peers must use as well"
    }
}

fn nothing(interface: &str, encapsulation: Encapsulation, refusals: &[Refusal]) -> String {
    let is_native = encapsulation == Encapsulation::Pgm;
    let each = |refusal: &Refusal| {
        // What to grant is said once, at the end.
        let remedy = if refusal.missing.is_empty() { refusal.remedy.clone() } else { String::new() };
        Refusal { remedy, ..refusal.clone() }.to_string()
    };
    let each = refusals.iter().map(each).collect::<Vec<_>>().join("; ");
    let lacks_rights = refusals.iter().any(|refusal| !refusal.missing.is_empty());
    let grant = if lacks_rights { format!("; grant it: {}", grant()) } else { String::new() };
    let epgm = if lacks_rights && is_native { "; or use epgm:// (--io udp), which needs no right" } else { "" };
    format!("no way for {}:// on {interface}: {each}{grant}{epgm}", if is_native { "pgm" } else { "epgm" })
}

/// A link that was opened.
pub(super) struct Through<L> {
    pub(super) link: L,
    pub(super) pool: Pool,
    pub(super) way: Way,
    pub(super) detail: String,
    /// Better ways of the same link.
    pub(super) refusals: Vec<Refusal>,
    pub(super) notes: Vec<Refusal>,
}

/// Why a link was not opened.
pub(super) enum Shut {
    /// Another one may.
    Refused(Vec<Refusal>),
    /// None would, or should.
    Ends(OpenError),
}

/// Where `AF_XDP` may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the driver, else behind it.
    Any,
    /// In the driver.
    Driver,
    /// Behind it.
    Behind,
}

/// What opens links.
pub(super) trait Knock {
    type Link;
    fn xdp(&mut self, place: Place) -> Result<Through<Self::Link>, Shut>;
    fn raw(&mut self) -> Result<Through<Self::Link>, Shut>;
    fn udp(&mut self) -> Result<Through<Self::Link>, Shut>;
}

/// Tries one way after the other.
pub(super) fn walk<K: Knock>(
    config: &LinkConfig,
    interface: &str,
    loopback: bool,
    doors: &mut K,
) -> Result<(Through<K::Link>, Path), OpenError> {
    let is_native = config.encapsulation == Encapsulation::Pgm;
    match (config.io, is_native) {
        (Io::Udp, true) | (Io::Raw, false) => return Err(OpenError::Contradiction { io: config.io }),
        _ => {}
    }
    let mut refusals = Vec::new();
    let sockets: [Io; 2] = [Io::Auto, if is_native { Io::Raw } else { Io::Udp }];
    let place = match config.io {
        // A better way than sockets is one past the kernel. Here is nothing but the kernel, and one program would have it for itself.
        Io::Auto if loopback => {
            let reason = "loopback has no driver to go past, and an XDP program there would keep other programs of this host out";
            refusals.push(Refusal::new("xdp", reason, "`--io xdp-generic` takes it all the same"));
            None
        }
        Io::Auto => Some(Place::Any),
        Io::Xdp => Some(Place::Driver),
        Io::XdpGeneric => Some(Place::Behind),
        Io::Raw | Io::Udp => None,
    };
    let mut answer = place.map(|place| doors.xdp(place));
    if sockets.contains(&config.io) && !matches!(answer, Some(Ok(_) | Err(Shut::Ends(_)))) {
        if let Some(Err(Shut::Refused(more))) = answer {
            refusals.extend(more);
        }
        answer = Some(if is_native { doors.raw() } else { doors.udp() });
    }
    match answer {
        Some(Ok(mut through)) => {
            refusals.append(&mut through.refusals);
            let path = Path {
                interface: interface.into(),
                way: through.way,
                detail: core::mem::take(&mut through.detail),
                refusals,
                notes: core::mem::take(&mut through.notes),
            };
            Ok((through, path))
        }
        Some(Err(Shut::Ends(error))) => Err(error),
        other => {
            if let Some(Err(Shut::Refused(more))) = other {
                refusals.extend(more);
            }
            let encapsulation = config.encapsulation;
            Err(OpenError::Refused { interface: interface.into(), encapsulation, refusals })
        }
    }
}

#[cfg(test)]
mod tests;
