//! Cases: what goes in at one end comes out at the other, in batches of any size.

use pgmx::frame::{Outgoing, RxBatch, SlotLayout, To, window};
use pgmx::wire::build::DATA_HEADER_LEN;

use super::bench::{Bench, Fixture, Setup, open};
use super::end::Arrived;
use super::packets::{every_type, number, odata};

/// The destinations that a bench has, from left to right.
fn destinations(bench: &Bench) -> Vec<To> {
    let mut all = vec![To::Group(bench.group), To::Neighbours(bench.group)];
    if bench.promises.unicast {
        all.push(To::Unicast(bench.right.address()));
    }
    all
}

/// Each end has heard the other once: where a link has to learn the way to its neighbour, it now knows it.
pub fn introduce(bench: &mut Bench) {
    if bench.promises.loops {
        return;
    }
    let hello = odata(0, 5);
    for _ in 0..2 {
        bench.right.push(&hello, To::Group(bench.group), false);
        bench.until("a greeting", |bench| !bench.left.arrived.is_empty());
        bench.left.arrived.clear();
        core::mem::swap(&mut bench.left, &mut bench.right);
    }
}

pub fn packets_of_every_type_arrive_octet_for_octet_wherever_they_go(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    introduce(&mut bench);
    for _direction in 0..if bench.promises.loops { 1 } else { 2 } {
        let (from, group) = (bench.left.address(), bench.group);
        let mut packets = every_type(from, group);
        let most = bench.left.payload_max();
        let lengths = [0, 1, 2, 3, 39, 40, 41, 63, 64, 65, 500, 1001, most - 1, most];
        packets.extend((1..).zip(lengths).map(|(number, len)| ("data", odata(number, len))));
        for to in destinations(&bench) {
            for router_alert in [false, true] {
                for (_, packet) in &packets {
                    bench.left.push(packet, to, router_alert);
                }
                let (To::Group(address) | To::Neighbours(address) | To::Unicast(address)) = to;
                bench.until("every packet", |bench| bench.right.arrived.len() >= packets.len());
                for (name, packet) in &packets {
                    let came = bench.right.arrived.pop_front().expect("counted");
                    let sent = Arrived { from, to: address, octets: packet.clone() };
                    assert_eq!(came, sent, "{name} to {to:?}, Router Alert {router_alert}");
                }
                assert!(bench.right.arrived.is_empty(), "more came than was sent: {:?}", bench.right.arrived);
            }
        }
        core::mem::swap(&mut bench.left, &mut bench.right);
    }
    bench.ends_conserved();
}

pub fn an_empty_batch_is_no_work(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    for _ in 0..3 {
        assert_eq!((bench.left.send(), bench.left.receive_into_batch()), (0, 0));
    }
    assert_eq!(bench.left.link.tally().sent, 0);
    assert!(bench.until_mark().is_empty());
    bench.ends_conserved();
}

pub fn batches_of_one_of_all_and_beyond_the_ring_arrive_in_order(fixture: &Fixture) {
    let ring = 64;
    for batch in [1, 64, 192] {
        let mut bench = open(fixture, &Setup { ring, right_ring: Some(512), batch, ..Setup::default() });
        let count = 4 * batch.max(ring as usize);
        // A link that drops what exceeds its ring is not given more than that at a time.
        let at_once = if bench.promises.waits { batch } else { batch.min(ring as usize) };
        let mut pushed = 0;
        while pushed < count {
            while bench.left.out.room() > 0 && bench.left.out.len() < at_once && pushed < count {
                bench.left.push(&odata(pushed as u32, 100), To::Group(bench.group), false);
                pushed += 1;
            }
            // No more on its way than the cable holds.
            bench.until("a batch to come", |bench| bench.right.arrived.len() >= pushed);
        }
        let numbers = bench.right.arrived.drain(..).map(|packet| number(&packet.octets));
        assert!(numbers.eq(0..count as u32), "batches of {batch}: out of order");
        bench.ends_conserved();
    }
}

