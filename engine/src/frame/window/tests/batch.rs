//! Windows that batch: records share the open slot until the reader takes it.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

pub(super) const BATCH: SlotLayout = SlotLayout { common_options: 4, batch: true, ..LAYOUT };
/// Octets of records in a slot: the room without OPT_LENGTH and OPT_RECORDS.
const MAX: usize = 92;

/// A window that batches, and what comes out of it.
struct Bench {
    pool: Pool,
    writer: Writer,
    reader: Reader,
    next: u64,
}

impl Bench {
    fn new(slots: u32, layout: SlotLayout) -> Self {
        let mut pool = Pool::anonymous(Layout::standard(slots + 4)).expect("a small mapping");
        let run = pool.take_run(slots).expect("enough frames");
        let (writer, reader) = window(&pool, run, layout);
        Self { pool, writer, reader, next: 0 }
    }

    fn publish(&mut self, bytes: &[u8]) -> Result<u64, ClaimError> {
        publish(&mut self.writer, bytes)
    }

    /// What the next slot holds, if there is one: its records, or a fragment.
    fn take(&mut self) -> Option<Vec<Vec<u8>>> {
        take(&self.pool, &mut self.reader, &mut self.next)
    }
}

/// Takes a slot as a worker does, and reads it.
pub(super) fn take(pool: &Pool, reader: &mut Reader, next: &mut u64) -> Option<Vec<Vec<u8>>> {
    if *next == reader.refresh() {
        return None;
    }
    if *next == reader.settled() {
        assert!(reader.seal(|_| true));
    }
    let is_batch = reader.layout().batch && reader.slot(*next).apdu.is_none();
    let bytes = reader.packet_mut(pool, *next, 0).expect("at rest");
    *next += 1;
    Some(if is_batch { records(bytes) } else { vec![bytes.to_vec()] })
}

