//! Conformance section D: SPMs.

use super::*;

/// Milliseconds since `from` of every SPM that was sent.
fn times(bench: &Bench, from: Time) -> Vec<u64> {
    bench.sent.iter().filter(|sent| sent.spm().is_some()).map(|sent| sent.at.since(from) / 1_000_000).collect()
}

/// RFC 3208 §3.3, conformance 49, 52
#[test]
fn three_spaced_spms_with_an_empty_window_precede_the_first_data() {
    for (_, profile) in Profile::ALL {
        let config = config(profile);
        let mut bench = Bench::new(&config);
        bench.publisher.publish(b"hurry").expect("room");
        let begin = bench.now;
        bench.run(ms(100));
        let first = bench.sent.iter().position(|sent| sent.odata().is_some()).expect("data left");
        assert_eq!(first, 3, "{profile:?}");
        for sent in &bench.sent[..first] {
            let spm = sent.spm().expect("an SPM");
            assert_eq!(spm.trail, spm.lead.next());
            assert_eq!(spm.trail, Sqn::new(1000));
        }
        let waited = bench.sent[first].at.since(begin);
        assert_eq!(waited, 2 * nanos(config.opening_gap));
        assert!(waited <= nanos(config.ihb_min), "{profile:?} delays the first data by {waited} ns");
    }
}

/// RFC 3208 §8.1, conformance 15, 48
#[test]
fn an_spm_names_the_sending_interface_and_carries_router_alert_where_the_profile_has_it() {
    for (_, profile) in Profile::ALL {
        let config = config(profile);
        let mut bench = Bench::new(&config);
        bench.run(ms(100));
        for sent in &bench.sent {
            assert_eq!(sent.spm().expect("an SPM").path, NLA);
            assert_eq!(sent.to, To::Group(GROUP));
            assert_eq!(sent.router_alert, profile != Profile::LowLatency);
        }
    }
}

/// RFC 3208 §5.1.5, conformance 45
#[test]
fn data_that_breaks_the_silence_needs_no_heartbeat() {
    let config = config(Profile::LowLatency);
    let mut bench = Bench::opened(&config);
    // Called too late for each heartbeat, but with data.
    for _ in 0..20 {
        bench.now = bench.now.plus(nanos(config.ihb_min) + 50_000);
        bench.publish(1);
    }
    assert_eq!((bench.spms().len(), bench.odata().len()), (0, 20));
}

/// RFC 3208 §5.1.5, conformance 44
#[test]
fn data_that_cannot_leave_does_not_keep_a_heartbeat_back() {
    let mut config = config(Profile::LowLatency);
    config.rate = Rate::OctetsPerSecond(10_000);
    config.burst = Burst::Packets(1);
    let mut bench = Bench::opened(&config);
    for _ in 0..2 {
        bench.publisher.publish(&[7; 1000]).expect("room");
        bench.flush();
    }
    assert_eq!((bench.spms().len(), bench.odata().len()), (0, 1), "the bucket is too empty for two");
    bench.now = bench.now.plus(nanos(config.ihb_min));
    bench.transmit();
    assert_eq!((bench.spms().len(), bench.odata().len()), (1, 1));
}

/// RFC 3208 §5.1.5, conformance 44
#[test]
fn heartbeats_double_from_ihb_min_to_ihb_max_and_stay_there() {
    let mut config = config(Profile::Lan);
    config.ihb_min = ms(100);
    config.ihb_max = ms(15_000);
    config.ambient_spm = ms(60_000);
    let mut bench = Bench::opened(&config);
    bench.publish(1);
    let from = bench.now;
    bench.take();
    bench.run(ms(60_000));
    assert_eq!(times(&bench, from), [100, 300, 700, 1_500, 3_100, 6_300, 12_700, 25_500, 40_500, 55_500]);
}

/// RFC 3208 §5.1.5, conformance 45
#[test]
fn any_data_sets_the_heartbeat_back_to_ihb_min() {
    let mut config = config(Profile::Lan);
    config.ihb_min = ms(100);
    config.ambient_spm = ms(60_000);
    let mut bench = Bench::opened(&config);
    bench.publish(1);
    bench.run(ms(1_000));
    bench.publish(1);
    let from = bench.now;
    bench.take();
    bench.run(ms(350));
    assert_eq!(times(&bench, from), [100, 300]);
    bench.nak(&[1000]);
    bench.flush();
    assert_eq!(bench.rdata(), [1000]);
    let from = bench.now;
    bench.take();
    bench.run(ms(350));
    assert_eq!(times(&bench, from), [100, 300], "a repair is data too");
}

