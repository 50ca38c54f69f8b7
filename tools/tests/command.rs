//! The `pgmx` command as people call it: what it prints, and with which status it ends.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

const PGMX: &str = env!("CARGO_BIN_EXE_pgmx");

fn run(arguments: &[&str]) -> Output {
    Command::new(PGMX).args(arguments).output().expect("the command runs")
}

fn status(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A file of this test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pgmx-command-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn help_is_help_and_nonsense_is_status_2() {
    for arguments in [&["--help"][..], &["help"], &["demo", "--help"], &["doctor", "-h"]] {
        let output = run(arguments);
        assert_eq!(status(&output), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Examples:"), "{arguments:?}");
    }
    for arguments in [
        &[][..],
        &["dance"],
        &["demo", "--loss", "101"],
        &["demo", "--seconds", "0"],
        &["demo", "--rate", "0"],
        &["demo", "--rate"],
        &["demo", "--size", "8"],
        &["demo", "--io", "smoke"],
        &["doctor", "lo", "eth0"],
        &["doctor", "--yaml"],
    ] {
        let output = run(arguments);
        assert_eq!(status(&output), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_demo_needs_no_right_and_loses_nothing_over_loopback() {
    let (mut command, _copy) = as_nobody();
    command.args(["demo", "--seconds", "0.6", "--rate", "2000", "--loss", "10%", "--json"]);
    let output = command.output().expect("the command runs");
    let error = text(&output.stderr);
    assert_eq!(status(&output), Some(0), "{error}");
    assert!(error.lines().count() == 1 && error.contains("over udp on loopback: "), "{error}");
    let result = json(&output);
    assert_eq!((&result["lost"], &result["corrupt"]), (&Value::from(0), &Value::from(0)), "{result:#}");
    assert_eq!(result["network"], "loopback");
    assert!(error.contains(result["because"].as_str().expect("a reason")), "{error}");
    let subscribers = result["subscribers"].as_array().expect("a list");
    assert_eq!(subscribers.len(), 3, "{result:#}");
    assert!(subscribers[..2].iter().all(|one| one["messages"] == result["published"]), "{result:#}");
    assert!(subscribers[1]["repairs"].as_u64() > Some(0), "{result:#}");
}

#[test]
fn a_demo_over_a_link_that_needs_rights_is_refused_to_who_has_none() {
    let (mut command, _copy) = as_nobody();
    let output = command.args(["demo", "--io", "raw"]).output().expect("the command runs");
    let error = text(&output.stderr);
    assert_eq!((status(&output), output.stdout.len()), (Some(1), 0), "{error}");
    assert!(error.lines().count() == 1 && error.contains("--io raw: no network namespace"), "{error}");
}

#[test]
fn the_doctor_examines_loopback_and_says_which_link_it_would_get() {
    let output = run(&["doctor", "lo", "--json"]);
    assert_eq!(status(&output), Some(0), "{}", text(&output.stderr));
    let report = json(&output);
    let keys = |checks: &Value| -> Vec<String> {
        let checks = checks.as_array().expect("a list").iter();
        checks.map(|check| check["key"].as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!(
        keys(&report["host"]),
        [
            "kernel",
            "build",
            "rights",
            "memlock",
            "btf",
            "bpf_jit",
            "huge_pages",
            "cores",
            "clock",
            "busy_poll",
            "rmem_max",
            "igmp_memberships"
        ]
    );
    let lo = &report["interfaces"][0];
    assert_eq!(lo["name"], "lo");
    assert_eq!(
        keys(&lo["checks"]),
        [
            "state",
            "addresses",
            "driver",
            "queues",
            "xdp_native",
            "xdp_zero_copy",
            "xdp_program",
            "mtu",
            "offloads",
            "numa",
            "interrupts",
            "napi",
            "rp_filter",
            "igmp"
        ]
    );
    for check in report["host"].as_array().into_iter().chain(lo["checks"].as_array()).flatten() {
        let state = check["state"].as_str().expect("a state");
        assert!(["ok", "unknown", "better", "blocks"].contains(&state), "{check}");
        assert_eq!(check["remedy"].is_string(), ["better", "blocks"].contains(&state), "{check}");
        assert_eq!(check["instead"].is_string(), state == "blocks", "{check}");
    }
    assert_eq!(lo["verdicts"][1]["endpoint"], "epgm");
    assert_eq!(lo["verdicts"][1]["io"], "udp");
    assert_eq!(lo["verdicts"][1]["refusals"][0]["attempt"], "xdp");
}

#[test]
fn the_doctor_finds_interfaces_by_number_and_address_and_names_those_that_are_there() {
    let by_address = run(&["doctor", "127.0.0.1"]);
    assert!(text(&by_address.stdout).contains("\nlo\n  ok      state             up\n"));
    let output = run(&["doctor", "no-such-card"]);
    assert_eq!((status(&output), output.stdout.len()), (Some(1), 0));
    let error = text(&output.stderr);
    assert!(error.lines().count() == 1 && error.contains("no-such-card") && error.contains("lo"), "{error}");
}

#[test]
fn the_summary_lists_what_is_up() {
    let output = run(&["doctor"]);
    assert_eq!(status(&output), Some(0));
    let report = text(&output.stdout);
    assert!(report.starts_with("this host\n") && report.contains("\nlo\n  pgm://"), "{report}");
}

/// The command, to be run by nobody: by becoming nobody, if we are root.
fn as_nobody() -> (Command, Scratch) {
    // Tests of one process run side by side.
    static COPIES: AtomicU32 = AtomicU32::new(0);
    // Where the command lies, nobody may look.
    let copy = Scratch::new(&format!("pgmx-{}", COPIES.fetch_add(1, Ordering::Relaxed)));
    // By another process: a child that a test beside this one forks would hold the file open for writing, and nobody could run it.
    let copied = Command::new("cp").arg(PGMX).arg(&copy.0).status().expect("a `cp`");
    assert!(copied.success(), "room for a copy");
    std::fs::set_permissions(&copy.0, PermissionsExt::from_mode(0o755)).expect("our own file");
    let mut command = Command::new(&copy.0);
    command.current_dir("/");
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        command.uid(65534).gid(65534);
    }
    (command, copy)
}

#[test]
fn the_doctor_needs_no_right_and_names_those_that_links_need() {
    let (mut command, _copy) = as_nobody();
    command.args(["doctor", "lo", "--json"]);
    let output = command.output().expect("the command runs");
    assert_eq!(status(&output), Some(0), "{}", text(&output.stderr));
    let report = json(&output);
    let rights = report["host"].as_array().into_iter().flatten().find(|check| check["key"] == "rights");
    let rights = rights.expect("a line on rights");
    assert_eq!(rights["state"], "blocks");
    assert!(
        rights["remedy"]
            .as_str()
            .is_some_and(|remedy| remedy.contains("setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep"))
    );
    assert!(rights["instead"].as_str().is_some_and(|instead| instead.contains("epgm://")));
    assert_eq!(report["interfaces"][0]["verdicts"][0]["io"], Value::Null);
    assert_eq!(report["interfaces"][0]["verdicts"][1]["io"], "udp");
}

#[test]
fn who_stops_reading_is_no_failure_and_a_full_disk_is_one() {
    for arguments in [&["doctor", "lo"][..], &["doctor", "lo", "--json"], &["man"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(PGMX).args(arguments).stdout(writer).output().expect("the command runs");
        assert_eq!((status(&output), text(&output.stderr)), (Some(0), String::new()), "{arguments:?}");
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that every Linux has");
        let output = Command::new(PGMX).args(arguments).stdout(full).output().expect("the command runs");
        let error = text(&output.stderr);
        assert_eq!(status(&output), Some(1), "{arguments:?}: {error}");
        assert!(error.lines().count() == 1 && error.contains("stdout: writing failed: No space"), "{error}");
    }
}
