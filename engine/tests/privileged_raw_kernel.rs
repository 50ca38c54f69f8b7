//! How the `raw` link lives with what the kernel does to it: buffers that are full, interfaces that come and go, rights that are missing.
//! Needs root: `cargo test --test privileged_raw_kernel -- --ignored`.
//!
//! Each test makes hosts of its own and drives all links from one thread. Nothing is paced by sleeping; every wait has an end.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with other tests and the benchmarks, public there; not every user needs all of it
mod netns;
#[allow(dead_code, unreachable_pub)]
mod raw_link;

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use netns::{Cable, Host, Pair};
use pgmx::frame::{Reader, RxBatch, SlotLayout, To, Writer, window};
use pgmx::link::raw::{RawConfig, RawError, RawLink};
use pgmx::link::{Address, Link, LinkError};
use pgmx::time::Time;
use pgmx::wire::PacketType;
use raw_link::{DATA_PORT, SOURCE_PORT, Side, channel, data, families, packet};

const PATIENCE: Duration = Duration::from_secs(20);

fn pair() -> Pair {
    Pair::new(&[Cable::default()]).expect("two hosts")
}

fn group() -> IpAddr {
    families()[0]
}

fn run(host: &Host, program: &str, arguments: &[&str]) {
    let done = host.inside(|| Command::new(program).args(arguments).output()).expect("a program of iproute2");
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "needs root"]
fn what_the_receive_buffer_had_no_room_for_is_told_with_the_next_packet() {
    let pair = pair();
    for group in families() {
        let mut left = Side::on(&pair.left, &pair.left_ports[0], group);
        let open = |config: &mut RawConfig| config.receive_buffer = 20_000;
        let mut right = Side::open(&pair.right, &pair.right_ports[0].interface, group, open);
        assert_eq!((right.link.taken().receive_buffer, right.link.taken().remedy()), (20_000, None));
        right.join(&pair.right, channel(group), &[]);
        let burst = |left: &mut Side, port: u16| {
            for n in 0..1000_u64 {
                let octets = packet(SOURCE_PORT, port, PacketType::Odata, &n.to_be_bytes());
                left.push(&octets, To::Group(group), false);
                if left.out.room() == 0 {
                    left.flush();
                }
            }
            left.flush();
        };
        // Strangers take no room, and are no drops.
        burst(&mut left, DATA_PORT + 1);
        burst(&mut left, DATA_PORT);
        // What comes behind tells; it may be lost itself while the buffer is full.
        let (mut came, mut markers) = (Vec::new(), 0);
        let deadline = Instant::now() + PATIENCE;
        while !came.iter().any(|came: &raw_link::Came| came.octets == data(b"behind")) {
            assert!(Instant::now() < deadline, "{:?}", right.link.counters());
            left.send(&data(b"behind"), To::Group(group));
            markers += 1;
            came.extend(right.poll());
        }
        came.extend(right.poll());
        let drops = right.link.counters().kernel_drops;
        assert!(drops > 500, "{drops} drops with 20,000 octets of room for 1000 packets");
        assert_eq!(came.len() as u64 + drops, 1000 + markers, "{:?}", right.link.counters());
        let numbers: Vec<u64> =
            came.iter().filter_map(|came| Some(u64::from_be_bytes(*came.octets[8..].first_chunk()?))).collect();
        assert!(numbers.is_sorted(), "out of order");
        left.send(&data(b"last"), To::Group(group));
        assert_eq!(right.receive_one(), data(b"last"));
        assert_eq!(right.link.counters().kernel_drops, drops, "told twice");
        left.close();
        right.close();
    }
}

/// A window of this many slots whose committed payloads are whole packets.
fn full_window(side: &mut Side, slots: u32) -> (Writer, Reader) {
    let front = side.pool.layout().start + side.link.path().front;
    let run = side.pool.take_run(slots).expect("frames enough");
    let layout = SlotLayout::plain(front, 1400);
    let (mut writer, mut reader) = window(&side.pool, run, layout);
    for n in 0..u64::from(slots) {
        let octets = data(&[&n.to_be_bytes()[..], &[0; 900]].concat());
        let mut claim = writer.claim(octets.len()).expect("room");
        claim.copy_from_slice(&octets);
        claim.commit();
    }
    reader.refresh();
    (writer, reader)
}

