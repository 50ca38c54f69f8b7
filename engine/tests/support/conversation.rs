//! Two endpoints that talk in both directions at once through faulty links, and check every octet.
//!
//! Each [`talk`] runs in a thread of its own, on its host: a source that publishes as fast as it is let, a receiver that checks what comes.
//! A full window is back-pressure: the endpoint is polled until there is room. Nothing is measured in time; every wait has an end.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgmx::endpoint::{Endpoint, EndpointConfig, EndpointStats};
use pgmx::frame::{ClaimError, Pool};
use pgmx::link::Link;
use pgmx::link::faults::{FaultCounts, FaultPlan, Faults};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{ReceiverConfig, ReceiverStats};
use pgmx::protocol::source::{Rate, SourceConfig, SourceStats};
use pgmx::protocol::{Delivery, End, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

/// Frames of an endpoint: the window of the profile, and as much again for what is held, by the receiver or the faults, and the rings.
pub const FRAMES: u32 = 1 << 17;

/// Octets of IP that a source sends in a second.
const RATE: u64 = 50_000_000;

/// What is said in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// How many messages.
    pub messages: u64,
    /// Octets of the longest; the shortest has one.
    pub longest: usize,
}

impl Script {
    /// Messages that fit a packet each, and messages of many: the full count if it is asked for (`PGMX_LONG=1`), else a tenth.
    pub fn both() -> [Self; 2] {
        let tenth = if std::env::var_os("PGMX_LONG").is_some_and(|value| value == "1") { 10 } else { 1 };
        [Self { messages: 50_000 * tenth, longest: 1_400 }, Self { messages: 1_000 * tenth, longest: 100_000 }]
    }

    /// How long all of it may take on a machine that does other things.
    fn patience(self) -> Duration {
        let octets = self.messages * self.longest as u64 / 2;
        Duration::from_secs(60 + octets / 1_000_000)
    }
}

/// Octets in which every message finds its own: what stands where follows from the message's number.
pub struct Text {
    octets: Vec<u8>,
    longest: usize,
}

impl Text {
    const STARTS: usize = 1 << 17;

    fn new(longest: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let octets = (0..Self::STARTS + longest)
            .map(|_| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        Self { octets, longest }
    }

    /// The message of this number.
    fn message(&self, number: u64) -> &[u8] {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (start, len) = ((mixed >> 40) as usize % Self::STARTS, (mixed >> 8) as usize % self.longest + 1);
        &self.octets[start..start + len]
    }
}

/// Checks what comes.
struct Ear<'t> {
    text: &'t Text,
    next: u64,
    /// Octets of the next message that have come.
    have: usize,
    events: Vec<Event>,
}

impl Sink for Ear<'_> {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        let message = self.text.message(self.next);
        let (offset, len) =
            delivery.place.map_or((0, delivery.frame.len()), |place| (place.offset as usize, place.len as usize));
        assert_eq!((offset, len), (self.have, message.len()), "message {} is cut otherwise", self.next);
        let octets = pool.bytes(&delivery.frame);
        assert!(octets == &message[offset..][..octets.len()], "message {} has other octets", self.next);
        self.have += octets.len();
        if self.have == len {
            (self.next, self.have) = (self.next + 1, 0);
        }
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// What one side saw.
#[derive(Debug)]
pub struct Saw {
    /// Messages that came whole and in order.
    pub came: u64,
    /// Everything that was said about sessions.
    pub events: Vec<Event>,
    /// What the source counted.
    pub source: SourceStats,
    /// What the receiver counted.
    pub receiver: ReceiverStats,
    /// What the endpoint counted.
    pub endpoint: EndpointStats,
    /// What was done to the packets that came.
    pub faults: FaultCounts,
}

/// How many of two have heard all.
#[derive(Debug, Default)]
pub struct Heard(AtomicU32);

