//! What strangers and broken sources can do: bounded, counted, and of no harm to others.

use super::super::OnLoss;
use super::*;

/// conformance 158
#[test]
fn a_lead_two_thousand_million_ahead_costs_nothing_and_loses_nothing_that_is_there() {
    let mut config = plain();
    config.window_slots = 64;
    config.nak_ncf_retries = 1;
    let mut bench = joined(&config, 100);
    bench.spm(2, 100, 100 + (i32::MAX as u32) - 1);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), (101..165).collect::<Vec<_>>());
    bench.odata(101, 100);
    bench.odata(103, 100);
    assert_eq!(bench.said(), [Said::Data(101)]);
    // The source confesses that it is all gone: one range.
    bench.spm(3, 100 + (i32::MAX as u32), 100 + (i32::MAX as u32) - 1);
    let cause = LossCause::WindowPassed;
    assert_eq!(
        bench.said(),
        [Said::Loss(102, 102, cause), Said::Data(103), Said::Loss(104, 100 + (i32::MAX as u32) - 1, cause)]
    );
    bench.odata(100 + (i32::MAX as u32), 100 + (i32::MAX as u32));
    assert_eq!(bench.said(), [Said::Data(100 + (i32::MAX as u32))]);
}

/// conformance 158
#[test]
fn a_lead_that_never_comes_true_resets_the_session_by_policy() {
    let mut config = plain();
    config.window_slots = 64;
    config.on_loss = OnLoss::Reset;
    config.nak_ncf_retries = 1;
    let mut bench = joined(&config, 100);
    bench.spm(2, 100, 100 + (i32::MAX as u32) - 1);
    bench.pass(2 * SECOND);
    let cause = LossCause::NoConfirmation;
    assert!(
        matches!(bench.said()[..], [Said::Loss(101, _, LossCause::NoConfirmation), Said::Closed(end)] if end == End::Lost(cause))
    );
}

/// conformance 157
#[test]
fn a_million_invented_sessions_displace_each_other_and_nobody_else() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    let mut next = 103;
    for stranger in 0..100_000_u32 {
        let [a, b, c, d] = stranger.to_be_bytes();
        bench.tsi = Tsi::new(Gsi::new([9, 9, a, b, c, d]), 7);
        bench.from = IpAddr::V4(Ipv4Addr::new(10, 9, c, d));
        if stranger % 3 == 0 {
            bench.spm(1, 10, 9);
        } else {
            bench.odata(10, 10);
            if stranger % 7 == 0 {
                bench.odata(20, 10);
            }
        }
        if stranger % 1000 == 0 {
            (bench.tsi, bench.from) = (TSI, SOURCE);
            bench.odata(next, 100);
            next += 1;
        }
        bench.application.payloads.clear();
    }
    (bench.tsi, bench.from) = (TSI, SOURCE);
    assert!(bench.receiver.sessions().count() <= 8);
    let stats = *bench.receiver.stats();
    assert!(stats.sessions_evicted > 99_000 && stats.sessions_refused == 0, "{stats:?}");
    bench.rdata(101, 100);
    let ours: Vec<Said> =
        bench.application.said.drain(..).filter(|(tsi, _)| *tsi == TSI).map(|(_, said)| said).collect();
    assert_eq!(ours, (101..next).map(Said::Data).collect::<Vec<_>>());
}

/// conformance 157
#[test]
fn a_table_full_of_proven_sessions_refuses_newcomers() {
    let mut bench = joined(&plain(), 100);
    for port in 0..20 {
        bench.tsi = Tsi { port, ..TSI };
        bench.spm(1, 1, 0);
        bench.odata(1, 1);
    }
    let stats = bench.receiver.stats();
    assert_eq!((stats.sessions_tracked, stats.sessions_evicted), (8, 0));
    assert_eq!(stats.sessions_refused, 2 * 13);
}

