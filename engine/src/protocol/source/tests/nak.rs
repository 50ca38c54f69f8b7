//! Conformance section E: NAKs, confirmations and repairs.

use super::*;

/// A source whose window stays where it is.
fn with(profile: Profile, packets: u64) -> Bench {
    let mut config = config(profile);
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    bench.publish(packets);
    bench.take();
    bench
}

fn other(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 2, n])
}

/// RFC 3208 §5.2, §5.3, §8.3, conformance 15, 53, 54, 56
#[test]
fn a_nak_is_confirmed_at_once_and_then_repaired_with_what_was_sent() {
    for (_, profile) in Profile::ALL {
        let mut bench = with(profile, 10);
        let begin = bench.now;
        bench.nak(&[1004]);
        bench.run(ms(60));
        let ncf = bench.sent[0].clone();
        assert_eq!(ncf.at, begin, "{profile:?}");
        assert_eq!(ncf.ncf(), Some(Nak { sqn: Sqn::new(1004), source: NLA, group: GROUP }));
        assert_eq!((ncf.header.tsi, ncf.header.data_port), (SESSION.tsi, SESSION.data_port));
        assert_eq!(ncf.bytes[..2], SESSION.tsi.port.to_be_bytes(), "ports in downstream order");
        let repair = bench.sent.iter().find(|sent| sent.rdata().is_some()).expect("a repair").clone();
        assert_eq!(repair.payload(), payload_of(Sqn::new(1004)));
        for sent in [&ncf, &repair] {
            assert_eq!(sent.to, To::Group(GROUP));
            assert_eq!(sent.router_alert, profile != Profile::LowLatency);
        }
        assert_eq!((bench.ncfs(), bench.rdata()), (vec![1004], vec![1004]));
    }
}

/// RFC 3208 §9.3.4, conformance 55
#[test]
fn a_list_is_confirmed_by_one_ncf_with_the_same_list_and_repaired_whole() {
    let mut bench = with(Profile::Lan, 64);
    let sqns: Vec<u32> = (1000..1063).collect();
    bench.nak(&sqns);
    bench.flush();
    let ncf = bench.sent[0].clone();
    assert_eq!(ncf.ncf().expect("an NCF").sqn, Sqn::new(1000));
    let list: Vec<u32> = ncf.header.options.nak_list(&ncf.bytes).map(Sqn::get).collect();
    assert_eq!(list, sqns[1..]);
    assert_eq!(bench.ncfs().len(), 1);
    assert_eq!(bench.rdata(), sqns);
}

/// RFC 3208 §5.2, conformance 53, 57
#[test]
fn a_nak_below_the_trail_is_confirmed_and_counted_and_the_trail_announced_but_nothing_repaired() {
    for (profile, confirmed) in [(Profile::Lan, true), (Profile::Windows, false)] {
        let mut config = config(profile);
        config.advance = Advance::Application;
        let mut bench = Bench::opened(&config);
        bench.publish(10);
        bench.source.advance_trail_to(&bench.pool, Sqn::new(1005));
        bench.run(Duration::from_secs(5));
        bench.take();
        bench.nak(&[1004]);
        bench.nak(&[1004]);
        bench.flush();
        assert_eq!(bench.ncfs().len(), usize::from(confirmed), "{profile:?}");
        assert_eq!(bench.spms().len(), 1);
        assert_eq!(bench.spms()[0].trail, Sqn::new(1005));
        bench.run(ms(100));
        assert!(bench.rdata().is_empty());
        assert_eq!(bench.source.stats().naks_too_late, 2);
    }
}

/// conformance 58
#[test]
fn naks_for_what_was_not_sent_for_others_or_by_the_wrong_way_are_ignored() {
    let mut bench = with(Profile::Lan, 10);
    bench.publisher.publish(b"committed, not sent").expect("room");
    let foreign = Session { tsi: Tsi { port: 1, ..SESSION.tsi }, ..SESSION };
    let other_port = Session { data_port: 7501, ..SESSION };
    for (session, source, group, sqns, to) in [
        (SESSION, NLA, GROUP, &[1010][..], NLA),
        (SESSION, NLA, GROUP, &[1002, 1010], NLA),
        (SESSION, NLA, GROUP, &[1000 + (1 << 31)], NLA),
        (SESSION, RECEIVER, GROUP, &[1002], NLA),
        (SESSION, NLA, IpAddr::from([239, 192, 0, 2]), &[1002], NLA),
        (SESSION, NLA, GROUP, &[1002], IpAddr::from([239, 192, 0, 2])),
        (SESSION, RECEIVER, GROUP, &[1002], GROUP),
        (foreign, NLA, GROUP, &[1002], NLA),
        (other_port, NLA, GROUP, &[1002], NLA),
    ] {
        let packet = nak_packet(NakType::Nak, &session, source, group, sqns);
        bench.arrive(&packet, RECEIVER, to);
    }
    let stats = *bench.source.stats();
    assert_eq!((stats.naks, stats.naks_ahead, stats.naks_foreign), (0, 3, 6));
    bench.run(ms(1));
    assert!(bench.ncfs().is_empty() && bench.rdata().is_empty());
}

