//! `pgmx`: the command.

mod demo;

use std::process::ExitCode;

const HELP: &str = "\
pgmx: reliable multicast after RFC 3208

usage: pgmx COMMAND [ARGUMENTS]

commands:
  demo     a publisher and three receivers inside this process, over a network that loses packets
  help     this text

`pgmx COMMAND --help` says more about a command.";

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    let command = given.next();
    let rest: Vec<String> = given.collect();
    match command.as_deref() {
        Some("demo") => demo::main(&rest),
        None | Some("help" | "-h" | "--help") => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("unknown command {other}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
