//! NAKs: when, for what, to whom, how often.

use super::super::{Interval, NakCopy, OnLoss};
use super::*;

/// Something that happens on a bench.
type Deed = fn(&mut Bench);

/// RFC 3208 §6.3, conformance 90
#[test]
fn a_gap_shown_by_odata_rdata_an_spm_or_an_ncf_is_asked_for() {
    let show: [(&str, Deed); 3] = [
        ("ODATA", |bench| bench.odata(103, 100)),
        ("RDATA", |bench| bench.rdata(103, 100)),
        ("SPM", |bench| bench.spm(2, 100, 102)),
    ];
    for (name, show) in show {
        let mut bench = joined(&plain(), 100);
        show(&mut bench);
        bench.pass(60 * MS);
        assert_eq!(bench.naked(), [101, 102], "{name}");
    }
    // An NCF is the first we hear of 102: somebody else has asked for that one, nobody for 101.
    let mut bench = joined(&plain(), 100);
    bench.ncf(&[102]);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101]);
    bench.pass(600 * MS);
    assert!(bench.naked().contains(&102));
    // A NAK of another receiver proves nothing.
    let mut bench = joined(&plain(), 100);
    bench.peer_nak(&[102]);
    bench.pass(SECOND);
    assert_eq!(bench.naked(), [0_u32; 0]);
}

/// RFC 3208 §6.3, conformance 91
#[test]
fn two_packets_that_change_places_cause_no_nak() {
    for (_, profile) in Profile::ALL {
        let mut bench = joined(&config(profile), 100);
        for pair in 0..1000 {
            let sqn = 101 + 2 * pair;
            bench.odata(sqn + 1, 100);
            bench.pass(US);
            bench.odata(sqn, 100);
            bench.pass(US);
        }
        // One later packet is all that low-latency waits for: a back-off shorter than the swap asks.
        let asked = bench.naked().len();
        assert!(asked <= if profile == Profile::LowLatency { 50 } else { 0 }, "{profile:?}: {asked}");
        assert_eq!(bench.said(), (101..2101).map(Said::Data).collect::<Vec<_>>());
    }
}

/// RFC 3208 §6.3, conformance 91
#[test]
fn reordering_is_tolerated_for_so_many_packets_or_so_much_time() {
    let mut config = plain();
    config.nak_bo_ivl = Interval::Fixed(Duration::from_micros(1));
    config.nak_bo_min = Duration::from_micros(1);
    config.reorder_packets = 3;
    config.reorder_time = Duration::from_millis(5);
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.odata(103, 100);
    bench.pass(100 * US);
    assert_eq!(bench.naked(), [0_u32; 0]);
    bench.odata(104, 100);
    bench.pass(100 * US);
    assert_eq!(bench.naked(), [101]);

    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.pass(5 * MS - 10 * US);
    assert_eq!(bench.naked(), [0_u32; 0]);
    bench.pass(20 * US);
    assert_eq!(bench.naked(), [101]);
}

/// RFC 3208 §6.3, conformance 92
#[test]
fn the_back_off_is_uniform_over_nak_bo_ivl() {
    let mut quarters = [0; 4];
    for seed in 0..400 {
        let mut bench = Bench::seeded(&plain(), seed);
        bench.spm(1, 100, 99);
        bench.odata(100, 100);
        let detected = bench.now;
        bench.odata(102, 100);
        bench.pass(51 * MS);
        let [at] = bench.naks().map(|nak| nak.at).collect::<Vec<_>>()[..] else { panic!("one NAK") };
        quarters[((at - detected).saturating_sub(2 * US) * 4 / (50 * MS)) as usize] += 1;
    }
    assert!(quarters.iter().all(|count| (70..130).contains(count)), "{quarters:?}");
}

/// RFC 3208 §6.3, conformance 93, 96
#[test]
fn an_ncf_in_the_back_off_suppresses_our_nak_for_nak_rdata_ivl() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    bench.ncf(&[101]);
    bench.pass(499 * MS);
    assert_eq!((bench.naked(), bench.receiver.stats().all.naks_suppressed), (vec![], 1));
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101]);
}

