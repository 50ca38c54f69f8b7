//! The steering program, frame by frame, in the real kernel, under both loaders: `cargo test -p pgmx-ebpf -- --ignored`, as root.
//!
//! Every case runs four times: loaded by libbpf and by our own loader, with an `AF_XDP` socket for its queue and without. Each time the
//! action, the counter (that one and no other) and the untouched frame are looked at.

#[path = "support/frames.rs"]
#[allow(unreachable_pub)] // a module of its own file, public to this one
mod frames;
#[path = "support/kernel.rs"]
#[allow(dead_code, unreachable_pub)] // shared with the tests of attaching
mod kernel;
#[path = "support/machine.rs"]
#[allow(unreachable_pub)]
mod machine;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use frames::*;
use kernel::*;
use pgmx_ebpf::Verdict::{self, *};
use pgmx_ebpf::{SteeringConfig, UpstreamBudget};

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 0, 1));
const GROUP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8000, 1));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 113, 0, 1));
const OURS6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 113, 0, 2));
const THEIRS6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
/// Addresses next to the groups', which none of them is.
const NO_GROUPS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(223, 255, 255, 255)),
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];
const SOURCE_PORT: u16 = 7400;
const DATA_PORT: u16 = 7500;
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

type Case = (&'static str, Vec<u8>, Verdict);

/// A group of both versions, and our own source's port for what comes back to it.
fn setup(change: impl FnOnce(&mut SteeringConfig)) -> Setup {
    let mut config = SteeringConfig::new("near0", 0);
    change(&mut config);
    let groups = vec![(GROUP, DATA_PORT), (GROUP6, DATA_PORT)];
    let locals = [OURS, OURS6].into_iter().chain(NO_GROUPS).map(|address| (address, SOURCE_PORT)).collect();
    Setup { config, groups, locals }
}

fn v4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(address) = address else { panic!("{address} is of version 6") };
    address
}

fn v6(address: IpAddr) -> Ipv6Addr {
    let IpAddr::V6(address) = address else { panic!("{address} is of version 4") };
    address
}

fn odata() -> Vec<u8> {
    pgm(ODATA, SOURCE_PORT, DATA_PORT)
}

/// The ports swapped, as all that goes towards a source has them.
fn nak() -> Vec<u8> {
    pgm(NAK, DATA_PORT, SOURCE_PORT)
}

fn odata_v4() -> Vec<u8> {
    ip(PGM, THEIRS, GROUP, &odata())
}

fn odata_v6() -> Vec<u8> {
    ip(PGM, THEIRS6, GROUP6, &odata())
}

/// ODATA behind these IPv4 options and this fragment word.
fn odata_with(options: &[u8], fragment: u16) -> Vec<u8> {
    frame(&ipv4_with(options, fragment, PGM, v4(THEIRS), v4(GROUP), &odata()))
}

/// What IPv6 carries to the group behind its own header.
fn behind_v6(next: u8, body: &[u8]) -> Vec<u8> {
    frame(&ipv6(next, v6(THEIRS6), v6(GROUP6), body))
}

