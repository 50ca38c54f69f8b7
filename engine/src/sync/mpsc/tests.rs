use super::*;
use crate::sync::{Arc, thread};

#[cfg(not(loom))]
mod plain {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    #[test]
    fn what_was_sent_is_taken_once_the_newest_first() {
        let home = Homecoming::new(4);
        assert!(home.is_empty());
        for number in [2, 0, 3] {
            assert_eq!(home.send(number), Ok(()));
        }
        assert!(!home.is_empty());
        assert_eq!(home.take().collect::<Vec<_>>(), [3, 0, 2]);
        assert!(home.is_empty());
        assert_eq!(home.take().next(), None);
        assert_eq!(home.send(0), Ok(()));
        assert_eq!(home.close().collect::<Vec<_>>(), [0]);
        assert_eq!(home.send(1), Err(Closed));
        assert_eq!((home.take().next(), home.close().next()), (None, None));
    }

    #[test]
    fn a_number_may_be_sent_again_as_soon_as_it_was_taken() {
        let home = Homecoming::new(3);
        (0..3).for_each(|number| assert_eq!(home.send(number), Ok(())));
        for number in home.take() {
            assert_eq!(home.send(number), Ok(()));
        }
        assert_eq!(home.take().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn numbers_that_several_threads_send_back_again_and_again_are_never_lost_or_doubled() {
        const NUMBERS: u32 = 32;
        const ROUNDS: usize = 100_000;
        let home = Arc::new(Homecoming::new(NUMBERS));
        let (out, threads): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (give, get): (_, Receiver<u32>) = channel();
                let home = home.clone();
                let returning = thread::spawn(move || get.iter().for_each(|number| home.send(number).expect("open")));
                (give, returning)
            })
            .unzip();
        let mut is_out = [false; NUMBERS as usize];
        let mut idle: Vec<u32> = (0..NUMBERS).collect();
        let mut seen = 0;
        while seen < ROUNDS {
            for number in idle.drain(..) {
                assert!(!core::mem::replace(&mut is_out[number as usize], true));
                out[(seen + number as usize) % out.len()].send(number).expect("they listen");
            }
            for number in home.take() {
                assert!(core::mem::take(&mut is_out[number as usize]), "{number} came back twice");
                idle.push(number);
            }
            seen += idle.len();
            if idle.is_empty() {
                thread::yield_now();
            }
        }
        drop(out);
        threads.into_iter().for_each(|thread| thread.join().expect("it returns all"));
        home.take().for_each(|number| assert!(core::mem::take(&mut is_out[number as usize])));
        assert!(!is_out.contains(&true), "none is missing");
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::UnsafeCell;

    /// What a number stands for; loom watches who touches it.
    struct Goods([UnsafeCell<u32>; 2]);

    // SAFETY: loom fails the test when two threads touch one of them at a time, which is the test.
    unsafe impl Sync for Goods {}
    // SAFETY: as above.
    unsafe impl Send for Goods {}

    fn goods() -> Arc<Goods> {
        Arc::new(Goods([UnsafeCell::new(0), UnsafeCell::new(0)]))
    }

    impl Goods {
        fn touch(&self, number: u32) -> u32 {
            self.0[number as usize].with_mut(|at| {
                // SAFETY: as above.
                unsafe {
                    *at += 1;
                    *at
                }
            })
        }
    }

    #[test]
    fn loom_who_takes_a_number_sees_what_its_sender_did() {
        loom::model(|| {
            let (home, goods) = (Arc::new(Homecoming::new(2)), goods());
            let senders = [0, 1].map(|number| {
                let (home, goods) = (home.clone(), goods.clone());
                thread::spawn(move || {
                    goods.touch(number);
                    home.send(number).expect("open");
                })
            });
            let mut taken = Vec::new();
            while taken.len() < 2 {
                for number in home.take() {
                    assert_eq!(goods.touch(number), 2);
                    taken.push(number);
                }
                thread::yield_now();
            }
            senders.into_iter().for_each(|sender| sender.join().expect("it sends"));
            taken.sort_unstable();
            assert_eq!(taken, [0, 1]);
        });
    }

    #[test]
    fn loom_a_number_that_goes_round_meets_another_that_is_being_sent() {
        loom::model(|| {
            let (home, goods) = (Arc::new(Homecoming::new(2)), goods());
            let theirs = (home.clone(), goods.clone());
            let sender = thread::spawn(move || {
                theirs.1.touch(1);
                theirs.0.send(1).expect("open");
            });
            let mut sent = [0, 0];
            // 0 is sent, taken and sent again while 1 is on its way.
            for _ in 0..2 {
                goods.touch(0);
                home.send(0).expect("open");
                for number in home.take() {
                    goods.touch(number);
                    sent[number as usize] += 1;
                }
            }
            sender.join().expect("it sends");
            home.take().for_each(|number| sent[number as usize] += 1);
            assert_eq!(sent, [2, 1]);
        });
    }

    #[test]
    fn loom_a_number_sent_while_home_closes_either_arrives_or_is_refused() {
        loom::model(|| {
            let (home, goods) = (Arc::new(Homecoming::new(2)), goods());
            let senders = [0, 1].map(|number| {
                let (home, goods) = (home.clone(), goods.clone());
                thread::spawn(move || {
                    goods.touch(number);
                    u32::from(home.send(number).is_err())
                })
            });
            let mut arrived = 0;
            for number in home.close() {
                goods.touch(number);
                arrived += 1;
            }
            let refused: u32 = senders.into_iter().map(|sender| sender.join().expect("it sends")).sum();
            assert_eq!(arrived + refused, 2);
        });
    }
}
