//! What `send`, `recv`, `ping` and `pong` share: the endpoint and its options, the loop's parts, and the report.
//!
//! ```text
//!   Common (arguments) ── place      ENDPOINT
//!         │ open          idle       the core, and what to do when nothing moves
//!         v               failure    one line and an exit status
//!   World: an endpoint, its clock, Ctrl-C (stop)
//!                         generate   messages that check themselves
//!                         live       the line on a terminal
//!                         report     the table, and the JSON object
//!                         kernel     what has to be asked by system call
//! ```
//!
//! A command opens a [`World`], adds its sources and receivers, and drives it from a loop of its own, on one thread. Guards: nothing is
//! opened before all arguments are known to make sense.

pub(crate) mod clock;
pub(crate) mod failure;
pub(crate) mod generate;
pub(crate) mod idle;
pub(crate) mod kernel;
pub(crate) mod live;
pub(crate) mod numbers;
pub(crate) mod place;
pub(crate) mod report;
pub(crate) mod stop;

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use pgmx::endpoint::{Endpoint, EndpointConfig, ReceiverId, SourceId};
use pgmx::link::Channel;
use pgmx::link::auto::{self, AnyLink, Io, LinkConfig, Path};
use pgmx::link::capture::{Capture, CaptureConfig};
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::protocol::Sink;
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::{Publisher, SourceConfig, TsiAllocator};
use pgmx::time::Time;
use pgmx::wire::Gsi;

use clock::Clock;
use failure::Failure;
use idle::{Idle, Idler};
use place::Place;
use stop::Stop;

/// The link of every command: it may lose packets on request, and write them down.
pub(crate) type Way = Faults<Capture<AnyLink>>;

/// Frames beyond those of windows, for the link's rings: as many as links take by default.
const LINK_FRAMES: u32 = 16_384;

/// What a command wants of its world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// Whether it publishes.
    pub(crate) publishes: bool,
    /// Whether it listens.
    pub(crate) subscribes: bool,
    /// The profile, where none is asked for.
    pub(crate) profile: Profile,
}

impl Purpose {
    /// `send`.
    pub(crate) const SEND: Self = Self { publishes: true, subscribes: false, profile: Profile::Lan };
    /// `recv`.
    pub(crate) const RECEIVE: Self = Self { publishes: false, subscribes: true, profile: Profile::Lan };
    /// `ping` and `pong`: what they are for is how soon an answer comes.
    pub(crate) const CONVERSE: Self = Self { publishes: true, subscribes: true, profile: Profile::LowLatency };
}

/// What all of these commands take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// pgm://IFACE;GROUP:PORT or epgm://IFACE;GROUP:PORT, or GROUP:PORT with -i. IFACE is a name, a number or an address.
    #[arg(value_name = "ENDPOINT")]
    pub(crate) endpoint: String,
    /// The interface, where ENDPOINT has none.
    #[arg(short = 'i', long = "interface", value_name = "IFACE", help_heading = "Network")]
    pub(crate) interface: Option<String>,
    /// The way to the network: the best there is, or this one. `udp` for a pgm:// endpoint means ports 3055 and 3056.
    #[arg(long, value_name = "WAY", default_value = "auto", value_parser = io, help_heading = "Network")]
    pub(crate) io: Io,
    /// Take the interface from a program that has its XDP hook.
    #[arg(long, help_heading = "Network")]
    pub(crate) replace: bool,
    /// Time to live of packets to the group.
    #[arg(long, value_name = "HOPS", default_value = "16", value_parser = clap::value_parser!(u8).range(1..), help_heading = "Network")]
    pub(crate) ttl: u8,
    /// Harm packets, to see what comes of it: 'loss=1%,reorder=2%,dup=1%,seed=7'; `send.loss=1%` harms what is sent.
    #[arg(long, value_name = "PLAN", default_value = "", hide_default_value = true, value_parser = faults, help_heading = "Network")]
    pub(crate) faults: FaultPlan,
    /// Write all packets into this file, for tshark.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) pcap: Option<PathBuf>,
    /// Timers and limits.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Profile::ALL.map(|(name, _)| name)), help_heading = "Session")]
    pub(crate) profile: Option<String>,
    /// Packets that the window holds: what can be repaired, or worked on at a time. Rounded up to a power of two.
    #[arg(long, value_name = "SLOTS", value_parser = clap::value_parser!(u32).range(64..=1 << 22), help_heading = "Session")]
    pub(crate) window: Option<u32>,
    /// Publishing: the part of the window that late joiners may ask for. Listening: 0 asks for none of it.
    #[arg(long, value_name = "PCT", value_parser = clap::value_parser!(u8).range(0..=100), help_heading = "Session")]
    pub(crate) late_join: Option<u8>,
    /// Run on this core.
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub(crate) core: Option<usize>,
    /// What to do when nothing moves. Without it: spin for 20 µs, then sleep; on a core that was set aside, spin.
    #[arg(long, value_name = "HOW", help_heading = "Machine")]
    pub(crate) idle: Option<Idle>,
    /// Work on so many pinned threads, instead of one that is this program.
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub(crate) workers: Option<u32>,
    /// Print one JSON object at the end, on stdout.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Say which way to the network was taken, and why no better one.
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// Print progress as JSON lines on stderr, every so many milliseconds.
    #[arg(long, value_name = "MS", hide = true, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(crate) progress: Option<u64>,
}

fn io(text: &str) -> Result<Io, String> {
    text.parse().map_err(|error: auto::UnknownIo| error.to_string())
}

fn faults(text: &str) -> Result<FaultPlan, String> {
    if text.is_empty() {
        return Ok(FaultPlan::default());
    }
    text.parse().map_err(|error: pgmx::link::faults::PlanError| error.to_string())
}

