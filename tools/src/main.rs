//! `pgmx`: the command.
//!
//! Each subcommand is a file or a folder of its own; `common` is what those that open an endpoint share. Guards: exit status 2 says that
//! the arguments make no sense, in one line, and nothing was done then.

#[cfg(feature = "xdp")]
mod bench;
mod common;
mod demo;
mod doctor;
mod pages;
mod ping;
mod pong;
mod recv;
mod send;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use common::failure::Failure;

/// Reliable multicast after RFC 3208 (PGM), past the kernel where it can.
#[derive(Debug, Parser)]
#[command(name = "pgmx", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pgmx demo                                   see it repair what a bad network loses
  pgmx recv 'pgm://eth0;239.192.0.1:7500'     print what a group hears, a line a message
  pgmx send 'pgm://eth0;239.192.0.1:7500'     publish what you type to it
  pgmx doctor                                 which link each interface of this host would get, and why
  pgmx doctor eth0                            all about one of them, and what makes it better

`pgmx COMMAND --help` says more about a command.";

#[derive(Debug, Subcommand)]
enum Command {
    Send(send::Arguments),
    Recv(recv::Arguments),
    Ping(ping::Arguments),
    Pong(pong::Arguments),
    Demo(demo::Arguments),
    Doctor(doctor::Arguments),
    #[cfg(feature = "xdp")]
    Bench(bench::Arguments),
    Completions(pages::Completions),
    Man(pages::Man),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return refuse(&error),
    };
    match command {
        Command::Send(arguments) => send::main(&arguments),
        Command::Recv(arguments) => recv::main(&arguments),
        Command::Ping(arguments) => ping::main(arguments),
        Command::Pong(arguments) => pong::main(arguments),
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Doctor(arguments) => doctor::main(&arguments),
        #[cfg(feature = "xdp")]
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Completions(wanted) => pages::completions(Cli::command(), &wanted),
        Command::Man(wanted) => pages::man(Cli::command(), &wanted),
    }
}

/// Help is printed as it is; what is wrong with the arguments becomes one line.
fn refuse(error: &clap::Error) -> ExitCode {
    let is_help = !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help {
        error.exit();
    }
    let text = error.to_string();
    // What follows the first paragraph is usage, which `--help` tells better; a tip is worth its place.
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let what = paragraphs.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let tip = paragraphs.find(|paragraph| paragraph.starts_with("tip: ")).map(|tip| format!(" ({tip})"));
    let command = std::env::args().nth(1).filter(|word| Cli::command().find_subcommand(word).is_some());
    let command = command.unwrap_or_default();
    let space = if command.is_empty() { "" } else { " " };
    let line = format!("{what}{}; `pgmx {command}{space}--help` says more", tip.unwrap_or_default());
    Failure::usage(line).exit(&command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
