//! `cargo xtask demo`: from a fresh checkout to the demo's table, with nothing typed in between.
//!
//! ```text
//!   packages (apt) ── there, or installed ──> build with AF_XDP ──────> as root ──────> four hosts behind a bridge
//!                └─── cannot be had ────────> build without C ─┐  └─ not root, no sudo ─> udp on loopback
//!                                                              └─────────────────────────┘
//! ```
//!
//! Guards: it asks nothing and never waits for an answer that nobody can give; what is missing makes the demo smaller, with the reason,
//! and not fail; standard output holds what the demo says, so that `--json` can be piped.

use crate::process::{Cmd, cargo};
use crate::setup;
use std::io::IsTerminal;
use std::path::Path;

/// What the demo may be started as.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    /// Directly: we are root, or root cannot be had.
    Plain,
    /// Through these words.
    Sudo(&'static [&'static str]),
}

/// Builds and plays it. Comes back only if it could not be started: the demo takes the place of this process, so that Ctrl-C is its own.
pub(crate) fn run(root: &Path, words: Vec<String>) -> Result<bool, String> {
    let has_packages = match setup::ensure_demo_packages() {
        Ok(ready) => ready,
        Err(why) => {
            eprintln!("setup is not complete ({why}); the demo does without AF_XDP");
            false
        }
    };
    let build = |features: &[&str]| {
        let build = cargo(root, &[&["build", "--release", "-p", "pgmx-tools"], features].concat());
        build.beside_stdout()
    };
    // Only AF_XDP needs a C toolchain: a machine that has none still gets its demo.
    let is_built = (has_packages && build(&[])?) || build(&["--no-default-features"])?;
    if !is_built {
        return Err("the build failed; what it said stands above".into());
    }
    let pgmx = beside_us("release/pgmx")?;
    let is_help = words.iter().any(|word| word == "--help" || word == "-h");
    let start = if is_help || setup::is_root() {
        Start::Plain
    } else {
        way_to_root(setup::has_command("sudo"), may_sudo(), std::io::stdin().is_terminal())
    };
    let demo = match start {
        Start::Plain => Cmd::new(root, &pgmx, &["demo"]),
        Start::Sudo(sudo) => Cmd::new(root, sudo[0], &sudo[1..]).arg(pgmx).arg("demo"),
    };
    Err(demo.args(words).become_it())
}

/// Whether sudo works without a question.
fn may_sudo() -> bool {
    Cmd::new(Path::new("."), "sudo", &["-n", "true"]).succeeds()
}

fn way_to_root(has_sudo: bool, may_sudo: bool, is_terminal: bool) -> Start {
    match (has_sudo, may_sudo, is_terminal) {
        (true, true, _) => Start::Sudo(&["sudo", "-n"]),
        // Somebody is there to type a password.
        (true, false, true) => Start::Sudo(&["sudo"]),
        _ => Start::Plain,
    }
}

/// What the same cargo has built: we lie in the directory of another profile of the same target.
fn beside_us(path: &str) -> Result<String, String> {
    let us = std::env::current_exe().map_err(|error| format!("where xtask lies: {error}"))?;
    let target = us.parent().and_then(Path::parent).ok_or("xtask lies in no target directory")?;
    let path = target.join(path);
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_for_a_password_who_cannot_type_one() {
        assert_eq!(way_to_root(true, true, false), Start::Sudo(&["sudo", "-n"]));
        assert_eq!(way_to_root(true, false, true), Start::Sudo(&["sudo"]));
        for (has_sudo, is_terminal) in [(true, false), (false, true), (false, false)] {
            assert_eq!(way_to_root(has_sudo, false, is_terminal), Start::Plain);
        }
    }
}