#[test]
fn a_flood_of_confirmations_for_everything_is_bounded_work_and_changes_little() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    for block in 0..2000_u32 {
        let first = 200 + block.wrapping_mul(2_000_003);
        bench.ncf(&(first..first + 63).collect::<Vec<_>>());
        bench.peer_nak(&(first..first + 63).collect::<Vec<_>>());
    }
    bench.rdata(101, 100);
    assert_eq!(bench.said(), [Said::Data(101), Said::Data(102)]);
}

#[test]
fn parity_and_packets_for_others_have_no_effect() {
    let mut bench = joined(&plain(), 100);
    let template = DataTemplate::new(&bench.session());
    let mut packet = [0; 28];
    let payload = sum(&[0; 4]);
    let mut front = [0; build::DATA_HEADER_LEN];
    template.plain(&mut front, DataType::Odata, Content::Parity, Sqn::new(101), Sqn::new(100), 4, payload);
    packet[..24].copy_from_slice(&front);
    bench.packet(&packet);
    let session = build::Session { data_port: 9, ..bench.session() };
    let len = build::spm(&mut packet.to_vec().repeat(4), &session, &spm(5, 100, 200), &PLAIN).expect("an SPM");
    let mut other = vec![0; len];
    build::spm(&mut other, &session, &spm(5, 100, 200), &PLAIN).expect("an SPM");
    bench.packet(&other);
    bench.pass(SECOND);
    let stats = *bench.receiver.stats();
    assert_eq!((stats.all.parity_ignored, stats.not_for_us, bench.said(), bench.naked()), (1, 1, vec![], vec![]));
}

#[test]
fn the_trail_can_jump_again_and_again_at_bounded_cost() {
    let mut config = plain();
    config.window_slots = 1024;
    let mut bench = joined(&config, 100);
    let mut trail = 100_u32;
    for _ in 0..1000 {
        trail = trail.wrapping_add(5_000_000);
        bench.odata(trail.wrapping_add(1000), trail);
    }
    let lost: u64 = bench
        .said()
        .iter()
        .map(|said| if let Said::Loss(first, last, _) = said { u64::from(last.wrapping_sub(*first)) + 1 } else { 0 })
        .sum();
    assert_eq!(lost, bench.receiver.stats().all.lost_packets);
    let info = bench.receiver.sessions().next().expect("the session");
    assert_eq!(info.expected, Some(Sqn::new(trail)));
}

/// conformance 158
#[test]
fn a_lead_that_laps_the_number_space_is_not_taken_for_progress() {
    let mut config = plain();
    config.window_slots = 64;
    let mut bench = joined(&config, 100);
    bench.odata(103, 100);
    let first = 100_u32.wrapping_add(i32::MAX as u32 - 2);
    bench.spm(2, 100, first);
    let trail = first.wrapping_sub(5);
    let second = trail.wrapping_add(i32::MAX as u32 - 2);
    bench.spm(3, trail, second);
    let cause = LossCause::WindowPassed;
    assert_eq!(
        bench.said(),
        [Said::Loss(101, 102, cause), Said::Data(103), Said::Loss(104, trail.wrapping_sub(1), cause)]
    );
    bench.odata(trail, trail);
    assert_eq!(bench.said(), [Said::Data(trail)]);
}

/// conformance 158
#[test]
fn an_edge_that_waits_behind_the_trail_is_not_lapped_by_it() {
    let mut bench = joined(&plain(), 100);
    // Half of an APDU, and the trail in its middle: it waits.
    bench.data_with(DataType::Odata, 101, 100, &fragment(101, 0, 8), b"half");
    bench.odata(103, 102);
    assert_eq!(bench.said(), []);
    let far = 102_u32 + i32::MAX as u32;
    bench.odata(far, far);
    bench.odata(far.wrapping_add(1), far);
    let cause = LossCause::WindowPassed;
    let said = bench.said();
    let [Said::Loss(101, 102, LossCause::WindowPassed), Said::Data(103), Said::Loss(104, last, _), ..] = said[..]
    else {
        panic!("{said:?}");
    };
    assert_eq!(said[3..], [Said::Loss(last + 1, far - 1, cause), Said::Data(far), Said::Data(far.wrapping_add(1))]);
}