/// conformance 164
#[test]
fn a_nak_that_names_the_spm_path_as_the_source_is_accepted_unless_switched_off() {
    let path = IpAddr::from([10, 0, 0, 99]);
    for accept in [true, false] {
        let mut config = config(Profile::Lan);
        config.accept_path_as_source = accept;
        let mut bench = Bench::opened(&config);
        bench.publish(3);
        let packet = nak_packet(NakType::Nak, &SESSION, path, GROUP, &[1001]);
        bench.arrive(&packet, RECEIVER, path);
        bench.flush();
        assert_eq!(bench.rdata().len(), usize::from(accept));
        assert_eq!(bench.source.stats().naks_foreign, u64::from(!accept));
        if accept {
            let ncf = bench.sent.iter().find_map(Sent::ncf).expect("an NCF");
            assert_eq!(ncf.source, path, "identical to the NAK");
        }
    }
}

/// OpenPGM sends a NAK for the first SQN of each list behind it.
/// conformance 59
#[test]
fn a_receiver_known_to_repeat_the_first_of_each_list_gets_each_repair_once() {
    let mut bench = with(Profile::LowLatency, 40);
    // As it is learnt, back to back: what waits or has just left is not repeated anyway.
    for first in [1001, 1011, 1021] {
        bench.nak(&[first, first + 2]);
        bench.nak(&[first]);
        bench.run(ms(30));
    }
    assert_eq!(
        (bench.take().iter().filter(|sent| sent.rdata().is_some()).count(), bench.source.stats().nak_echoes),
        (6, 0)
    );
    // Drawn apart, so that the repair has left long since.
    bench.nak(&[1030, 1032]);
    bench.run(ms(3));
    bench.nak(&[1030]);
    bench.run(ms(3));
    assert_eq!((bench.rdata(), bench.ncfs().len()), (vec![1030, 1032], 1));
    assert_eq!(bench.source.stats().nak_echoes, 1);
    // Once a list; a second one means it.
    bench.nak(&[1030]);
    bench.run(ms(3));
    assert_eq!(bench.rdata(), [1030, 1032, 1030]);
    // Its habit does not count against others, nor does a NAK that comes as late as a repeated one.
    bench.take();
    bench.nak(&[1034, 1036]);
    bench.nak_from(other(9), &[1034, 1036]);
    bench.run(ms(6));
    bench.nak_from(other(9), &[1034]);
    bench.run(ms(3));
    bench.nak(&[1034]);
    bench.run(ms(30));
    assert_eq!(bench.rdata().iter().filter(|sqn| **sqn == 1034).count(), 3, "{:?}", bench.rdata());
    assert_eq!(bench.source.stats().nak_echoes, 1);
}

/// conformance 59
#[test]
fn a_receiver_that_now_and_then_asks_for_the_first_of_a_list_again_is_answered_each_time() {
    let mut bench = with(Profile::LowLatency, 60);
    for round in 0..10 {
        let first = 1001 + 5 * round;
        bench.nak(&[first, first + 2]);
        bench.run(us(if round % 3 == 2 { 10_000 } else { 40 }));
        bench.nak(&[first]);
        bench.run(ms(30));
        bench.nak(&[first]);
        bench.run(ms(30));
        bench.nak(&[first, first + 2]);
        bench.run(ms(30));
    }
    assert_eq!(bench.source.stats().nak_echoes, 0);
    assert_eq!(bench.source.stats().naks, 40);
}