/// The records in a payload: each two octets of length and so many octets.
fn records(mut payload: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [high, low, rest @ ..] = payload {
        let (record, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        records.push(record.to_vec());
        payload = rest;
    }
    assert!(payload.is_empty(), "half a header");
    records
}

#[test]
fn records_share_a_slot_until_the_worker_takes_it() {
    let mut bench = Bench::new(4, BATCH);
    assert_eq!(bench.publish(b"one"), Ok(0));
    assert_eq!(bench.publish(b""), Ok(0));
    assert_eq!(bench.publish(b"three"), Ok(0));
    assert_eq!(bench.take().expect("a slot"), [&b"one"[..], b"", b"three"]);
    assert_eq!(bench.take(), None);
    assert_eq!(bench.publish(b"four"), Ok(1), "the slot has left");
    assert_eq!(bench.take().expect("a slot"), [b"four"], "the last of a burst waits for nobody");
}

#[test]
fn a_record_claimed_before_the_seal_and_committed_after_it_goes_to_the_next_slot() {
    let mut bench = Bench::new(4, BATCH);
    bench.publish(b"one").expect("room");
    let Bench { pool, writer, reader, next } = &mut bench;
    let mut claim = writer.claim(3).expect("room");
    claim.copy_from_slice(b"two");
    assert_eq!(take(pool, reader, next).expect("a slot"), [b"one"]);
    assert_eq!(claim.commit(), 1);
    assert_eq!(bench.take().expect("a slot"), [b"two"]);
    assert_eq!(bench.publish(b"three"), Ok(2));
}

#[test]
fn a_claim_wants_a_free_slot_beyond_the_open_one() {
    let mut bench = Bench::new(4, BATCH);
    for n in 0..4 {
        assert_eq!(bench.publish(&[n; MAX - 10]), Ok(u64::from(n)), "too long to share");
    }
    assert_eq!(bench.publish(b"fits"), Err(ClaimError::Full), "but has nowhere to go if the slot is taken");
    for n in 0..4 {
        assert_eq!(bench.take().expect("a slot"), [[n; MAX - 10]]);
    }
    assert_eq!(bench.reader.advance(&bench.pool, 1), 1);
    assert_eq!(bench.publish(b"fits"), Ok(4));
}

#[test]
fn a_record_as_long_as_the_slot_is_the_longest_and_one_that_does_not_fit_the_rest_opens_the_next() {
    let mut bench = Bench::new(8, BATCH);
    assert_eq!(usize::from(BATCH.message_max(1)), MAX - 2);
    assert_eq!(bench.publish(&[1; MAX - 1]), Err(ClaimError::TooLong { len: MAX - 1, max: MAX - 2 }));
    assert_eq!(bench.publish(&[1; MAX - 2]), Ok(0));
    assert_eq!(bench.publish(b""), Ok(1));
    assert_eq!(bench.publish(&[2; MAX - 4]), Ok(1), "to the last octet");
    assert_eq!(bench.publish(b""), Ok(2));
    assert_eq!(bench.publish(&[3; MAX - 3]), Ok(3), "an octet too long");
    assert_eq!(bench.take().expect("a slot"), [[1; MAX - 2]]);
    assert_eq!(bench.take().expect("a slot"), [&[][..], &[2; MAX - 4]]);
    assert_eq!(bench.take().expect("a slot"), [b""]);
    assert_eq!(bench.take().expect("a slot"), [[3; MAX - 3]]);
}

#[test]
fn the_first_packet_leaves_room_for_its_options_in_a_batch_too() {
    let mut bench = Bench::new(4, SlotLayout { first_options: 4, ..BATCH });
    assert_eq!(bench.publish(&[1; MAX - 5]), Err(ClaimError::TooLong { len: MAX - 5, max: MAX - 6 }));
    assert_eq!(bench.publish(&[1; 10]), Ok(0));
    assert_eq!(bench.publish(&[2; MAX - 17]), Ok(1), "would fit another slot");
    bench.reader.refresh();
    assert_eq!(bench.reader.slot(0).start, 312);
    assert_eq!(bench.take().expect("a slot"), [[1; 10]]);
    assert_eq!(bench.take().expect("a slot"), [[2; MAX - 17]]);
}

#[test]
fn an_abandoned_record_leaves_no_trace_and_one_may_be_shorter_than_its_claim() {
    let mut bench = Bench::new(4, BATCH);
    bench.writer.claim(5).expect("room").fill(9);
    assert_eq!(bench.reader.refresh(), 0);
    bench.publish(b"one").expect("room");
    bench.writer.claim(20).expect("room").fill(9);
    let mut claim = bench.writer.claim(20).expect("room");
    claim[..3].copy_from_slice(b"two");
    assert_eq!(claim.commit_len(3), 0);
    assert_eq!(bench.publish(b"three"), Ok(0));
    assert_eq!(bench.take().expect("a slot"), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_long_message_takes_slots_of_its_own_and_a_short_one_is_a_record_however_it_was_claimed() {
    let mut bench = Bench::new(8, BATCH);
    bench.publish(b"before").expect("room");
    let claim = bench.writer.claim_apdu(MAX - 1).expect("room");
    assert_eq!(claim.chunks(), 2, "one octet too long for a record");
    claim.commit();
    assert_eq!(bench.publish(b"behind"), Ok(3), "fragments are not shared");
    let mut claim = bench.writer.claim_apdu(5).expect("room");
    assert_eq!(claim.chunks(), 1);
    claim.write_all(b"short").expect("in memory");
    assert_eq!(claim.commit(), 4);
    assert_eq!(bench.publish(b"joins"), Ok(4));
    assert_eq!(bench.take().expect("a slot"), [b"before"]);
    for index in 0..2 {
        bench.take().expect("a fragment");
        let slot = bench.reader.slot(bench.next - 1);
        assert_eq!((slot.start, slot.apdu.map(|apdu| (apdu.index, apdu.len))), (320, Some((index, MAX as u32 - 1))));
    }
    assert_eq!(bench.take().expect("a slot"), [b"behind"]);
    assert_eq!(bench.take().expect("a slot"), [b"short", b"joins"]);
}

#[test]
fn a_batch_grows_until_the_worker_may_send_it_and_what_it_was_allowed_is_what_is_sealed() {
    let mut bench = Bench::new(4, BATCH);
    bench.publish(b"one").expect("room");
    let Bench { pool, writer, reader, next } = &mut bench;
    reader.refresh();
    assert!(!reader.seal(|slot| {
        assert_eq!(slot, Slot { start: 308, len: 5, apdu: None });
        false
    }));
    publish(writer, b"two").expect("still open");
    let mut heard = Vec::new();
    assert!(reader.seal(|slot| {
        heard.push(slot.len);
        if heard.len() == 1 {
            publish(writer, b"three").expect("still open");
        }
        true
    }));
    assert_eq!(heard, [10, 17], "it grew in between");
    assert_eq!(take(pool, reader, next).expect("a slot"), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn batches_are_filled_and_lent_in_one_call_once_they_are_final() {
    let mut bench = Bench::new(8, BATCH);
    for n in 0..4 {
        bench.publish(&[n; MAX - 10]).expect("room");
    }
    let Bench { pool, reader, .. } = &mut bench;
    assert_eq!((reader.refresh(), reader.settled()), (4, 3), "the newest may still grow");
    let mut frames = Vec::new();
    let mut lend = |pool: &mut Pool, reader: &mut Reader, positions: Range<u64>| {
        let each = |position: u64, _, packet: &mut [u8], frame| {
            assert_eq!(packet[32..34], [0, MAX as u8 - 10]);
            assert_eq!(packet[34..], [position as u8; MAX - 10]);
            packet[..32].fill(0xAA);
            frames.push(frame);
        };
        reader.lend_plain::<true>(pool, positions, 32, |_| true, each)
    };
    assert_eq!(lend(pool, reader, 0..3), 3);
    assert!(reader.seal(|_| true));
    assert_eq!(lend(pool, reader, 3..4), 4);
    for frame in frames {
        assert_eq!((frame.start(), frame.len()), (276, 32 + MAX - 8));
        pool.put(frame);
    }
}

#[test]
#[should_panic(expected = "not the worker's")]
fn a_slot_that_may_still_grow_cannot_be_lent() {
    let mut bench = Bench::new(4, BATCH);
    bench.publish(b"one").expect("room");
    bench.reader.refresh();
    bench.reader.lend(&mut bench.pool, 0, 24);
}

fn cork(writer: &mut Writer, bytes: &[u8]) -> Result<(), ClaimError> {
    writer.publish_corked(bytes.len(), |to| to.copy_from_slice(bytes))
}

#[test]
fn corked_records_are_seen_by_nobody_until_they_are_handed_over_together() {
    let mut bench = Bench::new(4, BATCH);
    for record in [&b"one"[..], b"", b"three"] {
        cork(&mut bench.writer, record).expect("room");
    }
    assert_eq!(bench.writer.position(), 1);
    assert_eq!(bench.take(), None);
    bench.writer.hand_over();
    cork(&mut bench.writer, b"four").expect("room");
    assert_eq!(bench.take().expect("a slot"), [&b"one"[..], b"", b"three"], "what was handed over, and no more");
    bench.writer.hand_over();
    assert_eq!(bench.take().expect("a slot"), [b"four"], "sealed meanwhile: the next slot");
    assert_eq!(bench.publish(b"five"), Ok(2));
    cork(&mut bench.writer, b"six").expect("room");
    bench.writer.hand_over();
    assert_eq!(bench.take().expect("a slot"), [&b"five"[..], b"six"], "behind one that nobody took");
    bench.writer.hand_over();
    assert_eq!(bench.take(), None);
}

#[test]
fn a_corked_packet_that_is_full_goes_when_the_next_record_comes() {
    let mut bench = Bench::new(4, BATCH);
    cork(&mut bench.writer, &[1; MAX - 2]).expect("room");
    assert_eq!(bench.take(), None);
    cork(&mut bench.writer, b"next").expect("room");
    assert_eq!(bench.take().expect("a slot"), [[1; MAX - 2]]);
    assert_eq!(bench.take(), None);
    assert_eq!(cork(&mut bench.writer, &[1; MAX - 1]), Err(ClaimError::TooLong { len: MAX - 1, max: MAX - 2 }));
    assert_eq!(bench.take().expect("a slot"), [b"next"], "a call that is refused has handed it over as well");
}

#[test]
fn no_length_is_so_long_that_a_corked_record_of_it_fits() {
    let mut bench = Bench::new(4, BATCH);
    cork(&mut bench.writer, b"one").expect("room");
    // With its header such a record would have no octet, or one.
    for len in [usize::MAX, usize::MAX - 1] {
        let refused = bench.writer.publish_corked(len, |_| unreachable!("there is no such room"));
        assert_eq!(refused, Err(ClaimError::TooLong { len, max: MAX - 2 }));
        cork(&mut bench.writer, b"more").expect("room");
    }
    bench.writer.hand_over();
    assert_eq!(bench.take().expect("a slot"), [&b"one"[..], b"more", b"more"]);
}

#[test]
fn whatever_else_the_writer_does_comes_behind_what_is_corked() {
    let mut bench = Bench::new(8, BATCH);
    cork(&mut bench.writer, b"one").expect("room");
    assert_eq!(bench.publish(b"two"), Ok(0));
    cork(&mut bench.writer, b"three").expect("room");
    let mut claim = bench.writer.claim_apdu(MAX - 1).expect("room");
    claim.write_all(&[9; MAX - 1]).expect("in memory");
    assert_eq!(claim.commit(), 1);
    assert_eq!(bench.take().expect("a slot"), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_corked_record_that_panics_while_it_is_written_leaves_no_trace() {
    let mut bench = Bench::new(4, SlotLayout { first_options: 4, ..BATCH });
    for before in [&[][..], &[b"one"]] {
        for record in before {
            cork(&mut bench.writer, *record).expect("room");
        }
        let writer = core::panic::AssertUnwindSafe(&mut bench.writer);
        let caught = std::panic::catch_unwind(move || {
            let mut writer = writer;
            writer.publish_corked(5, |_| panic!("the application"))
        });
        assert!(caught.is_err());
        bench.writer.hand_over();
    }
    assert_eq!(bench.publish(b"two"), Ok(0));
    assert_eq!(bench.take().expect("a slot"), [b"one", b"two"]);
    assert_eq!(bench.reader.slot(0).start, 312, "the first packet is still the first");
}

#[test]
fn a_corked_message_of_a_window_without_batches_is_a_packet_at_once() {
    let mut bench = Bench::new(4, LAYOUT);
    cork(&mut bench.writer, b"one").expect("room");
    assert_eq!(bench.take().expect("a slot"), [b"one"]);
    assert_eq!(cork(&mut bench.writer, &[0; 101]), Err(ClaimError::TooLong { len: 101, max: 100 }));
    for _ in 1..5 {
        cork(&mut bench.writer, b"more").expect("room");
        bench.reader.refresh();
        bench.reader.advance(&bench.pool, 1);
    }
    assert_eq!(cork(&mut bench.writer, b"full"), Err(ClaimError::Full));
}

/// One step of the two halves.
#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    /// So many records, of which the worker takes what it can behind this one.
    Burst(Vec<usize>, usize),
    /// As much as the worker takes between claim and commit.
    PublishAcross(usize, usize),
    Abandon(usize),
    Apdu(usize),
    Take(usize),
    Advance,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40_usize).prop_map(Step::Publish),
        1 => (0..MAX + 1).prop_map(Step::Publish),
        3 => (proptest::collection::vec(0..60_usize, 1..8), 0..8_usize).prop_map(|(lens, take)| Step::Burst(lens, take)),
        2 => (0..40_usize, 0..3_usize).prop_map(|(len, slots)| Step::PublishAcross(len, slots)),
        1 => (0..40_usize).prop_map(Step::Abandon),
        1 => (0..300_usize).prop_map(Step::Apdu),
        3 => (1..3_usize).prop_map(Step::Take),
        2 => Just(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn every_record_comes_out_once_and_in_order_however_the_halves_take_turns(steps in proptest::collection::vec(step(), 1..200)) {
        let mut bench = Bench::new(8, BATCH);
        let Bench { pool, writer, reader, next } = &mut bench;
        let mut expected: VecDeque<Vec<u8>> = VecDeque::new();
        let mut serial = 0_u8;
        // Fragments come slot by slot: what was expected as one is gathered.
        let mut gathered: Vec<u8> = Vec::new();
        let mut read = |pool: &Pool, reader: &mut Reader, expected: &mut VecDeque<Vec<u8>>, slots: usize| {
            for _ in 0..slots {
                let Some(taken) = take(pool, reader, next) else { break };
                if let Some(apdu) = reader.slot(*next - 1).apdu {
                    gathered.extend(taken.concat());
                    if gathered.len() == apdu.len as usize {
                        assert_eq!(Some(core::mem::take(&mut gathered)), expected.pop_front());
                    }
                } else {
                    assert!(!taken.is_empty(), "an empty batch");
                    for record in taken {
                        assert_eq!(Some(record), expected.pop_front());
                    }
                }
            }
            *next
        };
        let mut seen = 0;
        for step in steps {
            serial = serial.wrapping_add(1);
            match step {
                Step::Publish(len) => {
                    let fits = len + 2 <= MAX;
                    match publish(writer, &vec![serial; len]) {
                        Ok(_) => expected.push_back(vec![serial; len]),
                        Err(ClaimError::TooLong { .. }) => prop_assert!(!fits),
                        Err(error) => prop_assert!(fits && error == ClaimError::Full && writer.free() == 0),
                    }
                }
                Step::Burst(lens, taken) => {
                    for (n, len) in lens.into_iter().enumerate() {
                        if cork(writer, &vec![serial; len]).is_ok() {
                            expected.push_back(vec![serial; len]);
                        }
                        if n == taken {
                            seen = read(pool, reader, &mut expected, 8);
                            reader.advance(pool, seen);
                        }
                    }
                    writer.hand_over();
                }
                Step::PublishAcross(len, slots) => {
                    if let Ok(mut claim) = writer.claim(len) {
                        claim.fill(serial);
                        seen = read(pool, reader, &mut expected, slots);
                        reader.advance(pool, seen);
                        claim.commit();
                        expected.push_back(vec![serial; len]);
                    }
                }
                Step::Abandon(len) => {
                    if let Ok(mut claim) = writer.claim(len) {
                        claim.fill(0xFF);
                    }
                }
                Step::Apdu(len) => {
                    if let Ok(mut claim) = writer.claim_apdu(len) {
                        claim.write_all(&vec![serial; len]).expect("in memory");
                        claim.commit();
                        expected.push_back(vec![serial; len]);
                    }
                }
                Step::Take(slots) => seen = read(pool, reader, &mut expected, slots),
                Step::Advance => {
                    reader.advance(pool, seen);
                }
            }
        }
        read(pool, reader, &mut expected, 8);
        prop_assert!(expected.is_empty(), "the last records wait for others");
    }
}

#[test]
fn two_threads_hand_a_million_records_over_in_order() {
    const RECORDS: u64 = 1_000_000;
    let Bench { pool, mut writer, mut reader, mut next } = Bench::new(16, BATCH);
    let publisher = std::thread::spawn(move || {
        for n in 0..RECORDS {
            // Lengths of 8 to 23 octets.
            let mut message = [0; 23];
            message[..8].copy_from_slice(&n.to_le_bytes());
            loop {
                match publish(&mut writer, &message[..8 + (n % 16) as usize]) {
                    Ok(_) => break,
                    Err(ClaimError::Full) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    let mut expected = 0_u64;
    while expected < RECORDS {
        let Some(records) = take(&pool, &mut reader, &mut next) else {
            std::thread::yield_now();
            continue;
        };
        for record in records {
            assert_eq!(record.len() as u64, 8 + expected % 16);
            assert_eq!(record[..8], expected.to_le_bytes());
            expected += 1;
        }
        reader.advance(&pool, next);
    }
    publisher.join().expect("the publisher ends well");
    assert_eq!(take(&pool, &mut reader, &mut next), None);
}
