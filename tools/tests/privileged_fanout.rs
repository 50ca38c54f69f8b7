//! `pgmx send` and `pgmx recv` as people use them: several of them, some of which are killed, stopped or badly connected. Needs root:
//! `cargo test --test privileged_fanout -- --ignored`.

#[path = "../../engine/tests/support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "support/program.rs"]
#[allow(dead_code)]
// shared; not every user needs all of it
mod program;

use std::time::{Duration, Instant};

use netns::{Bridged, Cable, Host, Pair};
use program::{Ended, Program};

const CHANNEL: &str = "239.192.0.1:7500";

/// `pgmx recv` for messages that check themselves, listening when this returns.
fn subscribe(host: &Host, interface: &str, more: &[&str]) -> Program {
    let words = ["recv", "-i", interface, CHANNEL, "--verify", "--json", "--progress", "50", "--idle", "block"];
    let mut program = host.inside(|| Program::begin(&[&words[..], more].concat()));
    program.await_progress("messages", 0);
    program
}

fn publish(host: &Host, interface: &str, more: &[&str]) -> Program {
    let words = ["send", "-i", interface, CHANNEL, "--json", "--progress", "50", "--idle", "block"];
    host.inside(|| Program::begin(&[&words[..], more].concat()))
}

/// Whatever happened, it was delivered or told: exactly so many.
fn all_is_accounted_for(ended: &Ended, published: u64) {
    let (messages, lost) = (ended.figure("messages"), ended.figure("lost"));
    assert_eq!(ended.figure("corrupt"), 0, "{ended:?}");
    assert!(messages + lost >= published, "{messages} + {lost} of {published}: {ended:?}");
    assert_eq!(ended.code(), Some(if lost > 0 { 3 } else { 0 }), "{ended:?}");
}

fn all_came(ended: &Ended, published: u64) {
    all_is_accounted_for(ended, published);
    assert_eq!((ended.figure("messages"), ended.figure("lost")), (published, 0), "{ended:?}");
}

/// Two publishers of one group and three subscribers: one is killed and begun again, one sleeps for two seconds, the third one notices
/// neither.
fn one_dies_and_one_sleeps(io: &str) {
    let bridged = Bridged::new(5).expect("a bridge");
    let place = |number: usize| (&bridged.hosts[number].0, bridged.hosts[number].1.interface.as_str());
    let subscribe = |number: usize| subscribe(place(number).0, place(number).1, &["--io", io]);
    let [quiet, mut sleeper, mut mortal] = [2, 3, 4].map(subscribe);
    let publishers = [0, 1].map(|number| {
        let words = ["--io", io, "--seconds", "5", "--pps", "2000", "--size", "16-600", "--late-join", "50"];
        publish(place(number).0, place(number).1, &words)
    });
    mortal.await_progress("messages", 1000);
    mortal.signal(libc::SIGKILL);
    assert_eq!(mortal.end().code(), None, "killed");
    sleeper.await_progress("messages", 1000);
    sleeper.signal(libc::SIGSTOP);
    let until = Instant::now() + Duration::from_secs(2);
    let mortal = subscribe(4);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    sleeper.signal(libc::SIGCONT);
    let published: u64 = publishers
        .map(|publisher| {
            let ended = publisher.end();
            assert_eq!(ended.code(), Some(0), "{ended:?}");
            ended.figure("messages")
        })
        .iter()
        .sum();
    assert!(published >= 10_000, "{published}");
    let quiet = quiet.end();
    all_came(&quiet, published);
    assert_eq!(quiet.figure("sessions"), 2);
    all_is_accounted_for(&sleeper.end(), published);
    let mortal = mortal.end();
    assert_eq!((mortal.code(), mortal.figure("lost"), mortal.figure("sessions")), (Some(0), 0, 2), "{mortal:?}");
    assert!(mortal.figure("messages") > 0, "{mortal:?}");
}

#[test]
#[ignore = "needs root"]
fn who_dies_or_sleeps_over_raw_harms_nobody_else() {
    one_dies_and_one_sleeps("raw");
}

