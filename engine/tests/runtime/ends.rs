//! Ends of sessions and engines: what still leaves, who is told, and what is left behind.

use std::thread;
use std::time::{Duration, Instant};

use pgmx::protocol::source::{Burst, Linger, Rate, SourceConfig};
use pgmx::protocol::{End, Event};
use pgmx::{Close, Ended, Engine, PublishError, PublisherConfig, Received, SubscriberConfig};

use super::loopback::{
    GROUP, LONG, PORT, all_frames_are_home, hearing, next, number, on_loopback, publisher, session, subscriber,
};

#[test]
fn a_wait_ends_when_the_engine_does() {
    let engine = on_loopback(29_111).build().expect("loopback");
    let mut config = session();
    config.advance = pgmx::protocol::source::Advance::Application;
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let shared = engine.shared_publisher(&PublisherConfig::from(session()).queue(1)).expect("another");
    let mut subscriber = engine.subscriber(&SubscriberConfig::new(GROUP, PORT + 1)).expect("a subscriber");
    thread::scope(|scope| {
        let full = scope.spawn(move || {
            loop {
                if let Err(error) = publisher.publish(b"on and on") {
                    break error;
                }
            }
        });
        let deaf = scope.spawn(move || {
            loop {
                if let Err(error) = subscriber.recv() {
                    break error;
                }
            }
        });
        let crowded = scope.spawn(move || {
            loop {
                if let Err(error) = shared.publish(b"on and on") {
                    break error;
                }
            }
        });
        thread::sleep(Duration::from_millis(20));
        drop(engine);
        // Which of both comes first is nobody's business.
        for publisher in [full, crowded] {
            let error = publisher.join().expect("no panic");
            assert!(matches!(error, PublishError::Closed | PublishError::WorkerGone(_)), "{error}");
        }
        assert!(deaf.join().expect("no panic").to_string().ends_with("gone: the engine was shut down"));
    });
}

/// A thread that publishes until that fails; says what with, at the latest when the engine ends.
fn publishing<P: Send + 'static>(
    publisher: P,
    mut publish: impl FnMut(&mut P) -> Option<PublishError> + Send + 'static,
) -> thread::JoinHandle<PublishError> {
    let mut publisher = publisher;
    thread::spawn(move || {
        loop {
            if let Some(error) = publish(&mut publisher) {
                return error;
            }
        }
    })
}

/// Waits until the window of a session that nothing moves the trail of is full.
fn until_full(odata: impl Fn() -> u64) {
    let begun = Instant::now();
    while odata() < 256 {
        assert!(begun.elapsed() < LONG);
        thread::yield_now();
    }
    // And until whoever publishes has found out.
    thread::sleep(Duration::from_millis(50));
}

#[test]
fn who_waits_for_room_learns_at_once_that_the_session_was_closed() {
    let engine = on_loopback(29_117).build().expect("loopback");
    let mut config = session();
    config.advance = pgmx::protocol::source::Advance::Application;
    let linger = Duration::from_secs(4);
    config.linger = Linger::Quiet { quiet: linger, at_most: linger };
    // By another clone.
    let shared = engine.shared_publisher(&PublisherConfig::from(config.clone()).queue(1)).expect("a publisher");
    let waiting = publishing(shared.clone(), |shared| shared.publish(b"on and on").err());
    until_full(|| shared.stats().expect("it lives").odata);
    let begun = Instant::now();
    let closing = shared.close(Close::Graceful);
    while !waiting.is_finished() && begun.elapsed() < linger {
        thread::sleep(Duration::from_millis(1));
    }
    let was_told = waiting.is_finished();
    drop(closing);
    // By the engine.
    let publisher = engine.publisher(&config.into()).expect("a publisher");
    let alone = publishing(publisher, |publisher| publisher.publish(b"on and on").err());
    until_full(|| engine.stats().expect("it lives")[0].endpoint.sent.saturating_sub(256));
    let begun = Instant::now();
    let ending = thread::spawn(move || engine.close(linger * 2));
    assert_eq!(alone.join().expect("no panic"), PublishError::Closed);
    assert!(begun.elapsed() < linger, "no longer than repairs are served");
    ending.join().expect("no panic");
    assert!(was_told && waiting.join().expect("no panic") == PublishError::Closed);
}