/// RFC 3208 §5.2, conformance 59
#[test]
fn a_storm_of_naks_for_one_packet_is_answered_within_the_limits_of_the_profile() {
    for (profile, ncfs, repairs) in
        [(Profile::Wan, 500, 250), (Profile::Lan, 1_000, 250), (Profile::LowLatency, 1_000, 250)]
    {
        let mut config = config(profile);
        config.advance = Advance::Data;
        let mut bench = Bench::opened(&config);
        bench.publish(10);
        bench.take();
        let begin = bench.now;
        for n in 0..1_000_u64 {
            bench.nak_from(other(n as u8), &[1003]);
            bench.run(ms(1));
        }
        assert_eq!(bench.sent[0].ncf().expect("the first NCF").sqn, Sqn::new(1003));
        assert_eq!(bench.sent[0].at, begin);
        assert!(bench.ncfs().len() <= ncfs, "{profile:?}: {} NCFs", bench.ncfs().len());
        assert!(bench.rdata().len() <= repairs, "{profile:?}: {} repairs", bench.rdata().len());
        let at: Vec<u64> =
            bench.sent.iter().filter(|sent| sent.rdata().is_some()).map(|sent| sent.at.as_nanos()).collect();
        let first = nanos(config.rdata_repeat).min(20_000);
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= first), "{profile:?}: held off after a repair");
        let last = at[at.len() - 1] - at[at.len() - 2];
        assert!((16_000_000..=17_000_000).contains(&last), "{profile:?}: the hold-off has doubled to its end: {last}");
        assert!(at.len() >= 60, "and it goes on answering");
    }
}

/// RFC 3208 §5.2, conformance 59
#[test]
fn the_hold_off_begins_anew_when_the_storm_is_over() {
    let mut bench = with(Profile::Lan, 4);
    for n in 0..40 {
        bench.nak_from(other(n), &[1003]);
        bench.run(ms(1));
    }
    let stormy = bench.rdata().len();
    bench.run(ms(50));
    bench.take();
    assert!(stormy < 10, "{stormy}");
    for n in 0..3 {
        bench.nak_from(other(n), &[1003]);
        bench.run(us(250));
    }
    assert!(bench.rdata().len() >= 2, "{:?}", bench.rdata());
}

/// conformance 62
#[test]
fn twenty_naks_within_a_millisecond_give_few_repairs_and_one_waits_at_most() {
    for profile in [Profile::Wan, Profile::Lan, Profile::LowLatency] {
        let mut bench = with(profile, 10);
        for n in 0..20 {
            bench.nak_from(other(n), &[1003]);
            bench.run(us(50));
        }
        bench.run(ms(5));
        assert!((1..=10).contains(&bench.rdata().len()), "{profile:?}: {}", bench.rdata().len());
    }
    let mut bench = with(Profile::Lan, 10);
    for n in 0..20 {
        bench.nak_from(other(n), &[1003, 1004]);
    }
    bench.run(ms(5));
    assert_eq!(bench.rdata(), [1003, 1004]);
    assert_eq!(bench.source.stats().naks_duplicate, 38);
}

#[test]
fn low_latency_learns_how_soon_a_receiver_repeats_its_nak() {
    let mut bench = with(Profile::LowLatency, 10);
    bench.nak(&[1001]);
    bench.flush();
    bench.now = bench.now.plus(60_000);
    bench.nak(&[1001]);
    bench.flush();
    assert_eq!(bench.rdata(), [1001], "taken for a duplicate: no receiver has been so quick before");
    bench.now = bench.now.plus(5_000_000);
    bench.nak(&[1002]);
    bench.flush();
    bench.now = bench.now.plus(60_000);
    bench.nak(&[1002]);
    bench.flush();
    assert_eq!(bench.rdata(), [1001, 1002, 1002], "now it is known, and the second request is served");
}

/// RFC 3208 §5.3, conformance 60
#[test]
fn repairs_are_delayed_as_configured() {
    let delays = |delay: RepairDelay| {
        let mut config = config(Profile::Lan);
        config.repair_delay = delay;
        config.advance = Advance::Application;
        let mut bench = Bench::opened(&config);
        bench.publish(60);
        bench.take();
        let begin = bench.now;
        bench.nak(&[1000, 1030, 1059]);
        bench.run(ms(200));
        let of = |sqn: u32| {
            let sent = bench.sent.iter().find(|sent| sent.rdata().is_some_and(|data| data.sqn.get() == sqn));
            sent.expect("a repair").at.since(begin) / 1_000
        };
        [of(1000), of(1030), of(1059)]
    };
    assert_eq!(delays(RepairDelay::None), [0, 0, 0]);
    assert_eq!(delays(RepairDelay::Fixed(ms(3))), [3_000, 3_000, 3_000]);
    assert_eq!(delays(RepairDelay::Windows), [0, 30_000, 59_000]);
}

/// RFC 3208 §9.5, conformance 61
#[test]
fn an_nnak_provokes_neither_ncf_nor_repair() {
    let mut bench = with(Profile::Lan, 10);
    let packet = nak_packet(NakType::Nnak, &SESSION, NLA, GROUP, &[1003]);
    bench.arrive(&packet, RECEIVER, NLA);
    bench.run(ms(1));
    assert!(bench.sent.is_empty());
    assert_eq!(bench.source.stats().nnaks, 1);
}

