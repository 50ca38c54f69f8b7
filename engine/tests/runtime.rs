//! Engines on loopback: no rights, no cards, real threads. No test depends on how fast anything is; every wait has an end.

use std::future::Future;
use std::io::{IoSlice, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use pgmx::endpoint::{Handler, MessageView};
use pgmx::frame::{PathFacts, Pool, RxBatch, TxBatch};
use pgmx::link::auto::{AnyLink, LinkConfig, open};
use pgmx::link::{Channel, Link, LinkError};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::OnLoss;
use pgmx::protocol::source::{Burst, Linger, Rate, SourceConfig};
use pgmx::protocol::{End, Event, LossCause};
use pgmx::time::Time;
use pgmx::{
    Close, Encapsulation, Ended, Engine, EngineBuilder, EngineError, Idle, Message, PublishError, PublisherConfig,
    ReceiveError, Received, Subscriber, SubscriberConfig,
};

/// What nothing takes, however loaded the machine is.
const LONG: Duration = Duration::from_secs(60);
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 77, 1));
const PORT: u16 = 7500;
/// Messages of each of four producers: all of them have room where they wait for a reader that sleeps.
const EACH: u32 = 500;

/// An engine on loopback whose packets nobody else uses the port of.
fn on_loopback(port: u16) -> EngineBuilder {
    let lo =
        Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(port)).profile(Profile::LowLatency);
    lo.frames(4096).idle(Idle::Block).grace(Duration::ZERO)
}

/// A session whose packets are as long as those of a LAN, and whose end is soon over.
fn session() -> SourceConfig {
    let mut config = SourceConfig::profile(Profile::LowLatency, GROUP, PORT);
    config.window_slots = 256;
    config.tpdu_max = Some(1400);
    config.linger = Linger::Quiet { quiet: Duration::from_millis(20), at_most: Duration::from_millis(100) };
    config
}

fn publisher(engine: &Engine) -> pgmx::Publisher {
    engine.publisher(&session().into()).expect("a publisher")
}

fn subscriber(engine: &Engine) -> Subscriber {
    engine.subscriber(&SubscriberConfig::new(GROUP, PORT)).expect("a subscriber")
}

/// The next message, whatever news come before it.
fn next(subscriber: &mut Subscriber) -> Message {
    loop {
        match subscriber.recv_timeout(LONG) {
            Ok(Some(Received::Message(message))) => return message,
            Ok(Some(Received::Event(_, event))) => assert!(!matches!(event, Event::Loss { .. }), "{event:?}"),
            other => panic!("{other:?}"),
        }
    }
}

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message.to_vec()[..4].try_into().expect("four octets"))
}

/// A message of this length that says its number and cannot be taken for another one.
fn patterned(n: u32, len: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..len).map(|at| (at as u32).wrapping_mul(31).wrapping_add(n) as u8).collect();
    message[..4].copy_from_slice(&n.to_be_bytes());
    message
}

fn all_frames_are_home(ended: &[Ended]) {
    for Ended { frames, failure, .. } in ended {
        let frames = frames.expect("no panic");
        assert_eq!((frames.free, failure.as_deref()), (frames.total, None), "{frames:?}");
    }
}

#[test]
fn what_is_published_is_received_in_order_and_every_frame_comes_home() {
    let engine = on_loopback(29_100).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    for n in 0..5_000_u32 {
        let sqn = publisher.publish(&n.to_be_bytes()).expect("there is room, sooner or later");
        let message = next(&mut subscriber);
        assert_eq!(message.as_slice(), Some(&n.to_be_bytes()[..]));
        assert_eq!((message.tsi(), message.sqn()), (publisher.tsi(), sqn));
        assert_eq!(message.channel(), Channel { group: GROUP, data_port: PORT });
        assert!(message.received() <= engine.now());
    }
    let stats = publisher.close(Close::Graceful).wait(LONG).expect("an end");
    assert_eq!(stats.odata, 5_000);
    let closed = loop {
        if let Received::Event(_, Event::Closed { end, .. }) = subscriber.recv().expect("the worker lives") {
            break end;
        }
    };
    assert_eq!(closed, End::Finished);
    drop(subscriber);
    all_frames_are_home(&engine.shutdown());
}

#[test]
fn messages_of_any_size_arrive_whole_however_they_were_written() {
    let engine = on_loopback(29_101).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    for (n, len) in [4, 1300, 1400, 5_000, 100_000].into_iter().enumerate() {
        let wanted = patterned(n as u32, len);
        publisher.publish(&wanted).expect("copied");
        let message = next(&mut subscriber);
        assert_eq!(message.to_vec(), wanted);
        assert_eq!(message.chunks().map(<[u8]>::len).sum::<usize>(), len);
        let mut some = vec![0; len - 1];
        assert_eq!(message.copy_to(&mut some), len - 1);
        assert_eq!(some, wanted[..len - 1]);

        let mut claim = publisher.claim_apdu(len).expect("room");
        claim.write_all(&wanted).expect("as much as was claimed");
        claim.commit();
        assert_eq!(next(&mut subscriber).to_vec(), wanted);

        let (front, back) = wanted.split_at(len / 3);
        publisher.publish_vectored(&[IoSlice::new(front), IoSlice::new(back)]).expect("gathered");
        assert_eq!(next(&mut subscriber).to_vec(), wanted);
    }
    let mut claim = publisher.claim(4).expect("room");
    claim.copy_from_slice(b"left");
    drop(claim);
    publisher.claim(8).expect("room").commit_len(2);
    assert_eq!(next(&mut subscriber).len(), 2, "an abandoned claim leaves no trace");
    let max = publisher.claim_max();
    assert!(matches!(publisher.try_claim(max + 1), Err(PublishError::TooLong { max: most, .. }) if most == max));
    drop((publisher, subscriber));
    all_frames_are_home(&engine.close(LONG));
}

