//! Conformance section F, first half: the window advances.

use super::*;
use crate::frame::ClaimError;

fn trail(bench: &Bench) -> u32 {
    bench.source.window().0.get()
}

/// RFC 3208 §16.3, conformance 63, 71
#[test]
fn by_time_old_data_leaves_under_continuous_naks_and_an_idle_source_closes_its_window() {
    let mut config = config(Profile::Wan);
    config.window_slots = 1024;
    config.window_time = ms(1_000);
    config.advance_percent = 10;
    let mut bench = Bench::opened(&config);
    let begin = bench.now;
    let mut sent_at = Vec::new();
    for n in 0..300_u32 {
        sent_at.push(bench.now);
        bench.publish(1);
        let oldest = trail(&bench);
        bench.nak(&[oldest]);
        bench.run(ms(10));
        let age = bench.now.since(sent_at[(trail(&bench) - 1000) as usize]);
        assert!(age <= nanos(ms(1_020)), "packet {n}: the oldest is {} ms old", age / 1_000_000);
        if n > 120 {
            assert!(age >= nanos(ms(880)), "packet {n}: only {} ms are kept", age / 1_000_000);
        }
    }
    assert!(bench.now.since(begin) >= nanos(ms(3_000)));
    bench.take();
    bench.run(ms(1_050));
    let spm = *bench.spms().last().expect("an SPM");
    assert_eq!(spm.trail, spm.lead.next());
    assert_eq!(spm.lead, Sqn::new(1299));
    let closed =
        bench.sent.iter().find(|sent| sent.spm().is_some_and(|spm| spm.trail == Sqn::new(1300))).expect("closed");
    assert!(closed.at.as_nanos() <= sent_at[299].plus(nanos(ms(1_001))).as_nanos(), "announced at once");
}

/// RFC 3208 §16.2, conformance 64
#[test]
fn by_data_the_trail_moves_by_one_increment_before_the_window_is_full() {
    let mut config = config(Profile::Lan);
    config.window_slots = 64;
    config.advance_percent = 25;
    let mut bench = Bench::opened(&config);
    bench.publish(55);
    assert_eq!(trail(&bench), 1000);
    bench.publish(2);
    assert_eq!(trail(&bench), 1016);
    bench.publish(1_000);
    let kept = bench.source.window().1.get() - trail(&bench) + 1;
    assert!((40..=64).contains(&kept));
    assert_eq!(bench.source.stats().holds, 0);
}

/// RFC 3208 §16.2, conformance 64
#[test]
fn by_data_a_nak_in_the_increment_window_holds_the_trail_and_pushes_back_until_it_is_quiet() {
    let mut config = config(Profile::Lan);
    config.advance_percent = 25;
    config.hold_quiet = ms(5);
    let mut bench = Bench::opened(&config);
    bench.publish(55);
    bench.nak(&[1020]);
    bench.publish(2);
    assert_eq!(trail(&bench), 1016, "a NAK outside the increment window does not");

    bench.publish(14);
    bench.nak(&[1017]);
    bench.flush();
    let mut room = 0;
    while bench.publisher.publish(b"x").is_ok() {
        bench.flush();
        room += 1;
        if room % 5 == 0 {
            bench.nak(&[1018]);
        }
        assert!(room < 100, "nothing held it");
    }
    assert_eq!(bench.publisher.publish(b"x"), Err(ClaimError::Full));
    assert_eq!(trail(&bench), 1016);
    bench.nak(&[1018]);
    bench.flush();
    let nak_at = bench.now;
    while trail(&bench) == 1016 {
        assert!(bench.next());
    }
    assert_eq!(bench.now, nak_at.plus(nanos(ms(5))), "quiet for long enough");
    assert!(bench.publisher.publish(b"x").is_ok());
    assert_eq!((bench.source.stats().holds, bench.source.stats().holds_broken), (1, 0));
}

/// RFC 3208 §16.2, conformance 64
#[test]
fn by_data_a_hold_is_broken_after_max_hold_and_counted() {
    let mut config = config(Profile::Lan);
    config.advance_percent = 25;
    config.max_hold = ms(300);
    let mut bench = Bench::opened(&config);
    bench.publish(50);
    let begin = bench.now;
    let mut oldest = 0;
    while trail(&bench) == 1000 {
        bench.nak(&[1000 + oldest % 16]);
        oldest += 1;
        for _ in 0..4 {
            let _ = bench.publisher.publish(b"x");
        }
        bench.run(ms(3));
    }
    let held = bench.now.since(begin) / 1_000_000;
    assert!((300..=306).contains(&held), "held for {held} ms");
    assert_eq!(bench.source.stats().holds_broken, 1);
    assert!(bench.publisher.publish(b"x").is_ok());
}

#[test]
fn by_data_an_apdu_as_long_as_the_window_gets_its_room() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(40);
    let apdu = vec![1; 60 * 1400];
    assert_eq!(bench.publisher.publish(&apdu), Err(ClaimError::Full));
    bench.run(ms(1));
    assert!(bench.publisher.publish(&apdu).is_ok());
}

