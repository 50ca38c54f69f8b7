//! Headers written and read, and the ways to break them.

use core::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::wire::build::BuildError;
use crate::wire::checksum;

/// A PGM packet, as far as checksums see: sums to all ones.
const PACKET: [u8; 7] = [0x12, 0x34, 0xED, 0xCB - 1, 0x00, 0x01, 0x00];

fn config() -> EnvelopeConfig {
    EnvelopeConfig {
        link: None,
        source: IpAddr::from([192, 0, 2, 1]),
        destination: IpAddr::from([239, 192, 0, 1]),
        ttl: 16,
        tos: 0,
        router_alert: true,
        transport: Transport::Pgm,
    }
}

fn link() -> LinkLayer {
    LinkLayer {
        source: [2, 0, 0, 0, 0, 1],
        destination: multicast_mac(IpAddr::from([239, 192, 0, 1])),
        vlans: Vlans::NONE,
    }
}

fn stamped(config: &EnvelopeConfig, packet: &[u8]) -> Vec<u8> {
    let envelope = Envelope::new(config).expect("sound");
    let mut bytes = vec![0xEE; envelope.header_len()];
    envelope.write(&mut bytes, packet.len()).expect("fits");
    bytes.extend_from_slice(packet);
    bytes
}

/// RFC 3208 §4, conformance 1, 15, 16
#[test]
fn router_alert_is_put_and_read_where_it_is_wanted() {
    let bytes = stamped(&config(), &[0; 36]);
    assert_eq!(bytes[20..24], [0x94, 0x04, 0x00, 0x00]);
    let header = parse_ip(&bytes).expect("right");
    assert!(header.router_alert && !header.fragment);
    assert_eq!((header.proto, header.ttl, header.payload_range()), (PROTO_PGM, 16, 24..60));

    let bytes = stamped(&EnvelopeConfig { router_alert: false, ..config() }, &[0; 36]);
    assert_eq!(bytes.len(), 20 + 36);
    assert!(!parse_ip(&bytes).expect("right").router_alert);
}

#[test]
fn multicast_groups_map_to_their_ethernet_addresses() {
    assert_eq!(multicast_mac(IpAddr::from([239, 192, 0, 1])), [0x01, 0x00, 0x5E, 0x40, 0x00, 0x01]);
    assert_eq!(multicast_mac(IpAddr::from([224, 128, 2, 3])), [0x01, 0x00, 0x5E, 0x00, 0x02, 0x03]);
    assert_eq!(multicast_mac("ff08::1:2".parse().expect("a group")), [0x33, 0x33, 0x00, 0x01, 0x00, 0x02]);
}

/// conformance 19
#[test]
fn padding_after_the_ip_packet_is_not_part_of_the_payload() {
    let mut frame = stamped(&EnvelopeConfig { link: Some(link()), router_alert: false, ..config() }, &PACKET);
    frame.resize(60, 0xAA);
    let header = parse_frame(&frame).expect("right");
    assert_eq!(header.payload(&frame), PACKET);

    let transport = Transport::Udp { source_port: 1, destination_port: UDP_MULTICAST_PORT };
    let udp = EnvelopeConfig { link: Some(link()), router_alert: false, transport, ..config() };
    let mut frame = stamped(&udp, &PACKET);
    frame.resize(60, 0xAA);
    let header = parse_frame(&frame).expect("right");
    assert_eq!(parse_udp(&frame, &header).expect("right").payload(&frame), PACKET);
}

/// conformance 17
#[test]
fn udp_carries_the_packet_as_it_is_under_a_right_checksum() {
    for (source, destination) in [("192.0.2.1", "239.192.0.1"), ("2001:db8::1", "ff08::1")] {
        let transport = Transport::Udp { source_port: 40_000, destination_port: UDP_MULTICAST_PORT };
        let (source, destination) = (source.parse().expect("an address"), destination.parse().expect("an address"));
        assert_eq!(checksum::sum(&PACKET).fold(), 0xFFFF, "else the case proves nothing");
        let bytes =
            stamped(&EnvelopeConfig { source, destination, router_alert: false, transport, ..config() }, &PACKET);
        let header = parse_ip(&bytes).expect("right");
        let udp = parse_udp(&bytes, &header).expect("right");
        assert_eq!((udp.source_port, udp.destination_port), (40_000, 3056));
        assert_eq!(udp.payload(&bytes), PACKET);
        // The checksum, computed the long way: pseudo-header, header and data.
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let datagram = header.payload(&bytes);
        let sum = checksum::sum(&octets(source))
            .combine(checksum::sum(&octets(destination)))
            .plus_u16(u16::from(PROTO_UDP))
            .plus_u16(datagram.len() as u16)
            .combine(checksum::sum(datagram));
        assert_eq!(sum.fold(), 0xFFFF);
    }
}

