//! Two endpoints on two hosts, in both directions at once, through 2 % loss, 1 % duplication and 2 % reordering: everything is
//! delivered in order, octet for octet, over every link. Needs root: `cargo test --test privileged_endpoints -- --ignored`.
//!
//! Set `PGMX_LONG=1` for ten times as much.

#![cfg(feature = "xdp")]

#[path = "support/conversation.rs"]
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
use pgmx::link::Link;
use pgmx::link::xdp::{XdpConfig, XdpLink};

const PLAN: &str = "loss=2%,dup=1%,reorder=2%x3";
const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1));

/// Talks over links that `open` makes at each end.
fn converse<L: Link>(cable: Cable, group: IpAddr, open: impl Fn(&Port) -> (L, Pool) + Sync) {
    for script in Script::both() {
        let pair = Pair::new(std::slice::from_ref(&cable)).expect("two hosts");
        let (heard, began) = (Heard::default(), Instant::now());
        let side = |side, port: &Port| talk(open(port), side, group, PLAN, script, &heard);
        let (left, right) = pair.run(|ports| side(0, &ports[0]), |ports| side(1, &ports[0]));
        let seconds = began.elapsed().as_secs_f64();
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

fn xdp(port: &Port, change: impl Fn(&mut XdpConfig)) -> (XdpLink, Pool) {
    let mut config = XdpConfig::new(&port.interface);
    config.frames = FRAMES;
    change(&mut config);
    XdpLink::open(&config).expect("an AF_XDP link on a veth cable")
}

#[test]
#[ignore = "needs root"]
fn everything_is_delivered_over_native_xdp_and_ipv4() {
    converse(Cable::default(), V4, |port| xdp(port, |_| {}));
}
