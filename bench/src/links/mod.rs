//! The links side by side: what frames, window and a link cost on top of bare `AF_XDP` rings, and what each link moves.
//!
//! [`bare`] posts the same descriptors again and again and reads what arrives: as fast as this kernel and this machine go. [`engine`]
//! claims, writes, commits, lends, checks sums and order, over whichever link. [`mmsg`] is what sockets give to whoever asks for many packets at
//! a call, and nothing else. All move the same PGM packets, each over a cable of its
//! own between the same two hosts, in turns.

pub mod bare;
pub mod engine;
pub mod mmsg;
pub(crate) mod rings;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use crate::watch::Watch;

/// The group that packets go to.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// The session's source port, and its data port.
pub const SOURCE_PORT: u16 = 7400;
/// See [`SOURCE_PORT`].
pub const DATA_PORT: u16 = 7500;
/// Octets in front of a payload: Ethernet, IPv4, PGM.
pub const HEADERS: usize = 14 + 20 + 24;

/// How long a side waits for what should come at once, on a machine that may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What all contestants are given.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Octets of payload.
    pub payload: usize,
    /// Frames that a sender goes round: the slots of the window.
    pub frames: u32,
    /// Packets a sender hands to the kernel at a time.
    pub budget: u32,
    /// Entries of each ring.
    pub ring: u32,
    /// How long a sender sends.
    pub time: Duration,
}

/// Who is measured, on one host and one cable.
pub trait Contestant {
    /// Sends for the time of the workload, then waits (boundedly) until all have left.
    fn send(&mut self, workload: &Workload, run: &Run) -> Result<(), String>;

    /// Receives until the run is over. Fails on what was not sent.
    fn receive(&mut self, workload: &Workload, run: &Run) -> Result<Outcome, String>;

    /// What it took of what the interface offers.
    fn form(&self) -> String;

    /// Ends, and accounts for every frame.
    fn close(self: Box<Self>) -> Result<(), String>;
}

/// What one side says the other while both run.
#[derive(Debug, Default)]
pub struct Run {
    sent: AtomicU64,
    processor_ns: AtomicU64,
    wall_ns: AtomicU64,
    finished: AtomicBool,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets received in a second, from the first to the last.
    pub per_second: f64,
    /// Processor time that the sender took for a packet, the kernel's part included.
    pub sender_ns: f64,
    /// The part of the time that sender and receiver, whichever had less, had their processors to themselves; both never rest.
    pub attention: f64,
}

impl Outcome {
    /// Packets that went missing.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

impl Run {
    /// The sender is done, having watched the clocks since it began.
    pub fn finish(&self, sent: u64, watch: Watch) {
        let (processor, wall) = watch.read();
        self.processor_ns.store(processor.as_nanos() as u64, Ordering::Relaxed);
        self.wall_ns.store(wall.as_nanos() as u64, Ordering::Relaxed);
        self.sent.store(sent, Ordering::Relaxed);
        self.finished.store(true, Ordering::Release);
    }

    /// Calls `receive`, which returns how many packets it took, until all have come: the sender is done and either nothing is
    /// missing or nothing came for a while. Bounded by the time of the workload and twice [`PATIENCE`].
    pub fn collect(
        &self,
        workload: &Workload,
        mut receive: impl FnMut() -> Result<u64, String>,
    ) -> Result<Outcome, String> {
        const QUIET: Duration = Duration::from_millis(30);
        let (begun, watch) = (Instant::now(), Watch::start());
        let bound = begun + workload.time + 2 * PATIENCE;
        let (mut first, mut last, mut received, mut idle) = (None, begun, 0, 0_u32);
        loop {
            let came = receive()?;
            if came > 0 {
                received += came;
                // A clock is read once a batch, and only while packets come: it is in all contestants.
                last = Instant::now();
                first.get_or_insert(last);
                idle = 0;
                continue;
            }
            idle += 1;
            if idle & 0xff != 0 {
                core::hint::spin_loop();
                continue;
            }
            let now = Instant::now();
            let finished = self.finished.load(Ordering::Acquire);
            let all = finished && received == self.sent.load(Ordering::Relaxed);
            if all || finished && now.duration_since(last) > QUIET || now > bound {
                break;
            }
        }
        if !self.finished.load(Ordering::Acquire) {
            return Err("the sender did not end in time".into());
        }
        let seconds = last.duration_since(first.unwrap_or(begun)).as_secs_f64();
        let per_second = if seconds > 0.0 { received as f64 / seconds } else { 0.0 };
        let sent = self.sent.load(Ordering::Relaxed);
        let (processor, wall) = watch.read();
        let (sender_processor, sender_wall) =
            (self.processor_ns.load(Ordering::Relaxed) as f64, self.wall_ns.load(Ordering::Relaxed) as f64);
        let attention = (sender_processor / sender_wall).min(processor.as_secs_f64() / wall.as_secs_f64());
        Ok(Outcome { sent, received, per_second, sender_ns: sender_processor / sent.max(1) as f64, attention })
    }
}

/// Reads every octet of a payload, as an application would.
#[inline]
pub fn read(payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let words = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, octet| sum.wrapping_add(u64::from(*octet)))
}
