//! What leaves a link, seen at the other end of the cable, where no XDP program is, and read by tshark. Needs root, and tshark
//! (`cargo xtask setup`): `cargo test --test privileged_dissection -- --ignored`.

#![cfg(feature = "xdp")]

#[path = "support/conversation.rs"]
#[allow(dead_code, unreachable_pub)] // shared by several tests
mod conversation;
#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
#[allow(unused_macros)] // its ends are used here, not its cases
mod suite;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use conversation::{FRAMES, Heard, Script, talk};
use netns::{Cable, Host, Pair};
use pgmx::frame::To;
use pgmx::link::Address;
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::xdp::{XdpConfig, XdpLink};
use suite::bench::{PATIENCE, Promises, Setup};
use suite::packets::{every_option, every_type, odata};
use suite::wired::{Kind, RAW_PROMISES, XDP_PROMISES, generic, native, over_a_cable, raw, udp, xdp_in_udp};

/// Sees every frame of an interface, in both directions.
struct Tap {
    socket: File,
    frames: Vec<Vec<u8>>,
}

impl Tap {
    fn on(host: &Host, interface: &str) -> Self {
        let name = CString::new(interface).expect("a name");
        let everything = (libc::ETH_P_ALL as u16).to_be();
        host.inside(|| {
            // SAFETY: opens a descriptor and touches no memory of ours.
            let socket =
                unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
            assert!(socket >= 0, "a packet socket: {}", std::io::Error::last_os_error());
            // SAFETY: just opened and nobody else's; the file closes it.
            let file = unsafe { File::from_raw_fd(socket) };
            let buffer = 64_i32 << 20;
            // SAFETY: the value lives through the call and is as long as it says.
            let set = unsafe {
                libc::setsockopt(
                    file.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_RCVBUFFORCE,
                    (&raw const buffer).cast(),
                    size_of_val(&buffer) as u32,
                )
            };
            assert!(set == 0, "a large buffer: {}", std::io::Error::last_os_error());
            // SAFETY: a structure of integers, for which all zeroes is a value.
            let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = everything;
            // SAFETY: the name ends with a zero and lives through the call.
            address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
            let octets = size_of::<libc::sockaddr_ll>() as u32;
            // SAFETY: the address lives through the call and is as long as it says.
            let bound = unsafe { libc::bind(socket, (&raw const address).cast(), octets) };
            assert!(bound == 0, "binding to {interface}: {}", std::io::Error::last_os_error());
            Self { socket: file, frames: Vec::new() }
        })
    }

    /// Takes what is there.
    fn look(&mut self) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len) = self.socket.read(&mut buffer) {
            self.frames.push(buffer[..len].to_vec());
        }
    }

    /// A classic pcap file of Ethernet frames.
    fn write(&self, name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("pgmx-{}-{name}.pcap", std::process::id()));
        let mut octets: Vec<u8> = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 1 << 16, 1] {
            octets.extend(word.to_ne_bytes());
        }
        for (number, frame) in (0_u32..).zip(&self.frames) {
            for word in [number / 1_000_000, number % 1_000_000, frame.len() as u32, frame.len() as u32] {
                octets.extend(word.to_ne_bytes());
            }
            octets.extend(frame);
        }
        let scratch = Scratch(path);
        std::fs::write(&scratch.0, octets).expect("a file");
        scratch
    }
}

/// A file that is gone with its test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What tshark says of one PGM packet.
#[derive(Debug)]
struct Dissected {
    kind: String,
    checksum: String,
    ip_checksum: String,
    udp_checksum: String,
    options: Vec<String>,
    options_octets: String,
    source: String,
    malformed: bool,
}

/// What tshark finds wrong anywhere in a file, in its own words, and how many packets are PGM to it.
fn complaints(file: &Scratch) -> (BTreeSet<String>, usize) {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&file.0).args([
        "-T",
        "json",
        "-o",
        "pgm.check_checksum:TRUE",
        "-d",
        "udp.port==3055-3056,pgm",
    ]);
    let read = tshark.output().expect("tshark, which `cargo xtask setup` installs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(read.stdout).expect("plain text");
    // A line each of what it dissected: `"pgm.hdr.type": "0x04",`, with these names where something is wrong.
    let wrong = ["_ws.malformed", "_ws.short", "invalid\"", "pgm.bad_checksum"];
    let lines = || text.lines().map(str::trim);
    let complaints = lines().filter(|line| wrong.iter().any(|name| line.contains(name))).map(str::to_owned).collect();
    (complaints, lines().filter(|line| line.starts_with("\"pgm\": {")).count())
}

