//! Many messages at a call: `sendmmsg` and `recvmmsg`, straight from frames and into them, and what the kernel says beside a message.
//!
//! Used by the links `raw` and `udp`. [`Sending`] gathers messages that one call hands to the kernel; [`Receiving`] offers room that one
//! call fills. Guards: nothing is allocated after construction, no count of the kernel is believed beyond what was offered, and the
//! kernel sees no pointer but those set for this very call.
//!
//! The octets themselves are not borrowed from call to call: between the moment when they are named ([`Sending::add`],
//! [`Receiving::offer`]) and the call, their owner keeps them where they are. That is what the two `unsafe` calls ask for.

use core::mem::zeroed;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ptr::null_mut;
use std::io;
use std::os::fd::AsRawFd;

use super::socket::{KernelAddress, read_address};

/// Octets for what is said beside a message: destination (40), drops, segment size, TTL, traffic class (24 each), and some to spare.
const CONTROL_OCTETS: usize = 160;

/// Octets in front of the value of a control message: length, level, kind, made up to the alignment.
const CONTROL_HEADER: usize = align(size_of::<libc::cmsghdr>());

/// Segment size of a datagram that was cut or joined; the same numbers both ways (`linux/udp.h`).
pub(in crate::link) const UDP_SEGMENT: i32 = 103;
/// Said by the kernel beside a joined datagram.
pub(in crate::link) const UDP_GRO: i32 = 104;
const SO_RXQ_OVFL: i32 = 40;

/// Control messages begin at multiples of a word.
const fn align(octets: usize) -> usize {
    octets.next_multiple_of(size_of::<usize>())
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct ControlRoom([u8; CONTROL_OCTETS]);

fn empty_header() -> libc::mmsghdr {
    // SAFETY: a structure of integers and pointers, for which all zeroes is a value.
    unsafe { zeroed() }
}

fn empty_name() -> libc::sockaddr_storage {
    // SAFETY: a structure of integers, for which all zeroes is a value.
    unsafe { zeroed() }
}

const NO_PIECE: libc::iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };

/// Messages on their way out.
pub(in crate::link) struct Sending {
    headers: Box<[libc::mmsghdr]>,
    names: Box<[libc::sockaddr_storage]>,
    /// Where the pieces of each message begin.
    first_piece: Box<[usize]>,
    pieces: Box<[libc::iovec]>,
    controls: Box<[ControlRoom]>,
    messages: usize,
    used: usize,
}

// SAFETY: the pointers inside are set and used within one call; between calls nobody follows them.
unsafe impl Send for Sending {}

impl Sending {
    /// Room for so many messages at a call, of so many pieces in all.
    pub(in crate::link) fn new(messages: usize, pieces: usize) -> Self {
        Self {
            headers: (0..messages).map(|_| empty_header()).collect(),
            names: (0..messages).map(|_| empty_name()).collect(),
            first_piece: vec![0; messages].into(),
            pieces: vec![NO_PIECE; pieces].into(),
            controls: vec![ControlRoom([0; CONTROL_OCTETS]); messages].into(),
            messages: 0,
            used: 0,
        }
    }

    /// Forgets all messages.
    #[inline]
    pub(in crate::link) fn clear(&mut self) {
        (self.messages, self.used) = (0, 0);
    }

    /// Messages gathered.
    #[inline]
    pub(in crate::link) fn len(&self) -> usize {
        self.messages
    }

    /// Whether another message of one piece fits.
    #[inline]
    pub(in crate::link) fn has_room(&self) -> bool {
        self.messages < self.headers.len() && self.used < self.pieces.len()
    }

    /// Begins a message. There must be room.
    #[inline]
    pub(in crate::link) fn begin(&mut self, to: &KernelAddress) {
        let at = self.messages;
        let octets = (to.len() as usize).min(size_of::<libc::sockaddr_storage>());
        let (from, name) = (core::ptr::from_ref(to.storage()).cast::<u8>(), &raw mut self.names[at]);
        // SAFETY: both are address storages, of which at most the whole is copied; one is borrowed from elsewhere, the other ours.
        unsafe { core::ptr::copy_nonoverlapping(from, name.cast::<u8>(), octets) };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_namelen = to.len();
        header.msg_iovlen = 0;
        header.msg_controllen = 0;
        self.first_piece[at] = self.used;
        self.messages += 1;
    }

