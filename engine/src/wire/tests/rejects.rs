//! Broken packets: each rule of the parser is reached, and nothing else is refused in its place.

use super::golden::*;
use super::*;

/// A known packet with some octets replaced and its checksum made right again.
fn changed(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for (at, octet) in changes {
        packet[*at] = *octet;
    }
    repair(&mut packet);
    packet
}

fn cut(packet: &[u8], len: usize) -> Vec<u8> {
    changed(&packet[..len], &[])
}

/// A plain NAK with these options, which start with `OPT_LENGTH`.
fn nak_with(options: &[u8]) -> Vec<u8> {
    let mut packet = V5.to_vec();
    packet[5] = 0x03;
    packet.extend_from_slice(options);
    repair(&mut packet);
    packet
}

/// ODATA with SQN 100, this payload, and these options, which start with `OPT_LENGTH`.
fn odata_with(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = V2[..24].to_vec();
    packet[5] = 0x01;
    packet[14..16].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet[19] = 100;
    packet.extend_from_slice(options);
    packet.extend_from_slice(payload);
    repair(&mut packet);
    packet
}

fn fragment(first_sqn: u32, offset: u32, apdu_len: u32, payload: &[u8]) -> Vec<u8> {
    let mut options = vec![0, 4, 0, 20, 0x81, 16, 0, 0];
    options.extend([first_sqn, offset, apdu_len].iter().flat_map(|word| word.to_be_bytes()));
    odata_with(&options, payload)
}

