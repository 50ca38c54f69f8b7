//! One thread's loop around one endpoint.
//!
//! ```text
//!   clock ─▶ commands ─▶ frames that came home ─▶ shared publishers ─▶ Endpoint::poll ─▶ who got something, whose window moved ─▶ idle
//! ```
//!
//! Runs on its own thread until it is told to stop, its link fails, or it panics. Guards: a worker never ends in silence: whoever waits
//! for it is woken and told why; it sleeps only after it has said so, looked once more, and found nothing.

use core::any::Any;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Close;
use super::clock::Clock;
use super::desk::{Begun, Command, Desk, Intake, Reply};
use super::engine::Ended;
use super::feed::{Feed, FeedId, Post};
use super::headway::Headway;
use super::idle::{Idle, Idler, Rest};
use super::shared::{Drain, Queue};
use super::stats::WorkerStats;
use super::tsis::Port;
use crate::endpoint::{AddError, Endpoint, SourceId};
use crate::frame::{Census, Layout, Pool};
use crate::link::{Link, LinkError, fine_timers};
use crate::protocol::LossCause;
use crate::protocol::config::ConfigError;
use crate::protocol::receiver::ReceiverConfig;
use crate::protocol::source::{Source, SourceConfig, SourceState, SourceStats};
use crate::time::{Time, nanos};
use crate::wire::Sqn;

/// The longest sleep. Nothing depends on it: whatever comes, or is asked for, ends a sleep; ten looks a second cost nothing and
/// put a bound on what nobody has thought of.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// The longest sleep while something waits for room that nobody will tell of: in a ring that its subscriber empties, in a pool to which
/// leases come home.
const SHORT_SLEEP: Duration = Duration::from_millis(1);
/// How long a worker that stops waits at the most until the rate lets it say that a session was aborted: many times what the slowest
/// profile needs for one packet.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What a worker begins with.
pub(super) struct Setup {
    pub(super) desk: Arc<Desk>,
    pub(super) clock: Clock,
    pub(super) idle: Idle,
}

/// A session that this worker runs.
struct Running {
    id: SourceId,
    /// Goes back when the session is over.
    _port: Port,
    /// What its publisher is told.
    headway: Arc<Headway>,
    /// Where trail and lead were last seen.
    trail: Sqn,
    lead: Sqn,
    /// The worker's end of the queue, where many publish.
    drain: Option<Drain>,
    /// It is to be closed, as soon as the queue is empty.
    closing: bool,
    /// Its publisher gave it up, with all that had not left.
    abandoned: bool,
    /// The worker stops without it: nobody asked for its end, or it took too long. How many SPMs had left when it was aborted.
    left: Option<u64>,
    /// Who wants to know when it is over.
    mourners: Vec<Reply<SourceStats>>,
    flushes: Vec<Flush>,
}

impl Running {
    /// Nothing more can be published: whoever waits for room learns that.
    #[cold]
    fn tell_closed(&self) {
        self.headway.bell.ring();
        if let Some(drain) = &self.drain {
            drain.close();
        }
    }
}

/// Somebody who wants to know when messages have left.
struct Flush {
    /// Everything before this sequence number; where many publish, not known before their messages are in the window.
    until: Option<Sqn>,
    /// Where they end in the queue.
    end: u64,
    reply: Reply<()>,
}

/// How it was told to stop.
struct Stop {
    until: Time,
    /// The time is over, and what was not done by then has been given up.
    gave_up: bool,
}

/// A thread's state.
pub(super) struct Worker<L> {
    endpoint: Endpoint<L>,
    post: Post,
    /// One for each source of the endpoint, in the same order: see [`sessions`].
    running: Vec<Running>,
    desk: Arc<Desk>,
    clock: Clock,
    idler: Idler,
    stop: Option<Stop>,
    /// Frames that all receivers that were ever added may hold out of order.
    held_max: u64,
    iterations: u64,
    sleeps: u64,
}

