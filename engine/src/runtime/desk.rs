//! Where the application leaves word for a worker, and learns that the worker is gone.
//!
//! ```text
//!   application ── post ──▶ commands (a lock, cold) ─┐
//!               ── knock ─▶ a flag ─────────────────┼─▶ worker: two loads an iteration
//!               ── ring ──▶ doorbell (if it sleeps) ─┘
//!   worker ── close(why) ──▶ gone
//! ```
//!
//! Guards: a command that was taken is answered, or its asker learns that the worker is gone; nobody waits for one that went before.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Close;
use super::error::{PublishError, WorkerGone};
use super::feed::{FeedId, FeedStats, Item};
use super::headway::Headway;
use super::shared::Queue;
use super::stats::WorkerStats;
use super::tsis::Port;
use crate::endpoint::{AddError, SourceId};
use crate::protocol::receiver::{ReceiverConfig, ReceiverStats};
use crate::protocol::source::{Publisher, SourceConfig, SourceStats};
use crate::sync::bell::{Bell, Doorbell};
use crate::sync::spsc::Producer;
use crate::time::Time;
use crate::wire::Sqn;

/// How long the last words of a worker are waited for that has dropped a question: it says them as soon as it has unwound.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where an answer goes. Dropped without one when the worker is gone.
pub(super) type Reply<T> = Sender<T>;

/// A session that a worker has taken on.
pub(super) struct Begun {
    pub(super) id: SourceId,
    /// Stays with the worker where many publish through a queue.
    pub(super) publisher: Option<Publisher>,
    pub(super) first: Sqn,
    /// How far it comes.
    pub(super) headway: Arc<Headway>,
    /// Octets of the longest message.
    pub(super) message_max: usize,
}

/// Where a subscriber's messages go, and how much of a worker's memory they may take.
pub(super) struct Intake {
    pub(super) ring: Producer<Item>,
    pub(super) bell: Arc<Bell>,
    /// Frames of the endpoint that it may hold.
    pub(super) lease_frames: u32,
    /// Frames for copies when it does.
    pub(super) spill_frames: u32,
}

/// What a worker is asked for.
pub(super) enum Command {
    /// A session, published into by one, or through a queue by many.
    Begin {
        config: Box<SourceConfig>,
        port: Port,
        seed: u64,
        queue: Option<Arc<Queue>>,
        reply: Reply<Result<Begun, AddError>>,
    },
    /// Channels for a subscriber.
    Listen { configs: Vec<ReceiverConfig>, seed: u64, intake: Intake, reply: Reply<Result<FeedId, AddError>> },
    /// No longer.
    Unlisten { feed: FeedId },
    /// The end of a session; the answer comes when it is over.
    Close { id: SourceId, how: Close, reply: Option<Reply<SourceStats>> },
    /// An answer as soon as everything before this sequence number has left; without one, everything that is in the queue now.
    Flush { id: SourceId, until: Option<Sqn>, reply: Reply<()> },
    /// What a session counted.
    SourceStats { id: SourceId, reply: Reply<SourceStats> },
    /// What a subscriber's part here counted.
    FeedStats { feed: FeedId, reply: Reply<(FeedStats, Vec<ReceiverStats>)> },
    /// What the worker counted.
    Stats { reply: Reply<WorkerStats> },
    /// The end, at the latest at this time; before it where all that has to be said was said.
    Stop { gracefully: bool, until: Time },
}

/// What one worker and the application share.
pub(super) struct Desk {
    interface: Arc<str>,
    /// `None` when nobody takes them any more.
    commands: Mutex<Option<VecDeque<Command>>>,
    /// Whether there are commands.
    pending: AtomicBool,
    /// Whether a publisher wants to be looked at. Apart from `pending`, because one that waits for room may knock with every try, and
    /// what it wants is not behind the lock.
    knocked: AtomicBool,
    /// Wakes the worker if it sleeps.
    doorbell: Doorbell,
    /// Whether it ever does.
    sleeps: bool,
    gone: OnceLock<WorkerGone>,
    /// Sessions and subscribers placed here.
    load: AtomicUsize,
}

impl Desk {
    pub(super) fn new(interface: Arc<str>, sleeps: bool) -> std::io::Result<Self> {
        Ok(Self {
            interface,
            commands: Mutex::new(Some(VecDeque::new())),
            pending: AtomicBool::new(false),
            knocked: AtomicBool::new(false),
            doorbell: Doorbell::new()?,
            sleeps,
            gone: OnceLock::new(),
            load: AtomicUsize::new(0),
        })
    }

    pub(super) fn interface(&self) -> &Arc<str> {
        &self.interface
    }

