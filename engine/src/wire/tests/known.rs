//! The known packets: read field by field, and rebuilt octet by octet.

use super::golden::*;
use super::model::{Body, Packet};
use super::wire::build::{Content, DataOptions, DataType, NakOptions, NakType, SpmOptions};
use super::wire::net::{self, Envelope, EnvelopeConfig, Transport};
use super::wire::{
    Ack, Cr, CrRequest, Fragment, Nak, NakBoIvl, NakBoRng, ParityPrm, PgmccData, PgmccFeedback, Poll, Polr, Rst, Spm,
};
use super::*;

/// Reads `bytes` to exactly `body` of the known session, and rebuilds them from it.
fn both_ways(bytes: &[u8], body: Body) {
    let header = read(bytes).expect("a known packet is right");
    let packet = Packet { session: SESSION, body };
    assert_eq!(Packet::read(&header, bytes), packet);
    assert_eq!(packet.build().expect("a known packet can be built"), bytes);
}

fn spm(sqn: u32, trail: u32, lead: u32, options: SpmOptions) -> Body {
    Body::Spm(Spm { sqn: s(sqn), trail: s(trail), lead: s(lead), path: SOURCE }, options)
}

fn nak(kind: NakType, parity: bool, sqn: u32, list: &[u32], options: NakOptions) -> Body {
    let list = list.iter().copied().map(s).collect();
    Body::Nak(kind, parity, Nak { sqn: s(sqn), source: SOURCE, group: GROUP }, list, options)
}

fn data(kind: DataType, content: Content, sqn: u32, options: DataOptions, payload: &[u8]) -> Body {
    Body::Data { kind, content, sqn: s(sqn), trail: s(0), options, payload: payload.to_vec() }
}

/// RFC 3208 §8.1, conformance 3, 6
#[test]
fn spms_are_read_and_rebuilt() {
    let none = SpmOptions::default();
    both_ways(V1, spm(0, 0, u32::MAX, none));
    let parity = |proactive| Some(ParityPrm { proactive, on_demand: true, tg_size: 8 });
    both_ways(V9, spm(7, 0, 12, SpmOptions { parity_prm: parity(true), fin: true, ..none }));
    both_ways(V10, spm(8, 0, 12, SpmOptions { parity_prm: parity(false), ..none }));
    both_ways(V11, spm(9, 0, 12, SpmOptions { rst: Some(Rst { no_naks: true, code: 5 }), ..none }));
    let request = CrRequest { receiver_path: true, ..CrRequest::default() };
    both_ways(V21, spm(10, 0, 12, SpmOptions { crqst: Some(request), ..none }));
    let nak_bo_ivl = Some(NakBoIvl { ivl_us: 50_000, poll_sqn: s(0) });
    let nak_bo_rng = Some(NakBoRng { max_us: 2_000_000, min_us: 1_000 });
    both_ways(V22, spm(11, 0, 12, SpmOptions { nak_bo_ivl, nak_bo_rng, ..none }));
    both_ways(V24, spm(11, 0, 0x8000_0000, SpmOptions { nbr_unreach: true, ..none }));
}

/// RFC 3208 §8.2, conformance 3, 6, 27
#[test]
fn data_packets_are_read_and_rebuilt() {
    use Content::{Original, Parity, VariableParity};
    use DataType::{Odata, Rdata};
    let none = DataOptions::NONE;
    both_ways(V2, data(Odata, Original, 0, none, b"hello"));
    let fragment = Some(Fragment { first_sqn: s(1), offset: 0, apdu_len: 8 });
    both_ways(V3, data(Odata, Original, 1, DataOptions { fragment, join: Some(s(0)), ..none }, b"abcd"));
    both_ways(V4, data(Rdata, Original, 1, DataOptions { fragment, ..none }, b"abcd"));
    let counting: Vec<u8> = (0..18).collect();
    both_ways(V14, data(Rdata, Parity, 8, none, &counting[..16]));
    both_ways(V15, data(Rdata, VariableParity, 9, DataOptions { parity_grp: Some(1), ..none }, &counting));
    let pgmcc_data = Some(PgmccData { timestamp_ms: 1000, acker: Ipv4Addr::UNSPECIFIED.into() });
    both_ways(V25, data(Odata, Original, 20, DataOptions { pgmcc_data, ..none }, b"x"));
    both_ways(V27, data(Odata, Original, 3, DataOptions { curr_tgsize: Some(4), ..none }, b"z"));
    both_ways(V28, data(Odata, Original, 0, DataOptions { syn: true, ..none }, b"hello"));
    let batch = b"\0\x02ab\0\0\0\x01c".to_vec();
    let options = DataOptions { records: true, ..none };
    both_ways(R1, Body::Data { kind: Odata, content: Original, sqn: s(6), trail: s(2), options, payload: batch });
}

