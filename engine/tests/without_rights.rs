//! What opens for a process without any right: UDP, and an error that says what else could be had. Needs nothing and nobody: loopback.

#[path = "support/rights.rs"]
mod rights;

use pgmx::link::Encapsulation;
use pgmx::link::auto::{Io, LinkConfig, OpenError, Way, open};

#[test]
fn native_pgm_is_refused_with_what_to_grant_and_udp_opens() {
    rights::without(|| {
        let error = open(&LinkConfig::new("lo")).expect_err("no right to it").to_string();
        for part in
            ["no way for pgm:// on lo: xdp refused: loopback", "raw refused: it needs CAP_NET_RAW", "setcap", "epgm://"]
        {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
        for io in [Io::Raw, Io::XdpGeneric] {
            let refused = open(&LinkConfig::new("lo").io(io));
            assert!(matches!(refused, Err(OpenError::Refused { refusals, .. }) if refusals.len() == 1), "{io}");
        }

        for config in [
            LinkConfig::new("lo").encapsulation(Encapsulation::one_port(57_113)),
            LinkConfig::new("127.0.0.1").io(Io::Udp),
        ] {
            let mut opened = open(&config).expect("UDP sockets");
            assert_eq!((opened.path.way, opened.path.interface.as_str()), (Way::Udp, "lo"));
            pgmx::link::Link::shut_down(&mut opened.link, &mut opened.pool);
        }
    });
}

#[test]
fn sockets_of_the_other_kind_are_refused_before_anything_is_opened() {
    let mut config = LinkConfig::new("lo");
    config.io = Io::Udp;
    assert!(matches!(open(&config), Err(OpenError::Contradiction { io: Io::Udp })));
    let raw = LinkConfig::new("lo").encapsulation(Encapsulation::UDP).io(Io::Raw);
    assert!(matches!(open(&raw), Err(OpenError::Contradiction { io: Io::Raw })));
}
