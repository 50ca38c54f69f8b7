//! `pgmx ping` and `pgmx pong` on two hosts with a cable between them. Needs root and `ip`:
//! `cargo test --test privileged_ping -- --ignored`.

#[allow(dead_code, unreachable_pub)] // shared by several tests
#[path = "../../engine/tests/support/netns.rs"]
mod netns;
#[allow(dead_code)]
mod support;

use netns::{Cable, Pair};
use support::{Outcome, Running, Scratch, ways};

const GROUP: &str = "239.192.0.1:7500";

struct Bench {
    pair: Pair,
    io: &'static str,
}

impl Bench {
    fn new(io: &'static str) -> Self {
        Self { pair: Pair::new(&[Cable::default()]).expect("two hosts"), io }
    }

    fn ping(&self, rest: &[&str]) -> Running {
        let endpoint = format!("pgm://{};{GROUP}", self.pair.left_ports[0].interface);
        self.pair.left.inside(|| Running::start(&[&["ping", &endpoint, "--io", self.io, "--json"], rest].concat()))
    }

    fn pong(&self, rest: &[&str]) -> Running {
        let endpoint = format!("pgm://{};{GROUP}", self.pair.right_ports[0].interface);
        let arguments = [&["pong", &endpoint, "--io", self.io, "--json"], rest].concat();
        self.pair.right.inside(|| Running::start_ready(&arguments))
    }
}

/// So many pings were answered, and each took a time that makes sense.
#[track_caller]
fn all_answered(ping: &Outcome, count: u64) {
    let report = ping.json();
    for (key, value) in [("messages", count), ("lost", 0), ("corrupt", 0), ("sessions", 2)] {
        assert_eq!(report[key], value, "{key}: {report}");
    }
    let times = ["min", "p50", "p90", "p99", "p999", "max"];
    let times = times.map(|key| report["latency_ns"][key].as_u64().expect("a time"));
    assert!(times[0] > 0 && times.is_sorted(), "{times:?}");
}

#[test]
#[ignore = "needs root"]
fn every_ping_is_answered_over_every_way_and_pong_ends_with_ping() {
    for io in ways() {
        let bench = Bench::new(io);
        let file = Scratch::new(&format!("{io}.hgrm"));
        let pong = bench.pong(&[]);
        let ping = bench.ping(&["--interval", "0", "--count", "2000", "--hgrm", file.path()]).finish().ended(0);
        all_answered(&ping, 2_000);
        let histogram = std::fs::read_to_string(file.path()).expect("the histogram");
        assert!(histogram.contains("Total count    =         2000]"), "{histogram}");
        let pong = pong.finish().ended(0);
        // The warm-up was answered as well, and what asked whether anybody is there.
        assert!(pong.json()["messages"].as_u64().is_some_and(|messages| messages > 2_100), "{pong:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn either_may_start_first_and_one_that_stays_serves_the_next() {
    let bench = Bench::new(ways()[0]);
    let ping = bench.ping(&["--interval", "100us", "--count", "500", "--size", "3000"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let pong = bench.pong(&["--stay"]);
    all_answered(&ping.finish().ended(0), 500);
    all_answered(&bench.ping(&["--interval", "0", "--count", "300"]).finish().ended(0), 300);
    pong.signal(libc::SIGINT);
    assert_eq!(pong.finish().ended(0).json()["lost"], 0);
}

#[test]
#[ignore = "needs root"]
fn what_the_network_loses_is_repaired_and_counts_with_the_time_it_took() {
    let bench = Bench::new(ways()[0]);
    let pong = bench.pong(&["--faults", "loss=5%,seed=3"]);
    let arguments = ["--faults", "loss=5%,seed=4", "--interval", "200us", "--count", "3000"];
    let ping = bench.ping(&arguments).finish().ended(0);
    all_answered(&ping, 3_000);
    let repairs = |outcome: &Outcome| outcome.json()["repairs_received"].as_u64().expect("a number");
    let pong = pong.finish().ended(0);
    assert!(repairs(&ping) > 50 && repairs(&pong) > 50, "{ping:?} {pong:?}");
}

#[test]
#[ignore = "needs root"]
fn nobody_there_is_status_4_and_a_pong_that_leaves_is_told() {
    let bench = Bench::new(ways()[0]);
    let alone = bench.ping(&["--timeout", "0.3"]).finish().ended(4);
    assert!(alone.line().contains("nobody answered") && alone.line().contains("pgmx pong"), "{alone:?}");
    let nobody = bench.pong(&["--timeout", "0.3"]).finish().ended(4);
    assert!(nobody.line().contains("no ping for 0.3 s"), "{nobody:?}");
    let pong = bench.pong(&[]);
    let ping = bench.ping(&["--progress", "20"]);
    std::thread::sleep(std::time::Duration::from_millis(400));
    pong.signal(libc::SIGTERM);
    pong.finish().ended(0);
    let ping = ping.finish();
    assert!(matches!(ping.status, Some(1 | 3)), "{ping:?}");
    assert!(ping.stderr.contains("pong ended its session before ping did"), "{ping:?}");
}