#[test]
fn the_trail_never_passes_what_was_not_sent_or_is_in_flight() {
    let mut config = config(Profile::Lan);
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    bench.hold = true;
    bench.publish(4);
    bench.publisher.publish(b"committed").expect("room");
    bench.source.advance_trail_to(&bench.pool, Sqn::new(1003));
    assert_eq!(trail(&bench), 1000, "all is in flight");
    bench.complete();
    bench.run(us(100));
    assert_eq!(trail(&bench), 1003);
    bench.complete();

    bench.out = TxBatch::new(2);
    for _ in 0..5 {
        bench.publisher.publish(b"committed").expect("room");
    }
    bench.publisher.advance_trail(bench.publisher.next_sqn());
    bench.transmit();
    let (trail, lead) = bench.source.window();
    assert!(trail.at_or_before(lead.next()), "{trail:?} {lead:?}");
    assert!(lead.is_before(Sqn::new(1009)), "not all was sent");
}

/// RFC 3208 §16.4, conformance 66
#[test]
fn by_application_control_only_the_application_moves_the_trail_and_never_beyond_the_lead() {
    let mut config = config(Profile::Lan);
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    bench.publish(64);
    assert_eq!(bench.publisher.publish(b"x"), Err(ClaimError::Full));
    bench.run(Duration::from_secs(100));
    assert_eq!(trail(&bench), 1000);
    bench.source.advance_trail_to(&bench.pool, Sqn::new(1065));
    bench.source.advance_trail_to(&bench.pool, Sqn::new(999));
    assert_eq!(trail(&bench), 1000, "beyond the lead, and back: neither");
    bench.publisher.advance_trail(Sqn::new(1010));
    bench.publisher.advance_trail(Sqn::new(1002));
    bench.publisher.advance_trail(Sqn::new(5000));
    bench.flush();
    assert_eq!(trail(&bench), 1010);
    bench.source.advance_trail_to(&bench.pool, Sqn::new(1064));
    bench.flush();
    let spm = *bench.spms().last().expect("an SPM");
    assert_eq!((spm.trail, spm.lead), (Sqn::new(1064), Sqn::new(1063)));
}

/// conformance 66
#[test]
fn by_other_rules_the_application_cannot_move_the_trail() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(10);
    bench.publisher.advance_trail(Sqn::new(1005));
    bench.source.advance_trail_to(&bench.pool, Sqn::new(1005));
    bench.flush();
    assert_eq!(trail(&bench), 1000);
}

/// conformance 65
#[test]
fn by_windows_rule_the_trail_moves_in_steps_of_its_percentage_and_stops_at_the_first_waiting_repair() {
    let mut config = config(Profile::Windows);
    config.window_slots = 1024;
    config.window_time = ms(1_000);
    // Slower than the step, so that the repair is still waiting when the trail comes.
    config.repair_delay = RepairDelay::Fixed(ms(120));
    let mut bench = Bench::opened(&config);
    let begin = bench.now;
    let mut steps = Vec::new();
    for n in 0..250 {
        bench.publish(1);
        if n == 95 {
            bench.nak(&[1005]);
        }
        let before = trail(&bench);
        bench.run(ms(10));
        if trail(&bench) != before {
            steps.push((bench.now.since(begin) / 10_000_000, trail(&bench)));
        }
    }
    assert_eq!(steps[0], (100, 1005), "stopped at the repair: {steps:?}");
    assert_eq!(steps[1], (107, 1015), "gone on when it had left: {steps:?}");
    assert!(steps[2..].windows(2).all(|pair| (15..=17).contains(&(pair[1].0 - pair[0].0))), "{steps:?}");
}

/// RFC 3208 §3.3, conformance 37
#[test]
fn the_window_is_never_longer_than_its_slots() {
    for (_, profile) in Profile::ALL {
        let mut bench = Bench::opened(&config(profile));
        for _ in 0..200 {
            while bench.publisher.publish(b"x").is_ok() {}
            bench.run(ms(2));
            let (trail, lead) = bench.source.window();
            assert!(lead.next().distance_from(trail) <= 64, "{profile:?}");
        }
    }
    let mut config = config(Profile::Lan);
    config.window_slots = 1 << 23;
    assert_eq!(config.check(&PATH).expect_err("too many").field, "window_slots");
}

/// RFC 3208 §16.2, conformance 64
#[test]
fn by_data_a_nak_never_moves_the_trail_of_a_source_that_needs_no_room() {
    let mut config = config(Profile::Lan);
    config.advance_percent = 25;
    let mut bench = Bench::opened(&config);
    bench.publish(50);
    for n in 0..20 {
        bench.nak(&[1000 + n % 3]);
        bench.run(ms(250));
    }
    assert_eq!(trail(&bench), 1000, "without NAKs it would not have moved either");
    assert_eq!(bench.source.stats().holds_broken, 0);
    bench.publish(6);
    bench.nak(&[1000]);
    bench.run(ms(900));
    assert_eq!(trail(&bench), 1000, "held from now on, not from the first NAK on");
    bench.run(ms(200));
    assert_eq!((trail(&bench), bench.source.stats().holds_broken), (1016, 1));
}

/// RFC 3208 §9.7.2, conformance 68
#[test]
fn by_data_a_claim_that_failed_before_the_close_takes_nothing_from_the_lingering_window() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(40);
    assert_eq!(bench.publisher.publish(&vec![1; 60 * 1400]), Err(ClaimError::Full));
    bench.source.close(bench.now);
    bench.run(ms(100));
    assert_eq!(trail(&bench), 1000);
}

/// conformance 66
#[test]
fn what_the_application_releases_is_due_at_once() {
    let mut config = config(Profile::Lan);
    config.advance = Advance::Application;
    let mut bench = Bench::opened(&config);
    bench.publish(10);
    bench.publisher.advance_trail(Sqn::new(1005));
    assert_eq!(bench.source.deadline(), Some(bench.now));
    bench.flush();
    assert_eq!(trail(&bench), 1005);
}
