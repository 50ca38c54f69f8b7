//! Conformance section C: data and rate.

use super::*;

/// RFC 3208 §3.2, conformance 31
#[test]
fn sqns_rise_by_one_in_the_order_of_submission_and_across_the_wrap() {
    let mut config = config(Profile::Lan);
    config.initial_sqn = Some(Sqn::new(u32::MAX - 100));
    let mut bench = Bench::opened(&config);
    for n in 0..300_u32 {
        let sqn = bench.publisher.publish(&n.to_be_bytes()).expect("room");
        assert_eq!(sqn, Sqn::new((u32::MAX - 100).wrapping_add(n)));
        bench.flush();
    }
    let data: Vec<_> = bench.sent.iter().filter_map(|sent| Some((sent.odata()?, sent.payload().to_vec()))).collect();
    assert_eq!(data.len(), 300);
    for (n, (data, payload)) in (0_u32..).zip(data) {
        assert_eq!(data.sqn, Sqn::new((u32::MAX - 100).wrapping_add(n)));
        assert_eq!(payload, n.to_be_bytes());
    }
}

/// conformance 31
#[test]
fn without_a_configured_start_sessions_begin_at_a_multiple_of_65536() {
    let mut config = config(Profile::Lan);
    config.initial_sqn = None;
    let bench = Bench::new(&config);
    assert_eq!(bench.publisher.next_sqn().get() % 65_536, 0);
}

/// RFC 3208 §4, conformance 15, 40
#[test]
fn odata_carries_neither_router_alert_nor_options_and_may_be_empty() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    let longest = vec![7; bench.publisher.claim_max()];
    bench.publisher.publish(b"").expect("room");
    bench.publisher.publish(&longest).expect("room");
    bench.flush();
    let data: Vec<_> = bench.sent.iter().filter(|sent| sent.odata().is_some()).collect();
    assert!(data.iter().all(|sent| !sent.router_alert && !sent.header.flags.has_options()));
    assert_eq!(data[0].payload(), b"");
    assert_eq!(data[1].payload(), longest);
    assert_eq!(longest.len(), 1452, "room for the Router Alert of the repair");
}

/// RFC 3208 §9.2.2, conformance 16, 39, 56
#[test]
fn a_long_apdu_leaves_as_contiguous_fragments_and_its_repairs_equal_them() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(3);
    bench.take();
    let apdu: Vec<u8> = (0..5_000_u32).map(|n| n as u8).collect();
    assert_eq!(bench.publisher.publish(&apdu), Ok(Sqn::new(1003)));
    bench.publish(1);
    let sent: Vec<_> = bench.take().into_iter().filter(|sent| sent.odata().is_some()).collect();
    assert_eq!(sent.len(), 5);
    let mut whole = Vec::new();
    for (n, packet) in (0_u32..).zip(&sent[..4]) {
        assert_eq!(packet.odata().expect("data").sqn, Sqn::new(1003 + n));
        let fragment = packet.header.options.fragment(&packet.bytes).expect("OPT_FRAGMENT");
        assert_eq!(fragment.first_sqn, Sqn::new(1003));
        assert_eq!((fragment.offset as usize, fragment.apdu_len), (whole.len(), 5_000));
        whole.extend_from_slice(packet.payload());
    }
    assert_eq!(whole, apdu);
    assert_eq!(sent[4].header.options.fragment(&sent[4].bytes), None);

    bench.nak(&[1003, 1004, 1005, 1006]);
    bench.flush();
    let repairs: Vec<_> = bench.take().into_iter().filter(|sent| sent.rdata().is_some()).collect();
    assert_eq!(repairs.len(), 4);
    for (repair, original) in repairs.iter().zip(&sent) {
        assert_eq!(repair.rdata().expect("repair").sqn, original.odata().expect("data").sqn);
        assert_eq!(repair.payload(), original.payload());
        let (of_repair, of_original) = (repair.header.options, original.header.options);
        assert_eq!(of_repair.fragment(&repair.bytes), of_original.fragment(&original.bytes));
    }
}

/// RFC 3208 §9.6.2, conformance 41
#[test]
fn the_first_packet_and_its_repair_alone_carry_syn() {
    for fragmented in [false, true] {
        let mut config = config(Profile::LowLatency);
        config.syn = true;
        let mut bench = Bench::opened(&config);
        let first = vec![1; if fragmented { 2_000 } else { 1_444 }];
        assert_eq!(first.len() <= bench.publisher.claim_max(), !fragmented);
        bench.publisher.publish(&first).expect("room");
        bench.publish(3);
        bench.nak(&[1000, 1002]);
        bench.flush();
        let syn: Vec<u32> = bench
            .sent
            .iter()
            .filter(|sent| sent.header.options.syn())
            .map(|sent| sent.odata().or(sent.rdata()).expect("data").sqn.get())
            .collect();
        assert_eq!(syn, [1000, 1000]);
        assert_eq!(bench.rdata(), [1000, 1002]);
    }
}

