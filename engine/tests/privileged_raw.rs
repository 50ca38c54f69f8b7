//! The `raw` link over veth cables, against the real kernel. Needs root: `cargo test --test privileged_raw -- --ignored`.
//!
//! Each test makes hosts of its own and drives all links from one thread. Nothing is paced by sleeping; every wait has an end.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with other tests and the benchmarks, public there; not every user needs all of it
mod netns;
#[allow(dead_code, unreachable_pub)]
mod raw_link;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netns::{Bridged, Cable, Pair};
use pgmx::frame::{PathFacts, To};
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::{Address, Channel, Link};
use pgmx::wire::PacketType;
use raw_link::{DATA_PORT, NOW, SOURCE_PORT, Side, Tap, channel, data, families, packet};

/// The system's allocator, which counts what the calling thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn pair() -> Pair {
    Pair::new(&[Cable::default()]).expect("two hosts")
}

/// Links at both ends of the first cable; both have joined the usual channel.
fn two_sides(pair: &Pair, family: IpAddr) -> (Side, Side) {
    let mut left = Side::on(&pair.left, &pair.left_ports[0], family);
    let mut right = Side::on(&pair.right, &pair.right_ports[0], family);
    left.join(&pair.left, channel(family), &[]);
    right.join(&pair.right, channel(family), &[]);
    (left, right)
}

fn group(n: u8) -> IpAddr {
    [239, 192, 0, n].into()
}

/// conformance 11
#[test]
#[ignore = "needs root"]
fn packets_arrive_octet_for_octet_both_ways_over_both_families() {
    let pair = pair();
    for group in families() {
        // Without loopback each side hears the other one alone.
        let open =
            |host, port: &netns::Port| Side::open(host, &port.interface, group, |config| config.loopback = false);
        let mut left = open(&pair.left, &pair.left_ports[0]);
        let mut right = open(&pair.right, &pair.right_ports[0]);
        left.join(&pair.left, channel(group), &[]);
        right.join(&pair.right, channel(group), &[]);
        let (ours, theirs) = pair.left_ports[0].addresses(group);
        assert_eq!((left.link.path().nla, right.link.path().nla), (ours, theirs));
        let longest = usize::from(left.link.path().tpdu_max());
        for len in (0..longest - 8).step_by(61).chain([longest - 8]) {
            let payload: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            let down = data(&payload);
            let up = packet(DATA_PORT, SOURCE_PORT, PacketType::Nak, &payload);
            for turn in 0..2 {
                let (from, to) = if turn == 0 { (&mut left, &mut right) } else { (&mut right, &mut left) };
                let (from_address, to_address) = (from.link.path().nla, to.link.path().nla);
                from.push(&down, To::Group(group), false);
                from.push(&down, To::Group(group), true);
                from.push(&up, To::Neighbours(group), true);
                from.push(&up, To::Unicast(to_address), false);
                assert_eq!(from.flush(), 4, "{:?}", from.link.counters());
                let came = to.receive(4);
                for ((came, octets), destination) in
                    came.iter().zip([&down, &down, &up, &up]).zip([group, group, group, to_address])
                {
                    assert_eq!((came.from, came.to), (from_address, destination));
                    assert_eq!(&came.octets, octets, "{len}");
                }
            }
        }
        assert_eq!(left.link.counters().received, right.link.counters().sent);
        left.close();
        right.close();
    }
}

