//! SPMs: path, sequence, window, timers of the NAK back-off, and unreachable neighbours.

use super::*;
use crate::wire::{NakBoIvl, NakBoRng};

fn destinations(bench: &Bench) -> Vec<To> {
    bench.naks().map(|nak| nak.to).collect()
}

/// RFC 3208 §6.2, conformance 75
#[test]
fn naks_go_to_the_path_of_the_latest_spm() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    bench.pass(60 * MS);
    bench.spm_with(Spm { path: ROUTER, ..spm(2, 100, 102) }, &PLAIN);
    bench.pass(300 * MS);
    assert_eq!(destinations(&bench), [To::Unicast(SOURCE), To::Unicast(ROUTER)]);
    assert_eq!(bench.naked(), [101, 101]);
}

/// RFC 3208 §6.2, conformance 76
#[test]
fn an_spm_out_of_sequence_changes_nothing() {
    let mut bench = joined(&plain(), 100);
    bench.spm(10, 100, 100);
    for stale in [10, 9, 0, 10_u32.wrapping_add(1 << 31)] {
        let options =
            SpmOptions { fin: true, nak_bo_ivl: Some(NakBoIvl { ivl_us: 1_000_000, poll_sqn: Sqn::new(0) }), ..PLAIN };
        bench.spm_with(Spm { path: ROUTER, ..spm(stale, 101, 110) }, &options);
    }
    assert_eq!(bench.receiver.stats().all.spms_out_of_sequence, 4);
    let info = bench.receiver.sessions().next().expect("the session");
    assert_eq!((info.lead, info.path, info.nak_bo_ivl_ns), (Sqn::new(100), Some(SOURCE), 50 * MS));
    // Across the wrap it is in sequence again.
    let mut bench = joined(&plain(), 100);
    bench.spm(u32::MAX / 2, 100, 100);
    bench.spm(u32::MAX - 5, 100, 100);
    bench.spm(3, 100, 107);
    assert_eq!(bench.receiver.sessions().next().expect("the session").lead, Sqn::new(107));
}

/// RFC 3208 §6.2, conformance 77
#[test]
fn stale_window_values_are_ignored_and_the_rest_of_the_spm_is_used() {
    let mut bench = joined(&plain(), 100);
    for sqn in 101..110 {
        bench.odata(sqn, 100);
    }
    bench.odata(111, 105);
    bench.said();
    bench.spm_with(Spm { path: ROUTER, ..spm(2, 90, 103) }, &PLAIN);
    bench.pass(60 * MS);
    assert_eq!(bench.said(), []);
    assert_eq!((bench.naked(), destinations(&bench)), (vec![110], vec![To::Unicast(ROUTER)]));
}

/// RFC 3208 §8.1, conformance 109
#[test]
fn an_spm_without_window_information_leaves_the_window_alone() {
    let mut bench = joined(&plain(), 100);
    bench.spm(2, 0, 0x8000_0000);
    bench.pass(SECOND);
    assert_eq!((bench.said(), bench.naked()), (vec![], vec![]));
    // As the first SPM of a session it gives a path, and nothing to join at.
    let mut bench = Bench::new(&plain());
    bench.spm(1, 0, 0x8000_0000);
    bench.odata(77, 70);
    bench.odata(79, 70);
    bench.pass(60 * MS);
    assert_eq!((bench.said(), bench.naked()), (vec![Said::Opened(77), Said::Data(77)], vec![78]));
}

/// RFC 3208 §15.2.2, conformance 106
#[test]
fn an_advertised_back_off_is_used_at_once_or_when_we_took_part_in_its_poll() {
    let ivl = |bench: &Bench| bench.receiver.sessions().next().expect("the session").nak_bo_ivl_ns / MS;
    let with = |ms: u32, poll_sqn: u32| SpmOptions {
        nak_bo_ivl: Some(NakBoIvl { ivl_us: ms * 1000, poll_sqn: Sqn::new(poll_sqn) }),
        ..PLAIN
    };
    let mut bench = joined(&plain(), 100);
    bench.spm_with(spm(2, 100, 100), &with(20, 0));
    assert_eq!(ivl(&bench), 20);
    bench.spm_with(spm(3, 100, 100), &with(30, 7));
    assert_eq!(ivl(&bench), 20, "the previous value stays");
    bench.poll_packet(8, 0);
    bench.spm_with(spm(4, 100, 100), &with(30, 7));
    assert_eq!(ivl(&bench), 20, "that poll was before ours");
    bench.poll_packet(9, 1);
    bench.spm_with(spm(5, 100, 100), &with(30, 8));
    assert_eq!(ivl(&bench), 30);
    // In NCFs as well.
    let options =
        NakOptions { nak_bo_ivl: Some(NakBoIvl { ivl_us: 40_000, poll_sqn: Sqn::new(0) }), ..NakOptions::NONE };
    bench.nak_like(NakType::Ncf, &[50], &options);
    assert_eq!(ivl(&bench), 40);
}