/// RFC 3208 §8.2, conformance 38
#[test]
fn every_packet_carries_the_trail_of_the_moment_it_leaves() {
    let mut config = config(Profile::Lan);
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    bench.publish(10);
    assert!(bench.sent.iter().filter_map(Sent::odata).all(|data| data.trail == Sqn::new(1000)));
    bench.source.advance_trail_to(&bench.pool, Sqn::new(1004));
    bench.take();
    bench.publish(1);
    bench.nak(&[1005]);
    bench.run(ms(200));
    for sent in &bench.sent {
        let trail = sent.odata().or(sent.rdata()).map(|data| data.trail).or(sent.spm().map(|spm| spm.trail));
        if let Some(trail) = trail {
            assert_eq!(trail, Sqn::new(1004));
        }
    }
    assert_eq!(bench.rdata(), [1005]);
    let repair = bench.sent.iter().find(|sent| sent.rdata().is_some()).expect("a repair");
    assert_eq!(repair.payload(), payload_of(Sqn::new(1005)));
}

/// RFC 3208 §5.1.3, conformance 35
#[test]
fn ncfs_leave_before_spms_and_spms_before_data() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(5);
    bench.run(ms(1_000));
    bench.take();
    bench.publisher.publish(b"new").expect("room");
    bench.spmr();
    bench.nak(&[1002]);
    bench.nak(&[1003]);
    bench.transmit();
    let order: Vec<_> = bench.sent.iter().map(|sent| sent.header.packet_type().name()).collect();
    assert_eq!(order[..3], ["NCF", "NCF", "SPM"]);
    assert_eq!(bench.rdata(), [1002, 1003]);
    assert_eq!(bench.odata(), [1005]);
}

/// Keeps the window full and asks for all of it all the time.
fn under_siege(config: &SourceConfig, time: Duration) -> Bench {
    let mut bench = Bench::opened(config);
    let end = bench.now.plus(nanos(time));
    let mut receiver = 0_u8;
    while bench.now < end {
        while bench.publisher.publish(&[7; 1_000]).is_ok() {}
        let (trail, lead) = bench.source.window();
        let all: Vec<u32> = (0..lead.next().distance_from(trail)).map(|n| trail.plus(n).get()).collect();
        for sqns in all.chunks(63) {
            receiver = receiver.wrapping_add(1);
            bench.nak_from(IpAddr::from([10, 0, 1, receiver]), sqns);
        }
        bench.run(us(500));
    }
    bench
}

/// RFC 3208 §5.1.3, conformance 36, 159
#[test]
fn a_flood_of_naks_for_the_whole_window_leaves_new_data_its_share_and_respects_the_rate() {
    for share in [20, 50, 80] {
        let mut config = config(Profile::Lan);
        config.window_slots = 1024;
        config.advance = Advance::Application;
        config.rate = Rate::OctetsPerSecond(2_000_000);
        config.repair_share = share;
        config.burst = Burst::Packets(2);
        let mut bench = Bench::opened(&config);
        for _ in 0..500 {
            bench.publisher.publish(&[7; 1_000]).expect("room");
        }
        bench.run(Duration::from_secs(1));
        let before = *bench.source.stats();
        bench.take();
        let begin = bench.now;
        for n in 0..500_u32 {
            bench.publisher.publish(&[7; 1_000]).expect("room");
            if n % 10 == 0 {
                let sqns: Vec<u32> = (1000..1500).collect();
                sqns.chunks(63).for_each(|sqns| bench.nak(sqns));
            }
            bench.run(us(400));
        }
        let after = *bench.source.stats();
        let new = after.odata_octets - before.odata_octets;
        let repairs = after.rdata_octets - before.rdata_octets;
        let percent = repairs * 100 / (new + repairs);
        assert!(percent.abs_diff(u64::from(share)) <= 10, "{percent} % for repairs instead of {share}");
        let counted: u64 = bench.sent.iter().filter(|sent| sent.ncf().is_none()).map(Sent::octets).sum();
        let allowed = config.bucket(&PATH) + 2_000_000 * bench.now.since(begin) / 1_000_000_000;
        assert!(counted <= allowed, "{counted} octets, {allowed} allowed");
        assert!(counted * 100 >= allowed * 80, "the rate is used");
    }
}

/// RFC 3208 §5.1.3, conformance 159
#[test]
fn without_a_rate_a_flood_of_naks_leaves_new_data_its_share_too() {
    let mut config = config(Profile::LowLatency);
    config.rdata_repeat = Duration::ZERO;
    config.rdata_repeat_adaptive = false;
    let bench = under_siege(&config, ms(50));
    let stats = bench.source.stats();
    assert!(stats.odata > 100 && stats.rdata > 100, "{stats:?}");
    assert!(bench.pool.census().adds_up());
}

