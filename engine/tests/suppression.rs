//! Many receivers that miss the same packet must not all ask for it. On the simulator, in virtual time.
//!
//! Set `PGMX_LONG=1` for a hundred seeds each instead of a few.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgmx::link::faults::{FaultPlan, SidePlan};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{NakCopy, ReceiverConfig};
use pgmx::protocol::source::{RepairDelay, SourceConfig};
use pgmx::sim::run::{Outcome, World};
use pgmx::sim::scenario::{DATA_PORT, Ending, ReceiverPlan, Scenario, SourcePlan, Start};
use pgmx::wire::Sqn;

/// Judges every seed from 1 on, on all cores: a hundred in the long run, `short` of them otherwise. Returns what `judge` made of them.
fn judged(short: u64, judge: impl Fn(u64) -> u64 + Sync) -> Vec<u64> {
    let seeds = if std::env::var_os("PGMX_LONG").is_some_and(|value| value == "1") { 100 } else { short };
    let next = AtomicU64::new(1);
    let turns = || core::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed <= seeds));
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| turns().map(&judge).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a seed failed, see above")).collect()
    })
}

/// `receivers` share the losses of one source, which publishes every `gap_us` and whose line is cut around each of `lost`.
fn shared_losses(seed: u64, profile: Profile, receivers: usize, one_way_us: u64, gap_us: u64, lost: &[u64]) -> Outcome {
    let group = IpAddr::from([239, 192, 0, 7]);
    let way_ns = (one_way_us * 500, one_way_us * 500);
    let mut config = SourceConfig::profile(profile, group, DATA_PORT);
    config.window_slots = 2048;
    config.window_time = Duration::from_secs(2);
    if profile == Profile::Wan {
        // RFC 3208 §5.3: long enough to gather the NAKs that were under way when the NCF left.
        config.repair_delay = RepairDelay::Fixed(Duration::from_micros(2 * one_way_us));
    }
    config.initial_sqn = Some(Sqn::new(0));
    // What is measured is the receivers' back-off alone.
    config.back_off = None;
    config.dup_nak_max = None;
    let begin_ns = 1_000_000;
    let cut = |n: &u64| {
        let at_ns = begin_ns + n * gap_us * 1_000;
        (Duration::from_nanos(at_ns - 5_000), Duration::from_nanos(at_ns + 5_000))
    };
    let send = SidePlan { cuts: lost.iter().map(cut).collect(), ..SidePlan::default() };
    let source = SourcePlan {
        config,
        start: Start::At(begin_ns),
        address: IpAddr::from([10, 0, 0, 1]),
        messages: lost.last().map_or(20, |last| *last as u32 + 20),
        burst: 1,
        gap_ns: gap_us * 1_000,
        len_max: 100,
        fragmented_permille: 0,
        ending: Ending::Fin,
        faults: FaultPlan { send, ..FaultPlan::default() },
        way_ns,
    };
    let mut config = ReceiverConfig::profile(profile, group, DATA_PORT);
    config.nak_copy = NakCopy::Never;
    config.window_slots = 256;
    config.held_max = 128;
    let receiver = ReceiverPlan {
        config,
        joins_ns: 0,
        faults: FaultPlan::default(),
        stalls: Vec::new(),
        way_ns,
        leases: 0,
        queue: 1 << 16,
        frames: 512,
    };
    let scenario = Scenario {
        seed,
        profile,
        group,
        sources: vec![source],
        receivers: vec![receiver; receivers],
        octet_ps: 0,
        completion_ns: 0,
        faults_end: true,
        roomy: true,
    };
    let outcome = World::new(scenario).run();
    assert_eq!(outcome.fault, None, "seed {seed}");
    assert_eq!(outcome.lost, 0, "seed {seed}");
    outcome
}

/// RFC 3208 §6.3, conformance 93: with a fixed interval of 50 ms, what is heard within one way of 1 ms each silences the rest.
#[test]
fn a_thousand_receivers_with_a_fixed_back_off_send_fifty_naks_at_the_most() {
    let naks = judged(3, |seed| {
        let outcome = shared_losses(seed, Profile::Wan, 1_000, 1_000, 20_000, &[5]);
        let naks = outcome.wire.naks();
        assert!((1..=70).contains(&naks), "seed {seed}: {naks} NAKs");
        assert_eq!(outcome.wire.rdata(), 1, "seed {seed}");
        naks
    });
    let (total, runs) = (naks.iter().sum::<u64>(), naks.len() as u64);
    assert!(total <= 50 * runs, "{total} NAKs in {runs} runs");
}

/// Adaptive intervals learn from the duplicates they hear how many there are.
fn adaptive_receivers_are_quiet(receivers: usize, runs: u64) {
    let lost: Vec<u64> = (1..=200).map(|n| n * 4).collect();
    judged(runs, |seed| {
        let all = shared_losses(seed, Profile::LowLatency, receivers, 20, 1_000, &lost);
        let learning = shared_losses(seed, Profile::LowLatency, receivers, 20, 1_000, &lost[..20]);
        let per_loss = |all: u64, learning: u64| (all - learning) as f64 / 180.0;
        let naks = per_loss(all.wire.naks(), learning.wire.naks());
        let rdata = per_loss(all.wire.rdata(), learning.wire.rdata());
        assert!(
            naks <= 20.0 && rdata <= 2.0,
            "seed {seed}, {receivers} receivers: {naks:.1} NAKs, {rdata:.2} RDATA a loss"
        );
        assert!(rdata >= 1.0, "seed {seed}: the losses were not repaired");
        all.wire.naks()
    });
}

/// RFC 3208 §6.3, conformance 93
#[test]
fn a_hundred_adaptive_receivers_learn_to_keep_quiet() {
    adaptive_receivers_are_quiet(100, 3);
}

/// RFC 3208 §6.3, conformance 93
#[test]
fn a_thousand_adaptive_receivers_learn_to_keep_quiet() {
    adaptive_receivers_are_quiet(1_000, 1);
}