#[cfg(feature = "xdp")]
#[test]
#[ignore = "needs root"]
fn who_dies_or_sleeps_over_xdp_harms_nobody_else() {
    one_dies_and_one_sleeps("xdp");
}

/// Linux gives what is sent to a group to every program of the host that joined it: over sockets, two programs need one interface only.
#[test]
#[ignore = "needs root"]
fn two_programs_on_one_interface_hear_each_other_over_raw_and_udp() {
    if netns::is_skipped(&[Cable::default()]) {
        return;
    }
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let interface = pair.left_ports[0].interface.as_str();
    for io in ["raw", "udp"] {
        // What is lost can be asked for again: NAKs find their way, too.
        let listening = subscribe(&pair.left, interface, &["--io", io, "--faults", "loss=2%,seed=3"]);
        let words = ["--io", io, "--count", "3000", "--pps", "5000", "--size", "16-1400"];
        let sent = publish(&pair.left, interface, &words).end();
        assert_eq!((sent.code(), sent.figure("messages")), (Some(0), 3000), "{sent:?}");
        assert!(sent.figure("naks_received") > 0, "{sent:?}");
        let heard = listening.end();
        all_came(&heard, 3000);
        assert_eq!(heard.report()["io"], io);
    }
}

/// What a process has used of a core so far.
fn used(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    // Nanoseconds on a core stand first.
    let used = threads.filter_map(|thread| {
        let line = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

#[test]
#[ignore = "needs root"]
fn six_idle_subscribers_leave_the_cores_alone() {
    let bridged = Bridged::new(6).expect("a bridge");
    // The best link of each kind, and the default way of idling.
    let ways = ["auto", "auto", "auto", "raw", "raw", "udp"];
    let idle: Vec<Program> = bridged
        .hosts
        .iter()
        .zip(ways)
        .map(|((host, port), io)| {
            let words = ["recv", "-i", &port.interface, CHANNEL, "--io", io, "--json", "--progress", "100"];
            let mut program = host.inside(|| Program::begin(&words));
            program.await_progress("messages", 0);
            program
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let before: Vec<Duration> = idle.iter().map(|program| used(program.pid())).collect();
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let share = |(program, before): (&Program, Duration)| {
        (used(program.pid()) - before).as_secs_f64() / began.elapsed().as_secs_f64()
    };
    let shares: Vec<f64> = idle.iter().zip(before).map(share).collect();
    println!("of a core: {shares:.4?}");
    // Beside others each wake-up finds cold caches. Who spins uses all that is to be had: a fifth of a core at the least.
    let load = std::fs::read_to_string("/proc/loadavg").expect("the load");
    let is_quiet = load.split(' ').next().and_then(|load| load.parse().ok()).is_some_and(|load: f64| load < 1.0);
    let most = if is_quiet { 0.02 } else { 0.05 };
    assert!(shares.iter().all(|share| *share < most), "{shares:.4?} of a core, at a load of {load}");
    for program in idle {
        program.signal(libc::SIGINT);
        let ended = program.end();
        assert_eq!((ended.code(), ended.figure("messages")), (Some(0), 0), "{ended:?}");
    }
}

/// A network that loses nearly every third packet, repairs included, at a rate that leaves room for them.
#[test]
#[ignore = "needs root"]
fn a_loss_of_thirty_percent_is_repaired_or_told() {
    let bridged = Bridged::new(2).expect("a bridge");
    let place = |number: usize| (&bridged.hosts[number].0, bridged.hosts[number].1.interface.as_str());
    for io in ["auto", "raw"] {
        let listening = subscribe(place(1).0, place(1).1, &["--io", io, "--faults", "loss=30%,seed=5"]);
        let sent =
            publish(place(0).0, place(0).1, &["--io", io, "--count", "15000", "--pps", "5000", "--size", "16-600"]);
        let sent = sent.end();
        assert_eq!((sent.code(), sent.figure("messages")), (Some(0), 15_000), "{sent:?}");
        assert!(sent.figure("repairs_sent") > 4000, "{sent:?}");
        all_is_accounted_for(&listening.end(), 15_000);
    }
}
