//! What threads hand each other, both ends in one: the instructions of it, without the way between two caches.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pgmx_bench::memory::BURST;

use crate::sync::spsc::ring;

pub(crate) fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    group.throughput(Throughput::Elements(BURST as u64));
    let (mut producer, mut consumer) = ring::<[u64; 4]>(1024);
    group.bench_function("spsc-push-pop", |bench| {
        bench.iter(|| {
            for item in 0..BURST as u64 {
                let pushed = producer.push(black_box([item; 4]));
                debug_assert!(pushed.is_ok(), "the ring was emptied");
            }
            while let Some(item) = consumer.pop() {
                black_box(item);
            }
        });
    });
    group.finish();
}
