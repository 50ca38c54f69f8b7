//! What a capture file says, read by tshark: a second opinion on it and on every packet in it. Needs tshark
//! (`cargo xtask setup`): `cargo test --test privileged_capture -- --ignored`.
//!
//! Sessions run over the memory link, in virtual time, with losses, so that every type of packet is on the way.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Layout, Pool};
use pgmx::link::Encapsulation;
use pgmx::link::capture::{Capture, CaptureConfig};
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::memory::Hub;
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::SourceConfig;
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

/// SPM, ODATA, RDATA, NAK and NCF: their types on the wire.
const EVERY_TYPE: [&str; 5] = ["0x00", "0x04", "0x05", "0x08", "0x0a"];

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.0 += 1;
        pool.put(delivery.frame);
    }

    fn event(&mut self, _: Event) {}
}

/// A file that is gone with its test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Plays a session of 2,000 messages with 5 % loss and writes down what its source sends and receives.
fn record(name: &str, encapsulation: Encapsulation, addresses: [&str; 3]) -> (Scratch, u64) {
    const MESSAGES: u64 = 2000;
    let [own, peer, group] = addresses.map(|text| text.parse::<IpAddr>().expect("an address"));
    let path = std::env::temp_dir().join(format!("pgmx-{}-{name}.pcap", std::process::id()));
    let scratch = Scratch(path.clone());
    let hub = Hub::new(1024);
    let pool = || Pool::anonymous(Layout::standard(1 << 14)).expect("a mapping");
    let mut config = CaptureConfig::default();
    config.encapsulation = encapsulation;
    let capture = Capture::to_file(hub.port(own), &path, &config).expect("a file");
    let mut sending = Endpoint::new(capture, pool(), &EndpointConfig::default()).expect("an endpoint");
    let plan: FaultPlan = "loss=5%,seed=1".parse().expect("a plan");
    let faulty = Faults::new(hub.port(peer), &plan, Time::ZERO);
    let mut receiving = Endpoint::new(faulty, pool(), &EndpointConfig::default()).expect("an endpoint");

    let mut source = SourceConfig::profile(Profile::Lan, group, 7500);
    source.window_slots = 4096;
    let tsi = Tsi::new(Gsi::from_host_name("capture"), 4711);
    let (_, mut publisher) = sending.add_source(&source, tsi, Time::ZERO, 1).expect("a source");
    receiving.add_receiver(&ReceiverConfig::profile(Profile::Lan, group, 7500), 2).expect("a receiver");
    let (mut nothing, mut heard, mut published, mut now) = (Count::default(), Count::default(), 0, Time::ZERO);
    // A virtual minute is more than any repair takes.
    while heard.0 < MESSAGES && now < Time::from_nanos(60_000_000_000) {
        now = now.plus(100_000);
        if published < MESSAGES && publisher.publish(&[published as u8; 60]).is_ok() {
            published += 1;
        }
        sending.poll(now, &mut nothing).expect("memory never fails");
        receiving.poll(now, &mut heard).expect("memory never fails");
    }
    assert_eq!(heard.0, MESSAGES);
    let packets = sending.link().counts().packets;
    assert_eq!((sending.link().counts().left_out, sending.link().counts().errors), (0, 0));
    drop(sending);
    (scratch, packets)
}

/// What tshark makes of each packet: its outermost protocols, the PGM type, and the three checksums' verdicts.
fn read(file: &Scratch) -> Vec<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&file.0).args(["-T", "fields", "-E", "separator=;"]);
    for field in
        ["frame.protocols", "pgm.hdr.type", "pgm.hdr.cksum.status", "ip.checksum.status", "udp.checksum.status"]
    {
        tshark.args(["-e", field]);
    }
    for on in ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "pgm.check_checksum:TRUE"] {
        tshark.args(["-o", on]);
    }
    tshark.args(["-d", "udp.port==3056,pgm", "-d", "udp.port==3055,pgm"]);
    let read = tshark.output().expect("tshark, which `cargo xtask setup` installs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(read.stdout).expect("plain text");
    // A field that tshark uses twice (it shows an SPM's trail beside the checksum's verdict, under its name) ends with the verdict.
    let last = |field: &str| field.rsplit(',').next().unwrap_or_default().to_owned();
    text.lines().map(|line| line.split(';').map(last).collect()).collect()
}

/// conformance 17
#[test]
#[ignore = "needs tshark"]
fn tshark_reads_every_type_of_packet_with_good_checksums() {
    let v4 = ["192.0.2.1", "192.0.2.2", "239.192.0.1"];
    let v6 = ["2001:db8::1", "2001:db8::2", "ff08::1"];
    for (name, encapsulation, addresses, outer, ip, udp) in [
        ("pgm4", Encapsulation::Pgm, v4, "raw:ip:pgm", "1", ""),
        ("pgm6", Encapsulation::Pgm, v6, "raw:ipv6:pgm", "", ""),
        ("udp4", Encapsulation::UDP, v4, "raw:ip:udp:pgm", "1", "1"),
        ("udp6", Encapsulation::UDP, v6, "raw:ipv6:udp:pgm", "", "1"),
    ] {
        let (file, packets) = record(name, encapsulation, addresses);
        let lines = read(&file);
        assert_eq!(lines.len() as u64, packets);
        for line in &lines {
            assert!(line[0].starts_with(outer), "{name}: {line:?}");
            assert_eq!(line[2..], ["1", ip, udp], "{name}: {line:?}");
        }
        let types: BTreeSet<&str> = lines.iter().map(|line| line[1].as_str()).collect();
        assert_eq!(types, BTreeSet::from(EVERY_TYPE), "{name}");
    }
}
