//! A subscriber that is slow, or keeps what it got: what happens to it, and that nothing happens to others.

use std::thread;
use std::time::{Duration, Instant};

use pgmx::protocol::receiver::OnLoss;
use pgmx::protocol::{End, Event, LossCause};
use pgmx::{Message, Received, SubscriberConfig};

use super::loopback::{GROUP, LONG, PORT, next, number, on_loopback, patterned, publisher, subscriber};

/// Keeps a message; counts packets that are told to be lost to a slow consumer.
fn keep(received: Option<Received>, kept: &mut Vec<Message>, lost: &mut u64) {
    match received {
        Some(Received::Message(message)) => kept.push(message),
        Some(Received::Event(_, Event::Loss { first, last, cause, .. })) => {
            assert_eq!(cause, LossCause::SlowConsumer);
            *lost += u64::from(last.distance_from(first)) + 1;
        }
        Some(Received::Event(..)) | None => {}
    }
}

#[test]
fn a_subscriber_that_never_drops_a_message_harms_nobody_else() {
    let engine = on_loopback(29_106).build().expect("loopback");
    let slow = SubscriberConfig::new(GROUP, PORT).ring(64).lease_frames(32).spill_frames(16).on_loss(OnLoss::Skip);
    let mut slow = engine.subscriber(&slow).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let (mut kept, mut lost) = (Vec::new(), 0);
    for n in 0..3_000_u32 {
        publisher.publish(&patterned(n, 100)).expect("room, sooner or later");
        // The quick one misses nothing, and drops each message at once.
        assert_eq!(number(&next(&mut quick)), n);
        keep(slow.try_recv().expect("the worker lives"), &mut kept, &mut lost);
    }
    // What the worker still had to say is said a moment after the last message.
    let begun = Instant::now();
    while kept.len() as u64 + lost < 3_000 {
        assert!(begun.elapsed() < LONG, "{} kept, {lost} told to be lost", kept.len());
        keep(slow.recv_timeout(Duration::from_millis(10)).expect("the worker lives"), &mut kept, &mut lost);
    }
    assert_eq!(kept.len(), 48, "its frames and its copies");
    for (n, message) in kept.iter().enumerate() {
        assert_eq!(message.to_vec(), patterned(n as u32, 100), "nobody wrote over what it keeps");
    }
    let stats = slow.stats().expect("the worker lives");
    assert_eq!((stats.handed, stats.copied, stats.lost_packets), (48, 16, lost));
    // Once it lets go, it is served again.
    kept.clear();
    publisher.publish(&patterned(7, 9)).expect("room");
    assert_eq!(next(&mut quick).to_vec(), patterned(7, 9));
    assert_eq!(next(&mut slow).to_vec(), patterned(7, 9));
}

#[test]
fn a_subscriber_that_looks_away_is_told_exactly_what_it_missed() {
    let engine = on_loopback(29_115).build().expect("loopback");
    let away = SubscriberConfig::new(GROUP, PORT).ring(64).on_loss(OnLoss::Skip);
    let mut away = engine.subscriber(&away).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let first = publisher.next_sqn();
    for n in 0..1_000_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room, sooner or later");
        assert_eq!(number(&next(&mut quick)), n);
    }
    // One place of its ring has the news of the session, and all others the messages from the first on.
    let mut news = Vec::new();
    let mut heard = 0;
    while news.len() < 2 {
        match away.recv_timeout(LONG).expect("the worker lives").expect("there is more") {
            Received::Message(message) => {
                assert_eq!(number(&message), heard);
                heard += 1;
            }
            Received::Event(_, event) => news.push(event),
        }
    }
    let tsi = publisher.tsi();
    assert!(matches!(news[0], Event::Opened { .. }));
    let (from, to) = (first.plus(63), first.plus(999));
    assert_eq!((heard, news[1]), (63, Event::Loss { tsi, first: from, last: to, cause: LossCause::SlowConsumer }));
    publisher.publish(b"back").expect("room");
    assert_eq!(next(&mut away).to_vec(), b"back");
}

#[test]
fn a_message_of_several_frames_is_leased_copied_or_lost_as_a_whole() {
    let engine = on_loopback(29_116).build().expect("loopback");
    let slow = SubscriberConfig::new(GROUP, PORT).lease_frames(9).spill_frames(9).on_loss(OnLoss::Skip);
    let mut slow = engine.subscriber(&slow).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let (mut kept, mut lost) = (Vec::new(), 0);
    for n in 0..10 {
        // Four packets: two messages fit the quota, two more the room for copies.
        publisher.publish(&patterned(n, 5_000)).expect("room");
        assert_eq!(next(&mut quick).to_vec(), patterned(n, 5_000));
    }
    let begun = Instant::now();
    while kept.len() as u64 * 4 + lost < 40 {
        assert!(begun.elapsed() < LONG, "{} kept, {lost} packets told to be lost", kept.len());
        keep(slow.recv_timeout(Duration::from_millis(10)).expect("the worker lives"), &mut kept, &mut lost);
    }
    assert_eq!((kept.len(), lost), (4, 24));
    for (n, message) in kept.iter().enumerate() {
        assert_eq!(message.to_vec(), patterned(n as u32, 5_000));
    }
    assert_eq!(slow.stats().expect("the worker lives").copied, 2);
    kept.clear();
    publisher.publish(&patterned(1, 5_000)).expect("room");
    assert_eq!(next(&mut slow).to_vec(), patterned(1, 5_000));
}

#[test]
fn under_the_reset_policy_a_slow_subscribers_session_ends_with_its_first_loss() {
    let engine = on_loopback(29_107).build().expect("loopback");
    let slow = SubscriberConfig::new(GROUP, PORT).ring(64).lease_frames(8).spill_frames(2).on_loss(OnLoss::Reset);
    let mut slow = engine.subscriber(&slow).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let first = publisher.next_sqn();
    for n in 0..100_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room");
        assert_eq!(number(&next(&mut quick)), n);
    }
    let mut kept = Vec::new();
    let end = loop {
        match slow.recv_timeout(LONG).expect("the worker lives").expect("news") {
            Received::Message(message) => kept.push(message),
            Received::Event(_, Event::Closed { end, .. }) => break end,
            Received::Event(_, Event::Loss { first: from, cause, .. }) => {
                assert_eq!((from, cause), (first.plus(10), LossCause::SlowConsumer));
            }
            Received::Event(_, Event::Opened { .. }) => {}
        }
    };
    assert_eq!((kept.len(), end), (10, End::Lost(LossCause::SlowConsumer)));
    publisher.publish(b"more").expect("room");
    assert_eq!(next(&mut quick).to_vec(), b"more");
    assert!(slow.try_recv().expect("the worker lives").is_none(), "it is over, for this one alone");
}

#[test]
fn a_message_is_dropped_on_any_thread_and_outlives_its_engine() {
    let engine = on_loopback(29_108).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    for n in 0..8_000_u32 {
        publisher.publish(&patterned(n, 64)).expect("room");
        let message = next(&mut subscriber);
        if n % 100 == 0 {
            let clone = message.clone();
            thread::spawn(move || assert_eq!(clone.to_vec(), patterned(n, 64))).join().expect("it reads the same");
        }
    }
    publisher.publish(&patterned(1, 64)).expect("room");
    let message = next(&mut subscriber);
    drop((publisher, subscriber));
    let frames = engine.close(LONG)[0].frames.expect("no panic");
    assert_eq!((frames.free, frames.leased), (frames.total - 1, 1));
    assert_eq!(message.to_vec(), patterned(1, 64));
}