/// RFC 3208 §6.3, conformance 1, 15, 16, 104
#[test]
#[ignore = "needs root"]
fn the_wire_shows_protocol_ttl_service_and_router_alert_as_they_were_asked_for() {
    let pair = pair();
    for group in families() {
        let mut left = Side::open(&pair.left, &pair.left_ports[0].interface, group, |config| {
            config.ttl = 9;
            config.tos = 0xB8;
        });
        let mut tap = Tap::open(&pair.right, &pair.right_ports[0].interface);
        let (ours, theirs) = pair.left_ports[0].addresses(group);
        for (to, destination, ttl) in
            [(To::Group(group), group, 9), (To::Neighbours(group), group, 1), (To::Unicast(theirs), theirs, 64)]
        {
            for router_alert in [false, true] {
                let octets = data(b"seen");
                left.push(&octets, to, router_alert);
                left.flush();
                let (header, frame) = tap.next();
                assert_eq!((header.proto, header.ttl, header.tos), (113, ttl, 0xB8), "{to:?}");
                assert_eq!((header.source, header.destination), (ours, destination));
                assert_eq!(header.router_alert, router_alert && group.is_ipv4());
                assert!(!header.fragment && header.payload(&frame) == octets);
                if group.is_ipv4() {
                    assert_eq!(frame[20] & 0x40, 0x40, "it may not be fragmented");
                }
            }
        }
        left.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_batch_of_any_length_costs_a_call_for_each_64_packets_and_an_idle_turn_costs_one() {
    let pair = pair();
    for group in families() {
        let mut left = Side::on(&pair.left, &pair.left_ports[0], group);
        let mut right = Side::on(&pair.right, &pair.right_ports[0], group);
        right.join(&pair.right, channel(group), &[]);
        assert_eq!(left.flush(), 0);
        assert_eq!(left.link.counters().transmit_calls, 0, "nothing to send costs nothing");
        for count in [1_u64, 2, 63, 64, 65, 128, 200, 256] {
            let mut attempt = || {
                let before = (left.link.counters().transmit_calls, right.link.counters().receive_calls);
                for n in 0..count {
                    left.push(&data(&n.to_be_bytes()), To::Group(group), n % 3 == 0);
                }
                assert_eq!(left.flush() as u64, count);
                assert_eq!(left.link.counters().transmit_calls - before.0, count.div_ceil(64));
                let came = right.receive(count as usize);
                assert!(
                    came.iter().zip(0..).all(|(came, n)| came.octets == data(&u64::to_be_bytes(n))),
                    "out of order"
                );
                right.link.counters().receive_calls - before.1 == count.div_ceil(64)
            };
            // A busy machine may bring a batch over piece by piece, but not for ever.
            assert!((0..1000).any(|_| attempt()), "{count} packets never came in at {} calls", count.div_ceil(64));
        }
        let idle = right.link.counters().receive_calls;
        assert!((0..10).all(|_| right.poll().is_empty()));
        assert_eq!(right.link.counters().receive_calls, idle + 10);
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_batch_with_little_room_is_filled_and_the_rest_waits_in_the_kernel() {
    let pair = pair();
    let group = group(1);
    let (mut left, mut right) = two_sides(&pair, group);
    right.back = pgmx::frame::RxBatch::new(3);
    for n in 0..10 {
        left.push(&data(&[n]), To::Group(group), false);
    }
    left.flush();
    let mut came = Vec::new();
    while came.len() < 10 {
        let turn = right.receive_some();
        assert!((1..=3).contains(&turn.len()));
        came.extend(turn);
    }
    assert!(came.iter().zip(0..).all(|(came, n)| came.octets == data(&[n])));
    let calls = right.link.counters().receive_calls;
    right.back = pgmx::frame::RxBatch::new(0);
    assert!(right.poll().is_empty());
    assert_eq!(right.link.counters().receive_calls, calls, "no room, no call");
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn packets_come_and_go_without_an_allocation() {
    let pair = pair();
    for group in families() {
        let (mut left, mut right) = two_sides(&pair, group);
        let octets = data(b"again and again");
        let (mut allocations, mut came) = (0, 0);
        for turn in 0..10 {
            for n in 0..64 {
                left.push(&octets, To::Group(group), n % 2 == 0);
            }
            let before = ALLOCATIONS.get();
            left.flush();
            while came < 64 * (turn + 1) {
                right.await_packets();
                right.link.receive(NOW, &mut right.pool, &mut right.back).expect("no packet stops a link");
                for incoming in right.back.drain() {
                    right.pool.put(incoming.frame);
                    came += 1;
                }
            }
            allocations += ALLOCATIONS.get() - before;
        }
        assert_eq!(allocations, 0);
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_sleep_ends_with_the_first_packet_that_is_ours() {
    let pair = pair();
    for group in families() {
        let (mut left, mut right) = two_sides(&pair, group);
        left.send(&packet(SOURCE_PORT, 9, PacketType::Odata, b"a stranger"), To::Group(group));
        let begun = Instant::now();
        right.link.wait(Duration::from_millis(20), None).expect("a sleep");
        assert!(begun.elapsed() >= Duration::from_millis(20), "woken by a stranger");
        left.send(&data(b"ours"), To::Group(group));
        // An hour: the test ends because the packet ends the sleep.
        right.link.wait(Duration::from_secs(3600), None).expect("a sleep");
        assert_eq!(right.poll().len(), 1);
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn who_hoards_every_frame_does_not_keep_the_link_from_receiving() {
    let pair = pair();
    let group = group(1);
    let (mut left, mut right) = two_sides(&pair, group);
    let hoard: Vec<_> = core::iter::from_fn(|| right.pool.take()).collect();
    left.send(&data(b"even so"), To::Group(group));
    assert_eq!(right.receive_one(), data(b"even so"));
    // What was delivered is held as well, until the link has nothing to receive into.
    for n in 0..200_u64 {
        left.send(&data(&n.to_be_bytes()), To::Group(group));
    }
    let mut delivered = Vec::new();
    // One turn more than it takes if every packet comes by itself.
    for _ in 0..65 {
        right.await_packets();
        right.link.receive(NOW, &mut right.pool, &mut right.back).expect("no packet stops a link");
        delivered.extend(right.back.drain().map(|incoming| incoming.frame));
    }
    assert_eq!(delivered.len(), 64, "the reserve");
    assert!(right.link.counters().starved > 0);
    for frame in hoard.into_iter().chain(delivered) {
        right.pool.put(frame);
    }
    assert_eq!(right.receive(136).len(), 136, "the rest waited in the kernel");
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
#[should_panic(expected = "a pool of another link")]
fn a_link_receives_into_frames_of_its_own_pool_alone() {
    let pair = pair();
    let (left, mut right) = two_sides(&pair, group(1));
    assert!(right.poll().is_empty(), "all frames are on offer");
    // Else its own pool could be gone, and the memory somebody else's.
    let mut pool = left.pool;
    let _ = right.link.receive(NOW, &mut pool, &mut right.back);
}

#[test]
#[ignore = "needs root"]
fn strangers_are_kept_out_by_the_kernel_and_its_leftovers_by_the_link() {
    let pair = pair();
    for family in families() {
        let far = &pair.right_ports[0];
        let (mut left, mut right) = two_sides(&pair, family);
        let other_group: IpAddr = match family {
            IpAddr::V4(_) => [239, 192, 0, 2].into(),
            IpAddr::V6(_) => "ff0e::113:2".parse().expect("a group"),
        };
        let mut neighbour = Side::on(&pair.right, far, family);
        neighbour.join(&pair.right, Channel { group: other_group, data_port: DATA_PORT }, &[]);
        neighbour.join(&pair.right, Channel { group: other_group, data_port: 7600 }, &[]);
        let theirs = far.addresses(family).0;
        let odata = |port| packet(SOURCE_PORT, port, PacketType::Odata, b"stranger");
        // Another group of this host, another port, ports the wrong way round, too short to have ports: the kernel keeps them.
        for (octets, to) in [
            (odata(DATA_PORT), To::Group(other_group)),
            (odata(7600), To::Group(other_group)),
            (odata(7600), To::Group(family)),
            (packet(DATA_PORT, SOURCE_PORT + 1, PacketType::Odata, b""), To::Group(family)),
            (packet(DATA_PORT, 9, PacketType::Spm, b""), To::Unicast(theirs)),
            (vec![0x1D, 0x4C, 0x1D], To::Group(family)),
            (vec![], To::Group(family)),
        ] {
            left.send(&octets, to);
        }
        assert!(right.poll().is_empty());
        assert_eq!(right.link.counters().unclaimed, 0, "the filter let strangers in");
        let (came, leftover) = (neighbour.receive(2), neighbour.link.counters().unclaimed);
        assert_eq!((came[0].to, came[1].octets.clone(), leftover), (other_group, odata(7600), 0));

        // Ports that are ours, but not there: only the link can tell.
        left.send(&odata(SOURCE_PORT), To::Group(family));
        left.send(&odata(DATA_PORT), To::Unicast(theirs));
        left.send(&packet(DATA_PORT, 9, PacketType::Nak, b""), To::Unicast(theirs));
        left.send(&data(b"ours"), To::Group(family));
        assert_eq!(right.receive_one(), data(b"ours"));
        // To a host it may take longer than to a group: its hardware address has to be found.
        right.turns_until(|side| side.link.counters().unclaimed == 3);
        assert_eq!(right.link.counters().kernel_drops, 0);

        right.link.leave(channel(family)).expect("a channel");
        right.link.unlisten(SOURCE_PORT).expect("a port");
        left.send(&data(b"left"), To::Group(family));
        left.send(&odata(SOURCE_PORT), To::Unicast(theirs));
        assert!(right.poll().is_empty());
        assert_eq!(right.link.counters().unclaimed, 3);
        for side in [left, right, neighbour] {
            side.close();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn links_of_one_host_share_a_channel_and_hear_each_other_and_themselves_unless_told_not_to() {
    let pair = pair();
    for group in families() {
        let (mut left, mut right) = two_sides(&pair, group);
        let mut second = Side::on(&pair.right, &pair.right_ports[0], group);
        second.join(&pair.right, channel(group), &[]);
        left.send(&data(b"for both"), To::Group(group));
        for side in [&mut right, &mut second] {
            assert_eq!(side.receive_one(), data(b"for both"));
        }
        assert_eq!(left.receive_one(), data(b"for both"), "its own");

        second.send(&data(b"from beside"), To::Group(group));
        for side in [&mut left, &mut right, &mut second] {
            let came = side.receive(1).remove(0);
            assert_eq!((came.octets, came.from), (data(b"from beside"), pair.right_ports[0].addresses(group).0));
        }
        // To the own address: every link of this host that listens on the port hears it.
        let nak = packet(DATA_PORT, SOURCE_PORT, PacketType::Nak, b"");
        second.link.unlisten(SOURCE_PORT).expect("a port");
        second.send(&nak, To::Unicast(second.link.path().nla));
        assert_eq!(right.receive_one(), nak);

        let mut silent =
            Side::open(&pair.right, &pair.right_ports[0].interface, group, |config| config.loopback = false);
        silent.send(&data(b"to others"), To::Group(group));
        assert_eq!(left.receive_one(), data(b"to others"));
        assert!(right.poll().is_empty() && second.poll().is_empty());
        for side in [left, right, second, silent] {
            side.close();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_channel_joined_with_sources_hears_them_alone() {
    let bridged = Bridged::new(3).expect("three hosts");
    for group in families() {
        let mut sides: Vec<Side> = bridged.hosts.iter().map(|(host, port)| Side::on(host, port, group)).collect();
        let sources: Vec<IpAddr> = bridged.hosts.iter().map(|(_, port)| port.addresses(group).0).collect();
        let [one, two, reader] = &mut sides[..] else { panic!("three hosts") };
        let (host, other) = (&bridged.hosts[2].0, Channel { group, data_port: 7600 });
        let mut hear = |reader: &mut Side| {
            for (side, name) in [(&mut *one, b"one"), (&mut *two, b"two")] {
                side.send(&data(name), To::Group(group));
                side.send(&packet(SOURCE_PORT, 7600, PacketType::Odata, name), To::Group(group));
            }
            // Behind all others, over no group: when it is there, they are.
            one.send(&packet(DATA_PORT, SOURCE_PORT, PacketType::Nak, b""), To::Unicast(reader.link.path().nla));
            let mut heard = Vec::new();
            while heard.last().is_none_or(|octets: &Vec<u8>| octets[4] == PacketType::Odata.code()) {
                heard.extend(reader.poll().into_iter().map(|came| came.octets));
            }
            heard.pop();
            heard
                .iter()
                .map(|octets| (u16::from_be_bytes([octets[2], octets[3]]), octets[8..].to_vec()))
                .collect::<Vec<_>>()
        };
        let (one_data, two_data) = ((DATA_PORT, b"one".to_vec()), (DATA_PORT, b"two".to_vec()));
        let (one_other, two_other) = ((7600, b"one".to_vec()), (7600, b"two".to_vec()));
        reader.join(host, channel(group), &sources[..1]);
        assert_eq!(hear(reader), core::slice::from_ref(&one_data));
        assert_eq!(reader.link.counters().other_source, 0, "the kernel kept the other one out");
        reader.join(host, other, &sources[1..2]);
        assert_eq!(hear(reader), [one_data.clone(), two_other.clone()]);
        assert_eq!(reader.link.counters().other_source, 2, "the kernel knows sources by group only");
        reader.join(host, other, &[]);
        assert_eq!(hear(reader), [one_data, one_other.clone(), two_other.clone()]);
        reader.join(host, channel(group), &sources[1..2]);
        assert_eq!(hear(reader), [one_other.clone(), two_data, two_other.clone()]);
        reader.link.leave(channel(group)).expect("a channel");
        assert_eq!(hear(reader), [one_other, two_other]);
        sides.into_iter().for_each(Side::close);
    }
}

#[test]
#[ignore = "needs root"]
fn more_groups_than_a_socket_may_join_are_heard_all_the_same() {
    let pair = pair();
    let (mut left, mut right) = two_sides(&pair, group(1));
    for n in 2..60 {
        right.join(&pair.right, channel(group(n)), &[]);
    }
    let mut neighbour = Side::on(&pair.right, &pair.right_ports[0], group(1));
    neighbour.join(&pair.right, channel(group(200)), &[]);
    for n in (1..60).chain([200]) {
        left.send(&data(&[n]), To::Group(group(n)));
    }
    let came = right.receive(59);
    assert!(came.iter().zip(1..).all(|(came, n)| came.to == group(n) && came.octets == data(&[n])));
    assert!(right.poll().is_empty(), "a group of another link");
    assert_eq!(neighbour.receive_one(), data(&[200]));
    for side in [left, right, neighbour] {
        side.close();
    }
}

#[test]
#[ignore = "needs root"]
fn the_longest_packet_of_every_mtu_arrives_and_a_longer_one_is_dropped_and_counted() {
    for mtu in [1280, 1500, 9000, 65_535] {
        let pair = Pair::new(&[Cable { mtu, ..Cable::default() }]).expect("two hosts");
        for group in families() {
            let (mut left, mut right) = two_sides(&pair, group);
            let path: PathFacts = left.link.path();
            assert_eq!(u32::from(path.mtu), mtu);
            let longest = usize::from(path.mtu - path.ip_header) - 8;
            let payload: Vec<u8> = (0..=longest).map(|n| (n % 251) as u8).collect();
            let alert = usize::from(path.alert);
            // Too long without and with Router Alert, and beside what is not.
            left.push(&data(&payload), To::Group(group), false);
            left.push(&data(&payload[..longest]), To::Group(group), false);
            left.push(&data(&payload[..=longest - alert]), To::Group(group), true);
            left.push(&data(&payload[..longest - alert]), To::Group(group), true);
            assert_eq!(left.flush(), 4);
            assert_eq!((left.link.counters().too_long, left.link.counters().sent), (2, 2), "{mtu}");
            let came = right.receive(2);
            assert_eq!(came[0].octets, data(&payload[..longest]));
            assert_eq!(came[1].octets, data(&payload[..longest - alert]));
            left.close();
            right.close();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn loopback_with_its_mtu_of_64_kib_is_an_interface_like_any_other() {
    let host = netns::Host::new().expect("a host");
    // Over loopback the kernel has a way to IPv4 groups, but none to those of IPv6.
    host.ip(&["-6", "route", "add", "local", "ff00::/8", "dev", "lo", "table", "local"]).expect("a route");
    for (group, address) in [(group(1), "127.0.0.1"), ("ff02::113".parse().expect("a group"), "::1")] {
        let address: IpAddr = address.parse().expect("an address");
        let mut side = Side::open(&host, "lo", group, |config| config.address = Address::Is(address));
        side.join(&host, channel(group), &[]);
        let path = side.link.path();
        assert_eq!((path.mtu, side.pool.layout().frame_size), (u16::MAX, 65_536));
        let octets = data(&vec![7; usize::from(path.tpdu_max()) - 8]);
        side.push(&octets, To::Group(group), true);
        side.push(&octets, To::Neighbours(group), true);
        side.flush();
        let came = side.receive(2);
        assert!(came.iter().all(|came| came.octets == octets && came.from == address));
        let nak = packet(DATA_PORT, SOURCE_PORT, PacketType::Nak, b"");
        side.send(&nak, To::Unicast(address));
        assert_eq!(side.receive_one(), nak);
        side.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_link_that_cannot_work_is_refused_with_what_is_possible() {
    let pair = pair();
    let refused = |change: fn(&mut RawConfig)| {
        let mut config = RawConfig::new(&pair.left_ports[0].interface);
        change(&mut config);
        pair.left.inside(|| RawLink::open(&config)).map(|_| ()).expect_err("a value that cannot work").to_string()
    };
    let small = refused(|config| config.frame_size = Some(1024));
    assert_eq!(
        small,
        "frame_size = 1024 refused: allowed is a power of two from 2048 (for the MTU 1500 of left0) to 65536"
    );
    assert!(refused(|config| config.interface = "nowhere0".into()).contains("there are: left0, lo"));
    assert!(refused(|config| config.address = Address::Is(group(1))).contains("has no address 239.192.0.1"));
}
