//! What reaches the application, in which order, and how losses are told.

use super::super::{OnLoss, Order};
use super::*;

fn datas(range: core::ops::Range<u32>) -> Vec<Said> {
    range.map(Said::Data).collect()
}

/// RFC 3208 §6.1, conformance 78
#[test]
fn duplicates_and_data_outside_the_window_are_delivered_once_or_not_at_all() {
    let mut bench = joined(&plain(), 100);
    bench.odata(101, 100);
    bench.odata(101, 100);
    bench.rdata(100, 100);
    bench.odata(103, 100);
    bench.rdata(103, 100);
    // Behind its own trail, before our edge, and half the space away.
    bench.odata(104, 110);
    bench.odata(50, 40);
    bench.odata(101_u32.wrapping_add(1 << 31), 100);
    bench.rdata(102, 100);
    assert_eq!(bench.said(), datas(101..104));
    let stats = bench.receiver.stats().all;
    assert_eq!((stats.duplicates, stats.outside_window), (3, 3));
}

/// RFC 3208 §6.1, conformance 79
#[test]
fn delivery_is_contiguous_and_in_order_across_the_wrap() {
    let first = u32::MAX - 3;
    let mut bench = joined(&plain(), first);
    let sqns: Vec<u32> = (1..9).map(|step| first.wrapping_add(step)).collect();
    for at in [1, 0, 7, 5, 2, 4, 3, 6] {
        bench.odata(sqns[at], first);
    }
    assert_eq!(bench.said(), sqns.iter().copied().map(Said::Data).collect::<Vec<_>>());
    assert_eq!(bench.application.payloads[8], sqns[7].to_be_bytes());
}

/// RFC 3208 §6.1, conformance 80
#[test]
fn as_complete_delivers_complete_apdus_only_and_each_once() {
    let mut config = plain();
    config.order = Order::AsComplete;
    let mut bench = joined(&config, 100);
    bench.odata(103, 100);
    // An APDU of 105..=107, out of order, with its middle last.
    bench.data_with(DataType::Odata, 107, 100, &fragment(105, 4, 6), b"ef");
    bench.data_with(DataType::Odata, 105, 100, &fragment(105, 0, 6), b"ab");
    assert_eq!(bench.said(), [Said::Data(103)]);
    bench.data_with(DataType::Odata, 106, 100, &fragment(105, 2, 6), b"cd");
    assert_eq!(bench.said(), datas(105..108));
    assert_eq!(bench.application.payloads.concat()[4..], *b"\0\0\0gabcdef");
    for sqn in [101, 102, 103, 104, 105] {
        bench.rdata(sqn, 100);
    }
    assert_eq!(bench.said(), [Said::Data(101), Said::Data(102), Said::Data(104)]);
    bench.odata(108, 100);
    assert_eq!(bench.said(), [Said::Data(108)]);
}

/// RFC 3208 §6.1, conformance 80
#[test]
fn as_complete_reports_what_never_came_and_what_lost_a_part() {
    let mut config = plain();
    config.order = Order::AsComplete;
    let mut bench = joined(&config, 100);
    bench.odata(102, 100);
    bench.data_with(DataType::Odata, 103, 100, &fragment(103, 0, 6), b"ab");
    bench.data_with(DataType::Odata, 105, 100, &fragment(103, 4, 6), b"ef");
    bench.odata(106, 100);
    assert_eq!(bench.said(), [Said::Data(102), Said::Data(106)]);
    bench.spm(2, 107, 106);
    let cause = LossCause::WindowPassed;
    assert_eq!(bench.said(), [Said::Loss(101, 101, cause), Said::Loss(103, 105, cause)]);
}