/// One broken packet, at least, for every rule.
fn broken() -> Vec<(Reject, Vec<u8>)> {
    use Reject::*;
    let list_of = |entries: usize, extra: usize| {
        let len = 4 + 4 * entries + extra;
        let mut options = vec![0, 4, 0, (len + 4) as u8, 0x82, len as u8, 0, 0];
        options.extend((0..4 * entries + extra).map(|octet| octet as u8));
        options[2..4].copy_from_slice(&((len + 4) as u16).to_be_bytes());
        nak_with(&options)
    };
    let mut many = vec![0, 4, 0, 4 + 17 * 4];
    many.extend([0x20, 4, 0, 0].repeat(16));
    many.extend([0xA0, 4, 0, 0]);
    let mut exhausted = vec![0, 4, 0, 4 + 16 * 4];
    exhausted.extend([0x20, 4, 0, 0].repeat(16));
    let no_checksum = {
        let mut packet = V2.to_vec();
        packet[6..8].fill(0);
        packet
    };
    let wrong_checksum = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        packet[7] ^= 1;
        packet
    };
    let with_tail = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        packet.push(0);
        repair(&mut packet);
        packet
    };
    vec![
        (TooShort, vec![]),
        (TooShort, V16[..15].to_vec()),
        (Version, changed(V2, &[(4, 0x44)])),
        (Version, changed(V1, &[(4, 0x80)])),
        (ReservedTypeBits, changed(V2, &[(4, 0x14)])),
        (ReservedTypeBits, changed(V5, &[(4, 0x28)])),
        (UnknownType, changed(V1, &[(4, 0x03)])),
        (UnknownType, changed(V1, &[(4, 0x0B)])),
        (UnknownType, changed(V1, &[(4, 0x0F)])),
        (ChecksumMissing, no_checksum),
        (ChecksumWrong, wrong_checksum(V2)),
        (ChecksumWrong, wrong_checksum(V3)),
        (ChecksumWrong, wrong_checksum(V1)),
        (TypePartTruncated, cut(V1, 31)),
        (TypePartTruncated, cut(V2, 23)),
        (TypePartTruncated, cut(V17, 43)),
        (TypePartTruncated, cut(V18, 23)),
        (TypePartTruncated, cut(V26, 23)),
        (AddressFamily, changed(V1, &[(29, 3)])),
        (AddressFamily, changed(V5, &[(21, 0)])),
        (AddressFamily, changed(V5, &[(28, 1)])),
        (AddressTruncated, cut(V1, 35)),
        (AddressTruncated, changed(V5, &[(29, 2)])),
        (TsduLength, changed(V2, &[(15, 6)])),
        (TsduLength, changed(V2, &[(14, 0xFF)])),
        (TsduLength, cut(V2, 28)),
        (TsduOnControl, changed(V5, &[(15, 1)])),
        (TrailingOctets, changed(V2, &[(15, 4)])),
        (TrailingOctets, with_tail(V2)),
        (TrailingOctets, with_tail(V3)),
        (TrailingOctets, with_tail(V1)),
        (TrailingOctets, with_tail(V6)),
        (WindowTooLarge, changed(V1, &[(24, 0x7F)])),
        (WindowTooLarge, changed(V9, &[(24, 0x80)])),
        (OptionsTruncated, changed(V5, &[(5, 1)])),
        (OptionsTruncated, cut(V6, 39)),
        (OptLengthMissing, changed(V6, &[(36, 2)])),
        (OptLengthLength, changed(V6, &[(37, 8)])),
        (OptTotalTooShort, changed(V6, &[(39, 4)])),
        (OptTotalTooShort, changed(V6, &[(39, 0)])),
        (OptTotalTooLong, changed(V6, &[(39, 17)])),
        (OptTotalTooLong, changed(V6, &[(38, 0xFF)])),
        // Reaches into the payload.
        (OptTotalTooLong, changed(V3, &[(27, 0x1D)])),
        (TooManyOptions, nak_with(&many)),
        (OptionTruncated, nak_with(&[0, 4, 0, 10, 0x20, 4, 0, 0, 0xA0, 4])),
        (OptionTooShort, changed(V6, &[(41, 0)])),
        (OptionTooShort, changed(V6, &[(41, 3)])),
        (OptionTooLong, changed(V6, &[(41, 13)])),
        (OptionTooLong, changed(V6, &[(41, 0xFF)])),
        (OptEndMissing, changed(V6, &[(40, 0x02)])),
        (OptEndMissing, nak_with(&exhausted)),
        (OptEndEarly, changed(V3, &[(28, 0x81)])),
        (OptEndEarly, changed(V6, &[(41, 8)])),
        (OptionLength, odata_with(&[0, 4, 0, 16, 0x81, 12, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0], b"")),
        (OptionLength, odata_with(&[0, 4, 0, 12, 0x8D, 8, 0, 0, 0, 0, 0, 0], b"a")),
        (OptionLength, changed(V23, &[(39, 20), (45, 12)]).into_iter().chain([0; 4]).collect()),
        (OptionAddressFamily, changed(V19, &[(33, 2)])),
        (OptionAddressFamily, changed(V20, &[(57, 0)])),
        (OptionAddressFamily, changed(V25, &[(37, 3)])),
        (NakListLength, list_of(0, 0)),
        (NakListLength, list_of(1, 2)),
        (FragmentOffset, fragment(99, 4, 4, b"")),
        (FragmentOffset, fragment(99, u32::MAX, 4, b"abcd")),
        (FragmentOverrun, fragment(100, 0, 3, b"abcd")),
        (FragmentOverrun, fragment(99, 5, 8, b"abcd")),
        (FragmentEmpty, fragment(100, 0, 8, b"")),
        (ApduTooLong, fragment(100, 0, 65_537, b"abcd")),
        (ApduTooLong, fragment(99, u32::MAX - 2, u32::MAX, b"abcd")),
        (FragmentFirstSqn, fragment(101, 4, 8, b"abcd")),
        (FragmentFirstSqn, fragment(100 + (1 << 31), 4, 8, b"abcd")),
        (TooManyFragments, fragment(100u32.wrapping_sub(128), 4, 8, b"abcd")),
        (FragmentStart, fragment(99, 0, 8, b"abcd")),
        (FragmentStart, fragment(100, 4, 8, b"abcd")),
        (OptionLength, odata_with(&[0, 4, 0, 12, 0xD2, 8, 0, 0, 0, 0, 0, 0], b"\0\x01a")),
        (OptionLength, odata_with(&[0, 4, 0, 9, 0xD2, 5, 0, 0, 0], b"\0\x01a")),
        (RecordsOnFragment, {
            let mut options = vec![0, 4, 0, 24, 0x01, 16, 0, 0];
            options.extend([100_u32, 0, 8].iter().flat_map(|word| word.to_be_bytes()));
            options.extend([0xD2, 4, 0, 0]);
            odata_with(&options, b"\0\x02ab")
        }),
        (ParityGroupSize, changed(V10, &[(47, 0)])),
        (ParityGroupSize, changed(V10, &[(47, 1)])),
        (ParityGroupSize, changed(V10, &[(47, 6)])),
        (ParityGroupSize, changed(V10, &[(46, 1), (47, 0)])),
        (ParityMode, changed(V10, &[(43, 0)])),
    ]
}

