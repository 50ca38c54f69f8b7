//! The proving ground: how fast `pgmx` is from end to end, beside bare sockets, bare rings and the other implementations, in one run.
//!
//! ```text
//!   plan ── bouts of plays ──▶ play ── samples ──▶ results ──▶ bars      what was promised, and whether it held
//!                               │                     └──────▶ report    index.html, results.json, headline.svg
//!        scene     hosts and cables                rigs    what other benchmarks measure
//!        programs  command lines                   machine what it all ran on
//!        calls     a counter of system calls       statistics
//! ```
//!
//! Used by the `proving` program. A [`Play`] is one contestant doing one thing in one setting; a [`Bout`] is plays that take turns on the same
//! cable, round after round, each round another one first. Guards: what is compared ran in one bout, one right after the other; a contestant
//! that is missing or fails is a named gap, never left out in silence; every wait ends.

pub mod bars;
pub mod calls;
pub mod machine;
pub mod plan;
pub mod play;
pub mod programs;
pub mod report;
pub mod results;
pub mod rigs;
pub mod scene;
pub mod statistics;
pub mod svg;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The group that everybody talks to, and its data port.
pub const GROUP: Ipv4Addr = crate::links::GROUP;
/// See [`GROUP`].
pub const PORT: u16 = crate::links::DATA_PORT;

/// Octets of a data packet that are neither payload nor Ethernet: what a wire adds to 20 of IPv4 and 24 of PGM is 14 of Ethernet, its sum, and
/// the gap and preamble between frames.
pub const ON_THE_WIRE: f64 = 82.0;

/// The way to the network, as `--io` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// AF_XDP in the driver.
    Xdp,
    /// AF_XDP behind the driver.
    XdpGeneric,
    /// Raw sockets.
    Raw,
    /// UDP.
    Udp,
}

impl Way {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Xdp, Self::XdpGeneric, Self::Raw, Self::Udp];

    /// As `--io` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Raw => "raw",
            Self::Udp => "udp",
        }
    }
}

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `pgmx`, over this way.
    Pgmx(Way),
    /// AF_XDP rings and nothing else.
    Bare,
    /// Raw sockets and many packets at a call, nothing else.
    MmsgRaw,
    /// The same with UDP.
    MmsgUdp,
    /// OpenPGM.
    OpenPgm {
        /// In UDP, and not as protocol 113.
        udp: bool,
        /// Never sleeping, and not waiting in `poll`.
        spin: bool,
    },
    /// ZeroMQ's PUB and SUB.
    ZeroMq {
        /// `epgm`, and not `pgm`.
        udp: bool,
    },
    /// NORM.
    Norm,
}

impl Who {
    /// A word for tables and for `--only`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pgmx(way) => way.name(),
            Self::Bare => "bare",
            Self::MmsgRaw => "mmsg-raw",
            Self::MmsgUdp => "mmsg-udp",
            Self::OpenPgm { udp: false, spin: true } => "openpgm-spin",
            Self::OpenPgm { udp: false, spin: false } => "openpgm",
            Self::OpenPgm { udp: true, spin: true } => "openpgm-udp-spin",
            Self::OpenPgm { udp: true, spin: false } => "openpgm-udp",
            Self::ZeroMq { udp: true } => "zeromq-epgm",
            Self::ZeroMq { udp: false } => "zeromq-pgm",
            Self::Norm => "norm",
        }
    }

    /// For people who have not read this page.
    pub fn title(self) -> String {
        match self {
            Self::Pgmx(way) => format!("pgmx {}", way.name()),
            Self::Bare => "bare AF_XDP rings".into(),
            Self::MmsgRaw => "bare raw sockets".into(),
            Self::MmsgUdp => "bare UDP sockets".into(),
            Self::OpenPgm { udp, spin } => {
                format!("OpenPGM{}{}", if udp { " in UDP" } else { "" }, if spin { ", spinning" } else { "" })
            }
            Self::ZeroMq { udp } => format!("ZeroMQ {}", if udp { "epgm" } else { "pgm" }),
            Self::Norm => "NORM".into(),
        }
    }

    /// The colour in figures: one for each system.
    pub fn family(self) -> &'static str {
        match self {
            Self::Pgmx(Way::Xdp) => "xdp",
            Self::Pgmx(Way::XdpGeneric) => "generic",
            Self::Pgmx(Way::Raw) => "raw",
            Self::Pgmx(Way::Udp) => "udp",
            Self::Bare | Self::MmsgRaw | Self::MmsgUdp => "bare",
            Self::OpenPgm { .. } => "openpgm",
            Self::ZeroMq { .. } => "zeromq",
            Self::Norm => "norm",
        }
    }
}

