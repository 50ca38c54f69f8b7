use super::*;

#[cfg(not(loom))]
mod plain {
    use core::sync::atomic::AtomicUsize;
    use core::time::Duration;
    use std::sync::Arc;

    use super::*;

    /// Longer than any test lasts: who waits so long has slept through a ring.
    fn an_hour() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(3600))
    }

    #[test]
    fn a_wait_ends_with_a_ring() {
        let (bell, work) = (Arc::new(Bell::new()), Arc::new(AtomicUsize::new(0)));
        let theirs = (bell.clone(), work.clone());
        let ringing = thread::spawn(move || {
            for _ in 0..1000 {
                theirs.1.fetch_add(1, Ordering::Relaxed);
                theirs.0.ring();
                thread::yield_now();
            }
        });
        for seen in 1..=1000 {
            let ready = || Some(work.load(Ordering::Relaxed)).filter(|&work| work >= seen);
            assert!(bell.wait(ready, an_hour()).is_some());
        }
        ringing.join().expect("it rings");
    }

    #[test]
    fn a_wait_ends_with_its_deadline() {
        let bell = Bell::new();
        let begun = Instant::now();
        assert_eq!(bell.wait(|| None::<()>, Some(begun + Duration::from_millis(5))), None);
        assert!(begun.elapsed() >= Duration::from_millis(5));
        assert!(!bell.asleep.load(Ordering::Relaxed), "nobody is left asleep");
        assert_eq!(bell.wait(|| Some(7), Some(begun)), Some(7), "what is there is taken, however late");
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_for_each_time_it_asked() {
        let (bell, woken) = (Bell::new(), Arc::new(Woken::default()));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let woken = || woken.0.load(Ordering::Relaxed);
        bell.ring();
        assert_eq!(bell.poll(&mut context, || Some(1)), Poll::Ready(1));
        bell.ring();
        assert_eq!(woken(), 0, "nobody waited");
        assert!(bell.poll(&mut context, || None::<()>).is_pending());
        bell.ring();
        bell.ring();
        assert_eq!(woken(), 1);
        let mut looks = 0;
        let second = || {
            looks += 1;
            (looks == 2).then_some(())
        };
        assert!(bell.poll(&mut context, second).is_ready(), "what came while it asked is seen");
        bell.ring();
        assert_eq!(woken(), 1);
    }

    fn is_signalled(event: BorrowedFd<'_>) -> bool {
        let mut watched = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which is ours; the call returns at once.
        unsafe { libc::poll(&raw mut watched, 1, 0) == 1 }
    }

    #[test]
    fn a_worker_with_something_to_do_does_not_sleep() {
        let doorbell = Doorbell::new().expect("a descriptor");
        doorbell.sleep(|| false, |_| unreachable!("it has something to do"));
    }

    #[test]
    fn a_ring_ends_the_sleep_and_not_the_next_one() {
        let doorbell = Doorbell::new().expect("a descriptor");
        doorbell.ring();
        doorbell.sleep(
            || true,
            |event| {
                assert!(!is_signalled(event), "a ring for nobody leaves no trace");
                doorbell.ring();
                assert!(is_signalled(event));
                doorbell.ring();
            },
        );
        doorbell.sleep(|| true, |event| assert!(!is_signalled(event)));
    }

    #[test]
    fn a_signal_that_comes_late_ends_one_sleep_and_not_all_to_come() {
        let doorbell = Doorbell::new().expect("a descriptor");
        doorbell.wire.signal();
        doorbell.sleep(|| true, |event| assert!(is_signalled(event)));
        doorbell.sleep(|| true, |event| assert!(!is_signalled(event)));
    }

    #[test]
    fn a_ring_from_another_thread_ends_the_sleep() {
        let (doorbell, work) = (Arc::new(Doorbell::new().expect("a descriptor")), Arc::new(AtomicUsize::new(0)));
        let theirs = (doorbell.clone(), work.clone());
        let ringing = thread::spawn(move || {
            for _ in 0..1000 {
                theirs.1.fetch_add(1, Ordering::Relaxed);
                theirs.0.ring();
                thread::yield_now();
            }
        });
        let mut seen = 0;
        while seen < 1000 {
            doorbell.sleep(
                || work.load(Ordering::Relaxed) == seen,
                |event| {
                    let mut watched = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: one entry, which is ours; the call ends after a minute.
                    let woken = unsafe { libc::poll(&raw mut watched, 1, 60_000) };
                    assert_eq!(woken, 1, "slept through a ring");
                },
            );
            seen = work.load(Ordering::Relaxed);
        }
        ringing.join().expect("it rings");
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::atomic::AtomicUsize;

    /// A lost wake-up is a deadlock, which loom reports.
    #[test]
    fn loom_no_ring_of_a_bell_is_slept_through() {
        loom::model(|| {
            let (bell, work) = (Arc::new(Bell::new()), Arc::new(AtomicUsize::new(0)));
            let ringers = [(), ()].map(|()| {
                let (bell, work) = (bell.clone(), work.clone());
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                })
            });
            for seen in 1..=2 {
                let ready = || Some(work.load(Ordering::Relaxed)).filter(|&work| work >= seen);
                assert!(bell.wait(ready, None).is_some());
            }
            ringers.into_iter().for_each(|ringer| ringer.join().expect("it rings"));
        });
    }

    #[test]
    fn loom_no_ring_of_a_doorbell_is_slept_through() {
        loom::model(|| {
            let (doorbell, work) = (Arc::new(Doorbell::new().expect("a descriptor")), Arc::new(AtomicUsize::new(0)));
            let ringers = [(), ()].map(|()| {
                let (doorbell, work) = (doorbell.clone(), work.clone());
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    doorbell.ring();
                })
            });
            let mut seen = 0;
            while seen < 2 {
                doorbell.sleep_on(|| work.load(Ordering::Relaxed) == seen, block);
                seen = work.load(Ordering::Relaxed);
            }
            ringers.into_iter().for_each(|ringer| ringer.join().expect("it rings"));
        });
    }

    /// As the kernel does: until the event is signalled.
    fn block(wire: &Wire) {
        let mut is_signalled = wire.model.0.lock().expect("no panic under it");
        while !*is_signalled {
            is_signalled = wire.model.1.wait(is_signalled).expect("no panic under it");
        }
    }
}