/// RFC 3208 §9.2.3, conformance 81
#[test]
fn fragments_are_put_together_whatever_their_order_and_the_trail() {
    let apdu = b"abcdefghij";
    let mut orders = vec![vec![0, 1, 2, 3, 4], vec![4, 3, 2, 1, 0], vec![2, 0, 4, 1, 3], vec![1, 3, 0, 2, 4]];
    orders.push(vec![0, 0, 4, 4, 1, 2, 1, 3]);
    for order in orders {
        let mut bench = joined(&plain(), 100);
        for (turn, &part) in order.iter().enumerate() {
            let payload = &apdu[2 * part as usize..][..2];
            // The trail follows as far as fragments came in order.
            let trail = if order == [0, 1, 2, 3, 4] { 101 + turn as u32 } else { 100 };
            bench.data_with(DataType::Odata, 101 + part, trail, &fragment(101, 2 * part, 10), payload);
        }
        assert_eq!(bench.said(), datas(101..106), "{order:?}");
        assert_eq!(bench.application.payloads[1..].concat(), apdu);
        bench.odata(106, 100);
        assert_eq!(bench.said(), [Said::Data(106)]);
    }
}

/// conformance 82
#[test]
fn joining_in_the_middle_of_an_apdu_is_no_loss() {
    let mut bench = Bench::new(&plain());
    bench.data_with(DataType::Odata, 102, 90, &fragment(100, 4, 8), b"ef");
    bench.data_with(DataType::Odata, 103, 90, &fragment(100, 6, 8), b"gh");
    bench.spm(1, 90, 103);
    assert_eq!(bench.said(), []);
    bench.odata(104, 90);
    assert_eq!(bench.said(), [Said::Opened(104), Said::Data(104)]);
    bench.pass(SECOND);
    assert_eq!(bench.naked(), [0_u32; 0]);
}

/// RFC 3208 §2.2, conformance 83, 84
#[test]
fn what_the_trail_passes_is_lost_at_once_and_told_once() {
    for by_spm in [true, false] {
        let mut bench = joined(&plain(), 100);
        bench.odata(104, 100);
        bench.odata(107, 100);
        if by_spm {
            bench.spm(2, 107, 107);
            bench.spm(3, 107, 107);
        } else {
            bench.odata(108, 107);
        }
        let cause = LossCause::WindowPassed;
        let expected = [Said::Loss(101, 103, cause), Said::Data(104), Said::Loss(105, 106, cause), Said::Data(107)];
        assert_eq!(bench.said()[..4], expected);
        bench.rdata(102, 107);
        bench.pass(20 * SECOND);
        assert!(!bench.said().iter().any(|said| matches!(said, Said::Loss(..))));
        assert_eq!(bench.receiver.stats().all.lost_packets, 5);
    }
}

/// RFC 3208 §1, conformance 84
#[test]
fn by_default_a_loss_resets_the_session_and_its_tsi_is_not_opened_again() {
    let mut config = plain();
    config.on_loss = OnLoss::Reset;
    let mut bench = joined(&config, 100);
    bench.odata(104, 100);
    bench.odata(105, 103);
    let cause = LossCause::WindowPassed;
    assert_eq!(bench.said(), [Said::Loss(101, 102, cause), Said::Closed(End::Lost(cause))]);
    bench.odata(106, 103);
    bench.spm(2, 103, 106);
    bench.pass(SECOND);
    assert_eq!((bench.said(), bench.naked(), bench.receiver.stats().all.after_end), (vec![], vec![], 2));
    // Forgotten when its source has been silent for long enough.
    bench.pass(301 * SECOND);
    bench.odata(200, 200);
    assert_eq!(bench.said(), [Said::Opened(200), Said::Data(200)]);
}

/// RFC 3208 §9.2.3, conformance 84
#[test]
fn an_apdu_that_lost_a_fragment_is_lost_as_a_whole_and_told_as_one_range() {
    let mut bench = joined(&plain(), 100);
    for part in [0, 1, 3, 4] {
        bench.data_with(DataType::Odata, 101 + part, 100, &fragment(101, 2 * part, 10), b"xx");
    }
    bench.odata(106, 100);
    assert_eq!(bench.said(), []);
    bench.odata(107, 104);
    assert_eq!(bench.said(), [Said::Loss(101, 105, LossCause::WindowPassed), Said::Data(106), Said::Data(107)]);
}

