//! Engines on real interfaces: one subscriber that two of them feed, and an interface that is free again however a worker ended. Needs
//! root: `cargo test --test privileged_runtime -- --ignored`.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netns::{Cable, Pair, is_skipped};
use pgmx::link::auto::Io;
use pgmx::protocol::Event;
use pgmx::protocol::config::Profile;
use pgmx::protocol::source::{Linger, SourceConfig};
use pgmx::{Close, Engine, Idle, PublisherConfig, Received, SubscriberConfig};

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 9));
const LONG: Duration = Duration::from_secs(60);
const MESSAGES: u32 = 20_000;

fn engine(io: Io, interfaces: [&str; 2]) -> Engine {
    let builder = Engine::builder().io(io).profile(Profile::LowLatency).frames(16_384).idle(Idle::Block);
    interfaces.into_iter().fold(builder, pgmx::EngineBuilder::interface).build().expect("two cables")
}

/// Two publishers, one on each cable; one subscriber that hears both.
fn fan_in(io: Io) {
    let cables = [Cable::default(), Cable::default()];
    if is_skipped(&cables) {
        return;
    }
    let pair = Pair::new(&cables).expect("two hosts");
    // The reader is a thread without a core of its own: nobody runs further ahead than its ring holds.
    let (heard, room) = (AtomicU32::new(0), 1_000);
    pair.run(
        |ports| {
            let engine = engine(io, [&ports[0].interface, &ports[1].interface]);
            let mut publishers = [0, 1].map(|n| {
                let mut source = SourceConfig::profile(Profile::LowLatency, GROUP, 7500);
                source.window_slots = 2048;
                // Until the other side has come up and heard the first SPM, nothing may be forgotten.
                source.late_join_percent = Some(100);
                source.linger = Linger::Quiet { quiet: Duration::from_millis(500), at_most: Duration::from_secs(5) };
                engine.publisher(&PublisherConfig::from(source).on(&ports[n].interface)).expect("a publisher")
            });
            // The other side listens before anything is said.
            std::thread::sleep(Duration::from_millis(500));
            for n in 0..MESSAGES {
                while n > heard.load(Ordering::Relaxed) / 2 + room {
                    std::thread::yield_now();
                }
                for (cable, publisher) in (0_u32..).zip(&mut publishers) {
                    publisher.publish(&[cable.to_be_bytes(), n.to_be_bytes()].concat()).expect("room");
                }
            }
            for publisher in publishers {
                assert!(publisher.close(Close::Graceful).wait(LONG).expect("an end").odata >= u64::from(MESSAGES));
            }
        },
        |ports| {
            let interfaces = [&*ports[0].interface, &*ports[1].interface];
            let engine = engine(io, interfaces);
            assert_eq!(engine.interfaces().collect::<Vec<_>>(), interfaces);
            let mut subscriber = engine.subscriber(&SubscriberConfig::new(GROUP, 7500)).expect("a subscriber");
            let mut next = [0_u32; 2];
            while next != [MESSAGES; 2] {
                match subscriber.recv_timeout(LONG).expect("both live") {
                    Some(Received::Message(message)) => {
                        let octets = message.to_vec();
                        let number =
                            |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"));
                        let cable = number(0) as usize;
                        assert_eq!(number(4), next[cable], "of cable {cable}");
                        next[cable] += 1;
                        heard.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Received::Event(_, event)) => assert!(!matches!(event, Event::Loss { .. }), "{event:?}"),
                    None => panic!("{next:?} messages of {MESSAGES} came"),
                }
            }
            drop(subscriber);
            for ended in engine.shutdown() {
                let frames = ended.frames.expect("no panic");
                assert_eq!((frames.free, ended.failure), (frames.total, None));
            }
            // What the first one attached is gone: another one finds the interfaces as they were.
            drop(self::engine(io, interfaces));
        },
    );
}

#[test]
#[ignore = "needs root"]
fn one_subscriber_hears_two_interfaces_over_raw_sockets() {
    fan_in(Io::Raw);
}

#[cfg(feature = "xdp")]
#[test]
#[ignore = "needs root"]
fn one_subscriber_hears_two_interfaces_over_xdp() {
    fan_in(Io::Xdp);
}
