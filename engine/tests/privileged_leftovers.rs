//! Nothing is left behind, however a process ends. Needs root: `cargo test --test privileged_leftovers -- --ignored`.
//!
//! The test runs itself as a child that makes hosts, cables, links of every kind and traffic, over and over, and kills it at fifty
//! moments. What the child could leave behind is looked for where it would lie: processes, interfaces, namespaces (one end of a cable in
//! each of the child's namespaces lies with us, and is gone when the namespace is), abstract sockets, XDP programs, pinned maps.

#![cfg(feature = "xdp")]

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use netns::{Cable, Host, Pair};
use pgmx::frame::{Outgoing, Pool, RxBatch, To, TxBatch};
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::udp::{UdpConfig, UdpLink};
use pgmx::link::xdp::{XdpConfig, XdpLink};
use pgmx::link::{Channel, Link};
use pgmx::time::Time;

const ROUNDS: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(30);
/// Marks the child and its children in their environment.
const TAG: &str = "PGMX_LEFTOVERS";
const CHANNEL: Channel = Channel { group: IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1)), data_port: 7500 };

/// How far the child came, on its standard output, in octets that nobody else prints.
const STAGES: [(u8, &str); 3] = [(1, "hosts"), (2, "links"), (3, "traffic")];

#[test]
#[ignore = "needs root"]
fn a_killed_process_leaves_nothing_behind() {
    if let Ok(lab) = std::env::var(TAG) {
        make_and_break(&lab);
    }
    if netns::is_skipped(&[Cable::queues(2)]) {
        return;
    }
    let before = (programs(), links(), pinned(), interfaces());
    let lab = Host::new().expect("a host");
    let tag = format!("{}/{}", std::process::id(), lab.path());
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut reached = [0; STAGES.len()];
    for round in 0..ROUNDS {
        let mut child = begin(&lab, &tag);
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let (mut said, ear) = (Vec::new(), listen(&mut child));
        // Every other one is killed while packets fly, wherever that may be in time.
        if round % 2 == 1 {
            while !said.ends_with(&[3]) {
                said.push(ear.recv_timeout(PATIENCE).expect("packets fly after a while"));
            }
            std::thread::sleep(Duration::from_micros((random >> 40) % 20_000));
        } else {
            std::thread::sleep(Duration::from_micros((random >> 40) % 400_000));
        }
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        said.extend(ear);
        for (count, (stage, _)) in reached.iter_mut().zip(STAGES) {
            *count += u32::from(said.contains(&stage));
        }
        nothing_is_left(&lab, &tag, &before, round);
    }
    let names = STAGES.map(|(_, name)| name);
    println!("{ROUNDS} kills, of them {reached:?} with {names:?}");
    assert!(reached[2] >= 25, "too few were killed in the middle of it: {reached:?} of {names:?}");
}

/// The child: as many things at once as can be made, until it is killed.
fn make_and_break(lab: &str) -> ! {
    let lab = lab.split_once('/').expect("a tag").1.to_owned();
    let lab = if lab.starts_with('/') { lab } else { format!("/{lab}") };
    let said = |stage: u8| {
        let mut out = std::io::stdout();
        out.write_all(&[stage]).and_then(|()| out.flush()).expect("our maker listens");
    };
    let mut here = UdpLink::open(&UdpConfig::new("lo", 3055, 3056)).expect("loopback");
    here.0.join(CHANNEL, &[]).expect("a group");
    loop {
        let pair = Pair::new(&[Cable::default(), Cable::queues(2)]).expect("two hosts");
        for (host, name) in [(&pair.left, "canary0"), (&pair.right, "canary1")] {
            host.ip(&["link", "add", "back", "type", "veth", "peer", "name", name, "netns", &lab]).expect("a canary");
        }
        said(1);
        let xdp = |host: &Host, port: usize, ports: &[netns::Port]| {
            host.inside(|| {
                let (mut link, pool) = XdpLink::open(&XdpConfig::new(&ports[port].interface)).expect("an xdp link");
                link.join(CHANNEL, &[]).expect("a group");
                link.listen(7400).expect("a port");
                (link, pool)
            })
        };
        let left = xdp(&pair.left, 0, &pair.left_ports);
        let right = xdp(&pair.right, 0, &pair.right_ports);
        let wide = xdp(&pair.left, 1, &pair.left_ports);
        let raw = pair.right.inside(|| {
            let (mut link, pool) = RawLink::open(&RawConfig::new(&pair.right_ports[1].interface)).expect("a raw link");
            link.join(CHANNEL, &[]).expect("a group");
            (link, pool)
        });
        said(2);
        std::thread::scope(|scope| {
            scope.spawn(|| flood(left, 2000));
            scope.spawn(|| flood(right, 2000));
            scope.spawn(|| flood(raw, 2000));
            flood(wide, 50);
            said(3);
        });
        // A maker that is gone would never kill us.
        assert!(std::path::Path::new(&lab).exists(), "nobody is there any more");
        for (host, name) in [(&pair.left, "back"), (&pair.right, "back")] {
            host.ip(&["link", "delete", name]).expect("a canary");
        }
    }
}

