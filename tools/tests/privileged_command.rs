//! `pgmx send` and `pgmx recv` on two hosts with a cable between them. Needs root and `ip`:
//! `cargo test --test privileged_command -- --ignored`.

#[allow(dead_code, unreachable_pub)] // shared by several tests
#[path = "../../engine/tests/support/netns.rs"]
mod netns;
#[allow(dead_code)]
mod support;

use std::process::{Command, Stdio};

use netns::{Cable, Pair};
use support::{Outcome, PGMX, Running, Scratch, ways};

const GROUP: &str = "239.192.0.1:7500";

struct Bench {
    pair: Pair,
    io: &'static str,
}

impl Bench {
    fn new(io: &'static str) -> Self {
        Self { pair: Pair::new(&[Cable::default()]).expect("two hosts"), io }
    }

    fn arguments<'a>(&self, command: &'a str, endpoint: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        [&[command, endpoint, "--io", self.io, "--profile", "low-latency"], rest].concat()
    }

    /// `pgmx recv` on the right host, listening.
    fn recv(&self, rest: &[&str]) -> Running {
        let endpoint = format!("pgm://{};{GROUP}", self.pair.right_ports[0].interface);
        let arguments = self.arguments("recv", &endpoint, rest);
        self.pair.right.inside(|| Running::start_ready(&arguments))
    }

    /// `pgmx send` on the left host.
    fn send(&self, rest: &[&str]) -> Running {
        let endpoint = format!("pgm://{};{GROUP}", self.pair.left_ports[0].interface);
        let arguments = self.arguments("send", &endpoint, rest);
        self.pair.left.inside(|| Running::start_ready(&arguments))
    }
}

fn is_whole(received: &Outcome, messages: u64) {
    let report = received.json();
    for (key, value) in [("messages", messages), ("lost", 0), ("corrupt", 0), ("sessions", 1)] {
        assert_eq!(report[key], value, "{key}: {report}");
    }
}

#[test]
#[ignore = "needs root"]
fn twenty_thousand_messages_arrive_whole_over_every_way() {
    for io in ways() {
        let bench = Bench::new(io);
        let receiver = bench.recv(&["--verify", "--count", "20k", "--json", "--timeout", "20"]);
        let sent = bench.send(&["--count", "20k", "--size", "16-1400", "--rate", "max", "--json"]).finish().ended(0);
        let received = receiver.finish().ended(0);
        is_whole(&received, 20_000);
        assert!(received.json()["io"].as_str().is_some_and(|way| way.starts_with(io)), "{received:?}");
        assert_eq!(sent.json()["bytes"], received.json()["bytes"]);
    }
}

#[test]
#[ignore = "needs root"]
fn they_arrive_whole_though_one_packet_in_twenty_is_lost() {
    for io in ways() {
        let bench = Bench::new(io);
        let faults = ["--faults", "loss=5%,seed=7"];
        let receiver =
            bench.recv(&[&["--verify", "--count", "20k", "--json", "--timeout", "20"], &faults[..]].concat());
        bench.send(&["--count", "20k", "--size", "16-1400", "--rate", "400M"]).finish().ended(0);
        let received = receiver.finish().ended(0);
        is_whole(&received, 20_000);
        assert!(received.json()["repairs_received"].as_u64() > Some(100), "{received:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn with_workers_they_arrive_whole_too_and_the_cores_are_theirs() {
    for io in ways() {
        let bench = Bench::new(io);
        let workers = ["--workers", "1", "--core", "0,1"];
        let verify = ["--verify", "--count", "20k", "--json", "--timeout", "20", "--faults", "loss=5%,seed=7"];
        let receiver = bench.recv(&[&workers[..], &verify].concat());
        assert_eq!(cores_by_thread(receiver.pid()), [("pgmx".into(), "1".into()), ("pgmx-right0".into(), "0".into())]);
        let generate = ["--count", "20k", "--size", "16-1400", "--rate", "400M", "--json"];
        let sent = bench.send(&[&workers[..2], &generate].concat()).finish().ended(0).json();
        let received = receiver.finish().ended(0);
        is_whole(&received, 20_000);
        assert!(received.json()["io"].as_str().is_some_and(|way| way.starts_with(io)), "{received:?}");
        assert!(received.json()["repairs_received"].as_u64() > Some(100), "{received:?}");
        assert_eq!(sent["bytes"], received.json()["bytes"]);
    }
}

/// Threads of a program with the cores that they may run on, by name.
fn cores_by_thread(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |status: &str, key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.expect("the kernel tells").trim_start_matches(':').trim().to_owned()
    };
    let read = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        Some((of(&status, "Name"), of(&status, "Cpus_allowed_list")))
    };
    let mut threads: Vec<_> = tasks.filter_map(read).collect();
    threads.sort();
    threads
}

#[test]
#[ignore = "needs root"]
fn small_messages_that_share_packets_arrive_whole() {
    for io in ways() {
        let bench = Bench::new(io);
        let receiver = bench.recv(&["--verify", "--count", "200k", "--json", "--timeout", "20"]);
        bench.send(&["--count", "200k", "--size", "64", "--batch", "--rate", "max"]).finish().ended(0);
        is_whole(&receiver.finish().ended(0), 200_000);
    }
}

#[test]
#[ignore = "needs root"]
fn lines_and_files_arrive_as_they_were() {
    let (from, to) = (Scratch::new("from"), Scratch::new("to"));
    let octets: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(from.path(), &octets).expect("a place to write");
    for io in ways() {
        let bench = Bench::new(io);
        let receiver = bench.recv(&[]);
        let mut sender = bench.send(&[]);
        let lines: Vec<String> = (0..2000).map(|n| format!("line {n}\n")).collect();
        let lines = lines.concat();
        sender.write(lines.as_bytes());
        sender.finish().ended(0);
        assert_eq!(String::from_utf8_lossy(&receiver.finish().ended(0).stdout), lines, "{io}");

        let receiver = bench.recv(&["--out", to.path(), "--timeout", "20"]);
        bench.send(&["--file", from.path()]).finish().ended(0);
        receiver.finish().ended(0);
        assert!(std::fs::read(to.path()).expect("the file") == octets, "{io}");
    }
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_ends_the_session_and_leaves_the_interface_as_it_was() {
    for io in ways() {
        let bench = Bench::new(io);
        let receiver = bench.recv(&["--verify"]);
        let sender = bench.send(&["--size", "200", "--pps", "2000"]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        sender.signal(libc::SIGINT);
        let received = receiver.finish().ended(0);
        assert!(
            received.stderr.starts_with("received ") && received.stderr.contains("messages 0, corrupt 0"),
            "{received:?}"
        );
        assert!(sender.finish().ended(0).stderr.starts_with("sent "));
        let show = |interface: &str| {
            let output = Command::new("ip").args(["link", "show", "dev", interface]).output().expect("iproute2");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let state = bench.pair.left.inside(|| show(&bench.pair.left_ports[0].interface));
        assert!(state.contains("left0") && !state.contains("xdp"), "{state}");
    }
}

#[test]
#[ignore = "needs root"]
fn without_rights_it_says_what_to_grant_and_what_needs_none() {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", PGMX, "send", "pgm://lo;239.192.0.1:7500"]);
    let outcome = Running::spawn(command, Stdio::piped()).finish().ended(1);
    let line = outcome.line();
    assert!(line.contains("setcap cap_net_raw") && line.contains("epgm://"), "{line}");
}
