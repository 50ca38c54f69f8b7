//! Single rules of the format that the round trips do not show.

use super::golden::*;
use super::model::{Body, Packet};
use super::wire::build::{BuildError, Content, DataOptions, DataTemplate, DataType, NakOptions, NakType, SpmOptions};
use super::wire::{
    EncodedFragment, Flags, Fragment, Kind, Nak, ParityPrm, Rst, Spm, Unknown, build, parse_plain,
    treat_unknown_options,
};
use super::*;

fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for (at, octet) in changes {
        packet[*at] = *octet;
    }
    repair(&mut packet);
    packet
}

/// The packet with `option` inserted right after `OPT_LENGTH` at `at`.
fn inserted(packet: &[u8], at: usize, option: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let total = u16::from_be_bytes([packet[at + 2], packet[at + 3]]) + option.len() as u16;
    packet[at + 2..at + 4].copy_from_slice(&total.to_be_bytes());
    packet.splice(at + 4..at + 4, option.iter().copied());
    repair(&mut packet);
    packet
}

/// RFC 3208 §8, conformance 9
#[test]
fn control_packets_may_go_without_a_checksum() {
    for packet in ALL {
        let mut bare = packet.to_vec();
        bare[6..8].fill(0);
        let data = read(packet).expect("known").packet_type().is_data();
        assert_eq!(read(&bare), if data { Err(Reject::ChecksumMissing) } else { read(packet) });
    }
}

/// RFC 3208 §8, conformance 7, 8
#[test]
fn a_checksum_that_computes_to_zero_is_sent_as_all_ones() {
    let template = DataTemplate::new(&SESSION);
    let mut packet = [0u8; 26];
    let mut write = |payload: [u8; 2]| {
        packet[24..].copy_from_slice(&payload);
        let (front, payload) = packet.split_first_chunk_mut().expect("24 octets and two");
        template.plain(front, DataType::Odata, Content::Original, s(1), s(0), 2, checksum::sum(payload));
        (u16::from_be_bytes([packet[6], packet[7]]), packet)
    };
    // With a payload of zeros the checksum says what is missing to all ones; as payload it leaves nothing to complement.
    let (missing, _) = write([0, 0]);
    let (checksum, packet) = write(missing.to_be_bytes());
    assert_eq!(checksum, 0xFFFF);
    assert!(read(&packet).is_ok());
    let (neighbour, _) = write((missing - 1).to_be_bytes());
    assert_eq!(neighbour, 1);
}

/// RFC 3208 §8.3, §13.6, §14.7.2, conformance 11, 12
#[test]
fn ports_are_swapped_upstream_and_resolved_by_the_parser() {
    for packet in ALL {
        let header = read(packet).expect("known");
        assert_eq!((header.tsi, header.data_port), (SESSION.tsi, SESSION.data_port));
        let first = u16::from_be_bytes([packet[0], packet[1]]);
        let upstream = matches!(packet[4], 0x02 | 0x08 | 0x09 | 0x0C | 0x0D);
        assert_eq!(first, if upstream { 7500 } else { 12345 });
    }
}

/// RFC 3208 §9, conformance 25, 163
#[test]
fn unknown_options_are_skipped_whatever_their_reserved_bits_say() {
    for (packet, at) in [(V9, 36), (V3, 24), (V6, 36)] {
        let before = Packet::read(&read(packet).expect("known"), packet);
        for code in [0x06, 0x20, 0x7F, 0x14, 0x1F, 0x00] {
            // OPX "discard" and all reserved bits: network elements may care, a receiver does not.
            for option in [&[code, 4, 0xFF, 0xFF][..], &[code, 7, 0x02, 0, 1, 2, 3]] {
                let packet = inserted(packet, at, option);
                let header = read(&packet).expect("skipped");
                assert_eq!(Packet::read(&header, &packet), before);
            }
        }
    }
}

