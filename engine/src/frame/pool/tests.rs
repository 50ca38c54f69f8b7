//! The pool: every frame handed out once, and found again.

use super::*;

fn pool(frames: u32) -> Pool {
    Pool::anonymous(Layout::standard(frames)).expect("a small mapping")
}

#[test]
fn every_frame_is_handed_out_once_and_comes_back() {
    let mut pool = pool(8);
    let frames: Vec<Frame> = core::iter::from_fn(|| pool.take()).collect();
    assert_eq!(frames.len(), 8);
    let mut seen: Vec<u32> = frames.iter().map(Frame::index).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
    assert_eq!(pool.census().out, 8);
    for frame in frames {
        pool.put(frame);
    }
    assert_eq!(pool.census(), Census { total: 8, free: 8, out: 0, slots: 0, lent: 0, leased: 0 });
}

#[test]
fn the_fill_reserve_is_kept_from_everybody_else() {
    let mut pool = pool(8);
    pool.set_fill_reserve(3);
    let taken: Vec<Frame> = core::iter::from_fn(|| pool.take()).collect();
    assert_eq!(taken.len(), 5);
    let filled: Vec<Frame> = core::iter::from_fn(|| pool.take_for_fill()).collect();
    assert_eq!(filled.len(), 3);
    assert!(pool.census().adds_up());
    taken.into_iter().chain(filled).for_each(|frame| pool.put(frame));
}

#[test]
fn runs_are_contiguous_leave_the_reserve_and_can_be_used_again() {
    let mut pool = pool(16);
    pool.set_fill_reserve(4);
    assert!(pool.take_run(13).is_none());
    let run = pool.take_run(8).expect("8 of 16");
    assert_eq!(pool.census().slots, 8);
    pool.put_run(run);
    let run = pool.take_run(4).expect("part of the run that came back");
    let other = pool.take_run(4).expect("the rest of it");
    assert_ne!(run.base, other.base);
    assert!(pool.census().adds_up());
    pool.put_run(run);
    pool.put_run(other);
}

#[test]
fn runs_that_came_back_serve_a_longer_one() {
    let mut pool = pool(16);
    let runs: Vec<Run> = (0..4).map(|_| pool.take_run(4).expect("a quarter")).collect();
    for at in [2, 0, 3, 1] {
        let run = &runs[at];
        pool.put_run(Run { pool: run.pool, base: run.base, count: run.count });
    }
    let all = pool.take_run(16).expect("they lie side by side");
    assert!(pool.take_run(1).is_none());
    pool.put_run(all);
    assert!(pool.census().adds_up());
}

#[test]
fn a_ring_gives_back_what_it_was_given() {
    let mut pool = pool(4);
    let (one, two) = (pool.take().expect("fresh"), pool.take().expect("fresh"));
    let (one, two) = (pool.surrender(one), pool.surrender(two));
    assert_eq!(pool.census(), Census { total: 4, free: 2, out: 2, slots: 0, lent: 0, leased: 0 });
    let frame = pool.reclaim(one);
    assert_eq!((frame.index(), frame.len()), (one, 0));
    pool.put(frame);
    pool.complete(two);
    assert_eq!(pool.census().free, 4);
}

#[test]
fn a_slot_in_a_ring_is_in_flight() {
    let mut pool = pool(4);
    let run = pool.take_run(2).expect("2 of 4");
    let frame = pool.lend(run.base, 256, 10);
    let index = pool.surrender(frame);
    assert!(pool.is_lent(index));
    assert_eq!(pool.census().lent, 1);
    pool.complete(index);
    assert!(!pool.is_lent(index));
    assert_eq!(pool.census(), Census { total: 4, free: 2, out: 0, slots: 2, lent: 0, leased: 0 });
    pool.put_run(run);
}

#[test]
fn a_link_whose_rings_are_gone_recalls_what_was_in_them_and_nothing_else() {
    let mut pool = pool(4);
    let run = pool.take_run(2).expect("2 of 4");
    let lent = pool.lend(run.base, 256, 10);
    let (loose, kept) = (pool.take().expect("fresh"), pool.take().expect("fresh"));
    let _ = (pool.surrender(lent), pool.surrender(loose));
    assert_eq!(pool.recall(), 2);
    assert_eq!(pool.census(), Census { total: 4, free: 1, out: 1, slots: 2, lent: 0, leased: 0 });
    pool.put(kept);
    pool.put_run(run);
}

#[test]
#[should_panic(expected = "which it does not have")]
fn a_doubled_completion_does_not_double_a_frame() {
    let mut pool = pool(1);
    let frame = pool.take().expect("fresh");
    let index = pool.surrender(frame);
    pool.complete(index);
    pool.complete(index);
}

#[test]
fn a_copy_is_a_frame_of_its_own_with_the_same_octets() {
    let mut pool = pool(2);
    let mut frame = pool.take().expect("fresh");
    frame.set_range(300, 5);
    pool.bytes_mut(&mut frame).copy_from_slice(b"hello");
    let mut copy = pool.copy(&frame).expect("the other frame");
    assert_eq!((copy.start(), pool.bytes(&copy)), (300, &b"hello"[..]));
    pool.bytes_mut(&mut copy)[0] = b'j';
    assert_eq!(pool.bytes(&frame), b"hello");
    assert!(pool.copy(&frame).is_none(), "no third frame");
    pool.put(frame);
    pool.put(copy);
    assert_eq!(pool.census().free, 2);
}

#[test]
#[should_panic(expected = "a frame of another pool")]
fn a_frame_of_another_pool_is_refused() {
    let (mut one, two) = (pool(1), pool(1));
    let frame = one.take().expect("fresh");
    let _ = two.bytes(&frame);
}

#[test]
#[should_panic(expected = "beyond its frame")]
fn a_range_beyond_the_frame_is_refused() {
    let mut pool = pool(1);
    let mut frame = pool.take().expect("fresh");
    frame.set_range(2000, 100);
    let _ = pool.bytes(&frame);
}