/// What tshark makes of each PGM packet in a file.
fn dissect(file: &Scratch, udp_checksums: bool) -> Vec<Dissected> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&file.0).args(["-Y", "pgm", "-T", "fields", "-E", "separator=;", "-E", "aggregator=,"]);
    let fields = [
        "pgm.hdr.type",
        "pgm.hdr.cksum.status",
        "ip.checksum.status",
        "udp.checksum.status",
        "pgm.genopts.type",
        "pgm.opts.tlen",
        "eth.src",
        "_ws.malformed",
    ];
    for field in fields {
        tshark.args(["-e", field]);
    }
    let udp = format!("udp.check_checksum:{}", if udp_checksums { "TRUE" } else { "FALSE" });
    for on in ["ip.check_checksum:TRUE", "pgm.check_checksum:TRUE", &udp] {
        tshark.args(["-o", on]);
    }
    tshark.args(["-d", "udp.port==3056,pgm", "-d", "udp.port==3055,pgm"]);
    let read = tshark.output().expect("tshark, which `cargo xtask setup` installs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(read.stdout).expect("plain text");
    // A field that tshark uses twice (it shows an SPM's trail beside the checksum's verdict, under its name) ends with the verdict.
    let last = |field: &str| field.rsplit(',').next().unwrap_or_default().to_owned();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(';').collect();
            Dissected {
                kind: last(words[0]),
                checksum: last(words[1]),
                ip_checksum: last(words[2]),
                udp_checksum: last(words[3]),
                options: words[4].split(',').map(str::to_owned).collect(),
                options_octets: words[5].into(),
                source: words[6].into(),
                malformed: words.get(7).is_some_and(|mark| !mark.is_empty()),
            }
        })
        .collect()
}

/// Packets of every type, with and without Router Alert, to every kind of destination, from a link of the kind `from`.
fn is_readable(name: &str, address: Address, from: Kind, to: Kind, promises: Promises, udp_checksums: bool) {
    let mut bench = over_a_cable(&Setup::default(), address, from, to, promises);
    bench.left.attend(bench.group);
    bench.right.attend(bench.group);
    suite::delivery::introduce(&mut bench);
    let pair = bench.pair.take().expect("a cabled bench");
    let mut tap = Tap::on(&pair.right, &pair.right_ports[0].interface);
    let every_type = every_type(bench.left.address(), bench.group).into_iter();
    // tshark wants 18 octets of a PGM packet, and an SPMR has 16.
    let mut packets: Vec<Vec<u8>> = every_type.filter(|(name, _)| *name != "SPMR").map(|(_, packet)| packet).collect();
    packets.extend(every_option(bench.left.address(), bench.group).into_iter().map(|(_, packet)| packet));
    packets.extend([0, 1, 2, 1000].map(|len| odata(5, len)));
    packets.push(odata(6, bench.left.payload_max()));
    let destinations = [To::Group(bench.group), To::Neighbours(bench.group), To::Unicast(bench.right.address())];
    let mut sent = 0;
    for (to, router_alert) in destinations.into_iter().flat_map(|to| [(to, false), (to, true)]) {
        for packet in &packets {
            bench.left.push(packet, to, router_alert);
        }
        sent += packets.len();
        bench.until("every packet", |bench| bench.right.arrived.len() >= sent);
    }
    let deadline = Instant::now() + PATIENCE;
    while tap.frames.len() < sent && Instant::now() < deadline {
        bench.left.receive();
        tap.look();
    }
    let file = tap.write(name);
    assert_eq!(complaints(&file), (BTreeSet::new(), sent), "{name}");
    let read = dissect(&file, udp_checksums);
    assert_eq!(read.len(), sent, "{name}: not every packet is PGM to tshark");
    // Those that tshark names: OPT_FIN and what follows have no field of their own, but would be malformed.
    let options: BTreeSet<&str> = read.iter().flat_map(|one| one.options.iter().map(String::as_str)).collect();
    let named = ["0x01", "0x02", "0x03", "0x04", "0x05", "0x07", "0x08", "0x09", "0x12", "0x13"];
    assert!(options.is_superset(&BTreeSet::from(named)), "{name}: {options:?}");
    for one in &read {
        assert!(!one.malformed && one.checksum == "1", "{name}: {one:?}");
        // Good, or none as in IPv6 and without UDP; 2 is what was not looked at.
        assert!(["1", ""].contains(&one.ip_checksum.as_str()), "{name}: {one:?}");
        assert!(!udp_checksums || ["1", ""].contains(&one.udp_checksum.as_str()), "{name}: {one:?}");
    }
    let kinds: BTreeSet<&str> = read.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["0x00", "0x01", "0x02", "0x04", "0x05", "0x08", "0x09", "0x0a", "0x0d"]),
        "{name}"
    );
    // Were something wrong, it would be told.
    tap.frames.iter_mut().filter_map(|frame| frame.last_mut()).for_each(|octet| *octet ^= 1);
    assert!(!complaints(&tap.write(name)).0.is_empty(), "{name}");
    bench.pair = Some(pair);
    bench.ends_conserved();
}

