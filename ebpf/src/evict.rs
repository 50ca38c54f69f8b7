//! Taking the place of another XDP program, for those who ask for it: whatever way it was attached, it is detached.
//!
//! Called by the loader when `replace` is set, after our own program was loaded: a program that the verifier refuses leaves the other at
//! work. Guards: only what was found on the interface is detached, by number; what cannot be told apart is left alone.

use std::io;
use std::os::fd::AsFd;

use aya::programs::{ProgramError, ProgramInfo, loaded_programs};

use crate::link;
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

/// The program of this number, if it is there.
fn look_up(id: u32) -> io::Result<Option<ProgramInfo>> {
    for program in loaded_programs() {
        match program {
            Ok(program) if program.id() == id => return Ok(Some(program)),
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EPERM) => {
                return Err(io::Error::other("looking it up takes CAP_SYS_ADMIN, which this process does not have"));
            }
            // Another one, or one that just went.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

fn detach(index: u32, place: Place, id: u32) -> io::Result<()> {
    let gone = || io::Error::other("it was just replaced by another one; try again");
    let program = look_up(id)?.ok_or_else(gone)?.fd().map_err(io::Error::other)?;
    match netlink::detach(index, place, program.as_fd()) {
        // It was attached by a link, which netlink does not touch.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    let mut links = link::all_of(index, id)?;
    match (links.pop(), links.len()) {
        (Some(link), 0) => link::detach(&link),
        (None, _) => Err(gone()),
        // Interfaces of several network namespaces have the same number, and a link does not tell its namespace.
        (Some(_), others) => {
            Err(io::Error::other(format!("{} links of it are on interfaces with number {index}", others + 1)))
        }
    }
}