/// Counts messages, each of which says its number.
struct Counting(u32);
impl Handler for Counting {
    fn message(&mut self, message: MessageView<'_>) {
        assert_eq!(message.to_vec(), patterned(self.0, 40));
        self.0 += 1;
    }
    fn event(&mut self, event: Event) {
        panic!("{event:?}");
    }
}

#[test]
fn small_messages_of_a_batched_session_come_one_by_one() {
    let engine = on_loopback(29_102).build().expect("loopback");
    let mut subscriber = subscriber(&engine);
    let config = PublisherConfig::from(session()).batch(true);
    let mut publisher = engine.publisher(&config).expect("a publisher");
    for n in 0..2_000_u32 {
        publisher.publish(&patterned(n, 4 + n as usize % 60)).expect("room");
    }
    for n in 0..2_000 {
        assert_eq!(next(&mut subscriber).to_vec(), patterned(n, 4 + n as usize % 60));
    }
    // And in place, to a handler that counts.
    for n in 0..500 {
        publisher.publish(&patterned(n, 40)).expect("room");
    }
    let (mut counting, begun) = (Counting(0), Instant::now());
    while counting.0 < 500 {
        assert!(begun.elapsed() < LONG);
        if subscriber.poll(64, &mut counting).expect("the worker lives") == 0 {
            thread::yield_now();
        }
    }
    assert!(publisher.stats().expect("it lives").odata < 2_500, "some shared a packet");
    assert_eq!(subscriber.stats().expect("it lives").cut_batches, 0);
}

#[test]
fn many_producers_share_one_session_and_each_keeps_its_order() {
    let engine = on_loopback(29_103).build().expect("loopback");
    let mut subscriber = subscriber(&engine);
    let config = PublisherConfig::from(session()).queue(16);
    let shared = engine.shared_publisher(&config).expect("a publisher");
    thread::scope(|scope| {
        for producer in 0..4_u32 {
            let shared = shared.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    shared.publish(&(producer * EACH + n).to_be_bytes()).expect("room, sooner or later");
                }
            });
        }
        let mut seen = [0; 4];
        for _ in 0..4 * EACH {
            let n = number(&next(&mut subscriber));
            let producer = (n / EACH) as usize;
            assert_eq!(n % EACH, seen[producer], "of producer {producer}");
            seen[producer] += 1;
        }
    });
    // What is taken is published: no more than fits the window of 256 packets of 1,400 octets, headers and all.
    let Err(PublishError::TooLong { max, .. }) = shared.publish(&vec![0; 16 << 20]) else { panic!("it does not fit") };
    assert!((256 * 1_300..256 * 1_400).contains(&max), "{max}");
    assert_eq!(shared.publish(&vec![0; max + 1]), Err(PublishError::TooLong { len: max + 1, max }));
    let longest = patterned(9, max);
    shared.publish(&longest).expect("room");
    assert!(next(&mut subscriber).to_vec() == longest);
    shared.publish(b"last").expect("room");
    shared.flush(LONG).expect("it leaves");
    let other = shared.clone();
    let stats = shared.close(Close::Graceful).wait(LONG).expect("an end");
    assert_eq!(stats.odata, u64::from(4 * EACH) + 256 + 1);
    assert_eq!(other.publish(b"late"), Err(PublishError::Closed));
}

#[test]
fn a_full_window_is_an_error_a_deadline_or_a_wait_but_never_a_loss() {
    let engine = on_loopback(29_104).build().expect("loopback");
    let mut config = session();
    // The application alone moves the trail: it is full for as long as the test wants.
    config.advance = pgmx::protocol::source::Advance::Application;
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let first = publisher.next_sqn();
    for n in 0..256_u32 {
        publisher.try_publish(&n.to_be_bytes()).expect("room for a window");
    }
    assert_eq!(publisher.try_publish(b"more"), Err(PublishError::Full));
    assert!(matches!(publisher.try_claim(4), Err(PublishError::Full)));
    let soon = Instant::now() + Duration::from_millis(5);
    assert_eq!(publisher.publish_until(b"more", soon), Err(PublishError::TimedOut));
    assert!(Instant::now() >= soon);
    assert!(matches!(publisher.claim_until(4, Instant::now()), Err(PublishError::TimedOut)));
    assert!(matches!(publisher.claim_apdu_until(4_000, Instant::now()), Err(PublishError::TimedOut)));
    let pieces = [IoSlice::new(b"mo"), IoSlice::new(b"re")];
    assert_eq!(publisher.publish_vectored_until(&pieces, Instant::now()), Err(PublishError::TimedOut));
    publisher.flush(LONG).expect("all of it leaves");
    publisher.advance_trail(first.plus(10));
    // Ten slots, as soon as the worker has seen it.
    for _ in 0..10 {
        publisher.publish(b"more").expect("the trail moved");
    }
    assert_eq!(publisher.try_publish(b"more"), Err(PublishError::Full));
    publisher.flush(LONG).expect("all of it leaves");
    assert_eq!(publisher.stats().expect("it lives").odata, 266);
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        assert!(begun.elapsed() < LONG, "nobody woke the task");
        thread::park_timeout(LONG);
    }
}