impl<L: Link> Worker<L> {
    pub(super) fn new(endpoint: Endpoint<L>, setup: Setup) -> Self {
        let Setup { desk, clock, idle } = setup;
        Self {
            endpoint,
            post: Post::default(),
            running: Vec::new(),
            desk,
            clock,
            idler: Idler::new(idle),
            stop: None,
            held_max: 0,
            iterations: 0,
            sleeps: 0,
        }
    }

    /// Works until it is told to stop and all is said, or the link fails.
    fn run(&mut self) -> Result<(), LinkError> {
        loop {
            let now = self.clock.now();
            self.iterations += 1;
            // A knock is work: a publisher wants to be looked at.
            let mut worked = usize::from(self.desk.take_knock());
            if self.desk.take_pending() {
                worked += self.obey(now);
            }
            worked += self.endpoint.pool_mut().collect();
            worked += self.endpoint.poll(now, self.post.at(now))?;
            worked += self.look_after(now);
            let waits = self.post.ring();
            if self.stop.is_some() && self.is_finished(now) {
                return Ok(());
            }
            if worked > 0 {
                self.idler.reset();
            } else {
                self.rest(now, waits)?;
            }
        }
    }

    /// What a poll leaves to be done for sessions and subscribers.
    #[inline]
    fn look_after(&mut self, now: Time) -> usize {
        let mut worked = 0;
        let (mut over, mut flushing) = (None, false);
        for (at, (running, source)) in sessions(&mut self.running, &mut self.endpoint).enumerate() {
            if let Some(drain) = &mut running.drain {
                worked += drain.run();
            }
            let (trail, lead) = source.window();
            if trail != running.trail {
                running.trail = trail;
                running.headway.bell.ring();
                // A queue that found no room may find it now.
                worked += 1;
            }
            if lead != running.lead {
                running.lead = lead;
                running.headway.set_lead(lead);
            }
            if source.is_final() {
                running.headway.finish();
            }
            flushing |= !running.flushes.is_empty();
            if running.closing && running.drain.as_ref().is_none_or(Drain::is_empty) {
                running.closing = false;
                source.close(now);
                running.tell_closed();
                worked += 1;
            }
            if source.state() == SourceState::Done {
                over = Some(at);
            }
        }
        if flushing {
            self.settle_flushes();
        }
        if let Some(at) = over {
            self.bury(at);
            worked += 1;
        }
        while let Some((receiver, tsi)) = self.post.take_reset() {
            self.endpoint.reset_session(receiver, tsi, LossCause::SlowConsumer, &mut self.post);
            self.post.was_reset(receiver, tsi);
            worked += 1;
        }
        worked
    }

    /// Answers those who wait for messages to leave, as far as they have, or never will.
    #[cold]
    fn settle_flushes(&mut self) {
        // What the link has no room for is not out yet.
        let is_full = self.endpoint.deadline() == Some(Time::ZERO);
        for (running, source) in sessions(&mut self.running, &mut self.endpoint) {
            let Running { flushes, drain, lead, .. } = running;
            for flush in flushes.iter_mut().filter(|flush| flush.until.is_none()) {
                flush.until = drain.as_ref().and_then(|drain| drain.sqn_after(flush.end));
            }
            flushes.retain(|Flush { until, reply, .. }| {
                // The packet before `until` is not after the lead: it was handed to the link, which has room left: it has left.
                let left = until.is_some_and(|until| !until.prev().is_after(*lead));
                if left && !is_full {
                    let _ = reply.send(());
                }
                // Dropped without an answer, it tells its asker that the session is closed.
                let never = !left && until.is_some() && source.is_final();
                !(left && !is_full || never)
            });
        }
    }

    /// A session is over: its memory comes back, and who waited for that learns what it counted.
    #[cold]
    fn bury(&mut self, at: usize) {
        // In order: see `sessions`.
        let running = self.running.remove(at);
        let source = self.endpoint.source(running.id);
        let (stats, is_cut) = source.map(|source| (*source.stats(), source.is_cut())).unwrap_or_default();
        self.endpoint.remove_source(running.id);
        self.desk.leave();
        running.tell_closed();
        // Whoever still waits for a flush learns that the session is closed; so does who asked for a graceful end and committed
        // something when there was no more room for it.
        if running.abandoned || !is_cut {
            for mourner in running.mourners {
                let _ = mourner.send(stats);
            }
        }
    }

