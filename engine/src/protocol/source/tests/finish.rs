//! Conformance section F, second half: sessions end.

use super::*;

fn fin(sent: &Sent) -> bool {
    sent.header.options.fin()
}

/// RFC 3208 §9.7.2, conformance 67
#[test]
fn after_a_graceful_close_every_spm_carries_fin_the_first_at_once() {
    for (_, profile) in Profile::ALL {
        let mut bench = Bench::opened(&config(profile));
        bench.publish(5);
        bench.take();
        let begin = bench.now;
        bench.source.close(bench.now);
        bench.run(Duration::from_secs(2000));
        assert_eq!(bench.sent[0].at, begin, "{profile:?}");
        assert!(bench.spms().len() >= 3, "one may get lost");
        assert!(bench.sent.iter().filter(|sent| sent.spm().is_some()).all(fin));
        assert!(bench.spms().iter().all(|spm| spm.lead == Sqn::new(1004)));
        assert_eq!(bench.source.state(), SourceState::Done);
        assert_eq!(bench.source.deadline(), None);
        assert!(bench.publisher.publish(b"x").is_err());
    }
}

/// RFC 3208 §9.7.2, conformance 67
#[test]
fn what_was_committed_before_the_close_is_sent_before_fin() {
    let mut config = config(Profile::Wan);
    config.window_time = ms(60);
    config.burst = Burst::Packets(2);
    let mut bench = Bench::opened(&config);
    for _ in 0..30 {
        bench.publisher.publish(&[1; 1_000]).expect("room");
    }
    bench.transmit();
    assert!(bench.odata().len() < 30);
    bench.source.close(bench.now);
    assert_eq!(bench.source.state(), SourceState::Draining);
    bench.run(ms(80));
    assert_eq!(bench.odata().len(), 30);
    let last = bench.sent.iter().rposition(|sent| sent.odata().is_some()).expect("data");
    let first = bench.sent.iter().position(fin).expect("FIN");
    assert!(first > last);
    assert_eq!(bench.sent[first].spm().expect("an SPM").lead, Sqn::new(1029));
    assert!(bench.sent[first].at.since(bench.sent[last].at) < nanos(ms(1)), "as soon as the rate allows it");
}

/// RFC 3208 §9.7.2, conformance 67
#[test]
fn a_session_without_data_ends_with_fin_and_an_empty_window() {
    let mut bench = Bench::new(&config(Profile::Lan));
    bench.source.close(bench.now);
    bench.run(ms(100));
    assert!(bench.sent.iter().all(fin) && bench.sent.len() >= 3);
    assert!(bench.spms().iter().all(|spm| (spm.trail, spm.lead) == (Sqn::new(1000), Sqn::new(999))));
}

/// RFC 3208 §9.7.2, conformance 68
#[test]
fn spms_and_repairs_go_on_for_the_profiles_linger_and_then_stop() {
    let lasts = |linger: Linger, naks_until: u64| {
        let mut config = config(Profile::Lan);
        config.window_time = ms(3_000);
        config.linger = linger;
        let mut bench = Bench::opened(&config);
        bench.publish(5);
        bench.source.close(bench.now);
        bench.take();
        let begin = bench.now;
        while bench.source.state() != SourceState::Done {
            let since = bench.now.since(begin) / 1_000_000;
            if since < naks_until {
                bench.nak(&[1002]);
            }
            bench.run(ms(100));
            assert!(since < 100_000, "for ever");
        }
        assert_eq!(bench.rdata().len() as u64, naks_until.min(2_000).div_ceil(100));
        let sent = bench.sent.len();
        let lasted = bench.now.since(begin) / 1_000_000;
        bench.nak(&[1002]);
        bench.spmr();
        bench.run(Duration::from_secs(100));
        assert_eq!(bench.sent.len(), sent, "silent for good");
        assert_eq!(bench.source.stats().naks_unanswered, 1);
        lasted
    };
    assert_eq!(lasts(Linger::Full, 0), 3_000);
    assert_eq!(lasts(Linger::Full, 2_000), 3_000);
    let quiet = Linger::Quiet { quiet: ms(500), at_most: ms(2_000) };
    assert_eq!(lasts(quiet, 0), 500);
    assert_eq!(lasts(quiet, 1_000), 1_400);
    assert_eq!(lasts(quiet, 9_000_000), 2_000);
}

/// RFC 3208 §9.8, conformance 69, 70
#[test]
fn an_abort_sends_rst_in_every_spm_and_in_nothing_else() {
    for (_, profile) in Profile::ALL {
        let config = config(profile);
        let mut bench = Bench::opened(&config);
        bench.publish(5);
        for _ in 0..3 {
            bench.publisher.publish(b"never sent").expect("room");
        }
        bench.take();
        let begin = bench.now;
        bench.source.abort(bench.now, 0xEA);
        bench.nak(&[1002]);
        bench.run(ms(40));
        bench.nak(&[1003]);
        bench.run(Duration::from_secs(100));
        let spms: Vec<_> = bench.sent.iter().filter(|sent| sent.spm().is_some()).collect();
        assert_eq!(spms[0].at, begin, "{profile:?}: at once");
        for sent in spms {
            let rst = sent.header.options.rst(&sent.bytes).expect("OPT_RST");
            assert_eq!((rst.code, rst.no_naks), (0x2A, !config.naks_after_abort));
            assert!(!fin(sent));
            assert_eq!(sent.spm().expect("an SPM").lead, Sqn::new(1004), "what was not sent is no part of it");
        }
        assert!(bench.odata().is_empty());
        let answered = if config.naks_after_abort { 2 } else { 0 };
        assert_eq!(bench.rdata().len(), answered, "{profile:?}: N says whether NAKs are answered");
        for sent in bench.sent.iter().filter(|sent| sent.spm().is_none()) {
            assert_eq!(sent.header.options.rst(&sent.bytes), None);
        }
        assert_eq!(bench.source.state(), SourceState::Done);
    }
}

/// RFC 3208 §9.8.2, conformance 69
#[test]
fn with_a_full_linger_rst_is_repeated_for_txw_secs() {
    let mut config = config(Profile::Lan);
    config.abort_linger = Linger::Full;
    config.window_time = ms(10_000);
    let mut bench = Bench::opened(&config);
    bench.publish(1);
    bench.take();
    let begin = bench.now;
    bench.source.abort(bench.now, 0);
    bench.run(ms(9_999));
    assert_eq!(bench.source.state(), SourceState::Lingering);
    assert!(bench.sent.iter().all(|sent| sent.header.options.rst(&sent.bytes).is_some()));
    assert!(bench.sent.last().expect("an SPM").at.since(begin) > nanos(ms(5_000)));
    bench.run(ms(1));
    assert_eq!(bench.source.state(), SourceState::Done);
}

#[test]
fn an_abort_overrides_a_close_but_nothing_follows_the_end() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.source.close(bench.now);
    bench.flush();
    bench.take();
    bench.source.abort(bench.now, 1);
    bench.flush();
    assert!(bench.sent[0].header.options.rst(&bench.sent[0].bytes).is_some() && !fin(&bench.sent[0]));
    bench.source.close(bench.now);
    bench.run(Duration::from_secs(100));
    assert!(!bench.sent.iter().any(fin));
    bench.take();
    bench.source.abort(bench.now, 1);
    bench.run(Duration::from_secs(100));
    assert!(bench.sent.is_empty());
}