/// Talks and listens until both sides have heard all. `side` tells the two apart: 0 or 1.
pub fn talk<L: Link>(
    (link, pool): (L, Pool),
    side: u8,
    group: IpAddr,
    plan: &str,
    script: Script,
    heard: &Heard,
) -> Saw {
    let began = Instant::now();
    let now = || Time::from_nanos(began.elapsed().as_nanos() as u64);
    let plan: FaultPlan = format!("{plan},seed={}", 71 + side).parse().expect("a plan");
    let link = Faults::new(link, &plan, Time::ZERO);
    // Each side hears the other one alone.
    let mut alone = EndpointConfig::default();
    alone.connects_its_own = false;
    let mut endpoint = Endpoint::new(link, pool, &alone).expect("good values");
    let total = endpoint.pool().census().total;
    // Each direction is a session of its own on one channel, so that each side hears its own kind of packets, too.
    let mut config = SourceConfig::profile(Profile::Lan, group, 7500);
    // A rate that both threads keep up with on a machine that does other things.
    config.rate = Rate::OctetsPerSecond(RATE);
    let mine = |side: u8| Tsi::new(Gsi::from_host_name(&format!("side {side}")), 7400 + u16::from(side));
    let (source, mut publisher) = endpoint.add_source(&config, mine(side), now(), u64::from(side)).expect("a source");
    let config = ReceiverConfig::profile(Profile::Lan, group, 7500);
    let receiver = endpoint.add_receiver(&config, 5).expect("a receiver");

    let text = Text::new(script.longest);
    let mut ear = Ear { text: &text, next: 0, have: 0, events: Vec::new() };
    let (mut said, mut all_heard, mut closed) = (0, false, false);
    // Nobody begins before both listen: what is said to nobody is not repaired.
    heard.0.fetch_add(1, Ordering::AcqRel);
    while heard.0.load(Ordering::Acquire) < 2 {
        endpoint.poll(now(), &mut ear).expect("a cable");
        assert!(began.elapsed() < script.patience(), "the other side did not come");
        std::thread::yield_now();
    }
    while heard.0.load(Ordering::Acquire) < 4 {
        // No more than a batch at a time, so that what comes is not kept waiting.
        for _ in 0..64 {
            if said == script.messages {
                break;
            }
            match publisher.publish(text.message(said)) {
                Ok(_) => said += 1,
                Err(error) => {
                    assert_eq!(error, ClaimError::Full, "message {said}");
                    break;
                }
            }
        }
        if said == script.messages && !closed {
            closed = true;
            endpoint.source_mut(source).expect("it is there").close(now());
        }
        let moved = endpoint.poll(now(), &mut ear).expect("a cable");
        let is_over = matches!(ear.events.last(), Some(Event::Closed { .. }));
        if is_over && !all_heard {
            all_heard = true;
            heard.0.fetch_add(1, Ordering::AcqRel);
        }
        if moved == 0 {
            std::thread::yield_now();
        }
        assert!(
            began.elapsed() < script.patience(),
            "side {side} is late: said {said}, heard {} of {}, {:?} {:?} {:?}",
            ear.next,
            script.messages,
            ear.events,
            endpoint.source(source).map(pgmx::protocol::source::Source::stats),
            endpoint.receiver(receiver).map(pgmx::protocol::receiver::Receiver::stats),
        );
    }
    let (came, events) = (ear.next, core::mem::take(&mut ear.events));
    let source = *endpoint.source(source).expect("it is there").stats();
    let receiver = *endpoint.receiver(receiver).expect("it is there").stats();
    let (stats, faults) = (endpoint.stats().clone(), endpoint.link().receive_counts());
    drop(publisher);
    endpoint.shut_down(&mut ear);
    let census = endpoint.pool().census();
    assert_eq!((census.free, census.out, census.lent, census.slots), (total, 0, 0, 0), "side {side} misses frames");
    Saw { came, events, source, receiver, endpoint: stats, faults }
}

impl Saw {
    /// Nothing was lost, although something was harmed on its way.
    pub fn is_complete(&self, script: Script) {
        assert_eq!(self.came, script.messages);
        let ended_well = matches!(self.events[..], [Event::Opened { .. }, Event::Closed { end: End::Finished, .. }]);
        assert!(ended_well, "{:?}", self.events);
        assert_eq!(self.receiver.all.lost_packets, 0);
        assert_eq!(self.endpoint.rejects.total(), 0, "{:?}", self.endpoint.rejects);
        let FaultCounts { lost, duplicated, reordered, .. } = self.faults;
        assert!(lost > 0 && duplicated > 0 && reordered > 0, "nothing was harmed: {:?}", self.faults);
        assert!(self.receiver.all.repaired_packets > 0 && self.source.rdata > 0, "nothing was repaired");
    }
}
