//! Who else uses an interface: a second process, and the rest of the network stack. Needs root:
//! `cargo test --test privileged_neighbourhood -- --ignored`.

#![cfg(feature = "xdp")]

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
#[allow(unused_macros)] // its ends are used here, not its cases
mod suite;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::FromRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netns::{Cable, Host, Pair, Port};
use pgmx::frame::To;
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::xdp::{SteeringError, XdpConfig, XdpError, XdpLink};
use pgmx::link::{Address, Channel, Link, LinkError};
use suite::bench::{Bench, PATIENCE, Setup, group_like};
use suite::end::End;
use suite::packets::{DATA_PORT, odata};
use suite::wired::{self, XDP_PROMISES, over_a_cable};

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 7, 1));
const OTHER_GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 7, 2));
/// Says which kind of link the child opens, and where.
const NEIGHBOUR: &str = "PGMX_NEIGHBOUR";

/// The child: holds the channel over a link of the kind, and says what comes, until its input ends.
fn be_a_neighbour(role: &str) -> ! {
    let (kind, interface) = role.split_once('/').expect("a kind and an interface");
    let (link, pool): (Box<dyn suite::end::Tested>, _) = if kind == "xdp" {
        let (link, pool) = XdpLink::open(&XdpConfig::new(interface)).expect("an xdp link");
        (Box::new(link), pool)
    } else {
        let (link, pool) = RawLink::open(&RawConfig::new(interface)).expect("a raw link");
        (Box::new(link), pool)
    };
    let mut end = End::new(link, pool, None, 8);
    end.attend(GROUP);
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let asked = over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        asked.store(true, Ordering::Release);
    });
    println!("\njoined");
    while !over.load(Ordering::Acquire) {
        end.receive();
        while let Some(packet) = end.arrived.pop_front() {
            println!("heard {} {}", packet.to, packet.octets.len());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::exit(0);
}

/// A second process on a host; it ends with this.
struct Neighbour {
    child: Child,
    says: std::sync::mpsc::Receiver<String>,
}

impl Neighbour {
    fn begin(host: &Host, test: &str, kind: &str, port: &Port) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        command.env(NEIGHBOUR, format!("{kind}/{}", port.interface)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.inside(|| command.spawn()).expect("this test again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (say, says) = std::sync::mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        let mut neighbour = Self { child, says };
        neighbour.hears("joined");
        neighbour
    }

    /// Waits until it says so; what it said before.
    fn hears(&mut self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line =
                self.says.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never said {wanted}: {before:?}"));
            if line == wanted {
                return before;
            }
            before.push(line);
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn speaker(pair: &Pair) -> End {
    let (link, pool) = pair.right.inside(|| wired::raw(&pair.right_ports[0], Address::Ipv4, &Setup::default()));
    End::new(link, pool, Some(pair.right.inside(Host::current).expect("a namespace")), 8)
}

/// What `join` is refused with, and by whom.
fn is_claimed_by(refusal: Result<(), LinkError>, neighbour: &Neighbour, kind: &str) {
    match refusal {
        Err(LinkError::Claimed { pid, link, .. }) => assert_eq!((pid, link.as_str()), (neighbour.child.id(), kind)),
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs root"]
fn two_processes_share_an_interface_but_not_a_channel_and_the_owner_is_named() {
    if let Ok(role) = std::env::var(NEIGHBOUR) {
        be_a_neighbour(&role);
    }
    let name = "two_processes_share_an_interface_but_not_a_channel_and_the_owner_is_named";
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let port = &pair.left_ports[0];
    let mut first = Neighbour::begin(&pair.left, name, "xdp", port);

    // The interface has its XDP program already; ours is told whose it is.
    match pair.left.inside(|| XdpLink::open(&XdpConfig::new(&port.interface))) {
        Err(XdpError::Steering(SteeringError::Occupied { owner, .. })) => {
            assert_eq!((owner.pid, owner.name.as_deref()), (Some(first.child.id()), Some("steer")));
        }
        other => panic!("{:?}", other.map(|_| ())),
    }

    // Over raw sockets everything but its channel can be had, another port of its group among it.
    let (link, pool) = pair.left.inside(|| wired::raw(port, Address::Ipv4, &Setup::default()));
    let mut second = End::new(link, pool, Some(pair.left.inside(Host::current).expect("a namespace")), 8);
    let taken = Channel { group: GROUP, data_port: DATA_PORT };
    is_claimed_by(second.with(|end| end.link.join(taken, &[])), &first, "xdp");
    second.join(OTHER_GROUP, DATA_PORT, &[]);
    second.join(GROUP, DATA_PORT + 1, &[]);

    let mut right = speaker(&pair);
    let elsewhere = suite::packets::session(suite::packets::SOURCE_PORT, DATA_PORT + 1);
    let elsewhere = suite::packets::data_on(&elsewhere, pgmx::wire::build::DataType::Odata, 3, 33);
    right.push(&odata(2, 22), To::Group(OTHER_GROUP), false);
    right.push(&elsewhere, To::Group(GROUP), false);
    right.push(&odata(1, 11), To::Group(GROUP), false);
    right.send();
    let before = first.hears(&format!("heard {GROUP} {}", 24 + 11));
    assert!(!before.iter().any(|line| line.starts_with("heard")), "the other one's packets: {before:?}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while second.arrived.len() < 2 && std::time::Instant::now() < deadline {
        second.receive();
        std::thread::sleep(Duration::from_millis(1));
    }
    let came: Vec<_> = second.arrived.iter().map(|packet| (packet.to, packet.octets.len() - 24)).collect();
    assert_eq!(came, [(OTHER_GROUP, 22), (GROUP, 33)]);

    // When it is gone, however it went, its channel is free.
    drop(first);
    second.join(GROUP, DATA_PORT, &[]);
}

#[test]
#[ignore = "needs root"]
fn xdp_takes_no_channel_from_a_process_that_listens_over_raw_sockets() {
    if let Ok(role) = std::env::var(NEIGHBOUR) {
        be_a_neighbour(&role);
    }
    let name = "xdp_takes_no_channel_from_a_process_that_listens_over_raw_sockets";
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let port = &pair.left_ports[0];
    let mut first = Neighbour::begin(&pair.left, name, "raw", port);
    let (mut link, _pool) = pair.left.inside(|| XdpLink::open(&XdpConfig::new(&port.interface))).expect("an xdp link");
    let taken = Channel { group: GROUP, data_port: DATA_PORT };
    is_claimed_by(pair.left.inside(|| link.join(taken, &[])), &first, "raw");
    pair.left.inside(|| link.join(Channel { group: OTHER_GROUP, ..taken }, &[])).expect("another group");
    // The program is attached, and the neighbour hears its channel as before.
    let mut right = speaker(&pair);
    right.push(&odata(1, 11), To::Group(GROUP), false);
    right.send();
    first.hears(&format!("heard {GROUP} {}", 24 + 11));
}

/// Ends the traffic when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs two xdp links that talk, in a thread of their own, while `work` uses the same cable otherwise.
fn beside_traffic(address: Address, work: impl FnOnce(&Pair)) {
    let over = AtomicBool::new(false);
    let (lend, lent) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let over = &over;
        let traffic = scope.spawn(move || {
            let mut bench = over_a_cable(&Setup::default(), address, wired::native, wired::native, XDP_PROMISES);
            bench.left.attend(bench.group);
            bench.right.attend(bench.group);
            lend.send(bench.pair.take().expect("a cabled bench")).expect("the test waits for it");
            let mut came = 0;
            while !over.load(Ordering::Acquire) {
                came += talk_once(&mut bench);
            }
            bench.ends_conserved();
            came
        });
        let pair = lent.recv().expect("a cabled bench");
        // Dropped, also when the work panics, before the threads are waited for.
        let end = Over(over);
        work(&pair);
        drop(end);
        let came = traffic.join().expect("the traffic went on");
        assert!(came > 100, "there was no traffic: {came}");
    });
}

fn talk_once(bench: &mut Bench) -> usize {
    for number in 0..32 {
        bench.left.push(&odata(number, 500), To::Group(bench.group), false);
        bench.right.push(&odata(number, 500), To::Group(bench.group), false);
    }
    // The kernel's queue on the cable may be full of what the others say: then packets are lost.
    let came = bench.until_mark().len();
    std::thread::sleep(Duration::from_micros(200));
    bench.left.arrived.drain(..).count() + came
}

/// A socket that speaks a protocol of IP, dressed as one that has addresses.
fn protocol_socket(family: i32, protocol: i32) -> UdpSocket {
    // SAFETY: opens a descriptor and touches no memory of ours.
    let socket = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    assert!(socket >= 0, "a raw socket: {}", std::io::Error::last_os_error());
    // SAFETY: just opened and nobody else's.
    let socket = unsafe { UdpSocket::from_raw_fd(socket) };
    socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    socket
}

/// Asks a host for an echo and waits for it.
fn ping(host: &Host, to: IpAddr, octets: usize) {
    let (family, protocol, request, reply, header) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8, 0, 20),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128, 129, 0),
    };
    let socket = host.inside(|| protocol_socket(family, protocol));
    let mut packet = vec![request, 0, 0, 0, 0x77, 0x01, 0, 1];
    packet.extend((0..octets).map(|n| n as u8));
    let sum = pgmx::wire::checksum::sum(&packet).finish();
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    socket.send_to(&packet, SocketAddr::new(to, 0)).expect("a route");
    let mut buffer = [0; 4096];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).expect("an echo");
        let answer = &buffer[header..len];
        if from.ip() == to && answer[0] == reply && answer[4..8] == packet[4..8] {
            assert_eq!(answer[8..], packet[8..]);
            return;
        }
    }
}