/// RFC 3208 §8, §9, conformance 2, 8, 9, 20, 21, 23, 27, 28, 29
#[test]
fn every_rule_refuses_its_own_broken_packets() {
    let mut broken = broken();
    // One of the packets above was lengthened after its repair.
    for (reject, packet) in &mut broken {
        if *reject == Reject::OptionLength {
            repair(packet);
        }
    }
    let mut counters = wire::RejectCounters::default();
    for (expected, packet) in &broken {
        let reject = read(packet).expect_err(expected.name());
        assert_eq!(reject, *expected, "{packet:02x?}");
        counters.count(reject);
    }
    for (reject, count) in counters.iter() {
        assert!(count > 0, "no packet breaks the rule {reject:?}");
    }
    assert_eq!(counters.total(), broken.len() as u64);
}

/// conformance 29
#[test]
fn every_truncation_of_every_known_packet_is_refused() {
    for packet in ALL {
        for len in 0..packet.len() {
            let mut packet = packet[..len].to_vec();
            assert!(read(&packet).is_err());
            repair(&mut packet);
            assert!(read(&packet).is_err(), "{packet:02x?}");
        }
    }
}

/// RFC 3208 §9.2
#[test]
fn fragments_at_the_limits_are_accepted() {
    for (first_sqn, offset, apdu_len, payload) in [
        (100, 0, 0, &b""[..]),
        (100, 0, 4, b"abcd"),
        (100, 0, 65_536, b"abcd"),
        (99, 65_532, 65_536, b"abcd"),
        (100u32.wrapping_sub(127), 4, 8, b"abcd"),
    ] {
        let packet = fragment(first_sqn, offset, apdu_len, payload);
        let header = read(&packet).expect("within the limits");
        let expected = wire::Fragment { first_sqn: s(first_sqn), offset, apdu_len };
        assert_eq!(header.options.fragment(&packet), Some(expected));
        assert_eq!(header.payload(&packet), payload);
    }
}

/// RFC 3208 §3.3
#[test]
fn the_largest_window_and_the_empty_one_are_accepted() {
    let spm = |trail: u32, lead: u32| {
        let mut packet = V1.to_vec();
        packet[20..24].copy_from_slice(&trail.to_be_bytes());
        packet[24..28].copy_from_slice(&lead.to_be_bytes());
        repair(&mut packet);
        read(&packet).map(|_| ())
    };
    for trail in [0u32, 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
        assert_eq!(spm(trail, trail.wrapping_sub(1)), Ok(()));
        assert_eq!(spm(trail, trail.wrapping_add(0x7FFF_FFFE)), Ok(()));
        assert_eq!(spm(trail, trail.wrapping_add(0x7FFF_FFFF)), Err(Reject::WindowTooLarge));
    }
    assert_eq!(spm(1, 0x8000_0001), Err(Reject::WindowTooLarge), "only trail 0 says that there is no window");
}
