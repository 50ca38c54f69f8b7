//! What `pgmx` says, in one line, when something is in its way that only root can put there. Needs root and `setpriv`:
//! `cargo test --test privileged_errors -- --ignored`.

#[path = "../../engine/tests/support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "support/program.rs"]
#[allow(dead_code)]
// shared; not every user needs all of it
mod program;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use netns::{Cable, Pair};
use program::{PGMX, Program};

const CHANNEL: &str = "239.192.0.1:7500";

/// What the command is told for this interface.
fn words<'a>(verb: &'a str, interface: &'a str, io: &'a str) -> Vec<&'a str> {
    let more: &[&str] = if verb == "send" { &["--count", "1"] } else { &[] };
    [&[verb, "-i", interface, CHANNEL, "--io", io, "--json"], more].concat()
}

#[cfg(feature = "xdp")]
#[test]
#[ignore = "needs root"]
fn a_second_program_on_an_interface_is_refused_with_the_number_of_the_first() {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let interface = pair.left_ports[0].interface.as_str();
    let mut first =
        pair.left.inside(|| Program::begin(&[&words("recv", interface, "xdp")[..], &["--progress", "50"]].concat()));
    first.await_progress("messages", 0);
    for (verb, io) in [("recv", "xdp"), ("send", "xdp"), ("recv", "raw")] {
        let second = pair.left.inside(|| Program::begin(&words(verb, interface, io))).end();
        assert_eq!(second.code(), Some(1), "{second:?}");
        let line = second.complaint();
        assert!(line.starts_with(&format!("pgmx {verb}: ")), "{line}");
        assert!(line.contains(&first.pid().to_string()) && line.contains(interface), "{line}");
    }
    // The first one does not notice.
    first.signal(libc::SIGINT);
    let first = first.end();
    assert_eq!((first.code(), first.complaints.len()), (Some(0), 0), "{first:?}");
}

#[test]
#[ignore = "needs root"]
fn an_interface_whose_mtu_is_too_small_is_refused_with_what_is_needed() {
    let pair = Pair::new(&[Cable { ipv6: false, ..Cable::default() }]).expect("two hosts");
    let interface = pair.left_ports[0].interface.as_str();
    pair.left.ip(&["link", "set", "dev", interface, "mtu", "68"]).expect("the least that IPv4 takes");
    for verb in ["send", "recv"] {
        let ended = pair.left.inside(|| Program::begin(&words(verb, interface, "raw"))).end();
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        let line = ended.complaint();
        assert!(line.contains("MTU") && line.contains("68") && line.contains(interface), "{line}");
    }
}

#[test]
#[ignore = "needs root"]
fn who_has_no_right_is_told_which_and_where_none_is_needed() {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let interface = pair.left_ports[0].interface.as_str();
    // Where the command lies, nobody may look.
    let copy = std::env::temp_dir().join(format!("pgmx-errors-{}", std::process::id()));
    std::fs::copy(PGMX, &copy).expect("room for a copy");
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).expect("our own file");
    let ended = ["auto", "raw"].map(|io| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&copy);
        command.args(words("recv", interface, io)).current_dir("/");
        pair.left.inside(|| Program::begin_as(command)).end()
    });
    std::fs::remove_file(&copy).expect("our own file");
    for ended in ended {
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        let line = ended.complaint();
        assert!(line.contains("setcap") && line.contains("CAP_NET_RAW") && line.contains("epgm://"), "{line}");
    }
}
