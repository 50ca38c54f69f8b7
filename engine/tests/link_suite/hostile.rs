//! Cases: octets of anybody's making.

use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;

use pgmx::frame::To;
use pgmx::link::Encapsulation;
use pgmx::wire::net::{Envelope, EnvelopeConfig, LinkLayer, Transport, Vlans, multicast_mac};

use super::bench::{Bench, Fixture, Setup, open};
use super::packets::{number, odata};
use crate::netns::Host;

/// Puts frames of any kind on an interface.
pub struct Wire {
    socket: File,
}

impl Wire {
    /// Opens the interface of a host.
    pub fn open(host: &Host, interface: &str) -> Self {
        let name = std::ffi::CString::new(interface).expect("a name");
        host.inside(|| {
            // SAFETY: opens a descriptor and touches no memory of ours.
            let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            assert!(socket >= 0, "a packet socket: {}", std::io::Error::last_os_error());
            // SAFETY: just opened and nobody else's; the file closes it.
            let file = unsafe { File::from_raw_fd(socket) };
            // SAFETY: a structure of integers, for which all zeroes is a value.
            let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            // SAFETY: the name ends with a zero and lives through the call.
            address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
            let octets = size_of::<libc::sockaddr_ll>() as u32;
            // SAFETY: the address lives through the call and is as long as it says.
            let bound = unsafe { libc::bind(socket, (&raw const address).cast(), octets) };
            assert!(bound == 0, "binding to {interface}: {}", std::io::Error::last_os_error());
            Self { socket: file }
        })
    }

    /// Sends a frame; the kernel may refuse what is too short or too long.
    pub fn send(&mut self, frame: &[u8]) {
        let _ = self.socket.write(frame);
    }
}

/// A frame from the left end to the group, around a PGM packet.
fn frame(bench: &Bench, vlans: Vlans, encapsulation: Encapsulation, router_alert: bool, packet: &[u8]) -> Vec<u8> {
    let to = bench.group;
    let transport = match encapsulation {
        Encapsulation::Pgm => Transport::Pgm,
        Encapsulation::Udp { unicast_port, multicast_port } => {
            Transport::Udp { source_port: unicast_port, destination_port: multicast_port }
        }
    };
    let envelope = Envelope::new(&EnvelopeConfig {
        link: Some(LinkLayer { source: [2, 0, 0, 0, 0, 9], destination: multicast_mac(to), vlans }),
        source: bench.left.address(),
        destination: to,
        ttl: 16,
        tos: 0,
        router_alert,
        transport,
    })
    .expect("addresses of one family");
    let mut frame = vec![0; envelope.header_len()];
    envelope.write(&mut frame, packet.len()).expect("a packet that fits");
    frame.extend_from_slice(packet);
    frame
}

/// Mutations of a good frame: cut off everywhere, each octet of the headers changed in several ways, fragments, wrong lengths.
pub fn mutations(good: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (14..good.len()).map(|len| good[..len].to_vec()).collect();
    for at in 12..good.len().min(100) {
        for value in [0, 1, 0x40, 0x7f, 0x80, 0xff, good[at] ^ 1, good[at].wrapping_add(1)] {
            let mut frame = good.to_vec();
            frame[at] = value;
            all.push(frame);
        }
    }
    // Padded to the least length of Ethernet and beyond: what is behind the IP packet is nothing.
    for extra in [1, 7, 200] {
        let mut frame = good.to_vec();
        frame.resize(good.len() + extra, 0xee);
        all.push(frame);
    }
    all
}

pub fn garbage_from_the_network_is_counted_and_costs_no_frame(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    let pair = bench.pair.take().expect("a cabled bench");
    let mut wire = Wire::open(&pair.left, &pair.left_ports[0].interface);
    let group = bench.group;
    let packet = odata(1, 40);
    let mut sent = 0_u32;
    let all_tags = [Vlans::NONE, bench.vlans];
    let tags = if bench.vlans == Vlans::NONE { &all_tags[..1] } else { &all_tags };
    let forms = tags.iter().flat_map(|&tags| [(tags, Encapsulation::Pgm), (tags, Encapsulation::UDP)]);
    for ((tags, encapsulation), router_alert) in forms.flat_map(|one| [(one, false), (one, true)]).collect::<Vec<_>>() {
        let good = frame(&bench, tags, encapsulation, router_alert, &packet);
        for mutation in mutations(&good) {
            wire.send(&mutation);
            sent += 1;
            if sent.is_multiple_of(32) {
                bench.right.receive();
            }
        }
    }
    let came = bench.until_mark();
    // Padding is cut off, and what was cut off is not made up.
    assert!(came.iter().all(|one| one.octets.len() <= packet.len() + 200), "{came:?}");
    assert!(bench.right.arrived.is_empty());
    bench.left.push(&odata(77, 9), To::Group(group), false);
    let came = bench.until_mark();
    assert!(came.iter().map(|packet| number(&packet.octets)).eq([77]), "{came:?}");
    bench.pair = Some(pair);
    bench.ends_conserved();
}

/// A link looks at no more of a packet than says whose it is: what it hands up is what came, and what it keeps is counted.
pub fn pgm_that_makes_no_sense_is_handed_up_as_it_came_or_counted(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    let good = odata(1, 40);
    let mut senseless: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    senseless.extend((4..good.len()).map(|at| {
        let mut packet = good.clone();
        packet[at] ^= 0xff;
        packet
    }));
    let mut came = Vec::new();
    for chunk in senseless.chunks(32) {
        for packet in chunk {
            bench.left.push(packet, To::Group(bench.group), false);
        }
        came.extend(bench.until_mark());
    }
    let mut sent = senseless.iter();
    for one in &came {
        // In order, each as it was sent: nothing is made up and nothing comes twice.
        assert!(sent.any(|packet| *packet == one.octets), "never sent, or out of order: {one:?}");
        assert_eq!((one.from, one.to), (bench.left.address(), bench.group));
    }
    let least = if bench.promises.any_octets { good.len() - 24 } else { 0 };
    assert!(came.len() >= least, "a wrong checksum is no business of a link's: {}", came.len());
    bench.ends_conserved();
}