/// RFC 3208 §9, conformance 26
#[test]
fn a_network_element_ignores_invalidates_or_discards_as_opx_says() {
    let treat = |packet: &mut [u8]| {
        let header = read(packet).expect("skipped");
        treat_unknown_options(packet, &header)
    };
    for (packet, at) in [(V9, 36), (V3, 24), (V6, 36)] {
        for code in [0x06, 0x14, 0x20, 0x7E] {
            for len in [4_u8, 7] {
                let option = |opx| [&[code, len, opx, 0][..], &[9; 3][..usize::from(len) - 4]].concat();
                for (opx, expected) in [(0, Unknown::Forward { invalidated: 0 }), (2, Unknown::Discard)] {
                    let mut given = inserted(packet, at, &option(opx));
                    let before = given.clone();
                    assert_eq!((treat(&mut given), &given), (expected, &before));
                }
                // Two of them, so that the second stands at an odd place behind the option of seven octets.
                let mut given = inserted(&inserted(packet, at, &option(1)), at, &option(1));
                let mut wanted = given.clone();
                assert_eq!(treat(&mut given), Unknown::Forward { invalidated: 2 });
                wanted[at + 4] = 0x7F;
                wanted[at + 4 + usize::from(len)] = 0x7F;
                repair(&mut wanted);
                assert_eq!(given, wanted);
            }
        }
        let mut given = packet.to_vec();
        assert_eq!((treat(&mut given), &given[..]), (Unknown::Forward { invalidated: 0 }, packet));
    }
    // The last option keeps its OPT_END, and a packet without a checksum stays without.
    let mut given = with(V9, &[(48, 0x80 | 0x20), (50, 1)]);
    given[6..8].fill(0);
    assert_eq!(treat(&mut given), Unknown::Forward { invalidated: 1 });
    assert_eq!((given[48], &given[6..8]), (0xFF, &[0, 0][..]));
}

/// RFC 3208 §9, conformance 163
#[test]
fn reserved_bits_of_known_options_are_not_looked_at() {
    let fin = with(V9, &[(50, 0xFF), (51, 0x7F)]);
    assert!(read(&fin).expect("garbage in OPT_FIN").options.fin());
    let list = with(V6, &[(42, 0xFF), (43, 0xFF)]);
    let header = read(&list).expect("garbage in OPT_NAK_LIST");
    assert!(header.options.nak_list(&list).eq([s(6), s(9)]));
    // F set on the fragment option of an original: not read there.
    let fragment = with(V3, &[(30, 0x04)]);
    let header = read(&fragment).expect("F in an original");
    assert!(header.options.fragment(&fragment).is_some());
    assert!(header.options.encoded_fragment(&fragment).is_none());
}

/// RFC 3208 §9, conformance 24, 163
#[test]
fn f_is_read_in_parity_packets_only() {
    let options = DataOptions { encoded_fragment: Some(EncodedFragment([0xA5; 13])), ..DataOptions::NONE };
    let body = Body::Data {
        kind: DataType::Odata,
        content: Content::Parity,
        sqn: s(8),
        trail: s(0),
        options,
        payload: b"parity".to_vec(),
    };
    let packet = Packet { session: SESSION, body }.build().expect("right");
    assert_eq!(packet[28..32], [0x81, 16, 0x04, 0xA5]);
    // The bit beside F, as some send it.
    for reserved in [0x04, 0x08, 0x0C] {
        let packet = with(&packet, &[(30, reserved)]);
        let options = read(&packet).expect("parity").options;
        assert_eq!(options.encoded_fragment(&packet), Some(EncodedFragment([0xA5; 13])));
        assert_eq!(options.fragment(&packet), None);
    }
    // A fragment option that is not encoded does not belong in parity.
    let plain = with(&packet, &[(30, 0)]);
    let options = read(&plain).expect("ignored").options;
    assert_eq!((options.fragment(&plain), options.encoded_fragment(&plain)), (None, None));
    // Nor does it hide the encoded one behind it.
    let both = inserted(&packet, 24, &[0x01, 4, 0, 0]);
    let options = read(&both).expect("ignored").options;
    assert_eq!(options.encoded_fragment(&both), Some(EncodedFragment([0xA5; 13])));
}