#[test]
fn a_task_waits_for_room_and_for_messages_without_an_executor_of_ours() {
    use futures_core::Stream;
    let engine = on_loopback(29_105).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                for n in 0..2_000_u32 {
                    publisher.publish_async(&n.to_be_bytes()).await.expect("room, sooner or later");
                }
                let mut claim = publisher.claim_async(4).await.expect("room");
                claim.copy_from_slice(&2_000_u32.to_be_bytes());
                claim.commit();
                let (front, back) = (2_001_u32.to_be_bytes(), [0; 5_000]);
                let pieces = [IoSlice::new(&front), IoSlice::new(&back)];
                publisher.publish_vectored_async(&pieces).await.expect("room, sooner or later");
                let mut claim = publisher.claim_apdu_async(5_004).await.expect("room, sooner or later");
                claim.write_all(&2_002_u32.to_be_bytes()).expect("as much as was claimed");
                claim.commit();
            });
        });
        block_on(async {
            let mut wanted = 0;
            while wanted < 1_000 {
                if let Received::Message(message) = subscriber.recv_async().await.expect("the worker lives") {
                    assert_eq!(number(&message), wanted);
                    wanted += 1;
                }
            }
            while wanted <= 2_002 {
                let item = std::future::poll_fn(|cx| Pin::new(&mut subscriber).poll_next(cx)).await;
                if let Received::Message(message) = item.expect("it does not end").expect("the worker lives") {
                    assert_eq!(number(&message), wanted);
                    wanted += 1;
                }
            }
        });
    });
    engine.shutdown();
    let mut ends = 0;
    while let Some(item) = block_on(std::future::poll_fn(|cx| Pin::new(&mut subscriber).poll_next(cx))) {
        ends += u32::from(matches!(item, Err(ReceiveError::WorkerGone(_))));
    }
    assert_eq!(ends, 1);
}

/// Keeps a message; counts packets that are told to be lost to a slow consumer.
fn keep(received: Option<Received>, kept: &mut Vec<Message>, lost: &mut u64) {
    match received {
        Some(Received::Message(message)) => kept.push(message),
        Some(Received::Event(_, Event::Loss { first, last, cause, .. })) => {
            assert_eq!(cause, LossCause::SlowConsumer);
            *lost += u64::from(last.distance_from(first)) + 1;
        }
        Some(Received::Event(..)) | None => {}
    }
}

#[test]
fn a_subscriber_that_never_drops_a_message_harms_nobody_else() {
    let engine = on_loopback(29_106).build().expect("loopback");
    let slow = SubscriberConfig::new(GROUP, PORT).ring(64).lease_frames(32).spill_frames(16).on_loss(OnLoss::Skip);
    let mut slow = engine.subscriber(&slow).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let (mut kept, mut lost) = (Vec::new(), 0);
    for n in 0..3_000_u32 {
        publisher.publish(&patterned(n, 100)).expect("room, sooner or later");
        // The quick one misses nothing, and drops each message at once.
        assert_eq!(number(&next(&mut quick)), n);
        keep(slow.try_recv().expect("the worker lives"), &mut kept, &mut lost);
    }
    // What the worker still had to say is said a moment after the last message.
    let begun = Instant::now();
    while kept.len() as u64 + lost < 3_000 {
        assert!(begun.elapsed() < LONG, "{} kept, {lost} told to be lost", kept.len());
        keep(slow.recv_timeout(Duration::from_millis(10)).expect("the worker lives"), &mut kept, &mut lost);
    }
    assert_eq!(kept.len(), 48, "its frames and its copies");
    for (n, message) in kept.iter().enumerate() {
        assert_eq!(message.to_vec(), patterned(n as u32, 100), "nobody wrote over what it keeps");
    }
    let stats = slow.stats().expect("the worker lives");
    assert_eq!((stats.handed, stats.copied, stats.lost_packets), (48, 16, lost));
    // Once it lets go, it is served again.
    kept.clear();
    publisher.publish(&patterned(7, 9)).expect("room");
    assert_eq!(next(&mut quick).to_vec(), patterned(7, 9));
    assert_eq!(next(&mut slow).to_vec(), patterned(7, 9));
}

#[test]
fn a_subscriber_that_looks_away_is_told_exactly_what_it_missed() {
    let engine = on_loopback(29_115).build().expect("loopback");
    let away = SubscriberConfig::new(GROUP, PORT).ring(64).on_loss(OnLoss::Skip);
    let mut away = engine.subscriber(&away).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let first = publisher.next_sqn();
    for n in 0..1_000_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room, sooner or later");
        assert_eq!(number(&next(&mut quick)), n);
    }
    // One place of its ring has the news of the session, and all others the messages from the first on.
    let mut news = Vec::new();
    let mut heard = 0;
    while news.len() < 2 {
        match away.recv_timeout(LONG).expect("the worker lives").expect("there is more") {
            Received::Message(message) => {
                assert_eq!(number(&message), heard);
                heard += 1;
            }
            Received::Event(_, event) => news.push(event),
        }
    }
    let tsi = publisher.tsi();
    assert!(matches!(news[0], Event::Opened { .. }));
    let (from, to) = (first.plus(63), first.plus(999));
    assert_eq!((heard, news[1]), (63, Event::Loss { tsi, first: from, last: to, cause: LossCause::SlowConsumer }));
    publisher.publish(b"back").expect("room");
    assert_eq!(next(&mut away).to_vec(), b"back");
}

