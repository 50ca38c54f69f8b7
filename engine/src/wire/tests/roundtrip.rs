//! Random packets of every type with every set of options: what is read is what was written.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::model::{Body, Packet};
use super::wire::build::{
    Content, DATA_HEADER_LEN, DataOptions, DataType, NakOptions, NakType, SpmOptions, patch_data,
};
use super::wire::{
    Ack, Cr, CrRequest, EncodedFragment, Fragment, Nak, NakBoIvl, NakBoRng, ParityPrm, PgmccData, PgmccFeedback, Poll,
    Polr, Rst, Spm,
};
use super::*;

/// Edges of the space are where circular arithmetic breaks.
fn sqn() -> impl Strategy<Value = Sqn> {
    prop_oneof![Just(0), Just(1), Just(0x7FFF_FFFF), Just(0x8000_0000), Just(u32::MAX), any::<u32>()].prop_map(Sqn::new)
}

fn address() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
}

fn session() -> impl Strategy<Value = Session> {
    (any::<[u8; 6]>(), any::<u16>(), any::<u16>())
        .prop_map(|(gsi, port, data_port)| Session { tsi: Tsi::new(Gsi::new(gsi), port), data_port })
}

fn nak_bo_ivl() -> impl Strategy<Value = NakBoIvl> {
    (any::<u32>(), sqn()).prop_map(|(ivl_us, poll_sqn)| NakBoIvl { ivl_us, poll_sqn })
}

fn request() -> impl Strategy<Value = CrRequest> {
    any::<[bool; 3]>().prop_map(|[worst_link, worst_path, receiver_path]| CrRequest {
        worst_link,
        worst_path,
        receiver_path,
    })
}

fn feedback() -> impl Strategy<Value = PgmccFeedback> {
    (any::<u32>(), any::<u16>(), address()).prop_map(|(timestamp_ms, loss, receiver)| PgmccFeedback {
        timestamp_ms,
        loss,
        receiver,
    })
}

fn spm() -> impl Strategy<Value = Body> {
    let fields = (sqn(), sqn(), 0u32..0x7FFF_FFFF, address()).prop_map(|(sqn, trail, window, path)| Spm {
        sqn,
        trail,
        lead: trail.plus(window).prev(),
        path,
    });
    let range = (any::<u32>(), any::<u32>()).prop_map(|(max_us, min_us)| NakBoRng { max_us, min_us });
    let parity = (0u32..7, 1u8..4).prop_map(|(exponent, mode)| ParityPrm {
        proactive: mode & 1 != 0,
        on_demand: mode & 2 != 0,
        tg_size: 2 << exponent,
    });
    let rst = (any::<bool>(), 0u8..64).prop_map(|(no_naks, code)| Rst { no_naks, code });
    let options = (
        of(sqn()),
        of(nak_bo_ivl()),
        of(range),
        of(parity),
        of(any::<u32>()),
        any::<bool>(),
        of(request()),
        any::<bool>(),
        of(rst),
    )
        .prop_map(|(join, nak_bo_ivl, nak_bo_rng, parity_prm, curr_tgsize, nbr_unreach, crqst, fin, rst)| SpmOptions {
            join,
            nak_bo_ivl,
            nak_bo_rng,
            parity_prm,
            curr_tgsize,
            nbr_unreach,
            crqst,
            fin,
            rst,
        });
    (fields, options).prop_map(|(spm, options)| Body::Spm(spm, options))
}

fn nak() -> impl Strategy<Value = Body> {
    let report = (request(), sqn(), any::<[u16; 3]>(), address()).prop_map(
        |(reports, lead, [worst_link, worst_path, receiver_path], receiver)| Cr {
            reports,
            lead,
            worst_link,
            worst_path,
            receiver_path,
            receiver,
        },
    );
    let kind = prop_oneof![Just(NakType::Nak), Just(NakType::Nnak), Just(NakType::Ncf)];
    let in_ncf = (of(nak_bo_ivl()), any::<bool>(), of(address()));
    let in_nak = (of(report), of(feedback()));
    let fields = (sqn(), address(), address()).prop_map(|(sqn, source, group)| Nak { sqn, source, group });
    let steps = vec(1u32..0x0100_0000, 0..=62);
    (kind, any::<bool>(), fields, steps, in_ncf, in_nak).prop_map(|(kind, parity, nak, steps, in_ncf, in_nak)| {
        let list = steps.iter().scan(nak.sqn, |at, step| {
            *at = at.plus(*step);
            Some(*at)
        });
        let (nak_bo_ivl, nbr_unreach, path_nla) = if kind == NakType::Ncf { in_ncf } else { (None, false, None) };
        let (cr, pgmcc_feedback) = if kind == NakType::Nak { in_nak } else { (None, None) };
        let options = NakOptions { nak_bo_ivl, nbr_unreach, path_nla, cr, pgmcc_feedback };
        Body::Nak(kind, parity, nak, list.collect(), options)
    })
}

