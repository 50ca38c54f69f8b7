//! `pgmx completions` and `pgmx man`: what shells and `man` want to know of the command line, made from it.
//!
//! Called by `main` alone. Guards: they say what the command says of itself, nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::common::failure::Failure;
use crate::common::print;

const COMPLETIONS: &str = "\
Examples:
  pgmx completions bash > /etc/bash_completion.d/pgmx
  pgmx completions zsh > ~/.zfunc/_pgmx
  pgmx completions fish > ~/.config/fish/completions/pgmx.fish";

const MAN: &str = "\
Examples:
  pgmx man | man -l -                     the page of pgmx
  pgmx man /usr/local/share/man/man1      a page for it, and one for each command";

/// Prints the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Prints the man page, or writes all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = MAN)]
pub(crate) struct Man {
    /// Write the pages of all commands into this directory.
    dir: Option<PathBuf>,
}

/// Runs `pgmx completions`.
pub(crate) fn completions(mut command: clap::Command, wanted: &Completions) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(wanted.shell, &mut command, "pgmx", &mut text);
    end(print(&text), "completions")
}

/// Runs `pgmx man`.
pub(crate) fn man(command: clap::Command, wanted: &Man) -> ExitCode {
    if let Some(dir) = &wanted.dir {
        return match clap_mangen::generate_to(command, dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let line =
                    format!("writing into {}: {error}; name a directory that exists and is yours", dir.display());
                Failure::error(line).exit("man")
            }
        };
    }
    let mut text = Vec::new();
    match clap_mangen::Man::new(command).render(&mut text) {
        Ok(()) => end(print(&text), "man"),
        Err(error) => Failure::error(error).exit("man"),
    }
}

fn end(outcome: Result<(), Failure>, command: &str) -> ExitCode {
    outcome.map_or_else(|failure| failure.exit(command), |()| ExitCode::SUCCESS)
}
