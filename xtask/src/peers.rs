//! `cargo xtask peers`: builds what others speak, from `bench/peers`: a program for each library, and an XDP program for each loss.
//!
//! Called by whatever runs pgmx beside its peers. Guards: what cannot be built is named, with the package that is missing, and never
//! silently left out; what is newer than its sources is left alone.

use crate::process::Cmd;
use crate::setup;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where they lie, from the root.
pub(crate) const OUT: &str = "target/peers";
const SOURCES: &str = "bench/peers";
const HEADERS: [&str; 2] = ["bench/peers/common.h", "bench/peers/openpgm.h"];
/// The steering program's formats of packets, which the lossy program reads too.
const FORMATS: &str = "ebpf/src";
/// What every program is made of beside its own file.
const SHARED: [&str; 4] = ["process.c", "options.c", "report.c", "messages.c"];
/// Packets of 10,000 that are dropped: 0.1, 1 and 5 %.
const LOSSES: [u32; 3] = [10, 100, 500];
const LIMIT: Duration = Duration::from_secs(60);

/// A program over a library: its name, its own files, what pkg-config calls the library, and the package that has it.
struct Program {
    name: &'static str,
    own: &'static [&'static str],
    library: &'static str,
    package: &'static str,
}

const PROGRAMS: [Program; 3] = [
    Program { name: "openpgm", own: &["openpgm.c", "openpgm_socket.c"], library: "openpgm-5.3", package: "libpgm-dev" },
    Program { name: "zeromq", own: &["zeromq.c"], library: "libzmq", package: "libzmq3-dev" },
    Program { name: "norm", own: &["norm.c"], library: "norm", package: "libnorm-dev" },
];

/// What came of building.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// What lies in [`OUT`] now.
    pub(crate) there: Vec<PathBuf>,
    /// What does not, each with what it lacks.
    pub(crate) missing: Vec<String>,
}

/// The whole of `cargo xtask peers`.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let built = build(root)?;
    for path in &built.there {
        println!("  {}", path.strip_prefix(root).unwrap_or(path).display());
    }
    for missing in &built.missing {
        println!("  MISSING {missing}");
    }
    Ok(built.missing.is_empty())
}

/// Builds what can be built. An error is one of ours: a source that does not compile.
pub(crate) fn build(root: &Path) -> Result<Built, String> {
    let out = root.join(OUT);
    fs::create_dir_all(&out).map_err(|e| format!("{} cannot be made: {e}", out.display()))?;
    let mut built = Built::default();
    for program in &PROGRAMS {
        let target = out.join(program.name);
        if let Some(what) = lacks(root, program) {
            built.missing.push(format!("{}: {what}", program.name));
        } else {
            compile_program(root, program, &target)?;
            built.there.push(target);
        }
    }
    for loss in LOSSES {
        let target = out.join(format!("lossy-{loss}.o"));
        if setup::has_command("clang") {
            compile_loss(root, loss, &target)?;
            built.there.push(target);
        } else {
            built.missing.push(format!("lossy-{loss}.o: install clang (`cargo xtask setup` does)"));
        }
    }
    Ok(built)
}

/// What a program cannot be built without.
fn lacks(root: &Path, program: &Program) -> Option<String> {
    if let Some(tool) = ["cc", "pkg-config"].into_iter().find(|tool| !setup::has_command(tool)) {
        return Some(format!("there is no {tool} (`cargo xtask setup` installs one)"));
    }
    let is_there = Cmd::new(root, "pkg-config", &["--exists", program.library]).succeeds();
    (!is_there).then(|| format!("install {} (`cargo xtask setup` does)", program.package))
}

fn compile_program(root: &Path, program: &Program, target: &Path) -> Result<(), String> {
    let sources: Vec<String> =
        program.own.iter().copied().chain(SHARED).map(|source| format!("{SOURCES}/{source}")).collect();
    if is_newer(root, target, sources.iter().map(String::as_str).chain(HEADERS)) {
        return Ok(());
    }
    let ask = |what| Cmd::new(root, "pkg-config", &[what, program.library]).stdout().unwrap_or_default();
    let cmd = Cmd::new(root, "cc", &["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Wshadow", "-Werror"])
        .args(sources)
        .args(as_system(&ask("--cflags")))
        .args(["-o".into(), target.display().to_string()])
        .args(words(&ask("--libs")))
        .arg("-lpthread");
    compile(&cmd)
}

fn compile_loss(root: &Path, loss: u32, target: &Path) -> Result<(), String> {
    let source = format!("{SOURCES}/lossy.bpf.c");
    let formats = ["bpf.h", "packet.h"].map(|name| format!("{FORMATS}/{name}"));
    if is_newer(root, target, formats.iter().chain([&source]).map(String::as_str)) {
        return Ok(());
    }
    // -g: iproute2's loader wants type information. v3 instructions are in every kernel that AF_XDP is used on here (5.10).
    let cmd = Cmd::new(root, "clang", &["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(["-I".into(), FORMATS.into(), format!("-DDROPPED_OF_10000={loss}"), "-c".into(), source])
        .args(["-o".into(), target.display().to_string()]);
    compile(&cmd)
}

fn compile(cmd: &Cmd) -> Result<(), String> {
    let ended = cmd.bounded(LIMIT, crate::process::Output::Show)?;
    ended.verdict().map_err(|why| format!("{cmd}: {why}"))
}

/// Whether `target` was made behind the last change of all these.
fn is_newer<'s>(root: &Path, target: &Path, sources: impl IntoIterator<Item = &'s str>) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let Some(made) = changed(target) else { return false };
    sources.into_iter().all(|source| changed(&root.join(source)).is_some_and(|at: SystemTime| at <= made))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The library's headers are not ours: their warnings do not stop us.
fn as_system(flags: &str) -> Vec<String> {
    words(flags)
        .into_iter()
        .flat_map(|flag| match flag.strip_prefix("-I") {
            Some(dir) => vec!["-isystem".into(), dir.to_owned()],
            None => vec![flag],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_libraries_are_system_headers() {
        assert_eq!(as_system("-I/usr/include/x -DY\n"), ["-isystem", "/usr/include/x", "-DY"]);
    }

    #[test]
    fn what_is_older_than_a_source_is_made_again() {
        let dir = std::env::temp_dir().join(format!("xtask-peers-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = |name: &str, seconds: u64| {
            let file = fs::File::create(dir.join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        file("made", 20);
        file("before", 10);
        file("behind", 30);
        let made = dir.join("made");
        let verdicts = [
            is_newer(&dir, &made, ["before"]),
            is_newer(&dir, &made, ["before", "behind"]),
            is_newer(&dir, &made, ["no-such-source"]),
            is_newer(&dir, &dir.join("no-such-target"), ["before"]),
        ];
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(verdicts, [true, false, false, false]);
    }
}