/// RFC 3208 §5.1.6, conformance 43, 46
#[test]
fn ambient_spms_are_interleaved_while_data_flows_and_only_then() {
    let mut config = config(Profile::Lan);
    config.ihb_min = ms(50);
    config.ihb_max = ms(50);
    config.ambient_spm = ms(20);
    let mut bench = Bench::opened(&config);
    let from = bench.now;
    for _ in 0..1_000 {
        bench.publish(1);
        bench.run(ms(1));
    }
    let at = times(&bench, from);
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] <= 21), "{at:?}");
    assert!((47..=50).contains(&at.len()), "{} in a second", at.len());

    let idle = bench.now;
    bench.run(ms(30));
    bench.take();
    bench.run(ms(1_000));
    assert!(times(&bench, idle).windows(2).all(|pair| pair[1] - pair[0] == 50), "heartbeats alone");
}

/// conformance 43
#[test]
fn the_windows_profile_sends_an_spm_after_fifty_packets_or_half_a_second() {
    let mut config = config(Profile::Windows);
    config.window_slots = 1024;
    config.burst = Burst::Packets(1_000);
    let mut bench = Bench::opened(&config);
    bench.publish(400);
    let mut since = 0;
    for sent in &bench.sent {
        since = if sent.spm().is_some() { 0 } else { since + 1 };
        assert!(since <= 50, "{since} data packets without an SPM");
    }
    assert_eq!(bench.spms().len(), 8);

    let from = bench.now;
    bench.take();
    for _ in 0..30 {
        bench.publish(1);
        bench.run(ms(100));
    }
    let at = times(&bench, from);
    assert!(at.len() >= 5 && at.windows(2).all(|pair| pair[1] - pair[0] <= 600), "{at:?}");
}

/// RFC 3208 §3.6.1, conformance 47
#[test]
fn spm_sqns_rise_by_one_whatever_the_data_does() {
    let mut bench = Bench::new(&config(Profile::Lan));
    for n in 0..50 {
        bench.run(ms(7));
        if n > 2 {
            bench.publish(n % 3);
        }
        bench.spmr();
    }
    let sqns: Vec<u32> = bench.spms().iter().map(|spm| spm.sqn.get()).collect();
    assert!(sqns.len() > 20);
    assert_eq!(sqns, (0..sqns.len() as u32).collect::<Vec<_>>());
}

/// RFC 3208 §13.4, conformance 50
#[test]
fn an_spmr_is_answered_at_once_but_no_more_than_once_in_ihb_min() {
    let mut config = config(Profile::Lan);
    config.ihb_min = ms(100);
    config.ihb_max = ms(50_000);
    let mut bench = Bench::opened(&config);
    bench.run(ms(60_000));
    bench.take();
    let from = bench.now;
    bench.spmr();
    bench.flush();
    assert_eq!(times(&bench, from), [0]);
    for _ in 0..1_000 {
        bench.spmr();
        bench.run(ms(1));
    }
    let at = times(&bench, from);
    assert!(at.len() <= 12, "{at:?}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{at:?}");
    assert_eq!(bench.source.stats().spmrs, 1_001);
}

/// RFC 3208 §5.1.5, conformance 44, 50
#[test]
fn answers_leave_the_heartbeat_alone() {
    let mut config = config(Profile::Lan);
    config.ihb_min = ms(100);
    config.ambient_spm = ms(60_000);
    let mut bench = Bench::opened(&config);
    bench.publish(1);
    let from = bench.now;
    bench.run(ms(150));
    bench.take();
    bench.spmr();
    bench.run(ms(1_500));
    assert_eq!(times(&bench, from), [150, 300, 700, 1_500]);
}

/// RFC 3208 §15.2.2, conformance 143
#[test]
fn the_range_of_the_back_off_is_advertised_where_it_is_steered() {
    let mut bench = Bench::new(&config(Profile::Wan));
    bench.run(ms(100));
    let sent = &bench.sent[0];
    let range = sent.header.options.nak_bo_rng(&sent.bytes).expect("OPT_NAK_BO_RNG");
    assert_eq!((range.min_us, range.max_us), (10_000, 2_000_000));
    let mut bench = Bench::new(&config(Profile::Lan));
    bench.run(ms(100));
    let sent = &bench.sent[0];
    assert_eq!(sent.header.options.nak_bo_rng(&sent.bytes), None);
}