#[test]
fn a_message_of_several_frames_is_leased_copied_or_lost_as_a_whole() {
    let engine = on_loopback(29_116).build().expect("loopback");
    let slow = SubscriberConfig::new(GROUP, PORT).lease_frames(9).spill_frames(9).on_loss(OnLoss::Skip);
    let mut slow = engine.subscriber(&slow).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let (mut kept, mut lost) = (Vec::new(), 0);
    for n in 0..10 {
        // Four packets: two messages fit the quota, two more the room for copies.
        publisher.publish(&patterned(n, 5_000)).expect("room");
        assert_eq!(next(&mut quick).to_vec(), patterned(n, 5_000));
    }
    let begun = Instant::now();
    while kept.len() as u64 * 4 + lost < 40 {
        assert!(begun.elapsed() < LONG, "{} kept, {lost} packets told to be lost", kept.len());
        keep(slow.recv_timeout(Duration::from_millis(10)).expect("the worker lives"), &mut kept, &mut lost);
    }
    assert_eq!((kept.len(), lost), (4, 24));
    for (n, message) in kept.iter().enumerate() {
        assert_eq!(message.to_vec(), patterned(n as u32, 5_000));
    }
    assert_eq!(slow.stats().expect("the worker lives").copied, 2);
    kept.clear();
    publisher.publish(&patterned(1, 5_000)).expect("room");
    assert_eq!(next(&mut slow).to_vec(), patterned(1, 5_000));
}

#[test]
fn under_the_reset_policy_a_slow_subscribers_session_ends_with_its_first_loss() {
    let engine = on_loopback(29_107).build().expect("loopback");
    let slow = SubscriberConfig::new(GROUP, PORT).ring(64).lease_frames(8).spill_frames(2).on_loss(OnLoss::Reset);
    let mut slow = engine.subscriber(&slow).expect("a subscriber");
    let (mut quick, mut publisher) = (subscriber(&engine), publisher(&engine));
    let first = publisher.next_sqn();
    for n in 0..100_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room");
        assert_eq!(number(&next(&mut quick)), n);
    }
    let mut kept = Vec::new();
    let end = loop {
        match slow.recv_timeout(LONG).expect("the worker lives").expect("news") {
            Received::Message(message) => kept.push(message),
            Received::Event(_, Event::Closed { end, .. }) => break end,
            Received::Event(_, Event::Loss { first: from, cause, .. }) => {
                assert_eq!((from, cause), (first.plus(10), LossCause::SlowConsumer));
            }
            Received::Event(_, Event::Opened { .. }) => {}
        }
    };
    assert_eq!((kept.len(), end), (10, End::Lost(LossCause::SlowConsumer)));
    publisher.publish(b"more").expect("room");
    assert_eq!(next(&mut quick).to_vec(), b"more");
    assert!(slow.try_recv().expect("the worker lives").is_none(), "it is over, for this one alone");
}

#[test]
fn a_message_is_dropped_on_any_thread_and_outlives_its_engine() {
    let engine = on_loopback(29_108).build().expect("loopback");
    let (mut subscriber, mut publisher) = (subscriber(&engine), publisher(&engine));
    for n in 0..8_000_u32 {
        publisher.publish(&patterned(n, 64)).expect("room");
        let message = next(&mut subscriber);
        if n % 100 == 0 {
            let clone = message.clone();
            thread::spawn(move || assert_eq!(clone.to_vec(), patterned(n, 64))).join().expect("it reads the same");
        }
    }
    publisher.publish(&patterned(1, 64)).expect("room");
    let message = next(&mut subscriber);
    drop((publisher, subscriber));
    let frames = engine.close(LONG)[0].frames.expect("no panic");
    assert_eq!((frames.free, frames.leased), (frames.total - 1, 1));
    assert_eq!(message.to_vec(), patterned(1, 64));
}

/// A link that fails, one way or the other, when it is told to.
struct Fragile {
    inner: AnyLink,
    panics: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
}

impl Link for Fragile {
    fn path(&self) -> PathFacts {
        self.inner.path()
    }
    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        self.inner.join(channel, sources)
    }
    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        self.inner.leave(channel)
    }
    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        self.inner.listen(port)
    }
    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        self.inner.unlisten(port)
    }
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        assert!(!self.panics.load(Ordering::Relaxed), "a fault of ours");
        if self.fails.load(Ordering::Relaxed) {
            return Err(LinkError::Gone { interface: "lo".into() });
        }
        self.inner.receive(now, pool, into)
    }
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        self.inner.send(now, pool, from)
    }
    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        self.inner.wait(at_most, wake)
    }
    fn loops_back(&self) -> bool {
        self.inner.loops_back()
    }
    fn shut_down(&mut self, pool: &mut Pool) {
        self.inner.shut_down(pool);
    }
}

