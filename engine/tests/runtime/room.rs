//! Back-pressure: an error, a wait, a wait with an end, or a future; never a loss.

use std::future::Future;
use std::io::{IoSlice, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::thread::Thread;
use std::time::{Duration, Instant};

use pgmx::protocol::source::{Burst, Rate};
use pgmx::{PublishError, ReceiveError, Received};

use super::loopback::{LONG, number, on_loopback, patterned, publisher, session, subscriber};

#[test]
fn a_full_window_is_an_error_a_deadline_or_a_wait_but_never_a_loss() {
    let engine = on_loopback(29_104).build().expect("loopback");
    let mut config = session();
    // The application alone moves the trail: it is full for as long as the test wants.
    config.advance = pgmx::protocol::source::Advance::Application;
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let first = publisher.next_sqn();
    for n in 0..256_u32 {
        publisher.try_publish(&n.to_be_bytes()).expect("room for a window");
    }
    assert_eq!(publisher.try_publish(b"more"), Err(PublishError::Full));
    assert!(matches!(publisher.try_claim(4), Err(PublishError::Full)));
    let soon = Instant::now() + Duration::from_millis(5);
    assert_eq!(publisher.publish_until(b"more", soon), Err(PublishError::TimedOut));
    assert!(Instant::now() >= soon);
    assert!(matches!(publisher.claim_until(4, Instant::now()), Err(PublishError::TimedOut)));
    assert!(matches!(publisher.claim_apdu_until(4_000, Instant::now()), Err(PublishError::TimedOut)));
    let pieces = [IoSlice::new(b"mo"), IoSlice::new(b"re")];
    assert_eq!(publisher.publish_vectored_until(&pieces, Instant::now()), Err(PublishError::TimedOut));
    publisher.flush(LONG).expect("all of it leaves");
    publisher.advance_trail(first.plus(10));
    // Ten slots, as soon as the worker has seen it.
    for _ in 0..10 {
        publisher.publish(b"more").expect("the trail moved");
    }
    assert_eq!(publisher.try_publish(b"more"), Err(PublishError::Full));
    publisher.flush(LONG).expect("all of it leaves");
    assert_eq!(publisher.stats().expect("it lives").odata, 266);
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        assert!(begun.elapsed() < LONG, "nobody woke the task");
        thread::park_timeout(LONG);
    }
}

#[test]
fn a_task_waits_for_room_and_for_messages_without_an_executor_of_ours() {
    use futures_core::Stream;
    let engine = on_loopback(29_105).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                for n in 0..2_000_u32 {
                    publisher.publish_async(&n.to_be_bytes()).await.expect("room, sooner or later");
                }
                let mut claim = publisher.claim_async(4).await.expect("room");
                claim.copy_from_slice(&2_000_u32.to_be_bytes());
                claim.commit();
                let (front, back) = (2_001_u32.to_be_bytes(), [0; 5_000]);
                let pieces = [IoSlice::new(&front), IoSlice::new(&back)];
                publisher.publish_vectored_async(&pieces).await.expect("room, sooner or later");
                let mut claim = publisher.claim_apdu_async(5_004).await.expect("room, sooner or later");
                claim.write_all(&2_002_u32.to_be_bytes()).expect("as much as was claimed");
                claim.commit();
            });
        });
        block_on(async {
            let mut wanted = 0;
            while wanted < 1_000 {
                if let Received::Message(message) = subscriber.recv_async().await.expect("the worker lives") {
                    assert_eq!(number(&message), wanted);
                    wanted += 1;
                }
            }
            while wanted <= 2_002 {
                let item = std::future::poll_fn(|cx| Pin::new(&mut subscriber).poll_next(cx)).await;
                if let Received::Message(message) = item.expect("it does not end").expect("the worker lives") {
                    assert_eq!(number(&message), wanted);
                    wanted += 1;
                }
            }
        });
    });
    engine.shutdown();
    let mut ends = 0;
    while let Some(item) = block_on(std::future::poll_fn(|cx| Pin::new(&mut subscriber).poll_next(cx))) {
        ends += u32::from(matches!(item, Err(ReceiveError::WorkerGone(_))));
    }
    assert_eq!(ends, 1);
}

#[test]
fn who_publishes_no_further_ahead_than_so_much_waits_for_packets_to_leave() {
    let engine = on_loopback(29_131).build().expect("loopback");
    let mut config = session();
    // A packet in 10 ms.
    config.rate = Rate::OctetsPerSecond(100_000);
    config.burst = Burst::Packets(1);
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let before = publisher.next_sqn().prev();
    assert_eq!(publisher.lead(), Ok(before));
    let last = (0..20).map(|n| publisher.publish(&patterned(n, 1000)).expect("room")).last().expect("twenty");
    assert_eq!(publisher.wait_for_lead(last.next(), Duration::ZERO), Err(PublishError::TimedOut), "not published");
    publisher.wait_for_lead(before.plus(10), LONG).expect("they leave");
    publisher.wait_for_lead(last, LONG).expect("all of them");
    assert_eq!((publisher.lead().expect("it lives"), publisher.stats().expect("it lives").odata), (last, 20));
    // What was not committed cannot leave; the end of the engine ends the wait.
    let waiter = thread::spawn(move || publisher.wait_for_lead(last.next(), LONG));
    drop(engine);
    let ended = waiter.join().expect("no panic").expect_err("nothing left");
    assert!(matches!(ended, PublishError::WorkerGone(_) | PublishError::Closed), "{ended:?}");
}

#[test]
fn who_was_refused_for_want_of_room_waits_for_as_much_as_it_wanted() {
    let engine = on_loopback(29_132).build().expect("loopback");
    let mut publisher = publisher(&engine);
    publisher.wait_for_room(Duration::ZERO).expect("nothing was refused");
    while publisher.try_publish(&[7; 1000]).is_ok() {}
    let many = patterned(1, 100_000);
    let mut tries = 0;
    while publisher.try_publish(&many).is_err() {
        publisher.wait_for_room(LONG).expect("the window moves");
        tries += 1;
        // Its own wish alone counts: nobody else claims.
        assert!(tries <= 2, "told of room that was not enough");
    }
}
