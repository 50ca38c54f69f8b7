//! What an engine is made of: links, cores, how to idle, how much memory.
//!
//! Guards: every thread runs, on its core, before an engine is handed out; if one cannot, none does.

use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::clock::{Clock, after};
use super::cores;
use super::desk::Desk;
use super::engine::{Ended, Engine, Hand, PATIENCE};
use super::error::EngineError;
use super::idle::Idle;
use super::tsis::Tsis;
use super::worker::{Setup, Worker, work};
use crate::endpoint::{Endpoint, EndpointConfig};
use crate::frame::Pool;
use crate::link::auto::{self, Io, LinkConfig, Path};
use crate::link::faults::{FaultPlan, Faults};
use crate::link::{Address, Encapsulation, Link};
use crate::protocol::config::Profile;
use crate::protocol::receiver::ReceiverConfig;
use crate::protocol::source::SourceConfig;

/// How long an engine that is dropped serves the repairs of sessions that were closed, unless it is said how long.
const GRACE: Duration = Duration::from_secs(2);

/// Frames beyond what one session and one receiver would like: what links receive into, and what subscribers hold of them.
const FRAMES_BESIDE: u32 = 16_384;

/// Something that a worker works on.
enum Way {
    /// An interface, with what the builder says of links.
    Interface(String),
    /// A link that is to be opened so.
    Config(Box<LinkConfig>),
    /// A link that is open.
    Open(String, Box<dyn FnOnce(Start) -> Result<Hand, EngineError>>),
}

/// What a worker is started with.
struct Start {
    interface: Arc<str>,
    path: Option<Path>,
    core: Option<usize>,
    idle: Idle,
    clock: Clock,
    endpoint: EndpointConfig,
}

/// Builds an [`Engine`].
///
/// ```no_run
/// use pgmx::protocol::config::Profile;
/// use pgmx::{Engine, Idle};
///
/// let engine = Engine::builder()
///     .interface("eth0")
///     .profile(Profile::LowLatency)
///     .core(3)
///     .idle(Idle::Spin)
///     .build()?;
/// for path in engine.paths() {
///     println!("{path}"); // eth0: AF_XDP native, zero-copy, queues: 4
/// }
/// # Ok::<(), pgmx::EngineError>(())
/// ```
#[must_use = "nothing runs before `build`"]
pub struct EngineBuilder {
    ways: Vec<Way>,
    io: Io,
    encapsulation: Encapsulation,
    address: Address,
    profile: Profile,
    cores: Vec<usize>,
    idle: Option<Idle>,
    frames: Option<u32>,
    faults: Option<FaultPlan>,
    endpoint: EndpointConfig,
    grace: Duration,
}

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            ways: Vec::new(),
            io: Io::default(),
            encapsulation: Encapsulation::default(),
            address: Address::default(),
            profile: Profile::default(),
            cores: Vec::new(),
            idle: None,
            frames: None,
            faults: None,
            endpoint: EndpointConfig::default(),
            grace: GRACE,
        }
    }

    /// Works on this interface, by name, number or address, and on others that are named so: one worker for each.
    pub fn interface(mut self, interface: &str) -> Self {
        self.ways.push(Way::Interface(interface.into()));
        self
    }

    /// Works on a link that is opened exactly so.
    pub fn link(mut self, config: LinkConfig) -> Self {
        self.ways.push(Way::Config(Box::new(config)));
        self
    }

    /// Works on a link that is open already, wrapped in whatever you like, and the pool whose frames it carries. Sessions name it as their
    /// interface.
    pub fn over<L: Link + Send + 'static>(mut self, name: &str, link: L, pool: Pool) -> Self {
        let start = |start| launch(link, pool, start);
        self.ways.push(Way::Open(name.into(), Box::new(start)));
        self
    }

    /// Which way packets go, on interfaces named by [`EngineBuilder::interface`].
    pub fn io(mut self, io: Io) -> Self {
        self.io = io;
        self
    }

    /// What PGM travels in, there.
    pub fn encapsulation(mut self, encapsulation: Encapsulation) -> Self {
        self.encapsulation = encapsulation;
        self
    }

    /// Which of their addresses is ours.
    pub fn address(mut self, address: Address) -> Self {
        self.address = address;
        self
    }

    /// The profile of sessions that do not name one.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Keeps the first worker on this core, the second on the one that is named next, and so on.
    pub fn core(mut self, core: usize) -> Self {
        self.cores.push(core);
        self
    }

    /// Keeps the workers on these cores.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores.extend(cores);
        self
    }

    /// How workers idle. Unless it is said: spinning on a core that was named and is isolated, sleeping after 20 µs elsewhere.
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Frames of each worker: transmit windows, what is held out of order, what subscribers hold, what the link receives into. Unless it
    /// is said: enough for one session and one receiver of the profile.
    pub fn frames(mut self, frames: u32) -> Self {
        self.frames = Some(frames);
        self
    }

    /// Does this to the packets of all links that the engine opens: for tests.
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.faults = Some(plan);
        self
    }

    /// How much a worker does in one go.
    pub fn endpoint(mut self, config: EndpointConfig) -> Self {
        self.endpoint = config;
        self
    }

    /// How long an engine that is dropped serves the repairs of sessions that were closed before; 2 s unless it is said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Opens the links and starts the workers.
    pub fn build(self) -> Result<Engine, EngineError> {
        let Self { ways, io, encapsulation, address, profile, cores, idle, frames, faults, endpoint, grace } = self;
        if ways.is_empty() {
            return Err(EngineError::NoInterface);
        }
        if cores.len() > ways.len() {
            return Err(EngineError::Cores { cores: cores.len(), workers: ways.len() });
        }
        cores.iter().try_for_each(|core| cores::check(*core))?;
        let clock = Clock::new();
        let mut engine = Engine::new(profile, clock, grace, Tsis::new(random()), random());
        for (n, way) in ways.into_iter().enumerate() {
            let core = cores.get(n).copied();
            let idle = idle.unwrap_or_else(|| Idle::default_on(core.is_some_and(cores::is_isolated)));
            let start =
                |interface: &str, path| Start { interface: interface.into(), path, core, idle, clock, endpoint };
            let config = match way {
                Way::Open(name, launch) => {
                    engine.add(launch(start(&name, None))?);
                    continue;
                }
                Way::Config(config) => *config,
                Way::Interface(name) => {
                    let mut config = LinkConfig::new(&name).io(io).encapsulation(encapsulation);
                    config.address = address;
                    config.frames = Some(frames.unwrap_or_else(|| wanted(profile)));
                    config
                }
            };
            let opened = auto::open(&config)?;
            let start = start(&opened.path.interface.clone(), Some(opened.path));
            engine.add(match &faults {
                None => launch(opened.link, opened.pool, start)?,
                Some(plan) => launch(Faults::new(opened.link, plan, clock.now()), opened.pool, start)?,
            });
        }
        Ok(engine)
    }
}

