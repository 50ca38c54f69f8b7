//! Compiles the steering program for the kernel's virtual machine. Needs clang, and nothing else.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    for source in ["steer.bpf.c", "maps.h", "packet.h", "bpf.h"] {
        println!("cargo::rerun-if-changed=src/{source}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let Some(out) = env::var_os("OUT_DIR") else { fail("OUT_DIR is not set: run through cargo") };
    let object = PathBuf::from(out).join("steer.bpf.o");
    // -g: the maps are described by debug information (BTF). v3 instructions are in every kernel that AF_XDP is used on here (5.10).
    let status = Command::new(&clang)
        .args([
            "-target",
            "bpf",
            "-mcpu=v3",
            "-g",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-error=pass-failed",
            "-c",
            "src/steer.bpf.c",
            "-o",
        ])
        .arg(&object)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail("clang could not compile src/steer.bpf.c"),
        Err(error) => fail(&format!(
            "clang is needed to build the XDP steering program and `{clang}` does not run ({error}): run `cargo xtask setup`, or build without the feature `xdp`"
        )),
    }
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}
