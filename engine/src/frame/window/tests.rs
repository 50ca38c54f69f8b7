//! Both halves, on one thread and on two.

mod batch;
#[cfg(loom)]
mod models;

use super::super::slab::Layout;
use super::*;
use core::ops::Range;
use std::io::Write as _;

const LAYOUT: SlotLayout = SlotLayout::plain(300, 100);

fn make(slots: u32) -> (Pool, Writer, Reader) {
    let mut pool = Pool::anonymous(Layout::standard(slots + 4)).expect("a small mapping");
    let run = pool.take_run(slots).expect("enough frames");
    let (writer, reader) = window(&pool, run, LAYOUT);
    (pool, writer, reader)
}

fn publish(writer: &mut Writer, bytes: &[u8]) -> Result<u64, ClaimError> {
    let mut claim = writer.claim(bytes.len())?;
    claim.copy_from_slice(bytes);
    Ok(claim.commit())
}

#[test]
fn what_was_committed_is_read_in_place() {
    let (pool, mut writer, mut reader) = make(4);
    assert_eq!(publish(&mut writer, b"one"), Ok(0));
    assert_eq!(publish(&mut writer, b""), Ok(1));
    assert_eq!(reader.refresh(), 2);
    assert_eq!(reader.slot(0), Slot { start: 300, len: 3, apdu: None });
    assert_eq!(reader.packet_mut(&pool, 0, 0).expect("at rest"), b"one");
    assert_eq!(reader.slot(1).len, 0);
}

#[test]
fn an_abandoned_claim_leaves_no_trace() {
    let (_pool, mut writer, mut reader) = make(4);
    writer.claim(10).expect("room")[0] = 1;
    assert_eq!(reader.refresh(), 0);
    assert_eq!(publish(&mut writer, b"x"), Ok(0));
}

#[test]
fn a_full_window_pushes_back_until_the_trail_moves() {
    let (pool, mut writer, mut reader) = make(4);
    for n in 0..4 {
        assert_eq!(publish(&mut writer, &[n]), Ok(u64::from(n)));
    }
    assert_eq!(publish(&mut writer, b"x"), Err(ClaimError::Full));
    reader.refresh();
    assert_eq!(reader.advance(&pool, 1), 1);
    assert_eq!(publish(&mut writer, b"x"), Ok(4));
    assert_eq!(publish(&mut writer, b"x"), Err(ClaimError::Full));
}

#[test]
fn a_slot_in_flight_is_untouchable_until_it_comes_back() {
    let (mut pool, mut writer, mut reader) = make(4);
    for n in 0..4 {
        publish(&mut writer, &[n]).expect("room");
    }
    reader.refresh();
    let frame = reader.lend(&mut pool, 1, 24).expect("at rest");
    assert_eq!((frame.start(), frame.len()), (276, 25));
    assert!(reader.lend(&mut pool, 1, 24).is_none(), "a repair has to wait");
    assert!(reader.packet_mut(&pool, 1, 24).is_none());
    assert_eq!(reader.advance(&pool, 4), 1, "the trail stops in front of it");
    publish(&mut writer, b"a").expect("slot 0 is free again");
    assert_eq!(publish(&mut writer, b"b"), Err(ClaimError::Full), "and so no claim reaches it");
    assert_eq!(pool.census().lent, 1);
    pool.put(frame);
    assert_eq!(reader.advance(&pool, 4), 4);
}

#[test]
fn the_trail_goes_round_the_end_of_the_ring_and_stops_at_a_slot_in_flight_on_either_side() {
    for stop in 3..7 {
        let (mut pool, mut writer, mut reader) = make(4);
        for n in 0..3 {
            publish(&mut writer, &[n]).expect("room");
        }
        reader.refresh();
        assert_eq!(reader.advance(&pool, 3), 3);
        for n in 3..7 {
            publish(&mut writer, &[n]).expect("room");
        }
        assert_eq!(reader.refresh(), 7);
        let frame = reader.lend(&mut pool, stop, 0).expect("at rest");
        assert_eq!(reader.advance(&pool, 7), stop);
        assert_eq!(reader.advance(&pool, 7), stop, "and stays there");
        pool.put(frame);
        assert_eq!(reader.advance(&pool, 6), 6.max(stop), "no further than asked");
        assert_eq!(reader.advance(&pool, 9), 7, "nor than the head");
    }
}