/// RFC 3208 §9.4, conformance 42
#[test]
fn late_joiners_are_offered_their_percentage_of_the_window_and_never_more_than_is_kept() {
    let mut config = config(Profile::Lan);
    config.late_join_percent = Some(25);
    let mut bench = Bench::opened(&config);
    let join = |bench: &mut Bench| {
        bench.take();
        bench.run(Duration::from_secs(10));
        let sent = bench.sent.last().expect("a heartbeat").clone();
        let spm = sent.spm().expect("an SPM");
        let join = sent.header.options.join(&sent.bytes).expect("OPT_JOIN");
        assert!(join.at_or_after(spm.trail) && join.at_or_before(spm.lead.next()));
        join.get()
    };
    assert_eq!(join(&mut bench), 1000);
    bench.publish(10);
    assert_eq!(join(&mut bench), 1000);
    bench.publish(20);
    assert_eq!(join(&mut bench), 1000 + 30 - 16);
}

/// RFC 3208 §9.4, conformance 42
#[test]
fn the_offer_to_late_joiners_is_in_every_data_packet_as_it_stands_at_that_moment() {
    for (profile, batch, syn) in
        [(Profile::Lan, false, true), (Profile::LowLatency, false, false), (Profile::LowLatency, true, true)]
    {
        let mut config = config(profile);
        (config.late_join_percent, config.batch, config.syn) = (Some(25), batch, syn);
        let mut bench = Bench::opened(&config);
        let longest = vec![7; bench.publisher.claim_max()];
        for message in [&longest[..], b"", &[1; 5_000], b"x", &[2; 1_440]] {
            bench.publisher.publish(message).expect("room");
            bench.flush();
        }
        for _ in 0..20 {
            bench.publisher.publish(b"more").expect("room");
            bench.flush();
        }
        let sent = bench.take();
        let (mut count, mut fragments) = (0, 0);
        for sent in &sent {
            let Some(data) = sent.odata() else { continue };
            let offered = data.sqn.minus(data.sqn.distance_from(Sqn::new(1000)).min(16));
            assert_eq!(sent.header.options.join(&sent.bytes), Some(offered), "{:?}", sent.header);
            count += 1;
            fragments += u32::from(sent.header.options.fragment(&sent.bytes).is_some());
        }
        assert!(fragments >= 4 && count >= fragments + 23, "{fragments} of {count}");
        bench.nak(&(1000..1000 + count).collect::<Vec<_>>());
        bench.run(ms(10));
        // The bench has parsed them all, and so looked at their checksums.
        let now = Some(Sqn::new(1000 + count - 16));
        let repairs: Vec<_> = bench.sent.iter().filter(|sent| sent.rdata().is_some()).collect();
        assert_eq!(repairs.len() as u32, count);
        assert!(repairs.iter().all(|sent| sent.header.options.join(&sent.bytes) == now));
    }
}

/// conformance 43
#[test]
fn without_frames_the_spm_after_so_many_packets_is_waited_for_and_time_goes_on() {
    let mut config = config(Profile::Windows);
    config.window_slots = 1024;
    config.burst = Burst::Packets(1_000);
    let mut bench = Bench::opened(&config);
    let hoard: Vec<Frame> = core::iter::from_fn(|| bench.pool.take()).collect();
    for _ in 0..80 {
        bench.publisher.publish(b"x").expect("room");
    }
    bench.run(ms(5));
    assert_eq!(bench.odata().len(), 50);
    bench.nak(&[1000]);
    bench.run(ms(5));
    for frame in hoard {
        bench.pool.put(frame);
    }
    bench.run(ms(100));
    let order: Vec<_> = bench.sent[49..53].iter().map(|sent| sent.header.packet_type().name()).collect();
    assert_eq!(order, ["ODATA", "NCF", "SPM", "RDATA"]);
    assert_eq!(bench.odata().len(), 80);
}

/// conformance 43
#[test]
fn the_ambient_distance_is_counted_from_the_last_spm_and_not_from_the_data_behind_it() {
    let mut config = config(Profile::Windows);
    config.rate = Rate::OctetsPerSecond(7_000);
    config.window_time = Duration::from_secs(10);
    let mut bench = Bench::opened(&config);
    let from = bench.now;
    for _ in 0..20 {
        bench.run(ms(400));
        bench.publish(1);
    }
    let at = times(&bench, from);
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] <= 500), "{at:?}");
}

/// RFC 3208 §3.5, conformance 71
#[test]
fn an_application_that_releases_each_packet_at_once_does_not_double_them_with_spms() {
    let mut config = config(Profile::Lan);
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    for _ in 0..100 {
        bench.publish(1);
        bench.publisher.advance_trail(bench.publisher.next_sqn());
        bench.run(us(100));
    }
    let spms = bench.spms().len();
    assert!((1..=3).contains(&spms), "{spms} SPMs in 10 ms, IHB_MIN being 5 ms");
    bench.run(ms(10));
    let spm = *bench.spms().last().expect("an SPM");
    assert_eq!((spm.trail, spm.lead), (Sqn::new(1100), Sqn::new(1099)));
}
