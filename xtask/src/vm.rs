//! `cargo xtask vm`: the privileged tests under other kernels, in virtual machines.
//!
//! ```text
//!   fetch    a kernel out of the archive            modules   what of it has to be loaded
//!   image    the file tree it boots into            parts     what runs there
//!   machine  boots it and lets init run the parts   report    what came of it
//! ```
//!
//! No card of most machines moves frames without a copy, but a virtual one does, and other kernels than the host's run without asking the
//! host for anything. Needs qemu and busybox (`cargo xtask setup`), an archive of Debian kernels within reach or in the cache, and no root.
//! Guards: what cannot run here is named with its reason, never passed over; nothing outlives the run but the cache in `target/vm`.

mod fetch;
mod image;
mod machine;
mod modules;
mod parts;
mod report;

use crate::args::Args;
use crate::lanes::Outcome;
use crate::process::{Cmd, Output, cargo};
use crate::setup::has_command;
use crate::test::FEATURES;
use fetch::Wanted;
use parts::{PARTS, Part};
use report::Row;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A cold build on two cores, as for the privileged lane, whose build this is.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// Series with a meaning of their own: the oldest that is supported here, the last that has no zero-copy for virtio, one that has it.
const ALL: [&str; 3] = ["6.1", "6.12", "7.2"];

/// Why a kernel was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hitch {
    /// Something that this host lacks, or cannot reach.
    Absent(String),
    /// Something that should have worked.
    Broken(String),
}

impl fmt::Display for Hitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Absent(why) | Self::Broken(why)) = self;
        f.write_str(why)
    }
}

/// `cargo xtask vm [--kernel 6.1|6.12|7.2|newest|all]... [--part NAME]...`.
pub(crate) fn run(root: &Path, mut args: Args) -> Result<bool, String> {
    let named = args.values("--kernel")?;
    let parts = parts::named(&args.values("--part")?)?;
    args.finish()?;
    let rows = run_all(root, &wanted(&named)?, &parts);
    print!("\n{}", report::table(&rows));
    let faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    for fault in &faults {
        println!("FAILED {fault}");
    }
    Ok(faults.is_empty())
}

/// The newest kernel, for a lane of `cargo xtask test`.
pub(crate) fn lane(root: &Path) -> Outcome {
    let rows = run_all(root, &[Wanted::Newest], &in_lane());
    print!("\n{}", report::table(&rows));
    outcome(&rows)
}

fn in_lane() -> Vec<&'static Part> {
    PARTS.iter().filter(|part| part.in_lane).collect()
}

fn outcome(rows: &[Row]) -> Outcome {
    let faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
    if !faults.is_empty() {
        return Outcome::Failed(faults.join("; "));
    }
    let names: Vec<&str> = in_lane().iter().map(|part| part.name).collect();
    match rows {
        [Row::Skipped { reason, .. }] => Outcome::Skipped(format!("{reason}: {}", names.join(", "))),
        [Row::Ran { release, guest, .. }] => {
            Outcome::Passed(format!("{release}: {}", guest.mode.as_deref().unwrap_or_default()))
        }
        _ => Outcome::Passed(String::new()),
    }
}

fn wanted(named: &[String]) -> Result<Vec<Wanted>, String> {
    let mut wanted = Vec::new();
    for name in named {
        match name.as_str() {
            "newest" => wanted.push(Wanted::Newest),
            "all" => wanted.extend(ALL.map(|series| Wanted::Series(series.into()))),
            series if fetch::Version::parse(series).is_some() => wanted.push(Wanted::Series(series.into())),
            other => return Err(format!("--kernel {other}: a series such as {}, `newest` or `all`", ALL.join(", "))),
        }
    }
    if wanted.is_empty() {
        wanted.push(Wanted::Newest);
    }
    Ok(wanted)
}