fn plain() -> Vec<Case> {
    let to_group = |kind, from, to| frame(&ip(PGM, THEIRS, GROUP, &pgm(kind, from, to)));
    let to_us = |kind, from, to| frame(&ip(PGM, THEIRS, OURS, &pgm(kind, from, to)));
    let tags = |tags: &[(u16, u16)]| tagged(tags, IPV4, &odata_v4());
    let mapped: IpAddr = v4(GROUP).to_ipv6_mapped().into();
    let pgm_behind = |headers: u8| {
        (0..headers).fold((PGM, odata()), |(next, body), _| (DESTINATION, extension(next, 0, [0; 2], &body)))
    };
    let (four, five) = (pgm_behind(4), pgm_behind(5));
    let mut odd_version = odata_v4();
    odd_version[0] = 0x55;
    let mut odd_version6 = odata_v6();
    odd_version6[0] = 0x40;
    let mut odd_length = odata_v4();
    odd_length[0] = 0x44;
    vec![
        ("ODATA to the group", frame(&odata_v4()), Steered),
        ("SPM to the group", to_group(SPM, SOURCE_PORT, DATA_PORT), Steered),
        ("NCF to the group", to_group(NCF, SOURCE_PORT, DATA_PORT), Steered),
        ("ODATA with the ports swapped", to_group(ODATA, DATA_PORT, SOURCE_PORT), Unclaimed),
        ("ODATA to another group", frame(&ip(PGM, THEIRS, [239, 192, 0, 2].into(), &odata())), Unclaimed),
        ("ODATA to another port", to_group(ODATA, SOURCE_PORT, DATA_PORT + 1), Unclaimed),
        ("a NAK to the group", to_group(NAK, DATA_PORT, SOURCE_PORT), Steered),
        ("an NNAK to the group", to_group(NNAK, DATA_PORT, SOURCE_PORT), Steered),
        ("an SPMR to the group", to_group(SPMR, DATA_PORT, SOURCE_PORT), Steered),
        ("a POLR to the group", to_group(POLR, DATA_PORT, SOURCE_PORT), Steered),
        ("an ACK to the group", to_group(ACK, DATA_PORT, SOURCE_PORT), Steered),
        ("a NAK to the group with the ports of data", to_group(NAK, SOURCE_PORT, DATA_PORT), Unclaimed),
        ("a NAK to us", to_us(NAK, DATA_PORT, SOURCE_PORT), Steered),
        ("a NAK to another port of ours", to_us(NAK, SOURCE_PORT, DATA_PORT), Unclaimed),
        ("a NAK to a neighbour", frame(&ip(PGM, OURS, THEIRS, &nak())), Unclaimed),
        ("a NAK to the address below the groups", frame(&ip(PGM, THEIRS, NO_GROUPS[0], &nak())), Steered),
        ("a NAK to the address above the groups", frame(&ip(PGM, THEIRS, NO_GROUPS[1], &nak())), Steered),
        ("a NAK to a link-local address", frame(&ip(PGM, THEIRS6, NO_GROUPS[2], &nak())), Steered),
        ("ODATA to our port", to_us(ODATA, DATA_PORT, SOURCE_PORT), Steered),
        ("Router Alert", odata_with(&ROUTER_ALERT, 0), Steered),
        ("as many options as fit", odata_with(&[1; 40], 0), Steered),
        ("an IPv4 header shorter than one", frame(&odd_length), Short),
        ("a version that is neither", tagged(&[], IPV4, &odd_version), Other),
        ("a version that the frame's type denies", tagged(&[], IPV6, &odd_version6), Other),
        ("not to be fragmented", odata_with(&[], 0x4000), Steered),
        ("the first fragment", odata_with(&[], 0x2000), Fragment),
        ("a fragment from the middle", odata_with(&[], 0x2010), Fragment),
        ("the last fragment", odata_with(&[], 0x0010), Fragment),
        ("a fragment of TCP", frame(&ipv4_with(&[], 0x2000, TCP, v4(THEIRS), v4(OURS), &odata())), Other),
        ("IGMP", frame(&ipv4_with(&ROUTER_ALERT, 0, 2, v4(THEIRS), v4(GROUP), &[0x16; 8])), Other),
        ("ICMP", frame(&ip(1, THEIRS, OURS, &[8; 16])), Other),
        ("TCP", frame(&ip(TCP, THEIRS, OURS, &[0; 40])), Other),
        ("UDP with PGM in it", frame(&ip(UDP, THEIRS, GROUP, &udp(3056, &odata()))), Other),
        ("ARP", tagged(&[], ARP, &[0, 1, 8, 0, 6, 4, 0, 1]), Other),
        ("LLDP", tagged(&[], 0x88cc, &[2; 46]), Other),
        ("an 802.3 length", tagged(&[], 46, &[0xaa; 46]), Other),
        ("ODATA over IPv6", frame(&odata_v6()), Steered),
        ("a NAK over IPv6 to the group", frame(&ip(PGM, THEIRS6, GROUP6, &nak())), Steered),
        ("a NAK over IPv6 to us", frame(&ip(PGM, THEIRS6, OURS6, &nak())), Steered),
        ("ODATA to another group over IPv6", frame(&ip(PGM, THEIRS6, OURS6, &odata())), Unclaimed),
        (
            "ODATA to an IPv6 address that looks like the IPv4 group",
            frame(&ip(PGM, THEIRS6, mapped, &odata())),
            Unclaimed,
        ),
        ("MLD", behind_v6(HOP_BY_HOP, &extension(58, 0, [5, 2], &[143; 28])), Other),
        ("neighbour discovery", behind_v6(58, &[135; 24]), Other),
        ("TCP over IPv6", frame(&ip(TCP, THEIRS6, OURS6, &[0; 40])), Other),
        ("hop-by-hop options", behind_v6(HOP_BY_HOP, &extension(PGM, 0, [5, 2], &odata())), Steered),
        ("long destination options", behind_v6(DESTINATION, &extension(PGM, 20, [1, 4], &odata())), Steered),
        ("routing that ends here", behind_v6(ROUTING, &extension(PGM, 2, [4, 0], &odata())), Steered),
        ("routing that leads on", behind_v6(ROUTING, &extension(PGM, 2, [4, 1], &odata())), Other),
        ("four extension headers", behind_v6(four.0, &four.1), Steered),
        ("five extension headers", behind_v6(five.0, &five.1), Other),
        ("an extension header beyond the frame", behind_v6(HOP_BY_HOP, &extension(PGM, 0, [0; 2], &[])[..7]), Short),
        ("an extension that says it is longer", behind_v6(HOP_BY_HOP, &[&[PGM, 255][..], &[0; 100]].concat()), Short),
        ("authentication", behind_v6(AUTHENTICATION, &extension(PGM, 0, [0; 2], &odata())), Other),
        ("the first fragment over IPv6", behind_v6(FRAGMENT, &extension(PGM, 0, [0, 1], &odata())), Fragment),
        ("a whole fragment over IPv6", behind_v6(FRAGMENT, &extension(PGM, 0, [0, 0], &odata())), Fragment),
        (
            "a fragment behind options",
            behind_v6(DESTINATION, &extension(FRAGMENT, 0, [0; 2], &extension(PGM, 0, [0, 8], &odata()))),
            Fragment,
        ),
        ("a VLAN", tags(&[(CUSTOMER, 7)]), Vlan),
        ("a priority", tags(&[(CUSTOMER, 5 << 13)]), Steered),
        ("two priorities", tags(&[(SERVICE, 5 << 13), (CUSTOMER, 1 << 13)]), Steered),
        ("three priorities", tags(&[(CUSTOMER, 0), (CUSTOMER, 0), (CUSTOMER, 0)]), Other),
        ("a VLAN inside a priority", tags(&[(CUSTOMER, 5 << 13), (CUSTOMER, 7)]), Vlan),
        ("a longer frame, as it is padded", [frame(&odata_v4()), vec![0; 10]].concat(), Steered),
        ("the longest", [frame(&odata_v4()), vec![0; 1464]].concat(), Steered),
    ]
}