    /// Nothing happened in this turn.
    fn rest(&mut self, now: Time, waits: bool) -> Result<(), LinkError> {
        match self.idler.rest(now) {
            Rest::Spin => {
                core::hint::spin_loop();
                Ok(())
            }
            Rest::Yield => {
                std::thread::yield_now();
                Ok(())
            }
            Rest::Nap(nap) => {
                let due = self.endpoint.deadline().map_or(u64::MAX, |at| at.since(self.clock.now()));
                if self.is_quiet() {
                    std::thread::sleep(nap.min(Duration::from_nanos(due)));
                }
                Ok(())
            }
            Rest::Block => self.sleep(waits),
        }
    }

    #[cold]
    fn sleep(&mut self, waits: bool) -> Result<(), LinkError> {
        let short = waits || self.stop.is_some() || self.endpoint.pool().spare() == 0;
        let at_most = if short { SHORT_SLEEP } else { LONGEST_SLEEP };
        let mut slept = Ok(());
        let (desk, endpoint) = (&self.desk, &self.endpoint);
        self.sleeps += 1;
        desk.doorbell().sleep(|| self.is_quiet(), |wire| slept = endpoint.wait(self.clock.now(), at_most, Some(wire)));
        slept
    }

    /// Whether nobody wants anything that a poll would not find by itself.
    fn is_quiet(&self) -> bool {
        let is_quiet = |running: &Running| match &running.drain {
            Some(drain) => drain.is_quiet() && !(running.closing && drain.is_empty()),
            None => true,
        };
        !self.desk.is_pending() && !self.endpoint.has_news() && self.running.iter().all(is_quiet)
    }

    /// Takes the commands.
    #[cold]
    fn obey(&mut self, now: Time) -> usize {
        let mut taken = 0;
        while let Some(command) = self.desk.next() {
            taken += 1;
            self.take(now, command);
        }
        taken
    }

    fn take(&mut self, now: Time, command: Command) {
        // Who asked may have gone: an answer that nobody takes is dropped.
        match command {
            Command::Begin { config, port, seed, queue, reply } => {
                let _ = reply.send(self.begin(now, &config, port, seed, queue));
            }
            Command::Listen { configs, seed, intake, reply } => {
                let _ = reply.send(self.listen(&configs, seed, intake));
            }
            Command::Unlisten { feed } => self.unlisten(feed),
            Command::Close { id, how, reply } => self.close(now, id, how, reply),
            Command::Flush { id, until, reply } => {
                if let Some(running) = self.running.iter_mut().find(|running| running.id == id) {
                    let end = running.drain.as_ref().map_or(0, Drain::end);
                    running.flushes.push(Flush { until, end, reply });
                }
            }
            Command::SourceStats { id, reply } => {
                if let Some(source) = self.endpoint.source(id) {
                    let _ = reply.send(*source.stats());
                }
            }
            Command::FeedStats { feed, reply } => {
                if let Some(stats) = self.post.feed(feed).map(Feed::stats) {
                    let receivers = self.post.receivers(feed);
                    let receivers = receivers.iter().filter_map(|id| self.endpoint.receiver(*id));
                    let _ = reply.send((stats, receivers.map(|receiver| *receiver.stats()).collect()));
                }
            }
            Command::Stats { reply } => {
                let _ = reply.send(WorkerStats {
                    interface: self.desk.interface().to_string(),
                    endpoint: self.endpoint.stats().clone(),
                    frames: self.endpoint.pool().census(),
                    sessions: self.running.len(),
                    iterations: self.iterations,
                    sleeps: self.sleeps,
                });
            }
            Command::Stop { gracefully, until } => self.begin_to_stop(now, gracefully, until),
        }
    }