    /// Adds octets to the message begun last. There must be room, and they stay where they are until [`Self::send`] or [`Self::clear`].
    #[inline]
    pub(in crate::link) fn add(&mut self, octets: &[u8]) {
        self.pieces[self.used] =
            libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() as _ };
        self.used += 1;
        self.headers[self.messages - 1].msg_hdr.msg_iovlen += 1;
    }

    /// Says something beside the message begun last: a value of the kind that the kernel documents for it, at most eight octets.
    #[inline]
    pub(in crate::link) fn say(&mut self, level: i32, kind: i32, value: &[u8]) {
        let at = self.messages - 1;
        let header = &mut self.headers[at].msg_hdr;
        #[allow(clippy::unnecessary_cast)] // `socklen_t` in some C libraries
        let start = header.msg_controllen as usize;
        let room = &mut self.controls[at].0[start..start + CONTROL_HEADER + align(value.len())];
        let (len, rest) = room.split_at_mut(size_of::<usize>());
        len.copy_from_slice(&(CONTROL_HEADER + value.len()).to_ne_bytes());
        rest[..4].copy_from_slice(&level.to_ne_bytes());
        rest[4..8].copy_from_slice(&kind.to_ne_bytes());
        room[CONTROL_HEADER..CONTROL_HEADER + value.len()].copy_from_slice(value);
        header.msg_controllen = (start + room.len()) as _;
    }

    /// Hands the messages from number `first` on to the kernel in one call. Returns how many it took; an error is about the first.
    ///
    /// # Safety
    /// All octets added since the last [`Self::clear`] are still there, and nobody writes them during the call.
    #[inline]
    pub(in crate::link) unsafe fn send(&mut self, socket: &impl AsRawFd, first: usize) -> io::Result<usize> {
        for at in first..self.messages {
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_iov = &raw mut self.pieces[self.first_piece[at]];
            header.msg_control =
                if header.msg_controllen == 0 { null_mut() } else { (&raw mut self.controls[at]).cast() };
        }
        let headers = &mut self.headers[first..self.messages];
        // SAFETY: `headers` are that many; names, pieces and control room were just pointed at, are ours and live through the call;
        // the octets under the pieces are there, as the caller guarantees, and the kernel only reads them.
        let took = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as _, libc::MSG_DONTWAIT as _)
        };
        if took < 0 { Err(io::Error::last_os_error()) } else { Ok((took as usize).min(headers.len())) }
    }
}

/// Room for messages that come in.
pub(in crate::link) struct Receiving {
    headers: Box<[libc::mmsghdr]>,
    /// None where nobody asks who sent.
    names: Box<[libc::sockaddr_storage]>,
    pieces: Box<[libc::iovec]>,
    pieces_each: usize,
    controls: Box<[ControlRoom]>,
}

// SAFETY: the pointers inside are set and used within one call; between calls nobody follows them.
unsafe impl Send for Receiving {}

impl Receiving {
    /// Room for so many messages at a call, each of so many pieces, with their senders if wanted.
    pub(in crate::link) fn new(messages: usize, pieces_each: usize, senders: bool) -> Self {
        let mut headers: Box<[_]> = (0..messages).map(|_| empty_header()).collect();
        for header in &mut headers {
            header.msg_hdr.msg_iovlen = pieces_each as _;
        }
        Self {
            headers,
            names: (0..if senders { messages } else { 0 }).map(|_| empty_name()).collect(),
            pieces: vec![NO_PIECE; messages * pieces_each].into(),
            pieces_each,
            controls: vec![ControlRoom([0; CONTROL_OCTETS]); messages].into(),
        }
    }

    /// Offers room for one piece of a message, in the place of what was offered there before. It stays where it is until the last call
    /// that may fill it.
    #[inline]
    pub(in crate::link) fn offer(&mut self, message: usize, piece: usize, room: &mut [u8]) {
        assert!(piece < self.pieces_each, "a piece beyond those of its message");
        self.pieces[message * self.pieces_each + piece] =
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() as _ };
    }

    /// Uses only the first pieces of a message from now on.
    #[inline]
    pub(in crate::link) fn set_pieces(&mut self, message: usize, count: usize) {
        assert!(count <= self.pieces_each, "more pieces than a message has");
        self.headers[message].msg_hdr.msg_iovlen = count as _;
    }

    /// Receives into the first `messages` in one call. Returns how many came; none is no error.
    ///
    /// # Safety
    /// The room offered for these messages is still there, and nobody else reads or writes it during the call.
    #[inline]
    pub(in crate::link) unsafe fn receive(&mut self, socket: &impl AsRawFd, messages: usize) -> io::Result<usize> {
        let headers = &mut self.headers[..messages];
        for (at, message) in headers.iter_mut().enumerate() {
            let header = &mut message.msg_hdr;
            if let Some(name) = self.names.get_mut(at) {
                header.msg_name = (&raw mut *name).cast();
                header.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
            }
            header.msg_iov = &raw mut self.pieces[at * self.pieces_each];
            header.msg_control = (&raw mut self.controls[at]).cast();
            header.msg_controllen = CONTROL_OCTETS as _;
            header.msg_flags = 0;
            message.msg_len = 0;
        }
        // SAFETY: `headers` are that many; names, pieces and control room were just pointed at, are ours and live through the call; the
        // room under the pieces is there and nobody else's, as the caller guarantees. No time limit is passed.
        let came = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), messages as _, flags as _, null_mut())
        };
        if came >= 0 {
            return Ok((came as usize).min(messages));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
    }

    /// A message of the last call.
    #[inline]
    pub(in crate::link) fn message(&self, at: usize) -> Message<'_> {
        let header = &self.headers[at].msg_hdr;
        #[allow(clippy::unnecessary_cast)] // `socklen_t` in some C libraries
        let said = (header.msg_controllen as usize).min(CONTROL_OCTETS);
        Message {
            len: self.headers[at].msg_len as usize,
            is_cut: header.msg_flags & libc::MSG_TRUNC != 0,
            name: self.names.get(at).filter(|_| header.msg_namelen > 0),
            said: &self.controls[at].0[..said],
        }
    }
}

