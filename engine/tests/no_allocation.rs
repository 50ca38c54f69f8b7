//! Once warm, neither publishing nor receiving nor repairing nor reading on another's time asks the allocator for anything, over the
//! memory link and over UDP on loopback.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;

use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Layout as FrameLayout, Lease, Pool};
use pgmx::framing::zmq::{Decoders, Encoder};
use pgmx::link::Link;
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::memory::{Hub, MemoryLink};
use pgmx::link::udp::{UdpConfig, UdpLink};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::SourceConfig;
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

thread_local! {
    /// Calls of the allocator by this thread: the test harness has threads of its own.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes unchanged to the system's allocator; the counter touches no memory it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages that a reader keeps before it drops the oldest.
const KEPT_MAX: usize = 100;

/// Reads at once, or keeps leases for a while.
#[derive(Default)]
struct Reader {
    keeps: bool,
    kept: VecDeque<Lease>,
    delivered: u64,
    lost: u64,
}

impl Reader {
    fn that_keeps() -> Self {
        Self { keeps: true, kept: VecDeque::with_capacity(KEPT_MAX + 1), ..Self::default() }
    }
}

impl Sink for Reader {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.delivered += 1;
        if !self.keeps {
            return pool.put(delivery.frame);
        }
        let lease = Lease::from(pool.lease(delivery.frame));
        self.kept.push_back(lease.part(1, lease.len() - 1));
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
        pool.collect();
    }

    fn event(&mut self, event: Event) {
        self.lost += u64::from(matches!(event, Event::Loss { .. }));
    }
}

fn endpoint(hub: &Hub, host: u8, plan: &str) -> Endpoint<Faults<MemoryLink>> {
    let plan: FaultPlan = plan.parse().expect("a good plan");
    let pool = Pool::anonymous(FrameLayout::standard(1 << 14)).expect("a mapping");
    let link = Faults::new(hub.port(IpAddr::from([10, 0, 0, host])), &plan, Time::ZERO);
    Endpoint::new(link, pool, &EndpointConfig::default()).expect("the defaults")
}

fn on_loopback(port: u16, hear_unicast: bool) -> Endpoint<UdpLink> {
    let mut config = UdpConfig::new("lo", port, port);
    config.frames = 1 << 14;
    config.hear_unicast = hear_unicast;
    let (link, pool) = UdpLink::open(&config).expect("nobody is asked for a right");
    Endpoint::new(link, pool, &EndpointConfig::default()).expect("the defaults")
}

/// What happened after the warm-up.
struct Outcome {
    delivered: u64,
    /// From the beginning.
    lost: u64,
    /// Calls of the allocator.
    calls: u64,
}

/// Publishes `each_turn` messages a turn for a while.
fn run<S: Link, R: Link>(
    (mut sending, mut receiving): (Endpoint<S>, Endpoint<R>),
    mut reader: Reader,
    each_turn: usize,
) -> Outcome {
    let group = IpAddr::from([239, 192, 0, 1]);
    let mut config = SourceConfig::profile(Profile::LowLatency, group, 7500);
    config.window_slots = 4096;
    let tsi = Tsi::new(Gsi::new([1; 6]), 9000);
    let (_, mut publisher) = sending.add_source(&config, tsi, Time::ZERO, 1).expect("a good source");
    let config = ReceiverConfig::profile(Profile::LowLatency, group, 7500);
    receiving.add_receiver(&config, 2).expect("a good receiver");
    let mut nobody = Reader::default();
    let (mut before, mut warm) = (0, 0);
    for turn in 0..20_000_u64 {
        if turn == 10_000 {
            before = CALLS.with(Cell::get);
            warm = reader.delivered;
        }
        let now = Time::from_nanos(turn * 10_000);
        for _ in 0..each_turn {
            // A full window is back-pressure, not a failure.
            let _ = publisher.publish(&[7; 64]);
        }
        sending.poll(now, &mut nobody).expect("a link that stays");
        receiving.poll(now, &mut reader).expect("a link that stays");
    }
    Outcome { delivered: reader.delivered - warm, lost: reader.lost, calls: CALLS.with(Cell::get) - before }
}

fn over_memory(sending_faults: &str, receiving_faults: &str, reader: Reader) -> Outcome {
    let hub = Hub::new(1024);
    run((endpoint(&hub, 1, sending_faults), endpoint(&hub, 2, receiving_faults)), reader, 8)
}

#[test]
fn publishing_and_receiving_allocate_nothing() {
    let Outcome { delivered, lost, calls } = over_memory("", "", Reader::default());
    assert!(delivered >= 79_000 && lost == 0, "{delivered} delivered, {lost} losses");
    assert_eq!(calls, 0);
}

#[test]
fn keeping_messages_for_a_while_allocates_nothing() {
    let Outcome { delivered, lost, calls } = over_memory("", "", Reader::that_keeps());
    assert!(delivered >= 79_000 && lost == 0, "{delivered} delivered, {lost} losses");
    assert_eq!(calls, 0);
}

#[test]
fn repairing_over_a_bad_network_allocates_nothing() {
    let Outcome { delivered, calls, .. } = over_memory(
        "send.loss=1%,send.dup=1%,loss=2%,seed=3",
        "loss=2%,burst=0.1%x5,reorder=2%,dup=2%,corrupt=1%,truncate=1%,jitter=30us,seed=4",
        Reader::that_keeps(),
    );
    assert!(delivered >= 20_000, "{delivered} delivered");
    assert_eq!(calls, 0);
}

#[test]
fn udp_on_loopback_allocates_nothing() {
    // Out of the range that the link suite uses, so that both may run at once.
    let port = 51_000 + (std::process::id() % 9000) as u16;
    // One address: what is sent to it, such as a NAK, is for the source.
    let ends = (on_loopback(port, true), on_loopback(port, false));
    let Outcome { delivered, lost, calls } = run(ends, Reader::that_keeps(), 2);
    assert!(delivered >= 19_000 && lost == 0, "{delivered} delivered, {lost} losses");
    assert_eq!(calls, 0);
}

#[test]
fn zmq_messages_are_framed_and_read_without_allocation_those_of_several_packets_too() {
    let (mut encoder, mut decoders) = (Encoder::new(), Decoders::default());
    let tsi = Tsi::new(Gsi::from_host_name("zmq.example.com"), 1);
    let (mut room, long) = ([0; 1444], [7; 5000]);
    let (mut octets, mut warm) = (0, 0);
    for n in 0..2000 {
        if n == 1000 {
            warm = CALLS.with(Cell::get);
        }
        let mut is_all_in = false;
        while !is_all_in {
            let mut tsdu = encoder.tsdu(&mut room);
            is_all_in = tsdu.part(&long, false) && tsdu.part(b"two", true) && tsdu.part(b"parts", false);
            let len = tsdu.finish();
            decoders.take(tsi, &room[..len], |message| octets += message.len()).expect("our own");
        }
    }
    assert_eq!(CALLS.with(Cell::get), warm);
    assert_eq!(octets, 2000 * 5008);
}
