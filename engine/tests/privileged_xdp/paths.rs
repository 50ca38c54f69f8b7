//! What a packet is dressed in on its way, and who is next: families, encapsulations, tags, next hops, sources.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pgmx::frame::To;
use pgmx::link::xdp::{UpstreamBudget, Verdict};
use pgmx::link::{Address, Channel, Encapsulation, Link};
use pgmx::wire::net::Vlans;

use super::end::{Came, DATA_PORT, End, FAMILIES, group, odata};
use crate::netns::{Cable, Pair, Port};

fn pair() -> Pair {
    Pair::new(&[Cable::default()]).expect("two hosts")
}

/// Both ends with the same choices, the right one a member of the group.
fn ends(pair: &Pair, change: fn(&mut pgmx::link::xdp::XdpConfig)) -> (End<'_>, End<'_>) {
    let left = End::open(&pair.left, &pair.left_ports[0], change);
    let mut right = End::open(&pair.right, &pair.right_ports[0], change);
    right.join(&[]);
    (left, right)
}

/// There and back: to the group, and the answer to the one who was heard.
fn talk(mut left: End<'_>, mut right: End<'_>) {
    left.tell(b"who is there?");
    let (one, other) = (left.address(), right.address());
    assert_eq!(right.hear(), Came { payload: b"who is there?".to_vec(), from: one, to: right.group() });
    right.send(b"I am", To::Unicast(one));
    assert_eq!(left.hear(), Came { payload: b"I am".to_vec(), from: other, to: one });
    assert_eq!(right.link.counters().by_kernel, 0, "who was heard is answered directly");
    for end in [left, right] {
        assert_eq!(end.steered(Verdict::Steered), 1);
        end.close();
    }
}

#[test]
#[ignore = "needs root"]
fn groups_and_hosts_of_both_families_are_reached_and_answer() {
    let pair = pair();
    let (left, right) = ends(&pair, |_| {});
    assert_eq!((left.link.path().front, left.link.path().alert), (34, 4));
    talk(left, right);
    let (left, right) = ends(&pair, |config| config.address = Address::Ipv6);
    assert_eq!((left.link.path().front, left.link.path().alert), (54, 0));
    assert_eq!(left.address(), IpAddr::from(left.port.address_v6));
    talk(left, right);
}

/// conformance 17
#[test]
#[ignore = "needs root"]
fn pgm_in_udp_goes_to_one_port_for_groups_and_one_for_hosts() {
    let pair = pair();
    talk_in_udp(&pair, |config| config.encapsulation = Encapsulation::UDP);
    talk_in_udp(&pair, |config| {
        config.address = Address::Ipv6;
        config.encapsulation = Encapsulation::one_port(7000);
    });
}

fn talk_in_udp(pair: &Pair, change: fn(&mut pgmx::link::xdp::XdpConfig)) {
    let (left, right) = ends(pair, change);
    assert_eq!(left.link.path().alert, 0);
    assert_eq!(left.link.path().ip_header, if left.address().is_ipv4() { 28 } else { 48 });
    talk(left, right);
}

/// The kernel's own sender leaves the UDP checksum to a card, and its own receiver checks ours.
#[test]
#[ignore = "needs root"]
fn pgm_in_udp_is_exchanged_with_sockets_of_the_kernel() {
    let pair = pair();
    for address in FAMILIES {
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| {
            config.address = address;
            config.encapsulation = Encapsulation::UDP;
        });
        left.join(&[]);
        let (ours, theirs, group) = (left.address(), peer(&left), left.group());
        let (to_group, to_host) = pair.right.inside(|| {
            let any: IpAddr = if ours.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let to_group = UdpSocket::bind((any, 3056)).expect("a port");
            match group {
                IpAddr::V4(group) => {
                    to_group.join_multicast_v4(&group, &pair.right_ports[0].address).expect("a group");
                }
                IpAddr::V6(group) => to_group.join_multicast_v6(&group, 0).expect("a group"),
            }
            (to_group, UdpSocket::bind((theirs, 3055)).expect("a port"))
        });
        for (socket, to) in [(&to_group, To::Group(group)), (&to_host, To::Unicast(theirs))] {
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time above zero");
            left.send(b"from us", to);
            let mut buffer = [0; 128];
            let (len, from) = socket.recv_from(&mut buffer).expect("a datagram with a good checksum");
            assert_eq!(buffer[..len], odata(b"from us"));
            assert_eq!(from, SocketAddr::new(ours, 3055));
        }
        for to in [SocketAddr::new(group, 3056), SocketAddr::new(ours, 3055)] {
            to_host.send_to(&odata(b"from the kernel"), to).expect("a route");
            assert_eq!(left.hear(), Came { payload: b"from the kernel".to_vec(), from: theirs, to: to.ip() });
        }
        left.close();
    }
}

/// The address of the other end, of the family of this one.
fn peer(end: &End<'_>) -> IpAddr {
    end.port.addresses(end.address()).1
}