    fn begin(
        &mut self,
        now: Time,
        config: &SourceConfig,
        port: Port,
        seed: u64,
        queue: Option<Arc<Queue>>,
    ) -> Result<Begun, AddError> {
        // The window comes first: what is kept for reordering is measured anew with what it leaves.
        self.endpoint.pool_mut().set_reorder_reserve(0);
        let added = self.endpoint.add_source(config, port.tsi(), now, seed);
        self.keep_reserve();
        let (id, publisher) = added?;
        let first = publisher.next_sqn();
        let headway = Arc::new(Headway::new(first));
        let message_max = publisher.message_max();
        let (publisher, drain) = match queue {
            None => (Some(publisher), None),
            Some(queue) => (None, Some(Drain::new(publisher, queue))),
        };
        self.running.push(Running {
            id,
            _port: port,
            headway: headway.clone(),
            trail: first,
            lead: first.prev(),
            drain,
            closing: false,
            abandoned: false,
            left: None,
            mourners: Vec::new(),
            flushes: Vec::new(),
        });
        Ok(Begun { id, publisher, first, headway, message_max })
    }

    fn listen(&mut self, configs: &[ReceiverConfig], seed: u64, intake: Intake) -> Result<FeedId, AddError> {
        let Intake { ring, bell, lease_frames, spill_frames } = intake;
        let pool = self.endpoint.pool_mut();
        // Copies begin where their frame does: nothing is ever put in front of them.
        let layout = Layout { frames: spill_frames, start: 0, ..pool.layout() };
        let mut spill = Pool::anonymous(layout)
            .map_err(|error| ConfigError::new("spill_frames", spill_frames, format_args!("{error}")))?;
        // Made now, so that no message has to wait for it.
        let (_, _) = (pool.leases(), spill.leases());
        let quota = pool.add_quota(lease_frames);
        let feed = self.post.add(Feed::new(ring, bell, quota, spill));
        self.held_max += configs.iter().map(|config| u64::from(config.held_max)).sum::<u64>();
        self.keep_reserve();
        for (channel, config) in (0..).zip(configs) {
            // Another seed for each: they draw their back-offs by themselves.
            match self.endpoint.add_receiver(config, seed.wrapping_add(u64::from(channel))) {
                Ok(receiver) => self.post.lead(receiver, feed, channel, config.on_loss),
                Err(error) => {
                    self.unlisten(feed);
                    return Err(error);
                }
            }
        }
        Ok(feed)
    }

    /// Keeps frames for what receivers hold out of order, so that subscribers cannot starve repair: all they may hold, or a quarter of
    /// what is not in windows where that is less.
    fn keep_reserve(&mut self) {
        let pool = self.endpoint.pool_mut();
        let census = pool.census();
        let quarter = (census.total - census.slots - census.lent) / 4;
        pool.set_reorder_reserve(quarter.min(u32::try_from(self.held_max).unwrap_or(u32::MAX)));
    }

    fn unlisten(&mut self, feed: FeedId) {
        for receiver in self.post.receivers(feed) {
            self.endpoint.remove_receiver(receiver, &mut self.post);
        }
        if let Some(feed) = self.post.remove(feed) {
            self.endpoint.pool_mut().remove_quota(feed.into_quota());
            self.desk.leave();
        }
    }

    fn close(&mut self, now: Time, id: SourceId, how: Close, reply: Option<Reply<SourceStats>>) {
        let Some(running) = self.running.iter_mut().find(|running| running.id == id) else { return };
        running.mourners.extend(reply);
        match how {
            Close::Graceful => {
                running.closing = true;
                // The queue takes nothing from now on; the window closes when it is empty.
                running.tell_closed();
            }
            Close::Abort(code) => {
                (running.closing, running.abandoned) = (false, true);
                if let Some(source) = self.endpoint.source_mut(id) {
                    source.abort(now, code);
                }
                // What they wait for will never leave.
                running.flushes.clear();
                running.tell_closed();
            }
        }
    }

