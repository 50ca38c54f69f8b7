//! Bytes to meaning and back, a packet at a time.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pgmx::wire::build::{
    self, Content, DATA_HEADER_LEN, DataOptions, DataTemplate, DataType, NakOptions, NakType, Session, SpmOptions,
};
use pgmx::wire::{Ack, Fragment, Gsi, Limits, Nak, Poll, Polr, Spm, Sqn, Tsi, checksum, parse, parse_plain};

const GROUP: [u8; 4] = [239, 192, 0, 1];
const SOURCE: [u8; 4] = [10, 0, 0, 1];
const SESSION: Session = Session { tsi: Tsi::new(Gsi::new([1; 6]), 9000), data_port: 7500 };
/// Octets that sums are taken of, and that packets carry.
const SIZES: [usize; 4] = [16, 64, 256, 1400];

/// Writes a packet from the first octet on; its length.
type Build = Box<dyn Fn(&mut [u8]) -> usize>;

fn nak(kind: NakType, list: Vec<Sqn>) -> Build {
    let nak = Nak { sqn: Sqn::new(7), source: SOURCE.into(), group: GROUP.into() };
    Box::new(move |room| build::nak(room, kind, &SESSION, false, &nak, &list, &NakOptions::NONE).expect("a NAK"))
}

/// One of each type that has no data.
fn control() -> Vec<(&'static str, Build)> {
    let spm = Spm { sqn: Sqn::new(1), trail: Sqn::new(0), lead: Sqn::new(99), path: SOURCE.into() };
    let options = SpmOptions::default();
    let poll = Poll {
        sqn: Sqn::new(1),
        round: 0,
        s_type: Poll::GENERAL,
        path: SOURCE.into(),
        backoff_us: 50_000,
        rand: 0,
        mask: 0,
    };
    let polr = Polr { sqn: Sqn::new(1), round: 0 };
    let ack = Ack { rx_max: Sqn::new(9), bitmap: 0xff };
    vec![
        ("spm", Box::new(move |room| build::spm(room, &SESSION, &spm, &options).expect("an SPM"))),
        ("nak", nak(NakType::Nak, Vec::new())),
        ("nak-of-63", nak(NakType::Nak, (8..70).map(Sqn::new).collect())),
        ("nnak", nak(NakType::Nnak, Vec::new())),
        ("ncf", nak(NakType::Ncf, Vec::new())),
        ("spmr", Box::new(|room| build::spmr(room, &SESSION).expect("an SPMR"))),
        ("poll", Box::new(move |room| build::poll(room, &SESSION, &poll, None).expect("a POLL"))),
        ("polr", Box::new(move |room| build::polr(room, &SESSION, &polr, None, false).expect("a POLR"))),
        ("ack", Box::new(move |room| build::ack(room, &SESSION, &ack, None).expect("an ACK"))),
    ]
}

/// Writes the header of a data packet in front of its payload, whose sum is known.
fn head(packet: &mut [u8], data_type: DataType, options: &DataOptions, sum: checksum::Sum) {
    let front = DATA_HEADER_LEN + options.len();
    let payload = (packet.len() - front) as u16;
    let template = DataTemplate::new(&SESSION);
    let (sqn, trail) = (Sqn::new(7), Sqn::new(0));
    template
        .data(&mut packet[..front], data_type, Content::Original, sqn, trail, options, payload, sum)
        .expect("a packet that can be built");
}

/// Data packets with 64 octets of payload.
fn data() -> Vec<(&'static str, DataType, DataOptions)> {
    let fragment = Fragment { first_sqn: Sqn::new(7), offset: 0, apdu_len: 4000 };
    let none = DataOptions::NONE;
    vec![
        ("odata", DataType::Odata, none),
        ("odata-fragment", DataType::Odata, DataOptions { fragment: Some(fragment), ..none }),
        ("odata-records", DataType::Odata, DataOptions { records: true, ..none }),
        ("rdata", DataType::Rdata, none),
    ]
}

pub(crate) fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    let mut room = [0_u8; 1500];
    let mut packets = Vec::new();
    for (name, build) in control() {
        group.bench_function(name, |bench| bench.iter(|| build(black_box(&mut room))));
        let octets = build(&mut room);
        packets.push((name, room[..octets].to_vec()));
    }
    for (name, data_type, options) in data() {
        let mut packet = vec![0x5a; DATA_HEADER_LEN + options.len() + 64];
        let sum = checksum::sum(&packet[DATA_HEADER_LEN + options.len()..]);
        group.bench_function(name, |bench| bench.iter(|| head(black_box(&mut packet), data_type, &options, sum)));
        packets.push((name, packet));
    }
    group.finish();

    let mut group = criterion.benchmark_group("parse");
    let limits = Limits::default();
    for (name, packet) in &packets {
        assert!(parse(packet, &limits).is_ok(), "{name}");
        group.bench_function(*name, |bench| bench.iter(|| parse(black_box(packet), &limits)));
    }
    let plain = packets.iter().find(|(name, _)| *name == "odata").map(|(_, packet)| packet);
    let plain = plain.expect("one of them");
    assert!(matches!(parse_plain(plain), Some(Ok(_))));
    group.bench_function("odata-plain", |bench| bench.iter(|| parse_plain(black_box(plain))));
    group.finish();

    let mut group = criterion.benchmark_group("checksum");
    for octets in SIZES {
        let payload = vec![0x5a; octets];
        group.throughput(Throughput::Bytes(octets as u64));
        let id = BenchmarkId::from_parameter(octets);
        group.bench_function(id, |bench| bench.iter(|| checksum::sum(black_box(&payload))));
    }
    group.finish();
}
