//! The hosts that the other privileged tests stand on. Needs root: `cargo test --test privileged_netns -- --ignored`.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use netns::{Bridged, Cable, Host, Pair, on_two_wired_hosts};

const PATIENCE: Duration = Duration::from_secs(20);

fn namespace() -> std::path::PathBuf {
    std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace")
}

/// Says `words` from one address to another, and hears them there.
fn is_heard(from: (&Host, IpAddr), to: (&Host, IpAddr), words: &[u8]) {
    let hearing = to.0.inside(|| UdpSocket::bind((to.1, 0))).expect("an address of that host");
    hearing.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let saying = from.0.inside(|| UdpSocket::bind((from.1, 0))).expect("an address of this host");
    saying.send_to(words, hearing.local_addr().expect("bound")).expect("a route");
    let mut buffer = [0; 2048];
    let (len, sender) = hearing.recv_from(&mut buffer).expect("what was said");
    assert_eq!((&buffer[..len], sender.ip()), (words, from.1));
}

#[test]
#[ignore = "needs root"]
fn two_hosts_hear_each_other_on_every_cable_in_both_families_and_through_both_kinds_of_tags() {
    let cables =
        [Cable::queues(2), Cable::tagged(&[5]), Cable::tagged(&[100, 7]), Cable { mtu: 9000, ..Cable::default() }];
    if netns::is_skipped(&cables) {
        return;
    }
    let pair = Pair::new(&cables).expect("two hosts");
    for (left, right) in pair.left_ports.iter().zip(&pair.right_ports) {
        for (left, right) in [(Some(left), Some(right)), (left.tagged.as_deref(), right.tagged.as_deref())] {
            let (Some(left), Some(right)) = (left, right) else { continue };
            is_heard((&pair.left, left.address.into()), (&pair.right, left.peer.into()), b"v4");
            is_heard((&pair.right, right.address_v6.into()), (&pair.left, right.peer_v6.into()), b"v6");
        }
    }
    match &pair.left_ports[2].tagged {
        Some(tagged) => assert_eq!(tagged.interface, "left2.100.7"),
        None => eprintln!("this kernel has no VLAN devices: tags were not tried"),
    }
}

#[test]
#[ignore = "needs root"]
fn a_cable_is_as_silent_as_was_asked_for() {
    let cables = [Cable { ipv6: false, ..Cable::default() }];
    let (addresses, ()) = on_two_wired_hosts(
        &cables,
        |_| std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default(),
        |_| (),
    )
    .expect("two hosts");
    assert_eq!(addresses, "", "no interface of that host has an IPv6 address");
}

#[test]
#[ignore = "needs root"]
fn hosts_behind_a_bridge_all_hear_what_goes_to_a_group() {
    let bridged = Bridged::new(3).expect("a bridge");
    let group = Ipv4Addr::new(239, 192, 0, 1);
    let listening: Vec<UdpSocket> = bridged.hosts[1..]
        .iter()
        .map(|(host, port)| {
            host.inside(|| {
                let socket = UdpSocket::bind(SocketAddr::from((group, 4711))).expect("a port");
                socket.join_multicast_v4(&group, &port.address).expect("a group");
                socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
                socket
            })
        })
        .collect();
    let (host, port) = &bridged.hosts[0];
    host.ip(&["route", "add", "239.0.0.0/8", "dev", &port.interface]).expect("a route to groups");
    let saying = host.inside(|| UdpSocket::bind((port.address, 0))).expect("an address of this host");
    saying.send_to(b"all of you", (group, 4711)).expect("a route");
    for socket in listening {
        let mut buffer = [0; 64];
        let len = socket.recv(&mut buffer).expect("what was said");
        assert_eq!(&buffer[..len], b"all of you");
    }
    let spaces = bridged.run(|number, _| (number, namespace()));
    assert!(spaces.iter().map(|one| one.0).eq(0..3));
    assert!(spaces.iter().all(|one| one.1 != namespace()), "each works on its own host");
}

#[test]
#[ignore = "needs root"]
fn a_thread_is_back_home_after_a_visit_and_after_a_panic_there() {
    let home = namespace();
    let host = Host::new().expect("a host");
    let there = host.inside(namespace);
    assert!(there != home && namespace() == home);
    let ended = std::panic::catch_unwind(|| host.inside(|| std::panic::resume_unwind(Box::new("on purpose"))));
    assert!(ended.is_err() && namespace() == home);
    let child = host.inside(|| std::thread::spawn(namespace)).join().expect("no panic");
    assert_eq!(child, there, "threads are born where their makers are");
}

#[test]
#[ignore = "needs root"]
fn many_pairs_of_hosts_stand_side_by_side() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
                    let port = &pair.left_ports[0];
                    is_heard((&pair.left, port.address.into()), (&pair.right, port.peer.into()), b"same names");
                }
            });
        }
    });
}
