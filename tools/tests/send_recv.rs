//! `pgmx send` and `pgmx recv` as people call them, over UDP sockets on loopback: no right is needed.

#[allow(dead_code)] // shared by several tests
mod support;

use std::process::{Command, Stdio};

use support::{PGMX, Running, Scratch, run};

/// An endpoint of a test of its own.
fn endpoint(port: u16) -> String {
    format!("epgm://lo;239.192.77.1:{port}")
}

/// Lingers for half a second where the default would for two.
const QUICK: [&str; 2] = ["--profile", "low-latency"];

fn with<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, &QUICK[..], rest].concat()
}

#[test]
fn what_is_generated_arrives_whole_though_packets_are_lost() {
    let at = endpoint(17601);
    // Without a count, which would end it before it hears that the session is over.
    let verify = ["--verify", "--json", "--timeout", "30", "--faults", "loss=5%,dup=2%,reorder=1%"];
    let receiver = Running::start_ready(&with(&["recv", &at], &verify));
    let sent =
        run(&with(&["send", &at], &["--count", "5000", "--size", "16-3000", "--rate", "200M", "--json"])).ended(0);
    let received = receiver.finish().ended(0);
    let (sent, received) = (sent.json(), received.json());
    for (key, value) in [("messages", 5000), ("lost", 0), ("corrupt", 0), ("sessions", 1)] {
        assert_eq!(received[key], value, "{received}");
    }
    assert_eq!((&sent["messages"], &sent["bytes"]), (&5000.into(), &received["bytes"]));
    assert!(received["repairs_received"].as_u64() > Some(0) && sent["repairs_sent"].as_u64() > Some(0), "{sent}");
    assert!(received["duplicates_dropped"].as_u64() > Some(0), "{received}");
    assert_eq!(received["events"][1]["cause"], "Finished");
}

#[test]
fn ports_of_udp_that_are_named_carry_data_and_requests_each_on_its_own() {
    let at = endpoint(17640);
    let ports = ["--udp-ports", "17641,17642"];
    let verify = ["--verify", "--json", "--timeout", "30", "--faults", "loss=5%"];
    let receiver = Running::start_ready(&with(&["recv", &at], &[&verify[..], &ports].concat()));
    let generate = ["--count", "2000", "--rate", "100M", "--json"];
    let sent = run(&with(&["send", &at], &[&generate[..], &ports].concat())).ended(0).json();
    let received = receiver.finish().ended(0).json();
    assert_eq!((&received["messages"], &received["lost"]), (&2000.into(), &0.into()));
    assert!(sent["naks_received"].as_u64() > Some(0), "{sent}");
}

#[test]
fn the_json_object_has_its_keys_in_their_order_and_null_where_they_do_not_apply() {
    let keys = "messages bytes seconds messages_per_s bits_per_s lost duplicates_dropped corrupt naks_sent naks_received \
                ncfs_sent ncfs_received repairs_sent repairs_received parity_sent parity_received spms_sent spms_received \
                sessions events io io_refusals latency_ns repair_ns packets";
    let at = endpoint(17602);
    let receiver = Running::start_ready(&with(&["recv", &at], &["--verify", "--json"]));
    let sent = run(&with(&["send", &at], &["--count", "10", "--json"])).ended(0);
    let received = receiver.finish().ended(0);
    for (outcome, unknown) in [
        (
            &sent,
            "lost duplicates_dropped corrupt naks_sent ncfs_received repairs_received parity_sent parity_received \
             spms_received events latency_ns repair_ns",
        ),
        (&received, "naks_received ncfs_sent repairs_sent parity_sent parity_received spms_sent repair_ns packets"),
    ] {
        let text = String::from_utf8_lossy(&outcome.stdout);
        let mut rest = &text[..];
        for key in keys.split_whitespace() {
            let at = rest.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} behind the others: {text}"));
            rest = &rest[at..];
        }
        let object = outcome.json();
        // All may have come at once.
        let in_no_time = object["seconds"] == 0.0;
        let applies = |key: &str| !object[key].is_null() || (in_no_time && key.ends_with("_per_s"));
        let null: Vec<&str> = keys.split_whitespace().filter(|key| !applies(key)).collect();
        assert_eq!(null.join(" "), unknown.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(object.as_object().map(serde_json::Map::len), Some(keys.split_whitespace().count()));
    }
    let latency = &received.json()["latency_ns"];
    let values: Vec<u64> =
        ["min", "p50", "p90", "p99", "p999", "max"].iter().filter_map(|key| latency[key].as_u64()).collect();
    assert!(values.len() == 6 && values.is_sorted(), "{latency}");
}