#[test]
fn a_worker_that_ends_takes_its_sessions_down_with_its_reason() {
    for (port, panics, wanted) in
        [(29_109, true, "it panicked: a fault of ours"), (29_110, false, "interface lo is gone")]
    {
        let mut config = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(port));
        config.frames = Some(4096);
        let opened = open(&config).expect("loopback");
        let (panicking, failing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let link = Fragile { inner: opened.link, panics: panicking.clone(), fails: failing.clone() };
        let engine = Engine::builder().over("fragile", link, opened.pool).idle(Idle::Block).build().expect("it stands");
        let (mut hearing, mut publisher) = (subscriber(&engine), publisher(&engine));
        publisher.publish(b"in time").expect("room");
        // It is queued for the subscriber before the end, and comes before it.
        let first = next(&mut hearing);
        publisher.publish(b"in time").expect("room");
        while hearing.stats().expect("it lives").handed < 2 {
            thread::yield_now();
        }
        if panics { &panicking } else { &failing }.store(true, Ordering::Relaxed);
        let gone = loop {
            match publisher.publish(b"whenever") {
                Ok(_) => thread::yield_now(),
                Err(PublishError::WorkerGone(gone)) => break gone,
                Err(other) => panic!("{other}"),
            }
        };
        assert!(gone.to_string().starts_with("the worker of fragile is gone: "), "{gone}");
        assert!(gone.reason.contains(wanted), "{gone}");
        assert_eq!(next(&mut hearing).to_vec(), first.to_vec());
        let error = loop {
            match hearing.recv_timeout(LONG) {
                Ok(received) => assert!(received.is_some(), "no end is told"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ReceiveError::WorkerGone(gone.clone()));
        assert_eq!(hearing.recv().expect_err("nobody is left"), ReceiveError::Ended);
        assert_eq!(publisher.flush(LONG), Err(PublishError::WorkerGone(gone.clone())));
        assert!(matches!(publisher.close(Close::Graceful).wait(LONG), Err(PublishError::WorkerGone(_))));
        assert!(matches!(engine.publisher(&session().into()), Err(EngineError::WorkerGone(_))));
        assert!(engine.stats().is_err());
        let ended = engine.shutdown();
        assert!(ended[0].failure.as_ref().is_some_and(|failure| failure.contains(wanted)), "{ended:?}");
        assert_eq!(first.to_vec(), b"in time");
    }
}

#[test]
fn a_wait_ends_when_the_engine_does() {
    let engine = on_loopback(29_111).build().expect("loopback");
    let mut config = session();
    config.advance = pgmx::protocol::source::Advance::Application;
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let shared = engine.shared_publisher(&PublisherConfig::from(session()).queue(1)).expect("another");
    let mut subscriber = engine.subscriber(&SubscriberConfig::new(GROUP, PORT + 1)).expect("a subscriber");
    thread::scope(|scope| {
        let full = scope.spawn(move || {
            loop {
                if let Err(error) = publisher.publish(b"on and on") {
                    break error;
                }
            }
        });
        let deaf = scope.spawn(move || {
            loop {
                if let Err(error) = subscriber.recv() {
                    break error;
                }
            }
        });
        let crowded = scope.spawn(move || {
            loop {
                if let Err(error) = shared.publish(b"on and on") {
                    break error;
                }
            }
        });
        thread::sleep(Duration::from_millis(20));
        drop(engine);
        // Which of both comes first is nobody's business.
        for publisher in [full, crowded] {
            let error = publisher.join().expect("no panic");
            assert!(matches!(error, PublishError::Closed | PublishError::WorkerGone(_)), "{error}");
        }
        assert!(deaf.join().expect("no panic").to_string().ends_with("gone: the engine was shut down"));
    });
}

/// A thread that publishes until that fails; says what with, at the latest when the engine ends.
fn publishing<P: Send + 'static>(
    publisher: P,
    mut publish: impl FnMut(&mut P) -> Option<PublishError> + Send + 'static,
) -> thread::JoinHandle<PublishError> {
    let mut publisher = publisher;
    thread::spawn(move || {
        loop {
            if let Some(error) = publish(&mut publisher) {
                return error;
            }
        }
    })
}

/// Waits until the window of a session that nothing moves the trail of is full.
fn until_full(odata: impl Fn() -> u64) {
    let begun = Instant::now();
    while odata() < 256 {
        assert!(begun.elapsed() < LONG);
        thread::yield_now();
    }
    // And until whoever publishes has found out.
    thread::sleep(Duration::from_millis(50));
}

#[test]
fn who_waits_for_room_learns_at_once_that_the_session_was_closed() {
    let engine = on_loopback(29_117).build().expect("loopback");
    let mut config = session();
    config.advance = pgmx::protocol::source::Advance::Application;
    let linger = Duration::from_secs(4);
    config.linger = Linger::Quiet { quiet: linger, at_most: linger };
    // By another clone.
    let shared = engine.shared_publisher(&PublisherConfig::from(config.clone()).queue(1)).expect("a publisher");
    let waiting = publishing(shared.clone(), |shared| shared.publish(b"on and on").err());
    until_full(|| shared.stats().expect("it lives").odata);
    let begun = Instant::now();
    let closing = shared.close(Close::Graceful);
    while !waiting.is_finished() && begun.elapsed() < linger {
        thread::sleep(Duration::from_millis(1));
    }
    let was_told = waiting.is_finished();
    drop(closing);
    // By the engine.
    let publisher = engine.publisher(&config.into()).expect("a publisher");
    let alone = publishing(publisher, |publisher| publisher.publish(b"on and on").err());
    until_full(|| engine.stats().expect("it lives")[0].endpoint.sent.saturating_sub(256));
    let begun = Instant::now();
    let ending = thread::spawn(move || engine.close(linger * 2));
    assert_eq!(alone.join().expect("no panic"), PublishError::Closed);
    assert!(begun.elapsed() < linger, "no longer than repairs are served");
    ending.join().expect("no panic");
    assert!(was_told && waiting.join().expect("no panic") == PublishError::Closed);
}

#[test]
fn what_many_producers_were_told_is_taken_arrives_though_the_engine_closes() {
    let sending = on_loopback(29_119).build().expect("loopback");
    let hearing = {
        let mut link = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(29_119));
        (link.hear_unicast, link.frames) = (false, Some(4096));
        Engine::builder().link(link).profile(Profile::LowLatency).idle(Idle::Block).build().expect("loopback")
    };
    let mut subscriber = subscriber(&hearing);
    let shared = sending.shared_publisher(&PublisherConfig::from(session()).queue(4)).expect("a publisher");
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let mut taken = 0_u64;
            let producer = shared.clone();
            thread::spawn(move || {
                while producer.publish(b"counted").is_ok() {
                    taken += 1;
                    thread::sleep(Duration::from_micros(50));
                }
                taken
            })
        })
        .collect();
    assert_eq!(next(&mut subscriber).to_vec(), b"counted");
    let ended = sending.close(LONG);
    assert_eq!(ended[0].failure, None);
    let taken: u64 = producers.into_iter().map(|producer| producer.join().expect("no panic")).sum();
    let mut heard = 1;
    loop {
        match subscriber.recv_timeout(LONG).expect("it lives").expect("an end") {
            Received::Message(_) => heard += 1,
            Received::Event(_, Event::Closed { end, .. }) => break assert_eq!(end, End::Finished),
            Received::Event(..) => {}
        }
    }
    assert_eq!(heard, taken);
}