/// RFC 3208 §6.3, conformance 94
#[test]
fn anothers_nak_in_the_back_off_suppresses_ours_for_nak_rpt_ivl() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    bench.peer_nak(&[101]);
    bench.pass(199 * MS);
    assert_eq!(bench.naked(), [0_u32; 0]);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101]);
}

/// RFC 3208 §6.3, conformance 95, 84
#[test]
fn without_an_ncf_the_nak_is_repeated_and_then_the_packet_is_lost() {
    let mut config = plain();
    config.nak_ncf_retries = 3;
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.pass(10 * SECOND);
    let at: Vec<u64> = bench.naks().map(|nak| nak.at).collect();
    assert_eq!(at.len(), 4);
    assert!(at.windows(2).all(|pair| (200 * MS..=252 * MS).contains(&(pair[1] - pair[0]))), "{at:?}");
    assert_eq!(bench.said(), [Said::Loss(101, 101, LossCause::NoConfirmation), Said::Data(102)]);
}

/// RFC 3208 §6.3, conformance 96, 84
#[test]
fn confirmed_but_not_repaired_is_asked_for_again_and_then_lost() {
    let mut config = plain();
    config.nak_data_retries = 2;
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    for _ in 0..200 {
        let before = bench.naked().len();
        bench.pass(50 * MS);
        if bench.naked().len() > before {
            bench.ncf(&[101]);
        }
    }
    let at: Vec<u64> = bench.naks().map(|nak| nak.at).collect();
    assert_eq!(at.len(), 3);
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 500 * MS), "{at:?}");
    assert_eq!(bench.said(), [Said::Loss(101, 101, LossCause::NoRepair), Said::Data(102)]);
}

/// RFC 3208 §6.3, conformance 96
#[test]
fn a_source_that_repairs_slowly_is_asked_until_it_repairs_nothing_any_more() {
    let mut config = plain();
    config.nak_data_retries = 2;
    let mut bench = joined(&config, 100);
    bench.odata(131, 100);
    let mut heard = 0;
    let mut confirm = |bench: &mut Bench| {
        let asked = bench.naked();
        if heard < asked.len() {
            bench.ncf(&asked[heard..]);
        }
        heard = asked.len();
    };
    // One in 300 ms, the newest first: the oldest waits for nine seconds.
    for sqn in (102..131).rev() {
        for _ in 0..3 {
            bench.pass(100 * MS);
            confirm(&mut bench);
        }
        bench.rdata(sqn, 100);
    }
    assert_eq!(bench.said(), [], "in order: all waits for 101");
    for _ in 0..100 {
        bench.pass(50 * MS);
        confirm(&mut bench);
    }
    let rest = (102..=131).map(Said::Data);
    let told: Vec<Said> = core::iter::once(Said::Loss(101, 101, LossCause::NoRepair)).chain(rest).collect();
    assert_eq!(bench.said(), told);
}

/// RFC 3208 §6.3, conformance 97
#[test]
fn whoever_hears_of_it_again_while_waiting_for_data_waits_anew() {
    for heard in [Bench::ncf, Bench::peer_nak] {
        let mut bench = joined(&plain(), 100);
        bench.odata(102, 100);
        bench.ncf(&[101]);
        for _ in 0..10 {
            bench.pass(450 * MS);
            heard(&mut bench, &[101]);
        }
        assert_eq!(bench.naked(), [0_u32; 0]);
    }
}

/// RFC 3208 §6.3, conformance 98
#[test]
fn data_stops_naks_in_every_state() {
    let states: [(&str, Deed); 4] = [
        ("BACK_OFF", |_| {}),
        ("WAIT_NCF", |bench| bench.pass(60 * MS)),
        ("WAIT_DATA", |bench| bench.ncf(&[101])),
        ("BACK_OFF again", |bench| bench.pass(260 * MS)),
    ];
    for (name, reach) in states {
        for data_type in [DataType::Odata, DataType::Rdata] {
            let mut bench = joined(&plain(), 100);
            bench.odata(102, 100);
            reach(&mut bench);
            let before = bench.naked().len();
            bench.data_with(data_type, 101, 100, &DataOptions::NONE, b"late");
            bench.pass(20 * SECOND);
            assert_eq!(bench.naked().len(), before, "{name}");
            assert_eq!(bench.said(), [Said::Data(101), Said::Data(102)]);
        }
    }
}