#[test]
#[ignore = "needs root"]
fn tagged_frames_are_exchanged_with_those_of_the_same_vlans_and_belong_to_the_vlan_device() {
    for vids in [&[5][..], &[100, 7]] {
        let pair = Pair::new(&[Cable::tagged(vids)]).expect("two hosts");
        let Some(device) = pair.right_ports[0].tagged.clone() else {
            eprintln!("skipped: this kernel has no VLAN devices");
            return;
        };
        // What comes in may carry another priority than ours.
        let tags = |priority: u16| match *vids {
            [outer, inner] => Vlans::two(outer, priority << 13 | inner),
            ref one => Vlans::one(priority << 13 | one[0]),
        };
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| config.vlans = tags(5));
        let mut right = End::open(&pair.right, &pair.right_ports[0], |config| config.vlans = tags(0));
        right.join(&[]);
        assert_eq!(right.link.path().front as usize, 34 + 4 * vids.len());
        assert_eq!(right.address(), IpAddr::from(device.address));
        assert_eq!(right.link.taken().vlan_device.as_deref(), Some(device.interface.as_str()));
        let igmp = pair.right.inside(|| std::fs::read_to_string("/proc/thread-self/net/igmp").expect("IPv4"));
        let ours = igmp.lines().skip_while(|line| !line.contains(&device.interface)).skip(1);
        let ours: Vec<&str> = ours.take_while(|line| line.starts_with('\t')).collect();
        assert!(ours.iter().any(|line| line.contains("0100C0EF")), "{igmp}");

        // Whoever has no tags, or others, hears nothing of it and is not heard.
        left.tell(b"tagged");
        assert_eq!(right.hear().payload, b"tagged");
        // A host that was not heard is looked for by the kernel behind the VLAN device. (Over a veth it hides the tag from the other end.)
        let (one, other) = (left.address(), right.address());
        left.send(b"through the kernel", To::Unicast(other));
        assert_eq!(left.link.counters().by_kernel, 1);
        assert_eq!(left.link.counters().no_neighbour, 0);
        right.send(b"directly", To::Unicast(one));
        assert_eq!(left.hear().payload, b"directly");
        left.close();

        let mut plain = End::open(&pair.left, &pair.left_ports[0], |_| {});
        plain.tell(b"untagged");
        right.await_verdict(Verdict::Vlan, 1);
        plain.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn tags_without_a_device_of_the_kernel_are_exchanged_all_the_same() {
    let pair = pair();
    let (left, right) = ends(&pair, |config| config.vlans = Vlans::one(9));
    assert_eq!(left.address(), IpAddr::from(left.port.address));
    assert_eq!(left.link.taken().vlan_device, None);
    let refusals = left.link.taken().to_string();
    assert!(refusals.contains("ip link add link left0 name left0.9 type vlan id 9"), "{refusals}");
    talk(left, right);
}

#[test]
#[ignore = "needs root"]
fn a_host_that_was_never_heard_is_reached_through_the_kernel_and_then_by_what_the_kernel_found() {
    let pair = pair();
    for address in FAMILIES {
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| config.address = address);
        let mut right = End::open(&pair.right, &pair.right_ports[0], |config| config.address = address);
        let host = right.address();
        left.send(b"first", To::Unicast(host));
        assert_eq!(left.link.counters().by_kernel, 1);
        assert_eq!(right.hear(), Came { payload: b"first".to_vec(), from: left.address(), to: host });
        // The kernel knows the card by now, and is asked again after a tenth of a second.
        let deadline = Instant::now() + Duration::from_secs(20);
        while left.link.counters().sent == 0 {
            assert!(Instant::now() < deadline, "{:?}", left.link.counters());
            left.send(b"again", To::Unicast(host));
            assert_eq!(right.hear().payload, b"again");
        }
        assert_eq!(left.link.counters().no_neighbour, 0);
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn the_kernels_neighbour_table_is_believed_and_no_route_is_no_way() {
    let pair = pair();
    let router = "02:00:00:00:00:77";
    let far: IpAddr = [10, 99, 0, 1].into();
    let via = pair.left_ports[0].address.octets();
    let via = Ipv4Addr::new(via[0], via[1], via[2], 200).to_string();
    pair.left.ip(&["neigh", "add", &via, "lladdr", router, "dev", "left0", "nud", "permanent"]).expect("a neighbour");
    pair.left.ip(&["route", "add", "10.99.0.0/24", "via", &via]).expect("a route");
    let mut left = End::open(&pair.left, &pair.left_ports[0], |_| {});
    left.send(b"to another network", To::Unicast(far));
    assert_eq!((left.link.counters().sent, left.link.counters().by_kernel), (1, 0));

    for nowhere in [[192, 0, 2, 1], [239, 1, 1, 1], [255, 255, 255, 255], [127, 0, 0, 1], [0, 0, 0, 0]] {
        left.send(b"to nobody", To::Unicast(nowhere.into()));
    }
    left.send(b"to ourselves", To::Unicast(left.address()));
    left.send(b"to the network", To::Unicast([10, 113, 0, 255].into()));
    left.send(b"to the other family", To::Unicast(left.port.peer_v6.into()));
    let counters = left.link.counters();
    assert_eq!((counters.sent, counters.by_kernel, counters.no_neighbour), (1, 0, 8));
    left.close();
}

#[test]
#[ignore = "needs root"]
fn a_channel_with_sources_is_heard_from_those_alone() {
    let pair = pair();
    for address in FAMILIES {
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| config.address = address);
        let mut right = End::open(&pair.right, &pair.right_ports[0], |config| config.address = address);
        let (one, group) = (left.address(), right.group());
        let stranger: IpAddr =
            if one.is_ipv4() { [10, 113, 0, 77].into() } else { "fd00:113::77".parse().expect("an address") };
        right.join(&[stranger]);
        let filter = if one.is_ipv4() { "/proc/thread-self/net/mcfilter" } else { "/proc/thread-self/net/mcfilter6" };
        let filter = pair.right.inside(|| std::fs::read_to_string(filter).expect("a membership"));
        assert!(filter.contains("right0"), "the membership is of one source: {filter}");
        left.tell(b"unwanted");
        let deadline = Instant::now() + Duration::from_secs(20);
        while right.link.counters().unwanted == 0 {
            assert!(right.turn().is_none() && Instant::now() < deadline, "{:?}", right.link.counters());
        }
        right.join(&[stranger, one]);
        left.tell(b"wanted");
        assert_eq!(right.hear(), Came { payload: b"wanted".to_vec(), from: one, to: group });
        assert_eq!(right.link.counters().unwanted, 1);
        right.join(&[]);
        left.tell(b"from anybody");
        assert_eq!(right.hear().payload, b"from anybody");
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_channel_that_could_not_be_joined_is_left_to_others_and_one_that_was_joined_stays_as_it_was() {
    let pair = pair();
    let mut left = End::open(&pair.left, &pair.left_ports[0], |_| {});
    let mut right = End::open(&pair.right, &pair.right_ports[0], |_| {});
    let channel = Channel { group: right.group(), data_port: DATA_PORT };
    let wrong = [IpAddr::from(right.port.peer_v6)];
    assert!(pair.right.inside(|| right.link.join(channel, &wrong)).is_err(), "a source of the other family");
    left.tell(b"to the kernel");
    right.await_verdict(Verdict::Unclaimed, 1);
    let raw = pgmx::link::raw::RawConfig::new(&right.port.interface);
    let mut beside = pair.right.inside(|| pgmx::link::raw::RawLink::open(&raw)).expect("a raw link").0;
    pair.right.inside(|| beside.join(channel, &[])).expect("nobody has it");
    drop(beside);

    right.join(&[left.address()]);
    assert!(pair.right.inside(|| right.link.join(channel, &wrong)).is_err(), "a source of the other family");
    left.tell(b"as before");
    assert_eq!(right.hear().payload, b"as before");
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn senders_that_are_not_allowed_pass_to_the_kernel_and_floods_upstream_are_dropped() {
    let pair = pair();
    let (mut left, mut right) = (
        End::open(&pair.left, &pair.left_ports[0], |_| {}),
        End::open(&pair.right, &pair.right_ports[0], |config| config.sources = vec![([10, 99, 0, 0].into(), 16)]),
    );
    right.join(&[]);
    left.tell(b"not allowed");
    right.await_verdict(Verdict::Foreign, 1);
    right.close();

    let mut right = End::open(&pair.right, &pair.right_ports[0], |config| {
        config.upstream_budget = Some(UpstreamBudget { packets: 2, per_ms: 60_000 });
        config.sources = vec![([10, 113, 0, 0].into(), 16)];
        config.encapsulation = Encapsulation::UDP;
    });
    right.join(&[]);
    let (Port { address, .. }, ours) = (right.port.clone(), right.address());
    let socket = pair.left.inside(|| UdpSocket::bind((pair.left_ports[0].address, 0)).expect("a port"));
    // NAKs, as far as the steering program looks.
    let mut nak = odata(b"");
    nak[4] = 0x08;
    let [high, low] = DATA_PORT.to_be_bytes();
    nak[2..4].copy_from_slice(&[high, low]);
    for _ in 0..5 {
        socket.send_to(&nak, (address, 3055)).expect("a route");
    }
    assert_eq!(ours, IpAddr::from(address));
    let deadline = Instant::now() + Duration::from_secs(20);
    while right.steered(Verdict::Flood) < 3 {
        assert!(Instant::now() < deadline, "{:?}", Verdict::ALL.map(|verdict| (verdict, right.steered(verdict))));
    }
    assert_eq!((right.steered(Verdict::Flood), right.steered(Verdict::Steered)), (3, 2));
    assert_eq!(group(ours), right.group());
    right.close();
    left.close();
}