/// Four megabytes in each direction at once.
fn tcp(pair: &Pair, from: IpAddr, to: IpAddr) {
    const OCTETS: usize = 4 << 20;
    let octets: Vec<u8> = (0..OCTETS).map(|n| (n * 7 + n / 253) as u8).collect();
    let listener = pair.right.inside(|| TcpListener::bind((to, 0))).expect("a port");
    let address = listener.local_addr().expect("bound");
    let talk = |stream: TcpStream| {
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .expect("a time");
        std::thread::scope(|scope| {
            let says = scope.spawn(|| (&stream).write_all(&octets));
            let mut heard = vec![0; OCTETS];
            (&stream).read_exact(&mut heard).expect("as much as was said");
            says.join().expect("no panic").expect("a connection");
            assert!(heard == octets, "other octets");
        });
    };
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| talk(listener.accept().expect("a connection").0));
        let stream = pair.left.inside(|| TcpStream::connect_timeout(&address, PATIENCE)).expect("a connection");
        assert_eq!(stream.local_addr().expect("connected").ip(), from);
        talk(stream);
        answers.join().expect("no panic");
    });
}

/// UDP to a group that is nobody's channel.
fn multicast(pair: &Pair, from: IpAddr, group: IpAddr) {
    let (left, right) = (&pair.left_ports[0], &pair.right_ports[0]);
    let index = |host: &Host, name: &str| {
        let name = std::ffi::CString::new(name).expect("a name");
        // SAFETY: the name ends with a zero and lives through the call.
        host.inside(|| unsafe { libc::if_nametoindex(name.as_ptr()) })
    };
    let (out, into) = (index(&pair.left, &left.interface), index(&pair.right, &right.interface));
    let hears = pair.right.inside(|| UdpSocket::bind((group, 4711))).expect("a port");
    hears.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let says = pair.left.inside(|| UdpSocket::bind((from, 0))).expect("an address");
    let to = match group {
        IpAddr::V4(group) => {
            hears.join_multicast_v4(&group, &right.address).expect("a group");
            pair.left.ip(&["route", "replace", "239.0.0.0/8", "dev", &left.interface]).expect("a route to groups");
            SocketAddr::from((group, 4711))
        }
        IpAddr::V6(group) => {
            hears.join_multicast_v6(&group, into).expect("a group");
            SocketAddr::V6(std::net::SocketAddrV6::new(group, 4711, 0, out))
        }
    };
    says.send_to(b"not PGM", to).expect("a route");
    let mut buffer = [0; 64];
    let (len, sender) = hears.recv_from(&mut buffer).expect("what was said");
    assert_eq!((&buffer[..len], sender.ip()), (&b"not PGM"[..], from));
}

