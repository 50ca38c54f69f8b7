use super::*;
use crate::frame::{Layout, Slab};
use crate::sync::thread;

fn pool(frames: u32) -> Pool {
    Pool::anonymous(Layout::standard(frames)).expect("a small mapping")
}

/// A frame with these octets in it.
fn filled(pool: &mut Pool, octets: &[u8]) -> Frame {
    let mut frame = pool.take().expect("a free frame");
    frame.set_range(300, octets.len() as u16);
    pool.bytes_mut(&mut frame).copy_from_slice(octets);
    frame
}

/// A pool whose memory says when it is gone.
fn watched_pool(frames: u32) -> (Pool, std::sync::Weak<()>) {
    let layout = Layout::standard(frames);
    let alive = Arc::new(());
    let gone = Arc::downgrade(&alive);
    // 64-bit words, so that the memory is aligned; they live in the box as long as the slab does.
    let mut memory: Box<[u64]> = vec![0; layout.octets() / 8].into();
    let base = NonNull::new(memory.as_mut_ptr().cast()).expect("memory");
    // SAFETY: as many octets as the layout has, which the box keeps in place while it lives; nobody else uses it.
    let slab = unsafe { Slab::foreign(base, layout, Box::new((memory, alive))) }.expect("a good layout");
    (Pool::over(slab), gone)
}

#[cfg(not(loom))]
mod plain {
    use std::sync::mpsc::{Receiver, channel};

    use proptest::prelude::*;

    use super::*;
    use crate::frame::Census;

    const FREE_8: Census = Census { total: 8, free: 8, out: 0, slots: 0, lent: 0, leased: 0 };

    #[test]
    fn a_frame_comes_home_with_its_last_lease() {
        let mut pool = pool(8);
        let leases = pool.leases();
        let frame = filled(&mut pool, b"a batch of records");
        let lease = leases.adopt(pool.lease(frame));
        let (records, whole) = (lease.part(2, 5), lease.clone());
        assert_eq!((records.as_slice(), records.part(1, 2).as_slice()), (Some(&b"batch"[..]), Some(&b"at"[..])));
        assert_eq!((whole.as_slice(), whole.len()), (Some(&b"a batch of records"[..]), 18));
        assert_eq!(lease.part(18, 0).as_slice(), Some(&b""[..]));
        drop((lease, whole));
        assert_eq!(pool.collect(), 0);
        assert_eq!(pool.census(), Census { free: 7, leased: 1, ..FREE_8 });
        assert_eq!(records.as_slice(), Some(&b"batch"[..]));
        drop(records);
        assert_eq!(pool.collect(), 1);
        assert_eq!(pool.census(), FREE_8);
    }

    #[test]
    fn the_fragments_of_a_message_are_one_lease() {
        let mut pool = pool(8);
        let frames = [&b"one"[..], b"", b"two", b"three"].map(|octets| filled(&mut pool, octets));
        let lease = Lease::from(pool.lease_chain(frames.into_iter()));
        assert_eq!((lease.len(), lease.as_slice()), (11, None));
        assert_eq!(lease.chunks().collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);
        assert_eq!(lease.part(2, 6).chunks().collect::<Vec<_>>(), [&b"e"[..], b"two", b"th"]);
        assert_eq!(lease.part(3, 3).as_slice(), Some(&b"two"[..]), "a part that lies in one piece");
        assert_eq!(lease.part(7, 4).part(1, 2).as_slice(), Some(&b"re"[..]));
        assert_eq!(lease.part(11, 0).chunks().count(), 0);
        assert_eq!(lease.part(11, 0).as_slice(), Some(&b""[..]));
        assert_eq!(pool.census().leased, 4);
        drop(lease);
        assert_eq!((pool.collect(), pool.census()), (4, FREE_8));
    }

