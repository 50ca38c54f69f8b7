//! Kernel modules out of an unpacked package: found by name, uncompressed, with what they depend on before them.
//!
//! Packages hold no `modules.dep` (installing them makes it), so that dependencies are read where it reads them: in the modules
//! themselves. Guards: no module stands before one that it needs; what is not there is built in, or not missed by this kernel.

use crate::process::Cmd;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the machine needs of its kernel: its cards, cables between namespaces, bridges, VLANs.
pub(super) const WANTED: [&str; 8] =
    ["virtio_pci", "virtio_net", "veth", "bridge", "8021q", "dummy", "xsk_diag", "sch_fq"];

/// A module as it is loaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) octets: Vec<u8>,
}

/// The modules wanted and those they need, in an order in which they can be loaded.
pub(super) fn collect(tree: &Path, wanted: &[&str]) -> Result<Vec<Module>, String> {
    let mut files = BTreeMap::new();
    find(tree, &mut files);
    let mut ordered = Vec::new();
    for name in wanted {
        load(name, &files, &mut ordered, 0)?;
    }
    Ok(ordered)
}

/// Modules of modules: the longest chain in a kernel is a handful.
const DEPTH_MAX: u32 = 16;

fn load(name: &str, files: &BTreeMap<String, PathBuf>, ordered: &mut Vec<Module>, depth: u32) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("module {name} depends on itself"));
    }
    let Some(file) = files.get(name) else { return Ok(()) };
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let octets = uncompressed(file)?;
    for needed in depends(&octets) {
        load(&plain(&needed), files, ordered, depth + 1)?;
    }
    ordered.push(Module { name: name.to_owned(), octets });
    Ok(())
}

/// Every module below `directory`, by the name that the kernel gives it.
fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, files);
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(plain(name), path);
        }
    }
}

/// In names, a hyphen is an underscore.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn uncompressed(file: &Path) -> Result<Vec<u8>, String> {
    let with = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).map_err(|why| format!("{}: {why}", file.display())),
    };
    let name = file.to_str().ok_or("a path that is no text")?;
    Cmd::new(Path::new("."), with, &["-dc", name])
        .octets()
        .ok_or_else(|| format!("{with} cannot unpack {name}; `cargo xtask setup` installs it"))
}

/// The `depends=` of a module's `.modinfo`: zero-ended strings, one after the other.
fn depends(octets: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = octets.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = &octets[at + KEY.len()..];
    let end = value.iter().position(|&octet| octet == 0).unwrap_or(value.len());
    let value = String::from_utf8_lossy(&value[..end]).into_owned();
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(depends(b"ELF\0license=GPL\0depends=net_failover,failover\0name=x\0"), ["net_failover", "failover"]);
        assert!(depends(b"ELF\0depends=\0name=failover\0").is_empty());
        assert!(depends(b"ELF").is_empty());
        assert_eq!(depends(b"\0depends=cut"), ["cut"], "an end that is missing is the end of the file");
    }

    #[test]
    fn a_module_comes_after_those_it_needs_and_only_once() {
        let tree = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        fs::create_dir_all(tree.join("net")).unwrap();
        let write = |name: &str, needs: &str| {
            fs::write(tree.join("net").join(name), format!("ELF\0depends={needs}\0")).unwrap();
        };
        write("virtio_net.ko", "net-failover,failover");
        write("net-failover.ko", "failover");
        write("failover.ko", "");
        let names = |wanted: &[&str]| {
            let modules = collect(&tree, wanted).unwrap();
            modules.into_iter().map(|module| module.name).collect::<Vec<_>>()
        };
        let all = names(&["virtio_net", "built_in", "failover"]);
        write("failover.ko", "virtio_net");
        let endless = collect(&tree, &["virtio_net"]);
        fs::remove_dir_all(&tree).unwrap();
        assert_eq!(all, ["failover", "net_failover", "virtio_net"]);
        assert!(endless.unwrap_err().contains("depends on itself"));
    }
}
