use super::*;
use crate::sync::thread;

/// Counts itself when it is dropped.
struct Counted(std::sync::Arc<core::sync::atomic::AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(not(loom))]
mod plain {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_is_a_bounded_queue(capacity in 1_usize..9, steps in proptest::collection::vec(any::<bool>(), 0..200)) {
            let (mut producer, mut consumer) = ring(capacity);
            let mut model = VecDeque::new();
            for (n, is_push) in steps.into_iter().enumerate() {
                if is_push {
                    let fits = model.len() < capacity;
                    prop_assert_eq!(producer.push(n), if fits { Ok(()) } else { Err(n) });
                    if fits {
                        model.push_back(n);
                    }
                } else {
                    prop_assert_eq!(consumer.pop(), model.pop_front());
                }
                prop_assert_eq!(consumer.is_empty(), model.is_empty());
                prop_assert_eq!(producer.room(), capacity - model.len());
            }
        }
    }

    #[test]
    fn everything_comes_out_once_and_in_order_between_threads() {
        const ITEMS: usize = 200_000;
        let (mut producer, mut consumer) = ring(64);
        let pushing = thread::spawn(move || {
            for n in 0..ITEMS {
                let mut item = Box::new(n);
                while let Err(back) = producer.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        });
        for n in 0..ITEMS {
            let item = loop {
                match consumer.pop() {
                    Some(item) => break item,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*item, n);
        }
        pushing.join().expect("it pushes all");
        assert!(consumer.is_closed() && consumer.is_empty());
    }

    #[test]
    fn positions_may_wrap() {
        let (mut producer, mut consumer) = ring(2);
        let start = usize::MAX - 2;
        (producer.tail, producer.head_seen, consumer.head, consumer.tail_seen) = (start, start, start, start);
        producer.ring.tail.store(start, Ordering::Relaxed);
        producer.ring.head.store(start, Ordering::Relaxed);
        for n in 0..8 {
            assert_eq!((producer.push(n), producer.push(n + 100), producer.push(0)), (Ok(()), Ok(()), Err(0)));
            assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(n), Some(n + 100), None));
        }
    }

    #[test]
    fn what_nobody_pops_is_dropped() {
        let dropped = std::sync::Arc::default();
        let (mut producer, mut consumer) = ring(8);
        (0..5).for_each(|_| assert!(producer.push(Counted(std::sync::Arc::clone(&dropped))).is_ok()));
        drop(consumer.pop());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        drop(producer);
        assert_eq!(dropped.load(Ordering::Relaxed), 1, "the consumer can still pop four");
        drop(consumer);
        assert_eq!(dropped.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn nothing_is_pushed_to_nobody() {
        let (mut producer, consumer) = ring(8);
        assert_eq!(producer.push(1), Ok(()));
        drop(consumer);
        assert!(producer.is_closed());
        assert_eq!(producer.push(2), Err(2));
    }

    #[test]
    #[should_panic(expected = "without a place")]
    fn a_ring_has_a_place() {
        let _ = ring::<u8>(0);
    }
}

#[cfg(loom)]
mod models {
    use super::*;

    #[test]
    fn loom_every_item_comes_out_once_and_in_order() {
        for capacity in [1, 2] {
            loom::model(move || {
                let (mut producer, mut consumer) = ring(capacity);
                let pushing = thread::spawn(move || {
                    for mut n in 0..3 {
                        while let Err(back) = producer.push(n) {
                            n = back;
                            thread::yield_now();
                        }
                    }
                });
                for n in 0..3 {
                    while consumer.is_empty() {
                        thread::yield_now();
                    }
                    assert_eq!(consumer.pop(), Some(n));
                }
                pushing.join().expect("it pushes all");
                assert_eq!(consumer.pop(), None);
            });
        }
    }

    #[test]
    fn loom_who_sees_that_the_producer_is_gone_sees_all_that_it_pushed() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(2);
            let pushing = thread::spawn(move || {
                let _ = (producer.push(1), producer.push(2));
            });
            if consumer.is_closed() {
                assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(1), Some(2), None));
            }
            pushing.join().expect("it pushes");
        });
    }

    #[test]
    fn loom_items_are_dropped_once_whichever_side_goes_first() {
        loom::model(|| {
            let dropped = std::sync::Arc::default();
            let (mut producer, mut consumer) = ring(2);
            let theirs = std::sync::Arc::clone(&dropped);
            let pushing = thread::spawn(move || {
                for _ in 0..3 {
                    let _ = producer.push(Counted(std::sync::Arc::clone(&theirs)));
                }
            });
            drop(consumer.pop());
            drop(consumer);
            pushing.join().expect("it pushes or is refused");
            assert_eq!(dropped.load(Ordering::Relaxed), 3);
        });
    }
}