#[test]
fn a_jump_of_the_trail_tells_what_was_held_and_every_range_between() {
    let mut config = plain();
    config.window_slots = 1 << 20;
    config.held_max = 64;
    let mut bench = joined(&config, 100);
    bench.pass(60 * MS);
    for sqn in [1_000, 1_001, 70_000, 1_000_000] {
        bench.odata(sqn, 100);
    }
    // Some of it is asked for, the most is not.
    bench.pass(60 * MS);
    let asked = bench.naked();
    assert_eq!((asked.len(), asked.iter().max()), (64, Some(&164)));
    bench.odata(1_000_010, 1_000_005);
    let cause = LossCause::WindowPassed;
    assert_eq!(
        bench.said(),
        [
            Said::Loss(101, 999, cause),
            Said::Data(1_000),
            Said::Data(1_001),
            Said::Loss(1_002, 69_999, cause),
            Said::Data(70_000),
            Said::Loss(70_001, 999_999, cause),
            Said::Data(1_000_000),
            Said::Loss(1_000_001, 1_000_004, cause),
        ]
    );
}

#[test]
fn an_apdu_whose_last_parts_displace_newer_data_is_delivered_whole() {
    let mut config = plain();
    config.held_max = 8;
    let mut bench = joined(&config, 100);
    let part = |bench: &mut Bench, n: u32, payload: &[u8]| {
        bench.data_with(DataType::Odata, 101 + n, 100, &fragment(101, 4 * n, 20), payload);
    };
    for n in 0..3 {
        part(&mut bench, n, b"part");
    }
    for sqn in 200..205 {
        bench.odata(sqn, 100);
    }
    // The quota is full: each of these displaces the newest, and the APDU is complete with the last.
    part(&mut bench, 4, b"part");
    assert_eq!((bench.said(), bench.receiver.stats().all.hold_evicted), (vec![], 1));
    part(&mut bench, 3, b"part");
    assert_eq!(bench.said(), (101..106).map(Said::Data).collect::<Vec<_>>());
    assert_eq!(bench.receiver.stats().all.hold_evicted, 2);
}

/// OpenPGM sends unasked parity as RDATA, and announces it in an SPM whose two bits are swapped.
#[test]
fn parity_that_comes_unasked_as_rdata_neither_begins_a_session_nor_fills_a_gap() {
    let template = DataTemplate::new(&build::Session { tsi: TSI, data_port: PORT });
    let mut packet = [0; build::DATA_HEADER_LEN + 4];
    let (kind, content) = (DataType::Rdata, Content::Parity);
    let (front, payload) = packet.split_at_mut(build::DATA_HEADER_LEN);
    payload.copy_from_slice(b"xxxx");
    let sum = sum(payload);
    let (sqn, trail) = (Sqn::new(101), Sqn::new(100));
    template.data(front, kind, content, sqn, trail, &DataOptions::NONE, 4, sum).expect("a parity packet");

    let mut bench = Bench::new(&plain());
    bench.packet(&packet);
    assert_eq!((bench.receiver.sessions().count(), bench.said()), (0, vec![]));
    let parity_prm = Some(crate::wire::ParityPrm { proactive: false, on_demand: true, tg_size: 8 });
    let mut bench = joined(&plain(), 100);
    bench.spm_with(spm(2, 100, 100), &SpmOptions { parity_prm, ..PLAIN });
    bench.odata(102, 100);
    bench.packet(&packet);
    bench.pass(60 * MS);
    assert_eq!((bench.naked(), bench.receiver.stats().all.parity_ignored), (vec![101], 1));
    bench.rdata(101, 100);
    assert_eq!(bench.said(), [Said::Data(101), Said::Data(102)]);
}
