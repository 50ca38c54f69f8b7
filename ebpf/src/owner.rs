//! Who owns an interface: its XDP program, by number, name and process.
//!
//! An interface has one XDP program. Before we attach, and when we are refused, the owner is named, so that people know whom to ask.
//! Guards: the search for its process ends, however many there are.

use core::fmt;
use std::path::Path;
use std::{fs, iter, process};

use aya::programs::loaded_programs;

use crate::netlink;

/// Descriptors looked at when searching for a process: a large host has as many open, and reading them takes half a second.
const DESCRIPTORS_MAX: usize = 100_000;

/// The program that owns an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its number, as in `bpftool prog show id`.
    pub id: u32,
    /// Its name, as far as the kernel tells.
    pub name: Option<String>,
    /// The process that holds it, as far as we may look; a program that is pinned, or was attached by netlink, may have none.
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
    /// The owner of the interface of the caller's network namespace; `None` if it has none, or the kernel does not say.
    pub fn of(interface: u32) -> Option<Self> {
        netlink::programs_of(interface).first().map(|&(_, id)| Self::named(id))
    }

    pub(crate) fn named(id: u32) -> Self {
        let program = loaded_programs().flatten().find(|program| program.id() == id);
        let name = program.and_then(|program| program.name_as_str().map(str::to_owned));
        Self { id, name: name.filter(|name| !name.is_empty()), pid: holder(Path::new("/proc"), id) }
    }
}

/// The process that has the program, or a link of it, open.
fn holder(proc: &Path, id: u32) -> Option<u32> {
    let mut looked_at = 0;
    let others = fs::read_dir(proc).ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // We first: a process that we are just starting has copies of our descriptors.
    for pid in iter::once(process::id()).chain(others) {
        let process = proc.join(pid.to_string());
        // What may not be looked into is somebody else's; there the answer stays open.
        let Ok(descriptors) = fs::read_dir(process.join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            looked_at += 1;
            if looked_at > DESCRIPTORS_MAX {
                return None;
            }
            let is_bpf = fs::read_link(descriptor.path()).is_ok_and(|what| what.to_string_lossy().contains("bpf"));
            let info = process.join("fdinfo").join(descriptor.file_name());
            if is_bpf && fs::read_to_string(info).is_ok_and(|info| is_of_program(&info, id)) {
                return Some(pid);
            }
        }
    }
    None
}

/// Whether the kernel says of a descriptor that it is this program, or a link of it.
fn is_of_program(info: &str, id: u32) -> bool {
    info.lines().filter_map(|line| line.strip_prefix("prog_id:")).any(|number| number.trim().parse() == Ok(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_owner_is_told_as_far_as_it_is_known() {
        let mut owner = Owner { id: 42, name: None, pid: None };
        assert_eq!(owner.to_string(), "program 42");
        owner.name = Some("steer".into());
        assert_eq!(owner.to_string(), "program 42 (steer)");
        owner.pid = Some(1234);
        assert_eq!(owner.to_string(), "program 42 (steer) of process 1234");
    }

    #[test]
    fn the_holder_is_the_process_whose_descriptor_is_the_program_or_a_link_of_it() {
        let proc = std::env::temp_dir().join(format!("pgmx-owner-{}", process::id()));
        let open = |pid: &str, fd: &str, what: &str, info: &str| {
            for part in ["fd", "fdinfo"] {
                fs::create_dir_all(proc.join(pid).join(part)).expect("a directory");
            }
            symlink(what, proc.join(pid).join("fd").join(fd)).expect("a link");
            fs::write(proc.join(pid).join("fdinfo").join(fd), info).expect("a file");
        };
        open("7", "0", "/dev/null", "pos:\t0\nprog_id:\t42\n");
        open("8", "3", "anon_inode:bpf-prog", "prog_type:\t6\nprog_id:\t421\n");
        open("9", "4", "anon_inode:bpf_link", "link_type:\txdp\nlink_id:\t42\nprog_tag:\t42\nprog_id:\t5\n");
        open("self", "3", "anon_inode:bpf-prog", "prog_id:\t42\n");
        let (nobody, program, link) = (holder(&proc, 42), holder(&proc, 421), holder(&proc, 5));
        fs::remove_dir_all(&proc).expect("our own directory");
        assert_eq!((nobody, program, link), (None, Some(8), Some(9)));
    }
}