#[test]
fn receivers_are_told_of_an_end_that_the_rate_holds_back() {
    let sending = on_loopback(29_118).grace(Duration::from_secs(2)).build().expect("loopback");
    let hearing = {
        let mut link = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(29_118));
        (link.hear_unicast, link.frames) = (false, Some(4096));
        Engine::builder().link(link).profile(Profile::LowLatency).idle(Idle::Block).build().expect("loopback")
    };
    let mut subscriber = subscriber(&hearing);
    let mut config = session();
    // 1,400 octets are worth 70 ms: the end finds nothing left in the bucket.
    config.rate = Rate::OctetsPerSecond(20_000);
    let mut publisher = engine_session(&sending, config);
    publisher.publish(b"first").expect("room");
    assert_eq!(next(&mut subscriber).to_vec(), b"first");
    for _ in 0..200 {
        publisher.publish(&[7; 1_000]).expect("room");
    }
    // Some of it has left, and the rest is held back by now.
    let _ = next(&mut subscriber);
    thread::sleep(Duration::from_millis(50));
    drop(sending);
    drop(publisher);
    let end = loop {
        match subscriber.recv_timeout(Duration::from_secs(3)).expect("it lives") {
            Some(Received::Event(_, Event::Closed { end, .. })) => break Some(end),
            Some(_) => {}
            None => break None,
        }
    };
    assert_eq!(end, Some(End::Aborted(0)));
}

fn engine_session(engine: &Engine, config: SourceConfig) -> pgmx::Publisher {
    engine.publisher(&config.into()).expect("a publisher")
}

/// The waker of an executor that is broken.
struct Broken;
impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("a fault of somebody else");
    }
}

#[test]
fn a_waker_that_panics_leaves_nobody_else_asleep() {
    let engine = on_loopback(29_127).build().expect("loopback");
    let (mut broken, mut sound) = (subscriber(&engine), subscriber(&engine));
    let waker = Waker::from(Arc::new(Broken));
    assert!(pin!(broken.recv_async()).poll(&mut Context::from_waker(&waker)).is_pending());
    let waiting = thread::spawn(move || sound.recv().expect_err("nothing comes"));
    thread::sleep(Duration::from_millis(20));
    engine.shutdown();
    let begun = Instant::now();
    while !waiting.is_finished() {
        assert!(begun.elapsed() < LONG / 4, "it sleeps on");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(waiting.join().expect("no panic"), ReceiveError::WorkerGone(_)));
}

#[test]
fn an_engine_closes_its_sessions_gracefully_and_repairs_are_served_meanwhile() {
    // Every tenth packet that is sent is lost, so that the end is not told before repairs were.
    let plan = "send.loss=10%,seed=3".parse().expect("a plan");
    let sending = on_loopback(29_112).faults(plan).build().expect("loopback");
    let hearing = {
        let mut link = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(29_112));
        // NAKs go to one socket of the host: the publisher's.
        (link.hear_unicast, link.frames) = (false, Some(4096));
        Engine::builder().link(link).profile(Profile::LowLatency).idle(Idle::Block).build().expect("loopback")
    };
    let mut subscriber = subscriber(&hearing);
    let mut publisher = publisher(&sending);
    for n in 0..200_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room");
    }
    drop(publisher);
    let receiving = thread::spawn(move || {
        for n in 0..200 {
            assert_eq!(number(&next(&mut subscriber)), n);
        }
    });
    let ended = sending.close(LONG);
    receiving.join().expect("nothing is lost");
    assert_eq!(ended[0].failure, None);
}

