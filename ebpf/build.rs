//! Compiles our programs for the kernel's virtual machine. Needs clang, and nothing else.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The programs: what steers frames to us, and what makes frames to measure with.
const PROGRAMS: [&str; 2] = ["steer", "generate"];

fn main() {
    for header in ["maps.h", "packet.h", "bpf.h"] {
        println!("cargo::rerun-if-changed=src/{header}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let Some(out) = env::var_os("OUT_DIR") else { fail("OUT_DIR is not set: run through cargo") };
    for program in PROGRAMS {
        compile(&clang, program, &PathBuf::from(&out));
    }
}

fn compile(clang: &str, program: &str, out: &Path) {
    let source = format!("src/{program}.bpf.c");
    println!("cargo::rerun-if-changed={source}");
    // -g: the maps are described by debug information (BTF). v3 instructions are in every kernel that AF_XDP is used on here (5.10).
    let status = Command::new(clang)
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
            &source,
            "-o",
        ])
        .arg(out.join(format!("{program}.bpf.o")))
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail(&format!("clang could not compile {source}")),
        Err(error) => fail(&format!(
            "clang is needed to build the XDP programs and `{clang}` does not run ({error}): run `cargo xtask setup`, or build without the feature `xdp`"
        )),
    }
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}