/// RFC 3208 §6.3, conformance 99, 105
#[test]
fn the_trail_stops_naks_for_what_it_has_passed() {
    let mut bench = joined(&plain(), 100);
    bench.odata(105, 100);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101, 102, 103, 104]);
    bench.odata(106, 103);
    assert_eq!(bench.said(), [Said::Loss(101, 102, LossCause::WindowPassed)]);
    bench.sent.clear();
    bench.pass(300 * MS);
    assert_eq!(bench.naked(), [103, 104]);
}

/// RFC 3208 §6.3, conformance 100
#[test]
fn an_ncf_for_something_else_suppresses_nothing() {
    let mut bench = joined(&plain(), 100);
    bench.odata(103, 100);
    bench.ncf(&[102]);
    bench.tsi = Tsi { port: 9, ..TSI };
    bench.ncf(&[101]);
    bench.tsi = TSI;
    // Another source's address in it.
    let nak = Nak { sqn: Sqn::new(101), source: PEER, group: GROUP };
    let mut packet = [0; 100];
    let len =
        build::nak(&mut packet, NakType::Ncf, &bench.session(), false, &nak, &[], &NakOptions::NONE).expect("an NCF");
    bench.packet(&packet[..len]);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101]);
}

/// RFC 3208 §9.3.2, conformance 101
#[test]
fn an_ncf_with_a_list_suppresses_every_sqn_it_names() {
    for heard in [Bench::ncf, Bench::peer_nak] {
        let mut bench = joined(&plain(), 100);
        bench.odata(170, 100);
        heard(&mut bench, &(101..=163).collect::<Vec<_>>());
        bench.pass(199 * MS);
        assert_eq!(bench.naked(), (164..170).collect::<Vec<_>>());
    }
}

/// RFC 3208 §6.3, conformance 102
#[test]
fn naks_are_batched_and_the_oldest_go_first() {
    let mut bench = joined(&plain(), u32::MAX - 50);
    bench.odata(150, u32::MAX - 50);
    bench.pass(60 * MS);
    let missing: Vec<u32> = (u32::MAX - 49..=u32::MAX).chain(0..150).collect();
    let lists: Vec<Vec<u32>> = bench.naks().map(Sent::sqns).collect();
    let asked: Vec<u32> = lists.iter().flatten().copied().collect();
    assert_eq!(lists.iter().map(Vec::len).max(), Some(63));
    assert!(lists.len() <= 4, "{} NAKs", lists.len());
    assert_eq!(asked, missing);

    // One SQN to a NAK, if so configured: then oldest first across NAKs.
    let mut config = plain();
    config.nak_sqns_max = 1;
    config.nak_bo_ivl = Interval::Fixed(Duration::from_micros(1));
    let mut bench = joined(&config, 100);
    bench.odata(110, 100);
    bench.pass(MS);
    assert_eq!(bench.naked(), (101..110).collect::<Vec<_>>());
    assert_eq!(bench.naks().count(), 9);
}

/// RFC 3208 §8.3, conformance 103
#[test]
fn a_nak_names_the_source_and_the_group_and_goes_upstream() {
    let mut bench = Bench::new(&plain());
    bench.spm_with(Spm { path: ROUTER, ..spm(1, 100, 99) }, &PLAIN);
    bench.odata(100, 100);
    bench.odata(102, 100);
    bench.pass(60 * MS);
    let nak = bench.naks().next().expect("a NAK");
    assert_eq!(nak.to, To::Unicast(ROUTER));
    assert_eq!(nak.header.kind, Kind::Nak(Nak { sqn: Sqn::new(101), source: SOURCE, group: GROUP }));
    assert_eq!((nak.header.tsi, nak.header.data_port), (TSI, PORT));
    // On the wire the ports are swapped.
    assert_eq!(nak.packet[..4], [(PORT >> 8) as u8, PORT as u8, 1000_u16.to_be_bytes()[0], 1000_u16.to_be_bytes()[1]]);
}