fn on_vlan_7() -> Vec<Case> {
    let tags = |tags: &[(u16, u16)]| tagged(tags, IPV4, &odata_v4());
    vec![
        ("no VLAN", frame(&odata_v4()), Vlan),
        ("our VLAN", tags(&[(CUSTOMER, 7)]), Steered),
        ("our VLAN over IPv6", tagged(&[(CUSTOMER, 7)], IPV6, &odata_v6()), Steered),
        ("our VLAN, with a priority", tags(&[(CUSTOMER, 7 | 5 << 13)]), Steered),
        ("our VLAN, of a provider", tags(&[(SERVICE, 7)]), Steered),
        ("our VLAN inside a priority", tags(&[(CUSTOMER, 5 << 13), (CUSTOMER, 7)]), Steered),
        ("another VLAN", tags(&[(CUSTOMER, 8)]), Vlan),
        ("a VLAN that shares its low octet", tags(&[(CUSTOMER, 0x107)]), Vlan),
        ("our VLAN in another", tags(&[(SERVICE, 8), (CUSTOMER, 7)]), Vlan),
        ("another VLAN in ours", tags(&[(SERVICE, 7), (CUSTOMER, 8)]), Vlan),
        ("ARP on our VLAN", tagged(&[(CUSTOMER, 7)], ARP, &[0; 28]), Other),
    ]
}

