//! An engine: which worker a session goes to, and how all of them begin and end.
//!
//! Guards: a session that is asked for on an interface is on that one or refused; a stop has an end, whatever workers do.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::builder::EngineBuilder;
use super::clock::Clock;
use super::config::{PublisherConfig, SubscriberConfig};
use super::desk::{Begun, Command, Desk, Intake};
use super::error::{EngineError, WorkerGone};
use super::publisher::Publisher;
use super::shared::{Queue, SharedPublisher};
use super::stats::WorkerStats;
use super::subscriber::Subscriber;
use super::tsis::{Port, Tsis};
use crate::frame::Census;
use crate::link::Channel;
use crate::link::auto::Path;
use crate::link::survey::Survey;
use crate::protocol::config::Profile;
use crate::protocol::source::SourceConfig;
use crate::sync::bell::Bell;
use crate::sync::spsc;
use crate::time::{Time, nanos};
use crate::wire::Tsi;

/// How long a thread may take to come to its end after it should have.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Its interface.
    pub interface: String,
    /// What ended it, if it was not told to stop.
    pub failure: Option<String>,
    /// Where its frames were then: apart from what the application holds, all are free. `None` if it panicked.
    pub frames: Option<Census>,
}

/// A worker, from outside.
pub(super) struct Hand {
    pub(super) desk: Arc<Desk>,
    pub(super) path: Option<Path>,
    pub(super) thread: Option<JoinHandle<Ended>>,
}

/// Workers on one interface or several: what publishers and subscribers are made on.
///
/// ```
/// use pgmx::{Encapsulation, Engine, PublisherConfig, Received, SubscriberConfig};
///
/// // PGM in UDP on loopback needs no rights.
/// let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_523)).frames(4096).build()?;
/// let group = [239, 192, 0, 1].into();
/// let mut subscriber = engine.subscriber(&SubscriberConfig::new(group, 7500))?;
/// let mut publisher = engine.publisher(&PublisherConfig::new(group, 7500).window(256))?;
///
/// publisher.publish(b"hello")?;
/// loop {
///     match subscriber.recv()? {
///         Received::Message(message) => break assert_eq!(message.to_vec(), b"hello"),
///         Received::Event(channel, event) => println!("{channel}: {event:?}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it ends all sessions: those whose publishers were dropped or closed before serve repairs for up to the
/// [`EngineBuilder::grace`], others are aborted, and receivers are told. [`Engine::close`] ends all of them gracefully.
pub struct Engine {
    workers: Vec<Hand>,
    profile: Profile,
    clock: Clock,
    grace: Duration,
    tsis: Tsis,
    seed: AtomicU64,
}