#[test]
fn who_waits_for_packets_to_leave_is_not_told_of_an_end_that_lets_them_leave() {
    let engine = on_loopback(29_138).build().expect("loopback");
    let mut config = session();
    // A packet in 10 ms.
    config.rate = Rate::OctetsPerSecond(100_000);
    config.burst = Burst::Packets(1);
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let last = (0..20).map(|_| publisher.publish(&[7; 1000]).expect("room")).last().expect("twenty");
    let ending = thread::spawn(move || engine.close(LONG));
    // Until it has learnt that the session takes nothing any more.
    while publisher.try_claim(8).is_ok() {
        thread::yield_now();
    }
    assert_eq!(publisher.wait_for_lead(last, LONG), Ok(()));
    let error = publisher.wait_for_lead(last.next(), LONG).expect_err("it was never published");
    assert!(matches!(error, PublishError::Closed | PublishError::WorkerGone(_)), "{error}");
    ending.join().expect("no panic");
}

#[test]
fn what_many_producers_were_told_is_taken_arrives_though_the_engine_closes() {
    let sending = on_loopback(29_119).build().expect("loopback");
    let hearing = hearing(29_119);
    let mut subscriber = subscriber(&hearing);
    let shared = sending.shared_publisher(&PublisherConfig::from(session()).queue(4)).expect("a publisher");
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let mut taken = 0_u64;
            let producer = shared.clone();
            thread::spawn(move || {
                while producer.publish(b"counted").is_ok() {
                    taken += 1;
                    thread::sleep(Duration::from_micros(50));
                }
                taken
            })
        })
        .collect();
    assert_eq!(next(&mut subscriber).to_vec(), b"counted");
    let ended = sending.close(LONG);
    assert_eq!(ended[0].failure, None);
    let taken: u64 = producers.into_iter().map(|producer| producer.join().expect("no panic")).sum();
    let mut heard = 1;
    loop {
        match subscriber.recv_timeout(LONG).expect("it lives").expect("an end") {
            Received::Message(_) => heard += 1,
            Received::Event(_, Event::Closed { end, .. }) => break assert_eq!(end, End::Finished),
            Received::Event(..) => {}
        }
    }
    assert_eq!(heard, taken);
}

#[test]
fn receivers_are_told_of_an_end_that_the_rate_holds_back() {
    let sending = on_loopback(29_118).grace(Duration::from_secs(2)).build().expect("loopback");
    let hearing = hearing(29_118);
    let mut subscriber = subscriber(&hearing);
    let mut config = session();
    // 1,400 octets are worth 70 ms: the end finds nothing left in the bucket.
    config.rate = Rate::OctetsPerSecond(20_000);
    let mut publisher = engine_session(&sending, config);
    publisher.publish(b"first").expect("room");
    assert_eq!(next(&mut subscriber).to_vec(), b"first");
    for _ in 0..200 {
        publisher.publish(&[7; 1_000]).expect("room");
    }
    // Some of it has left, and the rest is held back by now.
    let _ = next(&mut subscriber);
    thread::sleep(Duration::from_millis(50));
    drop(sending);
    drop(publisher);
    let end = loop {
        match subscriber.recv_timeout(Duration::from_secs(3)).expect("it lives") {
            Some(Received::Event(_, Event::Closed { end, .. })) => break Some(end),
            Some(_) => {}
            None => break None,
        }
    };
    assert_eq!(end, Some(End::Aborted(0)));
}

fn engine_session(engine: &Engine, config: SourceConfig) -> pgmx::Publisher {
    engine.publisher(&config.into()).expect("a publisher")
}

#[test]
fn an_engine_closes_its_sessions_gracefully_and_repairs_are_served_meanwhile() {
    // Every tenth packet that is sent is lost, so that the end is not told before repairs were.
    let plan = "send.loss=10%,seed=3".parse().expect("a plan");
    let sending = on_loopback(29_112).faults(plan).build().expect("loopback");
    let hearing = hearing(29_112);
    let mut subscriber = subscriber(&hearing);
    let mut publisher = publisher(&sending);
    for n in 0..200_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room");
    }
    drop(publisher);
    let receiving = thread::spawn(move || {
        for n in 0..200 {
            assert_eq!(number(&next(&mut subscriber)), n);
        }
    });
    let ended = sending.close(LONG);
    receiving.join().expect("nothing is lost");
    assert_eq!(ended[0].failure, None);
}

