//! `cargo xtask sanitize`: the tests of every module with `unsafe`, under AddressSanitizer, which needs a nightly compiler.
//!
//! Installs nothing by itself. The build has a directory of its own, because every crate is compiled with the sanitizer. As root, and
//! where there is time (`--long`, or asked for by name), the links are held to their suite over veth cables, too: that is where kernel
//! and engine write into the same memory.

use crate::args::Args;
use crate::fuzz::nightly;
use crate::lanes::{Outcome, Run};
use crate::process::Cmd;
use crate::setup;
use std::path::Path;
use std::time::Duration;

/// Modules of the engine that have `unsafe` in them, as filters for its unit tests.
const MODULES: [&str; 4] = ["frame::", "sync::", "link::", "wire::checksum::"];
/// A cold build and all tests, on two cores that others use, too; for each of the three steps.
const LIMIT: Duration = Duration::from_secs(900);

/// `cargo xtask sanitize`.
pub(crate) fn run(root: &Path, args: Args) -> Result<bool, String> {
    args.finish()?;
    let mut run = Run::default();
    run.lane("sanitize", || lane(root, true));
    Ok(run.finish())
}

/// All steps, up to the first that fails.
pub(crate) fn lane(root: &Path, long: bool) -> Outcome {
    let Some(version) = nightly_rustc(root).stdout() else {
        return Outcome::Skipped(
            "no nightly compiler; to install it: rustup toolchain install nightly --profile minimal".into(),
        );
    };
    let Some(host) = host(&version) else {
        return Outcome::Failed("`rustc +nightly -vV` does not say what the host is".into());
    };
    let mut steps = vec![
        test(root, host, &["--lib"]).arg("--").args(MODULES.map(String::from)),
        test(root, host, &["--test", "link_suite"]),
    ];
    let is_root = setup::is_root() && Cmd::new(root, "unshare", &["--net", "true"]).succeeds();
    let mut note = if long {
        "without privileged_links, which needs root"
    } else {
        "without privileged_links, which takes minutes (`--long`)"
    };
    if long && is_root {
        let cables = test(root, host, &["--test", "privileged_links"]);
        let mut cables = cables.args(["--", "--ignored", "--test-threads=1"].map(String::from));
        note = "";
        if !setup::has_command("llvm-symbolizer") {
            // Without names of functions nothing can be suppressed by them.
            cables = cables.args(["--skip", "xdp"].map(String::from));
            note = "without xdp over cables, for want of llvm-symbolizer";
        }
        steps.push(cables);
    }
    for step in steps {
        match Outcome::of(&step, LIMIT) {
            Outcome::Passed(_) => {}
            other => return other,
        }
    }
    Outcome::Passed(note.into())
}

fn nightly_rustc(root: &Path) -> Cmd {
    Cmd::new(root, "rustc", &["+nightly", "-vV"]).env_remove("RUSTUP_TOOLCHAIN")
}

/// The target that the sanitizer is built for: named to cargo, so that build scripts and macros are left without it.
fn host(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

fn test(root: &Path, host: &str, what: &[&str]) -> Cmd {
    nightly(root, &["test", "-p", "pgmx", "--target", host, "--target-dir", "target/sanitize"])
        .args(what.iter().map(|&word| word.to_owned()))
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // What libraries below us do wrong, each with its reason.
        .env("ASAN_OPTIONS", format!("suppressions={}", root.join("xtask/asan/suppressions.txt").display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_the_compiler_says() {
        let said = "rustc 1.97.0-nightly\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\n";
        assert_eq!(host(said), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(host("rustc 1.97.0-nightly\n"), None);
    }

    #[test]
    fn every_module_with_unsafe_code_is_tested() {
        let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
        let mut unseen = Vec::new();
        let mut dirs = vec![engine.clone()];
        while let Some(dir) = dirs.pop() {
            for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let place = path.strip_prefix(&engine).map(|path| path.to_string_lossy().replace('/', "::"));
                let place = place.unwrap_or_default();
                if text.contains("unsafe {") && !MODULES.iter().any(|module| place.starts_with(module)) {
                    unseen.push(place);
                }
            }
        }
        assert!(unseen.is_empty(), "unsafe, but not sanitized: {unseen:?}");
    }
}
