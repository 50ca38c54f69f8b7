//! Packets that other implementations sent, octet for octet as they came over a cable: what is not as the RFC has it must not matter.

use super::golden::hex;
use super::wire::build::{DataOptions, NakOptions, NakType, SpmOptions, spm};
use super::wire::{Kind, Nak, Rst, Spm, build};
use super::*;

/// A NAK of OpenPGM 5.3 for six packets. The third octet of the option, which says what a network element does with an option that it
/// does not know, is whatever its stack held.
const OPENPGM_NAK: [u8; 64] = hex(
    "1d4cb7d90803ba635fc657e74edb000097730024000100000a42000100010000efc000010004001c82185700977300549773005697730057\
     9773005a97730076",
);

/// The last SPM of an OpenPGM 5.3 session, with OPT_FIN.
const OPENPGM_FIN: [u8; 44] =
    hex("611e1d4c0001229f65b48019cd340000000000170000000000001387000100000a420001000400088e040000");

/// conformance 28
#[test]
fn a_nak_list_of_openpgm_is_read_in_full_whatever_its_reserved_octets_hold() {
    let expected: Vec<Sqn> = [0x54, 0x56, 0x57, 0x5a, 0x76].map(|low| s(0x9773_0000 | low)).into();
    for octet in 0..=u8::MAX {
        let mut packet = OPENPGM_NAK;
        if octet != packet[42] {
            packet[42] = octet;
            repair(&mut packet);
        }
        let header = read(&packet).expect("what is reserved is not looked at");
        let Kind::Nak(nak) = header.kind else { panic!("{header:?}") };
        assert_eq!((nak.sqn, nak.source, nak.group), (s(0x9773_0024), [10, 66, 0, 1].into(), GROUP));
        assert_eq!(header.options.nak_list(&packet).collect::<Vec<_>>(), expected);
        assert_eq!((header.tsi.port, header.data_port), (0xb7d9, 7500));
    }
}

/// conformance 25
#[test]
fn the_end_of_an_openpgm_session_is_read_whatever_the_reserved_octets_of_its_option_hold() {
    for (at, octet) in [(42, 0), (42, 0xff), (43, 0xff), (43, 0x80)] {
        let mut packet = OPENPGM_FIN;
        packet[at] = octet;
        repair(&mut packet);
        let header = read(&packet).expect("what is reserved is not looked at");
        assert!(header.options.fin() && !header.flags.is_parity());
        let Kind::Spm(spm) = header.kind else { panic!("{header:?}") };
        assert_eq!((spm.sqn, spm.trail, spm.lead), (s(0x17), s(0), s(4999)));
    }
}

/// OpenPGM 5.3 believes its peers: options whose first is not OPT_LENGTH end its process, one of length 0 hangs it, and it looks for
/// OPT_END beyond the end of the packet.
/// RFC 3208 §9.1, conformance 20, 21
#[test]
fn options_that_we_write_begin_with_their_length_never_stand_still_and_end_where_they_say() {
    let mut written: Vec<Vec<u8>> = Vec::new();
    let mut keep = |write: &dyn Fn(&mut [u8]) -> Result<usize, build::BuildError>| {
        let mut packet = vec![0xaa; 512];
        let len = write(&mut packet).expect("it fits");
        packet.truncate(len);
        written.push(packet);
    };
    let about = Spm { sqn: s(7), trail: s(1), lead: s(9), path: SOURCE };
    let nak = Nak { sqn: s(5), source: SOURCE, group: GROUP };
    let rst = Some(Rst { no_naks: true, code: 1 });
    for options in [
        SpmOptions::default(),
        SpmOptions { fin: true, ..SpmOptions::default() },
        SpmOptions { rst, join: Some(s(3)), ..SpmOptions::default() },
    ] {
        keep(&|packet| spm(packet, &SESSION, &about, &options));
    }
    let list: Vec<Sqn> = (6..68).map(s).collect();
    for (kind, list) in [(NakType::Nak, &list[..]), (NakType::Ncf, &list[..1]), (NakType::Nak, &[])] {
        keep(&|packet| build::nak(packet, kind, &SESSION, false, &nak, list, &NakOptions::NONE));
    }
    let fragment = Some(wire::Fragment { first_sqn: s(4), offset: 0, apdu_len: 900 });
    for options in [
        DataOptions { syn: true, ..DataOptions::NONE },
        DataOptions { fragment, join: Some(s(1)), syn: true, ..DataOptions::NONE },
        DataOptions { records: true, ..DataOptions::NONE },
    ] {
        let front = build::DATA_HEADER_LEN + options.len();
        keep(&|packet| {
            let template = build::DataTemplate::new(&SESSION);
            let (kind, content) = (build::DataType::Odata, build::Content::Original);
            template.data(&mut packet[..front], kind, content, s(4), s(1), &options, 0, checksum::sum(&[]))?;
            Ok(front)
        });
    }
    for packet in &written {
        let at = if packet[4] == 0x04 { 24 } else { 36 };
        if packet[5] & 1 == 0 {
            assert_eq!(packet.len(), at, "{packet:02x?}");
            continue;
        }
        assert_eq!(packet[at..at + 2], [0, 4]);
        let end = at + usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
        let mut option = at + 4;
        while packet[option] & 0x80 == 0 {
            assert!(packet[option + 1] >= 4);
            option += usize::from(packet[option + 1]);
        }
        assert_eq!((option + usize::from(packet[option + 1]), end), (end, packet.len()), "{packet:02x?}");
    }
}
