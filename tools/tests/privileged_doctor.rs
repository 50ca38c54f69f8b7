//! `pgmx doctor` on a cable of its own. Needs root, `unshare` and `ip`: `cargo test --test privileged_doctor -- --ignored`.
//!
//! Each run has a network namespace that ends with its process, so that nothing is left behind.

use std::process::Command;

use serde_json::Value;

/// Runs a script of the shell in a namespace with a veth cable from `va` to `vb`, both up; `$PGMX` is the command.
fn on_a_cable(script: &str) -> String {
    let cable = "set -e; ip link set lo up; ip link add va numrxqueues 4 numtxqueues 4 type veth peer name vb; \
                 ip address add 10.113.0.1/24 dev va; ip link set va up; ip link set vb up;";
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "sh", "-c", &format!("{cable} {script}")]).env("PGMX", env!("CARGO_BIN_EXE_pgmx"));
    let output = unshare.output().expect("unshare, of util-linux");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn check<'a>(interface: &'a Value, key: &str) -> &'a Value {
    let mut checks = interface["checks"].as_array().expect("a list").iter();
    checks.find(|check| check["key"] == key).expect("a line with that key")
}

#[test]
#[ignore = "needs root"]
fn a_cable_is_known_for_what_it_is() {
    let report: Value = serde_json::from_str(&on_a_cable("$PGMX doctor va --json")).expect("one JSON object");
    let va = &report["interfaces"][0];
    let state = |key| check(va, key)["state"].as_str().expect("a state");
    assert_eq!((state("state"), state("addresses"), state("xdp_program"), state("mtu")), ("ok", "ok", "ok", "ok"));
    assert!(check(va, "driver")["says"].as_str().is_some_and(|says| says.starts_with("veth")));
    assert!(check(va, "queues")["says"].as_str().is_some_and(|says| says.starts_with('4')), "{}", check(va, "queues"));
    assert_eq!((state("xdp_native"), state("xdp_zero_copy")), ("ok", "better"));
    // `/sys` still shows the namespace that we came from: what stands there says nothing about this cable.
    assert_eq!((state("numa"), state("napi")), ("unknown", "unknown"));
    let pgm = &va["verdicts"][0];
    if cfg!(feature = "xdp") {
        assert_eq!((pgm["io"].as_str(), pgm["way"].as_str()), (Some("xdp"), Some("native XDP, copy")));
        assert_eq!(pgm["refusals"][0]["attempt"], "xdp zero-copy");
    } else {
        assert_eq!(pgm["io"], "raw");
    }
}

#[test]
#[ignore = "needs root"]
fn what_is_in_the_way_is_told_with_what_mends_it() {
    let script = "ip link set va mtu 9000; echo 1 > /proc/sys/net/ipv4/conf/va/rp_filter; \
                  echo 2 > /proc/sys/net/ipv4/conf/va/force_igmp_version; ip link set vb down; $PGMX doctor va --json";
    let report: Value = serde_json::from_str(&on_a_cable(script)).expect("one JSON object");
    let va = &report["interfaces"][0];
    let remedy = |key| check(va, key)["remedy"].as_str().expect("a remedy").to_owned();
    assert_eq!(check(va, "state")["state"], "blocks");
    assert!(remedy("state").contains("other end"));
    assert_eq!(remedy("mtu"), "sudo ip link set dev va mtu 3818");
    assert!(remedy("rp_filter").ends_with("net.ipv4.conf.va.rp_filter=2"));
    assert!(remedy("igmp").contains("net.ipv4.conf.va.force_igmp_version=0"));
    assert_eq!(va["verdicts"][0]["io"], Value::Null);
}

#[test]
#[ignore = "needs root"]
fn it_changes_nothing() {
    let state =
        "ip -details address; ip maddress; cat /proc/net/igmp; sysctl -a --pattern '^net\\.' 2>/dev/null || true";
    let text = on_a_cable(&format!(
        "{{ {state}; }} | md5sum; $PGMX doctor va >/dev/null; $PGMX doctor >/dev/null; {{ {state}; }} | md5sum"
    ));
    let sums: Vec<&str> = text.lines().collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "{text}");
}
