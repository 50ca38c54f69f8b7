//! Two endpoints on two hosts, in both directions at once, through 2 % loss, 1 % duplication and 2 % reordering: everything is
//! delivered in order, octet for octet, over every link. Needs root: `cargo test --test privileged_endpoints -- --ignored`.
//!
//! Set `PGMX_LONG=1` for ten times as much.

#[path = "support/conversation.rs"]
#[allow(dead_code, unreachable_pub)] // shared by several tests
mod conversation;
#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::net::IpAddr;
use std::time::Instant;

use conversation::{FRAMES, Heard, Script, talk};
use netns::{Cable, Pair, Port};
use pgmx::frame::Pool;
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::udp::{UdpConfig, UdpLink};
use pgmx::link::{Address, Link};

const PLAN: &str = "loss=2%,dup=1%,reorder=2%x3";
const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x113, 1));

/// Talks over links that `open` makes at each end.
fn converse<L: Link>(group: IpAddr, open: impl Fn(&Port) -> (L, Pool) + Sync) {
    for script in Script::both() {
        let pair = Pair::new(&[Cable::default()]).expect("two hosts");
        let (heard, began) = (Heard::default(), Instant::now());
        let side = |side, port: &Port| talk(open(port), side, group, PLAN, script, &heard);
        let (left, right) = pair.run(|ports| side(0, &ports[0]), |ports| side(1, &ports[0]));
        let seconds = began.elapsed().as_secs_f64();
        // What went wrong at one side is understood from the other.
        let complete = [&left, &right].iter().all(|saw| saw.came == script.messages);
        assert!(complete, "{left:#?}\n{right:#?}");
        for (name, saw) in [("left", left), ("right", right)] {
            let (source, receiver) = (saw.source, saw.receiver.all);
            println!(
                "{} messages of up to {} octets, {name}: {seconds:.1} s, {} ODATA, {} RDATA, {} NAKs sent, {} lost by faults",
                script.messages, script.longest, source.odata, source.rdata, receiver.naks_sent, saw.faults.lost
            );
            saw.is_complete(script);
        }
    }
}

fn raw(port: &Port, address: Address) -> (RawLink, Pool) {
    let mut config = RawConfig::new(&port.interface);
    config.address = address;
    config.frames = FRAMES;
    // Each side has a session on the channel, and shall not hear its own.
    config.loopback = false;
    RawLink::open(&config).expect("a raw link on a veth cable")
}

fn udp(port: &Port, address: Address) -> (UdpLink, Pool) {
    let mut config = UdpConfig::new(&port.interface, 3055, 3056);
    config.address = address;
    config.frames = FRAMES;
    // Each side has a session on the channel, and shall not hear its own.
    config.loopback = false;
    UdpLink::open(&config).expect("a udp link on a veth cable")
}

#[test]
#[ignore = "needs root"]
fn everything_is_delivered_over_raw_sockets_and_ipv4() {
    converse(V4, |port| raw(port, Address::Ipv4));
}

#[test]
#[ignore = "needs root"]
fn everything_is_delivered_over_raw_sockets_and_ipv6() {
    converse(V6, |port| raw(port, Address::Ipv6));
}

#[test]
#[ignore = "needs root"]
fn everything_is_delivered_over_udp_and_ipv4() {
    converse(V4, |port| udp(port, Address::Ipv4));
}

#[test]
#[ignore = "needs root"]
fn everything_is_delivered_over_udp_and_ipv6() {
    converse(V6, |port| udp(port, Address::Ipv6));
}

#[cfg(feature = "xdp")]
mod xdp {
    use super::{Address, FRAMES, Pool, Port, V4, V6, converse};
    use pgmx::link::xdp::{Attach, XdpConfig, XdpLink};
    use pgmx::wire::net::Vlans;

    fn over(change: impl Fn(&mut XdpConfig) + Sync, group: std::net::IpAddr) {
        converse(group, |port: &Port| -> (XdpLink, Pool) {
            let mut config = XdpConfig::new(&port.interface);
            config.address = Address::suiting(group);
            config.frames = FRAMES;
            change(&mut config);
            XdpLink::open(&config).expect("an AF_XDP link on a veth cable")
        });
    }

    #[test]
    #[ignore = "needs root"]
    fn everything_is_delivered_over_native_xdp_and_ipv4() {
        over(|config| config.attach = Attach::Native, V4);
    }

    #[test]
    #[ignore = "needs root"]
    fn everything_is_delivered_over_native_xdp_and_ipv6() {
        over(|config| config.attach = Attach::Native, V6);
    }

    #[test]
    #[ignore = "needs root"]
    fn everything_is_delivered_over_generic_xdp_and_ipv4() {
        over(|config| config.attach = Attach::Generic, V4);
    }

    #[test]
    #[ignore = "needs root"]
    fn everything_is_delivered_over_generic_xdp_and_ipv6() {
        over(|config| config.attach = Attach::Generic, V6);
    }

    #[test]
    #[ignore = "needs root"]
    fn everything_is_delivered_over_tagged_xdp_and_ipv4() {
        over(|config| config.vlans = Vlans::one(5), V4);
    }

    #[test]
    #[ignore = "needs root"]
    fn everything_is_delivered_over_twice_tagged_xdp_and_ipv6() {
        over(|config| config.vlans = Vlans::two(100, 7), V6);
    }
}
