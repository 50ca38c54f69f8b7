//! What the kernel says about an interface over netlink: its state, its XDP program, and which XDP abilities its driver names.
//!
//! Used by `survey`. Each question opens a socket, asks once and reads the answer, in the network namespace of the calling thread; none
//! of them changes anything or needs a right. Guards: an answer is walked within its own length, whatever lengths it claims.

use std::fs::File;
use std::io::{self, Read, Write};

use super::attributes::{attribute, put};
use super::socket::open;

const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const LINK_INFO: usize = 16;

/// Attributes of a link message, by `linux/if_link.h`.
const IFLA_LINKINFO: u16 = 18;
const IFLA_CARRIER: u16 = 33;
const IFLA_XDP: u16 = 43;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// Generic netlink: the family of families, and what it is asked.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// The family `netdev`, by `linux/netdev.h`.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// What a link message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::link) struct LinkMessage {
    /// `IFF_*`.
    pub(in crate::link) flags: u32,
    pub(in crate::link) carrier: bool,
    /// `veth`, `vlan`, `bridge`; a card has none.
    pub(in crate::link) kind: Option<String>,
    /// The XDP program: its number, and `XDP_ATTACHED_*`.
    pub(in crate::link) program: Option<(u32, u8)>,
}

/// Asks for the link message of an interface.
pub(in crate::link) fn link(index: u32) -> io::Result<LinkMessage> {
    let mut info = [0_u8; LINK_INFO];
    info[4..8].copy_from_slice(&index.to_ne_bytes());
    let answer = ask(libc::NETLINK_ROUTE, libc::RTM_GETLINK, &info)?;
    read_link(&answer).ok_or_else(unreadable)
}

/// Asks for the XDP abilities (`NETDEV_XDP_ACT_*`) of an interface's driver. Linux 6.3 or later knows.
pub(in crate::link) fn xdp_features(index: u32) -> io::Result<u64> {
    let family =
        ask(libc::NETLINK_GENERIC, GENL_ID_CTRL, &generic(CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0"))?;
    let family = read_u16(family.get(GENERIC_HEADER..).unwrap_or_default(), CTRL_ATTR_FAMILY_ID);
    let family = family.ok_or_else(unreadable)?;
    let answer =
        ask(libc::NETLINK_GENERIC, family, &generic(NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes()))?;
    let features = attribute(answer.get(GENERIC_HEADER..).unwrap_or_default(), NETDEV_A_DEV_XDP_FEATURES);
    features.and_then(|octets| octets.first_chunk()).map(|octets| u64::from_ne_bytes(*octets)).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer that cannot be read")
}

/// The body of a generic message with one attribute.
fn generic(command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let mut body = vec![command, 1, 0, 0];
    put(&mut body, kind, value);
    body
}

/// Sends one request and returns the body of its answer.
fn ask(protocol: i32, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = File::from(open(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?);
    let mut request = vec![0_u8; HEADER];
    request[0..4].copy_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend_from_slice(body);
    // The kernel answers inside of this call: what is not there after it never comes.
    socket.write_all(&request)?;
    // A link message is about 1.5 KiB, more with many virtual functions.
    let mut answer = vec![0_u8; 32 * 1024];
    let octets = socket.read(&mut answer)?;
    answer.truncate(octets);
    body_of(&answer)
}

/// The body of a message, or the error that it tells.
fn body_of(message: &[u8]) -> io::Result<Vec<u8>> {
    let len = message.first_chunk().map(|len| u32::from_ne_bytes(*len) as usize).ok_or_else(unreadable)?;
    let message = message.get(..len).ok_or_else(unreadable)?;
    let kind = message.get(4..6).ok_or_else(unreadable)?;
    let body = message.get(HEADER..).ok_or_else(unreadable)?;
    if kind == (libc::NLMSG_ERROR as u16).to_ne_bytes() {
        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    Ok(body.to_vec())
}

fn read_link(body: &[u8]) -> Option<LinkMessage> {
    let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let attributes = body.get(LINK_INFO..)?;
    let kind = attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
    let program = attribute(attributes, IFLA_XDP).and_then(|xdp| {
        let id = u32::from_ne_bytes(*attribute(xdp, IFLA_XDP_PROG_ID)?.first_chunk()?);
        Some((id, attribute(xdp, IFLA_XDP_ATTACHED)?.first().copied()?))
    });
    Some(LinkMessage {
        flags,
        carrier: attribute(attributes, IFLA_CARRIER).is_none_or(|octets| octets.first() != Some(&0)),
        kind: kind.map(|octets| String::from_utf8_lossy(octets).trim_end_matches('\0').to_owned()),
        program,
    })
}

fn read_u16(attributes: &[u8], kind: u16) -> Option<u16> {
    attribute(attributes, kind)?.first_chunk().map(|octets| u16::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        super::put(&mut octets, kind, value);
        octets
    }

    fn link_body(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0; LINK_INFO];
        body[8..12].copy_from_slice(&0x1003_u32.to_ne_bytes());
        body.extend(attributes.concat());
        body
    }

    #[test]
    fn a_link_message_is_read_as_the_kernel_writes_it() {
        let xdp = [put(IFLA_XDP_ATTACHED, &[1]), put(IFLA_XDP_PROG_ID, &42_u32.to_ne_bytes())].concat();
        let info = put(IFLA_INFO_KIND, b"veth\0");
        let all = [put(3, b"eth0\0"), put(IFLA_CARRIER, &[0]), put(IFLA_LINKINFO, &info), put(IFLA_XDP | 0x8000, &xdp)];
        let program = Some((42, 1));
        let expected = LinkMessage { flags: 0x1003, carrier: false, kind: Some("veth".into()), program };
        assert_eq!(read_link(&link_body(&all)), Some(expected));
        let none = LinkMessage { flags: 0x1003, carrier: true, kind: None, program: None };
        assert_eq!(read_link(&link_body(&[put(IFLA_XDP, &put(IFLA_XDP_ATTACHED, &[0]))])), Some(none));
    }

    #[test]
    fn the_kernel_answers_about_loopback() {
        let link = link(1).expect("every namespace has it");
        assert!(link.flags & libc::IFF_LOOPBACK as u32 != 0 && link.program.is_none());
        let error = super::link(u32::MAX >> 1).expect_err("no such interface");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn an_error_of_the_kernel_is_an_error_here() {
        let mut message = vec![0; HEADER];
        message[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        message.extend((-libc::EPERM).to_ne_bytes());
        message[0..4].copy_from_slice(&20_u32.to_ne_bytes());
        assert_eq!(body_of(&message).expect_err("refused").raw_os_error(), Some(libc::EPERM));
        message[0..4].copy_from_slice(&21_u32.to_ne_bytes());
        assert_eq!(body_of(&message).expect_err("cut off").kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn damaged_answers_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (body_of(&octets), read_link(&octets), read_u16(&octets, 1));
        }
    }
}