    #[test]
    #[should_panic(expected = "a part beyond its message")]
    fn a_part_beyond_its_message_is_refused() {
        let mut pool = pool(1);
        let frame = filled(&mut pool, b"short");
        let _ = Lease::from(pool.lease(frame)).part(usize::MAX, 2);
    }

    #[test]
    fn a_descriptor_that_nobody_adopts_sends_its_frames_home() {
        let mut pool = pool(8);
        let (mut producer, consumer) = crate::sync::spsc::ring(4);
        for _ in 0..3 {
            let frame = filled(&mut pool, b"x");
            assert!(producer.push(pool.lease(frame)).is_ok());
        }
        drop(consumer);
        let frame = filled(&mut pool, b"x");
        let refused = producer.push(pool.lease(frame)).expect_err("nobody is there");
        assert_eq!(pool.census().leased, 4);
        drop(refused);
        assert_eq!((pool.collect(), pool.census()), (4, FREE_8));
    }

    #[test]
    fn leases_outlive_their_pool_and_the_last_of_them_frees_the_memory() {
        let (mut pool, memory) = watched_pool(8);
        let (one, two) = (filled(&mut pool, b"one"), filled(&mut pool, b"two"));
        let (one, two) = (pool.lease(one), Lease::from(pool.lease(two)));
        let gone_before = filled(&mut pool, b"gone before");
        drop(pool.lease(gone_before));
        drop(pool);
        let one = Lease::from(one);
        assert_eq!((one.as_slice(), two.as_slice()), (Some(&b"one"[..]), Some(&b"two"[..])));
        let part = one.part(1, 1);
        drop((one, two));
        assert!(memory.strong_count() > 0);
        assert_eq!(part.as_slice(), Some(&b"n"[..]));
        drop(part);
        assert_eq!(memory.strong_count(), 0);
    }

    #[test]
    fn a_pool_whose_leases_are_all_home_takes_its_memory_with_it() {
        let (mut pool, memory) = watched_pool(8);
        for collected in [true, false] {
            let frame = filled(&mut pool, b"x");
            drop(pool.lease(frame));
            if collected {
                pool.collect();
            }
        }
        drop(pool);
        assert_eq!(memory.strong_count(), 0);
    }

    #[test]
    #[should_panic(expected = "came home, but was not leased")]
    fn a_frame_that_comes_home_twice_is_caught() {
        let mut pool = pool(2);
        let frame = filled(&mut pool, b"x");
        let (leases, index) = (pool.leases(), frame.index());
        drop(pool.lease(frame));
        pool.collect();
        // Two leases, so that the count of leases does not notice before the place does.
        let other = filled(&mut pool, b"y");
        pool.put(other);
        pool.leasing().out += 1;
        leases.home.send(index).expect("open");
        pool.collect();
    }

    #[test]
    #[should_panic(expected = "only a loose frame can be leased")]
    fn a_slot_of_a_window_is_not_leased() {
        let mut pool = pool(2);
        let run = pool.take_run(1).expect("of two");
        let frame = pool.lend(run.base, 300, 5);
        let _ = pool.lease(frame);
    }

    #[test]
    #[should_panic(expected = "a lease of another pool")]
    fn a_lease_of_another_pool_is_refused() {
        let (mut one, mut two) = (pool(1), pool(1));
        let frame = filled(&mut one, b"x");
        let _ = two.leases().adopt(one.lease(frame));
    }

    #[test]
    #[should_panic(expected = "a range beyond its frame")]
    fn a_range_beyond_the_frame_is_not_leased() {
        let mut pool = pool(1);
        let mut frame = pool.take().expect("fresh");
        frame.set_range(2000, 100);
        let _ = pool.lease(frame);
    }