impl Engine {
    /// An engine to be configured.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    pub(super) fn new(profile: Profile, clock: Clock, grace: Duration, tsis: Tsis, seed: u64) -> Self {
        Self { workers: Vec::new(), profile, clock, grace, tsis, seed: AtomicU64::new(seed) }
    }

    pub(super) fn add(&mut self, worker: Hand) {
        self.workers.push(worker);
    }

    fn seed(&self) -> u64 {
        // Far apart: receivers count on from theirs.
        self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    /// Which way each link goes, and why no better one.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.workers.iter().filter_map(|worker| worker.path.as_ref())
    }

    /// The interfaces, in the order in which they were named.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.workers.iter().map(|worker| &**worker.desk.interface())
    }

    /// The profile of sessions that do not name one.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The time by the clock of the workers, to be compared with [`Message::received`](super::Message::received).
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The workers on an interface.
    fn on(&self, interface: &str) -> Result<Vec<&Hand>, EngineError> {
        let named = |name: &str| -> Vec<&Hand> {
            self.workers.iter().filter(|worker| **worker.desk.interface() == *name).collect()
        };
        let mut found = named(interface);
        if found.is_empty()
            && let Ok(survey) = Survey::of(interface)
        {
            // By its number or address.
            found = named(&survey.name);
        }
        if found.is_empty() {
            let present: Vec<&str> = self.interfaces().collect();
            return Err(EngineError::Interface { wanted: interface.into(), present: present.join(", ") });
        }
        Ok(found)
    }

    /// The worker with the least to do of those on an interface, or on the first.
    fn place(&self, interface: Option<&str>) -> Result<&Hand, EngineError> {
        let first = self.interfaces().next().ok_or(EngineError::NoInterface)?;
        let found = self.on(interface.unwrap_or(first))?;
        found.into_iter().min_by_key(|worker| worker.desk.load()).ok_or(EngineError::NoInterface)
    }

    fn begin(
        &self,
        config: &PublisherConfig,
        session: SourceConfig,
        queue: Option<Arc<Queue>>,
    ) -> Result<(&Arc<Desk>, Begun, Tsi), EngineError> {
        let Hand { desk, .. } = self.place(config.interface.as_deref())?;
        let port = match config.wishes.tsi {
            Some(tsi) => Port::chosen(tsi),
            None => self.tsis.open().ok_or(EngineError::NoPort)?,
        };
        let (tsi, seed) = (port.tsi(), self.seed());
        let config = Box::new(session);
        desk.enter();
        let asked = desk.ask(|reply| Command::Begin { config, port, seed, queue, reply });
        let begun = asked.and_then(|asked| asked.wait().map_err(|_| desk.epitaph()));
        match begun {
            Ok(Ok(begun)) => Ok((desk, begun, tsi)),
            Ok(Err(error)) => {
                desk.leave();
                Err(error.into())
            }
            Err(gone) => Err(gone.into()),
        }
    }

    /// Begins a session, for one thread to publish into.
    pub fn publisher(&self, config: &PublisherConfig) -> Result<Publisher, EngineError> {
        let (desk, mut begun, ..) = self.begin(config, config.resolve(self.profile)?, None)?;
        let session = begun.publisher.take().ok_or_else(|| desk.epitaph())?;
        Ok(Publisher::new(desk.clone(), session, begun))
    }

    /// Begins a session, for many threads to publish into.
    pub fn shared_publisher(&self, config: &PublisherConfig) -> Result<SharedPublisher, EngineError> {
        // Checked before there is a queue: that allocates.
        let session = config.resolve(self.profile)?;
        let queue = Arc::new(Queue::new(config.queue));
        let (desk, begun, tsi) = self.begin(config, session, Some(queue.clone()))?;
        Ok(SharedPublisher::new(desk.clone(), queue, begun.id, tsi, begun.message_max))
    }

    /// Listens, on the interfaces that the configuration names, or on all.
    pub fn subscriber(&self, config: &SubscriberConfig) -> Result<Subscriber, EngineError> {
        let mut feeding: Vec<&Hand> = Vec::new();
        for interface in &config.interfaces {
            for worker in self.on(interface)? {
                // One that was named twice hears everything once.
                if !feeding.iter().any(|other| Arc::ptr_eq(&other.desk, &worker.desk)) {
                    feeding.push(worker);
                }
            }
        }
        if config.interfaces.is_empty() {
            feeding.extend(&self.workers);
        }
        let configs = config.resolve(self.profile)?;
        let channels = configs.iter().map(|one| Channel { group: one.group, data_port: one.data_port }).collect();
        let bell = Arc::new(Bell::new());
        let mut subscriber = Subscriber::new(channels, bell.clone());
        for Hand { desk, .. } in feeding {
            let (ring, received) = spsc::ring(config.ring);
            let (lease_frames, spill_frames) = (config.lease_frames, config.spill_frames);
            let intake = Intake { ring, bell: bell.clone(), lease_frames, spill_frames };
            let (configs, seed) = (configs.clone(), self.seed());
            desk.enter();
            let asked = desk.ask(|reply| Command::Listen { configs, seed, intake, reply })?;
            // Where one refuses, those before it are left when the subscriber is dropped.
            let feed = asked.wait().map_err(|_| desk.epitaph())??;
            subscriber.add(desk.clone(), received, feed);
        }
        Ok(subscriber)
    }

    /// What the workers counted.
    pub fn stats(&self) -> Result<Vec<WorkerStats>, WorkerGone> {
        let count = |worker: &Hand| {
            let asked = worker.desk.ask(|reply| Command::Stats { reply })?;
            asked.wait().map_err(|_| worker.desk.epitaph())
        };
        self.workers.iter().map(count).collect()
    }

    /// Ends all sessions gracefully: what was committed leaves, and repairs are served for as long as each session lingers, but not longer
    /// than `at_most` in all. Then the workers stop.
    pub fn close(mut self, at_most: Duration) -> Vec<Ended> {
        self.stop(true, at_most)
    }

    /// Ends everything at once: receivers are told, but no repairs are served any more.
    pub fn shutdown(mut self) -> Vec<Ended> {
        self.stop(false, Duration::ZERO)
    }

    fn stop(&mut self, gracefully: bool, at_most: Duration) -> Vec<Ended> {
        let until = self.clock.now().plus(nanos(at_most));
        for worker in &self.workers {
            // One that is gone has stopped.
            let _ = worker.desk.post(Command::Stop { gracefully, until });
        }
        let last = Instant::now().checked_add(at_most.saturating_add(PATIENCE));
        let workers = core::mem::take(&mut self.workers);
        workers.into_iter().map(|worker| worker.end(last)).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let grace = self.grace;
        self.stop(false, grace);
    }
}

impl Hand {
    /// Waits for the thread, but not for ever.
    pub(super) fn end(self, last: Option<Instant>) -> Ended {
        let interface = self.desk.interface().to_string();
        let lost = |failure: &str| Ended { interface: interface.clone(), failure: Some(failure.into()), frames: None };
        let Some(thread) = self.thread else { return lost("it never ran") };
        while !thread.is_finished() {
            if last.is_some_and(|last| Instant::now() >= last) {
                tracing::error!(target: "pgmx::runtime", "the worker of {interface} does not come to its end");
                return lost("it does not come to its end");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        thread.join().unwrap_or_else(|_| lost("it panicked at its end"))
    }
}