/// The number in a packet of such a window, which is whole.
fn number_of(came: &raw_link::Came) -> u64 {
    assert_eq!(came.octets.len(), 916);
    assert_eq!(came.octets[..8], data(b""));
    u64::from_be_bytes(came.octets[8..16].try_into().expect("eight octets"))
}

#[test]
#[ignore = "needs root"]
fn a_kernel_that_is_full_takes_what_it_can_and_the_rest_stays_in_the_batch_as_it_was() {
    const SLOTS: u64 = 512;
    let pair = pair();
    let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
    let mut left = Side::on(&pair.left, near, group());
    let mut right = Side::on(&pair.right, far, group());
    right.join(&pair.right, channel(group()), &[]);
    // Slow enough to stand still for a test, and with room for more than a socket may have under way.
    let slow = ["root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "10000000"];
    run(&pair.left, "tc", &[&["qdisc", "add", "dev", &near.interface], &slow[..]].concat());
    left.out = pgmx::frame::TxBatch::new(SLOTS as usize);
    let (writer, mut reader) = full_window(&mut left, SLOTS as u32);
    for position in 0..SLOTS {
        let frame = reader.lend(&mut left.pool, position, 0).expect("a slot at rest");
        left.out.push(pgmx::frame::Outgoing { frame, to: To::Group(group()), router_alert: false });
    }
    let took = left.flush() as u64;
    assert!((1..SLOTS).contains(&took), "{took} of {SLOTS}: {:?}", left.link.counters());
    assert_eq!((left.out.len() as u64, left.link.counters().sent), (SLOTS - took, took));
    assert!(left.link.counters().full > 0);
    // What the kernel copied is at rest again; what it did not take is in flight, for as long as it waits.
    assert_eq!(left.pool.census().lent, (SLOTS - took) as u32);
    let calls = left.link.counters().transmit_calls;
    assert!(left.flush() < 64);
    assert!(left.link.counters().transmit_calls <= calls + 2, "a full kernel is asked once a turn");

    let fast = ["root", "tbf", "rate", "1gbit", "burst", "2000000", "limit", "10000000"];
    run(&pair.left, "tc", &[&["qdisc", "change", "dev", &near.interface], &fast[..]].concat());
    let deadline = Instant::now() + PATIENCE;
    while !left.out.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", left.link.counters());
        left.flush();
    }
    // Each once and whole, with one header. The queue is emptied by whichever processor comes first, so that they may pass each other.
    let mut numbers: Vec<u64> = right.receive(SLOTS as usize).iter().map(number_of).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..SLOTS));
    assert_eq!(reader.advance(&left.pool, SLOTS), SLOTS);
    drop(writer);
    let run = reader.try_into_run(&left.pool).ok().expect("all came back");
    left.pool.put_run(run);
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_down_costs_packets_and_nothing_else_and_works_again_when_it_is_up() {
    let pair = pair();
    for group in families() {
        let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
        let mut left = Side::on(&pair.left, near, group);
        let mut right = Side::on(&pair.right, far, group);
        right.join(&pair.right, channel(group), &[]);
        left.send(&data(b"before"), To::Group(group));
        assert_eq!(right.receive_one(), data(b"before"));
        for (host, port) in [(&pair.left, near), (&pair.right, far)] {
            host.ip(&["link", "set", "dev", &port.interface, "down"]).expect("an interface");
            for _ in 0..64 {
                left.push(&data(b"lost"), To::Group(group), false);
            }
            left.push(&data(b"lost"), To::Unicast(near.addresses(group).1), false);
            let before = left.link.counters().clone();
            assert_eq!(left.flush(), 65, "an interface that is down holds nothing up");
            let after = left.link.counters();
            assert!(after.transmit_calls - before.transmit_calls <= 4, "a call for each packet: {after:?}");
            if core::ptr::eq(port, near) {
                assert_eq!((after.unreachable - before.unreachable, after.sent), (65, before.sent));
            }
            assert!(left.poll().is_empty());
            assert!(right.poll().iter().all(|came| came.octets != data(b"lost")));
            host.ip(&["link", "set", "dev", &port.interface, "up"]).expect("an interface");
            for (host, port) in [(&pair.left, near), (&pair.right, far)] {
                host.await_up(&port.interface).expect("an interface that is up");
            }
            let deadline = Instant::now() + PATIENCE;
            let mut came = Vec::new();
            // The kernel needs a moment to bring routes back.
            while !came.iter().any(|came: &raw_link::Came| came.octets == data(b"again")) {
                assert!(Instant::now() < deadline, "{:?} {:?}", left.link.counters(), right.link.counters());
                left.push(&data(b"again"), To::Group(group), false);
                left.flush();
                came = right.poll();
            }
            while !right.poll().is_empty() {}
        }
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_gone_is_told_after_a_second_of_silence_and_every_frame_comes_home() {
    for group in families() {
        let pair = pair();
        let mut left = Side::on(&pair.left, &pair.left_ports[0], group);
        let mut right = Side::on(&pair.right, &pair.right_ports[0], group);
        for (host, side) in [(&pair.left, &mut left), (&pair.right, &mut right)] {
            side.join(host, channel(group), &[]);
        }
        pair.left.ip(&["link", "delete", "dev", &pair.left_ports[0].interface]).expect("an interface");
        for side in [&mut left, &mut right] {
            side.push(&data(b"lost"), To::Group(group), false);
            assert_eq!(side.flush(), 1);
            assert_eq!((side.link.counters().unreachable, side.link.counters().sent), (1, 0));
            assert!(side.poll().is_empty());
            let (later, mut none) = (Time::from_nanos(2_000_000_000), RxBatch::new(1));
            let told = side.link.receive(later, &mut side.pool, &mut none);
            assert!(matches!(&told, Err(LinkError::Gone { interface }) if !interface.is_empty()), "{told:?}");
        }
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_destination_without_a_way_costs_its_own_packets_only() {
    let pair = pair();
    let family = families()[1];
    let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
    let mut left = Side::on(&pair.left, near, family);
    let mut right = Side::on(&pair.right, far, family);
    pair.left.ip(&["-6", "rule", "add", "to", "2001:db8::/64", "prohibit"]).expect("a rule");
    let (nowhere, closed): (IpAddr, IpAddr) =
        ("2001:db9::1".parse().expect("an address"), "2001:db8::1".parse().expect("an address"));
    let there = far.addresses(family).0;
    let nak = |n: u8| packet(DATA_PORT, SOURCE_PORT, PacketType::Nak, &[n]);
    for n in 0..3 {
        left.push(&nak(n), To::Unicast(there), false);
        left.push(&nak(n), To::Unicast(nowhere), false);
        left.push(&nak(n), To::Unicast(closed), false);
        // Of the other family.
        left.push(&nak(n), To::Group(group()), false);
    }
    let deadline = Instant::now() + PATIENCE;
    while !left.out.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", left.link.counters());
        left.flush();
    }
    let octets: Vec<Vec<u8>> = right.receive(3).into_iter().map(|came| came.octets).collect();
    assert_eq!(octets, [nak(0), nak(1), nak(2)]);
    let counters = left.link.counters();
    assert_eq!((counters.sent, counters.unreachable, counters.forbidden), (3, 6, 3));
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn a_shorter_mtu_than_at_the_beginning_is_learnt_from_the_kernel() {
    let pair = pair();
    let near = &pair.left_ports[0];
    let mut left = Side::on(&pair.left, near, group());
    pair.left.ip(&["link", "set", "dev", &near.interface, "mtu", "1000"]).expect("an interface");
    left.push(&data(&[7; 1200]), To::Group(group()), false);
    left.push(&data(&[7; 900]), To::Group(group()), false);
    assert_eq!(left.flush(), 2);
    assert_eq!((left.link.counters().too_long, left.link.counters().sent), (1, 1));
    left.close();
}

#[test]
#[ignore = "needs root"]
fn fragments_arrive_as_one_packet_and_what_is_longer_than_a_frame_is_dropped_and_counted() {
    let pair = pair();
    for group in families() {
        let mut right = Side::on(&pair.right, &pair.right_ports[0], group);
        right.join(&pair.right, channel(group), &[]);
        let theirs = right.link.path().nla;
        // A sender without manners: no header of its own, so that the kernel cuts what is too long.
        let send = |octets: &[u8]| {
            pair.left.inside(|| {
                let family = if group.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
                // SAFETY: opens a socket, which is closed below.
                let socket = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 113) };
                assert!(socket >= 0);
                // SAFETY: structures of integers, for which all zeroes is a value.
                let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { core::mem::zeroed() };
                let (name, len) = match theirs {
                    IpAddr::V4(address) => {
                        v4.sin_family = family as u16;
                        v4.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
                        ((&raw const v4).cast::<libc::sockaddr>(), size_of_val(&v4))
                    }
                    IpAddr::V6(address) => {
                        v6.sin6_family = family as u16;
                        v6.sin6_addr.s6_addr = address.octets();
                        ((&raw const v6).cast(), size_of_val(&v6))
                    }
                };
                // SAFETY: the kernel reads the octets and the address, which live through the call.
                let sent = unsafe { libc::sendto(socket, octets.as_ptr().cast(), octets.len(), 0, name, len as u32) };
                assert_eq!(sent, octets.len() as isize, "{}", std::io::Error::last_os_error());
                // SAFETY: opened above and used by nobody else.
                unsafe { libc::close(socket) };
            });
        };
        let nak = |len: usize| packet(DATA_PORT, SOURCE_PORT, PacketType::Nak, &vec![7; len]);
        assert_eq!(right.pool.layout().frame_size, 2048);
        send(&nak(1900));
        assert_eq!(right.receive_one(), nak(1900));
        send(&nak(4000));
        send(&nak(20_000));
        send(&nak(1));
        assert_eq!(right.receive_one(), nak(1));
        assert_eq!(right.link.counters().cut, 2);
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn an_ipv6_address_serves_before_the_network_has_confirmed_it() {
    let pair = pair();
    let (near, family) = (&pair.left_ports[0], families()[1]);
    let ask = format!("/proc/sys/net/ipv6/conf/{}/", near.interface);
    pair.left.inside(|| {
        // More questions, a second each, than a test has patience for.
        for (what, value) in [("accept_dad", "1"), ("dad_transmits", "100")] {
            std::fs::write(format!("{ask}{what}"), value).expect("IPv6");
        }
    });
    pair.left.ip(&["address", "add", "fd00:113::99/64", "dev", &near.interface]).expect("an address");
    let tentative = pair.left.inside(|| Command::new("ip").args(["-6", "address", "show", "tentative"]).output());
    let tentative = tentative.expect("a program of iproute2").stdout;
    assert!(String::from_utf8_lossy(&tentative).contains("fd00:113::99"), "not what is to be tested");
    let ours: IpAddr = "fd00:113::99".parse().expect("an address");
    let mut left = Side::open(&pair.left, &near.interface, family, |config| config.address = Address::Is(ours));
    let mut right = Side::on(&pair.right, &pair.right_ports[0], family);
    right.join(&pair.right, channel(family), &[]);
    left.send(&data(b"early"), To::Group(family));
    let came = right.receive(1).remove(0);
    assert_eq!((came.octets, came.from), (data(b"early"), ours));
    left.close();
    right.close();
}

/// Keeps only these rights of the calling thread, by number.
fn keep_rights(rights: &[u32]) {
    // `struct __user_cap_header_struct` and two `struct __user_cap_data_struct`, version 3.
    let header = [0x2008_0522_u32, 0];
    let bits = rights.iter().fold(0, |bits, right| bits | 1_u32 << right);
    let sets = [bits, bits, 0, 0, 0, 0];
    // SAFETY: the kernel reads both, which are as long as it takes them to be.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
#[ignore = "needs root"]
fn rights_that_are_missing_are_named_with_what_grants_them_and_what_needs_none() {
    const CAP_NET_RAW: u32 = 13;
    let pair = pair();
    let mut config = RawConfig::new(&pair.left_ports[0].interface);
    config.receive_buffer = 256 << 20;
    // Rights belong to a thread, and are gone with it; it is born on the host, which it could not enter without them.
    let in_thread = |rights: &'static [u32]| {
        let open = || {
            keep_rights(rights);
            RawLink::open(&config).map(|opened| opened.0.taken().clone())
        };
        pair.left.inside(|| std::thread::scope(|scope| scope.spawn(open).join())).expect("no panic")
    };
    let refused = in_thread(&[]).expect_err("no rights");
    assert!(matches!(refused, RawError::NotPermitted { .. }));
    let refused = refused.to_string();
    for word in ["left0", "CAP_NET_RAW", "setcap cap_net_raw+ep /", "epgm://", "--io udp"] {
        assert!(refused.contains(word), "{refused}");
    }
    let less = in_thread(&[CAP_NET_RAW]).expect("all that a link needs");
    assert!(less.receive_buffer < config.receive_buffer);
    assert!(less.remedy().expect("a smaller buffer").contains("sysctl -w net.core.rmem_max=268435456"), "{less}");
    let all = pair.left.inside(|| RawLink::open(&config)).expect("all rights").0;
    assert_eq!(all.taken().receive_buffer, config.receive_buffer);
}

#[cfg(feature = "xdp")]
#[test]
#[ignore = "needs root"]
fn a_channel_that_xdp_takes_off_the_interface_is_refused_with_its_process_and_the_reverse() {
    use pgmx::link::xdp::{XdpConfig, XdpLink};
    use pgmx::link::{Channel, LinkError};
    let pair = pair();
    let port = &pair.left_ports[0];
    let mut raw = Side::on(&pair.left, port, group());
    let mut config = XdpConfig::new(&port.interface);
    config.frames = 1024;
    config.ring = 256;
    let (mut xdp, _pool) = pair.left.inside(|| XdpLink::open(&config)).expect("an AF_XDP link on a veth cable");
    let (one, two) = (channel(group()), Channel { group: group(), data_port: DATA_PORT + 1 });
    pair.left.inside(|| {
        xdp.join(one, &[]).expect("nobody has it");
        raw.link.join(two, &[]).expect("nobody has it");
        for refused in [raw.link.join(one, &[]), xdp.join(two, &[])] {
            let Err(LinkError::Claimed { pid, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(pid, std::process::id());
        }
        raw.link.join(two, &[]).expect("its own still");
    });
    raw.close();
}

/// What `strace` runs again: nothing but a sender and a receiver at work.
#[test]
#[ignore = "needs root"]
fn ten_thousand_packets_cross_a_cable() {
    let pair = pair();
    let mut left = Side::on(&pair.left, &pair.left_ports[0], group());
    let mut right = Side::on(&pair.right, &pair.right_ports[0], group());
    right.join(&pair.right, channel(group()), &[]);
    for turn in 0..157_u64 {
        for n in 0..64 {
            left.push(&data(&(turn * 64 + n).to_be_bytes()), To::Group(group()), false);
        }
        assert_eq!(left.flush(), 64);
        let came = right.receive(64);
        assert!(came.iter().zip(turn * 64..).all(|(came, n)| came.octets == data(&n.to_be_bytes())));
    }
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root and strace"]
fn strace_sees_a_call_for_each_64_packets_both_ways() {
    let summary = std::env::temp_dir().join(format!("pgmx-calls-{}", std::process::id()));
    let test = ["--exact", "ten_thousand_packets_cross_a_cable", "--ignored", "--test-threads=1"];
    let done = Command::new("strace")
        .args(["-f", "-c", "-e", "trace=sendmmsg,recvmmsg,sendto,recvfrom,sendmsg,recvmsg", "-o"])
        .arg(&summary)
        .arg(std::env::current_exe().expect("this test"))
        .args(test)
        .output()
        .expect("strace (`cargo xtask setup` installs it)");
    let calls = std::fs::read_to_string(&summary).unwrap_or_default();
    let _ = std::fs::remove_file(&summary);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    // Columns: % time, seconds, usecs/call, calls, [errors,] syscall.
    let count = |name: &str| {
        calls.lines().find(|line| line.split_whitespace().last() == Some(name)).map_or(0, |line| {
            line.split_whitespace().nth(3).and_then(|calls| calls.parse::<u64>().ok()).expect("a number of calls")
        })
    };
    assert_eq!(count("sendmmsg"), 157, "{calls}");
    // As many, unless a busy machine brings batches over piece by piece.
    assert!((157..1000).contains(&count("recvmmsg")), "{calls}");
    // Nor by another way; `ip`, which lays the cable, makes a few of these.
    assert!(["sendto", "recvfrom", "sendmsg", "recvmsg"].map(count).iter().sum::<u64>() < 500, "{calls}");
}