    /// Sessions and subscribers placed here.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Another one.
    pub(super) fn enter(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(super) fn leave(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// Why the worker is gone, if it is.
    #[inline]
    pub(super) fn gone(&self) -> Option<&WorkerGone> {
        self.gone.get()
    }

    /// Says that there is something new to send. Costs next to nothing where the worker is awake, and nothing where it never sleeps.
    #[inline]
    pub(super) fn ring(&self) {
        if self.sleeps {
            self.doorbell.ring();
        }
    }

    /// Makes the worker look once more at what its publishers want.
    #[cold]
    pub(super) fn knock(&self) {
        self.knocked.store(true, Ordering::Release);
        self.ring();
    }

    /// Leaves a command.
    pub(super) fn post(&self, command: Command) -> Result<(), WorkerGone> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = commands.as_mut() else { return Err(self.epitaph()) };
        queue.push_back(command);
        drop(commands);
        self.pending.store(true, Ordering::Release);
        self.ring();
        Ok(())
    }

    /// Leaves a command; its answer can be waited for.
    pub(super) fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<Asked<'_, T>, WorkerGone> {
        let (reply, answer) = channel();
        self.post(command(reply))?;
        Ok(Asked { desk: self, answer })
    }

    fn unanswered(&self) -> Unanswered {
        self.gone().cloned().map_or(Unanswered::Over, Unanswered::Gone)
    }

    /// Why the worker is gone, for who knows that it is.
    #[cold]
    pub(super) fn epitaph(&self) -> WorkerGone {
        // A worker that panics drops what it was asked before it can say why.
        let begun = Instant::now();
        while self.gone().is_none() && begun.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_micros(100));
        }
        self.gone.get().cloned().unwrap_or_else(|| self.because("it ended without a word"))
    }

    fn because(&self, reason: &str) -> WorkerGone {
        WorkerGone { interface: self.interface.clone(), reason: reason.into() }
    }

    /// Tells a worker to stop that nobody has seen yet.
    pub(super) fn stop_at_once(&self) {
        let _ = self.post(Command::Stop { gracefully: false, until: Time::ZERO });
    }

    // What follows is the worker's.

    /// Whether somebody knocked, which this call takes note of.
    #[inline]
    pub(super) fn take_knock(&self) -> bool {
        take(&self.knocked)
    }

    /// Whether there are commands, which this call takes note of.
    #[inline]
    pub(super) fn take_pending(&self) -> bool {
        take(&self.pending)
    }

    /// Whether there is something to look at.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) || self.knocked.load(Ordering::Acquire)
    }

    /// The oldest command.
    pub(super) fn next(&self) -> Option<Command> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.pop_front()
    }

    pub(super) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// The worker is gone. Whoever asked something and got no answer learns why.
    pub(super) fn close(&self, reason: &str) {
        let _ = self.gone.set(self.because(reason));
        let left = self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Outside of the lock: what a command carries may do anything when it is dropped.
        drop(left);
    }
}

/// Takes a flag down that the worker looks at once an iteration: a plain load while it is not up.
#[inline]
fn take(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Acquire)
}

/// An answer that is on its way.
pub(super) struct Asked<'d, T> {
    desk: &'d Desk,
    answer: Receiver<T>,
}

impl<T> Asked<'_, T> {
    /// Waits for it.
    pub(super) fn wait(self) -> Result<T, Unanswered> {
        self.answer.recv().map_err(|_| self.desk.unanswered())
    }

    /// Waits no longer than until `until`, if there is such a time: `None` if it did not come.
    pub(super) fn wait_until(self, until: Option<Instant>) -> Result<Option<T>, Unanswered> {
        let Some(until) = until else { return self.wait().map(Some) };
        match self.answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.desk.unanswered()),
        }
    }
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// What was asked about is over.
    Over,
    /// So is the worker.
    Gone(WorkerGone),
}

impl From<WorkerGone> for Unanswered {
    fn from(gone: WorkerGone) -> Self {
        Self::Gone(gone)
    }
}

impl From<Unanswered> for PublishError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Over => Self::Closed,
            Unanswered::Gone(gone) => gone.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_that_knocks_with_every_try_sends_the_worker_through_no_lock() {
        let desk = Desk::new("eth0".into(), false).expect("a descriptor");
        desk.knock();
        assert!(desk.is_pending() && !desk.take_pending(), "no command, so that nobody looks for one behind the lock");
        assert!(desk.take_knock() && !desk.is_pending());
        let _asked = desk.ask(|reply| Command::Stats { reply }).expect("it is open");
        assert!(!desk.take_knock() && desk.take_pending() && desk.next().is_some());
    }

    #[test]
    fn who_learns_of_the_end_by_a_missing_answer_still_learns_the_reason() {
        let desk = Arc::new(Desk::new("eth0".into(), false).expect("a descriptor"));
        let asked = desk.ask(|reply| Command::Stats { reply }).expect("it is open");
        // A worker that panics drops what it was asked before anybody can say why.
        drop(desk.next());
        assert!(asked.wait().is_err());
        let worker = desk.clone();
        let closing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            worker.close("it panicked: a fault of ours");
        });
        assert_eq!(&*desk.epitaph().reason, "it panicked: a fault of ours");
        closing.join().expect("no panic");
    }
}
