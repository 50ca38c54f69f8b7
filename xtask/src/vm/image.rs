//! The initramfs: a file tree in memory, and the archive that the kernel unpacks from it.
//!
//! Used by the machine. Guards: the archive is what the kernel's `newc` format says, whoever runs us (the owner is root and the times are
//! zero without asking the file system), so that equal contents give equal octets.

use super::modules::Module;
use crate::process::Cmd;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
/// `newc` without checksums.
const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";

/// What lies at a path.
#[derive(Debug)]
struct Node {
    mode: u32,
    octets: Vec<u8>,
}

/// A tree of files, by path without the leading slash.
#[derive(Debug, Default)]
pub(super) struct Image {
    nodes: BTreeMap<String, Node>,
}

impl Image {
    /// An executable file; its directories come with it.
    pub(super) fn add(&mut self, path: &str, octets: Vec<u8>) {
        self.put(path, Node { mode: FILE | 0o755, octets });
    }

    pub(super) fn add_directory(&mut self, path: &str) {
        self.put(path, Node { mode: DIRECTORY | 0o755, octets: Vec::new() });
    }

    pub(super) fn add_symlink(&mut self, path: &str, target: &str) {
        self.put(path, Node { mode: SYMLINK | 0o777, octets: target.into() });
    }

    fn put(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.nodes.entry(path[..at].to_owned()).or_insert(Node { mode: DIRECTORY | 0o755, octets: Vec::new() });
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// A program of this host, under `path`, with the libraries it is linked with, which stay where they are.
    pub(super) fn add_program(&mut self, path: &str, program: &Path) -> Result<(), String> {
        self.add(path, read(program)?);
        let here = Path::new(".");
        let name = program.to_str().ok_or("a path that is no text")?;
        // A static program makes ldd fail: it has none.
        let libraries = Cmd::new(here, "ldd", &[name]).stdout().unwrap_or_default();
        for library in libraries_in(&libraries) {
            if !self.nodes.contains_key(library.trim_matches('/')) {
                self.add(library, read(Path::new(library))?);
            }
        }
        Ok(())
    }

    /// Kernel modules, with the order in which they can be loaded.
    pub(super) fn add_modules(&mut self, modules: &[Module]) {
        let mut order = String::new();
        for module in modules {
            self.add(&format!("modules/{}.ko", module.name), module.octets.clone());
            order += &module.name;
            order.push('\n');
        }
        self.add("modules/order", order.into());
    }

    /// The archive.
    pub(super) fn archive(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // BTreeMap: a directory's path sorts before what lies in it.
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            entry(&mut out, number, path, node.mode, &node.octets);
        }
        entry(&mut out, 0, TRAILER, 0, &[]);
        out
    }
}

/// Thirteen hexadecimal numbers, the name, the contents; name and contents end at a multiple of four.
fn entry(out: &mut Vec<u8>, number: u32, path: &str, mode: u32, octets: &[u8]) {
    let links = if mode & DIRECTORY != 0 && mode & FILE == 0 { 2 } else { 1 };
    let fields = [number, mode, 0, 0, links, 0, octets.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0]
        .map(|n| format!("{n:08X}"));
    out.extend(MAGIC.bytes());
    out.extend(fields.concat().bytes());
    out.extend(path.bytes());
    out.push(0);
    pad(out);
    out.extend(octets);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// The paths in the output of `ldd`: `NAME => PATH (0x...)`, or the loader's `PATH (0x...)`.
fn libraries_in(printed: &str) -> Vec<&str> {
    printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_directories_before_their_files_and_ends_with_its_trailer() {
        let mut image = Image::default();
        image.add("/bin/sh", b"\x7fELF!".to_vec());
        image.add_symlink("init", "bin/sh");
        let archive = image.archive();
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        assert!(at("bin\0") < at("bin/sh\0") && at("bin/sh\0") < at("init\0") && at("init\0") < at("TRAILER!!!\0"));
        assert!(text.starts_with("07070100000001000041ED00000000000000000000000200000000"), "{text}");
        // The file: mode, one link, five octets, a name of seven with its zero, and the contents on a multiple of four.
        let header = at("0707010000000200008");
        assert!(text[header..].starts_with("07070100000002000081ED0000000000000000000000010000000000000005"), "{text}");
        assert_eq!(&archive[header + 110..header + 117], b"bin/sh\0");
        assert_eq!(&archive[(header + 117).next_multiple_of(4)..][..5], b"\x7fELF!");
    }

    #[test]
    fn libraries_are_found_and_the_kernels_own_is_none() {
        let printed =
            "\tlinux-vdso.so.1 (0x00007fd2)\n\tlibz.so.1 => /lib/libz.so.1 (0x00007fd2)\n\t/lib64/ld.so.2 (0x7)\n";
        assert_eq!(libraries_in(printed), ["/lib/libz.so.1", "/lib64/ld.so.2"]);
        assert!(libraries_in("\tnot a dynamic executable\n").is_empty());
    }
}