    fn begin_to_stop(&mut self, now: Time, gracefully: bool, until: Time) {
        for (running, source) in sessions(&mut self.running, &mut self.endpoint) {
            if gracefully {
                running.closing |= source.state() == SourceState::Open;
                running.tell_closed();
            } else if source.state() == SourceState::Open && !running.closing {
                running.left = Some(source.stats().spms);
                source.abort(now, 0);
                running.tell_closed();
            }
        }
        self.stop = Some(Stop { until, gave_up: false });
    }

    /// Whether nothing is left to be said, or no time to say it.
    #[cold]
    fn is_finished(&mut self, now: Time) -> bool {
        let Some(stop) = &mut self.stop else { return false };
        let is_late = now >= stop.until;
        if is_late && !stop.gave_up {
            stop.gave_up = true;
            // Sessions that serve repairs have said their end. The others say now that there is no more.
            for (running, source) in sessions(&mut self.running, &mut self.endpoint) {
                if running.left.is_none() && matches!(source.state(), SourceState::Open | SourceState::Draining) {
                    running.left = Some(source.stats().spms);
                    source.abort(now, 0);
                }
            }
        }
        if now >= stop.until.plus(nanos(LAST_WORDS)) {
            return true;
        }
        // Receivers of a session that was left are told by the next SPM, which the rate may hold back; one that was closed serves repairs
        // as long as there is time.
        self.endpoint.deadline() != Some(Time::ZERO)
            && sessions(&mut self.running, &mut self.endpoint)
                .all(|(running, source)| running.left.map_or(is_late, |before| source.stats().spms != before))
    }

    /// Ends everything, and gives back all that is not in the hands of the application. Says where the frames are.
    fn wind_up(&mut self) -> Census {
        self.endpoint.shut_down(&mut self.post);
        self.post.ring();
        let pool = self.endpoint.pool_mut();
        pool.collect();
        pool.census()
    }

    /// Lets go of everything that somebody waits at, who then looks why.
    fn farewell(self) {
        let Self { endpoint, post, running, .. } = self;
        // A waker is foreign code: where one panics, the others are still to be woken.
        let tell = |ring: &dyn Fn()| drop(catch_unwind(AssertUnwindSafe(ring)));
        post.into_bells().for_each(|bell| tell(&|| bell.ring()));
        for running in &running {
            tell(&|| running.tell_closed());
        }
        // Who asked something of a session is told with this.
        drop(running);
        drop(endpoint);
    }
}

/// Every session with its source, without a search: sessions begin and end in the endpoint and here together, so that the order is the
/// same.
fn sessions<'w, L: Link>(
    running: &'w mut [Running],
    endpoint: &'w mut Endpoint<L>,
) -> impl Iterator<Item = (&'w mut Running, &'w mut Source)> {
    running.iter_mut().zip(endpoint.sources_mut()).map(|(running, (id, source))| {
        assert!(running.id == id, "a session that is not where its source is");
        (running, source)
    })
}

/// The life of a thread: to work, and to end so that everybody knows.
pub(super) fn work<L: Link>(mut worker: Worker<L>) -> Ended {
    fine_timers();
    let interface = worker.desk.interface().to_string();
    let outcome = catch_unwind(AssertUnwindSafe(|| worker.run()));
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(format!("it panicked: {}", said(&*panic))),
    };
    // First of all: nobody shall begin to wait for it, however the rest goes.
    let reason = failure.as_deref().unwrap_or("the engine was shut down");
    worker.desk.close(reason);
    if let Some(failure) = &failure {
        tracing::error!(target: "pgmx::runtime", "the worker of {interface} is gone: {failure}");
    }
    // After a panic nothing is certain but this: the link is shut down or dropped, and so lets go of the interface.
    let frames = catch_unwind(AssertUnwindSafe(|| worker.wind_up())).ok();
    let _ = catch_unwind(AssertUnwindSafe(|| worker.farewell()));
    Ended { interface, failure, frames }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