/// RFC 3208 §8.3, conformance 3, 11, 12
#[test]
fn naks_nnaks_and_ncfs_are_read_and_rebuilt() {
    let none = NakOptions::NONE;
    both_ways(V5, nak(NakType::Nak, false, 5, &[], none));
    both_ways(V6, nak(NakType::Nak, false, 5, &[6, 9], none));
    both_ways(V7, nak(NakType::Ncf, false, 5, &[6, 9], none));
    both_ways(V8, nak(NakType::Nnak, false, 5, &[], none));
    both_ways(V12, nak(NakType::Nak, true, 10, &[], none));
    both_ways(V13, nak(NakType::Ncf, true, 10, &[], none));
    let report = Cr {
        reports: CrRequest { receiver_path: true, ..CrRequest::default() },
        lead: s(100),
        worst_link: 0,
        worst_path: 0,
        receiver_path: 0x0666,
        receiver: RECEIVER,
    };
    both_ways(V20, nak(NakType::Nak, false, 90, &[], NakOptions { cr: Some(report), ..none }));
    let unreachable = NakOptions { nbr_unreach: true, path_nla: Some(SOURCE), ..none };
    both_ways(V23, nak(NakType::Ncf, false, 5, &[], unreachable));
}

/// RFC 3208 §13.6, §14.7, conformance 3, 11
#[test]
fn the_small_packets_are_read_and_rebuilt() {
    both_ways(V16, Body::Spmr);
    let poll = Poll {
        sqn: s(1),
        round: 0,
        s_type: Poll::GENERAL,
        path: SOURCE,
        backoff_us: 250_000,
        rand: 0xDEAD_BEEF,
        mask: 0x0F,
    };
    both_ways(V17, Body::Poll(poll, None));
    let polr = Polr { sqn: s(1), round: 0 };
    both_ways(V18, Body::Polr(polr, None, false));
    both_ways(V19, Body::Polr(polr, Some(REPAIRER), false));
    let feedback = PgmccFeedback { timestamp_ms: 1000, loss: 0x0123, receiver: RECEIVER };
    both_ways(V26, Body::Ack(Ack { rx_max: s(20), bitmap: u32::MAX }, Some(feedback)));
}

/// RFC 3208 §8.1
#[test]
fn an_spm_without_window_information_says_so() {
    let window = |packet| match read(packet).expect("right").kind {
        wire::Kind::Spm(spm) => spm.window(),
        other => panic!("{other:?}"),
    };
    assert_eq!(window(V24), None);
    assert_eq!(window(V1), Some((s(0), s(u32::MAX))));
    assert_eq!(window(V9), Some((s(0), s(12))));
}

/// RFC 3208 §4, §8, conformance 1, 15, 16
#[test]
fn the_first_known_packet_leaves_under_its_known_ip_header() {
    let envelope = Envelope::new(&EnvelopeConfig {
        link: None,
        source: SOURCE,
        destination: GROUP,
        ttl: 16,
        tos: 0,
        router_alert: true,
        transport: Transport::Pgm,
    })
    .expect("sound");
    let mut front = [0xEE; 24];
    envelope.write(&mut front, V1.len()).expect("fits");
    assert_eq!(front, V1_IP);
    let packet = [V1_IP, V1].concat();
    assert_eq!(net::parse_ip(&packet).expect("right").payload(&packet), V1);
}