/// One endpoint, and what its loop needs.
pub(crate) struct World {
    /// The endpoint.
    pub(crate) endpoint: Endpoint<Way>,
    /// The way that was taken.
    pub(crate) path: Path,
    /// Group and port of ENDPOINT.
    pub(crate) channel: Channel,
    /// The loop's clocks.
    pub(crate) clock: Clock,
    /// What the loop does when nothing moved.
    pub(crate) idler: Idler,
    /// Ctrl-C.
    pub(crate) stop: Stop,
    source_config: SourceConfig,
    receiver_config: ReceiverConfig,
    tsis: TsiAllocator,
    pcap: Option<PathBuf>,
}

impl Common {
    fn profile(&self, purpose: Purpose) -> Profile {
        let named = |name: &String| Profile::ALL.iter().find(|(it, _)| it == name).map(|(_, profile)| *profile);
        self.profile.as_ref().and_then(named).unwrap_or(purpose.profile)
    }

    fn window(&self) -> Option<u32> {
        let slots = self.window?;
        let rounded = slots.next_power_of_two();
        if rounded != slots {
            say(format_args!("--window {slots}: taken as {rounded}, the next power of two"));
        }
        Some(rounded)
    }

    /// Opens the link, and the endpoint on it.
    pub(crate) fn open(&self, purpose: Purpose) -> Result<World, Failure> {
        let Place { interface, channel, encapsulation } = Place::read(&self.endpoint, self.interface.as_deref())?;
        if self.workers.is_some() {
            return Err(Failure::usage("--workers: this program drives its endpoint itself; leave the option out"));
        }
        if let Some(core) = self.core {
            idle::pin(core)?;
        }
        let stop = Stop::install()?;
        let profile = self.profile(purpose);
        let mut source_config = SourceConfig::profile(profile, channel.group, channel.data_port);
        let mut receiver_config = ReceiverConfig::profile(profile, channel.group, channel.data_port);
        if let Some(slots) = self.window() {
            source_config.window_slots = slots;
            receiver_config.window_slots = slots;
            receiver_config.held_max = slots;
        }
        source_config.late_join_percent = self.late_join;
        receiver_config.take_history = self.late_join != Some(0);

        let mut link = LinkConfig::new(&interface).suiting(channel.group).encapsulation(encapsulation).io(self.io);
        let windows = if purpose.publishes { source_config.frames() } else { 0 }
            + if purpose.subscribes { receiver_config.frames() } else { 0 };
        link.frames = Some(windows + LINK_FRAMES);
        (link.ttl, link.replace) = (self.ttl, self.replace);
        // Linux gives what is sent to an address and a UDP port to one program: to a publisher, who waits for NAKs, if there is one.
        link.hear_unicast = purpose.publishes;
        let encapsulation = link.encapsulation;
        let auto::Opened { link, pool, path, .. } = auto::open(&link)?;
        if self.verbose {
            say(&path);
            path.notes.iter().for_each(|note| say(format_args!("{}: {note}", path.interface)));
        }
        let link = match &self.pcap {
            Some(file) => {
                let mut config = CaptureConfig::default();
                (config.encapsulation, config.ttl) = (encapsulation, self.ttl);
                let link = Capture::to_file(link, file, &config);
                link.map_err(|error| Failure::error(format_args!("--pcap: {error}")))?
            }
            None => Capture::none(link),
        };
        let link = Faults::new(link, &self.faults, Time::ZERO);
        let endpoint = Endpoint::new(link, pool, &EndpointConfig::default())
            .map_err(|error| Failure::refused(&error, &interface))?;
        Ok(World {
            endpoint,
            path,
            channel,
            clock: Clock::new(),
            idler: Idler::new(self.idle, self.core),
            stop,
            source_config,
            receiver_config,
            // Two programs on one host, and one that is started again, are different sources.
            tsis: TsiAllocator::new(Gsi::new(seed().to_le_bytes()[..6].try_into().unwrap_or_default()), seed()),
            pcap: self.pcap.clone(),
        })
    }
}

impl World {
    /// How a source behaves here, by the profile and the common options.
    pub(crate) fn source_config(&self) -> SourceConfig {
        self.source_config.clone()
    }

    /// How a receiver behaves here, by the profile and the common options.
    pub(crate) fn receiver_config(&self) -> ReceiverConfig {
        self.receiver_config.clone()
    }

    /// Begins a session.
    pub(crate) fn publish(&mut self, config: &SourceConfig) -> Result<(SourceId, Publisher), Failure> {
        let tsi = self.tsis.open().ok_or_else(|| Failure::error("no port is free for another session"))?;
        let now = self.clock.now();
        let added = self.endpoint.add_source(config, tsi, now, seed());
        added.map_err(|error| Failure::not_added(error, &self.path.interface))
    }

    /// Listens.
    pub(crate) fn listen(&mut self, config: &ReceiverConfig) -> Result<ReceiverId, Failure> {
        let added = self.endpoint.add_receiver(config, seed());
        added.map_err(|error| Failure::not_added(error, &self.path.interface))
    }

    /// Leaves the network, and writes the rest of the capture.
    pub(crate) fn close(&mut self, sink: &mut impl Sink) {
        self.endpoint.shut_down(sink);
        let counts = self.endpoint.link().inner().counts();
        if let Some(file) = &self.pcap
            && counts.left_out > 0
        {
            say(format_args!("--pcap: {} lacks {} packets: writing failed", file.display(), counts.left_out));
        }
    }
}

/// Something that differs from one start to the next.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A result on stdout. Who stops reading has read enough; whatever else keeps it from being written is a failure.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::error(format_args!("stdout: writing failed: {error}")))
        }
        _ => Ok(()),
    }
}

/// A line on stderr; when nobody listens there, nothing.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