/// RFC 3208 §6.3, conformance 104
#[test]
fn the_copy_of_a_nak_for_our_neighbours_goes_when_the_profile_says_so() {
    let far = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 1));
    for (copy, path, copies) in [
        (NakCopy::Never, far, 0),
        (NakCopy::ParentOffLink, ROUTER, 0),
        (NakCopy::ParentOffLink, far, 1),
        (NakCopy::Always, ROUTER, 1),
    ] {
        let mut config = plain();
        config.nak_copy = copy;
        let mut bench = Bench::new(&config);
        bench.spm_with(Spm { path, ..spm(1, 100, 99) }, &PLAIN);
        bench.odata(100, 100);
        bench.odata(102, 100);
        bench.pass(60 * MS);
        assert_eq!(bench.naks().count(), 1);
        let multicast: Vec<_> = bench.sent.iter().filter(|sent| sent.to == To::Neighbours(GROUP)).collect();
        assert_eq!(multicast.len(), copies, "{copy:?}");
        assert!(multicast.iter().all(|sent| sent.sqns() == [101]));
    }
}

#[test]
fn adaptive_intervals_double_with_each_retry_up_to_the_ceiling() {
    let mut config = config(Profile::LowLatency);
    config.on_loss = OnLoss::Skip;
    config.nak_ncf_retries = 12;
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.pass(SECOND);
    let at: Vec<u64> = bench.naks().map(|nak| nak.at).collect();
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 12);
    assert!((500 * US..600 * US).contains(&waits[0]), "{waits:?}");
    assert!((1000 * US..1100 * US).contains(&waits[1]), "{waits:?}");
    assert!(waits[6..].iter().all(|&wait| (10 * MS..13 * MS).contains(&wait)), "{waits:?}");
}

#[test]
fn the_measured_round_trip_sets_the_waits() {
    let mut bench = joined(&config(Profile::LowLatency), 100);
    for round in 0..50 {
        let sqn = 102 + 2 * round;
        bench.odata(sqn, 100);
        bench.pass(40 * US);
        bench.ncf(&[sqn - 1]);
        bench.rdata(sqn - 1, 100);
        bench.pass(MS);
    }
    let info = bench.receiver.sessions().next().expect("the session");
    assert!((10 * US..45 * US).contains(&info.repair_rtt_ns), "{info:?}");
    assert_eq!(info.nak_bo_ivl_ns, 5 * US, "a receiver alone narrows its back-off to the floor");
    bench.sent.clear();
    bench.odata(202, 100);
    bench.pass(6 * MS);
    let at: Vec<u64> = bench.naks().map(|nak| nak.at).collect();
    assert!((50 * US..300 * US).contains(&(at[1] - at[0])), "{at:?}");
}

#[test]
fn with_all_frames_in_use_nobody_asks_again_before_the_answer_can_be_there() {
    let mut config = config(Profile::LowLatency);
    config.held_max = 16;
    let mut bench = Bench::new(&config);
    bench.spm(1, 100, 4_999);
    bench.odata(5_000, 100);
    for round in 0..50 {
        let sqn = 5_002 + 2 * round;
        bench.odata(sqn, 100);
        bench.pass(MS);
        bench.ncf(&[sqn - 1]);
        bench.rdata(sqn - 1, 100);
    }
    let rtt_ns = bench.receiver.sessions().next().expect("the session").repair_rtt_ns;
    assert!((500 * US..1_100 * US).contains(&rtt_ns), "{rtt_ns}");
    bench.sent.clear();
    for sqn in 5_102..5_902 {
        bench.odata(sqn, 100);
        bench.pass(30 * US);
    }
    assert!(bench.receiver.stats().all.hold_refused > 0, "there was room");
    let asked: Vec<u64> = bench.naks().filter(|nak| nak.sqns().contains(&5_101)).map(|nak| nak.at).collect();
    assert!(asked.len() > 3, "it waits {asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= rtt_ns), "{asked:?}");
}

#[test]
fn without_a_free_frame_naks_wait_and_then_go() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    bench.pool.set_fill_reserve(4096);
    bench.pass(SECOND);
    assert_eq!(bench.naked(), [0_u32; 0]);
    assert!(bench.receiver.stats().all.no_frame > 0);
    bench.pool.set_fill_reserve(0);
    bench.pass(MS);
    assert_eq!(bench.naked(), [101]);
}
