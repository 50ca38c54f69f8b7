//! What `send`, `recv`, `ping` and `pong` share: the endpoint and its options, the loop's parts, and the report.
//!
//! ```text
//!   Common (arguments) ── place      ENDPOINT
//!         │ open          idle       the core, and what to do when nothing moves
//!         v               failure    one line and an exit status
//!   World: clock, Ctrl-C (stop), and a
//!   Drive: an endpoint    drive      in the command's own loop, or
//!                         workers    on a thread of its own
//!                         framing    how messages lie in packets, for peers of other systems
//!                         generate   messages that check themselves
//!                         hgrm       histograms in files
//!                         live       the line on a terminal
//!                         report     the table, and the JSON object
//!                         kernel     what has to be asked by system call
//! ```
//!
//! A command opens a [`World`], begins its session, its receiver or both, and turns it from a loop of its own. Guards: nothing is opened
//! before all arguments are known to make sense.

pub(crate) mod clock;
pub(crate) mod drive;
pub(crate) mod failure;
pub(crate) mod framing;
pub(crate) mod generate;
pub(crate) mod hgrm;
pub(crate) mod idle;
pub(crate) mod kernel;
pub(crate) mod live;
pub(crate) mod numbers;
pub(crate) mod place;
pub(crate) mod report;
pub(crate) mod stop;
pub(crate) mod workers;

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use pgmx::endpoint::{Handler, Inbox};
use pgmx::link::auto::{self, AnyLink, Io, LinkConfig, Path};
use pgmx::link::capture::{Capture, CaptureConfig, Lacks};
use pgmx::link::faults::{Drops, FaultPlan, Faults};
use pgmx::link::{Channel, Encapsulation};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::SourceConfig;
use pgmx::time::Time;

use clock::Clock;
use drive::{Drive, Start, Wait};
use failure::Failure;
use idle::{Idle, Idler};
use place::Place;
use stop::Stop;

/// The link of every command: it may lose packets on request, and write them down.
pub(crate) type Way = Faults<Capture<AnyLink>>;

/// Frames beyond those of windows, for the link's rings: as many as links take by default.
const LINK_FRAMES: u32 = 16_384;

/// Frames that may wait between a worker and the program, and messages as well: as many as a source keeps for repair, in these bounds. A
/// program that falls further behind loses what nobody could bring back either.
const LEASES: (u32, u32) = (1024, 65_536);

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
    /// PGM in UDP on these ports: of packets to the group, and of those to one host; one if they are the same. 3056,3055 are OpenPGM's own.
    /// [default: PORT of an epgm:// endpoint]
    #[arg(long, value_name = "GROUPS[,HOSTS]", value_parser = numbers::udp_ports, help_heading = "Network")]
    pub(crate) udp_ports: Option<Encapsulation>,
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
    /// Run on this core. With --workers: the worker does; --core W,N keeps the rest of the program on N.
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Machine")]
    pub(crate) core: Vec<usize>,
    /// What to do when nothing moves. Without it: spin for 20 µs, then sleep; on a core that was set aside, spin.
    #[arg(long, value_name = "HOW", help_heading = "Machine")]
    pub(crate) idle: Option<Idle>,
    /// Drive the network on so many threads beside the program's own, one for each interface: 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Machine")]
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

/// A network, and what the loop around it needs.
pub(crate) struct World<D> {
    /// Who drives it.
    pub(crate) drive: D,
    /// The way that was taken.
    pub(crate) path: Path,
    /// Group and port of ENDPOINT.
    pub(crate) channel: Channel,
    /// The loop's clocks.
    pub(crate) clock: Clock,
    /// What the loop does when nothing moved.
    idler: Idler,
    /// Ctrl-C.
    pub(crate) stop: Stop,
    source_config: SourceConfig,
    receiver_config: ReceiverConfig,
    /// What `--faults` loses on its way in.
    pub(crate) drops: Option<Drops>,
    pcap: Option<(PathBuf, Lacks)>,
}

/// Which threads go where.
#[derive(Clone, Copy, Debug, Default)]
struct Cores {
    worker: Option<usize>,
    own: Option<usize>,
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

