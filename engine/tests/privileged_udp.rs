//! The `udp` link over a veth cable. Needs root for the cable alone: `cargo test --test privileged_udp -- --ignored`.
//!
//! Each test makes two hosts of its own, and drives both from one thread but where speed is measured. What must not arrive is seen by what
//! is sent after it and does.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netns::{Cable, Host, Pair, Port};
use pgmx::frame::{Incoming, Outgoing, Pool, RxBatch, To, TxBatch};
use pgmx::link::udp::{UdpConfig, UdpCounters, UdpLink};
use pgmx::link::{Address, Channel, Link};
use pgmx::time::Time;
use pgmx::wire::PacketType;

const NOW: Time = Time::ZERO;
const PATIENCE: Duration = Duration::from_secs(20);
const DATA_PORT: u16 = 7500;
const SOURCE_PORT: u16 = 7400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn group(self) -> IpAddr {
        match self {
            Self::V4 => [239, 192, 0, 1].into(),
            Self::V6 => [0xff05, 0, 0, 0, 0, 0, 0, 0x113].into(),
        }
    }

    fn address(self, port: &Port) -> IpAddr {
        port.addresses(self.group()).0
    }
}

/// A link on a host.
struct End {
    link: UdpLink,
    pool: Pool,
    out: TxBatch,
    into: RxBatch,
    family: Family,
    deadline: Instant,
}

impl End {
    fn open(host: &Host, port: &Port, family: Family, change: impl FnOnce(&mut UdpConfig)) -> Self {
        let mut config = UdpConfig::new(&port.interface, 3055, 3056);
        config.address = Address::Is(family.address(port));
        config.frames = 2048;
        change(&mut config);
        let (mut link, pool) = host.inside(|| UdpLink::open(&config)).expect("a udp link on a veth cable");
        link.listen(SOURCE_PORT).expect("a port");
        Self { link, pool, out: TxBatch::new(64), into: RxBatch::new(64), family, deadline: Instant::now() + PATIENCE }
    }

    fn join(&mut self, host: &Host) {
        let channel = Channel { group: self.family.group(), data_port: DATA_PORT };
        host.inside(|| self.link.join(channel, &[])).expect("a group");
    }

    fn push(&mut self, to: To, packet: &[u8]) {
        let mut frame = self.pool.take().expect("a free frame");
        frame.set_range(self.pool.layout().start + self.link.path().front, packet.len() as u16);
        self.pool.bytes_mut(&mut frame).copy_from_slice(packet);
        self.out.push(Outgoing { frame, to, router_alert: false });
    }

    fn flush(&mut self) {
        while !self.out.is_empty() {
            assert!(Instant::now() < self.deadline, "it took too long: {:?}", self.counters());
            self.link.send(NOW, &mut self.pool, &mut self.out).expect("a cable");
        }
    }

    fn send(&mut self, to: To, packets: &[Vec<u8>]) {
        for some in packets.chunks(64) {
            for packet in some {
                self.push(to, packet);
            }
            self.flush();
        }
    }

    fn turn(&mut self, mut each: impl FnMut(&[u8], &Incoming)) -> usize {
        assert!(Instant::now() < self.deadline, "it took too long: {:?}", self.counters());
        let came = self.link.receive(NOW, &mut self.pool, &mut self.into).expect("a cable");
        while let Some(incoming) = self.into.pop() {
            each(self.pool.bytes(&incoming.frame), &incoming);
            self.pool.put(incoming.frame);
        }
        came
    }

    fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut came = Vec::new();
        while came.len() < count {
            self.turn(|packet, _| came.push(packet.to_vec()));
        }
        came
    }

    fn counters(&self) -> UdpCounters {
        *self.link.counters()
    }

    fn close(mut self) {
        self.link.shut_down(&mut self.pool);
        let census = self.pool.census();
        assert_eq!((census.free, census.out, census.lent), (census.total, 0, 0));
    }
}

fn pair() -> Pair {
    Pair::new(&[Cable::default()]).expect("two hosts")
}

fn with_ports(source_port: u16, destination_port: u16, kind: PacketType, len: usize, seed: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|n| (seed.wrapping_mul(31) + n * 7) as u8).collect();
    packet[..2].copy_from_slice(&source_port.to_be_bytes());
    packet[2..4].copy_from_slice(&destination_port.to_be_bytes());
    packet[4] = kind.code();
    packet
}

fn data(len: usize, seed: usize) -> Vec<u8> {
    with_ports(SOURCE_PORT, DATA_PORT, PacketType::Odata, len, seed)
}

