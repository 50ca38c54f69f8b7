//! `pgmx ping` and `pgmx pong` as two programs of one host, over UDP sockets, without rights.

#[allow(dead_code)]
mod support;

use support::{Running, run};

#[test]
fn two_programs_of_one_host_find_each_other() {
    // A port of this test's own: others may run beside it.
    let endpoint = format!("epgm://lo;239.192.77.1:{}", 20_000 + std::process::id() % 20_000);
    let pong = Running::start_ready(&["pong", &endpoint, "--io", "udp"]);
    let ping = Running::start(&["ping", &endpoint, "--io", "udp", "--interval", "0", "--count", "500", "--json"]);
    let ping = ping.finish().ended(0);
    let report = ping.json();
    assert_eq!((&report["messages"], &report["lost"]), (&500.into(), &0.into()), "{report}");
    assert!(report["latency_ns"]["p50"].as_u64().is_some_and(|ns| ns > 0), "{report}");
    let pong = pong.finish().ended(0);
    // Without --json a table for people, where it does not mix with data.
    assert!(pong.stdout.is_empty() && pong.stderr.starts_with("pong: answered "), "{pong:?}");
}

#[test]
fn whom_nobody_answers_says_so_and_reports_nothing_all_the_same() {
    let endpoint = format!("epgm://lo;239.192.77.2:{}", 20_000 + std::process::id() % 20_000);
    for command in ["ping", "pong"] {
        let outcome = run(&[command, &endpoint, "--timeout", "0.1", "--json"]).ended(4);
        assert!(outcome.line().contains("is `pgmx p"), "{outcome:?}");
        assert_eq!((outcome.figure("messages"), outcome.figure("lost")), (0, 0), "{outcome:?}");
        let quiet = run(&[command, &endpoint, "--timeout", "0.1"]).ended(4);
        assert_eq!((quiet.line().is_empty(), quiet.stdout.len()), (false, 0), "{quiet:?}");
    }
}

#[test]
fn with_workers_they_find_each_other_as_well_whichever_form_the_other_side_has() {
    for (n, (pinging, ponging)) in [(true, true), (true, false), (false, true)].into_iter().enumerate() {
        let endpoint = format!("epgm://lo;239.192.77.1:{}", 40_000 + 2 * n as u32 + std::process::id() % 20_000);
        let with = |workers, rest: &[&'static str]| {
            let form = if workers { &["--workers", "1", "--idle", "block"][..] } else { &[] };
            [rest, form].concat()
        };
        let pong = Running::start_ready(&[&["pong", &endpoint][..], &with(ponging, &["--json"])].concat());
        let count = ["--interval", "0", "--count", "300", "--json"];
        let ping = Running::start(&[&["ping", &endpoint][..], &with(pinging, &count)].concat()).finish().ended(0);
        let (ping, pong) = (ping.json(), pong.finish().ended(0).json());
        assert_eq!((&ping["messages"], &ping["lost"], &ping["corrupt"]), (&300.into(), &0.into(), &0.into()), "{ping}");
        // Warm-up and greetings besides.
        assert!(pong["messages"].as_u64() >= Some(400), "{pong}");
        for report in [ping, pong] {
            assert!(report["spms_sent"].as_u64() > Some(0) && report["spms_received"].as_u64() > Some(0), "{report}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_one_line_and_status_2() {
    let port = "pgm://lo;239.192.0.1:65535";
    for (command, rest) in [("ping", &[][..]), ("pong", &[])] {
        let outcome = run(&[&[command, port], rest].concat()).ended(2);
        assert!(outcome.line().contains("answers come on the next port"), "{outcome:?}");
    }
    let endpoint = "pgm://lo;239.192.0.1:7500";
    for rest in [["--size", "15"], ["--interval", "5"], ["--count", "0"], ["--timeout", "0"]] {
        let outcome = run(&[&["ping", endpoint], &rest[..]].concat()).ended(2);
        assert!(outcome.line().contains(rest[0]), "{outcome:?}");
    }
    run(&["pong", "--help"]).ended(0);
}
