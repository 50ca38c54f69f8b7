//! The `xdp` link in the mode that its interface allows, zero-copy where the driver can. Needs root:
//! `cargo test --test privileged_zero_copy -- --ignored`.
//!
//! Over a veth cable, which has no zero-copy, copy mode is demanded, and that the refusal is told. `cargo xtask vm` lends the tests two
//! cards (`PGMX_TEST_NICS`) and says what the driver of its kernel can: `PGMX_TEST_ZERO_COPY=yes` or `no`.
//!
//! Nothing depends on the speed of the machine: the publisher runs no further ahead of the subscriber than its rings hold, so that only
//! the faults lose anything; every wait has an end.

#![cfg(feature = "xdp")]

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netns::{Port, on_two_hosts};
use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Census, Pool, RxBatch, TxBatch};
use pgmx::link::auto::{self, LinkConfig, Opened, Way};
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::xdp::{Refusal, Taken, XdpConfig, XdpLink};
use pgmx::link::{Channel, Link};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::{Source, SourceConfig, SourceState};
use pgmx::protocol::{Delivery, End, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::build::{self, NakOptions, NakType, Session};
use pgmx::wire::{Gsi, Kind, Limits, Nak, Sqn, Tsi, parse};

const GROUP: [u8; 4] = [239, 192, 0, 1];
const SOURCE_PORT: u16 = 7400;
const DATA_PORT: u16 = 7500;
const RING: u32 = 1024;
const FRAMES: u32 = 16 * RING;
/// A virtual machine without hardware support counts its packets in tens of thousands a second.
const PATIENCE: Duration = Duration::from_secs(90);

fn channel() -> Channel {
    Channel { group: GROUP.into(), data_port: DATA_PORT }
}

fn tsi() -> Tsi {
    Tsi::new(Gsi::from_host_name("left"), SOURCE_PORT)
}

fn source_config() -> SourceConfig {
    let mut config = SourceConfig::profile(Profile::LowLatency, GROUP.into(), DATA_PORT);
    config.window_slots = 4 * RING;
    // A repair that is late because the machine is slow is still a repair.
    config.max_hold = PATIENCE;
    config
}

/// Whether the driver of this kernel is said to move frames without a copy.
fn has_zero_copy() -> bool {
    std::env::var("PGMX_TEST_ZERO_COPY").as_deref() == Ok("yes")
}

/// Opens a link that takes what it can get, says what it took, and holds it against what was to be expected.
fn open(port: &Port, change: impl FnOnce(&mut XdpConfig)) -> (XdpLink, Pool) {
    let mut config = XdpConfig::new(&port.interface);
    config.frames = FRAMES;
    config.ring = RING;
    change(&mut config);
    let (link, pool) = XdpLink::open(&config).expect("an AF_XDP link");
    println!("data path on {}: {}", port.interface, link.taken());
    demand(link.taken(), has_zero_copy());
    (link, pool)
}

fn demand(taken: &Taken, zero_copy: bool) {
    let refused: Vec<&Refusal> = taken.refusals.iter().filter(|refusal| refusal.attempt == "zero-copy").collect();
    assert_eq!(taken.zero_copy, zero_copy, "{taken}");
    assert_eq!(refused.len(), usize::from(!zero_copy), "a refusal is told once, and only a refusal: {taken}");
    assert!(refused.iter().all(|refusal| !refusal.reason.is_empty()), "{taken}");
}

/// What the message of this number holds: its length and octets follow from the number.
fn message(number: u64) -> Vec<u8> {
    let len = 1 + (number * 7919) % 1400;
    (0..len).map(|n| (number.wrapping_mul(31) + n) as u8).collect()
}

/// What an application sees, and checks.
#[derive(Debug, Default)]
struct Application {
    delivered: u64,
    wrong: u64,
    lost: u64,
    end: Option<End>,
}

impl Sink for Application {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.wrong += u64::from(pool.bytes(&delivery.frame) != message(self.delivered));
        self.delivered += 1;
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Loss { first, last, .. } => self.lost += u64::from(last.distance_from(first)) + 1,
            Event::Closed { end, .. } => self.end = Some(end),
            Event::Opened { .. } => {}
        }
    }
}

/// One end of the session, with its clock.
struct Side {
    endpoint: Endpoint<Faults<XdpLink>>,
    application: Application,
    begun: Instant,
}

