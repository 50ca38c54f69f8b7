//! Timers, and a receiver: in order, across a gap, with packets missing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use pgmx::protocol::timers::Wheel;
use pgmx::time::Time;
use pgmx::wire::Sqn;
use pgmx::wire::build::DataType;
use pgmx_bench::memory::{BURST, Couple};
use pgmx_bench::missing::Fed;

/// What is missing when much is.
const MISSING: [u32; 3] = [1, 1000, 100_000];
/// Turns that a receiver is asked for what is missing: it gives up after some 50,000.
const TICKS: u64 = 20_000;
/// Bursts that it receives meanwhile: its window has room for 12,000.
const BURSTS: u64 = 8_000;

/// Times `work` in stretches of at most so many iterations, each on something new that is not timed.
fn in_stretches<T, R>(iterations: u64, most: u64, new: impl Fn() -> T, mut work: impl FnMut(&mut T) -> R) -> Duration {
    let (mut left, mut took) = (iterations, Duration::ZERO);
    while left > 0 {
        let now = left.min(most);
        let mut subject = new();
        let begun = Instant::now();
        for _ in 0..now {
            black_box(work(&mut subject));
        }
        took += begun.elapsed();
        left -= now;
    }
    took
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for armed in MISSING {
        let mut wheel = Wheel::new(armed + 1);
        // Spread over 10 ms, as repair timers are.
        let at = |key: u32| Time::from_nanos(1 + u64::from(key.wrapping_mul(2_654_435_761)) % 10_000_000);
        (0..armed).for_each(|key| wheel.arm(key, at(key)));
        group.bench_function(BenchmarkId::new("arm-cancel", armed), |bench| {
            bench.iter(|| {
                wheel.arm(armed, black_box(at(armed)));
                wheel.cancel(armed);
            });
        });
        let mut now = 0;
        group.bench_function(BenchmarkId::new("fire-arm", armed), |bench| {
            bench.iter(|| {
                now += 1024;
                let now = Time::from_nanos(now);
                // Each comes back 10 ms later: as many fire in a tick as are armed in a hundredth of a millisecond.
                while let Some(key) = wheel.pop(now) {
                    wheel.arm(key, now.plus(10_000_000));
                }
                wheel.next()
            });
        });
    }
    group.finish();
}

fn receiver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receiver");
    group.throughput(Throughput::Elements(BURST as u64));
    let fed = |missing| move || Fed::new(missing).expect("the engine takes it");
    group.bench_function("in-order", |bench| {
        bench.iter_custom(|iterations| in_stretches(iterations, BURSTS, fed(0), Fed::burst));
    });
    for missing in MISSING {
        group.bench_function(BenchmarkId::new("with-missing", missing), |bench| {
            bench.iter_custom(|iterations| in_stretches(iterations, BURSTS, fed(missing), Fed::burst));
        });
    }
    // The third of four is late, and comes as a repair after the NAK left.
    group.throughput(Throughput::Elements(4));
    group.bench_function("gap-nak-repair", |bench| {
        bench.iter_custom(|iterations| {
            in_stretches(iterations, 100_000, fed(0), |fed| {
                let first = fed.next().get();
                for sqn in [0, 1, 3] {
                    fed.give(DataType::Odata, Sqn::new(first + sqn));
                }
                let naks: usize = (0..4).map(|_| fed.tick()).sum();
                fed.give(DataType::Rdata, Sqn::new(first + 2));
                fed.tick();
                naks
            })
        });
    });
    group.finish();

    // A turn in which nothing comes: the timers run, and the NAKs that are due leave.
    let mut group = criterion.benchmark_group("naks");
    for missing in MISSING {
        group.bench_function(BenchmarkId::new("turn", missing), |bench| {
            bench.iter_custom(|iterations| in_stretches(iterations, TICKS, fed(missing), Fed::tick));
        });
    }
    group.finish();
}

fn endpoints(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory-link");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut couple = Couple::new(1, 4096).expect("the engine takes it");
    group.bench_function("both-ends", |bench| bench.iter(|| couple.turn()));
    group.finish();
}

pub(crate) fn all(criterion: &mut Criterion) {
    timers(criterion);
    receiver(criterion);
    endpoints(criterion);
}