/// A message that came in.
#[derive(Clone, Copy)]
pub(in crate::link) struct Message<'a> {
    /// Octets that were written into the pieces, one behind the other.
    pub(in crate::link) len: usize,
    /// Whether the message was longer than the pieces.
    pub(in crate::link) is_cut: bool,
    name: Option<&'a libc::sockaddr_storage>,
    said: &'a [u8],
}

impl<'a> Message<'a> {
    /// Who sent it.
    #[inline]
    pub(in crate::link) fn sender(&self) -> Option<SocketAddr> {
        self.name.and_then(read_address)
    }

    /// What the kernel says beside it.
    #[inline]
    pub(in crate::link) fn beside(&self) -> Beside<'a> {
        Beside { rest: self.said }
    }
}

/// What the kernel says beside a message, one by one.
pub(in crate::link) struct Beside<'a> {
    rest: &'a [u8],
}

/// One thing that the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Said {
    /// Where the message went, and the interface that it came in by.
    Destination(IpAddr, u32),
    /// How many messages the socket had lost when this one came: a count that runs over.
    Drops(u32),
    /// Octets of each datagram in a joined one, but for the last.
    Segment(usize),
}

impl Iterator for Beside<'_> {
    type Item = Said;

    fn next(&mut self) -> Option<Said> {
        // Each begins with its length, header included, and is followed by the next at a multiple of a word.
        while let Some((len, header)) = self.rest.split_first_chunk::<{ size_of::<usize>() }>() {
            let len = usize::from_ne_bytes(*len);
            let (Some((level, kind)), Some(value)) = (numbers(header), self.rest.get(CONTROL_HEADER..len)) else {
                break;
            };
            self.rest = self.rest.get(align(len)..).unwrap_or_default();
            if let Some(said) = read(level, kind, value) {
                return Some(said);
            }
        }
        self.rest = &[];
        None
    }
}

/// Level and kind.
fn numbers(header: &[u8]) -> Option<(i32, i32)> {
    let (level, rest) = header.split_first_chunk()?;
    Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*rest.first_chunk()?)))
}