/// conformance 1, 6, 17
#[test]
#[ignore = "needs root"]
fn tshark_reads_every_type_of_packet_of_every_link() {
    use Address::{Ipv4, Ipv6};
    // The kernel leaves UDP checksums of its own to the card, and a veth cable has none.
    is_readable("xdp-v4", Ipv4, native, raw, XDP_PROMISES, true);
    is_readable("xdp-v6", Ipv6, native, raw, XDP_PROMISES, true);
    is_readable("generic-v4", Ipv4, generic, raw, XDP_PROMISES, true);
    is_readable("xdp-udp-v4", Ipv4, xdp_in_udp, udp, XDP_PROMISES, true);
    is_readable("xdp-udp-v6", Ipv6, xdp_in_udp, udp, XDP_PROMISES, true);
    is_readable("raw-v4", Ipv4, raw, raw, RAW_PROMISES, true);
    is_readable("raw-v6", Ipv6, raw, raw, RAW_PROMISES, true);
}

/// Endpoints that talk in both directions over a lossy cable, one over xdp, the other over raw sockets, where the tap is.
#[test]
#[ignore = "needs root"]
fn tshark_reads_a_whole_conversation_of_endpoints() {
    let pair = Pair::new(&[Cable::default()]).expect("two hosts");
    let tap = Tap::on(&pair.right, &pair.right_ports[0].interface);
    let (script, heard) = (Script { messages: 300, longest: 5_000 }, Heard::default());
    let group = std::net::IpAddr::from([239, 192, 0, 1]);
    let plan = "loss=5%,dup=1%,reorder=2%x3";
    let (left, right) = pair.run(
        |ports| {
            let mut config = XdpConfig::new(&ports[0].interface);
            config.frames = FRAMES;
            talk(XdpLink::open(&config).expect("an xdp link"), 0, group, plan, script, &heard)
        },
        |ports| {
            let mut config = RawConfig::new(&ports[0].interface);
            (config.frames, config.loopback) = (FRAMES, false);
            talk(RawLink::open(&config).expect("a raw link"), 1, group, plan, script, &heard)
        },
    );
    left.is_complete(script);
    right.is_complete(script);
    let mut tap = tap;
    tap.look();
    let read = dissect(&tap.write("conversation"), true);
    for one in &read {
        assert!(!one.malformed && one.checksum == "1" && one.ip_checksum == "1", "{one:?}");
    }
    let sources: BTreeSet<&str> = read.iter().map(|one| one.source.as_str()).collect();
    assert_eq!(sources.len(), 2, "both directions");
    for source in sources {
        let from = || read.iter().filter(|one| one.source == source);
        let kinds: BTreeSet<&str> = from().map(|one| one.kind.as_str()).collect();
        assert!(kinds.is_superset(&BTreeSet::from(["0x00", "0x04", "0x05", "0x08", "0x0a"])), "{kinds:?}");
        let options: BTreeSet<&str> = from().flat_map(|one| one.options.iter().map(String::as_str)).collect();
        println!("{source}: {} packets, types {kinds:?}, options {options:?}", from().count());
        assert!(options.contains("0x01"), "fragments: {options:?}");
        // tshark names OPT_FIN and has no field for it: an SPM with OPT_LENGTH and that alone.
        assert!(from().any(|one| one.kind == "0x00" && one.options_octets == "8"), "a FIN");
    }
}