/// A publisher whose engine has ended its session, which serves repairs for so long yet, in the middle of a message. The engine closes
/// on the thread that comes back, for as long as the session lasts.
fn interrupted(engine: Engine, repairs: Duration) -> (pgmx::Publisher, thread::JoinHandle<Vec<Ended>>) {
    let mut subscriber = subscriber(&engine);
    let mut config = session();
    config.linger = Linger::Quiet { quiet: repairs, at_most: repairs };
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    publisher.publish(b"in time").expect("room");
    let mut claim = publisher.claim(8).expect("room");
    assert_eq!(next(&mut subscriber).to_vec(), b"in time");
    let ending = thread::spawn(move || engine.close(10 * LONG));
    loop {
        match subscriber.recv_timeout(LONG).expect("it lives").expect("an end") {
            Received::Event(_, Event::Closed { end, .. }) => break assert_eq!(end, End::Finished),
            Received::Event(..) => {}
            Received::Message(message) => panic!("nobody committed {message:?}"),
        }
    }
    claim.copy_from_slice(b"too late");
    claim.commit();
    (publisher, ending)
}

#[test]
fn what_is_committed_after_the_end_is_told_by_whatever_is_asked_next() {
    let (mut publisher, ending) = interrupted(on_loopback(29_128).build().expect("loopback"), 10 * LONG);
    // At once, not when repairs are served no longer.
    assert_eq!(publisher.flush(LONG), Err(PublishError::Closed));
    assert_eq!(publisher.try_claim(4).map(drop), Err(PublishError::Closed));
    assert_eq!(publisher.try_publish(b"and more"), Err(PublishError::Closed));
    publisher.close(Close::Abort(0)).wait(LONG).expect("what was given up is missed by nobody");
    assert_eq!(ending.join().expect("no panic")[0].failure, None);
}

#[test]
fn a_graceful_end_that_left_something_behind_is_no_success() {
    let (publisher, ending) = interrupted(on_loopback(29_129).build().expect("loopback"), Duration::from_secs(1));
    let error = publisher.close(Close::Graceful).wait(LONG).expect_err("a message never left");
    // The engine is gone as soon as the session is over, and may be sooner.
    assert!(matches!(error, PublishError::Closed | PublishError::WorkerGone(_)), "{error}");
    assert_eq!(ending.join().expect("no panic")[0].failure, None);
}

#[test]
fn sessions_that_end_leave_those_beside_them_as_they_were() {
    let engine = on_loopback(29_130).build().expect("loopback");
    let mut publishers: Vec<_> = (0..5).map(|_| publisher(&engine)).collect();
    for gone in [2, 0, 2] {
        publishers.remove(gone).close(Close::Graceful).wait(LONG).expect("an end");
        for publisher in &mut publishers {
            let (before, sqn) = (publisher.stats().expect("it lives").odata, publisher.publish(b"on").expect("room"));
            publisher.flush(LONG).expect("it leaves");
            assert_eq!((publisher.lead(), publisher.stats().expect("it lives").odata), (Ok(sqn), before + 1));
        }
    }
    drop(publishers);
    all_frames_are_home(&engine.close(LONG));
}

#[test]
fn a_session_that_ends_is_counted_until_it_has_ended() {
    let engine = on_loopback(29_134).build().expect("loopback");
    let mut publisher = publisher(&engine);
    publisher.publish(b"one").expect("room");
    let closing = publisher.close(Close::Graceful);
    if let Ok(stats) = closing.stats() {
        assert!(stats.odata <= 1);
    }
    let stats = loop {
        match closing.wait(Duration::from_millis(5)) {
            Ok(stats) => break stats,
            Err(error) => assert_eq!(error, PublishError::TimedOut),
        }
    };
    assert_eq!(stats.odata, 1);
    assert_eq!(closing.stats().err(), Some(PublishError::Closed));
}
