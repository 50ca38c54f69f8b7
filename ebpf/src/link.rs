//! Links: what holds a program on an interface, and lets go when its last descriptor is closed, be it by a `kill -9`.
//!
//! Ours are made here and those of others found here, for [`evict`](crate::evict). Guards: each call to the kernel is given the
//! attributes that its command takes.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::netlink::Place;

/// Commands of `bpf(2)`.
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_CREATE: i32 = 28;
const LINK_GET_FD_BY_ID: i32 = 30;
const LINK_GET_NEXT_ID: i32 = 31;
const LINK_DETACH: i32 = 34;

/// A link to an XDP program, in `struct bpf_link_info`.
const LINK_TYPE_XDP: u32 = 6;
/// What a link to an XDP program attaches it to.
const ATTACH_TYPE_XDP: u32 = 37;

/// A program on an interface, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Attached(OwnedFd);

impl Attached {
    /// Attaches a program to an interface.
    pub(crate) fn new(program: BorrowedFd<'_>, interface: u32, place: Place) -> io::Result<Self> {
        let mut attributes = [program.as_raw_fd() as u32, interface, ATTACH_TYPE_XDP, place.flag()];
        // SAFETY: the command reads four numbers.
        let descriptor = unsafe { bpf(LINK_CREATE, &mut attributes) }?;
        // SAFETY: the kernel just opened it for us, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Closing it would do, were no copy of the descriptor left: a process that is just being started has one for a moment. That it was
        // detached by somebody else is no news.
        let _ = detach(&self.0);
    }
}

/// Takes the program off its interface, whoever else has the link open.
pub(crate) fn detach(link: &OwnedFd) -> io::Result<()> {
    // SAFETY: the command reads one descriptor, which is open.
    unsafe { bpf(LINK_DETACH, &mut [link.as_raw_fd()]) }.map(|_| ())
}

/// All links that hold this program on interfaces of this number.
pub(crate) fn all_of(index: u32, program: u32) -> io::Result<Vec<OwnedFd>> {
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
pub(crate) unsafe fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are as long as is said and the kernel writes inside them only; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