    #[test]
    fn a_copy_in_another_pool_has_the_octets_of_the_original() {
        let mut from = pool(1);
        let mut to = Pool::anonymous(Layout { frame_size: 256, frames: 1, start: 0 }).expect("a small mapping");
        let mut frame = from.take().expect("fresh");
        frame.set_range(300, 257);
        assert!(to.copy_from(&from, &frame).is_none(), "too long");
        frame.set_range(300, 256);
        from.bytes_mut(&mut frame).fill(7);
        let copy = to.copy_from(&from, &frame).expect("which fits");
        from.bytes_mut(&mut frame).fill(8);
        assert_eq!(to.bytes(&copy), [7; 256]);
        assert!(to.copy_from(&from, &frame).is_none(), "no frame left");
        let lease = Lease::from(to.lease(copy));
        assert_eq!(lease.as_slice(), Some(&[7; 256][..]));
        from.put(frame);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Lease(u8),
        Chain(u8),
        Clone(u8),
        Drop(u8),
        Collect,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Lease),
            any::<u8>().prop_map(Step::Chain),
            any::<u8>().prop_map(Step::Clone),
            any::<u8>().prop_map(Step::Drop),
            Just(Step::Collect),
        ]
    }

    proptest! {
        /// The model: a message is home when no lease of it is left, and each lease shows its octets.
        #[test]
        fn frames_are_leased_exactly_as_long_as_somebody_holds_them(steps in proptest::collection::vec(step(), 0..200)) {
            let mut pool = pool(12);
            let quotas = [pool.add_quota(3), pool.add_quota(5)];
            let mut held: Vec<(usize, Vec<u8>, Lease, usize)> = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                let octets = [n as u8; 4];
                match step {
                    Step::Lease(who) => {
                        let Some(_) = pool.spare().checked_sub(1) else { continue };
                        let (who, frame) = (usize::from(who) % 2, filled(&mut pool, &octets));
                        match pool.lease_for(&quotas[who], frame) {
                            Ok(leased) => held.push((n, octets.to_vec(), leased.into(), who)),
                            Err(frame) => pool.put(frame),
                        }
                    }
                    Step::Chain(who) => {
                        if pool.spare() < 2 {
                            continue;
                        }
                        let who = usize::from(who) % 2;
                        let mut frames = vec![filled(&mut pool, &octets), filled(&mut pool, &octets[..2])];
                        match pool.lease_chain_for(&quotas[who], &mut frames) {
                            Some(leased) => held.push((n, [n as u8; 6].to_vec(), leased.into(), who)),
                            None => frames.drain(..).for_each(|frame| pool.put(frame)),
                        }
                    }
                    Step::Clone(which) if !held.is_empty() => {
                        let (n, octets, lease, who) = &held[usize::from(which) % held.len()];
                        let cut = usize::from(which) % octets.len();
                        let part = lease.part(cut, octets.len() - cut);
                        held.push((*n, octets[cut..].to_vec(), part, *who));
                    }
                    Step::Drop(which) if !held.is_empty() => drop(held.swap_remove(usize::from(which) % held.len())),
                    Step::Collect => { pool.collect(); }
                    Step::Clone(_) | Step::Drop(_) => {}
                }
                for (_, octets, lease, _) in &held {
                    prop_assert_eq!(&lease.chunks().collect::<Vec<_>>().concat(), octets);
                }
                prop_assert!(pool.census().adds_up());
            }
            pool.collect();
            let mut messages: Vec<(usize, usize, u32)> =
                held.iter().map(|(n, _, lease, who)| (*n, *who, if lease.table().piece(lease.head).next == END { 1 } else { 2 })).collect();
            messages.sort_unstable();
            messages.dedup();
            let of = |who: usize| messages.iter().filter(|message| message.1 == who).map(|message| message.2).sum::<u32>();
            prop_assert_eq!((pool.leased_to(&quotas[0]), pool.leased_to(&quotas[1])), (of(0), of(1)));
            prop_assert_eq!(pool.census().leased, of(0) + of(1));
            drop(held);
            pool.collect();
            prop_assert_eq!(pool.census().free, 12);
        }
    }

    #[test]
    fn readers_on_many_threads_see_what_was_written_and_every_frame_comes_home() {
        const ROUNDS: u32 = 30_000;
        let mut pool = pool(64);
        let leases = pool.leases();
        let (give, readers): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (give, get): (_, Receiver<(u32, Lease)>) = channel();
                let reading = thread::spawn(move || {
                    for (round, lease) in get {
                        let half = lease.part(4, 4);
                        assert_eq!(lease.as_slice().expect("one frame"), [round.to_ne_bytes(); 2].concat());
                        drop(lease);
                        assert_eq!(half.as_slice(), Some(&round.to_ne_bytes()[..]));
                    }
                });
                (give, reading)
            })
            .unzip();
        for round in 0..ROUNDS {
            let frame = loop {
                pool.collect();
                if pool.available() > 0 {
                    break filled(&mut pool, &[round.to_ne_bytes(); 2].concat());
                }
                thread::yield_now();
            };
            let lease = leases.adopt(pool.lease(frame));
            for reader in &give {
                reader.send((round, lease.clone())).expect("it reads");
            }
        }
        drop(give);
        for reader in readers {
            reader.join().expect("it saw what was written");
        }
        pool.collect();
        assert_eq!(pool.census(), Census { total: 64, free: 64, out: 0, slots: 0, lent: 0, leased: 0 });
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::UnsafeCell;

    /// Stands for the octets of a frame; loom watches who touches it.
    struct Octets(UnsafeCell<u32>);

    // SAFETY: loom fails the test when somebody writes it while another touches it, which is the test.
    unsafe impl Sync for Octets {}
    // SAFETY: as above.
    unsafe impl Send for Octets {}

    #[test]
    fn loom_a_frame_is_written_again_only_after_its_last_reader() {
        loom::model(|| {
            let mut pool = pool(1);
            let octets = loom::sync::Arc::new(Octets(UnsafeCell::new(0)));
            let frame = filled(&mut pool, b"x");
            let lease = Lease::from(pool.lease(frame));
            let readers = [lease.clone(), lease].map(|lease| {
                let octets = octets.clone();
                thread::spawn(move || {
                    // SAFETY: as above.
                    octets.0.with(|at| assert_eq!(unsafe { *at }, 0));
                    drop(lease);
                })
            });
            while pool.collect() == 0 {
                thread::yield_now();
            }
            // SAFETY: as above.
            octets.0.with_mut(|at| unsafe { *at = 1 });
            for reader in readers {
                reader.join().expect("it reads");
            }
            assert_eq!((pool.collect(), pool.census().free), (0, 1));
        });
    }

    #[test]
    fn loom_a_clone_made_while_another_is_dropped_keeps_the_frame() {
        loom::model(|| {
            let mut pool = pool(1);
            let frame = filled(&mut pool, b"x");
            let lease = Lease::from(pool.lease(frame));
            let other = lease.clone();
            let reader = thread::spawn(move || {
                let part = other.part(0, 1);
                drop(other);
                part
            });
            drop(lease);
            assert_eq!(pool.collect(), 0);
            let part = reader.join().expect("it reads");
            assert_eq!(pool.collect(), 0);
            drop(part);
            assert_eq!(pool.collect(), 1);
        });
    }

    #[test]
    fn loom_memory_is_freed_once_whoever_goes_last() {
        loom::model(|| {
            let (mut pool, memory) = watched_pool(2);
            let (one, two) = (filled(&mut pool, b"x"), filled(&mut pool, b"y"));
            let readers = [pool.lease(one), pool.lease(two)].map(|leased| {
                thread::spawn(move || {
                    let lease = Lease::from(leased);
                    assert_eq!(lease.len(), 1);
                })
            });
            drop(pool);
            for reader in readers {
                reader.join().expect("it reads");
            }
            assert_eq!(memory.strong_count(), 0);
        });
    }
}
