//! The generator's side: a thread that keeps the kernel making packets, with an SPM now and then.
//!
//! Called by the duel, and by `pgmx bench generate`. Guards: it ends in time and when it is asked to, and says what it took.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgmx_ebpf::{Generator, GeneratorConfig, Ledger};

use super::frame::Speaker;
use super::{Course, words};
use crate::links::Watch;

/// Packets that the sessions keep, as they say.
const WINDOW: u32 = 65_536;
/// What a time that the program runs is taken to cost before the kernel said: a packet that is made, steered and copied.
const TIME_NS: u32 = 400;
/// Times that it runs in a call, at least and at most. A call waits for milliseconds by itself, so that a few long ones are made; none is
/// longer than somebody who stops it would wait.
const TURN: RangeInclusive<u64> = 1024..=1 << 28;
const TURN_MAX: Duration = Duration::from_millis(500);
/// Between SPMs: as often as a source of the `lan` profile sends them while data flows.
const SPM_EVERY: Duration = Duration::from_millis(100);

/// Keeps a generator running.
#[derive(Debug)]
pub struct Feeder {
    generator: Generator,
    speaker: Speaker,
    spms: u32,
    /// What a time of the last turn took.
    time_ns: u32,
}

/// What a round of feeding came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fed {
    /// Packets sent.
    pub sent: u64,
    /// Processor time.
    pub processor: Duration,
    /// Time.
    pub wall: Duration,
}

impl Feeder {
    /// A generator towards this interface of the calling thread's network namespace, for rounds of such a course.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open(interface: u32, speaker: Speaker, course: &Course) -> Result<Self, String> {
        let Course { payload, ahead, batch, packets_per_s, .. } = *course;
        let config = GeneratorConfig { interface, window: WINDOW, ahead, packets_per_s, batch };
        let generator = Generator::load(&config, speaker.data(payload)?).map_err(words("the generator"))?;
        Ok(Self { generator, speaker, spms: 0, time_ns: TIME_NS })
    }

    /// The counters.
    pub fn ledger(&self) -> &Ledger {
        self.generator.ledger()
    }

    /// From now on packets have so many octets of payload, and none of them is on its way: what was is lost.
    ///
    /// # Errors
    /// If no packet can.
    pub fn prepare(&mut self, payload: usize) -> Result<(), String> {
        self.generator.set_template(self.speaker.data(payload)?).map_err(words("the generator"))?;
        self.ledger().settle();
        Ok(())
    }

    /// Makes packets for so long, or until it is asked to stop.
    ///
    /// # Errors
    /// If the kernel will not.
    pub fn feed(&mut self, time: Duration, is_stopped: impl Fn() -> bool) -> Result<Fed, String> {
        let before = self.ledger().sent();
        let watch = Watch::start();
        let (begun, mut spm_at) = (Instant::now(), None);
        self.generator.begin();
        loop {
            let left = time.saturating_sub(begun.elapsed()).min(TURN_MAX);
            let times = (left.as_nanos() as u64 / u64::from(self.time_ns)).clamp(*TURN.start(), *TURN.end());
            let took = self.generator.turn(times as u32).map_err(words("the generator"))?;
            self.time_ns = took.map_or(self.time_ns, NonZeroU32::get);
            let now = Instant::now();
            let sent = self.ledger().sent();
            if spm_at.is_none_or(|at| now > at) && sent > 0 {
                spm_at = Some(now + SPM_EVERY);
                let spm = self.speaker.spm(self.spms, sent, WINDOW)?;
                self.spms = self.spms.wrapping_add(1);
                self.generator.send(&spm).map_err(words("an SPM"))?;
            }
            if now.duration_since(begun) >= time || is_stopped() {
                break;
            }
        }
        let (processor, wall) = watch.read();
        Ok(Fed { sent: self.ledger().sent() - before, processor, wall })
    }
}

/// What the feeding thread says the taking one, for a round.
#[derive(Debug)]
pub struct Round {
    /// The counters.
    pub ledger: Ledger,
    /// What was taken before.
    pub before: u64,
    sent: AtomicU64,
    processor_ns: AtomicU64,
    wall_ns: AtomicU64,
}

impl Round {
    const RUNNING: u64 = u64::MAX;

    /// A round that begins now, with nothing on its way.
    pub fn new(ledger: Ledger) -> Self {
        let (before, zero) = (ledger.sent(), || AtomicU64::new(0));
        Self { ledger, before, sent: AtomicU64::new(Self::RUNNING), processor_ns: zero(), wall_ns: zero() }
    }

    /// No more packets come.
    pub fn finish(&self, fed: &Fed) {
        self.processor_ns.store(fed.processor.as_nanos() as u64, Ordering::Relaxed);
        self.wall_ns.store(fed.wall.as_nanos() as u64, Ordering::Relaxed);
        self.sent.store(fed.sent, Ordering::Release);
    }

    /// What was fed, once it is over.
    pub fn fed(&self) -> Option<Fed> {
        let sent = self.sent.load(Ordering::Acquire);
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        (sent != Self::RUNNING).then(|| Fed { sent, processor: time(&self.processor_ns), wall: time(&self.wall_ns) })
    }
}
