//! What is refused at construction.

use super::super::Interval;
use super::*;
use crate::frame::PathFacts;

fn refused(change: impl FnOnce(&mut ReceiverConfig), path: &PathFacts) -> &'static str {
    let mut config = ReceiverConfig::profile(Profile::Lan, GROUP, PORT);
    change(&mut config);
    config.check(path).expect_err("a bad value").field
}

#[test]
fn every_profile_is_good_as_it_is() {
    for (name, profile) in Profile::ALL {
        let config = ReceiverConfig::profile(profile, GROUP, PORT);
        assert_eq!(config.check(&PATH), Ok(()), "{name}");
    }
}

#[test]
fn a_bad_value_is_refused_by_its_name() {
    assert_eq!(refused(|config| config.group = SOURCE, &PATH), "group");
    assert_eq!(refused(|config| config.group = "ff08::1".parse().expect("an address"), &PATH), "group");
    assert_eq!(refused(|config| config.data_port = 0, &PATH), "data_port");
    assert_eq!(refused(|_| (), &PathFacts { mtu: 339, ..PATH }), "mtu");
    assert_eq!(refused(|config| config.sources = vec![GROUP], &PATH), "sources");
    assert_eq!(refused(|config| config.window_slots = 1000, &PATH), "window_slots");
    assert_eq!(refused(|config| config.window_slots = 32, &PATH), "window_slots");
    assert_eq!(refused(|config| config.held_max = 0, &PATH), "held_max");
    assert_eq!(refused(|config| config.sessions_max = 0, &PATH), "sessions_max");
    assert_eq!(refused(|config| config.max_apdu = 0, &PATH), "max_apdu");
    assert_eq!(refused(|config| config.expiry = Duration::ZERO, &PATH), "expiry");
    assert_eq!(refused(|config| config.reorder_packets = 5000, &PATH), "reorder_packets");
    assert_eq!(refused(|config| config.nak_bo_ivl = Interval::Fixed(Duration::ZERO), &PATH), "nak_bo_ivl");
    let upside_down = Interval::Adaptive {
        floor: Duration::from_millis(2),
        start: Duration::from_millis(1),
        ceiling: Duration::from_millis(3),
    };
    assert_eq!(refused(|config| config.nak_rpt_ivl = upside_down, &PATH), "nak_rpt_ivl");
    assert_eq!(refused(|config| config.nak_rdata_ivl = upside_down, &PATH), "nak_rdata_ivl");
    assert_eq!(refused(|config| config.nak_bo_least = Duration::from_secs(1), &PATH), "nak_bo_least");
    assert_eq!(refused(|config| config.nak_bo_min = Duration::from_secs(1), &PATH), "nak_bo_min");
    assert_eq!(refused(|config| config.nak_bo_max = Duration::from_secs(11), &PATH), "nak_bo_max");
    assert_eq!(refused(|config| config.nak_ncf_retries = 255, &PATH), "nak_ncf_retries");
    assert_eq!(refused(|config| config.nak_sqns_max = 64, &PATH), "nak_sqns_max");
    assert_eq!(refused(|config| config.spmr_spm_ivl = Duration::ZERO, &PATH), "spmr_spm_ivl");
}