#[test]
fn what_a_repair_takes_and_what_every_message_takes_is_told_and_kept() {
    let (at, file) = (endpoint(17640), Scratch::new("latency.hgrm"));
    let verify = ["--verify", "--json", "--hgrm", file.path(), "--timeout", "30", "--faults", "loss=20%,seed=3"];
    let receiver = Running::start_ready(&with(&["recv", &at], &verify));
    let bursts = ["--bursts", "50@20ms", "--count", "500", "--size", "32", "--json"];
    let sent = run(&with(&["send", &at], &bursts)).ended(0).json();
    let received = receiver.finish().ended(0).json();
    assert_eq!((&sent["messages"], &received["messages"], &sent["packets"]), (&500.into(), &500.into(), &500.into()));
    assert!(sent["seconds"].as_f64() >= Some(0.18), "ten bursts, 20 ms apart: {sent}");
    let time = |what: &str, key: &str| received[what][key].as_u64().expect("a time");
    assert!(time("repair_ns", "min") > 0 && time("repair_ns", "max") <= time("latency_ns", "max"), "{received}");
    let kept = std::fs::read_to_string(file.path()).expect("a histogram");
    assert!(kept.contains("Total count    =          500]"), "{kept}");
}

#[test]
fn lines_are_messages_and_the_session_lives_while_nobody_types() {
    let at = endpoint(17603);
    let receiver = Running::start_ready(&with(&["recv", &at], &[]));
    let mut sender = Running::start_ready(&with(&["send", &at], &[]));
    // Longer than a batch of heartbeats: whoever waits for stdin with all it has would send none.
    std::thread::sleep(std::time::Duration::from_millis(300));
    sender.write(b"first\n\nthi");
    sender.write(b"rd\nlast, without an end");
    let sent = sender.finish().ended(0);
    let received = receiver.finish().ended(0);
    assert_eq!(String::from_utf8_lossy(&received.stdout), "first\n\nthird\nlast, without an end\n");
    assert!(sent.stderr.starts_with("sent 4 messages, 30 octets"), "{}", sent.stderr);
    assert!(received.stderr.starts_with("received 4 messages, 30 octets"), "{}", received.stderr);
    let spms = sent.stderr.lines().find_map(|line| line.trim().strip_prefix("SPMs      sent ")).expect("a count");
    assert!(spms.parse::<u32>().expect("a number") > 10, "heartbeats before the first line: {spms}");
}