impl Side {
    /// An endpoint whose link loses two of a hundred packets that come in.
    fn open(port: &Port, seed: u64) -> Self {
        let plan: FaultPlan = format!("loss=2%,seed={seed}").parse().expect("a plan");
        let (link, pool) = open(port, |_| {});
        let endpoint = Endpoint::new(Faults::new(link, &plan, Time::ZERO), pool, &EndpointConfig::default());
        Self { endpoint: endpoint.expect("the defaults"), application: Application::default(), begun: Instant::now() }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.begun.elapsed().as_nanos() as u64)
    }

    fn turn(&mut self) {
        let now = self.now();
        let moved = self.endpoint.poll(now, &mut self.application).expect("a cable");
        assert!(
            self.begun.elapsed() < PATIENCE,
            "it took too long: {:?} {:?}",
            self.application,
            self.endpoint.link().inner().counters()
        );
        if moved == 0 {
            // The other side may have to share this processor.
            std::thread::yield_now();
        }
    }

    fn close(mut self) -> (Application, Census, u64) {
        let lost = self.endpoint.link().receive_counts().lost;
        let statistics = self.endpoint.link().inner().ring_statistics().expect("the socket is open");
        assert_eq!(statistics.invalid, 0, "the kernel refused a descriptor");
        self.endpoint.shut_down(&mut self.application);
        (self.application, self.endpoint.pool().census(), lost)
    }
}

