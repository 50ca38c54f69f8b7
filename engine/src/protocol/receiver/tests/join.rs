//! Joining, SPM requests, and whose session it is.

use super::*;
use crate::protocol::receiver::JoinOn;

/// RFC 3208 §6.1, conformance 72
#[test]
fn the_first_data_packet_is_where_a_receiver_begins() {
    for data_type in [DataType::Odata, DataType::Rdata] {
        let mut bench = Bench::new(&plain());
        bench.data_with(data_type, 100, 50, &DataOptions::NONE, b"x");
        assert_eq!(bench.said(), [Said::Opened(100), Said::Data(100)]);
        bench.spm(1, 50, 100);
        bench.pass(10 * SECOND);
        assert_eq!(bench.naked(), [0_u32; 0], "nothing before the first packet is asked for");
        // Neither when the trail has passed it.
        bench.odata(101, 101);
        bench.pass(10 * SECOND);
        assert_eq!((bench.naked(), bench.said()), (vec![], vec![Said::Data(101)]));
    }
}

/// RFC 3208 §6.1, conformance 72
#[test]
fn after_an_spm_the_session_begins_behind_its_lead_and_a_lost_first_packet_is_a_loss() {
    let mut bench = Bench::new(&plain());
    bench.spm(1, 50, 99);
    assert_eq!(bench.said(), []);
    bench.odata(102, 50);
    bench.pass(100 * MS);
    assert_eq!(bench.naked(), [100, 101]);
    bench.rdata(100, 50);
    bench.rdata(101, 50);
    assert_eq!(bench.said(), [Said::Opened(100), Said::Data(100), Said::Data(101), Said::Data(102)]);
}

/// RFC 3208 §9.4.2, conformance 73, 42
#[test]
fn an_offer_of_history_is_taken_up_as_far_as_the_trail_lets_it() {
    for (offer, trail, first) in [(90, 50, 90), (40, 50, 50), (120, 50, 100)] {
        let join = Some(Sqn::new(offer));
        let mut by_data = Bench::new(&plain());
        by_data.data_with(DataType::Odata, 100, trail, &DataOptions { join, ..DataOptions::NONE }, b"x");
        by_data.spm(2, trail, 100);
        by_data.pass(100 * MS);
        assert_eq!(by_data.naked(), (first..100).collect::<Vec<_>>());

        let mut by_spm = Bench::new(&plain());
        by_spm.spm_with(spm(1, trail, 99), &SpmOptions { join, ..PLAIN });
        by_spm.pass(100 * MS);
        assert_eq!(by_spm.naked(), (first..100).collect::<Vec<_>>());

        let mut config = plain();
        config.take_history = false;
        let mut declined = Bench::new(&config);
        declined.spm_with(spm(1, trail, 99), &SpmOptions { join, ..PLAIN });
        declined.pass(100 * MS);
        assert_eq!(declined.naked(), [0_u32; 0]);
    }
}

/// conformance 86
#[test]
fn in_the_windows_profile_only_odata_opens_a_session() {
    let mut config = config(Profile::Windows);
    assert_eq!(config.join_on, JoinOn::Odata);
    config.window_slots = 64;
    let mut bench = Bench::new(&config);
    bench.spm(1, 50, 99);
    bench.rdata(90, 50);
    bench.pass(SECOND);
    assert_eq!((bench.said(), bench.naked()), (vec![], vec![]));
    bench.odata(110, 50);
    assert_eq!(bench.said(), [Said::Opened(110), Said::Data(110)]);
}

/// RFC 3208 §3.1, conformance 85
#[test]
fn sessions_of_one_group_are_independent() {
    let mut bench = joined(&plain(), 100);
    let other = Tsi { port: 1001, ..TSI };
    bench.tsi = other;
    bench.odata(7, 7);
    bench.odata(9, 7);
    bench.tsi = TSI;
    bench.odata(101, 100);
    let said: Vec<_> = bench.application.said.drain(..).collect();
    assert_eq!(said, [(other, Said::Opened(7)), (other, Said::Data(7)), (TSI, Said::Data(101))]);
    let held: u32 = bench.receiver.sessions().map(|session| session.held).sum();
    assert_eq!(held, 1);
}