/// RFC 3208 §15.2.2, conformance 107
#[test]
fn advertised_bounds_hold_for_the_back_off_and_absurd_ones_are_clamped() {
    let ivl = |bench: &Bench| bench.receiver.sessions().next().expect("the session").nak_bo_ivl_ns;
    let advertise = |ivl_us: u32, rng: Option<(u32, u32)>| SpmOptions {
        nak_bo_ivl: Some(NakBoIvl { ivl_us, poll_sqn: Sqn::new(0) }),
        nak_bo_rng: rng.map(|(min_us, max_us)| NakBoRng { max_us, min_us }),
        ..PLAIN
    };
    let mut bench = joined(&plain(), 100);
    bench.spm_with(spm(2, 100, 100), &advertise(u32::MAX, None));
    assert_eq!(ivl(&bench), 2 * SECOND, "the profile's own bounds");
    bench.spm_with(spm(3, 100, 100), &advertise(0, None));
    assert_eq!(ivl(&bench), 10 * MS);
    bench.spm_with(spm(4, 100, 100), &advertise(1, Some((3_000, 5_000))));
    assert_eq!(ivl(&bench), 3 * MS);
    bench.spm_with(spm(5, 100, 100), &advertise(9_000, None));
    assert_eq!(ivl(&bench), 5 * MS);
    bench.spm_with(spm(6, 100, 100), &advertise(u32::MAX, Some((0, u32::MAX))));
    assert_eq!(ivl(&bench), 10 * SECOND, "no source silences us for an hour");
    // Bounds upside down: the upper one counts.
    bench.spm_with(spm(7, 100, 100), &advertise(1, Some((u32::MAX, 4_000))));
    assert_eq!(ivl(&bench), 4 * MS);
}

/// RFC 3208 §15.3.2, conformance 108
#[test]
fn a_parent_that_cannot_reach_us_silences_us_until_a_regular_spm() {
    let unreachable = SpmOptions { nbr_unreach: true, ..PLAIN };
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    // Not our parent.
    bench.spm_with(Spm { path: ROUTER, ..spm(1, 0, 0x8000_0000) }, &unreachable);
    bench.pass(60 * MS);
    assert_eq!((bench.naked(), bench.receiver.stats().all.nbr_unreach_ignored), (vec![101], 1));
    // Our parent, with the sequence number of its last SPM.
    bench.spm_with(spm(1, 0, 0x8000_0000), &unreachable);
    bench.pass(5 * SECOND);
    assert_eq!(bench.naked(), [101]);
    bench.spm(2, 100, 102);
    bench.pass(100 * MS);
    assert_eq!(bench.naked(), [101, 101]);
}

/// RFC 3208 §15.3.2, conformance 108
#[test]
fn a_unicast_ncf_of_an_unreachable_neighbour_silences_us_and_is_repeated_for_our_neighbours() {
    let options = |path| NakOptions { nbr_unreach: true, path_nla: Some(path), ..NakOptions::NONE };
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    bench.to = OURS;
    bench.nak_like(NakType::Ncf, &[101], &options(ROUTER));
    assert_eq!(bench.sent.len(), 0);
    bench.nak_like(NakType::Ncf, &[101], &options(SOURCE));
    let [relayed] = &bench.sent[..] else { panic!("one packet, not {:?}", bench.sent) };
    assert_eq!(relayed.to, To::Neighbours(GROUP));
    assert!(matches!(relayed.header.kind, Kind::Ncf(nak) if nak.sqn == Sqn::new(101)));
    assert!(relayed.header.options.nbr_unreach());
    bench.pass(10 * SECOND);
    assert_eq!(bench.naked(), [0_u32; 0]);
    // Multicast, it is not repeated.
    bench.to = GROUP;
    bench.nak_like(NakType::Ncf, &[101], &options(SOURCE));
    assert_eq!(bench.sent.len(), 1);
}

/// conformance 162
#[test]
fn a_path_that_is_no_address_to_send_to_is_refused_and_the_last_good_one_stays() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    for (sqn, path) in ["239.1.2.3", "0.0.0.0", "255.255.255.255", "127.0.0.1", "fe80::1"].into_iter().enumerate() {
        bench.spm_with(Spm { path: path.parse().expect("an address"), ..spm(2 + sqn as u32, 100, 102) }, &PLAIN);
    }
    assert_eq!(bench.receiver.stats().all.spms_bad_path, 5);
    bench.pass(60 * MS);
    assert_eq!(destinations(&bench), [To::Unicast(SOURCE)]);
}

/// RFC 3208 §15.2.2, conformance 107
#[test]
fn an_adaptive_back_off_stays_inside_advertised_bounds() {
    let mut bench = joined(&config(Profile::LowLatency), 100);
    let rng = Some(NakBoRng { max_us: 800, min_us: 100 });
    bench.spm_with(spm(2, 100, 100), &SpmOptions { nak_bo_rng: rng, ..PLAIN });
    assert_eq!(bench.receiver.sessions().next().expect("the session").nak_bo_ivl_ns, 100 * US);
    for round in 0..8 {
        let sqn = 102 + 2 * round;
        bench.odata(sqn, 100);
        bench.ncf(&[sqn - 1]);
        bench.ncf(&[sqn - 1]);
        bench.rdata(sqn - 1, 100);
        bench.pass(10 * MS);
    }
    assert_eq!(bench.receiver.sessions().next().expect("the session").nak_bo_ivl_ns, 800 * US);
}

/// RFC 3208 §15.3.2, conformance 108
#[test]
fn nothing_is_given_up_while_we_may_not_ask_for_it() {
    let mut config = plain();
    (config.nak_ncf_retries, config.nak_data_retries) = (0, 0);
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101]);
    // Often enough that a count of tries would end.
    for sqn in 1..300 {
        bench.spm_with(spm(sqn, 0, 0x8000_0000), &SpmOptions { nbr_unreach: true, ..PLAIN });
        bench.pass(400 * MS);
        assert_eq!(bench.said(), []);
        bench.spm(sqn + 1, 100, 102);
        bench.pass(MS);
    }
    bench.pass(SECOND);
    assert_eq!(bench.said(), [Said::Loss(101, 101, LossCause::NoConfirmation), Said::Data(102)]);
}
