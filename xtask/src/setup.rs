//! `cargo xtask setup`: what the build and the tests need from the machine, in one list.
//!
//! Idempotent: asks dpkg what is there and installs only what is missing; on a complete machine it touches nothing, the
//! network included. What it says goes to standard error, because some callers have something of their own to print.

use crate::process::Cmd;
use std::io::IsTerminal;
use std::path::Path;

/// What is missing without the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The default features do not build.
    Build,
    /// The demo makes do with loopback, and tests fail.
    Demo,
    /// A test lane is skipped or fails.
    Test,
}

/// One package: its apt name, a command that proves it on other systems (if it has one), and why we want it.
struct Package {
    apt: &'static str,
    command: Option<&'static str>,
    need: Need,
    why: &'static str,
}

const fn package(apt: &'static str, command: Option<&'static str>, need: Need, why: &'static str) -> Package {
    Package { apt, command, need, why }
}

const PACKAGES: [Package; 19] = [
    package("clang", Some("clang"), Need::Build, "compiles the XDP steering program, and xsk-rs' C parts"),
    package("llvm", Some("llvm-strip"), Need::Build, "strips and reads the BPF object"),
    package("libelf-dev", None, Need::Build, "libbpf (under xsk-rs) reads ELF objects"),
    package("zlib1g-dev", None, Need::Build, "libelf's compressed sections"),
    package("pkg-config", Some("pkg-config"), Need::Build, "finds libelf and zlib for libbpf's build"),
    package("m4", Some("m4"), Need::Build, "libxdp's build, under xsk-rs"),
    package("make", Some("make"), Need::Build, "libbpf's and libxdp's build"),
    package("gcc", Some("gcc"), Need::Build, "the linker driver of rustc, and libbpf's compiler"),
    package("iproute2", Some("ip"), Need::Demo, "the demo and privileged tests make namespaces and veth pairs"),
    package("valgrind", Some("valgrind"), Need::Test, "the budget lane counts instructions with callgrind"),
    package("qemu-system-x86", Some("qemu-system-x86_64"), Need::Test, "the vm lane runs tests under other kernels"),
    package("busybox-static", Some("busybox"), Need::Test, "the user space of those machines"),
    package("xz-utils", Some("xz"), Need::Test, "unpacks the modules of their kernels"),
    package("debian-archive-keyring", None, Need::Test, "checks the signatures of their kernels"),
    package("tshark", Some("tshark"), Need::Test, "a second opinion on captured packets"),
    package("libpgm-dev", None, Need::Test, "OpenPGM, to talk to"),
    package("libzmq3-dev", None, Need::Test, "ZeroMQ, to talk to over pgm:// and epgm://"),
    package("libnorm-dev", None, Need::Test, "NORM, to measure beside"),
    package("strace", Some("strace"), Need::Test, "counts the system calls that links make"),
];

/// Cargo subcommands that `ci` calls and that a minimal toolchain lacks.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

fn here(program: &str, args: &[&str]) -> Cmd {
    Cmd::new(Path::new("."), program, args)
}

pub(crate) fn is_root() -> bool {
    here("id", &["-u"]).stdout().is_some_and(|uid| uid.trim() == "0")
}

/// Whether a program answers under this name in the path.
pub(crate) fn has_command(name: &str) -> bool {
    here("sh", &["-c", &format!("command -v {name}")]).succeeds()
}

/// The whole of `cargo xtask setup`.
pub(crate) fn run() -> Result<bool, String> {
    eprintln!("setup: what the build and the tests need from this machine");
    let packages = install(&PACKAGES.iter().collect::<Vec<_>>(), true)?;
    components()?;
    Ok(packages)
}

/// Installs what is missing to build and run the demo; quiet when nothing is.
pub(crate) fn ensure_demo_packages() -> Result<bool, String> {
    install(&PACKAGES.iter().filter(|p| p.need != Need::Test).collect::<Vec<_>>(), false)
}

/// As [`ensure_demo_packages`], with what the test lanes need.
pub(crate) fn ensure_test_packages() -> Result<bool, String> {
    install(&PACKAGES.iter().collect::<Vec<_>>(), false)
}

