//! `pgmx`: the command.
//!
//! Each subcommand is a file or a folder of its own; here is only what they share. Guards: exit status 2 says that the arguments make no
//! sense, and nothing was done then.

mod demo;
mod doctor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Reliable multicast after RFC 3208 (PGM), past the kernel where it can.
#[derive(Debug, Parser)]
#[command(name = "pgmx", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pgmx demo                     see it repair what a bad network loses, without rights or network
  pgmx demo --loss 30 --json    a worse network, and the result for a program to read
  pgmx doctor                   which link each interface of this host would get, and why
  pgmx doctor eth0              everything about one of them, and the commands that make it better

`pgmx COMMAND --help` says more about a command.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Doctor(doctor::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Doctor(arguments) => doctor::main(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