/// Frames for one session and one receiver of a profile.
fn wanted(profile: Profile) -> u32 {
    // The group does not matter.
    let group = [239, 0, 0, 1].into();
    let source = SourceConfig::profile(profile, group, 1);
    let receiver = ReceiverConfig::profile(profile, group, 1);
    source.frames().saturating_add(receiver.frames()).saturating_add(FRAMES_BESIDE)
}

/// A number that is another one at every start.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Starts a worker, and waits until it runs.
fn launch<L: Link + Send + 'static>(link: L, pool: Pool, start: Start) -> Result<Hand, EngineError> {
    let Start { interface, path, core, idle, clock, endpoint } = start;
    let failed = |error| EngineError::Thread { interface: interface.to_string(), error };
    let desk = Arc::new(Desk::new(interface.clone(), idle.sleeps()).map_err(failed)?);
    let endpoint = Endpoint::new(link, pool, &endpoint)?;
    let setup = Setup { desk: desk.clone(), clock, idle };
    let (ready, begun) = sync_channel(1);
    // Linux shows 15 octets of it.
    let name = format!("pgmx-{interface}");
    let thread = thread::Builder::new().name(name).spawn(move || -> Ended {
        let pinned = core.is_none_or(cores::pin);
        let _ = ready.send(pinned);
        work(Worker::new(endpoint, setup))
    });
    let thread = thread.map_err(failed)?;
    let hand = Hand { desk, path, thread: Some(thread) };
    if begun.recv().unwrap_or(false) {
        return Ok(hand);
    }
    hand.desk.stop_at_once();
    // It lets go of the interface before anybody tries again.
    let _ = hand.end(after(PATIENCE));
    cores::check(core.unwrap_or_default())?;
    // It was there a moment ago, and is again: the kernel refused it once.
    Err(EngineError::Core { wanted: core.unwrap_or_default(), present: "none that the kernel would give".into() })
}