fn on_vlan_8_in_7() -> Vec<Case> {
    let tags = |tags: &[(u16, u16)]| tagged(tags, IPV4, &odata_v4());
    vec![
        ("both VLANs", tags(&[(SERVICE, 7), (CUSTOMER, 8)]), Steered),
        ("both VLANs, both customer tags", tags(&[(CUSTOMER, 7), (CUSTOMER, 8)]), Steered),
        ("both VLANs over IPv6", tagged(&[(SERVICE, 7), (CUSTOMER, 8)], IPV6, &odata_v6()), Steered),
        ("the other way round", tags(&[(SERVICE, 8), (CUSTOMER, 7)]), Vlan),
        ("the outer one alone", tags(&[(SERVICE, 7)]), Vlan),
        ("the inner one alone", tags(&[(CUSTOMER, 8)]), Vlan),
        ("neither", frame(&odata_v4()), Vlan),
        ("a third one", tags(&[(SERVICE, 7), (CUSTOMER, 8), (CUSTOMER, 9)]), Other),
    ]
}

fn in_udp() -> Vec<Case> {
    let to_group = |port, body: &[u8]| frame(&ip(UDP, THEIRS, GROUP, &udp(port, body)));
    vec![
        ("ODATA in UDP", to_group(3056, &odata()), Steered),
        ("a NAK in UDP to us", frame(&ip(UDP, THEIRS, OURS, &udp(3055, &nak()))), Steered),
        ("ODATA in UDP over IPv6", frame(&ip(UDP, THEIRS6, GROUP6, &udp(3056, &odata()))), Steered),
        (
            "ODATA in UDP behind options",
            behind_v6(HOP_BY_HOP, &extension(UDP, 1, [5, 2], &udp(3056, &odata()))),
            Steered,
        ),
        ("ODATA in UDP to another PGM port", to_group(3056, &pgm(ODATA, SOURCE_PORT, DATA_PORT + 1)), Unclaimed),
        ("ODATA in UDP to another group", frame(&ip(UDP, THEIRS, OURS, &udp(3056, &odata()))), Unclaimed),
        ("DNS", frame(&ip(UDP, THEIRS, OURS, &udp(53, &odata()))), Other),
        ("UDP port 0, which no unused entry means", to_group(0, &odata()), Other),
        ("PGM right behind IP", frame(&odata_v4()), Other),
        (
            "a fragment of UDP",
            frame(&ipv4_with(&[], 0x2000, UDP, v4(THEIRS), v4(GROUP), &udp(3056, &odata()))),
            Fragment,
        ),
    ]
}

fn from_listed_sources() -> Vec<Case> {
    let from = |from: IpAddr, to: IpAddr| frame(&ip(PGM, from, to, &odata()));
    vec![
        ("the address listed", from([10, 113, 0, 2].into(), GROUP), Steered),
        ("its neighbour", from([10, 113, 0, 3].into(), GROUP), Foreign),
        ("inside the prefix listed", from([10, 7, 255, 255].into(), GROUP), Steered),
        ("beside the prefix listed", from([10, 8, 0, 0].into(), GROUP), Foreign),
        ("inside the IPv6 prefix listed", from(THEIRS6, GROUP6), Steered),
        ("beside the IPv6 prefix listed", from("fd00:1::2".parse().expect("an address"), GROUP6), Foreign),
        ("the IPv6 address listed", from("fd02::5".parse().expect("an address"), GROUP6), Steered),
        ("its IPv6 neighbour", from("fd02::4".parse().expect("an address"), GROUP6), Foreign),
        ("a NAK of somebody unlisted", frame(&ip(PGM, [10, 8, 0, 0].into(), OURS, &nak())), Foreign),
        ("somebody unlisted, not for us", from([10, 8, 0, 0].into(), [239, 192, 0, 2].into()), Unclaimed),
    ]
}

