//! What rtnetlink knows and does about XDP programs on interfaces: two questions and one order.
//!
//! Used by [`owner`](crate::owner) to ask and by [`evict`](crate::evict) to order. Guards: what the kernel answers is read within its
//! bounds, and only the program that was named is ever taken away.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

const HEADER: usize = 16;
const LINK_INFO: usize = 16;
const ATTRIBUTE: usize = 4;
/// Attribute kinds of `linux/if_link.h`.
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
/// Kinds carry two flags on top: nested, and network octet order.
const KIND: u16 = 0x3fff;
const NESTED: u16 = 0x8000;
/// Flag of an order: only if the program expected is there.
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// Where a program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Driver,
    Generic,
    Hardware,
}

impl Place {
    const ALL: [Self; 3] = [Self::Driver, Self::Generic, Self::Hardware];

    /// The attribute that names the program there: `IFLA_XDP_DRV_PROG_ID` and its neighbours.
    fn kind(self) -> u16 {
        match self {
            Self::Driver => 5,
            Self::Generic => 6,
            Self::Hardware => 7,
        }
    }

    /// `XDP_FLAGS_DRV_MODE` and its neighbours.
    pub(crate) fn flag(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Driver => 1 << 2,
            Self::Hardware => 1 << 3,
        }
    }
}

/// The programs of an interface, by number; none if the kernel does not say.
pub(crate) fn programs_of(interface: u32) -> Vec<(Place, u32)> {
    let question = message(libc::RTM_GETLINK, 0, interface, &[]);
    match ask(&question) {
        Ok(answer) if answer.get(4..6) == Some(&libc::RTM_NEWLINK.to_ne_bytes()) => programs_in(&answer),
        _ => Vec::new(),
    }
}

/// Takes this program off the interface, where it was attached by netlink; `EBUSY` where it was attached by a link.
pub(crate) fn detach(interface: u32, place: Place, program: BorrowedFd<'_>) -> io::Result<()> {
    let order = [
        attribute(IFLA_XDP_FD, &(-1_i32).to_ne_bytes()),
        attribute(IFLA_XDP_FLAGS, &(place.flag() | XDP_FLAGS_REPLACE).to_ne_bytes()),
        attribute(IFLA_XDP_EXPECTED_FD, &program.as_raw_fd().to_ne_bytes()),
    ]
    .concat();
    let order = message(libc::RTM_SETLINK, libc::NLM_F_ACK as u16, interface, &attribute(IFLA_XDP | NESTED, &order));
    let answer = ask(&order)?;
    match answer.get(HEADER..).and_then(<[u8]>::first_chunk).map(|code| i32::from_ne_bytes(*code)) {
        Some(0) if answer[4..6] == (libc::NLMSG_ERROR as u16).to_ne_bytes() => Ok(()),
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("an answer that makes no sense")),
    }
}

fn message(kind: u16, flags: u16, interface: u32, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + LINK_INFO];
    bytes[0..4].copy_from_slice(&((HEADER + LINK_INFO + attributes.len()) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&interface.to_ne_bytes());
    bytes.extend_from_slice(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let octets = (ATTRIBUTE + value.len()) as u16;
    let mut bytes = [octets.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// One message to the kernel, and the one that answers it.
fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    // SAFETY: opens a descriptor and touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened and nobody else's; the file closes it.
    let mut socket = unsafe { File::from_raw_fd(socket) };
    socket.write_all(question)?;
    // A link message is about 1.5 KiB, more with many virtual functions.
    let mut answer = vec![0_u8; 32 * 1024];
    let octets = socket.read(&mut answer)?;
    answer.truncate(octets);
    Ok(answer)
}

/// The programs that a link message names.
fn programs_in(message: &[u8]) -> Vec<(Place, u32)> {
    let xdp = message.get(HEADER + LINK_INFO..).and_then(|attributes| value_of(attributes, IFLA_XDP));
    let program = |place: Place| {
        let id = value_of(xdp?, place.kind())?.first_chunk()?;
        Some((place, u32::from_ne_bytes(*id))).filter(|program| program.1 != 0)
    };
    Place::ALL.into_iter().filter_map(program).collect()
}

/// The value of the first attribute of this kind.
fn value_of(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    // Each round takes at least the attribute's own header off the front, so this ends.
    while let Some(header) = attributes.first_chunk::<ATTRIBUTE>() {
        let octets = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & KIND;
        let value = attributes.get(ATTRIBUTE..octets)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(octets.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(attributes: &[Vec<u8>]) -> Vec<u8> {
        message(libc::RTM_NEWLINK, 0, 7, &attributes.concat())
    }

    #[test]
    fn programs_are_found_inside_the_nested_attribute_wherever_they_sit() {
        let nested = |kind| [attribute(2, &[1]), attribute(kind, &42_u32.to_ne_bytes())].concat();
        for place in Place::ALL {
            let message = answer(&[attribute(3, b"eth0\0"), attribute(IFLA_XDP | NESTED, &nested(place.kind()))]);
            assert_eq!(programs_in(&message), [(place, 42)]);
        }
        let both = [nested(Place::Generic.kind()), nested(Place::Hardware.kind())].concat();
        let message = answer(&[attribute(IFLA_XDP, &both)]);
        assert_eq!(programs_in(&message), [(Place::Generic, 42), (Place::Hardware, 42)]);
    }

    #[test]
    fn no_program_and_no_sense_are_both_nobody() {
        assert_eq!(programs_in(&answer(&[attribute(IFLA_XDP, &attribute(2, &[0]))])), []);
        assert_eq!(programs_in(&answer(&[vec![0, 0, 0, 0]])), [], "an attribute shorter than its header");
        assert_eq!(programs_in(&answer(&[vec![255, 255, 43, 0]])), [], "an attribute longer than the message");
        assert_eq!(programs_in(&[0; 7]), []);
        let zero = attribute(IFLA_XDP, &attribute(5, &[0; 4]));
        assert_eq!(programs_in(&answer(&[zero])), [], "number 0 is none");
    }

    #[test]
    fn loopback_has_no_program_of_the_hardware() {
        // A question to the real kernel, which everybody may ask; what others attached there in software is not ours to say.
        assert!(programs_of(1).iter().all(|program| program.0 != Place::Hardware));
        assert_eq!(programs_of(u32::MAX / 2), [], "no such interface");
    }
}