    /// Reads `--workers` and `--core`.
    fn cores(&self) -> Result<Cores, Failure> {
        if let Some(workers @ 2..) = self.workers {
            return Err(Failure::usage(format_args!(
                "--workers {workers}: a worker polls all queues of its interface, and there is one interface; take 1"
            )));
        }
        let cores = match (self.workers, &self.core[..]) {
            (_, []) => Cores::default(),
            (None, [own]) => Cores { worker: None, own: Some(*own) },
            (Some(_), [worker]) => Cores { worker: Some(*worker), own: None },
            (Some(_), [worker, own]) => Cores { worker: Some(*worker), own: Some(*own) },
            (None, _) => return Err(Failure::usage("--core: without --workers there is one thread; name one core")),
            (Some(_), _) => return Err(Failure::usage("--core: name the worker's core, and at most one more")),
        };
        self.core.iter().try_for_each(|core| idle::check(*core))?;
        Ok(cores)
    }

    /// Opens the link, and has it driven.
    pub(crate) fn open<D: Drive>(&self, purpose: Purpose) -> Result<World<D>, Failure> {
        let Place { interface, channel, encapsulation } = Place::read(&self.endpoint, self.interface.as_deref())?;
        if self.udp_ports.is_some() && encapsulation == Encapsulation::Pgm && self.io != Io::Udp {
            return Err(Failure::usage("--udp-ports: pgm:// has none; take an epgm:// endpoint, or --io udp"));
        }
        let encapsulation = self.udp_ports.unwrap_or(encapsulation);
        let cores = self.cores()?;
        if let Some(own) = cores.own
            && self.workers.is_none()
        {
            idle::pin(own)?;
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
        let leases = receiver_config.window_slots.clamp(LEASES.0, LEASES.1);
        let waiting = if self.workers.is_some() && purpose.subscribes { leases } else { 0 };
        link.frames = Some(windows + waiting + LINK_FRAMES);
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
        let pcap = self.pcap.clone().map(|file| (file, link.lacks()));
        let mut link = Faults::new(link, &self.faults, Time::ZERO);
        let drops = (purpose.subscribes && !self.faults.receive.is_quiet()).then(|| link.note_drops());
        let interface = path.interface.clone();
        let drive = D::start(Start { link, pool, interface, profile, idle: self.idle, core: cores.worker, leases })?;
        // Its worker is where it belongs: what is started by a thread runs where that does.
        if let Some(own) = cores.own
            && self.workers.is_some()
        {
            idle::pin(own)?;
        }
        Ok(World {
            drive,
            path,
            channel,
            clock: Clock::new(),
            idler: Idler::new(self.idle, cores.own),
            stop,
            source_config,
            receiver_config,
            drops,
            pcap,
        })
    }
}

impl<D: Drive> World<D> {
    /// How a source behaves here, by the profile and the common options.
    pub(crate) fn source_config(&self) -> SourceConfig {
        self.source_config.clone()
    }

    /// How a receiver behaves here, by the profile and the common options.
    pub(crate) fn receiver_config(&self) -> ReceiverConfig {
        self.receiver_config.clone()
    }

    /// Begins the session.
    pub(crate) fn publish(&mut self, config: &SourceConfig) -> Result<D::Publisher, Failure> {
        self.drive.publish(config, self.clock.now())
    }

    /// Listens.
    pub(crate) fn listen(&mut self, config: &ReceiverConfig) -> Result<(), Failure> {
        self.drive.listen(config)
    }

    /// Shows what came; returns how much moved.
    #[inline]
    pub(crate) fn poll<H: Handler>(&mut self, now: Time, inbox: &mut Inbox<H>) -> Result<usize, Failure> {
        self.drive.poll(now, inbox)
    }

    /// Something moved.
    #[inline]
    pub(crate) fn busy(&mut self) {
        self.idler.busy();
    }

    /// Nothing moved: rests for at most so long. Says whether it may have slept.
    #[inline]
    pub(crate) fn rest(&mut self, now: Time, at_most: Duration, wait: Wait<'_, D::Publisher>) -> Result<bool, Failure> {
        self.drive.rest(&mut self.idler, now, at_most, wait)
    }

    /// Leaves the network, and writes the rest of the capture.
    pub(crate) fn close<H: Handler>(&mut self, inbox: &mut Inbox<H>) {
        self.drive.close(inbox);
        if let Some((file, lacks)) = &self.pcap
            && lacks.packets() > 0
        {
            say(format_args!("--pcap: {} lacks packets, {} or more: writing failed", file.display(), lacks.packets()));
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
