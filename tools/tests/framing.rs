//! `--framing zmq` between two of us, over UDP sockets on loopback: no right is needed.

#[allow(dead_code)] // shared by several tests
mod support;

use support::{Running, Scratch, run};

/// An endpoint of a test of its own.
fn endpoint(port: u16) -> String {
    format!("epgm://lo;239.192.78.1:{port}")
}

/// Framed; and lingers for half a second where the default would for two.
const FRAMED: [&str; 4] = ["--framing", "zmq", "--profile", "low-latency"];

fn with<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, &FRAMED[..], rest].concat()
}

#[test]
fn messages_of_many_parts_and_packets_arrive_whole_though_packets_are_lost() {
    let workers = ["--workers", "1"];
    for (port, sender, receiver) in [(17651, &[][..], &workers[..]), (17652, &workers, &[])] {
        let at = endpoint(port);
        let verify = ["--verify", "--json", "--timeout", "30", "--faults", "loss=2%,dup=1%,reorder=1%"];
        let receiver = Running::start_ready(&with(&["recv", &at], &[&verify[..], receiver].concat()));
        let generate = ["--count", "3000", "--size", "1-10000", "--parts", "3", "--rate", "200M", "--json"];
        let sent = run(&with(&["send", &at], &[&generate[..], sender].concat())).ended(0).json();
        let received = receiver.finish().ended(0).json();
        for (key, value) in [("messages", 3000), ("lost", 0), ("corrupt", 0), ("sessions", 1)] {
            assert_eq!(received[key], value, "{received}");
        }
        assert_eq!((&sent["messages"], &sent["bytes"]), (&3000.into(), &received["bytes"]));
        assert!(received["repairs_received"].as_u64() > Some(0), "{received}");
    }
}

#[test]
fn a_line_that_is_alone_leaves_at_once_and_comes_as_it_was() {
    let at = endpoint(17653);
    let mut receiver = Running::start_ready(&with(&["recv", &at], &[]));
    let mut sender = Running::start_ready(&with(&["send", &at], &["--parts", "2"]));
    sender.write(b"first\n\nthi");
    // Nothing follows that could push them out.
    receiver.await_progress("messages", 2);
    sender.write(b"rd\nlast, without an end");
    let sent = sender.finish().ended(0);
    let received = receiver.finish().ended(0);
    assert_eq!(String::from_utf8_lossy(&received.stdout), "first\n\nthird\nlast, without an end\n");
    assert!(sent.stderr.starts_with("sent 4 messages, 30 octets"), "{}", sent.stderr);
    assert!(received.stderr.starts_with("received 4 messages, 30 octets"), "{}", received.stderr);
}

#[test]
fn a_file_arrives_as_it_was() {
    let (from, to) = (Scratch::new("framed-from"), Scratch::new("framed-to"));
    let octets: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(from.path(), &octets).expect("a place to write");
    for (port, extra) in [(17654, &[][..]), (17655, &["--size", "5000", "--rate", "500M"])] {
        let at = endpoint(port);
        let receiver = Running::start_ready(&with(&["recv", &at], &["--out", to.path(), "--timeout", "30"]));
        run(&with(&["send", &at, "--file", from.path()], extra)).ended(0);
        receiver.finish().ended(0);
        assert!(std::fs::read(to.path()).expect("the file") == octets, "{extra:?}");
    }
}

#[test]
fn subscriptions_choose_by_the_first_octets_of_the_first_part() {
    let at = endpoint(17656);
    let receiver = Running::start_ready(&with(&["recv", &at], &["--subscribe", "we", "--subscribe", "news"]));
    let mut sender = Running::start_ready(&with(&["send", &at], &["--parts", "2"]));
    // "ne" is the first half of "news", and no subscription's.
    sender.write(b"weather: rain\nsports: 2:1\nnews\nnews: none\n");
    sender.finish().ended(0);
    let received = receiver.finish().ended(0);
    assert_eq!(String::from_utf8_lossy(&received.stdout), "weather: rain\nnews: none\n");
}