fn nak(len: usize, seed: usize) -> Vec<u8> {
    with_ports(DATA_PORT, SOURCE_PORT, PacketType::Nak, len, seed)
}

#[test]
#[ignore = "needs root"]
fn packets_cross_the_cable_joined_and_each_arrives_in_a_frame_of_its_own() {
    let pair = pair();
    for family in Family::BOTH {
        let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
        let mut publisher = End::open(&pair.left, near, family, |_| {});
        let mut subscriber = End::open(&pair.right, far, family, |_| {});
        subscriber.join(&pair.right);
        let longest = usize::from(publisher.link.path().tpdu_max());
        for len in [16, 64, 1000, longest] {
            let before = (publisher.counters(), subscriber.counters());
            // The first tells it what comes.
            for round in 0..10 {
                let packets: Vec<_> = (0..64).map(|n| data(len, 64 * round + n)).collect();
                publisher.send(To::Group(family.group()), &packets);
                assert!(subscriber.receive(64) == packets, "{family:?}, {len}, round {round}");
            }
            let (sent, came) = (publisher.counters(), subscriber.counters());
            assert_eq!(sent.transmit_calls - before.0.transmit_calls, 10);
            assert_eq!(came.joined - before.1.joined, sent.joined_sent - before.0.joined_sent, "joined all the way");
            assert!(came.copied - before.1.copied <= 128, "{family:?}, {len}: {came:?}");
        }
        let (own, peer) = (family.address(far), family.address(near));
        let naks: Vec<_> = (0..70).map(|n| nak(20 + n / 10, n)).collect();
        subscriber.send(To::Unicast(peer), &naks);
        let mut came = Vec::new();
        while came.len() < naks.len() {
            publisher.turn(|packet, incoming| {
                assert_eq!((incoming.from, incoming.to), (own, peer));
                came.push(packet.to_vec());
            });
        }
        assert_eq!(came, naks);
        publisher.close();
        subscriber.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_link_whose_cable_was_pulled_drops_and_counts_and_goes_on_when_it_is_back() {
    let pair = pair();
    for family in Family::BOTH {
        let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
        let mut publisher = End::open(&pair.left, near, family, |_| {});
        let mut subscriber = End::open(&pair.right, far, family, |_| {});
        subscriber.join(&pair.right);
        let packets: Vec<_> = (0..64).map(|n| data(100 + n, n)).collect();
        publisher.send(To::Group(family.group()), &packets);
        assert!(subscriber.receive(64) == packets);

        pair.left.ip(&["link", "set", "dev", &near.interface, "down"]).expect("a cable's end");
        let before = publisher.counters();
        publisher.send(To::Group(family.group()), &packets);
        let after = publisher.counters();
        assert_eq!((after.unreachable - before.unreachable, after.sent), (64, before.sent), "{family:?}");
        assert_eq!(after.transmit_calls - before.transmit_calls, 1, "one call is enough to know");
        assert_eq!(subscriber.turn(|_, _| {}), 0);

        pair.left.ip(&["link", "set", "dev", &near.interface, "up"]).expect("a cable's end");
        pair.left.await_up(&near.interface).expect("a cable's end");
        pair.right.await_up(&far.interface).expect("a cable's end");
        // Routes to groups come back when the interface is up; packets may be lost until then, and no longer.
        let mut came = 0;
        while came == 0 {
            publisher.send(To::Group(family.group()), &packets[..1]);
            came = subscriber.turn(|packet, _| assert_eq!(packet, packets[0]));
        }
        publisher.close();
        subscriber.close();
    }
}

#[test]
#[ignore = "needs root"]
fn an_ipv6_address_serves_before_the_network_has_confirmed_it() {
    let pair = pair();
    let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
    pair.left.inside(|| {
        // More questions, a second each, than a test has patience for.
        for (what, value) in [("accept_dad", "1"), ("dad_transmits", "100")] {
            let setting = format!("/proc/sys/net/ipv6/conf/{}/{what}", near.interface);
            std::fs::write(setting, value).expect("IPv6");
        }
    });
    pair.left.ip(&["address", "add", "fd00:113::99/64", "dev", &near.interface]).expect("an address");
    let ours: IpAddr = "fd00:113::99".parse().expect("an address");
    let plain = pair.left.inside(|| UdpSocket::bind((ours, 0)));
    assert!(plain.is_err(), "confirmed already: not what is to be tested");
    let mut publisher = End::open(&pair.left, near, Family::V6, |config| config.address = Address::Is(ours));
    let mut subscriber = End::open(&pair.right, far, Family::V6, |_| {});
    subscriber.join(&pair.right);
    publisher.send(To::Group(Family::V6.group()), &[data(40, 1)]);
    assert_eq!(subscriber.receive(1), [data(40, 1)]);
    publisher.close();
    subscriber.close();
}

#[test]
#[ignore = "needs root"]
fn an_address_with_a_label_is_one_of_its_interface() {
    let pair = pair();
    let near = &pair.left_ports[0];
    let label = format!("{}:1", near.interface);
    pair.left.ip(&["address", "add", "10.113.99.1/24", "dev", &near.interface, "label", &label]).expect("an address");
    let ours: IpAddr = "10.113.99.1".parse().expect("an address");
    let host = End::open(&pair.left, near, Family::V4, |config| config.address = Address::Is(ours));
    assert_eq!(host.link.path().nla, ours);
    host.close();
    End::open(&pair.left, near, Family::V4, |config| {
        config.interface = ours.to_string();
        config.address = Address::Is(ours);
    })
    .close();
}

/// conformance 16, 17, 104
#[test]
#[ignore = "needs root"]
fn on_the_wire_are_the_ports_and_marks_that_were_asked_for() {
    let pair = pair();
    let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
    for family in Family::BOTH {
        let tap = pair.right.inside(|| tap(&far.interface));
        let mut publisher = End::open(&pair.left, near, family, |config| {
            config.ttl = 7;
            config.tos = 0xb8;
        });
        let group = family.group();
        for (to, ttl, port) in [
            (To::Group(group), 7, 3056),
            (To::Neighbours(group), 1, 3056),
            (To::Unicast(family.address(far)), 64, 3055),
        ] {
            publisher.send(to, &[data(50, 1)]);
            let (deadline, mut frame) = (Instant::now() + PATIENCE, vec![0; 2048]);
            // What else the kernel says on the cable is passed over.
            let ip = loop {
                assert!(Instant::now() < deadline, "{family:?} {to:?}");
                let len = read(&tap, &mut frame);
                let ip = &frame[14..len.max(14)];
                if ip.len() > 58 && ip.ends_with(&data(50, 1)) {
                    break ip;
                }
            };
            let (hops, tos, udp) = match family {
                Family::V4 => {
                    assert_eq!(ip[6] & 0xe0, 0x40, "DF and no more fragments");
                    (ip[8], ip[1], &ip[20..])
                }
                Family::V6 => (ip[7], ip[0] << 4 | ip[1] >> 4, &ip[40..]),
            };
            assert_eq!((hops, tos), (ttl, 0xb8), "{family:?} {to:?}");
            assert_eq!(
                udp[..6],
                [&3055_u16.to_be_bytes()[..], &u16::to_be_bytes(port), &58_u16.to_be_bytes()].concat()
            );
        }
        publisher.close();
    }
}

/// A packet socket that sees all that comes in by an interface.
fn tap(interface: &str) -> OwnedFd {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: opens a descriptor and touches no memory of ours.
    let tap = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, all.into()) };
    assert!(tap >= 0, "a packet socket: {}", std::io::Error::last_os_error());
    // SAFETY: just opened and nobody else's.
    let tap = unsafe { OwnedFd::from_raw_fd(tap) };
    let name = std::ffi::CString::new(interface).expect("a name without zeroes");
    // SAFETY: a structure of integers, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    // SAFETY: the name ends with a zero and lives through the call.
    address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
    let octets = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads an address of this length, which lives through the call.
    let bound = unsafe { libc::bind(tap.as_raw_fd(), (&raw const address).cast(), octets) };
    assert!(bound == 0, "a packet socket on {interface}: {}", std::io::Error::last_os_error());
    tap
}