/// conformance 30
#[test]
fn an_option_where_it_does_not_belong_is_ignored() {
    // OPT_RST on ODATA, OPT_SYN on an SPM, OPT_NAK_LIST of a broken length on an SPM.
    let odata = inserted(V3, 24, &[0x0F, 4, 0, 0x45]);
    let options = read(&odata).expect("ignored").options;
    assert_eq!(options.rst(&odata), None);
    assert_eq!(options.join(&odata), Some(s(0)));
    let spm = inserted(V9, 36, &[0x0D, 4, 0, 0]);
    let options = read(&spm).expect("ignored").options;
    assert!(!options.syn() && options.fin());
    let spm = inserted(V9, 36, &[0x02, 5, 0, 0, 0]);
    assert_eq!(read(&spm).expect("ignored").options.nak_list(&spm).len(), 0);
    // The join of an original has no business in parity.
    let parity = inserted(V15, 24, &[0x03, 8, 0, 0, 0, 0, 0, 9]);
    let options = read(&parity).expect("ignored").options;
    assert_eq!((options.join(&parity), options.parity_grp(&parity)), (None, Some(1)));
}

#[test]
fn the_first_of_two_equal_options_counts() {
    let packet = inserted(V3, 24, &[0x03, 8, 0, 0, 0, 0, 0, 77]);
    assert_eq!(read(&packet).expect("twice").options.join(&packet), Some(s(77)));
    // The second is not looked at: OPT_SYN, then one of a wrong length, then the one of the known packet.
    let packet = inserted(&inserted(V28, 24, &[0x0D, 5, 0, 0, 0]), 24, &[0x0D, 4, 0, 0]);
    assert!(read(&packet).expect("three times").options.syn());
}

/// RFC 3208 §9.1, conformance 23
#[test]
fn sixteen_options_are_read_and_the_seventeenth_is_refused() {
    let fifteen = inserted(V28, 24, &[0x20, 4, 0, 0].repeat(15));
    assert!(read(&fifteen).expect("16 options").options.syn());
    let sixteen = inserted(V28, 24, &[0x20, 4, 0, 0].repeat(16));
    assert_eq!(read(&sixteen), Err(Reject::TooManyOptions));
}

/// RFC 3208 §9.3, conformance 28
#[test]
fn a_nak_list_holds_up_to_62_ascending_entries() {
    let mut buf = [0u8; 512];
    let nak = Nak { sqn: s(u32::MAX - 30), source: SOURCE, group: GROUP };
    let list: Vec<_> = (1..=62).map(|step| nak.sqn.plus(step)).collect();
    let mut build = |kind, list: &[Sqn]| build::nak(&mut buf, kind, &SESSION, false, &nak, list, &NakOptions::NONE);
    assert!(build(NakType::Nak, &list).is_ok(), "across the wrap");
    let over: Vec<_> = (1..=63).map(|step| nak.sqn.plus(step)).collect();
    assert_eq!(build(NakType::Nak, &over), Err(BuildError::NakListTooLong { len: 63 }));
    assert_eq!(build(NakType::Ncf, &over), Err(BuildError::NakListTooLong { len: 63 }));
    for wrong in [[s(9), s(8)], [s(9), s(9)], [nak.sqn, s(9)]] {
        assert_eq!(build(NakType::Nak, &wrong), Err(BuildError::NakListOrder));
        assert_eq!(build(NakType::Nnak, &wrong), Err(BuildError::NakListOrder));
        assert!(build(NakType::Ncf, &wrong).is_ok(), "an NCF confirms the list as it came");
    }
}

