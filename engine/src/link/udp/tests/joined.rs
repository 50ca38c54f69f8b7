//! Packets that leave together and come together: GSO and GRO, and where they cannot be had.

use super::*;

#[test]
fn sizes_in_every_order_arrive_in_theirs_whatever_was_expected() {
    const SIZES: [usize; 4] = [16, 17, 700, LONGEST];
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|_| {}));
    // Every row of four sizes, each so often that messages of one, two and many packets take turns.
    for pattern in 0..SIZES.len().pow(4) {
        let row = (0..4).map(|place| SIZES[pattern / SIZES.len().pow(place) % SIZES.len()]);
        let packets = lengths(row.zip([1, 3, 2, 5]).flat_map(|(size, times)| core::iter::repeat_n(size, times)));
        publisher.send(To::Group(place.group), &packets);
        assert!(subscriber.receive(packets.len()) == packets, "pattern {pattern}");
    }
    let (sent, came) = (publisher.counters(), subscriber.counters());
    assert_eq!(sent.joined_sent, came.joined, "joined all the way: {sent:?} {came:?}");
    assert!(came.joined > 0 && came.copied > 0 && came.copied < came.received, "{came:?}");
    publisher.close();
    subscriber.close();
}

#[test]
fn a_stream_of_one_size_is_moved_by_a_call_for_sixty_four_packets_and_never_copied_once_it_runs() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|_| {}));
    subscriber.into = RxBatch::new(64);
    let packets = lengths([1000; 64]);
    publisher.send(To::Group(place.group), &packets);
    assert!(subscriber.receive(64) == packets);
    let before = subscriber.counters();
    for _ in 0..50 {
        publisher.send(To::Group(place.group), &packets);
        assert!(subscriber.receive(64) == packets);
    }
    let (sent, came) = (publisher.counters(), subscriber.counters());
    assert_eq!((sent.transmit_calls, sent.joined_sent, sent.sent), (51, 51, 51 * 64));
    assert_eq!((came.copied, came.joined), (before.copied, 51));
    assert_eq!(came.receive_calls, before.receive_calls + 50);
    publisher.close();
    subscriber.close();
}

#[test]
fn without_gso_and_gro_a_call_moves_sixty_four_datagrams() {
    let place = Place::new();
    let mut publisher = place.open(|config| config.gso = false);
    let mut subscriber = place.subscriber(|config| config.gro = false);
    assert!(!publisher.link.taken().gso && !subscriber.link.taken().gro);
    let packets = lengths((0..64).map(|n| 16 + n * 20));
    publisher.send(To::Group(place.group), &packets);
    assert!(subscriber.receive(64) == packets);
    assert_eq!((publisher.counters().transmit_calls, publisher.counters().joined_sent), (1, 0));
    let came = subscriber.counters();
    assert_eq!((came.receive_calls, came.copied, came.joined), (1, 0, 0));
    publisher.close();
    subscriber.close();
}

#[test]
fn what_comes_joined_for_one_that_does_not_join_is_cut_by_the_kernel() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|config| config.gro = false));
    let packets = lengths([900; 100]);
    publisher.send(To::Group(place.group), &packets);
    assert!(subscriber.receive(100) == packets);
    assert_eq!((publisher.counters().joined_sent, subscriber.counters().joined), (2, 0));
    publisher.close();
    subscriber.close();
}

#[test]
fn no_message_exceeds_sixty_four_packets_or_what_ip_can_say() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|_| {}));
    // 44 of the longest fit a message, 64 of a short one.
    for (len, count, messages) in [(LONGEST, 88, 2), (LONGEST, 89, 3), (100, 128, 2), (100, 129, 3)] {
        let before = publisher.counters();
        let packets = lengths(vec![len; count]);
        publisher.send(To::Group(place.group), &packets);
        assert!(subscriber.receive(count) == packets, "{count} of {len}");
        let after = publisher.counters();
        let single = u64::from(count % 44 == 1 || count % 64 == 1);
        assert_eq!(
            (after.joined_sent - before.joined_sent, after.transmit_calls - before.transmit_calls),
            (messages - single, 1)
        );
    }
    publisher.close();
    subscriber.close();
}

