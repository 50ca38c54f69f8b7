//! How sessions end: FIN, RST, silence, and our own wish.

use super::super::{OnLoss, OnRst};
use super::*;
use crate::wire::Rst;

const FIN: SpmOptions = SpmOptions { fin: true, ..PLAIN };

fn rst(no_naks: bool, code: u8) -> SpmOptions {
    SpmOptions { rst: Some(Rst { no_naks, code }), ..PLAIN }
}

/// RFC 3208 §9.7.1, conformance 87
#[test]
fn after_fin_everything_is_still_recovered_and_then_the_session_is_finished() {
    let mut bench = joined(&plain(), 100);
    bench.odata(102, 100);
    bench.spm_with(spm(2, 100, 104), &FIN);
    bench.pass(60 * MS);
    assert_eq!((bench.naked(), bench.said()), (vec![101, 103, 104], vec![]));
    for sqn in [101, 103, 104] {
        bench.rdata(sqn, 100);
    }
    assert_eq!(
        bench.said(),
        [Said::Data(101), Said::Data(102), Said::Data(103), Said::Data(104), Said::Closed(End::Finished)]
    );
    // What its source repeats while it lingers opens nothing.
    bench.spm_with(spm(3, 100, 104), &FIN);
    bench.rdata(104, 100);
    bench.pass(SECOND);
    assert_eq!(bench.said(), []);
}

/// RFC 3208 §9.7.1, conformance 87
#[test]
fn fin_on_the_last_data_packet_ends_the_session_as_well() {
    let mut bench = joined(&plain(), 100);
    let fin = DataOptions { fin: true, ..DataOptions::NONE };
    bench.data_with(DataType::Odata, 102, 100, &fin, b"last");
    assert_eq!(bench.said(), []);
    bench.rdata(101, 100);
    assert_eq!(bench.said(), [Said::Data(101), Said::Data(102), Said::Closed(End::Finished)]);
    // Nothing can follow.
    let mut bench = joined(&plain(), 100);
    bench.data_with(DataType::Odata, 102, 100, &fin, b"last");
    bench.odata(103, 100);
    assert_eq!(bench.receiver.stats().all.outside_window, 1);
}

#[test]
fn a_session_without_data_finishes_and_one_heard_only_at_its_end_is_not_opened() {
    let mut bench = Bench::new(&plain());
    bench.spm(1, 0, u32::MAX);
    bench.spm_with(spm(2, 0, u32::MAX), &FIN);
    assert_eq!(bench.said(), [Said::Opened(0), Said::Closed(End::Finished)]);

    let mut bench = Bench::new(&plain());
    bench.spm_with(spm(2, 0, 50), &FIN);
    bench.spm_with(spm(3, 0, 50), &rst(false, 1));
    bench.pass(SECOND);
    assert_eq!((bench.said(), bench.receiver.sessions().count()), (vec![], 0));
}

/// RFC 3208 §9.8.1, conformance 88
#[test]
fn rst_with_n_ends_at_once_without_a_further_nak_and_its_code_is_told() {
    let mut bench = joined(&plain(), 100);
    bench.odata(103, 100);
    bench.spm_with(spm(2, 100, 105), &rst(true, 42));
    let lost = LossCause::SessionEnded;
    assert_eq!(
        bench.said(),
        [Said::Loss(101, 102, lost), Said::Data(103), Said::Loss(104, 105, lost), Said::Closed(End::Aborted(42))]
    );
    bench.pass(10 * SECOND);
    assert_eq!(bench.naked(), [0_u32; 0]);
}

/// RFC 3208 §9.8.1, conformance 88
#[test]
fn rst_without_n_finishes_the_window_where_the_profile_says_so() {
    for (on_rst, at_once) in [(OnRst::FinishWindow, false), (OnRst::EndAtOnce, true)] {
        let mut config = plain();
        config.on_rst = on_rst;
        let mut bench = joined(&config, 100);
        bench.odata(102, 100);
        bench.spm_with(spm(2, 100, 102), &rst(false, 7));
        assert_eq!(bench.said().contains(&Said::Closed(End::Aborted(7))), at_once);
        bench.pass(60 * MS);
        assert_eq!(bench.naked().is_empty(), at_once);
        bench.rdata(101, 100);
        let rest = [Said::Data(101), Said::Data(102), Said::Closed(End::Aborted(7))];
        assert_eq!(bench.said(), if at_once { [].to_vec() } else { rest.to_vec() });
    }
}

