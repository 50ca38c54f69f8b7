//! Cases: rings that are full, pools that are empty, links that end, cables that are pulled.

use pgmx::frame::{Frame, Outgoing, SlotLayout, To, window};
use pgmx::wire::build::DATA_HEADER_LEN;

use super::bench::{Bench, Fixture, Setup, open};
use super::packets::{number, odata};

/// Ten packets get through, and in order.
fn goes_on(bench: &mut Bench, first: u32) {
    for number in first..first + 10 {
        bench.left.push(&odata(number, 60), To::Group(bench.group), false);
    }
    let came = bench.until_mark();
    assert!(came.iter().map(|packet| number(&packet.octets)).eq(first..first + 10), "{came:?}");
}

pub fn a_sender_far_ahead_of_a_receiver_that_does_not_look_loses_no_frame(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup { ring: 64, tx_budget: 32, ..Setup::default() });
    let mut next = 0;
    for _ in 0..200 {
        while bench.left.out.room() > 0 {
            let Some(packet) = bench.left.outgoing(&odata(next, 1000), To::Group(bench.group), false) else { break };
            bench.left.out.push(packet);
            next += 1;
        }
        bench.left.send();
        bench.left.receive();
    }
    assert!(next >= 128, "the link took nothing: {next}");
    let census = bench.left.pool.census();
    assert!(census.adds_up(), "{census:?}");
    bench.until("what was on its way", |bench| bench.left.out.is_empty());
    let came = bench.until_mark();
    assert!(!came.is_empty());
    let mut numbers: Vec<u32> = came.iter().map(|packet| number(&packet.octets)).collect();
    if std::env::var_os("PGMX_TEST_NICS").is_some() {
        // The wire between emulated cards keeps a packet for a card that has no room, and the next one may pass it by.
        numbers.sort_unstable();
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "once each, in order: {numbers:?}");
    assert!(came.iter().all(|packet| packet.octets == odata(number(&packet.octets), 1000)), "each as it was");
    goes_on(&mut bench, 1_000_000);
    bench.ends_conserved();
}

pub fn a_receiver_without_frames_goes_on_when_it_has_some_again(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup { ring: 64, tx_budget: 32, frames: 1024, ..Setup::default() });
    // All of it, the reserve included: nothing is left to receive into but what the rings hold already.
    let hoard: Vec<Frame> = core::iter::from_fn(|| bench.right.pool.take_for_fill()).collect();
    let mut next = 0;
    for _ in 0..8 {
        for _ in 0..64 {
            bench.left.push(&odata(next, 30), To::Group(bench.group), false);
            next += 1;
        }
        for _ in 0..50 {
            bench.left.send();
            bench.left.receive();
            bench.right.receive_into_batch();
            // What came stays where it is: its frames are none.
        }
        if bench.right.back.room() == 0 {
            break;
        }
        bench.until("a batch on its way", |bench| bench.left.out.is_empty());
    }
    bench.right.read();
    for frame in hoard {
        bench.right.pool.put(frame);
    }
    let came = bench.until_mark();
    let mut numbers: Vec<u32> = came.iter().map(|packet| number(&packet.octets)).collect();
    if std::env::var_os("PGMX_TEST_NICS").is_some() {
        // The wire between emulated cards keeps a packet for a card that has no room, and the next one may pass it by.
        numbers.sort_unstable();
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "once each, in order: {numbers:?}");
    goes_on(&mut bench, 2_000_000);
    bench.ends_conserved();
}

pub fn frames_in_flight_come_home_when_the_link_shuts_down(fixture: &Fixture) {
    const SLOTS: u32 = 64;
    let mut bench = open(fixture, &Setup { tx_budget: 32, ..Setup::default() });
    let end = &mut bench.left;
    let run = end.pool.take_run(SLOTS).expect("frames enough");
    let front = end.pool.layout().start + end.link.path().front + DATA_HEADER_LEN as u16;
    let layout = SlotLayout::plain(front, 1000);
    let (mut writer, mut reader) = window(&end.pool, run, layout);
    for _ in 0..SLOTS {
        writer.claim(100).expect("room").commit();
    }
    reader.refresh();
    // Slots of a window first, loose frames behind them; some of both stay in the batch where a link takes no more.
    for position in 0..u64::from(SLOTS) {
        let mut frame = reader.lend(&mut end.pool, position, DATA_HEADER_LEN as u16).expect("a slot at rest");
        let head = odata(position as u32, 0);
        end.pool.bytes_mut(&mut frame)[..DATA_HEADER_LEN].copy_from_slice(&head);
        end.out.push(Outgoing { frame, to: To::Group(bench.group), router_alert: false });
    }
    end.send();
    for number in 0..end.out.room() as u32 {
        end.push(&odata(number, 100), To::Group(bench.group), false);
    }
    end.send();
    // And the other end holds what it was handed, and has more waiting.
    bench.right.receive_into_batch();
    let census = bench.left.shut_down();
    assert_eq!((census.free + census.slots, census.out, census.lent), (census.total, 0, 0));
    drop(writer);
    let run = reader.try_into_run(&bench.left.pool).ok().expect("nothing is in flight any more");
    bench.left.pool.put_run(run);
    bench.ends_conserved();
}

pub fn a_link_that_shut_down_does_nothing_more(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    goes_on(&mut bench, 0);
    bench.right.shut_down();
    bench.left.push(&odata(1, 10), To::Group(bench.group), false);
    bench.left.send();
    for _ in 0..3 {
        assert_eq!(bench.left.receive() + bench.right.receive_into_batch(), 0);
    }
    bench.ends_conserved();
}

pub fn a_link_whose_cable_was_pulled_goes_on_when_it_is_back(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    let pair = bench.pair.take().expect("a cabled bench");
    goes_on(&mut bench, 0);
    let ends = [(&pair.left, &pair.left_ports[0].interface), (&pair.right, &pair.right_ports[0].interface)];
    for (round, (host, interface)) in (1..).zip(ends) {
        host.ip(&["link", "set", "dev", interface, "down"]).expect("an interface");
        for number in 0..200 {
            if bench.left.out.room() > 0
                && let Some(packet) = bench.left.outgoing(&odata(number, 60), To::Group(bench.group), false)
            {
                bench.left.out.push(packet);
            }
            // Neither end fails, whatever it makes of it.
            bench.left.send();
            bench.left.receive();
            bench.right.receive();
        }
        host.ip(&["link", "set", "dev", interface, "up"]).expect("an interface");
        for (host, interface) in ends {
            host.await_up(interface).expect("a cable");
        }
        // What waited for the cable may come now, before what is sent next.
        bench.until("what waited", |bench| bench.left.out.is_empty());
        bench.until_mark();
        goes_on(&mut bench, round * 1000);
    }
    bench.pair = Some(pair);
    bench.ends_conserved();
}