#[test]
fn many_slots_are_filled_and_lent_in_one_call_up_to_a_refusal_a_fragment_or_one_in_flight() {
    let (mut pool, mut writer, mut reader) = make(16);
    for n in 0..6 {
        publish(&mut writer, &[n; 3]).expect("room");
    }
    writer.claim_apdu(150).expect("room").commit();
    assert_eq!(reader.refresh(), 8);
    let mut frames = Vec::new();
    let mut lend = |pool: &mut Pool, positions: Range<u64>, octets: u16| {
        let mut left = octets;
        reader.lend_plain::<false>(
            pool,
            positions,
            24,
            |len| {
                let admitted = left >= len;
                left = left.saturating_sub(len);
                admitted
            },
            |position, len, packet, frame| {
                assert_eq!(packet[24..], vec![position as u8; usize::from(len)]);
                packet[..24].fill(0xAA);
                frames.push(frame);
            },
        )
    };
    assert_eq!(lend(&mut pool, 0..0, 100), 0);
    assert_eq!(lend(&mut pool, 0..4, 6), 2, "refused");
    assert_eq!(lend(&mut pool, 1..4, 100), 1, "in flight");
    assert_eq!(lend(&mut pool, 2..8, 100), 6, "a fragment");
    assert_eq!(frames.len(), 6);
    for (n, frame) in frames.into_iter().enumerate() {
        assert_eq!((frame.start(), frame.len()), (276, 27));
        assert_eq!(pool.bytes(&frame)[23..], [0xAA, n as u8, n as u8, n as u8]);
        pool.put(frame);
    }
    assert_eq!(pool.census().lent, 0);
}

#[test]
fn an_apdu_takes_contiguous_slots_and_knows_its_place() {
    let (pool, mut writer, mut reader) = make(8);
    let bytes: Vec<u8> = (0..200).collect();
    let mut claim = writer.claim_apdu(200).expect("room");
    assert_eq!(claim.chunks(), 3);
    assert_eq!(claim.write(&bytes[..90]).expect("in memory"), 90);
    assert_eq!(claim.write(&bytes[90..]).expect("in memory"), 110);
    assert_eq!(claim.write(b"more").expect("in memory"), 0);
    assert_eq!(claim.commit(), 0);
    reader.refresh();
    let mut whole = Vec::new();
    for position in 0..3 {
        let slot = reader.slot(position);
        let apdu = slot.apdu.expect("a fragment");
        assert_eq!((u64::from(apdu.index), apdu.offset as usize, apdu.len), (position, whole.len(), 200));
        assert_eq!(slot.start, 320);
        whole.extend_from_slice(reader.packet_mut(&pool, position, 0).expect("at rest"));
    }
    assert_eq!(whole, bytes);
}

#[test]
fn an_apdu_of_one_packet_is_not_fragmented_and_one_beyond_the_window_is_refused() {
    let (_pool, mut writer, mut reader) = make(4);
    let claim = writer.claim_apdu(100).expect("room");
    assert_eq!(claim.chunks(), 1);
    claim.commit();
    reader.refresh();
    assert_eq!(reader.slot(0).apdu, None);
    assert_eq!(writer.claim_apdu(4 * 80 + 1).err(), Some(ClaimError::TooLong { len: 321, max: 320 }));
    assert_eq!(writer.claim_apdu(4 * 80).err(), Some(ClaimError::Full));
    assert_eq!(writer.claim(101).err(), Some(ClaimError::TooLong { len: 101, max: 100 }));
}

#[test]
fn the_first_packet_leaves_room_for_its_options() {
    let mut pool = Pool::anonymous(Layout::standard(8)).expect("a small mapping");
    let run = pool.take_run(4).expect("enough frames");
    let (mut writer, mut reader) = window(&pool, run, SlotLayout { first_options: 4, ..LAYOUT });
    assert_eq!(writer.claim(93).err(), Some(ClaimError::TooLong { len: 93, max: 92 }));
    publish(&mut writer, &[7; 92]).expect("room");
    publish(&mut writer, &[8; 100]).expect("room");
    reader.refresh();
    assert_eq!((reader.slot(0).start, reader.slot(1).start), (308, 300));
}

#[test]
fn the_frames_come_back_only_when_nobody_can_touch_them_any_more() {
    let (mut pool, mut writer, mut reader) = make(4);
    publish(&mut writer, b"x").expect("room");
    reader.refresh();
    let frame = reader.lend(&mut pool, 0, 0).expect("at rest");
    reader = reader.try_into_run(&pool).expect_err("in flight");
    assert_eq!(writer.claim(1).err(), Some(ClaimError::Closed));
    pool.put(frame);
    reader = reader.try_into_run(&pool).expect_err("the publisher is still there");
    drop(writer);
    let run = reader.try_into_run(&pool).ok().expect("all at rest");
    pool.put_run(run);
    assert_eq!(pool.census().free, 8);
}

#[test]
fn two_threads_hand_a_hundred_thousand_messages_over_in_order() {
    let (pool, mut writer, mut reader) = make(64);
    let publisher = std::thread::spawn(move || {
        for n in 0..100_000_u64 {
            loop {
                match publish(&mut writer, &n.to_le_bytes()) {
                    Ok(_) => break,
                    Err(ClaimError::Full) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    let mut next = 0_u64;
    while next < 100_000 {
        let head = reader.refresh();
        if head == next {
            std::thread::yield_now();
        }
        while next < head {
            let bytes = reader.packet_mut(&pool, next, 0).expect("at rest");
            assert_eq!(bytes, next.to_le_bytes());
            next += 1;
        }
        reader.advance(&pool, next);
    }
    publisher.join().expect("the publisher ends well");
}
