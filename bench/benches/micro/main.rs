//! Micro-benchmarks: what each mechanism costs by itself. `cargo xtask bench micro [FILTER]`.
//!
//! ```text
//!   wire       parse and build of each packet type, checksum by size
//!   frame      frame pool, window publish and commit
//!   protocol   timers; a receiver in order, across a gap, with packets missing; NAK scheduling
//!   threads    hand-off from thread to thread, both ends in one
//! ```
//!
//! One core, no kernel, virtual time. Figures of one machine are comparable with each other and with nothing else. Half a second each, so
//! that the whole set is over in less than a minute: who wants narrower intervals says `--measurement-time 5`.

#![allow(missing_docs)] // a program's modules have no readers outside of it

mod frame;
mod protocol;
mod threads;
mod wire;

// The ring between threads is private to the engine: measured from its source, which looks for its neighbours here.
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../../../engine/src/sync/mod.rs"]
mod sync;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(20)
        .configure_from_args();
    wire::all(&mut criterion);
    frame::all(&mut criterion);
    protocol::all(&mut criterion);
    threads::all(&mut criterion);
    criterion.final_summary();
}
