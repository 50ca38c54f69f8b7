//! The socket filter: what is not ours does not fill the receive buffer and wakes nobody.
//!
//! Classic BPF, which asks for no privilege. Used by the links that receive from sockets. Guards: what passes is never less than what is
//! ours (the link checks again, exactly), and the program stays within the reach of its jumps however many ports there are.

use std::io;
use std::os::fd::AsRawFd;

use super::socket::set_option;
use crate::wire::PacketType;

/// Ports that are compared one by one, of each kind: jumps reach 255 instructions, and a few packets more that we drop ourselves cost
/// less than a comparison with hundreds of ports for each.
const MAX_PORTS: usize = 96;

/// What a packet begins with where the filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Front {
    /// An IPv4 header of any length.
    Ipv4,
    /// Nothing before PGM.
    Nothing,
}

const UPSTREAM: [PacketType; 5] =
    [PacketType::Polr, PacketType::Nak, PacketType::Nnak, PacketType::Spmr, PacketType::Ack];

const ALL: u32 = u32::MAX;
const NONE: u32 = 0;

const LOAD_HALF_BEHIND_X: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const LOAD_OCTET_BEHIND_X: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
const LOAD_X_HEADER_LEN: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const LOAD_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Lets only these packets through from now on: those to one of the ports in `to`, and upstream packets (whose ports are swapped) from
/// one of those in `from`.
pub(in crate::link) fn attach(socket: &impl AsRawFd, front: Front, to: &[u16], from: &[u16]) -> io::Result<()> {
    let mut program = program(front, to, from);
    let handle = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // The program lives through the call, which copies it.
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &handle)
}