fn tables() -> Vec<(&'static str, Setup, Vec<Case>)> {
    let v6 = |address: &str| address.parse::<IpAddr>().expect("an address");
    let sources =
        vec![([10, 113, 0, 2].into(), 32), ([10, 6, 0, 0].into(), 15), (v6("fd00::"), 32), (v6("fd02::5"), 128)];
    vec![
        ("plain", setup(|_| {}), plain()),
        ("on VLAN 7", setup(|config| config.vlans = vec![7]), on_vlan_7()),
        ("on VLAN 8 in 7", setup(|config| config.vlans = vec![7, 8]), on_vlan_8_in_7()),
        ("in UDP", setup(|config| config.udp_ports = vec![3055, 3056]), in_udp()),
        ("from listed sources", setup(|config| config.sources = sources), from_listed_sources()),
    ]
}

/// Runs a frame and looks at all that can be seen of it.
fn expect(program: &impl Loaded, has_socket: bool, name: &str, frame: &[u8], wanted: Verdict) {
    let wanted = if wanted == Steered && !has_socket { NoSocket } else { wanted };
    let action = match wanted {
        Steered => XDP_REDIRECT,
        Flood => XDP_DROP,
        _ => XDP_PASS,
    };
    let before = program.counts();
    let ran = run(program.descriptor(), frame, None, 1).unwrap_or_else(|error| panic!("{name}: {error}"));
    let after = program.counts();
    let met: Vec<Verdict> =
        Verdict::ALL.into_iter().filter(|&one| after[one as usize] != before[one as usize]).collect();
    assert_eq!((met, ran.action), (vec![wanted], action), "{name}");
    assert_eq!(after[wanted as usize], before[wanted as usize] + 1, "{name}");
    assert_eq!(ran.frame, frame, "{name}: not an octet is changed");
}

/// Runs `each` on the program, without a socket for queue 0 and with one.
fn with_and_without_socket<P: Loaded>(mut program: P, mut each: impl FnMut(&P, bool)) {
    each(&program, false);
    let socket = socket();
    program.set_socket(0, Some(&socket));
    each(&program, true);
    program.set_socket(0, None);
    each(&program, false);
}

#[test]
#[ignore = "needs root"]
fn every_frame_meets_its_verdict_and_its_counter_under_libbpf() {
    let mut cases_run = 0;
    for (table, setup, cases) in tables() {
        cases_run += cases.len();
        with_and_without_socket(ByLibbpf::load(&setup), |program, has_socket| {
            for (name, frame, verdict) in &cases {
                expect(program, has_socket, &format!("{table}: {name}, socket: {has_socket}"), frame, *verdict);
            }
        });
    }
    assert!(cases_run >= 40, "{cases_run} cases");
}

