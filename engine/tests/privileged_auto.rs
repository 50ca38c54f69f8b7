//! What `auto` takes on a veth cable, what it says of what it did not take, and that both ends understand each other whatever they took.
//! Needs root: `cargo test --test privileged_auto -- --ignored`.

#![cfg(feature = "xdp")]

#[path = "support/conversation.rs"]
#[allow(dead_code, unreachable_pub)] // half of what it tells
mod conversation;
#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "support/rights.rs"]
mod rights;

use std::net::IpAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use conversation::{FRAMES, Heard, Script, talk};
use netns::{Cable, Pair, Port};
use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Pool, RxBatch};
use pgmx::link::auto::{AnyLink, Io, LinkConfig, OpenError, Opened, Way, open};
use pgmx::link::survey::{Attached, Survey};
use pgmx::link::{Channel, Encapsulation, Link, LinkError};
use pgmx::protocol::config::Profile;
use pgmx::protocol::source::SourceConfig;
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::net::Vlans;
use pgmx::wire::{Gsi, Tsi};

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1));
const CHANNEL: Channel = Channel { group: GROUP, data_port: 7500 };
const PATIENCE: Duration = Duration::from_secs(20);

/// Does `work` at one end of a cable.
fn at_one_end<T: Send>(work: impl FnOnce(&Port) -> T + Send) -> T {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    pair.run(|ports| work(&ports[0]), |_| {}).0
}

fn config(port: &Port, change: impl FnOnce(LinkConfig) -> LinkConfig) -> LinkConfig {
    change(LinkConfig::new(&port.interface))
}

fn opened(port: &Port, change: impl FnOnce(LinkConfig) -> LinkConfig) -> Opened {
    open(&config(port, change)).expect("a way to the cable")
}

fn refused(port: &Port, change: impl FnOnce(LinkConfig) -> LinkConfig) -> OpenError {
    open(&config(port, change)).expect_err("no way")
}

#[test]
#[ignore = "needs root"]
fn auto_takes_the_best_that_veth_has_and_says_why_not_better() {
    at_one_end(|port| {
        for encapsulation in [Encapsulation::Pgm, Encapsulation::UDP] {
            let path = opened(port, |config| config.encapsulation(encapsulation)).path;
            assert_eq!((path.way, path.interface.as_str()), (Way::XdpCopy, port.interface.as_str()));
            assert_eq!(path.refusals.len(), 1, "{path}");
            assert_eq!(path.refusals[0].attempt, "xdp zero-copy");
            assert!(!path.refusals[0].reason.is_empty() && !path.refusals[0].remedy.is_empty(), "{path}");
            assert_eq!(path.to_string().lines().count(), 1);
        }
        let path = opened(port, |config| config.io(Io::XdpGeneric)).path;
        assert_eq!((path.way, path.refusals.len()), (Way::XdpGeneric, 0), "{path}");
    });
}

#[test]
#[ignore = "needs root"]
fn beside_another_program_auto_takes_sockets_and_names_its_process() {
    at_one_end(|port| {
        let mut first = opened(port, |config| config);
        first.link.join(CHANNEL, &[]).expect("nobody has it");
        let program = Survey::of(&port.interface).expect("it is there").program.expect("the steering program");
        assert_eq!(program.attached, Attached::Native);

        let mut second = opened(port, |config| config);
        assert_eq!(second.path.way, Way::Raw);
        let refusal = &second.path.refusals[0];
        let owner = format!("program {} (steer) of process {}", program.id, std::process::id());
        assert_eq!(refusal.reason, format!("{owner} is attached to {}", port.interface));
        assert!(refusal.remedy.contains("--replace"));
        assert_eq!(opened(port, |config| config.encapsulation(Encapsulation::UDP)).path.way, Way::Udp);

        // Another channel works beside it; the same one is refused by name, and no other link would change that.
        second.link.join(Channel { data_port: 7501, ..CHANNEL }, &[]).expect("another port");
        let claimed = second.link.join(CHANNEL, &[]).expect_err("both would lose packets");
        assert!(matches!(claimed, LinkError::Claimed { pid, .. } if pid == std::process::id()), "{claimed}");

        let error = refused(port, |config| config.io(Io::Xdp)).to_string();
        assert!(error.contains(&owner) && error.starts_with("no way for pgm:// on "), "{error}");
        for Opened { mut link, mut pool, .. } in [first, second] {
            link.shut_down(&mut pool);
            assert_eq!(pool.census().out, 0);
        }
        assert_eq!(opened(port, |config| config).path.way, Way::XdpCopy, "its place is free again");
    });
}

#[test]
#[ignore = "needs root"]
fn without_rights_there_is_udp_and_else_an_error_that_names_what_to_grant() {
    at_one_end(|port| {
        rights::without(|| {
            let error = refused(port, |config| config).to_string();
            for part in [
                "xdp refused: it needs CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, which this process does not have",
                "raw refused: it needs CAP_NET_RAW",
                "setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep /",
                "epgm://",
            ] {
                assert!(error.contains(part), "{part} is not in: {error}");
            }
            let path = opened(port, |config| config.encapsulation(Encapsulation::UDP)).path;
            assert_eq!((path.way, path.refusals.len()), (Way::Udp, 1), "{path}");
        });
    });
}