/// RFC 3208 §9.8.1, conformance 88
#[test]
fn an_apdu_that_its_source_left_half_sent_is_lost_and_does_not_delay_the_end() {
    for on_loss in [OnLoss::Skip, OnLoss::Reset] {
        let mut config = plain();
        config.on_loss = on_loss;
        config.on_rst = OnRst::FinishWindow;
        let mut bench = joined(&config, 100);
        bench.data_with(DataType::Odata, 101, 100, &fragment(101, 0, 6), b"ab");
        bench.data_with(DataType::Odata, 102, 100, &fragment(101, 2, 6), b"cd");
        bench.spm_with(spm(2, 100, 102), &rst(false, 7));
        assert_eq!(bench.said(), [Said::Loss(101, 102, LossCause::SessionEnded), Said::Closed(End::Aborted(7))]);
    }
}

/// conformance 89
#[test]
fn a_session_without_spms_expires_whatever_data_comes() {
    let mut config = plain();
    config.expiry = Duration::from_secs(10);
    let mut bench = joined(&config, 100);
    for sqn in 101..110 {
        bench.pass(SECOND);
        bench.odata(sqn, 100);
    }
    bench.odata(111, 100);
    bench.said();
    bench.pass(SECOND + MS);
    let lost = LossCause::SessionEnded;
    assert_eq!(bench.said(), [Said::Loss(110, 110, lost), Said::Data(111), Said::Closed(End::Expired)]);
    assert_eq!(bench.receiver.sessions().count(), 0);
    // A source that comes back is heard again.
    bench.odata(300, 300);
    assert_eq!(bench.said(), [Said::Opened(300), Said::Data(300)]);
}

/// conformance 89
#[test]
fn where_losses_reset_a_silent_session_tells_its_loss_and_that_it_expired() {
    let mut config = plain();
    config.on_loss = OnLoss::Reset;
    config.nak_ncf_retries = 250;
    config.expiry = Duration::from_secs(5);
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.pass(6 * SECOND);
    assert_eq!(bench.said(), [Said::Loss(101, 101, LossCause::SessionEnded), Said::Closed(End::Expired)]);
}

#[test]
fn spms_keep_a_session_alive_and_time_alone_ends_nothing_else() {
    let mut config = plain();
    config.expiry = Duration::from_secs(10);
    let mut bench = joined(&config, 100);
    for sqn in 2..20 {
        bench.pass(9 * SECOND);
        bench.spm(sqn, 100, 100);
    }
    assert_eq!(bench.said(), []);
}

/// OpenPGM and ZeroMQ space their SPMs by up to half a minute, also while data flows.
/// RFC 3208 §13.5, conformance 89, 110
#[test]
fn a_session_is_asked_for_an_spm_before_it_expires_and_lives_on_if_one_comes() {
    let mut config = plain();
    config.expiry = Duration::from_secs(10);
    let mut bench = joined(&config, 100);
    for round in 0..5 {
        bench.sent.clear();
        bench.pass(4 * SECOND);
        bench.odata(101 + round, 100);
        assert!(bench.spmrs().is_empty(), "half of the time is not over");
        bench.pass(SECOND + 251 * MS);
        let to: Vec<To> = bench.spmrs().iter().map(|sent| sent.to).collect();
        assert_eq!(to, [To::Neighbours(GROUP), To::Unicast(SOURCE)]);
        bench.spm(2 + round, 100, 101 + round);
    }
    bench.said();
    // A source that is gone is asked three times and no more.
    bench.sent.clear();
    bench.pass(9_999 * MS);
    assert_eq!((bench.spmrs().len(), bench.said()), (6, vec![]));
    bench.pass(2 * MS);
    assert_eq!(bench.said(), [Said::Closed(End::Expired)]);
    bench.pass(60 * SECOND);
    assert_eq!(bench.spmrs().len(), 6);
}