fn install(wanted: &[&Package], tell: bool) -> Result<bool, String> {
    if !has_command("apt-get") || !has_command("dpkg-query") {
        return without_apt(wanted);
    }
    let mut missing = Vec::new();
    for package in wanted {
        let there = is_installed(package.apt);
        if tell || !there {
            eprintln!("  {:<12} {:<8} {}", package.apt, if there { "there" } else { "MISSING" }, package.why);
        }
        if !there {
            missing.push(package.apt);
        }
    }
    if missing.is_empty() {
        if tell {
            eprintln!("nothing to install");
        }
        return Ok(true);
    }
    run_as_root(&apt_steps(&missing))?;
    match missing.iter().find(|name| !is_installed(name)) {
        None => Ok(true),
        Some(name) => Err(format!("apt-get ended well, yet {name} is not installed; run `dpkg --audit`")),
    }
}

fn is_installed(apt: &str) -> bool {
    here("dpkg-query", &["-W", "-f=${Status}", apt]).stdout().is_some_and(|s| s.trim() == "install ok installed")
}

/// The commands that install `missing`, index first: a fresh image has none.
fn apt_steps(missing: &[&str]) -> [Vec<String>; 2] {
    // Another apt at work (a booting cloud image) is waited for, but not for ever.
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300", "-q"];
    let step = |rest: &[&str]| apt.iter().chain(rest).map(|&w| w.to_owned()).collect::<Vec<_>>();
    [step(&["update"]), step(&[&["install", "-y", "--no-install-recommends"], missing].concat())]
}

/// Runs the steps as root: directly, by sudo, or not at all but with the lines to type.
fn run_as_root(steps: &[Vec<String>]) -> Result<(), String> {
    let sudo: &[&str] = if is_root() {
        &[]
    } else if !has_command("sudo") {
        let lines: Vec<_> = steps.iter().map(|words| words.join(" ")).collect();
        return Err(format!("needs root and there is no sudo; as root run:\n  {}", lines.join("\n  ")));
    } else if std::io::stdin().is_terminal() {
        &["sudo"]
    } else {
        // Without a terminal nobody can type a password: refuse at once instead of waiting for one.
        &["sudo", "-n"]
    };
    for step in steps {
        let words: Vec<&str> = sudo.iter().copied().chain(step.iter().map(String::as_str)).collect();
        let cmd = here(words[0], &words[1..]);
        if !cmd.beside_stdout()? {
            return Err(format!("failed; run it by hand to see why:\n  {cmd}"));
        }
    }
    Ok(())
}

/// On a system without apt the names differ; say what is needed, and refuse only what cannot build.
fn without_apt(wanted: &[&Package]) -> Result<bool, String> {
    eprintln!("this system has no apt: install what follows by its own package manager");
    let mut absent = Vec::new();
    for package in wanted {
        let state = match package.command.map(has_command) {
            Some(true) => "there",
            Some(false) => "MISSING",
            None => "look",
        };
        eprintln!("  {:<12} {state:<8} {}", package.apt, package.why);
        if state == "MISSING" && package.need == Need::Build {
            absent.push(package.apt);
        }
    }
    if absent.is_empty() { Ok(true) } else { Err(format!("cannot build without: {}", absent.join(" "))) }
}

fn components() -> Result<(), String> {
    for (subcommand, component) in COMPONENTS {
        if here("cargo", &[subcommand, "--version"]).succeeds() {
            continue;
        }
        eprintln!("  {component:<12} MISSING  `cargo xtask ci` runs cargo {subcommand}");
        let add = here("rustup", &["component", "add", component]);
        if !has_command("rustup") || !add.foreground()? {
            return Err(format!("cargo {subcommand} is missing; run: {add}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_fetched_before_what_is_missing_is_installed() {
        let [update, install] = apt_steps(&["m4", "tshark"]);
        assert_eq!(update.last().map(String::as_str), Some("update"));
        assert_eq!(install[install.len() - 2..], ["m4", "tshark"]);
        for step in [update, install] {
            assert!(step.contains(&"DEBIAN_FRONTEND=noninteractive".to_owned()), "tshark asks a question otherwise");
        }
    }

    #[test]
    fn no_package_is_listed_twice() {
        for (at, package) in PACKAGES.iter().enumerate() {
            assert!(PACKAGES[..at].iter().all(|p| p.apt != package.apt), "{} stands twice", package.apt);
        }
    }

    #[test]
    fn a_command_that_is_not_there_is_not_found() {
        assert!(has_command("sh"));
        assert!(!has_command("no-such-command-anywhere"));
    }
}