#[test]
fn an_engine_that_cannot_be_is_refused_in_one_clear_line() {
    let refused = |builder: EngineBuilder| builder.build().err().expect("it cannot be").to_string();
    assert_eq!(
        refused(Engine::builder()),
        "an engine needs an interface: name one with `.interface(\"eth0\")`, or give it a link"
    );
    assert!(
        refused(on_loopback(29_113).interface("nowhere0")).starts_with("no interface `nowhere0` here; there are: ")
    );
    assert!(
        refused(on_loopback(29_113).core(9_999)).starts_with("core 9999 cannot be reached: this process may run on ")
    );
    assert_eq!(
        refused(on_loopback(29_113).cores([0, 0])),
        "more cores are named (2) than workers there are (1): name one for each interface, or none"
    );
    let engine = on_loopback(29_113).build().expect("loopback");
    let refused = |config: PublisherConfig| engine.publisher(&config).err().expect("it cannot be").to_string();
    assert_eq!(
        refused(PublisherConfig::from(session()).on("eth77")),
        "this engine does not work on interface `eth77`; it works on: lo"
    );
    assert!(refused(PublisherConfig::from(session()).window(1 << 16)).starts_with("window_slots = 65536 refused"));
    // By address and number it is the same interface.
    engine.publisher(&PublisherConfig::from(session()).on("127.0.0.1")).expect("loopback");
    engine.publisher(&PublisherConfig::from(session()).on("1")).expect("loopback");
}

#[test]
fn one_subscriber_hears_several_groups_and_says_which() {
    let engine = on_loopback(29_114).build().expect("loopback");
    let other = IpAddr::from([239, 192, 77, 2]);
    let config = SubscriberConfig::new(GROUP, PORT).and(other, PORT + 1).on("lo").on("127.0.0.1");
    let mut subscriber = engine.subscriber(&config).expect("a subscriber");
    let mut here = publisher(&engine);
    let mut config = session();
    (config.group, config.data_port) = (other, PORT + 1);
    let mut there = engine.publisher(&config.into()).expect("a publisher");
    for _ in 0..3 {
        here.publish(b"here").expect("room");
        assert_eq!(next(&mut subscriber).channel(), Channel { group: GROUP, data_port: PORT });
        there.publish(b"there").expect("room");
        let message = next(&mut subscriber);
        assert_eq!((message.channel().group, message.tsi()), (other, there.tsi()));
    }
    assert_eq!(subscriber.stats().expect("it lives").receivers.len(), 2, "an interface that is named twice is one");
}

/// Processor time that this process has used, in ticks of 10 ms.
fn ticks_of_workers() -> u64 {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(") ").expect("a name in brackets");
        if name.ends_with("(pgmx-idle") {
            let fields: Vec<&str> = rest.split(' ').collect();
            // utime and stime are fields 14 and 15; `rest` begins with the third.
            ticks += fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
        }
    }
    ticks
}

#[test]
fn idle_engines_leave_the_processor_alone() {
    let engines: Vec<_> = (0..6)
        .map(|n| {
            let mut config = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(29_120 + n));
            config.frames = Some(4096);
            let opened = open(&config).expect("loopback");
            // The default strategy of a machine without a core to spare.
            let engine = Engine::builder().over("idle", opened.link, opened.pool).build().expect("it stands");
            let publisher = engine.publisher(&session().into()).expect("a publisher");
            let subscriber = subscriber(&engine);
            (publisher, subscriber, engine)
        })
        .collect();
    // Until the first heartbeats, which come in quick succession, are over.
    thread::sleep(Duration::from_millis(300));
    let before = ticks_of_workers();
    thread::sleep(Duration::from_secs(1));
    let used = ticks_of_workers() - before;
    assert_eq!(engines.len(), 6);
    // 2 % of a core each are two ticks a second; other people's load makes wake-ups dearer, not more.
    assert!(used <= 24, "{used} ticks of 10 ms in a second for six");
}

#[test]
fn who_publishes_no_further_ahead_than_so_much_waits_for_packets_to_leave() {
    let engine = on_loopback(29_117).build().expect("loopback");
    let mut config = session();
    // A packet in 10 ms.
    config.rate = Rate::OctetsPerSecond(100_000);
    config.burst = Burst::Packets(1);
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    let before = publisher.next_sqn().prev();
    assert_eq!(publisher.lead(), Ok(before));
    let last = (0..20).map(|n| publisher.publish(&patterned(n, 1000)).expect("room")).last().expect("twenty");
    assert_eq!(publisher.wait_for_lead(last.next(), Duration::ZERO), Err(PublishError::TimedOut), "not published");
    publisher.wait_for_lead(before.plus(10), LONG).expect("they leave");
    publisher.wait_for_lead(last, LONG).expect("all of them");
    assert_eq!((publisher.lead().expect("it lives"), publisher.stats().expect("it lives").odata), (last, 20));
    // What was not committed cannot leave; the end of the engine ends the wait.
    let waiter = thread::spawn(move || publisher.wait_for_lead(last.next(), LONG));
    drop(engine);
    let ended = waiter.join().expect("no panic").expect_err("nothing left");
    assert!(matches!(ended, PublishError::WorkerGone(_) | PublishError::Closed), "{ended:?}");
}

