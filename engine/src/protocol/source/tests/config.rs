//! What is refused at construction, and how.

use super::*;

fn refused(change: impl Fn(&mut SourceConfig)) -> (&'static str, String) {
    let mut config = SourceConfig::new(GROUP, 7500);
    change(&mut config);
    let error = config.check(&PATH).expect_err("refused");
    assert!(!error.value.is_empty() && !error.allowed.is_empty(), "{error}");
    (error.field, error.to_string())
}

#[test]
fn every_profile_is_accepted_as_it_is() {
    for (name, profile) in Profile::ALL {
        let config = SourceConfig::profile(profile, GROUP, 7500);
        assert_eq!(config.check(&PATH), Ok(()), "{name}");
        let v6 = PathFacts { nla: IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]), ip_header: 40, alert: 0, ..PATH };
        let config = SourceConfig::profile(profile, IpAddr::from([0xff08, 0, 0, 0, 0, 0, 0, 1]), 7500);
        assert_eq!(config.check(&v6), Ok(()), "{name} over IPv6");
    }
}

#[test]
fn a_bad_value_is_refused_with_its_field_its_value_and_what_is_allowed() {
    let (field, text) = refused(|config| config.window_slots = 1000);
    assert_eq!(field, "window_slots");
    assert_eq!(text, "window_slots = 1000 refused: a power of two from 4 to 4194304");
    let (field, text) = refused(|config| config.tpdu_max = Some(1477));
    assert_eq!(field, "tpdu_max");
    assert_eq!(text, "tpdu_max = 1477 refused: 88 to 1476: what fits the MTU of 1500");
}

#[test]
fn contradictions_are_refused_whichever_field_they_hide_in() {
    for (field, change) in [
        ("group", (|config| config.group = IpAddr::from([10, 0, 0, 7])) as fn(&mut SourceConfig)),
        ("group", |config| config.group = IpAddr::from([0xff08, 0, 0, 0, 0, 0, 0, 1])),
        ("data_port", |config| config.data_port = 0),
        ("tpdu_max", |config| config.tpdu_max = Some(50)),
        ("apdu_max", |config| config.apdu_max = 0),
        // One packet holds more: claims for one packet would not obey it.
        ("apdu_max", |config| config.apdu_max = 1_451),
        ("window_time", |config| config.window_time = Duration::ZERO),
        ("advance_percent", |config| config.advance_percent = 0),
        ("advance_percent", |config| config.advance_percent = 51),
        ("hold_quiet", |config| config.hold_quiet = Duration::from_secs(2)),
        // No hold would ever end by silence.
        ("hold_quiet", |config| config.max_hold = ms(9)),
        // Every repair would come when its data has left the window.
        ("repair_delay", |config| {
            *config = SourceConfig::profile(Profile::Wan, GROUP, 7500);
            config.window_time = Duration::from_secs(10);
            config.repair_delay = RepairDelay::Fixed(Duration::from_secs(9));
        }),
        ("rate", |config| config.rate = Rate::OctetsPerSecond(0)),
        ("rate", |config| config.advance = Advance::Time),
        ("rate", |config| config.advance = Advance::Windows),
        ("window_time", |config| {
            config.advance = Advance::Time;
            config.rate = Rate::OctetsPerSecond(100_000_000);
        }),
        ("peak", |config| config.peak = Rate::OctetsPerSecond(0)),
        ("peak", |config| {
            config.rate = Rate::OctetsPerSecond(1_000_000);
            config.peak = Rate::OctetsPerSecond(999_999);
        }),
        ("burst", |config| {
            config.rate = Rate::OctetsPerSecond(1_000_000);
            config.burst = Burst::Packets(0);
        }),
        ("repair_share", |config| config.repair_share = 0),
        ("repair_share", |config| config.repair_share = 100),
        ("rdata_repeat", |config| config.rdata_repeat = Duration::from_secs(1)),
        // It would have nowhere to go.
        ("rdata_repeat", |config| {
            config.rdata_repeat = us(19);
            config.rdata_repeat_adaptive = true;
        }),
        ("ihb_min", |config| config.ihb_min = Duration::from_secs(6)),
        ("ihb_min", |config| config.ihb_min = Duration::ZERO),
        ("ambient_spm", |config| config.ambient_spm = Duration::ZERO),
        ("opening_spms", |config| config.opening_spms = 0),
        ("late_join_percent", |config| config.late_join_percent = Some(101)),
        ("linger", |config| config.linger = Linger::Quiet { quiet: ms(2), at_most: ms(1) }),
        ("back_off.start", |config| {
            config.back_off = Some(BackOffTuning { min: ms(1), max: ms(2), start: ms(3), probes: 1 });
        }),
        ("dup_nak_max", |config| config.dup_nak_max = Some(1)),
        // The count of NAKs ends there.
        ("dup_nak_max", |config| config.dup_nak_max = Some(u16::MAX)),
    ] {
        assert_eq!(refused(change).0, field);
    }
    let config = SourceConfig::new(GROUP, 7500);
    let narrow = PathFacts { mtu: 300, ..PATH };
    assert_eq!(config.check(&narrow).expect_err("refused").field, "mtu");
}

/// RFC 3208 §9.2, conformance 16
#[test]
fn a_source_refuses_frames_that_do_not_hold_its_packets_and_a_pool_that_does_not_hold_its_window() {
    let config = config(Profile::Lan);
    let make = |layout: Layout| {
        let mut pool = Pool::anonymous(layout).expect("a small mapping");
        Source::new(&config, PATH, SESSION.tsi, &mut pool, Time::ZERO, 7).err().map(|error| error.to_string())
    };
    let small = Layout { frame_size: 1024, ..Layout::standard(100) };
    assert_eq!(make(small).as_deref(), Some("tpdu_max = 1476 refused: at most 722 in frames of 1024 octets"));
    let few = Layout::standard(10);
    assert_eq!(make(few).as_deref(), Some("window_slots = 64 refused: at most the 10 frames that the pool can spare"));
    assert_eq!(make(Layout::standard(64)), None);
}