/// An IPv4 packet changed at some octets, its header checksum made right again.
fn broken(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = stamped(&config(), &PACKET);
    for (at, octet) in changes {
        bytes[*at] = *octet;
    }
    bytes[10..12].fill(0);
    let header_len = ((bytes[0] & 0x0F) as usize * 4).min(bytes.len());
    let checksum = checksum::sum(&bytes[..header_len]).finish();
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

#[test]
fn every_reason_to_refuse_a_frame_is_reached() {
    use NetReject::*;
    let mut counters = NetRejectCounters::default();
    let mut ip = |expected: NetReject, bytes: &[u8]| {
        assert_eq!(parse_ip(bytes), Err(expected), "{bytes:02x?}");
        counters.count(expected);
    };
    ip(IpTruncated, &[]);
    ip(IpTruncated, &broken(&[])[..19]);
    ip(IpVersion, &broken(&[(0, 0x56)]));
    ip(IpHeaderLength, &broken(&[(0, 0x44)]));
    ip(IpTotalLength, &broken(&[(3, 23)]));
    ip(IpTotalLength, &broken(&[(3, 32)]));
    ip(IpTotalLength, &broken(&[(0, 0x4F)]));
    ip(IpChecksum, &{
        let mut bytes = broken(&[]);
        bytes[8] ^= 1;
        bytes
    });
    ip(IpOptions, &broken(&[(21, 0)]));
    ip(IpOptions, &broken(&[(21, 1)]));
    ip(IpOptions, &broken(&[(21, 5)]));
    ip(IpOptions, &broken(&[(20, 1), (21, 1), (22, 1), (23, 7)]));

    let v6 = {
        let source = "2001:db8::1".parse().expect("an address");
        let destination = "ff08::1".parse().expect("a group");
        stamped(&EnvelopeConfig { source, destination, ..config() }, &[0; 8])
    };
    let v6_with = |next: u8, body: &[u8]| {
        let mut bytes = v6[..40].to_vec();
        bytes[6] = next;
        bytes[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    ip(IpTruncated, &v6[..39]);
    ip(IpTotalLength, &v6[..47]);
    ip(IpOptions, &v6_with(0, &[113, 1, 0, 0, 0, 0, 0, 0]));
    ip(IpOptions, &v6_with(0, &[113, 0, 0, 0, 0, 0, 1, 9]));
    ip(IpOptions, &v6_with(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(5)));
    ip(IpOptions, &v6_with(60, &[60, 0, 1]));

    let ethernet = stamped(&EnvelopeConfig { link: Some(link()), ..config() }, &PACKET);
    let mut frame = |expected: NetReject, bytes: &[u8]| {
        assert_eq!(parse_frame(bytes), Err(expected));
        counters.count(expected);
    };
    frame(EthernetTruncated, &ethernet[..13]);
    let mut other = ethernet.clone();
    other[12..14].copy_from_slice(&[0x08, 0x06]);
    frame(NotIp, &other);
    other[12..14].copy_from_slice(&[0x86, 0xDD]);
    frame(IpVersion, &other.iter().copied().chain([0; 60]).collect::<Vec<_>>());
    other[12..14].copy_from_slice(&[0x81, 0x00]);
    frame(EthernetTruncated, &other[..17]);

    let transport = Transport::Udp { source_port: 1, destination_port: 2 };
    let datagram = stamped(&EnvelopeConfig { router_alert: false, transport, ..config() }, &PACKET);
    let header = parse_ip(&datagram).expect("right");
    let mut udp = |expected: NetReject, bytes: &[u8], header: &NetHeader| {
        assert_eq!(parse_udp(bytes, header), Err(expected));
        counters.count(expected);
    };
    udp(Protocol, &datagram, &NetHeader { proto: PROTO_PGM, ..header });
    udp(Fragment, &datagram, &NetHeader { fragment: true, ..header });
    udp(UdpTruncated, &datagram, &NetHeader { payload_len: 7, ..header });
    for len in [0, 7, 16] {
        let mut datagram = datagram.clone();
        datagram[25] = len;
        udp(UdpLength, &datagram, &header);
    }
    for (reject, count) in counters.iter() {
        assert!(count > 0, "nothing is refused for {reject:?}");
    }
}

/// conformance 16
#[test]
fn fragments_are_told_from_whole_packets() {
    assert!(!parse_ip(&broken(&[])).expect("DF alone").fragment);
    assert!(parse_ip(&broken(&[(6, 0x20)])).expect("more fragments").fragment);
    assert!(parse_ip(&broken(&[(6, 0x40), (7, 1)])).expect("an offset").fragment);
    assert!(parse_ip(&broken(&[(6, 0x1F), (7, 0)])).expect("an offset").fragment);
}

#[test]
fn ipv6_extension_headers_are_looked_through() {
    let source = "2001:db8::1".parse().expect("an address");
    let destination = "ff08::1".parse().expect("a group");
    let plain = stamped(&EnvelopeConfig { source, destination, tos: 0xB8, ..config() }, &PACKET);
    let header = parse_ip(&plain).expect("right");
    assert_eq!((header.source, header.destination, header.tos, header.ttl), (source, destination, 0xB8, 16));
    assert_eq!((header.proto, header.payload(&plain)), (PROTO_PGM, &PACKET[..]));

    let with = |first: u8, extensions: &[u8]| {
        let mut bytes = plain[..40].to_vec();
        bytes[6] = first;
        bytes[5] = (extensions.len() + PACKET.len()) as u8;
        bytes.extend_from_slice(extensions);
        bytes.extend_from_slice(&PACKET);
        bytes
    };
    // Router Alert, then a routing header, then an atomic fragment.
    let bytes = with(0, &[43, 0, 5, 2, 0, 0, 1, 0, 44, 0, 0, 0, 0, 0, 0, 0, 113, 0, 0, 0, 1, 2, 3, 4]);
    let header = parse_ip(&bytes).expect("right");
    assert!(header.router_alert && !header.fragment);
    assert_eq!((header.proto, header.payload(&bytes)), (PROTO_PGM, &PACKET[..]));
    for offset in [[0, 1], [0, 8], [1, 0]] {
        let bytes = with(44, &[113, 0, offset[0], offset[1], 0, 0, 0, 1]);
        assert!(parse_ip(&bytes).expect("right").fragment);
    }
}

#[test]
fn an_envelope_that_cannot_be_is_refused() {
    let mixed = EnvelopeConfig { source: "::1".parse().expect("an address"), ..config() };
    assert!(matches!(Envelope::new(&mixed), Err(BuildError::MixedFamilies)));
    let envelope = Envelope::new(&config()).expect("sound");
    assert_eq!(envelope.write(&mut [0; 23], 36), Err(BuildError::BufferTooSmall));
    assert!(envelope.write(&mut [0; 24], 65_535 - 24).is_ok());
    let over = envelope.write(&mut [0; 24], 65_536 - 24);
    assert!(matches!(over, Err(BuildError::FieldOverflow { .. })));
}

proptest! {
    #[test]
    fn what_is_stamped_is_read_back(
        addresses in prop_oneof![
            any::<[[u8; 4]; 2]>().prop_map(|pair| pair.map(IpAddr::from)),
            any::<[[u8; 16]; 2]>().prop_map(|pair| pair.map(IpAddr::from)),
        ],
        ttl: u8, tos: u8, router_alert: bool,
        macs in of(any::<[[u8; 6]; 2]>()),
        tags in vec(any::<u16>(), 0..3),
        ports in of(any::<[u16; 2]>()),
        packet in vec(any::<u8>(), 0..1600),
    ) {
        let [source, destination] = addresses;
        let vlans = match tags[..] {
            [] => Vlans::NONE,
            [tag] => Vlans::one(tag),
            [outer, inner, ..] => Vlans::two(outer, inner),
        };
        let link = macs.map(|[source, destination]| LinkLayer { source, destination, vlans });
        let transport = ports.map_or(Transport::Pgm, |[source_port, destination_port]| {
            Transport::Udp { source_port, destination_port }
        });
        let config = EnvelopeConfig { link, source, destination, ttl, tos, router_alert, transport };
        let bytes = stamped(&config, &packet);
        let header = if link.is_some() { parse_frame(&bytes) } else { parse_ip(&bytes) }.unwrap();
        prop_assert_eq!((header.source, header.destination), (source, destination));
        prop_assert_eq!((header.ttl, header.tos, header.fragment), (ttl, tos, false));
        prop_assert_eq!(header.router_alert, router_alert && source.is_ipv4());
        prop_assert_eq!(header.vlans, link.map_or(Vlans::NONE, |link| link.vlans));
        prop_assert_eq!(header.src_mac, link.map_or([0; 6], |link| link.source));
        if let Some([source_port, destination_port]) = ports {
            let udp = parse_udp(&bytes, &header).unwrap();
            prop_assert_eq!((udp.source_port, udp.destination_port), (source_port, destination_port));
            prop_assert_eq!(udp.payload(&bytes), &packet[..]);
        } else {
            prop_assert_eq!(header.proto, PROTO_PGM);
            prop_assert_eq!(header.payload(&bytes), &packet[..]);
        }
    }

    #[test]
    fn damaged_frames_never_panic(
        cut in 0usize..120, at in 0usize..100, octet: u8, udp: bool, v6: bool, noise in vec(any::<u8>(), 0..80)
    ) {
        let transport = if udp { Transport::Udp { source_port: 1, destination_port: 2 } } else { Transport::Pgm };
        let (source, destination) = if v6 {
            (IpAddr::from([1; 16]), IpAddr::from([0xFF; 16]))
        } else {
            (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::from([239, 1, 1, 1]))
        };
        let config = EnvelopeConfig { link: Some(LinkLayer { vlans: Vlans::two(1, 2), ..link() }), source, destination, transport, ..config() };
        let mut frame = stamped(&config, &[7; 40]);
        if let Some(slot) = frame.get_mut(at) {
            *slot = octet;
        }
        frame.truncate(cut);
        for bytes in [&frame, &noise] {
            for header in [parse_frame(bytes), parse_ip(bytes)].into_iter().flatten() {
                prop_assert_eq!(header.payload(bytes).len(), header.payload_len as usize);
                if let Ok(udp) = parse_udp(bytes, &header) {
                    prop_assert_eq!(udp.payload(bytes).len(), udp.payload_len as usize);
                }
            }
        }
    }
}