/// RFC 3208 §6.3, conformance 62
#[test]
fn the_multicast_copy_of_a_nak_and_the_unicast_one_count_once() {
    let mut bench = with(Profile::Windows, 10);
    let packet = nak_packet(NakType::Nak, &SESSION, NLA, GROUP, &[1003]);
    bench.arrive(&packet, RECEIVER, GROUP);
    bench.arrive(&packet, RECEIVER, NLA);
    bench.run(ms(100));
    assert_eq!((bench.ncfs().len(), bench.rdata().len()), (1, 1));
    assert_eq!((bench.source.stats().naks, bench.source.stats().nak_copies), (1, 1));
    bench.arrive(&packet, other(1), GROUP);
    assert_eq!(bench.source.stats().naks, 2, "a copy alone counts: the other one may be lost");
    bench.run(ms(1_000));
    bench.arrive(&packet, other(1), NLA);
    assert_eq!(bench.source.stats().naks, 3, "much later it is no copy");
}

#[test]
fn a_repair_waits_for_its_slot_to_come_back() {
    let mut bench = Bench::opened(&config(Profile::LowLatency));
    bench.hold = true;
    bench.publish(3);
    bench.nak(&[1001]);
    bench.run(us(50));
    assert!(bench.rdata().is_empty());
    assert!(bench.source.stats().repairs_deferred > 0);
    bench.complete();
    bench.run(us(50));
    assert_eq!(bench.rdata(), [1001]);
}

#[test]
fn with_router_alert_a_repair_is_a_copy_and_the_slot_stays_as_it_was() {
    let mut bench = with(Profile::Lan, 3);
    bench.hold = true;
    for _ in 0..2 {
        bench.run(ms(100));
        bench.take();
        bench.nak(&[1001]);
        bench.flush();
        assert_eq!(bench.rdata(), [1001]);
        assert_eq!(bench.sent[1].payload(), payload_of(Sqn::new(1001)));
    }
    assert_eq!(bench.pool.census().lent, 0, "no slot is in flight");
}

/// RFC 3208 §15.2.1, conformance 143
#[test]
fn duplicates_double_the_back_off_and_quiet_losses_halve_it_within_bounds() {
    let mut config = config(Profile::Wan);
    config.advance = Advance::Application;
    config.back_off = Some(BackOffTuning { min: ms(20), max: ms(180), start: ms(50), probes: 4 });
    let mut bench = Bench::opened(&config);
    bench.publish(60);
    let mut sqn = 1000;
    let mut advertised = |bench: &mut Bench, receivers: u8| {
        bench.take();
        for n in 0..receivers {
            bench.nak_from(other(n), &[sqn]);
        }
        bench.run(ms(300));
        sqn += 1;
        let ncf = bench.sent.iter().find(|sent| sent.ncf().is_some()).expect("an NCF");
        let interval = ncf.header.options.nak_bo_ivl(&ncf.bytes).expect("OPT_NAK_BO_IVL");
        assert_eq!(interval.poll_sqn, Sqn::new(0), "usable at once");
        interval.ivl_us
    };
    assert_eq!(advertised(&mut bench, 1), 50_000);
    assert_eq!(advertised(&mut bench, 9), 100_000, "doubled once, however many ask");
    assert_eq!(advertised(&mut bench, 2), 180_000, "but not beyond the maximum");
    for expected in [180_000, 180_000, 180_000, 180_000, 90_000, 90_000, 90_000, 90_000, 45_000] {
        assert_eq!(advertised(&mut bench, 1), expected);
    }
    for _ in 0..12 {
        advertised(&mut bench, 1);
    }
    assert_eq!(advertised(&mut bench, 1), 20_000);
}