fn step(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn program(front: Front, to: &[u16], from: &[u16]) -> Vec<libc::sock_filter> {
    if to.is_empty() && from.is_empty() {
        return vec![step(RETURN, NONE)];
    }
    if to.len() > MAX_PORTS || from.len() > MAX_PORTS {
        return vec![step(RETURN, ALL)];
    }
    // A load beyond the packet drops it.
    let mut steps = vec![match front {
        Front::Ipv4 => step(LOAD_X_HEADER_LEN, 0),
        Front::Nothing => step(LOAD_X, 0),
    }];
    steps.push(step(LOAD_HALF_BEHIND_X, 2));
    let to_first = steps.len();
    steps.extend(to.iter().map(|&port| step(JUMP_IF_EQUAL, port.into())));
    let to_end = steps.len();
    // The type is in the lower half of its octet.
    steps.extend([step(LOAD_OCTET_BEHIND_X, 4), step(AND, 0xF)]);
    let types_first = steps.len();
    steps.extend(UPSTREAM.map(|kind| step(JUMP_IF_EQUAL, kind.code().into())));
    let types_end = steps.len();
    steps.push(step(RETURN, NONE));
    let upstream = steps.len();
    // RFC 3208 §8.3, conformance 11: upstream the ports are swapped.
    steps.push(step(LOAD_HALF_BEHIND_X, 0));
    let from_first = steps.len();
    steps.extend(from.iter().map(|&port| step(JUMP_IF_EQUAL, port.into())));
    let from_end = steps.len();
    steps.push(step(RETURN, NONE));
    let ours = steps.len();
    steps.push(step(RETURN, ALL));
    for (jumps, target) in [(to_first..to_end, ours), (types_first..types_end, upstream), (from_first..from_end, ours)]
    {
        for at in jumps {
            // Twice MAX_PORTS and a dozen: it fits.
            steps[at].jt = (target - at - 1) as u8;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::socket::open;
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// What the program answers, worked out step by step.
    fn run(program: &[libc::sock_filter], packet: &[u8]) -> bool {
        let (mut a, mut x, mut at) = (0_u32, 0_usize, 0);
        let octet = |at: usize| packet.get(at).map(|&octet| u32::from(octet));
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                LOAD_X_HEADER_LEN => match octet(k as usize) {
                    Some(octet) => x = (octet as usize & 0xF) * 4,
                    None => return false,
                },
                LOAD_X => x = k as usize,
                LOAD_OCTET_BEHIND_X => match octet(x + k as usize) {
                    Some(octet) => a = octet,
                    None => return false,
                },
                LOAD_HALF_BEHIND_X => match (octet(x + k as usize), octet(x + k as usize + 1)) {
                    (Some(high), Some(low)) => a = high << 8 | low,
                    _ => return false,
                },
                AND => a &= k,
                JUMP_IF_EQUAL => at += usize::from(if a == k { jt } else { jf }),
                RETURN => return k != 0,
                other => panic!("no such step: {other:#x}"),
            }
        }
    }

    fn packet(front: &[u8], from: u16, to: u16, kind: u8) -> Vec<u8> {
        [front, &from.to_be_bytes(), &to.to_be_bytes(), &[kind, 0, 0, 0]].concat()
    }

    /// RFC 3208 §8.3, conformance 11
    #[test]
    fn downstream_the_destination_counts_and_upstream_the_source_too() {
        for (front, header) in [(Front::Nothing, vec![]), (Front::Ipv4, vec![0x45; 20]), (Front::Ipv4, vec![0x46; 24])]
        {
            let most: Vec<u16> = (1000..1000 + MAX_PORTS as u16).collect();
            for (to, from) in [(&[7500, 7400][..], &[7500][..]), (&most, &most)] {
                let program = program(front, to, from);
                let passes = |from, to, kind: PacketType| run(&program, &packet(&header, from, to, kind.code()));
                for &port in to {
                    assert!(passes(1, port, PacketType::Odata) && passes(1, port, PacketType::Nak), "{front:?} {port}");
                    assert!(!passes(port, 1, PacketType::Ncf), "{front:?} {port}");
                }
                for kind in UPSTREAM {
                    assert!(kind.is_upstream());
                    assert!(from.iter().all(|&port| passes(port, 1, kind)), "{front:?} {kind:?}");
                    assert!(!passes(1, 1, kind));
                }
                let whole = packet(&header, 1, 2, PacketType::Odata.code());
                assert!((0..whole.len()).all(|len| !run(&program, &whole[..len])), "what is too short passes");
            }
        }
    }

    #[test]
    fn every_upstream_type_is_known_here() {
        let upstream = (0..=0xF).filter_map(PacketType::from_code).filter(|kind| kind.is_upstream());
        assert!(upstream.eq(UPSTREAM));
    }

    #[test]
    fn without_ports_nothing_passes_and_with_too_many_everything() {
        assert!(!run(&program(Front::Nothing, &[], &[]), &packet(&[], 1, 2, 4)));
        let many = vec![9; MAX_PORTS + 1];
        assert!(run(&program(Front::Nothing, &many, &many), &packet(&[], 1, 2, 4)));
    }

    #[test]
    fn the_kernel_takes_the_longest_program_and_obeys_it() {
        let socket = open(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("IPv4");
        let many: Vec<u16> = (0..MAX_PORTS as u16).collect();
        for (to, from) in [(&many[..], &many[..]), (&[], &[]), (&many[..1], &[])] {
            attach(&socket, Front::Ipv4, to, from).expect("any socket may filter");
        }
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        receiver.set_read_timeout(Some(Duration::from_secs(20))).expect("a time above zero");
        // A filter of a UDP socket sees the UDP header, whose destination port stands where that of PGM does.
        let port = receiver.local_addr().expect("bound").port();
        let sender = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let send = |text: &[u8]| sender.send_to(text, receiver.local_addr().expect("bound")).expect("loopback");
        attach(&receiver, Front::Nothing, &[port ^ 1], &[]).expect("any socket may filter");
        send(b"for nobody");
        attach(&receiver, Front::Nothing, &[port ^ 1, port], &[]).expect("any socket may filter");
        send(b"for us");
        let mut buffer = [0; 16];
        let len = receiver.recv(&mut buffer).expect("loopback");
        assert_eq!(&buffer[..len], b"for us");
    }
}
