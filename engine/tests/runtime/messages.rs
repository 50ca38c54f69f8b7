//! What is published is received: whole, in order, by whom and from whom it should be.

use std::io::{IoSlice, Write};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use pgmx::endpoint::{Handler, MessageView};
use pgmx::link::Channel;
use pgmx::protocol::source::Rate;
use pgmx::protocol::{End, Event};
use pgmx::{Close, PublishError, PublisherConfig, Received, SubscriberConfig};

use super::loopback::{
    GROUP, LONG, PORT, all_frames_are_home, next, number, on_loopback, patterned, publisher, session, subscriber,
};

/// Messages of each of four producers: all of them have room where they wait for a reader that sleeps.
const EACH: u32 = 500;

#[test]
fn what_is_published_is_received_in_order_and_every_frame_comes_home() {
    let engine = on_loopback(29_100).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    for n in 0..5_000_u32 {
        let sqn = publisher.publish(&n.to_be_bytes()).expect("there is room, sooner or later");
        let message = next(&mut subscriber);
        assert_eq!(message.as_slice(), Some(&n.to_be_bytes()[..]));
        assert_eq!((message.tsi(), message.sqn()), (publisher.tsi(), sqn));
        assert_eq!(message.channel(), Channel { group: GROUP, data_port: PORT });
        assert!(message.received() <= engine.now());
    }
    let stats = publisher.close(Close::Graceful).wait(LONG).expect("an end");
    assert_eq!(stats.odata, 5_000);
    let closed = loop {
        if let Received::Event(_, Event::Closed { end, .. }) = subscriber.recv().expect("the worker lives") {
            break end;
        }
    };
    assert_eq!(closed, End::Finished);
    drop(subscriber);
    all_frames_are_home(&engine.shutdown());
}

#[test]
fn a_burst_longer_than_its_window_arrives_in_order_whatever_the_sizes_of_its_messages() {
    let engine = on_loopback(29_139).build().expect("loopback");
    let mut config = session();
    (config.window_slots, config.batch) = (64, true);
    // Slower than anybody publishes.
    config.rate = Rate::OctetsPerSecond(2_000_000);
    let (mut subscriber, mut publisher) = (subscriber(&engine), engine.publisher(&config.into()).expect("a publisher"));
    // Shared packets, packets full with one, fragments.
    let message = |n: u32| patterned(n, [300, 401, 502, 1300, 603, 3_000, 4][n as usize % 7]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EACH {
                assert_eq!(next(&mut subscriber).to_vec(), message(n));
            }
        });
        let mut was_full = false;
        let mut burst = publisher.cork();
        for n in 0..EACH {
            while let Err(error) = burst.try_publish(&message(n)) {
                assert_eq!(error, PublishError::Full);
                was_full = true;
                // What was held back must have been handed over, or nothing would make room.
                burst.publisher().wait_for_room(LONG).expect("the window moves");
            }
        }
        drop(burst);
        assert!(was_full);
    });
    publisher.close(Close::Graceful).wait(LONG).expect("an end");
    drop(subscriber);
    all_frames_are_home(&engine.shutdown());
}

#[test]
fn messages_of_any_size_arrive_whole_however_they_were_written() {
    let engine = on_loopback(29_101).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    for (n, len) in [4, 1300, 1400, 5_000, 100_000].into_iter().enumerate() {
        let wanted = patterned(n as u32, len);
        publisher.publish(&wanted).expect("copied");
        let message = next(&mut subscriber);
        assert_eq!(message.to_vec(), wanted);
        assert_eq!(message.chunks().map(<[u8]>::len).sum::<usize>(), len);
        let mut some = vec![0; len - 1];
        assert_eq!(message.copy_to(&mut some), len - 1);
        assert_eq!(some, wanted[..len - 1]);

        let mut claim = publisher.claim_apdu(len).expect("room");
        claim.write_all(&wanted).expect("as much as was claimed");
        claim.commit();
        assert_eq!(next(&mut subscriber).to_vec(), wanted);

        let (front, back) = wanted.split_at(len / 3);
        publisher.publish_vectored(&[IoSlice::new(front), IoSlice::new(back)]).expect("gathered");
        assert_eq!(next(&mut subscriber).to_vec(), wanted);
    }
    let mut claim = publisher.claim(4).expect("room");
    claim.copy_from_slice(b"left");
    drop(claim);
    publisher.claim(8).expect("room").commit_len(2);
    assert_eq!(next(&mut subscriber).len(), 2, "an abandoned claim leaves no trace");
    let max = publisher.claim_max();
    assert!(matches!(publisher.try_claim(max + 1), Err(PublishError::TooLong { max: most, .. }) if most == max));
    drop((publisher, subscriber));
    all_frames_are_home(&engine.close(LONG));
}

/// Counts messages, each of which says its number.
struct Counting(u32);
impl Handler for Counting {
    fn message(&mut self, message: MessageView<'_>) {
        assert_eq!(message.to_vec(), patterned(self.0, 40));
        self.0 += 1;
    }
    fn event(&mut self, event: Event) {
        panic!("{event:?}");
    }
}