/// RFC 3208 §15.3, conformance 53
#[test]
fn too_many_naks_for_one_loss_are_confirmed_by_unicast_until_an_spm_is_out() {
    let mut config = config(Profile::Lan);
    config.dup_nak_max = Some(20);
    let mut bench = Bench::opened(&config);
    bench.publish(5);
    bench.run(ms(1_000));
    bench.take();
    for n in 0..30 {
        bench.nak_from(other(n), &[1003]);
        if n == 18 {
            bench.flush();
            bench.now = bench.now.plus(nanos(config.ncf_repeat));
        }
    }
    bench.flush();
    let (ncfs, spms) = (bench.ncfs().len(), bench.spms().len());
    assert_eq!((ncfs, spms), (2, 1));
    let confirmations: Vec<Sent> = bench.take().into_iter().filter(|sent| sent.ncf().is_some()).collect();
    assert_eq!(confirmations[0].to, To::Group(GROUP));
    assert!(!confirmations[0].header.options.nbr_unreach());
    let unicast = &confirmations[1];
    assert_eq!(unicast.to, To::Unicast(other(19)));
    assert!(unicast.header.options.nbr_unreach());
    assert_eq!(unicast.header.options.path_nla(&unicast.bytes), Some(NLA));
    bench.nak_from(other(1), &[1002]);
    bench.flush();
    assert_eq!(bench.sent[0].to, To::Group(GROUP), "the SPM has ended it");
    assert_eq!(bench.source.stats().containments, 1);
}

#[test]
fn a_flood_of_confirmations_is_bounded_and_what_is_dropped_is_counted() {
    let mut config = config(Profile::Lan);
    config.window_slots = 1024;
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    bench.publish(1000);
    bench.take();
    for sqn in 1000..2000 {
        bench.nak(&[sqn]);
    }
    bench.flush();
    let stats = *bench.source.stats();
    assert_eq!(stats.ncfs + stats.ncfs_dropped, 1_000);
    assert!(stats.ncfs_dropped > 0);
    assert_eq!(bench.rdata(), (1000..2000).collect::<Vec<_>>(), "the repairs are all made");
}

/// RFC 3208 §15.2.1, conformance 143
#[test]
fn only_the_first_duplicate_for_a_packet_doubles_the_back_off() {
    let mut config = config(Profile::Wan);
    config.advance = Advance::Application;
    config.back_off = Some(BackOffTuning { min: ms(1), max: ms(2_000), start: ms(2), probes: 16 });
    let mut bench = Bench::opened(&config);
    bench.publish(5);
    for _ in 0..200 {
        bench.nak(&[1003]);
        bench.run(ms(5));
    }
    let ncf = bench.sent.iter().rfind(|sent| sent.ncf().is_some()).expect("an NCF");
    let interval = ncf.header.options.nak_bo_ivl(&ncf.bytes).expect("OPT_NAK_BO_IVL");
    assert_eq!(interval.ivl_us, 4_000);
}

/// RFC 3208 §5.1.3, §5.2, conformance 35, 159
#[test]
fn a_flood_of_naks_that_fills_every_batch_with_confirmations_starves_neither_data_nor_spms() {
    let mut config = config(Profile::Lan);
    config.window_slots = 2048;
    config.advance = Advance::Application;
    config.ncf_repeat = Duration::ZERO;
    config.ambient_spm = ms(5);
    let mut bench = Bench::opened(&config);
    bench.publish(1000);
    bench.take();
    let mut sqn = 0;
    for _ in 0..200 {
        let _ = bench.publisher.publish(b"x");
        for _ in 0..64 {
            sqn = (sqn + 1) % 1000;
            bench.nak(&[1000 + sqn]);
        }
        bench.transmit();
        bench.now = bench.now.plus(100_000);
    }
    assert!(bench.odata().len() >= 190, "{} packets of data", bench.odata().len());
    assert!(bench.ncfs().len() >= 6_000, "{} NCFs", bench.ncfs().len());
    assert!(!bench.spms().is_empty());
}

/// RFC 3208 §5.1.2, §5.1.3, conformance 33, 159
#[test]
fn a_flood_of_naks_does_not_take_the_whole_peak_rate_for_confirmations() {
    let mut config = config(Profile::Lan);
    config.window_slots = 2048;
    config.advance = Advance::Application;
    config.peak = Rate::OctetsPerSecond(1_000_000);
    config.rate = Rate::OctetsPerSecond(1_000_000);
    config.router_alert = false;
    let mut bench = Bench::opened(&config);
    for _ in 0..1000 {
        bench.publisher.publish(&[7; 500]).expect("room");
    }
    bench.run(Duration::from_secs(1));
    bench.take();
    for n in 0..20_000 {
        bench.nak(&[1000 + n % 1000]);
        let _ = bench.publisher.publish(&[7; 500]);
        bench.run(us(20));
    }
    let stats = bench.source.stats();
    let odata: usize = bench.sent.iter().filter(|sent| sent.odata().is_some()).map(|sent| sent.bytes.len()).sum();
    assert!(odata > 15_000, "{odata} octets of data in 0.4 s: not a share, but no starvation either");
    assert!(bench.ncfs().len() > 400 && stats.ncfs_dropped > 0, "{stats:?}");
}