fn run_all(root: &Path, wanted: &[Wanted], parts: &[&'static Part]) -> Vec<Row> {
    let skip = |wanted: &Wanted, reason: &str| Row::Skipped { wanted: wanted.name().into(), reason: reason.into() };
    for part in parts {
        println!("  {:<12} {}", part.name, part.what);
    }
    if let Some(reason) = lacking() {
        return wanted.iter().map(|wanted| skip(wanted, &reason)).collect();
    }
    let vm = root.join("target/vm");
    // Kernels first: where there is none, nothing has to be built.
    let kernels: Vec<_> = wanted.iter().map(|wanted| (wanted, fetch::kernel(&vm, wanted))).collect();
    let tests = if kernels.iter().any(|(_, kernel)| kernel.is_ok()) { build(root, &vm) } else { Ok(BTreeMap::new()) };
    let mut rows = Vec::new();
    for (wanted, kernel) in kernels {
        let failed = |reason: String| Row::Failed { wanted: wanted.name().into(), reason };
        rows.push(match (kernel, &tests) {
            (Err(Hitch::Absent(reason)), _) => skip(wanted, &reason),
            (Err(Hitch::Broken(reason)), _) => failed(reason),
            (Ok(_), Err(reason)) => failed(reason.clone()),
            (Ok(kernel), Ok(tests)) => match machine::run(&vm, &kernel, parts, tests) {
                Ok(guest) => Row::Ran {
                    release: kernel.release,
                    wants_zero_copy: kernel.version.has_zero_copy(),
                    parts: parts.to_vec(),
                    guest,
                },
                Err(reason) => failed(reason),
            },
        });
    }
    rows
}

/// What this host lacks for any machine, if anything.
fn lacking() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some(format!("this host's programs are for {}, the machine's for x86_64", std::env::consts::ARCH));
    }
    let needed = ["qemu-system-x86_64", "busybox", "ip", "xz", "ldd"];
    let absent: Vec<&str> = needed.into_iter().filter(|name| !has_command(name)).collect();
    (!absent.is_empty()).then(|| format!("without {} (`cargo xtask setup`)", absent.join(", ")))
}

/// Builds the privileged tests as their own lane does, and strips copies of those that the parts name.
fn build(root: &Path, vm: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let words = ["test", "--no-run", "--workspace", "--test", "privileged_*", "--message-format=json"];
    let built = cargo(root, &words).args(FEATURES.map(String::from)).bounded(BUILD_LIMIT, Output::Keep)?;
    built.verdict().map_err(|why| format!("the privileged tests do not build ({why})"))?;
    let directory = vm.join("tests");
    fs::create_dir_all(&directory).map_err(|why| format!("{}: {why}", directory.display()))?;
    let mut tests = BTreeMap::new();
    for (name, path) in executables(&built.stdout) {
        if !PARTS.iter().any(|part| part.binary == name) {
            continue;
        }
        // Symbols are nine tenths of a test binary, and the guest has to unpack them into its memory.
        let small = directory.join(&name);
        let words = ["-o", &small.to_string_lossy(), &path];
        let stripped = ["strip", "llvm-strip"].iter().any(|strip| Cmd::new(root, strip, &words).succeeds());
        tests.insert(name, if stripped { small } else { PathBuf::from(path) });
    }
    Ok(tests)
}

/// Name and path of every executable in cargo's messages.
fn executables(messages: &str) -> Vec<(String, String)> {
    let paths = messages.lines().filter_map(|line| {
        let (_, rest) = line.split_once(r#""executable":""#)?;
        rest.split_once('"').map(|(path, _)| path)
    });
    paths
        .filter_map(|path| {
            // cargo puts a hash behind the name.
            let (name, _) = Path::new(path).file_name()?.to_str()?.rsplit_once('-')?;
            Some((name.to_owned(), path.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_by_series_or_all_at_once() {
        let names = |words: &[&str]| {
            let wanted = wanted(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())?;
            Ok::<_, String>(wanted.iter().map(|wanted| wanted.name().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["newest"]);
        assert_eq!(names(&["all"]).unwrap(), ALL);
        assert_eq!(names(&["7.3", "newest"]).unwrap(), ["7.3", "newest"]);
        assert!(names(&["bookworm"]).unwrap_err().contains("6.12"));
    }

    #[test]
    fn test_binaries_are_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null,"fresh":true}
{"reason":"compiler-artifact","target":{"name":"privileged_xdp"},"executable":"/t/deps/privileged_xdp-f19d1e4ae29f6751","fresh":true}
{"reason":"build-finished","success":true}
"#;
        let path = "/t/deps/privileged_xdp-f19d1e4ae29f6751".to_owned();
        assert_eq!(executables(messages), [("privileged_xdp".to_owned(), path)]);
    }

    #[test]
    fn a_lane_that_could_not_run_names_its_parts_and_why() {
        let rows = [Row::Skipped { wanted: "newest".into(), reason: "without qemu".into() }];
        let Outcome::Skipped(told) = outcome(&rows) else { panic!("not skipped") };
        assert!(told.starts_with("without qemu: ") && in_lane().iter().all(|part| told.contains(part.name)), "{told}");
        let rows = [Row::Failed { wanted: "newest".into(), reason: "no vmlinuz".into() }];
        assert_eq!(outcome(&rows), Outcome::Failed("newest: no vmlinuz".into()));
    }
}