#[test]
#[ignore = "needs root"]
fn auto_takes_zero_copy_where_the_driver_has_it_and_says_so_and_else_why_not() {
    on_two_hosts(
        &[1],
        |ports| {
            let Opened { path, .. } = auto::open(&LinkConfig::new(&ports[0].interface)).expect("a way to the cable");
            println!("auto took {path}");
            let (wanted, named) =
                if has_zero_copy() { (Way::XdpZeroCopy, "zero-copy") } else { (Way::XdpCopy, "xdp zero-copy refused") };
            assert_eq!(path.way, wanted, "{path}");
            assert_eq!(path.refusals.len(), usize::from(!has_zero_copy()), "{path}");
            assert!(path.to_string().contains(named), "{path}");
        },
        |_| {},
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn a_hundred_thousand_messages_arrive_whole_and_in_order_though_two_of_a_hundred_packets_are_lost() {
    const COUNT: u64 = 100_000;
    let (listening, delivered, over) = (AtomicBool::new(false), AtomicU64::new(0), AtomicBool::new(false));
    let (left, right) = on_two_hosts(
        &[1],
        |ports| {
            let mut side = Side::open(&ports[0], 1);
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let now = side.now();
            let (source, mut publisher) =
                side.endpoint.add_source(&source_config(), tsi(), now, 1).expect("a good source");
            let mut next = 0;
            while next < COUNT {
                let ahead = COUNT.min(delivered.load(Ordering::Acquire) + u64::from(RING) / 2);
                while next < ahead && publisher.publish(&message(next)).is_ok() {
                    next += 1;
                }
                side.turn();
            }
            drop(publisher);
            let now = side.now();
            side.endpoint.source_mut(source).expect("a session").close(now);
            // What is asked for is repaired as long as somebody may ask.
            while !over.load(Ordering::Acquire)
                && side.endpoint.source(source).is_some_and(|source| source.state() != SourceState::Done)
            {
                side.turn();
            }
            let stats = *side.endpoint.source(source).expect("a session").stats();
            side.endpoint.remove_source(source);
            while side.endpoint.is_retiring() {
                side.turn();
            }
            let (_, census, lost) = side.close();
            println!(
                "source: {} ODATA, {} RDATA, {} NAKs, {} repairs waited for their frame; {lost} packets lost on purpose",
                stats.odata, stats.rdata, stats.naks, stats.repairs_deferred
            );
            assert!(stats.odata == COUNT && stats.rdata > 0, "{stats:?}");
            census
        },
        |ports| {
            let mut side = Side::open(&ports[0], 2);
            let mut config = ReceiverConfig::profile(Profile::LowLatency, GROUP.into(), DATA_PORT);
            config.expiry = PATIENCE;
            let receiver = side.endpoint.add_receiver(&config, 2).expect("a good receiver");
            listening.store(true, Ordering::Release);
            while side.application.end.is_none() {
                side.turn();
                delivered.store(side.application.delivered, Ordering::Release);
            }
            over.store(true, Ordering::Release);
            let stats = side.endpoint.receiver(receiver).expect("a receiver").stats().all;
            let seconds = side.begun.elapsed().as_secs_f64();
            let (application, census, lost) = side.close();
            println!(
                "receiver: {} messages in {seconds:.1} s, {lost} packets lost on purpose, {} repaired, {} NAKs",
                application.delivered, stats.repaired_packets, stats.naks_sent
            );
            assert!(lost > COUNT / 100, "only {lost} packets were lost: this proves little");
            assert_eq!((application.delivered, application.wrong, application.lost), (COUNT, 0, 0), "{application:?}");
            assert_eq!(application.end, Some(End::Finished));
            census
        },
    )
    .expect("two hosts");
    assert_eq!(left, Census { total: FRAMES, free: FRAMES, out: 0, slots: 0, lent: 0, leased: 0 });
    assert_eq!(right, left);
}

/// A source that is asked for a packet while its frame is with the kernel, in virtual time: what a frame waits for is the kernel alone.
struct Deferral {
    link: XdpLink,
    pool: Pool,
    source: Source,
    out: TxBatch,
    back: RxBatch,
    now: Time,
}

impl Deferral {
    /// Lets the source say what it has to say, without a look at what has left meanwhile.
    fn speak(&mut self) {
        self.now = self.now.plus(1_000_000);
        self.source.transmit(self.now, &mut self.pool, &mut self.out);
        self.link.send(self.now, &mut self.pool, &mut self.out).expect("a cable");
        assert!(self.out.is_empty(), "the ring has room for all that this test sends");
    }

    /// Takes back what has left.
    fn reap(&mut self) {
        self.link.receive(self.now, &mut self.pool, &mut self.back).expect("a cable");
        while let Some(incoming) = self.back.pop() {
            self.pool.put(incoming.frame);
        }
    }

    /// A receiver misses this one.
    fn ask_for(&mut self, sqn: Sqn, from: std::net::IpAddr) {
        let nak = Nak { sqn, source: self.link.path().nla, group: GROUP.into() };
        let session = Session { tsi: tsi(), data_port: DATA_PORT };
        let mut packet = [0; 64];
        let len = build::nak(&mut packet, NakType::Nak, &session, false, &nak, &[], &NakOptions::NONE).expect("a NAK");
        let packet = &packet[..len];
        let header = parse(packet, &Limits::default()).expect("a NAK");
        self.source.handle(self.now, &header, packet, from, nak.source);
    }
}

#[test]
#[ignore = "needs root"]
fn a_repair_of_a_frame_that_is_still_in_flight_waits_for_it_and_both_arrive_intact() {
    const SLOTS: u32 = 64;
    let begun = Instant::now();
    let in_time = || assert!(begun.elapsed() < PATIENCE, "it took too long");
    let listening = AtomicBool::new(false);
    on_two_hosts(
        &[1],
        |ports| {
            // In copy mode one packet a call, where the kernel can be told so: most of what is sent stays in the ring.
            let (link, mut pool) = open(&ports[0], |config| config.tx_budget = 1);
            let mut config = source_config();
            config.window_slots = SLOTS;
            let (source, mut publisher) =
                Source::new(&config, link.path(), tsi(), &mut pool, Time::ZERO, 1).expect("a good source");
            let (out, back) = (TxBatch::new(2 * SLOTS as usize), RxBatch::new(SLOTS as usize));
            let mut host = Deferral { link, pool, source, out, back, now: Time::ZERO };
            while !listening.load(Ordering::Acquire) {
                in_time();
                std::thread::yield_now();
            }
            // The SPMs before the first data.
            for _ in 0..10 {
                host.speak();
            }
            while host.link.in_flight() > 0 {
                in_time();
                host.reap();
            }
            let mut last = None;
            for number in 0..u64::from(SLOTS) {
                last = Some(publisher.publish(&message(number)).expect("room"));
            }
            let last = last.expect("a message");
            host.speak();
            assert_eq!(host.source.stats().odata, u64::from(SLOTS));
            assert!(host.link.in_flight() > 0, "nobody took a frame back");

            host.ask_for(last, ports[0].peer.into());
            for _ in 0..3 {
                host.speak();
            }
            let stats = *host.source.stats();
            assert!(stats.naks == 1 && stats.rdata == 0, "{stats:?}");
            assert!(stats.repairs_deferred > 0, "the repair is deferred: {stats:?}");
            assert!(stats.ncfs == 1, "and confirmed: {stats:?}");
            while host.source.stats().rdata == 0 {
                in_time();
                host.reap();
                host.speak();
            }
            while host.link.in_flight() > 0 {
                in_time();
                host.reap();
            }
            drop(publisher);
            host.source.retire(&mut host.pool).ok().expect("nothing is in flight");
            host.link.shut_down(&mut host.pool);
            let census = host.pool.census();
            assert_eq!((census.free, census.out, census.slots, census.lent), (FRAMES, 0, 0, 0));
        },
        |ports| {
            let (mut link, mut pool) = open(&ports[0], |_| {});
            link.listen(DATA_PORT).expect("a port");
            link.join(channel(), &[]).expect("a group");
            listening.store(true, Ordering::Release);
            let mut back = RxBatch::new(64);
            let (mut originals, mut repair) = (0, None);
            while repair.is_none() {
                in_time();
                if link.receive(Time::ZERO, &mut pool, &mut back).expect("a cable") == 0 {
                    std::thread::yield_now();
                }
                while let Some(incoming) = back.pop() {
                    let packet = pool.bytes(&incoming.frame);
                    // Parsing proves the checksum.
                    let header = parse(packet, &Limits::default()).expect("a packet of ours");
                    match header.kind {
                        Kind::Odata(_) => {
                            assert_eq!(header.payload(packet), message(originals));
                            originals += 1;
                        }
                        Kind::Rdata(_) => repair = Some(header.payload(packet).to_vec()),
                        _ => {}
                    }
                    pool.put(incoming.frame);
                }
            }
            assert_eq!(originals, u64::from(SLOTS));
            assert_eq!(repair, Some(message(u64::from(SLOTS) - 1)));
            link.shut_down(&mut pool);
            assert_eq!(pool.census().out, 0);
        },
    )
    .expect("two hosts");
}
