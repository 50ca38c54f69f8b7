//! The generator, over a cable of its own, heard by a packet socket at the other end. As root:
//! `cargo test -p pgmx-ebpf --test privileged_generate -- --ignored`.

#[path = "support/frames.rs"]
#[allow(dead_code, unreachable_pub)] // shared with the tests of the steering program
mod frames;
#[path = "support/kernel.rs"]
#[allow(dead_code, unreachable_pub)] // likewise
mod kernel;

use std::ffi::CStr;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use frames::{ODATA, PGM, SPM, frame, ip, pgm};
use kernel::on_a_host;
use pgmx_ebpf::{Generator, GeneratorConfig, Steering, SteeringConfig};

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 113, 0, 1));
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 0, 1));
/// Where PGM begins in a frame, and its checksum in PGM.
const START: usize = 34;
const CHECKSUM: usize = 6;

/// Folded sum of 16-bit words, in network order.
fn sum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded & 0xffff) as u16 + (folded >> 16) as u16
}

/// A packet of this type with a good checksum.
fn template(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = pgm(kind, 7400, 7500);
    packet[14..].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend([0; 8]);
    packet.extend(payload);
    let checksum = !sum(&packet);
    packet[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    frame(&ip(PGM, FROM, GROUP, &packet))
}

fn config(interface: u32) -> GeneratorConfig {
    GeneratorConfig { interface, window: 4, ahead: 0, packets_per_s: 0, batch: 64 }
}

/// Every frame that reaches an interface, and whatever a wait of nothing finds.
struct Tap(std::fs::File);

impl Tap {
    fn on(name: &CStr) -> Self {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: opens a descriptor, which is nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, kind, i32::from(all))) };
        // SAFETY: a structure of integers, for which all zeroes is a value; the name ends with a zero and lives through the call.
        let (mut address, index) =
            unsafe { (core::mem::zeroed::<libc::sockaddr_ll>(), libc::if_nametoindex(name.as_ptr())) };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = index as i32;
        let octets = size_of_val(&address) as u32;
        let socket_number = std::os::fd::AsRawFd::as_raw_fd(&socket);
        // SAFETY: an address of its length, which lives through the call.
        let bound = unsafe { libc::bind(socket_number, (&raw const address).cast(), octets) };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        // A packet is charged a page and more: the usual room holds 50.
        let room = 8 << 20_u32;
        let octets = size_of_val(&room) as u32;
        // SAFETY: the option is a number of 32 bits, which is where the pointer points.
        let set = unsafe {
            libc::setsockopt(socket_number, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const room).cast(), octets)
        };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        Self(socket.into())
    }

    /// The PGM packets that are there.
    fn packets(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut room = [0; 4096];
        // The frames were handed over before the run returned: what is not here did not come.
        while let Ok(octets) = self.0.read(&mut room) {
            let frame = &room[..octets];
            if frame.len() > START && frame[23] == PGM {
                packets.push(frame[START..].to_vec());
            }
        }
        packets
    }
}

/// A cable takes redirected frames where a program looks at what comes in.
fn steering() -> Steering {
    // SAFETY: the name ends with a zero and lives through the call.
    let far = unsafe { libc::if_nametoindex(c"far0".as_ptr()) };
    Steering::attach(&SteeringConfig::new("far0", far)).expect("an interface of our own")
}

#[test]
#[ignore = "needs root"]
fn packets_are_numbered_from_zero_with_a_trail_a_window_behind_and_a_good_checksum() {
    on_a_host(|near| {
        let _steering = steering();
        let mut tap = Tap::on(c"far0");
        for payload in [&b"odd"[..], &[0xff; 1400]] {
            let generator = Generator::load(&config(near), template(ODATA, payload)).expect("root may");
            // Twice: numbers go on, and frames that the kernel uses again carry nothing over.
            generator.turn(100).expect("live frames");
            generator.turn(50).expect("live frames");
            assert_eq!(generator.ledger().sent(), 150);
            let packets = tap.packets();
            assert_eq!(packets.len(), 150);
            for (packet, sqn) in packets.iter().zip(0_u32..) {
                assert_eq!(sum(packet), 0xffff, "the checksum of {sqn}: {packet:02x?}");
                let trail = (sqn + 1).saturating_sub(4);
                assert_eq!(packet[16..24], [sqn.to_be_bytes(), trail.to_be_bytes()].concat(), "SQN and trail");
                assert_eq!(&packet[24..], payload);
            }
        }
    });
}

#[test]
#[ignore = "needs root"]
fn no_more_is_sent_than_the_receiver_has_room_for() {
    on_a_host(|near| {
        let _steering = steering();
        let config = GeneratorConfig { ahead: 10, ..config(near) };
        let generator = Generator::load(&config, template(ODATA, b"payload")).expect("root may");
        let ledger = generator.ledger().clone();
        generator.turn(1000).expect("live frames");
        assert_eq!(ledger.sent(), 10);
        ledger.took(3);
        generator.turn(1000).expect("live frames");
        assert_eq!((ledger.sent(), ledger.taken()), (13, 3));
        ledger.settle();
        generator.turn(5).expect("live frames");
        assert_eq!(ledger.sent(), 18);
    });
}

#[test]
#[ignore = "needs root"]
fn a_pace_is_kept_and_what_was_missed_before_it_began_is_not_caught_up_with() {
    on_a_host(|near| {
        let _steering = steering();
        let config = GeneratorConfig { packets_per_s: 1, ..config(near) };
        let generator = Generator::load(&config, template(ODATA, b"payload")).expect("root may");
        for sent in 0..3 {
            let (begun, before) = (Instant::now(), generator.ledger().sent());
            generator.begin();
            generator.turn(2).expect("live frames");
            // One is due at once, the next in a second, which a machine may sleep through.
            let in_time = begun.elapsed() < Duration::from_millis(900);
            assert!(!in_time || generator.ledger().sent() - before == 1, "{sent}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_packet_of_another_type_leaves_as_it_is_and_is_not_counted() {
    on_a_host(|near| {
        let _steering = steering();
        let mut tap = Tap::on(c"far0");
        let generator = Generator::load(&config(near), template(ODATA, b"payload")).expect("root may");
        let spm = template(SPM, b"rest");
        generator.send(&spm).expect("live frames");
        assert_eq!(tap.packets(), [&spm[START..]]);
        assert_eq!(generator.ledger().sent(), 0);
        assert!(generator.send(&template(ODATA, b"payload")).is_err(), "data without a number");
    });
}
