//! Workers: how they begin, idle and fail.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use pgmx::frame::{PathFacts, Pool, RxBatch, TxBatch};
use pgmx::link::auto::{AnyLink, LinkConfig, open};
use pgmx::link::{Channel, Link, LinkError};
use pgmx::time::Time;
use pgmx::{
    Close, Encapsulation, Engine, EngineBuilder, EngineError, Idle, PublishError, PublisherConfig, ReceiveError,
};

use super::loopback::{LONG, next, on_loopback, publisher, session, subscriber};

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