/// RFC 3208 §8, conformance 5
#[test]
fn variable_length_means_nothing_without_parity() {
    let flags = Flags::from_bits(0x40);
    assert!(!flags.is_variable_parity() && !flags.is_parity());
    assert!((flags | Flags::PARITY).is_variable_parity());
    let packet = with(V2, &[(5, 0x7C)]);
    let header = read(&packet).expect("unassigned flags are not looked at");
    assert!(!header.flags.is_variable_parity());
}

/// RFC 3208 §8, conformance 18
#[test]
fn ipv6_addresses_have_address_family_two_and_sixteen_octets() {
    let path: IpAddr = "2001:db8::1".parse().expect("an address");
    let mut buf = [0u8; 64];
    let spm = Spm { sqn: s(1), trail: s(1), lead: s(0), path };
    let len = build::spm(&mut buf, &SESSION, &spm, &SpmOptions::default()).expect("fits");
    assert_eq!(len, 48);
    assert_eq!(buf[28..36], [0, 2, 0, 0, 0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(read(&buf[..len]).expect("right").kind, Kind::Spm(spm));
    // The sum is over the packet alone: it comes out the same whatever carries it.
    assert_eq!(checksum::sum(&buf[..len]).fold(), 0xFFFF);
}

#[test]
fn a_packet_that_does_not_fit_is_not_built() {
    for packet in ALL {
        let model = Packet::read(&read(packet).expect("known"), packet);
        for len in 0..packet.len() {
            let mut buf = vec![0u8; len];
            let session = &SESSION;
            let result = match &model.body {
                Body::Spm(spm, options) => build::spm(&mut buf, session, spm, options),
                Body::Nak(kind, parity, nak, list, options) => {
                    build::nak(&mut buf, *kind, session, *parity, nak, list, options)
                }
                Body::Poll(poll, backoff) => build::poll(&mut buf, session, poll, *backoff),
                Body::Polr(polr, redirect, fec) => build::polr(&mut buf, session, polr, *redirect, *fec),
                Body::Spmr => build::spmr(&mut buf, session),
                Body::Ack(ack, feedback) => build::ack(&mut buf, session, ack, *feedback),
                Body::Data { .. } => continue,
            };
            assert_eq!(result, Err(BuildError::BufferTooSmall));
        }
    }
}

#[test]
fn a_front_of_another_length_than_the_options_need_is_refused() {
    let template = DataTemplate::new(&SESSION);
    let options = DataOptions { syn: true, ..DataOptions::NONE };
    for (len, options) in [(0, options), (24, options), (31, options), (33, options), (28, DataOptions::NONE)] {
        let mut front = vec![0u8; len];
        let sum = checksum::Sum::ZERO;
        let result = template.data(&mut front, DataType::Odata, Content::Original, s(1), s(0), &options, 0, sum);
        assert_eq!(result, Err(BuildError::BufferTooSmall), "{len}");
    }
}

#[test]
fn what_no_receiver_would_accept_is_not_built() {
    let mut buf = [0u8; 128];
    let spm = Spm { sqn: s(1), trail: s(1), lead: s(0), path: SOURCE };
    let mut with = |options: SpmOptions| build::spm(&mut buf, &SESSION, &spm, &options);
    for (on_demand, tg_size) in [(true, 1), (true, 6), (true, 256), (false, 8)] {
        let parity_prm = Some(ParityPrm { proactive: false, on_demand, tg_size });
        assert_eq!(with(SpmOptions { parity_prm, ..SpmOptions::default() }), Err(BuildError::ParityParameters));
    }
    let rst = Some(Rst { no_naks: false, code: 64 });
    assert!(matches!(with(SpmOptions { rst, ..SpmOptions::default() }), Err(BuildError::FieldOverflow { .. })));

    let nak = Nak { sqn: s(1), source: SOURCE, group: GROUP };
    let stray = NakOptions { nbr_unreach: true, ..NakOptions::NONE };
    let expected = BuildError::OptionNotAllowed { option: "OPT_NBR_UNREACH", packet: "NAK" };
    assert_eq!(build::nak(&mut buf, NakType::Nak, &SESSION, false, &nak, &[], &stray), Err(expected));

    let fragment = Some(Fragment { first_sqn: s(1), offset: 0, apdu_len: 4 });
    let options = DataOptions { fragment, ..DataOptions::NONE };
    let front = &mut buf[..24 + options.len()];
    let sum = checksum::Sum::ZERO;
    let result =
        DataTemplate::new(&SESSION).data(front, DataType::Odata, Content::Parity, s(1), s(0), &options, 0, sum);
    let expected = BuildError::OptionNotAllowed { option: "OPT_FRAGMENT", packet: "parity packet" };
    assert_eq!(result, Err(expected));

    let options = DataOptions { fragment, records: true, ..DataOptions::NONE };
    let front = &mut buf[..24 + options.len()];
    let result =
        DataTemplate::new(&SESSION).data(front, DataType::Odata, Content::Original, s(1), s(0), &options, 0, sum);
    assert!(matches!(result, Err(BuildError::OptionNotAllowed { packet: "data packet", .. })));
}

#[test]
fn a_batch_of_records_is_known_by_its_option_on_data_and_nowhere_else() {
    let is_batch = |packet: &[u8]| read(packet).expect("read").options.records();
    assert!(is_batch(R1));
    assert!(is_batch(&with(R1, &[(4, 5)])), "a repair");
    assert!(is_batch(&with(R1, &[(30, 0xFF), (31, 0xFF)])), "OPX and reserved bits are for network elements");
    assert!(is_batch(&inserted(R1, 24, &[0x52, 4, 0, 0])), "said twice is said once");
    assert!(is_batch(&inserted(V28, 24, &[0x52, 4, 0, 0])), "beside another option");
    assert!(!is_batch(&with(R1, &[(5, 0x81)])), "parity is no records");
    assert!(!is_batch(&inserted(V9, 36, &[0x52, 4, 0, 0])), "an SPM is none");
    assert!(!is_batch(&with(R1, &[(28, 0xD3)])), "another option");
}

#[test]
fn a_batch_takes_the_short_way_and_says_the_same_there() {
    let plain = parse_plain(R1).expect("the short way").expect("right");
    assert!(plain.records() && plain.is_new());
    assert_eq!((plain.payload_start(), plain.payload_len()), (32, 9));
    assert_eq!(plain.header(), parse::parse_general(R1, Limits::default()).expect("right"));
    let plain = parse_plain(V2).expect("the short way").expect("right");
    assert!(!plain.records() && plain.payload_start() == 24);
    assert_eq!(
        parse_plain(&with(R1, &[(33, 3)])).map(|read| read.is_ok()),
        Some(true),
        "what a record is, the reader says"
    );
    let mut wrong = R1.to_vec();
    wrong[40] ^= 1;
    assert_eq!(parse_plain(&wrong), Some(Err(Reject::ChecksumWrong)));
    for len in 0..R1.len() {
        assert_eq!(parse_plain(&R1[..len]), None);
    }
}

/// RFC 3208 §8.2, conformance 6
#[test]
fn a_batch_header_written_at_once_is_that_of_the_general_way() {
    let mut packet = R1.to_vec();
    let (front, payload) = packet.split_first_chunk_mut().expect("32 octets");
    front.fill(0xEE);
    DataTemplate::new(&SESSION).records(front, s(6), s(2), payload.len() as u16, checksum::sum(payload));
    assert_eq!(packet, R1);
}

#[test]
fn option_bytes_of_another_packet_give_nothing_and_never_panic() {
    for packet in ALL {
        let header = read(packet).expect("known");
        for other in ALL {
            for len in 0..=other.len() {
                Packet::read(&header, &other[..len]);
            }
        }
    }
}

#[test]
fn a_header_stays_small() {
    // It travels by value beside every frame.
    assert!(size_of::<wire::OptionSet>() <= 12);
    assert!(size_of::<Header>() <= 80, "{}", size_of::<Header>());
}