fn poll() -> impl Strategy<Value = Body> {
    (sqn(), any::<[u16; 2]>(), address(), any::<[u32; 3]>(), of(nak_bo_ivl())).prop_map(
        |(sqn, [round, s_type], path, [backoff_us, rand, mask], backoff)| {
            Body::Poll(Poll { sqn, round, s_type, path, backoff_us, rand, mask }, backoff)
        },
    )
}

fn data() -> impl Strategy<Value = Body> {
    let kind = prop_oneof![Just(DataType::Odata), Just(DataType::Rdata)];
    let content = prop_oneof![
        2 => Just(Content::Original),
        1 => Just(Content::Parity),
        1 => Just(Content::VariableParity),
    ];
    let fragment = (0u32..100, 1u32..20_000, 0u32..20_000);
    let pgmcc = (any::<u32>(), address()).prop_map(|(timestamp_ms, acker)| PgmccData { timestamp_ms, acker });
    let options = (
        of(any::<u32>()),
        of(fragment),
        of(any::<[u8; 13]>()),
        of(sqn()),
        of(any::<u32>()),
        any::<bool>(),
        any::<bool>(),
        of(pgmcc),
        any::<bool>(),
    );
    (kind, content, sqn(), sqn(), options, vec(any::<u8>(), 0..400)).prop_map(
        |(kind, content, sqn, trail, options, payload)| {
            let (curr_tgsize, fragment, encoded, join, parity_grp, syn, fin, pgmcc_data, records) = options;
            let len = payload.len() as u32;
            let fragment = fragment.map(|(index, offset, rest)| match (index, len) {
                (_, 0) => Fragment { first_sqn: sqn, offset: 0, apdu_len: 0 },
                (0, _) => Fragment { first_sqn: sqn, offset: 0, apdu_len: len + rest },
                _ => Fragment { first_sqn: sqn.minus(index), offset, apdu_len: offset + len + rest },
            });
            let original = content == Content::Original;
            let options = DataOptions {
                curr_tgsize,
                fragment: fragment.filter(|_| original),
                encoded_fragment: encoded.map(EncodedFragment).filter(|_| !original),
                join: join.filter(|_| original),
                parity_grp: parity_grp.filter(|_| !original),
                syn,
                fin,
                // Belongs in ODATA only.
                pgmcc_data: pgmcc_data.filter(|_| original && kind == DataType::Odata),
                records: records && original && fragment.is_none(),
            };
            Body::Data { kind, content, sqn, trail, options, payload }
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let polr = (sqn(), any::<u16>(), of(address()), any::<bool>())
        .prop_map(|(sqn, round, redirect, fec)| Body::Polr(Polr { sqn, round }, redirect, fec));
    let ack = (sqn(), any::<u32>(), of(feedback()))
        .prop_map(|(rx_max, bitmap, feedback)| Body::Ack(Ack { rx_max, bitmap }, feedback));
    let body =
        prop_oneof![3 => spm(), 3 => nak(), 1 => poll(), 1 => polr, 1 => Just(Body::Spmr), 1 => ack, 4 => data()];
    (session(), body).prop_map(|(session, body)| Packet { session, body })
}

/// Codes that matter to network elements, by the RFC's table; `OPT_CURR_TGSIZE` depends on the packet.
const NETWORK: [u8; 10] = [0x02, 0x04, 0x05, 0x07, 0x08, 0x0A, 0x0B, 0x0C, 0x10, 0x11];

/// Walks the options of a packet that was built here, trusting it.
fn options_of(header: &Header, packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let fixed = match header.kind {
        wire::Kind::Spmr => 16,
        wire::Kind::Odata(_) | wire::Kind::Rdata(_) | wire::Kind::Polr(_) | wire::Kind::Ack(_) => 24,
        wire::Kind::Spm(spm) => 28 + 4 + if spm.path.is_ipv4() { 4 } else { 16 },
        wire::Kind::Poll(poll) => 24 + 4 + 12 + if poll.path.is_ipv4() { 4 } else { 16 },
        wire::Kind::Nak(nak) | wire::Kind::Nnak(nak) | wire::Kind::Ncf(nak) => {
            20 + 8 + [nak.source, nak.group].map(|nla| if nla.is_ipv4() { 4 } else { 16 }).iter().sum::<usize>()
        }
    };
    let mut rest = &packet[fixed..header.payload_start as usize];
    let mut options = Vec::new();
    while !rest.is_empty() {
        let (option, after) = rest.split_at(rest[1] as usize);
        options.push((option[0], option.to_vec()));
        rest = after;
    }
    options
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// RFC 3208 §8, §9, conformance 2, 3, 6, 8, 10, 18
    #[test]
    fn every_packet_reads_back_as_it_was_written(packet in packet()) {
        let bytes = packet.build().unwrap();
        let limits = Limits { max_apdu: 100_000, max_fragments: 100 };
        let header = parse(&bytes, &limits).unwrap();
        prop_assert_eq!(&Packet::read(&header, &bytes), &packet);
        prop_assert_eq!(bytes[4] & 0xF0, 0);
        prop_assert!(bytes[6..8] != [0, 0]);
        prop_assert_eq!(checksum::sum(&bytes).fold(), 0xFFFF);
        if !header.packet_type().is_data() {
            prop_assert_eq!(&bytes[14..16], &[0, 0]);
        }
        // Unassigned flags stay zero.
        prop_assert_eq!(bytes[5] & 0x3C, 0);
    }

    /// RFC 3208 §8, §9, conformance 4, 5, 20, 21, 22, 23, 24
    #[test]
    fn options_are_framed_and_ordered_as_the_rfc_wants_it(packet in packet()) {
        let bytes = packet.build().unwrap();
        let header = parse(&bytes, &Limits { max_apdu: 100_000, max_fragments: 100 }).unwrap();
        let options = options_of(&header, &bytes);
        let parity = bytes[5] & 0x80 != 0;
        prop_assert!(bytes[5] & 0x40 == 0 || parity);
        prop_assert_eq!(bytes[5] & 0x01 != 0, !options.is_empty());

        let matters = |code: u8| NETWORK.contains(&code) && !(code == 0x0A && bytes[4] == 0x04);
        let real: Vec<_> = options.iter().skip(1).collect();
        prop_assert_eq!(bytes[5] & 0x02 != 0, real.iter().any(|(code, _)| matters(code & 0x7F)));
        prop_assert!(real.len() <= 16);
        if let Some((first, body)) = options.first() {
            prop_assert_eq!(*first, 0);
            prop_assert_eq!(u16::from_be_bytes([body[2], body[3]]) as usize, options.iter().map(|(_, body)| body.len()).sum::<usize>());
        }
        for (index, (code, body)) in real.iter().enumerate() {
            let last = index + 1 == real.len();
            prop_assert_eq!(code & 0x80 != 0, last);
            let encoded = parity && header.packet_type().is_data() && code & 0x7F == 0x01;
            prop_assert_eq!(body[2], if encoded { 0x04 } else { 0 });
            prop_assert!(encoded || body[3] & 0x80 == 0);
        }
        prop_assert!(real.is_sorted_by_key(|(code, _)| !matters(code & 0x7F)));
    }

    /// RFC 3208 §8.2, §8, conformance 7, 8, 38
    #[test]
    fn a_patched_repair_equals_one_built_anew(packet in packet(), trail in sqn()) {
        let Body::Data { kind, content, sqn, options, payload, .. } = packet.body else { return Ok(()) };
        let at = |kind, trail| Packet {
            session: packet.session,
            body: Body::Data { kind, content, sqn, trail, options, payload: payload.clone() },
        };
        let front = DATA_HEADER_LEN + options.len();
        for (from, to) in [(kind, DataType::Rdata), (kind, DataType::Odata), (kind, kind)] {
            let mut bytes = at(from, s(17)).build().unwrap();
            patch_data(&mut bytes[..front], to, trail);
            prop_assert_eq!(&bytes, &at(to, trail).build().unwrap());
        }
    }

    #[test]
    fn random_octets_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        let _ = read(&bytes);
        repair(&mut bytes);
        if let Ok(header) = read(&bytes) {
            Packet::read(&header, &bytes);
        }
    }
}