/// A publisher whose engine has ended its session, which serves repairs for so long yet, in the middle of a message. The engine closes
/// on the thread that comes back, for as long as the session lasts.
fn interrupted(engine: Engine, repairs: Duration) -> (pgmx::Publisher, thread::JoinHandle<Vec<Ended>>) {
    let mut subscriber = subscriber(&engine);
    let mut config = session();
    config.linger = Linger::Quiet { quiet: repairs, at_most: repairs };
    let mut publisher = engine.publisher(&config.into()).expect("a publisher");
    publisher.publish(b"in time").expect("room");
    let mut claim = publisher.claim(8).expect("room");
    assert_eq!(next(&mut subscriber).to_vec(), b"in time");
    let ending = thread::spawn(move || engine.close(10 * LONG));
    loop {
        match subscriber.recv_timeout(LONG).expect("it lives").expect("an end") {
            Received::Event(_, Event::Closed { end, .. }) => break assert_eq!(end, End::Finished),
            Received::Event(..) => {}
            Received::Message(message) => panic!("nobody committed {message:?}"),
        }
    }
    claim.copy_from_slice(b"too late");
    claim.commit();
    (publisher, ending)
}

#[test]
fn what_is_committed_after_the_end_is_told_by_whatever_is_asked_next() {
    let (mut publisher, ending) = interrupted(on_loopback(29_128).build().expect("loopback"), 10 * LONG);
    // At once, not when repairs are served no longer.
    assert_eq!(publisher.flush(LONG), Err(PublishError::Closed));
    assert_eq!(publisher.try_claim(4).map(drop), Err(PublishError::Closed));
    assert_eq!(publisher.try_publish(b"and more"), Err(PublishError::Closed));
    publisher.close(Close::Abort(0)).wait(LONG).expect("what was given up is missed by nobody");
    assert_eq!(ending.join().expect("no panic")[0].failure, None);
}

#[test]
fn a_graceful_end_that_left_something_behind_is_no_success() {
    let (publisher, ending) = interrupted(on_loopback(29_129).build().expect("loopback"), Duration::from_secs(1));
    let error = publisher.close(Close::Graceful).wait(LONG).expect_err("a message never left");
    // The engine is gone as soon as the session is over, and may be sooner.
    assert!(matches!(error, PublishError::Closed | PublishError::WorkerGone(_)), "{error}");
    assert_eq!(ending.join().expect("no panic")[0].failure, None);
}

#[test]
fn sessions_that_end_leave_those_beside_them_as_they_were() {
    let engine = on_loopback(29_130).build().expect("loopback");
    let mut publishers: Vec<_> = (0..5).map(|_| publisher(&engine)).collect();
    for gone in [2, 0, 2] {
        publishers.remove(gone).close(Close::Graceful).wait(LONG).expect("an end");
        for publisher in &mut publishers {
            let (before, sqn) = (publisher.stats().expect("it lives").odata, publisher.publish(b"on").expect("room"));
            publisher.flush(LONG).expect("it leaves");
            assert_eq!((publisher.lead(), publisher.stats().expect("it lives").odata), (Ok(sqn), before + 1));
        }
    }
    drop(publishers);
    all_frames_are_home(&engine.close(LONG));
}

#[test]
fn who_was_refused_for_want_of_room_waits_for_as_much_as_it_wanted() {
    let engine = on_loopback(29_118).build().expect("loopback");
    let mut publisher = publisher(&engine);
    publisher.wait_for_room(Duration::ZERO).expect("nothing was refused");
    while publisher.try_publish(&[7; 1000]).is_ok() {}
    let many = patterned(1, 100_000);
    let mut tries = 0;
    while publisher.try_publish(&many).is_err() {
        publisher.wait_for_room(LONG).expect("the window moves");
        tries += 1;
        // Its own wish alone counts: nobody else claims.
        assert!(tries <= 2, "told of room that was not enough");
    }
}

#[test]
fn a_subscriber_waits_without_taking() {
    let engine = on_loopback(29_119).build().expect("loopback");
    let mut subscriber = subscriber(&engine);
    assert!(!subscriber.wait(Duration::ZERO), "nothing came");
    let mut publisher = publisher(&engine);
    publisher.publish(b"one").expect("room");
    loop {
        assert!(subscriber.wait(LONG), "it comes");
        assert!(subscriber.wait(Duration::ZERO), "it was not taken");
        if let Some(Received::Message(message)) = subscriber.try_recv().expect("it lives") {
            break assert_eq!(message.as_slice(), Some(&b"one"[..]));
        }
    }
    engine.shutdown();
    while let Ok(received) = subscriber.try_recv() {
        assert!(received.is_some() || subscriber.wait(Duration::ZERO), "an end is something to be told of");
    }
}

#[test]
fn a_session_that_ends_is_counted_until_it_has_ended() {
    let engine = on_loopback(29_120).build().expect("loopback");
    let mut publisher = publisher(&engine);
    publisher.publish(b"one").expect("room");
    let closing = publisher.close(Close::Graceful);
    if let Ok(stats) = closing.stats() {
        assert!(stats.odata <= 1);
    }
    let stats = loop {
        match closing.wait(Duration::from_millis(5)) {
            Ok(stats) => break stats,
            Err(error) => assert_eq!(error, PublishError::TimedOut),
        }
    };
    assert_eq!(stats.odata, 1);
    assert_eq!(closing.stats().err(), Some(PublishError::Closed));
}
