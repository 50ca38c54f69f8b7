//! The receiving side: one loop around whoever takes packets, the same for all, and what it measures.
//!
//! Called by the duel. Guards: one clock is read once a turn, for all alike, and what is counted as taken was read.

use std::time::{Duration, Instant};

use pgmx::time::Time;
use pgmx_ebpf::Ledger;

use super::feed::Round;
use crate::links::{PATIENCE, Watch};

/// When nothing came for so long after the end, nothing is on its way any more.
const QUIET: Duration = Duration::from_millis(30);
/// Looks into an empty ring between two looks at whether it is over.
const LOOKS: u32 = 256;

/// Takes packets, on one cable.
pub trait Taker {
    /// Takes what is there, at most a batch, and reads it; returns how many data packets that was.
    ///
    /// # Errors
    /// If it cannot.
    fn take(&mut self, now: Time) -> Result<u64, String>;

    /// What it took of what the interface offers.
    fn form(&self) -> String;

    /// Ends, and accounts for every frame.
    ///
    /// # Errors
    /// If one is missing.
    fn close(self: Box<Self>) -> Result<(), String>;
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// Packets sent.
    pub sent: u64,
    /// Packets taken.
    pub taken: u64,
    /// Packets taken in a second, from the first to the last.
    pub per_second: f64,
    /// Time that the receiver spent in turns that brought something, by the packet: what is left of its processor is how much more it
    /// could take.
    pub taker_ns: f64,
    /// Processor time that making, passing and steering a packet cost, the kernel's copy to the receiver included.
    pub feeder_ns: f64,
    /// The part of the time that both sides, whichever had less, had their processors to themselves; both never rest.
    pub attention: f64,
}

impl Taken {
    /// Packets that went missing.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.taken)
    }
}

/// Takes packets until the round is over and either all have come or nothing comes any more.
///
/// # Errors
/// If the taker fails, or the feeder does not end within `time` and twice the usual patience.
pub fn take(taker: &mut dyn Taker, origin: Instant, round: &Round, time: Duration) -> Result<Taken, String> {
    let Round { ledger, before, .. } = round;
    let ledger: &Ledger = ledger;
    let (begun, watch) = (Instant::now(), Watch::start());
    let bound = begun + time + 2 * PATIENCE;
    let (mut first, mut last, mut taken, mut idle) = (None, begun, 0, 0_u32);
    let (mut busy, mut busy_since) = (Duration::ZERO, None);
    loop {
        let now = Instant::now();
        if let Some(since) = busy_since.take() {
            busy += now - since;
        }
        let came = taker.take(Time::from_nanos(now.duration_since(origin).as_nanos() as u64))?;
        if came > 0 {
            taken += came;
            ledger.took(before + taken);
            (busy_since, last, idle) = (Some(now), now, 0);
            first.get_or_insert(now);
            continue;
        }
        idle = idle.wrapping_add(1);
        if !idle.is_multiple_of(LOOKS) {
            core::hint::spin_loop();
            continue;
        }
        let fed = round.fed();
        let is_over = fed.is_some_and(|fed| taken >= fed.sent || now.duration_since(last) > QUIET);
        if is_over || now > bound {
            break;
        }
    }
    let fed = round.fed().ok_or("the generator did not end in time")?;
    let seconds = last.duration_since(first.unwrap_or(begun)).as_secs_f64();
    let per_second = if seconds > 0.0 { taken as f64 / seconds } else { 0.0 };
    let (processor, wall) = watch.read();
    let share = |processor: Duration, wall: Duration| processor.as_secs_f64() / wall.as_secs_f64();
    Ok(Taken {
        sent: fed.sent,
        taken,
        per_second,
        taker_ns: busy.as_nanos() as f64 / taken.max(1) as f64,
        feeder_ns: fed.processor.as_nanos() as f64 / fed.sent.max(1) as f64,
        attention: share(fed.processor, fed.wall).min(share(processor, wall)),
    })
}