/// RFC 3208 §5.1.2, conformance 32, 34
#[test]
fn the_rate_holds_over_every_interval_and_counts_what_the_advance_rule_says() {
    for (profile, repairs_count) in [(Profile::Wan, false), (Profile::Lan, true), (Profile::Windows, true)] {
        let mut config = config(profile);
        config.window_slots = 256;
        config.rate = Rate::OctetsPerSecond(1_000_000);
        config.burst = Burst::Packets(4);
        config.window_time = ms(200);
        let bench = under_siege(&config, ms(400));
        let counted = |sent: &Sent| match sent.header.kind {
            Kind::Ncf(_) => 0,
            Kind::Rdata(_) if !repairs_count => 0,
            _ => sent.octets(),
        };
        let bucket = config.bucket(&PATH);
        let check = |counted: &dyn Fn(&Sent) -> u64| {
            for (first, from) in bench.sent.iter().enumerate() {
                let mut octets = 0;
                for to in &bench.sent[first..] {
                    octets += counted(to);
                    let allowed = u128::from(bucket) * 1_000_000_000 + 1_000_000 * u128::from(to.at.since(from.at));
                    assert!(u128::from(octets) * 1_000_000_000 <= allowed, "{profile:?}");
                }
            }
            bench.sent.iter().map(counted).sum::<u64>()
        };
        let used = check(&counted);
        assert!(used >= 350_000, "{profile:?} uses its rate: {used}");
        let repairs = bench.source.stats().rdata_octets;
        assert!(repairs > 50_000, "{profile:?}: {repairs}");
        if !repairs_count {
            // Extra, but not without bounds.
            check(&|sent: &Sent| if sent.rdata().is_some() { sent.octets() } else { 0 });
        }
    }
}

/// RFC 3208 §5.1.2, conformance 33
#[test]
fn with_a_peak_rate_successive_packets_keep_their_distance() {
    let mut config = config(Profile::Lan);
    config.peak = Rate::OctetsPerSecond(1_000_000);
    let mut bench = Bench::opened(&config);
    for n in 0..20 {
        bench.publisher.publish(&vec![7; n * 50]).expect("room");
    }
    bench.run(ms(5));
    bench.nak(&[1000, 1001, 1002]);
    bench.spmr();
    bench.run(ms(100));
    assert!(bench.sent.len() > 25);
    for pair in bench.sent.windows(2) {
        let distance = pair[1].at.since(pair[0].at);
        assert!(
            distance * 1_000_000 >= pair[0].octets() * 1_000_000_000,
            "{distance} ns after {} octets",
            pair[0].octets()
        );
    }
}

#[test]
fn a_small_batch_is_filled_and_the_rest_waits_in_order() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    for _ in 0..10 {
        bench.publisher.publish(b"x").expect("room");
    }
    bench.out = TxBatch::new(3);
    assert_eq!(bench.transmit(), 3);
    assert_eq!(bench.source.deadline(), Some(bench.now), "the rest is due at once");
    bench.flush();
    assert_eq!(bench.odata(), (1000..1010).collect::<Vec<_>>());
}

/// conformance 159
#[test]
fn a_repair_waits_for_its_own_ncf_and_for_no_other() {
    let mut bench = Bench::opened(&config(Profile::LowLatency));
    bench.hold = true;
    bench.publish(2);
    bench.nak(&[1000]);
    bench.run(us(50));
    assert_eq!((bench.ncfs(), bench.rdata()), (vec![1000], vec![]), "confirmed, and in flight");

    bench.complete();
    let hoard: Vec<Frame> = core::iter::from_fn(|| bench.pool.take()).collect();
    bench.nak(&[1001]);
    bench.run(us(50));
    assert_eq!((bench.ncfs(), bench.rdata()), (vec![1000], vec![1000]));
    for frame in hoard {
        bench.pool.put(frame);
    }
    bench.run(us(50));
    assert_eq!((bench.ncfs(), bench.rdata()), (vec![1000, 1001], vec![1000, 1001]));
}

#[test]
fn without_loose_frames_data_still_flows_and_the_rest_follows_when_there_are_some() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(2);
    bench.take();
    let hoard: Vec<Frame> = core::iter::from_fn(|| bench.pool.take()).collect();
    bench.spmr();
    bench.publisher.publish(b"x").expect("room");
    bench.flush();
    assert_eq!(bench.odata(), [1002]);
    bench.nak(&[1000]);
    bench.run(ms(10));
    assert!(bench.rdata().is_empty() && bench.ncfs().is_empty() && bench.spms().is_empty());
    assert!(bench.source.stats().frames_missing > 0);
    for frame in hoard {
        bench.pool.put(frame);
    }
    bench.run(ms(1));
    assert_eq!((bench.rdata(), bench.ncfs(), bench.spms().len()), (vec![1000], vec![1000], 1));
}
