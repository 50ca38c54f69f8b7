//! `pgmx bench` on hosts of its own. Needs root, two processors and Linux 5.18: `cargo test --test privileged_bench -- --ignored`.
#![cfg(feature = "xdp")]

#[allow(dead_code, unreachable_pub)] // shared by several tests
#[path = "../../engine/tests/support/netns.rs"]
mod netns;
#[allow(dead_code)]
mod support;

use netns::{Cable, Pair};
use support::{Running, run};

#[test]
#[ignore = "needs root"]
fn the_generator_is_received_without_a_loss_by_bare_rings_and_by_the_engine() {
    let arguments = ["bench", "receive", "--loopback", "veth", "--rounds", "2", "--seconds", "0.1", "--json"];
    let report = run(&arguments).ended(0).json();
    let rows = report["rows"].as_array().expect("rows");
    for payload in [64, 1400] {
        for who in ["bare", "pgmx"] {
            let row =
                rows.iter().find(|row| row["who"] == who && row["payload"] == payload).expect("both, each with both");
            assert_eq!((row["lost"].as_u64(), row["rounds"].as_u64()), (Some(0), Some(2)), "{row}");
            assert!(row["sent"].as_u64() > Some(1000), "{row}");
        }
        let ratio = rows.iter().find(|row| row["payload"] == payload && row["who"].is_null()).expect("a ratio");
        assert!(ratio["ratio"]["median"].as_f64() > Some(0.0), "{ratio}");
    }
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_ends_a_measurement_with_what_there_is() {
    let running = Running::start(&["bench", "receive", "--loopback", "veth", "--rounds", "1000", "--seconds", "1"]);
    // Whatever it is at: making hosts, or measuring.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    running.signal(libc::SIGINT);
    let outcome = running.finish();
    outcome.ended(0);
}

#[test]
#[ignore = "needs root"]
fn what_one_host_generates_at_a_pace_another_receives_whole() {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let (near, far) = (pair.left_ports[0].interface.clone(), pair.right_ports[0].interface.clone());
    let receive = ["bench", "receive", "--interface", &far, "--seconds", "1", "--json"];
    let receiver = pair.right.inside(|| Running::start(&receive));
    // A cable takes redirected frames from when a program looks at its other end; until then the command says so, and ends.
    let generate = ["bench", "generate", "--interface", &near, "--rate", "2k", "--seconds", "2", "--json"];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let generated = loop {
        let outcome = pair.left.inside(|| run(&generate));
        if outcome.status == Some(0) || std::time::Instant::now() > deadline {
            break outcome.ended(0);
        }
        assert!(outcome.line().contains("takes no redirected frames now"), "{outcome:?}");
    };
    let heard = receiver.finish().ended(0);
    assert_eq!((heard.figure("lost"), heard.figure("payload")), (0, 64), "{heard:?}");
    assert!(heard.figure("packets") > 0 && heard.figure("packets") <= generated.figure("sent"), "{heard:?}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    for (arguments, said) in [
        (&["receive"][..], "--loopback"),
        (&["receive", "--loopback", "veth", "--size", "1457"], "1 to 1456"),
        (&["receive", "--loopback", "veth", "--ring", "1000"], "power of two"),
        (&["receive", "--loopback", "veth", "--ahead", "4096"], "1 to 2048 (the ring)"),
        (&["receive", "--loopback", "veth", "--core", "0,0"], "two processors"),
        (&["generate", "--interface", "lo", "--group", "10.0.0.1"], "224.0.0.0"),
    ] {
        let refused = run(&[&["bench"], arguments].concat()).ended(2);
        assert!(refused.line().contains(said), "{refused:?}");
    }
}