/// How fast messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many a second, each due at its time.
    PerSecond(u32),
    /// This part, in percent, of what was the most in the default setting.
    OfMost(u8),
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// As much as goes through.
    Blast,
    /// The same, with both ends asleep when there is nothing to do: what it costs, and not how fast it is.
    Cost,
    /// The same, with the system calls counted.
    Calls,
    /// Messages at a pace: what each takes.
    Paced(Pace),
    /// Ten messages every tenth of a second: what the last of them takes when it is lost.
    Bursts,
    /// Ping and pong.
    RoundTrip,
}

/// In what setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Octets of a message.
    pub size: u32,
    /// Receivers; more than one sleep when there is nothing to do, on a processor that they share.
    pub receivers: u8,
    /// Packets of ten thousand that each receiver loses.
    pub loss: u16,
    /// Whether small messages share packets.
    pub batched: bool,
    /// `pgmx`'s timers and limits.
    pub profile: Profile,
}

/// `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As shipped, where nobody asks for another.
    Lan,
    /// As shipped.
    LowLatency,
}

impl Profile {
    /// As `--profile` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::LowLatency => "low-latency",
        }
    }
}

impl Setting {
    /// The default cell: all axes leave from here.
    pub const DEFAULT: Self = Self { size: 256, receivers: 1, loss: 0, batched: false, profile: Profile::Lan };

    /// With messages of so many octets.
    pub const fn of(size: u32) -> Self {
        Self { size, ..Self::DEFAULT }
    }

    /// Losing so many packets of ten thousand.
    #[must_use]
    pub const fn losing(self, loss: u16) -> Self {
        Self { loss, ..self }
    }

    /// With messages that share packets.
    #[must_use]
    pub const fn batched(self) -> Self {
        Self { batched: true, ..self }
    }

    /// With so many receivers.
    #[must_use]
    pub const fn heard_by(self, receivers: u8) -> Self {
        Self { receivers, ..self }
    }

    /// With the timers that are shipped for latency.
    #[must_use]
    pub const fn low_latency(self) -> Self {
        Self { profile: Profile::LowLatency, ..self }
    }

    /// The loss in percent, as people write it.
    pub fn loss_percent(&self) -> String {
        format!("{}%", f64::from(self.loss) / 100.0)
    }
}

/// One contestant doing one thing in one setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Play {
    /// Who.
    pub who: Who,
    /// What.
    pub task: Task,
    /// Where.
    pub setting: Setting,
}

impl Play {
    /// What tells it from the others of its bout; bars and figures name plays so.
    pub fn id(&self) -> String {
        let Self { who, task, setting } = self;
        let mut id = format!("{} {}", who.name(), setting.size);
        // Writing into a String cannot fail.
        let _ = match task {
            Task::Paced(Pace::PerSecond(rate)) => write!(id, " {rate}/s"),
            Task::Paced(Pace::OfMost(percent)) => write!(id, " {percent}%-of-most"),
            _ => Ok(()),
        };
        if setting.batched {
            id += " batched";
        }
        if setting.receivers > 1 {
            let _ = write!(id, " x{}", setting.receivers);
        }
        if setting.loss > 0 {
            let _ = write!(id, " loss={}", setting.loss_percent());
        }
        if setting.profile != Profile::Lan {
            let _ = write!(id, " {}", setting.profile.name());
        }
        id
    }
}

/// Plays that take turns.
#[derive(Clone, Debug)]
pub struct Bout {
    /// Its name.
    pub name: String,
    /// Who takes turns.
    pub plays: Vec<Play>,
}