/// A membership report reaches the other host: IGMP and MLD pass the program.
fn membership_report(pair: &Pair, like: IpAddr) {
    let right = &pair.right_ports[0];
    let (hears, is_report): (UdpSocket, fn(&[u8]) -> bool) = match like {
        IpAddr::V4(_) => {
            let socket = pair.right.inside(|| protocol_socket(libc::AF_INET, libc::IPPROTO_IGMP));
            socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 22), &right.address).expect("a group");
            // Behind an IP header with Router Alert: a version 3 report.
            (socket, |packet| packet[24] == 0x22 && packet.windows(4).any(|octets| octets == [239, 1, 2, 3]))
        }
        IpAddr::V6(_) => {
            let socket = pair.right.inside(|| protocol_socket(libc::AF_INET6, libc::IPPROTO_ICMPV6));
            let name = std::ffi::CString::new(right.interface.as_str()).expect("a name");
            // SAFETY: the name ends with a zero and lives through the call.
            let index = pair.right.inside(|| unsafe { libc::if_nametoindex(name.as_ptr()) });
            socket.join_multicast_v6(&"ff02::16".parse().expect("an address"), index).expect("a group");
            (socket, |packet| packet[0] == 143 && packet.windows(4).any(|octets| octets == [0xab, 0xcd, 0, 3]))
        }
    };
    let joins = pair.left.inside(|| match like {
        IpAddr::V4(_) => {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &pair.left_ports[0].address).expect("a group");
            socket
        }
        IpAddr::V6(_) => {
            let socket = UdpSocket::bind("[::]:0").expect("a port");
            let name = std::ffi::CString::new(pair.left_ports[0].interface.as_str()).expect("a name");
            // SAFETY: the name ends with a zero and lives through the call.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            let group = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xabcd, 3);
            socket.join_multicast_v6(&group, index).expect("a group");
            socket
        }
    });
    let mut buffer = [0; 2048];
    loop {
        let (len, _) = hears.recv_from(&mut buffer).expect("a report");
        if is_report(&buffer[..len]) {
            break;
        }
    }
    drop(joins);
}

/// Neighbours that were forgotten are found again: ARP and IPv6 neighbour discovery pass the program.
fn neighbours(pair: &Pair, to: IpAddr) {
    let interface = &pair.left_ports[0].interface;
    for _ in 0..3 {
        pair.left.ip(&["neighbour", "flush", "dev", interface]).expect("an interface");
        pair.right.ip(&["neighbour", "flush", "dev", &pair.right_ports[0].interface]).expect("an interface");
        ping(&pair.left, to, 10);
    }
}

/// Everything a host does besides PGM, while PGM is steered past its kernel.
fn the_rest_works(address: Address) {
    beside_traffic(address, |pair| {
        let port = &pair.left_ports[0];
        for like in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let (from, to) = port.addresses(like);
            ping(&pair.left, to, 1000);
            ping(&pair.right, from, 0);
            neighbours(pair, to);
            tcp(pair, from, to);
            multicast(pair, from, group_like(like, 99));
            membership_report(pair, like);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn everything_else_passes_while_ipv4_is_steered() {
    the_rest_works(Address::Ipv4);
}

#[test]
#[ignore = "needs root"]
fn everything_else_passes_while_ipv6_is_steered() {
    the_rest_works(Address::Ipv6);
}
