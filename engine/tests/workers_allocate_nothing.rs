//! Once warm, neither an application nor its worker asks the allocator for anything: not to publish, not to receive, not to sleep.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgmx::endpoint::{Handler, MessageView};
use pgmx::protocol::Event;
use pgmx::protocol::config::Profile;
use pgmx::{Encapsulation, Engine, Idle, PublisherConfig, Received, Subscriber, SubscriberConfig};

/// Whether calls are counted, and how many there were: by all threads, since workers are among them. This binary has one test.
static COUNTS: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count() {
    if COUNTS.load(Ordering::Relaxed) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes unchanged to the system's allocator; the counter touches no memory it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 78, 1));
const LONG: Duration = Duration::from_secs(60);

/// Counts messages in place.
#[derive(Default)]
struct Seen(u64);

impl Handler for Seen {
    fn message(&mut self, message: MessageView<'_>) {
        self.0 += u64::from(!message.is_empty());
    }

    fn event(&mut self, event: Event) {
        assert!(!matches!(event, Event::Loss { .. }), "{event:?}");
    }
}

fn receive(subscriber: &mut Subscriber, mut messages: u32) {
    while messages > 0 {
        match subscriber.recv_timeout(LONG).expect("the worker lives") {
            Some(Received::Message(message)) => {
                assert!(message.as_slice().is_some());
                messages -= 1;
            }
            Some(Received::Event(..)) => {}
            None => panic!("{messages} messages did not come"),
        }
    }
}

/// Publishes and receives in every form; returns the calls of the allocator in the second half.
fn run(idle: Idle, port: u16) -> u64 {
    let builder = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(port));
    let engine = builder.profile(Profile::LowLatency).frames(4096).idle(idle).grace(Duration::ZERO).build();
    let engine = engine.expect("loopback");
    let mut subscriber = engine.subscriber(&SubscriberConfig::new(GROUP, 7500)).expect("a subscriber");
    let config = PublisherConfig::new(GROUP, 7500).window(256);
    let mut publisher = engine.publisher(&config).expect("a publisher");
    let mut batching = engine.publisher(&config.clone().batch(true)).expect("another");
    let shared = engine.shared_publisher(&config.clone().queue(4)).expect("a third");
    let mut seen = Seen::default();
    let mut calls = 0;
    for round in 0..4_000_u32 {
        if round == 2_000 {
            calls = CALLS.load(Ordering::Relaxed);
            COUNTS.store(true, Ordering::Relaxed);
        }
        publisher.publish(&round.to_be_bytes()).expect("room");
        let mut claim = publisher.claim(100).expect("room");
        claim.fill(7);
        claim.commit();
        receive(&mut subscriber, 2);
        for _ in 0..4 {
            batching.publish(&[1; 20]).expect("room");
        }
        receive(&mut subscriber, 4);
        shared.publish(&[2; 50]).expect("room");
        let (wanted, begun) = (seen.0 + 1, Instant::now());
        while seen.0 < wanted {
            assert!(begun.elapsed() < LONG, "a message did not come");
            if subscriber.poll(16, &mut seen).expect("the worker lives") == 0 {
                std::thread::yield_now();
            }
        }
    }
    COUNTS.store(false, Ordering::Relaxed);
    CALLS.load(Ordering::Relaxed) - calls
}

#[test]
fn neither_an_application_nor_its_worker_allocates_once_warm() {
    assert_eq!(run(Idle::Block, 29_130), 0, "with a worker that sleeps");
    assert_eq!(run(Idle::SpinThenYield, 29_131), 0, "with a worker that never does");
}
