//! One publisher and two receivers on three hosts behind a bridge, which lose the same packets: the NAK of one spares the other its own.
//! Needs root: `cargo test --test privileged_bridge -- --ignored`.
//!
//! One thread polls all three, so that a machine that does other things delays them alike.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use netns::{Bridged, Port};
use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::Pool;
use pgmx::link::Link;
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{Interval, NakCopy, ReceiverConfig, SessionStats};
use pgmx::protocol::source::SourceConfig;
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 0, 1));
const MESSAGES: u64 = 500;
/// Every tenth packet that the publisher sends, the first few apart, while it publishes.
const LOSSES: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Ear {
    numbers: Vec<u64>,
    events: Vec<Event>,
}

impl Sink for Ear {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        let octets = pool.bytes(&delivery.frame).try_into().expect("a number");
        self.numbers.push(u64::from_le_bytes(octets));
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// A message a millisecond; what the two receivers counted.
fn both_lose_the_same<L: Link>(open: impl Fn(&Port) -> (L, Pool), copy: NakCopy) -> [SessionStats; 2] {
    let bridged = Bridged::new(3).expect("a bridge");
    let began = Instant::now();
    let now = || Time::from_nanos(began.elapsed().as_nanos() as u64);
    let endpoint = |number: usize, plan: &str| {
        let (host, port) = &bridged.hosts[number];
        let (link, pool) = host.inside(|| open(port));
        let link = Faults::new(link, &plan.parse::<FaultPlan>().expect("a plan"), Time::ZERO);
        Endpoint::new(link, pool, &EndpointConfig::default()).expect("the defaults")
    };
    // What does not leave reaches neither.
    let listed: Vec<String> = (1..=LOSSES).map(|n| (n * 10).to_string()).collect();
    let mut publishing = endpoint(0, &format!("send.drop={}", listed.join("+")));
    let mut config = SourceConfig::profile(Profile::Lan, GROUP, 7500);
    config.window_slots = 4096;
    let tsi = Tsi::new(Gsi::from_host_name("publisher"), 7400);
    let host = |number: usize| &bridged.hosts[number].0;
    let (source, mut publisher) = host(0).inside(|| publishing.add_source(&config, tsi, now(), 1)).expect("a source");
    let mut config = ReceiverConfig::profile(Profile::Lan, GROUP, 7500);
    // Wide against the way through the bridge, so that who is second hears of the first in time.
    config.nak_bo_ivl = Interval::Fixed(Duration::from_millis(100));
    config.nak_copy = copy;
    let mut listening = [1, 2].map(|number| {
        let mut endpoint = endpoint(number, "seed=1");
        let id = host(number).inside(|| endpoint.add_receiver(&config, number as u64)).expect("a receiver");
        (endpoint, id, Ear::default())
    });
    let (mut said, mut nobody, start) = (0, Ear::default(), now());
    while listening.iter().any(|(_, _, ear)| (ear.numbers.len() as u64) < MESSAGES) {
        let now = now();
        if said < MESSAGES && now.since(start) > (said + 20) * 1_000_000 {
            publisher.publish(&said.to_le_bytes()).expect("room");
            said += 1;
        }
        publishing.poll(now, &mut nobody).expect("a cable");
        for (endpoint, _, ear) in &mut listening {
            endpoint.poll(now, ear).expect("a cable");
        }
        assert!(began.elapsed() < PATIENCE, "heard {:?}", listening.each_ref().map(|(_, _, ear)| ear.numbers.len()));
    }
    let lost = publishing.link().send_counts().lost_by_list;
    assert_eq!(lost, LOSSES);
    let sent = *publishing.source(source).expect("it is there").stats();
    let stats = listening.each_ref().map(|(endpoint, id, _)| endpoint.receiver(*id).expect("it is there").stats().all);
    println!(
        "{lost} losses: {} + {} SQNs in NAKs, {} + {} spared, {} RDATA, {} + {} NAKs of the other heard",
        stats[0].nak_sqns_sent,
        stats[1].nak_sqns_sent,
        stats[0].naks_suppressed,
        stats[1].naks_suppressed,
        sent.rdata,
        stats[0].naks_heard,
        stats[1].naks_heard
    );
    drop(publisher);
    publishing.shut_down(&mut nobody);
    for (endpoint, _, ear) in &mut listening {
        assert!(ear.numbers.iter().copied().eq(0..MESSAGES), "in order, each once");
        assert!(matches!(ear.events[..], [Event::Opened { .. }]), "{:?}", ear.events);
        endpoint.shut_down(ear);
    }
    for endpoint in listening.iter().map(|(endpoint, ..)| endpoint).chain([&publishing]) {
        let census = endpoint.pool().census();
        assert_eq!((census.free, census.out, census.lent, census.slots), (census.total, 0, 0, 0));
    }
    stats
}

/// One of the two asks for most losses, the other one keeps quiet; some of what is lost are SPMs or repairs.
fn one_asks(stats: &[SessionStats; 2]) {
    let [asked, spared] = [
        stats.iter().map(|one| one.nak_sqns_sent).sum::<u64>(),
        stats.iter().map(|one| one.naks_suppressed).sum::<u64>(),
    ];
    let data: u64 = LOSSES * 3 / 4;
    assert!(stats.iter().all(|one| one.naks_sent > 0 && one.naks_suppressed > 0), "both take their turns: {stats:?}");
    assert!((data..=LOSSES * 3 / 2).contains(&asked), "{asked} SQNs asked for by the two of them");
    assert!(spared >= LOSSES / 2, "{spared} spared");
}

fn raw(port: &Port) -> (RawLink, Pool) {
    let mut config = RawConfig::new(&port.interface);
    // What a host hears of itself would count as heard of the other.
    config.loopback = false;
    RawLink::open(&config).expect("a raw link")
}

/// conformance 93
#[test]
#[ignore = "needs root"]
fn the_confirmation_of_one_receivers_nak_spares_the_other_its_own_over_raw_sockets() {
    let stats = both_lose_the_same(raw, NakCopy::Never);
    one_asks(&stats);
    assert!(stats.iter().all(|one| one.naks_heard == 0), "NAKs went to the source alone: {stats:?}");
}

/// conformance 104
#[test]
#[ignore = "needs root"]
fn copies_of_naks_reach_the_neighbours_over_raw_sockets() {
    let stats = both_lose_the_same(raw, NakCopy::Always);
    one_asks(&stats);
    assert!(stats.iter().all(|one| one.naks_heard > 0), "{stats:?}");
}

#[cfg(feature = "xdp")]
mod xdp {
    use super::{NakCopy, Pool, Port, both_lose_the_same, one_asks};
    use pgmx::link::xdp::{XdpConfig, XdpLink};

    fn open(port: &Port) -> (XdpLink, Pool) {
        XdpLink::open(&XdpConfig::new(&port.interface)).expect("an xdp link")
    }

    /// conformance 93
    #[test]
    #[ignore = "needs root"]
    fn the_confirmation_of_one_receivers_nak_spares_the_other_its_own_over_xdp() {
        let stats = both_lose_the_same(open, NakCopy::Never);
        one_asks(&stats);
        assert!(stats.iter().all(|one| one.naks_heard == 0), "NAKs went to the source alone: {stats:?}");
    }

    /// conformance 104
    #[test]
    #[ignore = "needs root"]
    fn copies_of_naks_reach_the_neighbours_over_xdp() {
        let stats = both_lose_the_same(open, NakCopy::Always);
        one_asks(&stats);
        assert!(stats.iter().all(|one| one.naks_heard > 0), "{stats:?}");
    }
}