#[test]
fn small_messages_of_a_batched_session_come_one_by_one() {
    let engine = on_loopback(29_102).build().expect("loopback");
    let mut subscriber = subscriber(&engine);
    let config = PublisherConfig::from(session()).batch(true);
    let mut publisher = engine.publisher(&config).expect("a publisher");
    for n in 0..2_000_u32 {
        publisher.publish(&patterned(n, 4 + n as usize % 60)).expect("room");
    }
    for n in 0..2_000 {
        assert_eq!(next(&mut subscriber).to_vec(), patterned(n, 4 + n as usize % 60));
    }
    // And in place, to a handler that counts.
    for n in 0..500 {
        publisher.publish(&patterned(n, 40)).expect("room");
    }
    let (mut counting, begun) = (Counting(0), Instant::now());
    while counting.0 < 500 {
        assert!(begun.elapsed() < LONG);
        if subscriber.poll(64, &mut counting).expect("the worker lives") == 0 {
            thread::yield_now();
        }
    }
    assert!(publisher.stats().expect("it lives").odata < 2_500, "some shared a packet");
    assert_eq!(subscriber.stats().expect("it lives").cut_batches, 0);
}

#[test]
fn many_producers_share_one_session_and_each_keeps_its_order() {
    let engine = on_loopback(29_103).build().expect("loopback");
    let mut subscriber = subscriber(&engine);
    let config = PublisherConfig::from(session()).queue(16);
    let shared = engine.shared_publisher(&config).expect("a publisher");
    thread::scope(|scope| {
        for producer in 0..4_u32 {
            let shared = shared.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    shared.publish(&(producer * EACH + n).to_be_bytes()).expect("room, sooner or later");
                }
            });
        }
        let mut seen = [0; 4];
        for _ in 0..4 * EACH {
            let n = number(&next(&mut subscriber));
            let producer = (n / EACH) as usize;
            assert_eq!(n % EACH, seen[producer], "of producer {producer}");
            seen[producer] += 1;
        }
    });
    // What is taken is published: no more than fits the window of 256 packets of 1,400 octets, headers and all.
    let Err(PublishError::TooLong { max, .. }) = shared.publish(&vec![0; 16 << 20]) else { panic!("it does not fit") };
    assert!((256 * 1_300..256 * 1_400).contains(&max), "{max}");
    assert_eq!(shared.publish(&vec![0; max + 1]), Err(PublishError::TooLong { len: max + 1, max }));
    let longest = patterned(9, max);
    shared.publish(&longest).expect("room");
    assert!(next(&mut subscriber).to_vec() == longest);
    shared.publish(b"last").expect("room");
    shared.flush(LONG).expect("it leaves");
    let other = shared.clone();
    let stats = shared.close(Close::Graceful).wait(LONG).expect("an end");
    assert_eq!(stats.odata, u64::from(4 * EACH) + 256 + 1);
    assert_eq!(other.publish(b"late"), Err(PublishError::Closed));
}

#[test]
fn one_subscriber_hears_several_groups_and_says_which() {
    let engine = on_loopback(29_114).build().expect("loopback");
    let other = IpAddr::from([239, 192, 77, 2]);
    let config = SubscriberConfig::new(GROUP, PORT).and(other, PORT + 1).on("lo").on("127.0.0.1");
    let mut subscriber = engine.subscriber(&config).expect("a subscriber");
    let mut here = publisher(&engine);
    let mut config = session();
    (config.group, config.data_port) = (other, PORT + 1);
    let mut there = engine.publisher(&config.into()).expect("a publisher");
    for _ in 0..3 {
        here.publish(b"here").expect("room");
        assert_eq!(next(&mut subscriber).channel(), Channel { group: GROUP, data_port: PORT });
        there.publish(b"there").expect("room");
        let message = next(&mut subscriber);
        assert_eq!((message.channel().group, message.tsi()), (other, there.tsi()));
    }
    assert_eq!(subscriber.stats().expect("it lives").receivers.len(), 2, "an interface that is named twice is one");
}

#[test]
fn a_subscriber_waits_without_taking() {
    let engine = on_loopback(29_133).build().expect("loopback");
    let mut subscriber = subscriber(&engine);
    assert!(!subscriber.wait(Duration::ZERO), "nothing came");
    let mut publisher = publisher(&engine);
    publisher.publish(b"one").expect("room");
    loop {
        assert!(subscriber.wait(LONG), "it comes");
        assert!(subscriber.wait(Duration::ZERO), "it was not taken");
        if let Some(Received::Message(message)) = subscriber.try_recv().expect("it lives") {
            break assert_eq!(message.as_slice(), Some(&b"one"[..]));
        }
    }
    engine.shutdown();
    while let Ok(received) = subscriber.try_recv() {
        assert!(received.is_some() || subscriber.wait(Duration::ZERO), "an end is something to be told of");
    }
}