#[test]
fn the_start_of_a_stream_is_told_from_a_late_join() {
    for syn in [true, false] {
        let mut bench = Bench::new(&plain());
        bench.data_with(DataType::Odata, 5, 5, &DataOptions { syn, ..DataOptions::NONE }, b"first");
        assert_eq!(bench.application.from_start, [syn]);
    }
}

/// RFC 3208 §6.2, conformance 74
#[test]
fn no_nak_leaves_before_the_first_spm() {
    let mut bench = Bench::new(&plain());
    bench.odata(100, 100);
    bench.odata(103, 100);
    bench.pass(5 * SECOND);
    assert_eq!(bench.naked(), [0_u32; 0]);
    bench.spm(1, 100, 103);
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101, 102]);
    bench.rdata(101, 100);
    bench.rdata(102, 100);
    assert_eq!(bench.said()[2..], [Said::Data(101), Said::Data(102), Said::Data(103)]);
}

/// RFC 3208 §13.5, conformance 110
#[test]
fn an_spmr_is_delayed_at_random_and_goes_to_the_group_with_ttl_1_before_it_goes_to_the_source() {
    let mut delays = Vec::new();
    for seed in 0..50 {
        let mut bench = Bench::seeded(&plain(), seed);
        let start = bench.now;
        bench.odata(100, 100);
        bench.pass(250 * MS + MS);
        let spmrs = bench.spmrs();
        assert_eq!(spmrs.iter().map(|sent| sent.to).collect::<Vec<_>>(), [To::Neighbours(GROUP), To::Unicast(SOURCE)]);
        assert!(spmrs.iter().all(|sent| sent.header.tsi == TSI && sent.header.data_port == PORT));
        delays.push(spmrs[1].at - start);
    }
    assert!(delays.iter().all(|&delay| delay <= 250 * MS + US));
    assert!(delays.iter().any(|&delay| delay < 80 * MS) && delays.iter().any(|&delay| delay > 170 * MS), "{delays:?}");
}

/// RFC 3208 §13.5, conformance 111
#[test]
fn an_spm_or_anothers_spmr_makes_ours_needless() {
    let mut bench = Bench::new(&plain());
    bench.odata(100, 100);
    bench.spm(1, 100, 100);
    bench.pass(5 * SECOND);
    assert_eq!(bench.spmrs().len(), 0);

    let mut bench = Bench::new(&plain());
    bench.odata(100, 100);
    bench.peer_spmr();
    bench.pass(SECOND - MS);
    assert_eq!((bench.spmrs().len(), bench.receiver.stats().all.spmrs_suppressed), (0, 1));
    // No SPM came of it: our turn.
    bench.pass(300 * MS);
    assert_eq!(bench.spmrs().len(), 2);
}

/// RFC 3208 §13.5, conformance 112
#[test]
fn spmrs_are_not_repeated_before_spmr_spm_ivl() {
    let mut bench = Bench::new(&plain());
    bench.odata(100, 100);
    bench.pass(20 * SECOND);
    let at: Vec<u64> = bench.spmrs().iter().filter(|sent| sent.to == To::Unicast(SOURCE)).map(|sent| sent.at).collect();
    assert!(at.len() >= 15, "{at:?}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{at:?}");
}

/// conformance 161
#[test]
fn a_running_session_is_believed_only_from_the_address_it_was_first_heard_from() {
    let mut bench = joined(&plain(), 100);
    bench.odata(103, 100);
    bench.from = PEER;
    bench.spm_with(Spm { path: PEER, ..spm(9, 100, 500) }, &SpmOptions { fin: true, ..PLAIN });
    bench.odata(101, 101);
    bench.rdata(102, 100);
    bench.ncf(&[101, 102]);
    bench.from = SOURCE;
    assert_eq!((bench.said(), bench.receiver.stats().all.foreign_address), (vec![], 4));
    bench.pass(60 * MS);
    assert_eq!(bench.naked(), [101, 102]);
    assert!(bench.naks().all(|nak| nak.to == To::Unicast(SOURCE)));
}

#[test]
fn sources_that_are_not_wanted_are_not_heard() {
    let mut config = plain();
    config.sources = vec![PEER];
    let mut bench = Bench::new(&config);
    bench.odata(1, 1);
    assert_eq!((bench.said(), bench.receiver.stats().unwanted_source), (vec![], 1));
    bench.from = PEER;
    bench.odata(1, 1);
    assert_eq!(bench.said(), [Said::Opened(1), Said::Data(1)]);
}
