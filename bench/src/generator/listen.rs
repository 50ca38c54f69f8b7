//! Receiving what a generator on another host sends: the engine alone, nothing held back.
//!
//! Called by `pgmx bench receive --interface`. Guards: it ends, and what it says was lost the engine told as lost.

use std::time::{Duration, Instant};

use pgmx::time::Time;

use super::take::Taker;
use super::{Course, Engine};
use crate::netns::Port;

/// Looks into an empty ring between two looks at whether to stop.
const LOOKS: u32 = 256;

/// What came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// Packets delivered.
    pub packets: u64,
    /// Octets of their payloads.
    pub octets: u64,
    /// Packets lost.
    pub lost: u64,
    /// From the first to the last.
    pub seconds: f64,
}

/// Receives on an interface for `time` from the first packet on, which must come within `patience`.
///
/// # Errors
/// If no link can be had.
pub fn listen(
    interface: &str,
    course: &Course,
    patience: Duration,
    is_stopped: impl Fn() -> bool,
) -> Result<Heard, String> {
    let mut engine = Engine::open_any(&Port::on(interface), course)?;
    let (origin, mut begun, mut last) = (Instant::now(), None, Instant::now());
    let (mut packets, mut idle) = (0, 0_u32);
    loop {
        let now = Instant::now();
        let came = engine.take(Time::from_nanos(now.duration_since(origin).as_nanos() as u64))?;
        if came > 0 {
            packets += came;
            last = now;
            begun.get_or_insert(now);
        }
        let until = begun.map_or(origin + patience, |begun| begun + course.time);
        idle = idle.wrapping_add(1);
        if now >= until || (idle.is_multiple_of(LOOKS) && is_stopped()) {
            break;
        }
    }
    let (octets, lost) = engine.counted();
    Box::new(engine).close()?;
    let seconds = begun.map_or(0.0, |begun| last.duration_since(begun).as_secs_f64());
    Ok(Heard { packets, octets, lost, seconds })
}