#[test]
#[ignore = "needs root"]
fn every_frame_meets_the_same_verdict_under_our_own_loader() {
    on_a_host(|index| {
        for (table, mut setup, cases) in tables() {
            setup.config.index = index;
            with_and_without_socket(ByAya::load(&setup), |program, has_socket| {
                for (name, frame, verdict) in &cases {
                    expect(program, has_socket, &format!("{table}: {name}, socket: {has_socket}"), frame, *verdict);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_frame_cut_off_anywhere_before_the_end_of_its_pgm_header_passes_as_short() {
    let bare_v6 = behind_v6(HOP_BY_HOP, &extension(DESTINATION, 1, [5, 2], &extension(PGM, 0, [1, 4], &odata())));
    let udp_v6 = behind_v6(DESTINATION, &extension(UDP, 0, [1, 4], &udp(3056, &odata())));
    let in_udp = |config: &mut SteeringConfig| config.udp_ports = vec![3056];
    let on_vlan_7 = |config: &mut SteeringConfig| config.vlans = vec![7];
    let in_udp_on_two = |config: &mut SteeringConfig| (config.vlans, config.udp_ports) = (vec![7, 8], vec![3056]);
    let two = [(SERVICE, 7), (CUSTOMER, 8)];
    let forms = [
        ("IPv4", setup(|_| {}), frame(&odata_v4())),
        ("IPv4 with options", setup(|_| {}), odata_with(&[1; 12], 0)),
        ("IPv6", setup(|_| {}), frame(&odata_v6())),
        ("IPv6 with extensions", setup(|_| {}), bare_v6),
        ("UDP over IPv4", setup(in_udp), frame(&ip(UDP, THEIRS, GROUP, &udp(3056, &odata())))),
        ("UDP over IPv6 with an extension", setup(in_udp), udp_v6),
        ("a VLAN", setup(on_vlan_7), tagged(&[(CUSTOMER, 7)], IPV4, &odata_v4())),
        ("two VLANs, UDP", setup(in_udp_on_two), tagged(&two, IPV4, &ip(UDP, THEIRS, GROUP, &udp(3056, &odata())))),
        (
            "two VLANs, UDP, IPv6",
            setup(in_udp_on_two),
            tagged(&two, IPV6, &ip(UDP, THEIRS6, GROUP6, &udp(3056, &odata()))),
        ),
    ];
    for (form, setup, whole) in forms {
        with_and_without_socket(ByLibbpf::load(&setup), |program, has_socket| {
            for octets in 14..=whole.len() {
                let wanted = if octets < whole.len() { Short } else { Steered };
                let name = format!("{form}, {octets} of {} octets", whole.len());
                expect(program, has_socket, &name, &whole[..octets], wanted);
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn who_sends_too_much_upstream_is_dropped_until_the_slice_is_over_and_nobody_else_is() {
    const PACKETS: u32 = 3;
    // An hour: no slice ends while the test runs.
    let setup = setup(|config| config.upstream_budget = Some(UpstreamBudget { packets: PACKETS, per_ms: 3_600_000 }));
    let mut program = ByLibbpf::load(&setup);
    let socket = socket();
    program.set_socket(0, Some(&socket));
    let neighbour = IpAddr::from([10, 113, 0, 3]);
    for (from, ours, group) in [(THEIRS, OURS, GROUP), (THEIRS6, OURS6, GROUP6)] {
        let upstream = [
            frame(&ip(PGM, from, ours, &nak())),
            frame(&ip(PGM, from, group, &nak())),
            frame(&ip(PGM, from, ours, &pgm(SPMR, DATA_PORT, SOURCE_PORT))),
            frame(&ip(PGM, from, ours, &pgm(ACK, DATA_PORT, SOURCE_PORT))),
        ];
        for n in 0..3 * PACKETS {
            let wanted = if n < PACKETS { Steered } else { Flood };
            expect(&program, true, &format!("packet {n} of {from}"), &upstream[n as usize % 4], wanted);
        }
        expect(&program, true, "data has no budget", &frame(&ip(PGM, from, group, &odata())), Steered);
        let elsewhere = frame(&ip(PGM, from, ours, &pgm(NAK, DATA_PORT, SOURCE_PORT + 1)));
        expect(&program, true, "what is not for us is not counted", &elsewhere, Unclaimed);
        expect(&program, true, "a flood is dropped without a socket too", &upstream[0], Flood);

        // The meter as it will be when the slice is over: begun before the machine was.
        assert!(
            program
                .lookup("meters", &host(from))
                .is_some_and(|meter| meter[8..] == u64::from(3 * PACKETS + 1).to_ne_bytes())
        );
        let long_ago = 0_u64.wrapping_sub(3_600_000_000_000).to_ne_bytes();
        program.update("meters", &host(from), &[long_ago, 1000_u64.to_ne_bytes()].concat());
        expect(&program, true, "the slice is over", &upstream[0], Steered);
    }
    expect(&program, true, "somebody else", &frame(&ip(PGM, neighbour, OURS, &nak())), Steered);
}

#[test]
#[ignore = "needs root"]
fn a_frame_goes_to_the_socket_of_the_queue_it_came_in_on_and_to_no_other() {
    on_a_host(|index| {
        let mut setup = setup(|_| {});
        setup.config.index = index;
        let mut program = ByAya::load(&setup);
        let socket = socket();
        program.set_socket(2, Some(&socket));
        for queue in 0..4 {
            let ran = run(program.descriptor(), &frame(&odata_v4()), Some((index, queue)), 1).expect("four queues");
            assert_eq!(ran.action, if queue == 2 { XDP_REDIRECT } else { XDP_PASS }, "queue {queue}");
        }
        let counts = program.counts();
        assert_eq!((counts[Steered as usize], counts[NoSocket as usize]), (1, 3));
    });
}

/// Instructions that a packet may cost: half as much again as the longest of these cases needs with clang 14, for other compilers' taste.
const INSTRUCTIONS_MAX: usize = 350;

#[test]
#[ignore = "needs root"]
fn a_packet_costs_a_few_hundred_instructions_at_most() {
    const TURNS: u32 = 100_000;
    let budget = Some(UpstreamBudget { packets: u32::MAX, per_ms: 3_600_000 });
    let full = |config: &mut SteeringConfig| {
        config.vlans = vec![7, 8];
        config.udp_ports = vec![3055, 3056];
        config.sources = vec![(THEIRS6, 128)];
        config.upstream_budget = budget;
    };
    let udp_v6 = ip(UDP, THEIRS6, OURS6, &udp(3055, &nak()));
    let everything = tagged(&[(SERVICE, 7), (CUSTOMER, 8)], IPV6, &udp_v6);
    let vlan = |config: &mut SteeringConfig| config.vlans = vec![7];
    let cases: Vec<(&str, Setup, Vec<u8>)> = vec![
        ("ARP", setup(|_| {}), tagged(&[], ARP, &[0; 28])),
        ("TCP, IPv4", setup(|_| {}), frame(&ip(TCP, THEIRS, OURS, &[0; 40]))),
        ("PGM for others, IPv4", setup(|_| {}), frame(&ip(PGM, THEIRS, [239, 9, 9, 9].into(), &odata()))),
        ("ODATA, IPv4", setup(|_| {}), frame(&odata_v4())),
        ("ODATA, IPv4, VLAN", setup(vlan), tagged(&[(CUSTOMER, 7)], IPV4, &odata_v4())),
        (
            "ODATA, IPv4, UDP",
            setup(|config| config.udp_ports = vec![3056]),
            frame(&ip(UDP, THEIRS, GROUP, &udp(3056, &odata()))),
        ),
        ("ODATA, IPv6", setup(|_| {}), frame(&odata_v6())),
        ("NAK, IPv4", setup(|_| {}), frame(&ip(PGM, THEIRS, OURS, &nak()))),
        ("NAK, IPv4, budget", setup(|config| config.upstream_budget = budget), frame(&ip(PGM, THEIRS, OURS, &nak()))),
        ("NAK, IPv6, everything asked for", setup(full), everything),
    ];
    // Written past the test's capture: the figures are for people, whether it passes or not.
    let mut table = Vec::new();
    writeln!(
        table,
        "\ninstructions executed of the program as compiled, a call counted as one; its size in the kernel, after the verifier\n\
         {:<34} {:>12} {:>6} {:>14} {:>11}",
        "frame", "instructions", "calls", "in the kernel", "ns a frame"
    )
    .expect("memory");
    for (name, setup, frame) in cases {
        let mut program = ByLibbpf::load(&setup);
        let socket = socket();
        program.set_socket(0, Some(&socket));
        let ran = run(program.descriptor(), &frame, None, TURNS).expect("a program");
        let took = machine::count(&program.object, &options(&setup.config), &frame);
        let size = instructions(program.descriptor());
        writeln!(table, "{name:<34} {:>12} {:>6} {size:>14} {:>11}", took.instructions, took.calls, ran.ns)
            .expect("memory");
        assert_eq!(took.action, ran.action, "{name}: the counting machine and the kernel do the same");
        assert!(took.instructions <= INSTRUCTIONS_MAX, "{name}: {} instructions", took.instructions);
    }
    std::io::stdout().write_all(&table).expect("an output");
}