#[test]
fn a_batch_takes_what_it_has_room_for_and_the_rest_waits_in_the_link() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|_| {}));
    let packets = lengths((0..50).map(|n| if n == 49 { 77 } else { 400 }));
    for room in [1, 2, 7, 49, 50, 51] {
        subscriber.into = RxBatch::new(room);
        // Once to teach it what comes, once as it was taught.
        for _ in 0..2 {
            publisher.send(To::Group(place.group), &packets);
            let mut came = Vec::new();
            while came.len() < packets.len() {
                let calls = subscriber.counters().receive_calls;
                let waiting = subscriber.link.deadline().is_some();
                let had = came.len();
                subscriber.turn(|packet, _| came.push(packet.to_vec()));
                assert!(came.len() - had <= room);
                let is_last = came.len() == packets.len();
                if waiting && !is_last {
                    assert_eq!((came.len() - had, subscriber.counters().receive_calls), (room, calls));
                }
                assert_eq!(subscriber.link.deadline(), (!is_last).then_some(Time::ZERO));
            }
            assert!(came == packets, "room {room}");
        }
    }
    subscriber.into = RxBatch::new(0);
    let calls = subscriber.counters().receive_calls;
    assert!(subscriber.is_silent());
    assert_eq!(subscriber.counters().receive_calls, calls, "no call without room");
    publisher.close();
    subscriber.close();
}

#[test]
fn without_frames_packets_wait_and_none_is_lost() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|config| config.frames = 128));
    let packets = lengths((0..400).map(|n| 16 + n / 13 * 31));
    publisher.send(To::Group(place.group), &packets);
    // Keeps every packet until no frame is left, then gives all back.
    let (mut came, mut kept, mut waits) = (Vec::new(), Vec::new(), 0);
    while came.len() < packets.len() {
        assert!(Instant::now() < subscriber.deadline, "it took too long: {:?}", subscriber.counters());
        subscriber.link.receive(NOW, &mut subscriber.pool, &mut subscriber.into).expect("loopback");
        if subscriber.into.is_empty() {
            waits += 1;
            kept.drain(..).for_each(|frame| subscriber.pool.put(frame));
        }
        while let Some(incoming) = subscriber.into.pop() {
            came.push(subscriber.pool.bytes(&incoming.frame).to_vec());
            kept.push(incoming.frame);
        }
    }
    assert!(came == packets && waits > 0);
    assert!(subscriber.counters().starved > 0);
    kept.drain(..).for_each(|frame| subscriber.pool.put(frame));
    publisher.close();
    subscriber.close();
}

#[test]
fn one_that_takes_nothing_joined_drops_what_is_longer_than_a_frame() {
    let place = Place::new();
    let (mut publisher, mut subscriber) =
        (place.open(|config| config.mtu = Some(9000)), place.subscriber(|config| config.gro = false));
    publisher.send(To::Group(place.group), &[data(2048, 0), data(2049, 1), data(8000, 2), data(30, 3)]);
    assert_eq!(subscriber.receive(2), [data(2048, 0), data(30, 3)]);
    assert_eq!(subscriber.counters().cut, 2);
    publisher.close();
    subscriber.close();
}

#[test]
fn where_gso_is_refused_packets_leave_one_by_one_from_then_on_and_the_reason_is_kept() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = (place.publisher(), place.subscriber(|_| {}));
    // The kernel cuts nothing that is to have no checksums: the same answer as from a device that cannot fill them in.
    let host = &publisher.link.sockets.as_ref().expect("open").host;
    set_option(host, libc::SOL_SOCKET, libc::SO_NO_CHECK, &1_i32).expect("any socket can");
    let packets = lengths([60; 64]);
    for _ in 0..2 {
        publisher.send(To::Group(place.group), &packets);
        assert!(subscriber.receive(64) == packets);
    }
    let (taken, counters) = (publisher.link.taken(), publisher.counters());
    assert!(!taken.gso && taken.to_string().contains("UDP GSO refused: "), "{taken}");
    assert_eq!((counters.sent, counters.joined_sent, counters.unreachable), (128, 0, 0));
    assert_eq!(counters.transmit_calls, 3, "one that was refused");
    publisher.close();
    subscriber.close();
}

#[test]
fn a_datagram_of_more_packets_than_ever_get_frames_loses_none() {
    let place = Place::new();
    let (publisher, mut subscriber) = (place.publisher(), place.subscriber(|_| {}));
    let (stranger, group) = place.stranger();
    let packets = lengths([30; 100]);
    set_option(&stranger, libc::SOL_UDP, libc::UDP_SEGMENT, &30_i32).expect("any socket can");
    for _ in 0..3 {
        let mut octets = packets.concat();
        if stranger.send_to(&octets, group).is_err() {
            // Older kernels cut into 64 at most.
            octets.truncate(30 * 60);
            stranger.send_to(&octets, group).expect("loopback");
        }
        let count = octets.len() / 30;
        assert!(subscriber.receive(count) == packets[..count]);
    }
    // Packets of an octet are none, however many come in one.
    set_option(&stranger, libc::SOL_UDP, libc::UDP_SEGMENT, &1_i32).expect("any socket can");
    stranger.send_to(&[7; 60], group).expect("loopback");
    assert!(subscriber.is_silent());
    assert_eq!(subscriber.counters().rejected, 60);
    publisher.close();
    subscriber.close();
}