#[test]
#[ignore = "needs root"]
fn what_cannot_work_is_refused_by_name_and_not_by_falling_back() {
    at_one_end(|port| {
        let error = refused(port, |mut config| {
            config.queues = vec![7];
            config
        });
        assert!(matches!(&error, OpenError::Config(words) if words.starts_with("queues = 7 refused")), "{error}");
        let error = refused(port, |mut config| {
            config.vlans = Vlans::one(5);
            config.io(Io::Raw)
        });
        assert!(error.to_string().contains(&format!("ip link add link {0} name {0}.5", port.interface)), "{error}");
        let error = open(&LinkConfig::new("nowhere0")).expect_err("no such interface");
        assert!(matches!(error, OpenError::Interface(_)), "{error}");
    });
}

#[test]
#[ignore = "needs root"]
fn both_ends_understand_each_other_whatever_they_took() {
    let script = Script { messages: 5_000, longest: 1_400 };
    for (left, right, encapsulation) in [
        (Io::Auto, Io::Raw, Encapsulation::Pgm),
        (Io::Raw, Io::XdpGeneric, Encapsulation::Pgm),
        (Io::Auto, Io::Udp, Encapsulation::one_port(7400)),
    ] {
        let pair = Pair::new(&[Cable::default()]).expect("two hosts");
        let heard = Heard::default();
        let side = |side: u8, port: &Port, io: Io| {
            let wanted = config(port, |mut config| {
                config.frames = Some(FRAMES);
                // Each side has a session on the channel, and shall not hear its own.
                config.loopback = false;
                config.encapsulation(encapsulation).io(io)
            });
            let Opened { link, pool, path } = open(&wanted).expect("a way to the cable");
            assert!(io == Io::Auto || path.way.io() == io, "{path}");
            talk((link, pool), side, GROUP, "loss=2%,dup=1%,reorder=2%x3", script, &heard)
        };
        let (left, right) = pair.run(|ports| side(0, &ports[0], left), |ports| side(1, &ports[0], right));
        left.is_complete(script);
        right.is_complete(script);
    }
}

struct Nobody;

impl Sink for Nobody {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        pool.put(delivery.frame);
    }

    fn event(&mut self, _: Event) {}
}

/// One end begins a session, whose first packets the other waits for; returns how many it heard, and how long it waited. `sources` is
/// who it may hear.
fn first_packets(io: Io, sources: impl Fn(&Port) -> Vec<(IpAddr, u8)> + Sync) -> (usize, Duration) {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let (listening, done) = (Barrier::new(2), Barrier::new(2));
    let wanted = |port: &Port| config(port, |config| config.io(io));
    let speak = |ports: Vec<Port>| {
        let Opened { link, pool, .. } = open(&wanted(&ports[0])).expect("a way to the cable");
        let mut endpoint = Endpoint::new(link, pool, &EndpointConfig::default()).expect("the defaults");
        let mut source = SourceConfig::profile(Profile::Lan, GROUP, 7500);
        source.window_slots = 1024;
        let began = Instant::now();
        let now = || Time::from_nanos(began.elapsed().as_nanos() as u64);
        listening.wait();
        let _ = endpoint.add_source(&source, Tsi::new(Gsi::from_host_name("x"), 1), now(), 1).expect("a source");
        // A few SPMs, and no more.
        for _ in 0..20 {
            endpoint.poll(now(), &mut Nobody).expect("a cable");
            endpoint.link().wait(Duration::from_millis(1), None).expect("a sleep");
        }
        done.wait();
    };
    let listen = |ports: Vec<Port>| {
        let mut config = wanted(&ports[0]);
        config.sources = sources(&ports[0]);
        let Opened { mut link, mut pool, .. } = open(&config).expect("a way to the cable");
        link.join(CHANNEL, &[]).expect("a group");
        listening.wait();
        let (began, mut batch) = (Instant::now(), RxBatch::new(64));
        if config.sources.first().is_none_or(|source| source.0 == IpAddr::from(ports[0].peer)) {
            while batch.is_empty() && began.elapsed() < PATIENCE {
                link.wait(PATIENCE, None).expect("a sleep");
                link.receive(Time::ZERO, &mut pool, &mut batch).expect("a cable");
            }
        }
        let waited = began.elapsed();
        done.wait();
        // What else has come by now.
        for _ in 0..10 {
            link.receive(Time::ZERO, &mut pool, &mut batch).expect("a cable");
        }
        let heard = batch.len();
        for packet in batch.drain() {
            pool.put(packet.frame);
        }
        if heard == 0 && !matches!(link, AnyLink::Xdp(_)) {
            assert!(link.counters().unwanted > 0, "they came as far as the list: {:?}", link.counters());
        }
        link.shut_down(&mut pool);
        assert_eq!(pool.census().out, 0);
        (heard, waited)
    };
    pair.run(speak, listen).1
}

#[test]
#[ignore = "needs root"]
fn who_sleeps_on_a_link_wakes_when_something_comes() {
    for io in [Io::Xdp, Io::XdpGeneric, Io::Raw, Io::Udp] {
        let (heard, waited) = first_packets(io, |_| Vec::new());
        assert!(heard > 0 && waited < PATIENCE, "{io}: {heard} packets after {waited:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn senders_that_are_not_allowed_are_not_heard_on_any_link() {
    for io in [Io::Xdp, Io::Raw, Io::Udp] {
        let (heard, _) = first_packets(io, |_| vec![([192, 0, 2, 0].into(), 24)]);
        assert_eq!(heard, 0, "{io}");
        let (heard, _) = first_packets(io, |port| vec![(port.peer.into(), 32)]);
        assert!(heard > 0, "{io}");
    }
}
