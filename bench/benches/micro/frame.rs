//! Frames and window slots, a burst at a time.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pgmx::frame::{Layout, Pool, SlotLayout, window};
use pgmx_bench::memory::BURST;

/// Slots of a window.
const SLOTS: u32 = 4096;
/// Where payloads begin: behind the headers of native PGM.
const FRONT: u16 = Layout::XDP_HEADROOM + 34 + 24;

pub(crate) fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut pool = Pool::anonymous(Layout::standard(8192)).expect("memory");
    let mut taken = Vec::with_capacity(BURST);
    group.bench_function("pool-take-put", |bench| {
        bench.iter(|| {
            taken.extend((0..BURST).map_while(|_| pool.take()));
            for frame in taken.drain(..) {
                pool.put(black_box(frame));
            }
        });
    });
    for octets in [64, 1400] {
        let run = pool.take_run(SLOTS).expect("a run");
        let (mut writer, mut reader) = window(&pool, run, SlotLayout::plain(FRONT, 1424));
        let message = vec![0x5a_u8; octets];
        group.bench_function(BenchmarkId::new("window-claim-commit", octets), |bench| {
            bench.iter(|| {
                for _ in 0..BURST {
                    let mut claim = writer.claim(message.len()).expect("the trail follows");
                    claim.copy_from_slice(black_box(&message));
                    claim.commit();
                }
                let head = reader.refresh();
                reader.advance(&pool, head)
            });
        });
        drop(writer);
        let run = reader.try_into_run(&pool).map_err(drop).expect("nothing is in flight");
        pool.put_run(run);
    }
    group.finish();
}
