//! `pgmx demo` on hosts of its own, to its end and to all the ends that it should not have. Needs root:
//! `cargo test --test privileged_demo -- --ignored`.

#[allow(dead_code)] // shared by several tests
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Running;

/// What takes longer than this hangs; machines may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes that another one began.
fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the name, which may hold anything: state and parent.
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            after.split_whitespace().nth(1).and_then(|word| word.parse().ok()) == Some(parent)
        })
        .collect()
}

/// The network namespace of a process.
fn namespace(pid: &str) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Those that processes are in.
fn namespaces() -> BTreeSet<String> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    all.filter_map(|entry| namespace(entry.file_name().to_str()?)).collect()
}

/// Every program that the kernel has for XDP and the like.
fn programs() -> BTreeSet<u32> {
    const BPF_PROG_GET_NEXT_ID: i32 = 11;
    let mut all = BTreeSet::new();
    // Where to go on, and room for what comes next.
    let mut request = [0_u32; 4];
    loop {
        // SAFETY: the request is as long as it says and lives through the call, which writes its second word.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_GET_NEXT_ID, request.as_mut_ptr(), size_of_val(&request)) };
        if done != 0 || !all.insert(request[1]) {
            return all;
        }
        request[0] = request[1];
    }
}

/// Runnings that a process holds.
fn held(pid: u32) -> BTreeSet<u32> {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts: Vec<String> = infos.filter_map(|info| std::fs::read_to_string(info.path()).ok()).collect();
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        .collect()
}

/// A demo in the middle of its work.
struct Scene {
    demo: Running,
    children: Vec<u32>,
    namespaces: BTreeSet<String>,
    programs: BTreeSet<u32>,
}

impl Scene {
    fn begin(words: &[&str]) -> Self {
        let demo = Running::start(&[&["demo", "--seconds", "60", "--rate", "2000"], words].concat());
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The late one comes after a third of the time, which is not waited for.
            let children = children(demo.pid());
            let playing: Vec<u32> = children.into_iter().filter(|pid| is_pgmx(*pid)).collect();
            if playing.len() == 3 && playing.iter().all(|pid| has_sockets(*pid)) {
                let namespaces = playing.iter().filter_map(|pid| namespace(&pid.to_string())).collect();
                let programs = playing.iter().flat_map(|pid| held(*pid)).collect();
                return Self { demo, children: playing, namespaces, programs };
            }
            assert!(Instant::now() < deadline, "the demo does not begin: {playing:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Looks until all is gone: the kernel takes namespaces and programs apart after their last user.
    fn is_gone(children: &[u32], spaces: &BTreeSet<String>, held: &BTreeSet<u32>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let alive: Vec<u32> = children.iter().copied().filter(|pid| is_pgmx(*pid)).collect();
            let left = (alive, namespaces().intersection(spaces).count(), programs().intersection(held).count());
            if matches!(&left, (alive, 0, 0) if alive.is_empty()) {
                return;
            }
            assert!(Instant::now() < deadline, "children, namespaces, programs that are left: {left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_pgmx(pid: u32) -> bool {
    // What ended and was not waited for has no command line any more.
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.contains("pgmx") && line.contains("239.192.0.1"))
}

fn has_sockets(pid: u32) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|one| std::fs::read_link(one.path()).ok())
        .any(|to| to.to_string_lossy().starts_with("socket:"))
}

#[test]
#[ignore = "needs root"]
fn three_subscribers_get_everything_over_each_link_and_the_report_says_so() {
    let best = if cfg!(feature = "xdp") { "xdp copy" } else { "raw" };
    for (io, link) in [("auto", best), ("raw", "raw"), ("udp", "udp")] {
        let ended = Running::start(&["demo", "--seconds", "2", "--rate", "2000", "--loss", "5%", "--io", io, "--json"])
            .finish();
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(0), 0), "{ended:?}");
        let report = ended.json();
        assert_eq!(
            (&report["lost"], &report["corrupt"], &report["network"]),
            (&0.into(), &0.into(), &"namespaces".into())
        );
        let published = report["published"].as_u64().expect("a number");
        assert!(published >= 3000, "{report:#}");
        let subscribers = report["subscribers"].as_array().expect("a list");
        assert_eq!(subscribers.len(), 3, "{report:#}");
        for subscriber in &subscribers[..2] {
            assert_eq!(subscriber["messages"], published, "{report:#}");
        }
        assert!(subscribers[1]["repairs"].as_u64() > Some(published / 100), "{report:#}");
        // On a machine that is busy elsewhere it may come when all is over.
        let least = u64::from(report["joined_after_s"].as_f64().is_none_or(|joined| joined < 1.8));
        let late = subscribers[2]["messages"].as_u64().expect("a number");
        assert!((least..=published).contains(&late), "{report:#}");
        for one in subscribers.iter().chain([&report["publisher"]]) {
            assert_eq!((&one["report"]["io"], &one["failure"]), (&link.into(), &Value::Null), "{report:#}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_ends_it_well_and_the_table_comes_all_the_same() {
    let Scene { demo, children, namespaces, programs } = Scene::begin(&[]);
    demo.signal(libc::SIGINT);
    let ended = demo.finish();
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(0), 0), "{ended:?}");
    let table = String::from_utf8_lossy(&ended.stdout);
    assert!(table.contains("stopped; until then nothing was lost"), "{ended:?}");
    Scene::is_gone(&children, &namespaces, &programs);
}

#[test]
#[ignore = "needs root"]
fn a_child_that_is_killed_ends_it_with_one_line() {
    let Scene { demo, children, namespaces, programs } = Scene::begin(&[]);
    // SAFETY: touches no memory; a child of our child, which has not waited for it yet.
    assert_eq!(unsafe { libc::kill(children[0] as libc::pid_t, libc::SIGKILL) }, 0);
    let ended = demo.finish();
    assert_eq!((ended.status, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains("signal: 9"), "{ended:?}");
    Scene::is_gone(&children, &namespaces, &programs);
}

#[test]
#[ignore = "needs root"]
fn a_demo_that_is_killed_leaves_nothing_behind() {
    let Scene { demo, children, namespaces, programs } = Scene::begin(&[]);
    assert_eq!(namespaces.len(), 3, "each has a host of its own");
    assert_eq!(programs.is_empty(), cfg!(not(feature = "xdp")));
    demo.signal(libc::SIGKILL);
    assert_eq!(demo.finish().status, None);
    Scene::is_gone(&children, &namespaces, &programs);
}