#[test]
fn a_line_is_printed_when_it_comes_not_when_the_session_ends() {
    let at = endpoint(17604);
    let mut receiver = Command::new(PGMX);
    receiver.args(with(&["recv", &at], &["--count", "1"]));
    let receiver = Running::spawn(receiver, Stdio::piped());
    let mut sender = Running::start_ready(&with(&["send", &at], &[]));
    // Whoever joins late hears the next line.
    let feeder = std::thread::spawn(move || {
        for n in 0..200 {
            sender.write(format!("line {n}\n").as_bytes());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let received = receiver.finish().ended(0);
    assert!(received.stdout.starts_with(b"line ") && received.stdout.ends_with(b"\n"), "{received:?}");
    assert!(!feeder.is_finished(), "it ended while the session went on");
    feeder.join().expect("no panic");
}

#[test]
fn a_file_arrives_as_it_was() {
    let (from, to) = (Scratch::new("from"), Scratch::new("to"));
    let octets: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(from.path(), &octets).expect("a place to write");
    for (port, extra) in [(17605, &[][..]), (17606, &["--size", "5000", "--rate", "500M"]), (17607, &["--batch"])] {
        let at = endpoint(port);
        let receiver = Running::start_ready(&with(&["recv", &at], &["--out", to.path(), "--timeout", "30"]));
        run(&with(&["send", &at, "--file", from.path()], extra)).ended(0);
        receiver.finish().ended(0);
        assert!(std::fs::read(to.path()).expect("the file") == octets, "{extra:?}");
    }
}

#[test]
fn messages_of_a_pace_come_at_that_pace() {
    let at = endpoint(17608);
    let sent = run(&with(&["send", &at], &["--pps", "200", "--seconds", "0.5", "--json"])).ended(0).json();
    assert_eq!(sent["messages"], 100, "{sent}");
    assert!(sent["seconds"].as_f64().is_some_and(|seconds| seconds > 0.45), "{sent}");
}

#[test]
fn whoever_waits_for_more_than_was_sent_is_told_what_is_missing() {
    let at = endpoint(17609);
    let receiver = Running::start_ready(&with(&["recv", &at], &["--verify", "--count", "100", "--json"]));
    run(&with(&["send", &at], &["--count", "60"])).ended(0);
    let received = receiver.finish().ended(3).json();
    assert_eq!((&received["messages"], &received["lost"]), (&60.into(), &40.into()));
}

#[test]
fn where_nothing_comes_the_timeout_ends_it_with_its_own_status() {
    let received = run(&["recv", &endpoint(17610), "--timeout", "0.1", "--json"]).ended(4);
    assert_eq!(received.json()["messages"], 0);
    assert_eq!(received.line(), "pgmx recv: nothing came for 0.1 s");
}

#[test]
fn ctrl_c_ends_a_session_well_and_both_sides_sum_up() {
    let at = endpoint(17611);
    let receiver = Running::start_ready(&with(&["recv", &at], &["--verify"]));
    let sender = Running::start_ready(&with(&["send", &at], &["--size", "100", "--pps", "1000"]));
    std::thread::sleep(std::time::Duration::from_millis(200));
    sender.signal(libc::SIGINT);
    let received = receiver.finish().ended(0);
    let sent = sender.finish().ended(0);
    assert!(received.stderr.starts_with("received ") && sent.stderr.starts_with("sent "), "{received:?} {sent:?}");
    assert!(received.stderr.contains("lost      messages 0, corrupt 0"), "{received:?}");
}

#[test]
fn ctrl_c_and_a_request_to_terminate_end_a_receiver_too() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let receiver = Running::start_ready(&["recv", &endpoint(17612), "--json"]);
        receiver.signal(signal);
        assert_eq!(receiver.finish().ended(0).json()["messages"], 0);
    }
}

#[test]
fn ctrl_c_twice_ends_at_once_with_a_summary() {
    // Lingers for 30 s, or 3 s after one request.
    let sender = Running::start_ready(&["send", &endpoint(17613), "--profile", "wan"]);
    sender.signal(libc::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(50));
    sender.signal(libc::SIGINT);
    let begun = std::time::Instant::now();
    let sent = sender.finish().ended(130);
    assert!(sent.stderr.starts_with("sent 0 messages"), "{sent:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_reader_who_goes_away_ends_it_quietly() {
    let at = endpoint(17614);
    // `head` reads a line and goes.
    let mut shell = Command::new("sh");
    let pipe = format!(
        "{{ {PGMX} recv '{at}' --progress 20 --timeout 30 --profile low-latency; echo status $? >&2; }} | head -n 1"
    );
    shell.args(["-c", &pipe]);
    let receiver = Running::spawn(shell, Stdio::piped());
    let sent = run(&with(&["send", &at], &["--pps", "500", "--seconds", "2", "--size", "20"]));
    let received = receiver.finish().ended(0);
    sent.ended(0);
    assert_eq!(received.stderr, "status 0\n", "{received:?}");
}

#[test]
fn what_is_wrong_is_one_line_and_a_status() {
    let at = endpoint(17615);
    let wrong = |arguments: &[&str], status: i32, says: &[&str]| {
        let outcome = run(arguments).ended(status);
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
        let line = outcome.line();
        for what in says {
            assert!(line.contains(what), "{what}: {line}");
        }
        assert!(line.starts_with("pgmx "), "{line}");
    };
    for command in ["send", "recv"] {
        wrong(
            &[command, "pgm://no-such-card;239.192.0.1:7500"],
            1,
            &["no interface `no-such-card`", "there are:", "lo"],
        );
        wrong(&[command, "pgm://lo;10.0.0.1:7500"], 2, &["10.0.0.1 is not multicast"]);
        wrong(&[command, "pgm://lo;239.192.0.1:70000"], 2, &["port 70000 is out of range: 1 to 65535"]);
        wrong(&[command, "239.192.0.1:7500"], 2, &["which interface?", "-i IFACE"]);
        wrong(&[command, &at, "--core", "100000"], 2, &["no such core", "it has: "]);
        wrong(&[command, &at, "--faults", "loss=lots"], 2, &["--faults", "1% or 0.05%"]);
        wrong(&[command, &at, "--io", "dpdk"], 2, &["auto, xdp, xdp-generic, raw, udp"]);
        wrong(&[command, &at, "--io", "raw"], 2, &["raw sockets cannot carry PGM in UDP"]);
        wrong(&[command, "pgm://lo;239.192.77.1:7500", "--udp-ports", "3056"], 2, &["--udp-ports", "epgm://"]);
        wrong(&[command, &at, "--udp-ports", "3056,"], 2, &["--udp-ports", "3056,3055"]);
        wrong(&[command, &at, "--ttl", "0"], 2, &["--ttl"]);
        wrong(&[command, &at, "--profile", "wlan"], 2, &["low-latency"]);
        wrong(&[command, &at, "--pcap", "/no/such/directory/x"], 1, &["/no/such/directory/x"]);
        wrong(&[command], 2, &["<ENDPOINT>", "--help"]);
    }
    for command in ["send", "recv", "ping", "pong"] {
        wrong(&[command, &at, "--workers", "2"], 2, &["--workers 2", "one interface", "take 1"]);
        wrong(&[command, &at, "--workers", "0"], 2, &["--workers", "0"]);
        wrong(&[command, &at, "--core", "0,0"], 2, &["--core", "without --workers"]);
        wrong(&[command, &at, "--workers", "1", "--core", "0,0,0"], 2, &["--core", "at most one more"]);
        wrong(&[command, &at, "--workers", "1", "--core", "0,100000"], 2, &["no such core", "it has: "]);
        wrong(&[command, "pgm://no-such-card;239.192.0.1:7500", "--workers", "1"], 1, &["no interface `no-such-card`"]);
    }
    wrong(&["send", &at, "--workers", "1", "--profile", "wan", "--rate", "max"], 2, &["--rate", "finite rate"]);
    wrong(&["send", &at, "--file", "/no/such/file"], 1, &["--file", "/no/such/file"]);
    wrong(&["send", &at, "--file", "/"], 1, &["--file", "directory"]);
    wrong(&["send", &at, "--rate", "fast"], 2, &["--rate", "40M"]);
    wrong(&["send", &at, "--size", "9-8"], 2, &["--size", "16-1400"]);
    wrong(&["send", &at, "--count", "1", "--profile", "wan", "--rate", "max"], 2, &["--rate", "finite rate"]);
    wrong(&["recv", &at, "--out", "/no/such/directory/x"], 1, &["--out", "/no/such/directory/x"]);
    wrong(&["recv", &at, "--verify", "--out", "x"], 2, &["--verify", "--out"]);
    wrong(&["recv", &at, "--timeout", "never"], 2, &["--timeout", "0.5"]);
}

#[test]
fn workers_send_and_receive_what_one_thread_does() {
    let at = endpoint(17620);
    let faults = ["--faults", "loss=5%,dup=2%,reorder=1%"];
    let verify = ["--workers", "1", "--verify", "--count", "5k", "--json", "--timeout", "30"];
    let receiver = Running::start_ready(&with(&["recv", &at], &[&verify[..], &faults].concat()));
    let generate = ["--workers", "1", "--count", "5000", "--size", "16-3000", "--rate", "200M", "--json"];
    let sent = run(&with(&["send", &at], &generate)).ended(0).json();
    let received = receiver.finish().ended(0).json();
    for (key, value) in [("messages", 5000), ("lost", 0), ("corrupt", 0), ("sessions", 1)] {
        assert_eq!(received[key], value, "{received}");
    }
    assert_eq!((&sent["messages"], &sent["bytes"]), (&5000.into(), &received["bytes"]));
    for (report, key) in [
        (&received, "repairs_received"),
        (&received, "naks_sent"),
        (&received, "spms_received"),
        (&received, "duplicates_dropped"),
        (&sent, "repairs_sent"),
        (&sent, "naks_received"),
        (&sent, "spms_sent"),
    ] {
        assert!(report[key].as_u64() > Some(0), "{key}: {report}");
    }
    assert_eq!(received["events"][0]["event"], "opened");
    assert_eq!((received["latency_ns"].is_null(), &sent["io"]), (false, &"udp".into()));
    // What exceeds a full bucket, 64 packets of loopback's size, leaves at the rate; the time ends when all has left.
    let least = (sent["bytes"].as_f64().expect("a number") - 64.0 * 65_536.0) * 8.0 / 200e6;
    assert!(least > 0.0 && sent["seconds"].as_f64() > Some(least * 0.9), "published is not sent: {sent}");
}

#[test]
fn workers_and_one_thread_understand_each_other_in_batches_and_at_a_pace() {
    for (port, sender, receiver) in [(17621, true, false), (17622, false, true)] {
        let at = endpoint(port);
        let form = |workers: bool| if workers { &["--workers", "1"][..] } else { &[] };
        let verify = [form(receiver), &["--verify", "--count", "20k", "--json", "--timeout", "30"]].concat();
        let receiver = Running::start_ready(&with(&["recv", &at], &verify));
        let generate = [form(sender), &["--count", "20k", "--pps", "50k", "--batch", "--rate", "500M"]].concat();
        run(&with(&["send", &at], &generate)).ended(0);
        let received = receiver.finish().ended(0).json();
        assert_eq!((&received["messages"], &received["corrupt"]), (&20_000.into(), &0.into()), "{received}");
    }
}

#[test]
fn with_workers_lines_come_while_others_are_typed_and_files_as_they_were() {
    let workers = ["--workers", "1"];
    let at = endpoint(17623);
    let mut receiver = Running::start_ready(&with(&["recv", &at], &workers));
    let mut sender = Running::start_ready(&with(&["send", &at], &workers));
    sender.write(b"first\n\nthi");
    receiver.await_progress("messages", 2);
    sender.write(b"rd\nlast, without an end");
    let sent = sender.finish().ended(0);
    let received = receiver.finish().ended(0);
    assert_eq!(String::from_utf8_lossy(&received.stdout), "first\n\nthird\nlast, without an end\n");
    assert!(sent.stderr.starts_with("sent 4 messages, 30 octets"), "{}", sent.stderr);

    let (from, to, tape) = (Scratch::new("workers-from"), Scratch::new("workers-to"), Scratch::new("workers-tape"));
    let octets: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(from.path(), &octets).expect("a place to write");
    let at = endpoint(17624);
    let take = ["--out", to.path(), "--timeout", "30", "--pcap", tape.path()];
    let receiver = Running::start_ready(&with(&["recv", &at], &[&workers[..], &take].concat()));
    let give = ["--file", from.path(), "--size", "5000", "--rate", "500M"];
    run(&with(&["send", &at], &[&workers[..], &give].concat())).ended(0);
    receiver.finish().ended(0);
    assert!(std::fs::read(to.path()).expect("the file") == octets);
    assert!(std::fs::metadata(tape.path()).expect("the capture").len() > 300_000);
}

#[test]
fn workers_end_as_one_thread_does() {
    let workers = ["--workers", "1"];
    let at = endpoint(17625);
    let nothing = run(&["recv", &at, "--workers", "1", "--timeout", "0.1"]).ended(4);
    assert!(nothing.stderr.ends_with("pgmx recv: nothing came for 0.1 s\n"), "{nothing:?}");

    let verify = ["--workers", "1", "--verify", "--count", "100", "--json"];
    let receiver = Running::start_ready(&with(&["recv", &at], &verify));
    run(&with(&["send", &at], &["--workers", "1", "--count", "60"])).ended(0);
    let received = receiver.finish().ended(3).json();
    assert_eq!((&received["messages"], &received["lost"]), (&60.into(), &40.into()));

    let receiver = Running::start_ready(&with(&["recv", &at], &[&workers[..], &["--verify"]].concat()));
    let sender = Running::start_ready(&with(&["send", &at], &["--workers", "1", "--size", "100", "--pps", "1000"]));
    std::thread::sleep(std::time::Duration::from_millis(100));
    sender.signal(libc::SIGINT);
    let received = receiver.finish().ended(0);
    let sent = sender.finish().ended(0);
    assert!(received.stderr.starts_with("received ") && sent.stderr.starts_with("sent "), "{received:?} {sent:?}");

    // More than leaves within three seconds, and nobody waits for that.
    let sender = Running::start_ready(&["send", &at, "--workers", "1", "--size", "1000", "--rate", "20k"]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    sender.signal(libc::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(50));
    sender.signal(libc::SIGINT);
    let begun = std::time::Instant::now();
    assert!(sender.finish().ended(130).stderr.starts_with("sent "));
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_slow_rate_is_one_from_the_first_packet_on() {
    let at = endpoint(17626);
    let sent = run(&with(&["send", &at], &["--count", "200", "--size", "1000", "--rate", "2M", "--json"])).ended(0);
    // One packet of the largest size may leave at once, and on loopback that is 64 KiB; no less than the rest takes its time.
    let least = (200.0 * 1000.0 - 65_536.0) * 8.0 / 2e6;
    assert!(sent.json()["seconds"].as_f64() >= Some(least), "{sent:?}");
}

#[test]
fn what_fails_midway_is_summed_up_all_the_same() {
    let at = endpoint(17627);
    for workers in [&[][..], &["--workers", "1"]] {
        let mut receiver = Running::start_ready(&with(&["recv", &at], &["--json"]));
        let mut sender = Running::start(&with(&["send", &at], &[&["--json", "--window", "64"], workers].concat()));
        sender.write(b"short\n");
        receiver.await_progress("messages", 1);
        sender.write(&vec![b'x'; 8 << 20]);
        let sent = sender.finish().ended(1);
        assert!(sent.line().contains("does not fit") && sent.line().contains("--window"), "{sent:?}");
        assert_eq!((sent.figure("messages"), sent.figure("bytes")), (1, 5));
        // Who listens is told, and does not wait for the rest.
        let received = receiver.finish().ended(1);
        assert_eq!(received.json()["events"][1]["cause"], "Aborted(0)", "{received:?}");
    }
    let receiver = Running::start_ready(&with(&["recv", &at], &["--json", "--out", "/dev/full"]));
    run(&with(&["send", &at], &["--count", "3"])).ended(0);
    let received = receiver.finish().ended(1);
    assert!(received.line().contains("--out: /dev/full: writing failed"), "{received:?}");
    assert!(received.figure("messages") > 0, "{received:?}");
}

#[test]
fn a_file_that_is_there_outlives_a_receiver_that_cannot_listen() {
    let file = Scratch::new("precious");
    std::fs::write(file.path(), b"precious").expect("a place to write");
    run(&["recv", "epgm://no-such-interface;239.192.77.1:17628", "--out", file.path()]).ended(1);
    assert_eq!(std::fs::read(file.path()).expect("the file"), b"precious");
}

#[test]
fn a_window_is_rounded_up_and_that_is_said() {
    let outcome = run(&with(&["send", &endpoint(17616)], &["--window", "1000", "--count", "1"])).ended(0);
    assert!(outcome.stderr.starts_with("--window 1000: taken as 1024"), "{outcome:?}");
}

#[test]
fn the_way_that_was_taken_is_told_to_those_who_ask() {
    let outcome = run(&with(&["send", &endpoint(17617)], &["-v", "--count", "1"])).ended(0);
    assert!(outcome.stderr.starts_with("lo: UDP sockets"), "{outcome:?}");
    assert!(outcome.stderr.lines().next().is_some_and(|line| line.contains("xdp refused: loopback")), "{outcome:?}");
}

#[test]
fn shells_and_man_learn_the_command_line_from_it() {
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&["completions", shell]).ended(0).stdout;
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains("late-join") && text.contains("recv"), "{shell}");
    }
    let page = String::from_utf8(run(&["man"]).ended(0).stdout).expect("UTF-8");
    assert!(page.contains(".TH pgmx 1") && page.contains("pgmx\\-send(1)"), "{page}");
    let dir = Scratch::new("man");
    std::fs::create_dir(dir.path()).expect("a place to write");
    run(&["man", dir.path()]).ended(0);
    let page = std::fs::read_to_string(format!("{}/pgmx-recv.1", dir.path())).expect("a page for each command");
    assert!(page.contains("verify"));
    std::fs::remove_dir_all(dir.path()).expect("ours");
    assert!(run(&["man", "/no/such/directory"]).ended(1).line().contains("/no/such/directory"));
}
