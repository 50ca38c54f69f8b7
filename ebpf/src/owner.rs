//! Which XDP program owns an interface: one question to the kernel over rtnetlink, asked when attaching.
//!
//! An interface has one XDP program. Before we attach, and when we are refused, the owner is named, so that people know whom to ask.

use core::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

use aya::programs::loaded_programs;

/// The program that owns an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its number, as in `bpftool prog show id`.
    pub id: u32,
    /// Its name, as far as the kernel tells.
    pub name: Option<String>,
    /// The process that holds it, where that can be told.
    pub pid: Option<u32>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "program {} ({name})", self.id)?,
            None => write!(f, "program {}", self.id)?,
        }
        self.pid.map_or(Ok(()), |pid| write!(f, " of process {pid}"))
    }
}

impl Owner {
    /// The owner of the interface; `None` if it has none, or the kernel does not say.
    pub fn of(interface: u32) -> Option<Self> {
        let id = program_of(&ask(interface)?)?;
        let named = |id| loaded_programs().flatten().find(|program| program.id() == id);
        let name =
            named(id).and_then(|program| program.name_as_str().map(str::to_owned)).filter(|name| !name.is_empty());
        Some(Self { id, name, pid: None })
    }
}

const HEADER: usize = 16;
const LINK_INFO: usize = 16;
const ATTRIBUTE: usize = 4;
/// Attribute kinds of `linux/if_link.h`.
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Kinds carry two flags on top: nested, and network octet order.
const KIND: u16 = 0x3fff;

/// The kernel's description of the interface: one netlink message.
fn ask(interface: u32) -> Option<Vec<u8>> {
    // SAFETY: opens a descriptor and touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return None;
    }
    // SAFETY: just opened and nobody else's; the file closes it.
    let mut socket = unsafe { File::from_raw_fd(socket) };
    let mut request = [0_u8; HEADER + LINK_INFO];
    request[0..4].copy_from_slice(&((HEADER + LINK_INFO) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[HEADER + 4..HEADER + 8].copy_from_slice(&interface.to_ne_bytes());
    socket.write_all(&request).ok()?;
    // A link message is about 1.5 KiB, more with many virtual functions.
    let mut answer = vec![0_u8; 32 * 1024];
    let octets = socket.read(&mut answer).ok()?;
    answer.truncate(octets);
    let kind = answer.get(4..6)?;
    (kind == libc::RTM_NEWLINK.to_ne_bytes()).then_some(answer)
}

/// The program's number in a link message.
fn program_of(message: &[u8]) -> Option<u32> {
    let xdp = attribute(message.get(HEADER + LINK_INFO..)?, IFLA_XDP)?;
    let id = attribute(xdp, IFLA_XDP_PROG_ID)?;
    let id = u32::from_ne_bytes(id.get(..4)?.try_into().ok()?);
    (id != 0).then_some(id)
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
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

    fn with(kind: u16, value: &[u8]) -> Vec<u8> {
        let octets = (ATTRIBUTE + value.len()) as u16;
        let mut bytes = [octets.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + LINK_INFO];
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn the_program_is_found_inside_the_nested_attribute() {
        let nested = [with(2, &[1]), with(IFLA_XDP_PROG_ID, &42_u32.to_ne_bytes())].concat();
        let message = message(&[with(3, b"eth0\0"), with(IFLA_XDP | 0x8000, &nested)]);
        assert_eq!(program_of(&message), Some(42));
    }

    #[test]
    fn no_program_and_no_sense_are_both_nobody() {
        assert_eq!(program_of(&message(&[with(IFLA_XDP, &with(2, &[0]))])), None);
        assert_eq!(program_of(&message(&[vec![0, 0, 0, 0]])), None, "an attribute shorter than its header");
        assert_eq!(program_of(&message(&[vec![255, 255, 43, 0]])), None, "an attribute longer than the message");
        assert_eq!(program_of(&[0; 7]), None);
    }
}