/// Sends and receives for so many turns, and shuts down.
fn flood<L: Link>((mut link, mut pool): (L, Pool), turns: u32) {
    let (mut out, mut back) = (TxBatch::new(32), RxBatch::new(64));
    let start = pool.layout().start + link.path().front;
    for _ in 0..turns {
        while out.room() > 0
            && let Some(mut frame) = pool.take()
        {
            frame.set_range(start, 64);
            // SPM of the channel: source port, data port, type.
            pool.bytes_mut(&mut frame)[..4].copy_from_slice(&[0x1c, 0xe8, 0x1d, 0x4c]);
            out.push(Outgoing { frame, to: To::Group(CHANNEL.group), router_alert: false });
        }
        link.send(Time::ZERO, &mut pool, &mut out).expect("a cable");
        link.receive(Time::ZERO, &mut pool, &mut back).expect("a cable");
        while let Some(packet) = back.pop() {
            pool.put(packet.frame);
        }
    }
    link.shut_down(&mut pool);
}

/// This test again, on the lab's host.
fn begin(lab: &Host, tag: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "a_killed_process_leaves_nothing_behind", "--ignored", "--nocapture", "--quiet"])
        .env(TAG, tag)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    lab.inside(|| command.spawn()).expect("this test again")
}

/// Hears what the child says, until the pipe ends.
fn listen(child: &mut Child) -> Receiver<u8> {
    let mut pipe = child.stdout.take().expect("piped");
    let (say, hear) = channel();
    std::thread::spawn(move || {
        let mut one = [0];
        while pipe.read_exact(&mut one).is_ok() && say.send(one[0]).is_ok() {}
    });
    hear
}

type State = (BTreeSet<u32>, BTreeSet<u32>, BTreeSet<String>, BTreeSet<String>);

/// Looks until all is gone: the kernel takes apart namespaces and programs after their last user.
fn nothing_is_left(lab: &Host, tag: &str, before: &State, round: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = held();
        let orphans = |now: BTreeSet<u32>, before: &BTreeSet<u32>, held: &BTreeSet<u32>| {
            now.difference(before).filter(|id| !held.contains(id)).copied().collect::<Vec<_>>()
        };
        let left = [
            ("processes", format!("{:?}", processes(tag))),
            (
                "interfaces",
                format!("{:?}", lab.inside(interfaces).iter().filter(|name| *name != "lo").collect::<Vec<_>>()),
            ),
            ("sockets", format!("{:?}", lab.inside(claims))),
            ("programs", format!("{:?}", orphans(programs(), &before.0, &held.0))),
            ("links of programs", format!("{:?}", orphans(links(), &before.1, &held.1))),
            ("pinned files", format!("{:?}", pinned().difference(&before.2).collect::<Vec<_>>())),
            ("interfaces at home", format!("{:?}", interfaces().difference(&before.3).collect::<Vec<_>>())),
        ];
        let left: Vec<_> = left.into_iter().filter(|(_, what)| what != "[]").collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "round {round} left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes that carry the child's mark.
fn processes(tag: &str) -> Vec<u32> {
    let wanted = format!("{TAG}={tag}");
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|all| all.split(|octet| *octet == 0).any(|one| one == wanted.as_bytes()))
        })
        .collect()
}

/// Interfaces of the calling thread's namespace.
fn interfaces() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("interfaces");
    table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// Claims of channels in the calling thread's namespace.
fn claims() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/unix").expect("sockets");
    table
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| name.starts_with("@pgmx"))
        .map(str::to_owned)
        .collect()
}

/// Files in which programs or maps are pinned.
fn pinned() -> BTreeSet<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let systems = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (place, kind) = (words.nth(1)?, words.next()?);
        (kind == "bpf").then_some(place)
    });
    let files = systems.filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    files.map(|file| file.path().display().to_string()).collect()
}

/// Programs and links of programs that processes hold.
fn held() -> (BTreeSet<u32>, BTreeSet<u32>) {
    let mut held = (BTreeSet::new(), BTreeSet::new());
    for process in std::fs::read_dir("/proc").expect("processes").flatten() {
        for descriptor in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            if !std::fs::read_link(descriptor.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf")) {
                continue;
            }
            let info = process.path().join("fdinfo").join(descriptor.file_name());
            for line in std::fs::read_to_string(info).unwrap_or_default().lines() {
                let id = |line: &str| line.trim().parse::<u32>().ok();
                held.0.extend(line.strip_prefix("prog_id:").and_then(id));
                held.1.extend(line.strip_prefix("link_id:").and_then(id));
            }
        }
    }
    held
}

/// Every program the kernel has.
fn programs() -> BTreeSet<u32> {
    const BPF_PROG_GET_NEXT_ID: i32 = 11;
    ids(BPF_PROG_GET_NEXT_ID)
}

/// Every link of a program the kernel has.
fn links() -> BTreeSet<u32> {
    const BPF_LINK_GET_NEXT_ID: i32 = 31;
    ids(BPF_LINK_GET_NEXT_ID)
}

fn ids(command: i32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    // What the kernel reads: where to go on, and room for what comes next.
    let mut request = [0_u32; 4];
    loop {
        // SAFETY: the request is as long as it says and lives through the call, which writes its second word.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, request.as_mut_ptr(), size_of_val(&request)) };
        if done != 0 || !all.insert(request[1]) {
            return all;
        }
        request[0] = request[1];
    }
}