#[test]
fn what_nobody_subscribed_to_is_not_missed_and_what_is_lost_is() {
    let at = endpoint(17657);
    // A message begins with its number: those of 5, 261, 517 and 773.
    let receiver = Running::start_ready(&with(&["recv", &at], &["--verify", "--json", "--subscribe", "\x05"]));
    run(&with(&["send", &at], &["--count", "1000", "--size", "8-100"])).ended(0);
    let received = receiver.finish().ended(0).json();
    assert_eq!((&received["messages"], &received["lost"], &received["corrupt"]), (&4.into(), &0.into(), &0.into()));
}

#[test]
fn whoever_joins_in_mid_stream_hears_whole_messages_from_the_next_one_on() {
    let at = endpoint(17658);
    let sender = Running::start_ready(&with(&["send", &at], &["--size", "5000", "--pps", "2k"]));
    // What the window keeps is not asked for.
    let verify = ["--verify", "--count", "500", "--json", "--late-join", "0", "--timeout", "30"];
    let received = run(&with(&["recv", &at], &verify)).ended(0).json();
    sender.signal(libc::SIGINT);
    sender.finish().ended(0);
    assert_eq!((&received["messages"], &received["lost"], &received["corrupt"]), (&500.into(), &0.into(), &0.into()));
}

#[test]
fn a_loss_for_good_costs_the_messages_that_it_touches_and_no_other() {
    let at = endpoint(17659);
    // It loses, and cannot ask.
    let faults = ["--faults", "loss=5%,send.loss=100%", "--policy", "skip"];
    let verify = ["--verify", "--json", "--timeout", "30", "--count", "2000"];
    let receiver = Running::start_ready(&with(&["recv", &at], &[&verify[..], &faults].concat()));
    let generate = ["--count", "2000", "--size", "8-4000", "--rate", "200M", "--window", "64"];
    run(&with(&["send", &at], &generate)).ended(0);
    let received = receiver.finish().ended(3).json();
    let (messages, lost) = (received["messages"].as_u64(), received["lost"].as_u64());
    assert!(messages > Some(500) && lost > Some(50), "{received}");
    assert_eq!(messages.zip(lost).map(|(messages, lost)| messages + lost), Some(2000), "{received}");
    assert_eq!(received["corrupt"], 0, "{received}");
}

#[test]
fn ctrl_c_in_the_midst_of_a_message_costs_that_message_and_is_no_loss() {
    let at = endpoint(17662);
    let mut receiver = Running::start_ready(&with(&["recv", &at], &["--verify", "--json", "--timeout", "30"]));
    // Some 40 ms each, with hardly anything in between.
    let sender = Running::start_ready(&with(&["send", &at], &["--size", "250000", "--rate", "50M", "--json"]));
    receiver.await_progress("messages", 2);
    sender.signal(libc::SIGINT);
    let sent = sender.finish().ended(0).json();
    let received = receiver.finish().ended(0).json();
    assert_eq!((&received["messages"], &received["lost"]), (&sent["messages"], &0.into()), "{received}");
    assert_eq!(received["corrupt"], 0, "{received}");
}

#[test]
fn what_is_not_framed_is_counted_and_told() {
    let at = endpoint(17660);
    let receiver = Running::start_ready(&with(&["recv", &at], &["--json"]));
    run(&["send", &at, "--profile", "low-latency", "--count", "100", "--size", "3000"]).ended(0);
    let received = receiver.finish().ended(3);
    assert!(received.line().contains("100 packets made no sense"), "{received:?}");
    assert_eq!((received.figure("messages"), received.figure("corrupt")), (0, 100));
}

#[test]
fn what_makes_no_sense_with_a_framing_or_without_is_refused() {
    let at = endpoint(17661);
    for (arguments, says) in [
        (&["send", &at, "--framing", "zmq", "--batch"][..], &["--framing", "--batch"][..]),
        (&["send", &at, "--framing", "json"], &["--framing", "zmq"]),
        (&["send", &at, "--parts", "2"], &["--framing"]),
        (&["send", &at, "--framing", "zmq", "--parts", "0"], &["--parts"]),
        (&["recv", &at, "--subscribe", "a"], &["--framing"]),
    ] {
        let outcome = run(arguments).ended(2);
        assert!(says.iter().all(|word| outcome.line().contains(word)), "{arguments:?}: {outcome:?}");
    }
}
