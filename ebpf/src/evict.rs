//! Taking the place of another XDP program, for those who ask for it: whatever way it was attached, it is detached.
//!
//! Called by the loader when `replace` is set, after our own program was loaded: a program that the verifier refuses leaves the other at
//! work. Guards: only what was found on the interface is detached, by number; what cannot be told apart is left alone.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use aya::programs::loaded_programs;

use crate::netlink::{self, Place};
use crate::{Owner, SteeringError};

/// Detaches every program of the interface; gives back who they were.
pub(crate) fn evict(interface: &str, index: u32) -> Result<Vec<Owner>, SteeringError> {
    let mut evicted = Vec::new();
    // Three at most: driver, generic, hardware.
    for (place, id) in netlink::programs_of(index) {
        let owner = Owner::named(id);
        match detach(index, place, id) {
            Ok(()) => evicted.push(owner),
            Err(error) => {
                return Err(SteeringError::Replace { interface: interface.into(), owner, error: error.to_string() });
            }
        }
    }
    Ok(evicted)
}

fn detach(index: u32, place: Place, id: u32) -> io::Result<()> {
    let gone = || io::Error::other("it was just replaced by another one; try again");
    let program = loaded_programs().flatten().find(|program| program.id() == id).ok_or_else(gone)?;
    let program = program.fd().map_err(io::Error::other)?;
    match netlink::detach(index, place, program.as_fd()) {
        // It was attached by a link, which netlink does not touch.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    let mut links = links_of(index, id)?;
    match (links.pop(), links.len()) {
        // SAFETY: the command reads one descriptor, which is open.
        (Some(link), 0) => unsafe { bpf(LINK_DETACH, &mut [link.as_raw_fd()]) }.map(|_| ()),
        (None, _) => Err(gone()),
        // Interfaces of several network namespaces have the same number, and a link does not tell its namespace.
        (Some(_), others) => {
            Err(io::Error::other(format!("{} links of it are on interfaces with number {index}", others + 1)))
        }
    }
}

/// Commands of `bpf(2)`.
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_GET_FD_BY_ID: i32 = 30;
const LINK_GET_NEXT_ID: i32 = 31;
const LINK_DETACH: i32 = 34;

/// A link to an XDP program, in `struct bpf_link_info`.
const LINK_TYPE_XDP: u32 = 6;

/// The links that hold this program on interfaces of this number.
fn links_of(index: u32, program: u32) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    let mut id = 0;
    // Numbers only rise, so this ends.
    while let Some(next) = next_link(id)? {
        id = next;
        // One that is gone by now is no hindrance.
        let Ok(link) = link(id) else { continue };
        let LinkInfo { kind, program: held, interface, .. } = info(&link)?;
        if (kind, held, interface) == (LINK_TYPE_XDP, program, index) {
            found.push(link);
        }
    }
    Ok(found)
}

/// The number that follows.
fn next_link(id: u32) -> io::Result<Option<u32>> {
    let mut attributes = [id, 0, 0];
    // SAFETY: the command reads and writes three numbers.
    match unsafe { bpf(LINK_GET_NEXT_ID, &mut attributes) } {
        Ok(_) => Ok(Some(attributes[1])),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn link(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: the command reads three numbers.
    let descriptor = unsafe { bpf(LINK_GET_FD_BY_ID, &mut [id, 0, 0]) }?;
    // SAFETY: the kernel just opened it for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The front of `struct bpf_link_info`, as it is for XDP.
#[repr(C, align(8))]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
}

fn info(link: &OwnedFd) -> io::Result<LinkInfo> {
    /// The part of `union bpf_attr` that this command reads. Pointers have 64 bits there, as on every machine that `AF_XDP` is used on.
    #[repr(C)]
    struct Question {
        descriptor: i32,
        octets: u32,
        info: *mut LinkInfo,
    }
    let mut info = LinkInfo::default();
    let mut question =
        Question { descriptor: link.as_raw_fd(), octets: size_of::<LinkInfo>() as u32, info: &raw mut info };
    // SAFETY: the kernel writes at most `octets` octets into `info`, which is as long and lives through the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut question) }?;
    Ok(info)
}

/// `bpf(2)`.
///
/// # Safety
/// The attributes are what the command reads and writes; what they point at is ours and lives through the call.
unsafe fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are as long as is said and the kernel writes inside them only; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