/// Octets of the next frame; none if there is none yet.
fn read(tap: &OwnedFd, frame: &mut [u8]) -> usize {
    // SAFETY: the kernel writes at most as many octets as the buffer has.
    let len = unsafe { libc::recv(tap.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
    usize::try_from(len).unwrap_or_default()
}

#[test]
#[ignore = "needs root"]
fn what_was_fragmented_on_the_way_is_cut_off_where_no_frame_holds_it() {
    let pair = pair();
    let (near, far) = (&pair.left_ports[0], &pair.right_ports[0]);
    let stranger = pair.left.inside(|| UdpSocket::bind((near.address, 0))).expect("a port");
    for gro in [true, false] {
        let mut subscriber = End::open(&pair.right, far, Family::V4, |config| config.gro = gro);
        for len in [5000, 2049, 2048] {
            stranger.send_to(&nak(len, 0), (far.address, 3055)).expect("a route");
        }
        assert_eq!(subscriber.receive(1), [nak(2048, 0)]);
        assert_eq!((subscriber.counters().cut, subscriber.counters().received), (2, 1));
        subscriber.close();
    }
}

#[test]
#[ignore = "needs root"]
fn what_a_host_sends_to_its_own_address_and_groups_it_hears_unless_loopback_is_off() {
    let pair = pair();
    let port = &pair.left_ports[0];
    for family in Family::BOTH {
        let mut publisher = End::open(&pair.left, port, family, |_| {});
        let mut quiet = End::open(&pair.left, port, family, |config| {
            config.loopback = false;
            config.hear_unicast = false;
        });
        let mut subscriber = End::open(&pair.left, port, family, |config| config.hear_unicast = false);
        subscriber.join(&pair.left);
        let own = family.address(port);
        quiet.send(To::Group(family.group()), &[data(40, 1)]);
        publisher.send(To::Group(family.group()), &[data(40, 2)]);
        assert_eq!(subscriber.receive(1), [data(40, 2)]);
        assert_eq!(subscriber.counters().unclaimed, 0);
        // The publisher gets its NAKs, though the other two came later.
        subscriber.send(To::Unicast(own), &[nak(20, 3)]);
        assert_eq!(publisher.receive(1), [nak(20, 3)]);
        [publisher, quiet, subscriber].into_iter().for_each(End::close);
    }
}

/// How fast 64-octet packets cross a cable, with and without GSO and GRO: printed, because only a quiet machine has anything to say about
/// it. What is asserted is that every packet is accounted for.
#[test]
#[ignore = "needs root"]
fn every_packet_of_a_blast_is_received_or_told_as_dropped() {
    let count = if std::env::var_os("PGMX_LONG").is_some() { 5_000_000 } else { 100_000 };
    for (gso, gro) in [(false, false), (true, false), (true, true)] {
        let rate = blast(count, gso, gro);
        println!("GSO {gso}, GRO {gro}: {rate}");
    }
}

fn blast(count: u64, gso: bool, gro: bool) -> String {
    let pair = pair();
    let (listening, heard_last, told) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let (sent, (received, dropped, seconds)) = pair.run(
        |ports| {
            let host = Host::current().expect("this host");
            let mut end = End::open(&host, &ports[0], Family::V4, |config| config.gso = gso);
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            end.deadline = Instant::now() + Duration::from_secs(60);
            let packet = data(64, 0);
            let begun = Instant::now();
            let mut sent = 0;
            while sent < count {
                while end.out.room() > 0 {
                    end.push(To::Group(Family::V4.group()), &packet);
                }
                sent += end.out.len() as u64;
                end.flush();
            }
            let seconds = begun.elapsed().as_secs_f64();
            told.store((sent as f64 / seconds) as u64, Ordering::Release);
            // Sent until it arrives: what it tells of drops is up to date then.
            let mut marks = 0;
            while !heard_last.load(Ordering::Acquire) {
                end.send(To::Group(Family::V4.group()), &[data(20, 1)]);
                marks += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            let counters = end.counters();
            assert_eq!(counters.sent, sent + marks);
            end.close();
            sent
        },
        |ports| {
            let host = Host::current().expect("this host");
            let mut end = End::open(&host, &ports[0], Family::V4, |config| config.gro = gro);
            end.join(&host);
            end.deadline = Instant::now() + Duration::from_secs(60);
            listening.store(true, Ordering::Release);
            let (mut received, mut marks, mut begun, mut ended) = (0, 0, None, Instant::now());
            while marks == 0 {
                let before = received;
                end.turn(|packet, _| match packet.len() {
                    64 => received += 1,
                    _ => marks += 1,
                });
                if received > before {
                    ended = Instant::now();
                    begun.get_or_insert(ended);
                }
            }
            heard_last.store(true, Ordering::Release);
            let seconds = begun.map_or(0.0, |begun| (ended - begun).as_secs_f64());
            let dropped = end.counters().kernel_drops;
            end.close();
            (received, dropped, seconds)
        },
    );
    assert!(received <= sent && (received == sent || dropped > 0), "{received} of {sent}, {dropped} told");
    if !gso {
        assert_eq!(received + dropped, sent);
    }
    let mpps = |count: u64, seconds: f64| count as f64 / seconds / 1e6;
    let offered = told.load(Ordering::Acquire) as f64 / 1e6;
    format!("{offered:.2} Mpps sent, {:.2} Mpps received ({received} of {sent})", mpps(received, seconds))
}
