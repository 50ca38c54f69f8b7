//! Once warm, neither publishing nor receiving nor repairing asks the allocator for anything.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Layout as FrameLayout, Pool};
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::memory::{Hub, MemoryLink};
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

#[derive(Default)]
struct Reader {
    delivered: u64,
    lost: u64,
}

impl Sink for Reader {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.delivered += 1;
        pool.put(delivery.frame);
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

/// Publishes for a while over links with these faults; returns what was delivered and the allocator's calls after the warm-up.
fn run(sending_faults: &str, receiving_faults: &str) -> (u64, u64, u64) {
    let hub = Hub::new(1024);
    let group = IpAddr::from([239, 192, 0, 1]);
    let (mut sending, mut receiving) = (endpoint(&hub, 1, sending_faults), endpoint(&hub, 2, receiving_faults));
    let mut config = SourceConfig::profile(Profile::LowLatency, group, 7500);
    config.window_slots = 4096;
    let tsi = Tsi::new(Gsi::new([1; 6]), 9000);
    let (_, mut publisher) = sending.add_source(&config, tsi, Time::ZERO, 1).expect("a good source");
    let config = ReceiverConfig::profile(Profile::LowLatency, group, 7500);
    receiving.add_receiver(&config, 2).expect("a good receiver");
    let (mut reader, mut nobody) = (Reader::default(), Reader::default());
    let (mut before, mut warm) = (0, 0);
    for turn in 0..20_000_u64 {
        if turn == 10_000 {
            before = CALLS.with(Cell::get);
            warm = reader.delivered;
        }
        let now = Time::from_nanos(turn * 10_000);
        for _ in 0..8 {
            // A full window is back-pressure, not a failure.
            let _ = publisher.publish(&[7; 64]);
        }
        sending.poll(now, &mut nobody).expect("memory never fails");
        receiving.poll(now, &mut reader).expect("memory never fails");
    }
    (reader.delivered - warm, reader.lost, CALLS.with(Cell::get) - before)
}

#[test]
fn publishing_and_receiving_allocate_nothing() {
    let (delivered, lost, calls) = run("", "");
    assert!(delivered >= 79_000 && lost == 0, "{delivered} delivered, {lost} losses");
    assert_eq!(calls, 0);
}

#[test]
fn repairing_over_a_bad_network_allocates_nothing() {
    let (delivered, _, calls) = run(
        "send.loss=1%,send.dup=1%,loss=2%,seed=3",
        "loss=2%,burst=0.1%x5,reorder=2%,dup=2%,corrupt=1%,truncate=1%,jitter=30us,seed=4",
    );
    assert!(delivered >= 20_000, "{delivered} delivered");
    assert_eq!(calls, 0);
}