/// RFC 3208 §13.5, conformance 111
#[test]
fn another_receivers_question_for_an_spm_stands_for_ours_and_a_source_that_has_said_that_it_ends_is_not_asked() {
    let mut config = plain();
    config.expiry = Duration::from_secs(10);
    let mut bench = joined(&config, 100);
    bench.pass(5 * SECOND);
    bench.peer_spmr();
    bench.pass(2 * SECOND);
    assert_eq!((bench.spmrs().len(), bench.receiver.stats().all.spmrs_suppressed), (0, 1));
    let mut bench = joined(&config, 100);
    bench.spm_with(spm(2, 100, 101), &FIN);
    bench.pass(9 * SECOND);
    assert!(!bench.naked().is_empty() && bench.spmrs().is_empty());
}

/// RFC 3208 §13.5, conformance 112
#[test]
fn a_session_whose_expiry_is_short_is_asked_no_more_often_than_the_interval_allows() {
    let mut config = plain();
    config.expiry = Duration::from_millis(400);
    config.spmr_bo_ivl = Duration::from_millis(10);
    config.spmr_spm_ivl = Duration::from_millis(120);
    let mut bench = joined(&config, 100);
    bench.pass(399 * MS);
    let at: Vec<u64> = bench.spmrs().iter().filter(|sent| sent.to == To::Unicast(SOURCE)).map(|sent| sent.at).collect();
    assert_eq!(at.len(), 2, "at half of the time, and when the interval is over: {at:?}");
    assert!(at[1] - at[0] >= 120 * MS, "{at:?}");
}

/// OpenPGM applications may name their data-source port, and then have the same TSI each time that they start.
/// conformance 89
#[test]
fn a_source_that_takes_up_the_name_of_an_ended_session_is_heard_when_that_is_forgotten() {
    let mut config = plain();
    config.expiry = Duration::from_secs(10);
    let mut bench = joined(&config, 100);
    bench.spm_with(spm(2, 100, 100), &FIN);
    assert_eq!(bench.said(), [Said::Closed(End::Finished)]);
    // Begun anew within the expiry: SPMs from 0, in sequence before long.
    for second in 0..9 {
        bench.pass(SECOND);
        bench.spm(second, 0, second);
        bench.odata(second, 0);
    }
    assert_eq!(bench.said(), [], "what an old packet could be opens nothing");
    bench.pass(SECOND);
    bench.odata(9, 0);
    assert_eq!(bench.said(), [Said::Opened(9), Said::Data(9)]);
}

/// conformance 89
#[test]
fn a_session_that_ended_for_us_alone_stays_over_as_long_as_its_source_speaks() {
    let mut config = plain();
    config.on_loss = OnLoss::Reset;
    config.expiry = Duration::from_secs(10);
    let mut bench = joined(&config, 100);
    bench.odata(200, 200);
    assert!(matches!(bench.said().last(), Some(Said::Closed(End::Lost(_)))));
    for second in 2..40 {
        bench.pass(SECOND);
        bench.spm(second, 200, 200);
        bench.odata(200 + second, 200);
    }
    assert_eq!(bench.said(), []);
}

#[test]
fn our_own_end_closes_open_sessions_and_gives_frames_back() {
    let mut bench = joined(&plain(), 100);
    bench.odata(103, 100);
    bench.tsi = Tsi { port: 77, ..TSI };
    bench.spm(1, 5, 4);
    bench.receiver.close(&mut bench.pool, &mut bench.application);
    assert_eq!(bench.said(), [Said::Closed(End::Local)]);
    assert_eq!((bench.receiver.deadline(), bench.pool.census().out), (None, 0));
}

/// conformance 84, 89
#[test]
fn a_session_that_falls_silent_before_anything_was_told_still_gives_what_it_has() {
    let mut bench = Bench::new(&plain());
    // History is offered and never comes, and without an SPM nobody can be asked.
    let options = DataOptions { join: Some(Sqn::new(90)), ..DataOptions::NONE };
    bench.data_with(DataType::Odata, 100, 80, &options, b"data");
    assert_eq!(bench.said(), []);
    bench.pass(301 * SECOND);
    let lost = Said::Loss(90, 99, LossCause::SessionEnded);
    assert_eq!(bench.said(), [Said::Opened(90), lost, Said::Data(100), Said::Closed(End::Expired)]);
    // Of one that had nothing to say, nothing is said.
    bench.spm(1, 80, 100);
    bench.pass(301 * SECOND);
    assert_eq!((bench.said(), bench.receiver.sessions().count()), (vec![], 0));
}