#[inline]
fn read(level: i32, kind: i32, value: &[u8]) -> Option<Said> {
    match (level, kind) {
        // `struct in_pktinfo`: the interface, our address, the destination in the header.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let (interface, rest) = value.split_first_chunk()?;
            let destination: [u8; 4] = *rest.get(4..)?.first_chunk()?;
            Some(Said::Destination(Ipv4Addr::from(destination).into(), u32::from_ne_bytes(*interface)))
        }
        // `struct in6_pktinfo`: the destination, the interface.
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let (destination, rest) = value.split_first_chunk::<16>()?;
            let interface = u32::from_ne_bytes(*rest.first_chunk()?);
            Some(Said::Destination(Ipv6Addr::from(*destination).into(), interface))
        }
        (libc::SOL_SOCKET, SO_RXQ_OVFL) => Some(Said::Drops(u32::from_ne_bytes(*value.first_chunk()?))),
        (libc::SOL_UDP, UDP_GRO) => usize::try_from(i32::from_ne_bytes(*value.first_chunk()?))
            .ok()
            .filter(|&octets| octets > 0)
            .map(Said::Segment),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::{bind, open, set_option};
    use super::*;
    use std::net::UdpSocket;

    fn loopback() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    #[test]
    fn many_messages_of_many_pieces_go_out_and_come_in_at_one_call_each() {
        let ((from, sender), (to, address)) = (loopback(), loopback());
        set_option(&to, libc::IPPROTO_IP, libc::IP_PKTINFO, &1_i32).expect("any socket can");
        let texts: Vec<String> = (0..8).map(|n| format!("message {n}")).collect();
        let mut sending = Sending::new(8, 16);
        for text in &texts {
            sending.begin(&KernelAddress::new(address, 0));
            let (head, tail) = text.as_bytes().split_at(3);
            sending.add(head);
            sending.add(tail);
        }
        assert!(!sending.has_room());
        // SAFETY: the texts live to the end of the test.
        assert_eq!(unsafe { sending.send(&from, 0) }.expect("loopback"), 8);
        // SAFETY: as above.
        assert_eq!(unsafe { sending.send(&from, 7) }.expect("loopback"), 1);

        let mut receiving = Receiving::new(16, 2, true);
        let mut room = [[[0_u8; 4]; 2]; 16];
        for (n, [one, two]) in room.iter_mut().enumerate() {
            receiving.offer(n, 0, one);
            receiving.offer(n, 1, two);
        }
        receiving.set_pieces(0, 1);
        // SAFETY: the room is only read behind the calls.
        let came = unsafe { receiving.receive(&to, 16) }.expect("loopback");
        assert_eq!(came, 9);
        for n in 0..came {
            let message = receiving.message(n);
            assert_eq!((message.len, message.is_cut), (if n == 0 { 4 } else { 8 }, true), "{n}");
            assert_eq!(message.sender(), Some(sender));
            let said: Vec<Said> = message.beside().collect();
            assert!(matches!(said[..], [Said::Destination(to, 1..)] if to == address.ip()), "{said:?}");
        }
        assert_eq!(room[1].concat(), b"message ");
        // SAFETY: as above.
        assert_eq!(unsafe { receiving.receive(&to, 16) }.expect("loopback"), 0, "none is no error");
    }

    #[test]
    fn what_is_said_beside_a_message_reaches_the_kernel() {
        let ((from, _), (to, address)) = (loopback(), loopback());
        let mut sending = Sending::new(2, 4);
        let payload = [7; 25];
        sending.begin(&KernelAddress::new(address, 0));
        sending.add(&payload);
        sending.say(libc::IPPROTO_IP, libc::IP_TTL, &1_i32.to_ne_bytes());
        sending.say(libc::SOL_UDP, UDP_SEGMENT, &10_u16.to_ne_bytes());
        // SAFETY: the payload lives to the end of the test.
        assert_eq!(unsafe { sending.send(&from, 0) }.expect("loopback"), 1);
        let mut buffer = [0; 64];
        for len in [10, 10, 5] {
            assert_eq!(to.recv(&mut buffer).expect("a segment"), len);
        }
        sending.clear();
        assert_eq!(sending.len(), 0);
        sending.begin(&KernelAddress::new(address, 0));
        sending.add(&payload);
        sending.say(libc::IPPROTO_IP, libc::IP_TTL, &1000_i32.to_ne_bytes());
        // SAFETY: as above.
        let refused = unsafe { sending.send(&from, 0) }.expect_err("no TTL");
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn without_senders_nobody_is_named_and_an_ipv6_destination_is_read() {
        let socket = open(libc::AF_INET6, libc::SOCK_DGRAM, 0).expect("IPv6");
        let home = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0);
        if let Err(error) = bind(&socket, &KernelAddress::new(home, 0)) {
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL), "a host without IPv6 on loopback, or a bug");
            return;
        }
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1_i32).expect("any socket can");
        let socket = UdpSocket::from(socket);
        socket.send_to(b"self", socket.local_addr().expect("bound")).expect("loopback");
        let mut receiving = Receiving::new(1, 1, false);
        let mut room = [0; 16];
        receiving.offer(0, 0, &mut room);
        // SAFETY: the room is only read behind the call.
        assert_eq!(unsafe { receiving.receive(&socket, 1) }.expect("loopback"), 1);
        let message = receiving.message(0);
        assert_eq!((message.len, message.is_cut, message.sender()), (4, false, None));
        let said: Vec<Said> = message.beside().collect();
        assert!(matches!(said[..], [Said::Destination(to, 1..)] if to == home.ip()), "{said:?}");
    }

    #[test]
    fn control_octets_that_make_no_sense_end_the_reading() {
        let word = |n: usize| n.to_ne_bytes().to_vec();
        let drops = |len: usize| {
            [
                word(len),
                libc::SOL_SOCKET.to_ne_bytes().into(),
                SO_RXQ_OVFL.to_ne_bytes().into(),
                7_u64.to_le_bytes().into(),
            ]
            .concat()
        };
        let read = |octets: &[u8]| Beside { rest: octets }.collect::<Vec<_>>();
        let good = drops(CONTROL_HEADER + 4);
        assert_eq!(read(&[good.clone(), good.clone()].concat()), [Said::Drops(7), Said::Drops(7)]);
        for len in [0, 1, CONTROL_HEADER - 1, CONTROL_HEADER + 9, usize::MAX] {
            assert_eq!(read(&drops(len)), [], "{len}");
        }
        assert_eq!(read(&drops(CONTROL_HEADER)), [], "no value");
        for end in 0..CONTROL_HEADER + 4 {
            assert_eq!(read(&good[..end]), [], "{end}");
        }
    }
}