#[test]
fn fragments_that_contradict_their_apdu_are_a_loss_by_protocol() {
    for second in [fragment(101, 3, 10), fragment(101, 2, 11), fragment(102, 0, 10)] {
        let mut bench = joined(&plain(), 100);
        bench.data_with(DataType::Odata, 101, 100, &fragment(101, 0, 10), b"ab");
        bench.data_with(DataType::Odata, 102, 100, &second, b"cd");
        bench.odata(103, 100);
        let said = bench.said();
        assert_eq!(
            said[0],
            Said::Loss(
                101,
                if second.fragment == fragment(102, 0, 10).fragment { 101 } else { 102 },
                LossCause::Protocol
            )
        );
    }
}

#[test]
fn an_apdu_beyond_the_limits_is_lost_for_want_of_resources() {
    let mut config = plain();
    config.max_apdu = 100;
    let mut bench = joined(&config, 100);
    bench.data_with(DataType::Odata, 101, 100, &fragment(101, 0, 101), b"ab");
    bench.odata(102, 100);
    assert_eq!(bench.said(), [Said::Loss(101, 101, LossCause::Resources), Said::Data(102)]);
}

#[test]
fn beyond_the_quota_the_newest_packet_goes_and_comes_back_later() {
    let mut config = plain();
    config.held_max = 4;
    let mut bench = joined(&config, 100);
    for sqn in [104, 105, 106, 107, 108, 103] {
        bench.odata(sqn, 100);
    }
    let stats = bench.receiver.stats().all;
    assert_eq!((stats.hold_refused, stats.hold_evicted), (1, 1));
    assert_eq!(bench.receiver.sessions().next().expect("the session").held, 4);
    // Whatever is asked for is sent again.
    let mut said = Vec::new();
    for _ in 0..100 {
        bench.pass(20 * MS);
        let asked = bench.naked();
        bench.sent.clear();
        for sqn in asked {
            bench.rdata(sqn, 100);
        }
        said.extend(bench.said());
    }
    assert_eq!(said, datas(101..109));
}

#[test]
fn data_far_ahead_is_asked_for_when_its_turn_comes() {
    let mut config = plain();
    config.window_slots = 64;
    let mut bench = joined(&config, 100);
    bench.odata(400, 100);
    assert_eq!(bench.receiver.stats().all.too_far_ahead, 1);
    let mut said = Vec::new();
    for _ in 0..200 {
        bench.pass(20 * MS);
        let asked = bench.naked();
        assert!(asked.len() <= 64);
        bench.sent.clear();
        for sqn in asked {
            bench.rdata(sqn, 100);
        }
        said.extend(bench.said());
    }
    assert_eq!(said, datas(101..401));
}

#[test]
fn an_empty_apdu_is_delivered() {
    let mut bench = joined(&plain(), 100);
    bench.data_with(DataType::Odata, 101, 100, &DataOptions::NONE, b"");
    assert_eq!((bench.said(), bench.application.payloads[1].len()), (vec![Said::Data(101)], 0));
}

#[test]
fn what_waits_behind_a_hole_is_handed_over_in_pieces_and_all_of_it() {
    let mut config = config(Profile::Lan);
    (config.window_slots, config.held_max) = (4096, 4096);
    let mut bench = joined(&config, u32::MAX - 500);
    for n in 2..=3_000 {
        bench.odata((u32::MAX - 500).wrapping_add(n), u32::MAX - 500);
    }
    bench.rdata(u32::MAX - 499, u32::MAX - 500);
    let first = bench.said().len();
    assert!((1_000..2_500).contains(&first), "{first} at once");
    // What comes in between waits for its turn.
    bench.odata((u32::MAX - 500).wrapping_add(3_001), u32::MAX - 500);
    bench.pass(0);
    let info = bench.receiver.sessions().next().expect("the session");
    assert_eq!((info.held, info.expected), (0, Some(Sqn::new((u32::MAX - 500).wrapping_add(3_002)))));
    assert_eq!(first + bench.said().len(), 3_001);
}
