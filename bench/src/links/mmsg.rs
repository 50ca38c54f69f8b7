//! Sockets and many packets at a call: `sendmmsg`, `recvmmsg`, and nothing else. What a program can have without an engine.
//!
//! The same octets behind the IP header (`raw`) or behind a UDP header (`udp`) leave again and again; the receiver reads each payload.
//! Neither keeps books. Guards: what the kernel reads and writes outlives every call.

use std::io;
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use pgmx::wire::net::UDP_MULTICAST_PORT;

use super::{Contestant, DATA_PORT, GROUP, HEADERS, Outcome, Run, Watch, Workload, read};
use crate::links::rings::packet;
use crate::netns::Port;

/// Packets at a call.
const BATCH: usize = 64;
/// Octets of Ethernet and IPv4 in front of a packet of the others.
const BELOW: usize = 14 + 20;
/// Room for a packet and, in front of it, the IP header that a raw socket shows.
const ROOM: usize = 2048;
/// Receive buffer: as much as the kernel gives, so that a burst waits instead of being dropped.
const BUFFER: libc::c_int = 8 << 20;
/// PGM's number in the IP header.
const PGM: libc::c_int = 113;

/// What packets travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Protocol 113 of IP.
    Raw,
    /// UDP.
    Udp,
}

/// One end.
pub struct Mmsg {
    socket: OwnedFd,
    kind: Kind,
    address: Ipv4Addr,
}

fn check(outcome: libc::c_int, what: &str) -> Result<libc::c_int, String> {
    if outcome < 0 { Err(format!("{what}: {}", io::Error::last_os_error())) } else { Ok(outcome) }
}

fn address(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    }
}

impl Mmsg {
    /// Opens a socket on the port; a receiver joins the group.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open(port: &Port, kind: Kind, receives: bool) -> Result<Self, String> {
        let (kind_of_socket, protocol) = match kind {
            Kind::Raw => (libc::SOCK_RAW, PGM),
            Kind::Udp => (libc::SOCK_DGRAM, 0),
        };
        // SAFETY: touches no memory of ours.
        let socket = unsafe { libc::socket(libc::AF_INET, kind_of_socket | libc::SOCK_CLOEXEC, protocol) };
        let socket = check(socket, "a socket (raw ones need root)")?;
        // SAFETY: just opened, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let mmsg = Self { socket, kind, address: port.address };
        let own = libc::in_addr { s_addr: u32::from(port.address).to_be() };
        mmsg.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER, "the receive buffer")?;
        mmsg.set(libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &own, "the interface of the group")?;
        mmsg.set(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, &0_i32, "no loop to ourselves")?;
        if receives {
            let group = libc::in_addr { s_addr: u32::from(GROUP).to_be() };
            let join = libc::ip_mreq { imr_multiaddr: group, imr_interface: own };
            let here = address(GROUP, UDP_MULTICAST_PORT);
            // SAFETY: the structure lives through the call, and its length is told.
            let bound = unsafe { libc::bind(mmsg.socket.as_raw_fd(), (&raw const here).cast(), length(&here)) };
            check(bound, "binding to the group")?;
            mmsg.set(libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &join, "joining the group")?;
        }
        Ok(mmsg)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T, what: &str) -> Result<(), String> {
        let at = core::ptr::from_ref(value).cast();
        // SAFETY: the kernel reads as many octets as the value has, which lives through the call.
        let done = unsafe { libc::setsockopt(self.socket.as_raw_fd(), level, option, at, length(value)) };
        check(done, what).map(drop)
    }
}

fn length<T>(_: &T) -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

impl Contestant for Mmsg {
    fn send(&mut self, workload: &Workload, run: &Run) -> Result<(), String> {
        let mut packet = packet(self.address, DATA_PORT, workload.payload).split_off(BELOW);
        let mut to = address(GROUP, if self.kind == Kind::Udp { UDP_MULTICAST_PORT } else { 0 });
        let mut piece = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
        // SAFETY: structures of integers and pointers, for which all zeroes is a value.
        let mut batch: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for message in &mut batch {
            message.msg_hdr.msg_name = (&raw mut to).cast();
            message.msg_hdr.msg_namelen = length(&to);
            message.msg_hdr.msg_iov = &raw mut piece;
            message.msg_hdr.msg_iovlen = 1;
        }
        let (mut sent, watch) = (0_u64, Watch::start());
        let end = Instant::now() + workload.time;
        while Instant::now() < end {
            let most = (workload.budget as usize).min(BATCH) as libc::c_uint;
            // SAFETY: all that the structures point to lives through the call, which only reads it and writes their lengths.
            let left = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), batch.as_mut_ptr(), most, 0) };
            if left < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS) {
                continue;
            }
            sent += check(left, "sending")? as u64;
        }
        run.finish(sent, watch);
        Ok(())
    }

    fn receive(&mut self, workload: &Workload, run: &Run) -> Result<Outcome, String> {
        let mut room = vec![[0_u8; ROOM]; BATCH];
        let mut pieces: Vec<libc::iovec> =
            room.iter_mut().map(|room| libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: ROOM }).collect();
        // SAFETY: structures of integers and pointers, for which all zeroes is a value.
        let mut batch: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (message, piece) in batch.iter_mut().zip(&mut pieces) {
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
        }
        // A raw socket shows the IP header as well.
        let front = HEADERS - BELOW + if self.kind == Kind::Raw { 20 } else { 0 };
        let mut sum = 0_u64;
        let outcome = run.collect(workload, || {
            let (socket, flags) = (self.socket.as_raw_fd(), libc::MSG_DONTWAIT);
            // SAFETY: each structure points to room of its own of the length that it says, all of which lives through the call.
            let came =
                unsafe { libc::recvmmsg(socket, batch.as_mut_ptr(), BATCH as u32, flags, core::ptr::null_mut()) };
            if came < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
                return Ok(0);
            }
            let came = check(came, "receiving")? as usize;
            for message in &batch[..came] {
                let octets = message.msg_len as usize;
                // SAFETY: the piece of this message, which the kernel filled so far and nobody writes now.
                let packet = unsafe {
                    core::slice::from_raw_parts((*message.msg_hdr.msg_iov).iov_base.cast::<u8>(), octets.min(ROOM))
                };
                sum = sum.wrapping_add(read(packet.get(front..).unwrap_or_default()));
            }
            Ok(came as u64)
        });
        core::hint::black_box(sum);
        outcome
    }

    fn form(&self) -> String {
        match self.kind {
            Kind::Raw => "raw sockets, 64 packets a call".into(),
            Kind::Udp => "UDP sockets, 64 packets a call".into(),
        }
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}
