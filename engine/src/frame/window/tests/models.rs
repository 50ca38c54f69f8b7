//! The hand-off under loom: every interleaving of a publisher and a worker on the very code that ships. A shadow of the payloads
//! tells loom which octets each touches, so that it reports what is read before it was written, or written while it is read.

use super::batch::{BATCH, take};
use super::*;
use crate::sync::bell::Doorbell;
use crate::sync::{Arc, thread};

/// Two records of five octets fill a slot.
const TINY: SlotLayout = SlotLayout { room: 22, ..BATCH };

/// Publishes a record of each of these octets, and rings.
fn publish_all(mut writer: Writer, octets: core::ops::RangeInclusive<u8>, ring: impl Fn()) {
    for octet in octets {
        while let Err(error) = publish(&mut writer, &[octet; 5]) {
            assert_eq!(error, ClaimError::Full);
            thread::yield_now();
        }
        ring();
    }
}

fn halves(slots: u32, layout: SlotLayout) -> (Pool, Writer, Reader) {
    let mut pool = Pool::anonymous(Layout { frame_size: 512, ..Layout::standard(slots) }).expect("a small mapping");
    let run = pool.take_run(slots).expect("enough frames");
    let (writer, reader) = window(&pool, run, layout);
    (pool, writer, reader)
}

#[test]
fn loom_what_was_committed_is_sent_as_it_was_written_and_its_slot_comes_back() {
    loom::model(|| {
        let (pool, writer, mut reader) = halves(2, SlotLayout { room: 22, ..LAYOUT });
        let publisher = thread::spawn(|| publish_all(writer, 1..=3, || ()));
        let mut next = 0;
        while next < 3 {
            if reader.refresh() == next {
                thread::yield_now();
            }
            while next < reader.head() {
                assert_eq!(reader.packet_mut(&pool, next, 0).expect("at rest"), [next as u8 + 1; 5]);
                next += 1;
            }
            reader.advance(&pool, next);
        }
        publisher.join().expect("it publishes all");
    });
}

#[test]
fn loom_every_record_is_sent_once_and_in_order_and_the_last_waits_for_nobody() {
    loom::model(|| {
        let (pool, writer, mut reader) = halves(4, TINY);
        let publisher = thread::spawn(|| publish_all(writer, 1..=3, || ()));
        let (mut next, mut sent) = (0, Vec::new());
        while sent.len() < 3 {
            match take(&pool, &mut reader, &mut next) {
                Some(records) => sent.extend(records),
                None => thread::yield_now(),
            }
        }
        assert_eq!(sent, [[1; 5], [2; 5], [3; 5]]);
        publisher.join().expect("it publishes all");
    });
}

/// A record by itself, and two that are handed over together: they join it, or go to the next slot, or to one each.
#[test]
fn loom_corked_records_are_sent_once_and_in_order_whenever_the_worker_seals() {
    loom::model(|| {
        let (pool, mut writer, mut reader) = halves(4, TINY);
        let publisher = thread::spawn(move || {
            publish(&mut writer, &[1; 5]).expect("room");
            for octet in 2..=3 {
                writer.publish_corked(5, |to| to.fill(octet)).expect("room");
            }
            writer.hand_over();
        });
        let (mut next, mut sent) = (0, Vec::new());
        while sent.len() < 3 {
            match take(&pool, &mut reader, &mut next) {
                Some(records) => sent.extend(records),
                None => thread::yield_now(),
            }
        }
        assert_eq!(sent, [[1; 5], [2; 5], [3; 5]]);
        publisher.join().expect("it publishes all");
    });
}

#[test]
fn loom_a_slot_that_was_sealed_is_used_again_only_when_the_trail_has_passed_it() {
    loom::model(|| {
        let (pool, writer, mut reader) = halves(2, TINY);
        let publisher = thread::spawn(|| publish_all(writer, 1..=4, || ()));
        let (mut next, mut sent) = (0, Vec::new());
        while sent.len() < 4 {
            match take(&pool, &mut reader, &mut next) {
                Some(records) => sent.extend(records),
                None => thread::yield_now(),
            }
            reader.advance(&pool, next);
        }
        assert_eq!(sent, [[1; 5], [2; 5], [3; 5], [4; 5]]);
        publisher.join().expect("it publishes all");
    });
}

/// A record that is left while the worker sleeps is a deadlock, which loom reports.
#[test]
fn loom_a_worker_never_sleeps_while_something_is_unsent() {
    for layout in [TINY, SlotLayout { room: 22, ..LAYOUT }] {
        loom::model(move || {
            let (pool, writer, mut reader) = halves(4, layout);
            let doorbell = Arc::new(Doorbell::new().expect("a descriptor"));
            let ring = doorbell.clone();
            let publisher = thread::spawn(move || publish_all(writer, 1..=2, || ring.ring()));
            let (mut next, mut sent) = (0, 0);
            while sent < 2 {
                match take(&pool, &mut reader, &mut next) {
                    Some(records) => sent += records.len(),
                    None => doorbell.sleep_in_model(|| !reader.has_news()),
                }
            }
            publisher.join().expect("it publishes all");
        });
    }
}