/// conformance 16
pub fn what_fits_the_mtu_arrives_and_one_octet_more_is_counted(fixture: &Fixture) {
    for mtu in [1500, 3400] {
        let mut bench = open(fixture, &Setup { mtu, ..Setup::default() });
        let path = bench.left.link.path();
        for router_alert in [false, true] {
            let alert = if router_alert { path.alert } else { 0 };
            let most = usize::from(path.mtu - path.ip_header - alert) - DATA_HEADER_LEN;
            if most > 16_000 {
                // Nothing exceeds what a frame holds: there is no edge to try.
                continue;
            }
            let before = bench.left.link.tally().too_long;
            for (number, len) in [(1, most), (2, most + 1), (3, 1), (4, most + 1), (5, most)] {
                bench.left.push(&odata(number, len), To::Group(bench.group), router_alert);
            }
            let came = bench.until_mark();
            let lengths: Vec<(u32, usize)> =
                came.iter().map(|packet| (number(&packet.octets), packet.octets.len() - DATA_HEADER_LEN)).collect();
            assert_eq!(lengths, [(1, most), (3, 1), (5, most)], "MTU {}, Router Alert {router_alert}", path.mtu);
            assert_eq!(bench.left.link.tally().too_long - before, 2);
        }
        bench.ends_conserved();
    }
}

pub fn a_small_batch_takes_what_it_has_room_for_and_the_rest_waits(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    bench.right.back = RxBatch::new(3);
    for number in 0..64 {
        bench.left.push(&odata(number, 50), To::Group(bench.group), false);
    }
    // The batch is read only when it is full: what does not find room waits in the link.
    bench.until("everything on its way", |bench| bench.left.out.is_empty());
    bench.until("every packet", |bench| bench.right.arrived.len() >= 64);
    assert!(bench.right.arrived.drain(..).map(|packet| number(&packet.octets)).eq(0..64));
    bench.ends_conserved();
}

pub fn nothing_is_taken_into_a_full_batch(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    bench.right.back = RxBatch::new(1);
    for number in 0..5 {
        bench.left.push(&odata(number, 50), To::Group(bench.group), false);
    }
    while !bench.left.out.is_empty() {
        bench.left.send();
    }
    let deadline = std::time::Instant::now() + super::bench::PATIENCE;
    while bench.right.back.is_empty() {
        bench.left.receive_into_batch();
        bench.right.receive_into_batch();
        assert!(std::time::Instant::now() < deadline, "nothing came");
    }
    for _ in 0..5 {
        assert_eq!(bench.right.receive_into_batch(), 0, "there is no room");
    }
    bench.until("the others", |bench| bench.right.arrived.len() == 5);
    assert!(bench.right.arrived.drain(..).map(|packet| number(&packet.octets)).eq(0..5));
    bench.ends_conserved();
}

pub fn slots_of_a_window_come_home_when_they_have_left(fixture: &Fixture) {
    const SLOTS: u32 = 32;
    let mut bench = open(fixture, &Setup::default());
    let end = &mut bench.left;
    let run = end.pool.take_run(SLOTS).expect("frames enough");
    let front = end.pool.layout().start + end.link.path().front + DATA_HEADER_LEN as u16;
    let layout = SlotLayout::plain(front, 1000);
    let (mut writer, mut reader) = window(&end.pool, run, layout);
    for round in 0..4 {
        for n in 0..SLOTS {
            let packet = odata(round * SLOTS + n, 77);
            let mut claim = writer.claim(77).expect("the slots are at home");
            claim.copy_from_slice(&packet[DATA_HEADER_LEN..]);
            let position = claim.commit();
            reader.refresh();
            let end = &mut bench.left;
            let mut frame =
                reader.lend(&mut end.pool, position, DATA_HEADER_LEN as u16).expect("a slot at rest can be lent");
            end.pool.bytes_mut(&mut frame)[..DATA_HEADER_LEN].copy_from_slice(&packet[..DATA_HEADER_LEN]);
            end.out.push(Outgoing { frame, to: To::Group(bench.group), router_alert: false });
        }
        let head = reader.head();
        bench.until("every slot at home", |bench| {
            bench.left.out.is_empty()
                && (0..head).rev().take(SLOTS as usize).all(|at| !reader.in_flight(&bench.left.pool, at))
        });
        assert_eq!(bench.left.pool.census().lent, 0);
        assert_eq!(reader.advance(&bench.left.pool, head), head);
        bench.until("a window to come", |bench| bench.right.arrived.len() as u64 >= head);
    }
    for (sent, came) in (0..4 * SLOTS).zip(bench.right.arrived.drain(..)) {
        assert_eq!(came.octets, odata(sent, 77));
    }
    drop(writer);
    let run = reader.try_into_run(&bench.left.pool).ok().expect("nothing is in flight");
    bench.left.pool.put_run(run);
    bench.ends_conserved();
}
