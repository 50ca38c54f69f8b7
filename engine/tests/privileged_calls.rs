//! How many system calls a link makes for its packets, counted by strace. Needs root, and strace (`cargo xtask setup`):
//! `cargo test --test privileged_calls -- --ignored`.
//!
//! The test runs itself as a child under `strace -c -f`, twice: what the second run does more, it does for its packets.

#![cfg(feature = "xdp")]

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
#[allow(unused_macros)] // its ends are used here, not its cases
mod suite;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use netns::{Cable, Pair, Port};
use pgmx::frame::To;
use pgmx::link::Address;
use suite::bench::{PATIENCE, Setup, group_like};
use suite::end::End;
use suite::packets::odata;
use suite::wired::{self, Kind};

/// What the child does: `kind/interface/job/rounds`.
const ROLE: &str = "PGMX_TRACED";
/// Packets in a batch.
const BATCH: u32 = 64;

fn kind_of(name: &str) -> Kind {
    match name {
        "xdp" => wired::native,
        "raw" => wired::raw,
        "udp" => wired::udp,
        other => panic!("no kind `{other}`"),
    }
}

/// The child: so many rounds of one job, each batch or poll a round.
fn be_traced(role: &str) {
    let [kind, interface, job, rounds] = role.split('/').collect::<Vec<_>>()[..] else { panic!("{role}") };
    let rounds: u32 = rounds.parse().expect("a number");
    let port = Port::on(interface);
    let (link, pool) = kind_of(kind)(&port, Address::Ipv4, &Setup::default());
    let mut end = End::new(link, pool, None, BATCH as usize);
    let group = group_like(end.address(), 1);
    end.attend(group);
    if job == "poll" {
        for _ in 0..rounds {
            assert_eq!(end.receive_into_batch(), 0, "nobody speaks");
        }
    } else {
        let deadline = std::time::Instant::now() + PATIENCE;
        for number in 0..rounds * BATCH {
            // In copy mode a completion is seen at the next look, which costs no call unless something waits.
            while end.out.room() == 0 {
                end.send();
                assert!(std::time::Instant::now() < deadline, "nothing leaves: {:?}", end.link.tally());
            }
            loop {
                if let Some(packet) = end.outgoing(&odata(number, 64), To::Group(group), false) {
                    end.out.push(packet);
                    break;
                }
                end.receive_into_batch();
            }
        }
        while !end.out.is_empty() {
            end.send();
        }
    }
    end.shut_down();
}

/// A file that is gone with its test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The calls of a child, by name.
fn calls(pair: &Pair, test: &str, kind: &str, job: &str, rounds: u32) -> BTreeMap<String, i64> {
    let name = format!("pgmx-{}-{kind}-{job}-{rounds}.strace", std::process::id());
    let table = Scratch(std::env::temp_dir().join(name));
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-o"]).arg(&table.0).arg(std::env::current_exe().expect("this test"));
    strace.args(["--exact", test, "--ignored", "--nocapture"]);
    strace.env(ROLE, format!("{kind}/{}/{job}/{rounds}", pair.left_ports[0].interface));
    let ended = pair.left.inside(|| strace.output()).expect("strace, which `cargo xtask setup` installs");
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    let table = std::fs::read_to_string(&table.0).expect("the table");
    // % time, seconds, usecs/call, calls, errors if any, syscall.
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        words.first()?.parse::<f64>().ok()?;
        Some(((*words.last()?).to_owned(), calls))
    });
    rows.filter(|(name, _)| name != "total").collect()
}

/// What `more` rounds cost above what few cost, by name, without the calls of memory and scheduling that any program makes at any time.
fn cost(test: &str, kind: &str, job: &str, few: u32, more: u32) -> BTreeMap<String, i64> {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let before = calls(&pair, test, kind, job, few);
    let mut after = calls(&pair, test, kind, job, few + more);
    for (name, calls) in before {
        *after.entry(name).or_default() -= calls;
    }
    after.retain(|_, calls| *calls != 0);
    println!("{kind}, {job}: {more} more rounds cost {after:?}");
    after
}

/// Whether a call moves packets or waits for them.
fn is_of_network(name: &str) -> bool {
    ["send", "recv", "poll", "select", "epoll", "read", "write", "ioctl"].iter().any(|part| name.contains(part))
}

fn network(calls: &BTreeMap<String, i64>) -> i64 {
    calls.iter().filter(|(name, _)| is_of_network(name)).map(|(_, calls)| calls).sum()
}

const ROUNDS: u32 = 500;

#[test]
#[ignore = "needs root"]
fn strace_sees_a_sender_make_a_call_for_a_batch_and_none_for_a_packet() {
    if let Ok(role) = std::env::var(ROLE) {
        return be_traced(&role);
    }
    for (kind, packets_a_call) in [("xdp", 32), ("raw", 64), ("udp", 64)] {
        let test = "strace_sees_a_sender_make_a_call_for_a_batch_and_none_for_a_packet";
        let calls = network(&cost(test, kind, "send", 10, ROUNDS));
        let most = i64::from(ROUNDS * BATCH / packets_a_call);
        // Two runs differ by a few, in how often they were interrupted.
        assert!((ROUNDS as i64 / 8..=most + most / 50).contains(&calls), "{kind}: {calls} calls, {most} were promised");
    }
}

#[test]
#[ignore = "needs root"]
fn strace_sees_a_polling_receiver_make_no_call_over_xdp_and_one_for_each_socket() {
    if let Ok(role) = std::env::var(ROLE) {
        return be_traced(&role);
    }
    for (kind, calls_a_poll) in [("xdp", 0), ("raw", 1), ("udp", 2)] {
        let test = "strace_sees_a_polling_receiver_make_no_call_over_xdp_and_one_for_each_socket";
        let calls = network(&cost(test, kind, "poll", 10, ROUNDS * 10));
        let most = i64::from(ROUNDS * 10) * calls_a_poll;
        assert!((most - 20..=most + 20).contains(&calls), "{kind}: {calls} calls, {most} were promised");
    }
}
