//! `pgmx doctor`: what this host and its interfaces can do, what could be better, what blocks, and which link `auto` would take.
//!
//! ```text
//!   host ──┐
//!          ├── check (a line) ── print (a table) or JSON
//!   card ──┘         │
//!     └── drivers    └── verdict
//! ```
//!
//! It changes nothing and needs no right: nothing is attached, opened or tried, all is read. Guards: what cannot be seen from here, in
//! a container or without rights, is said to be so.

mod card;
mod check;
mod drivers;
mod host;
mod print;
mod verdict;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use pgmx::link::survey::{Survey, interfaces};
use serde::Serialize;

use crate::common;
use crate::common::failure::Failure;
use check::Check;
use verdict::Verdict;

/// Octets of a file that are read at the most: lists of groups may be long, and are counted only.
const FILE_MAX: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  pgmx doctor                  this host, and which link each interface that is up would get
  pgmx doctor eth0             everything about eth0, by name, number or address
  pgmx doctor eth0 --json      the same for programs: keys stay as they are

How to read it:
  ok        as it should be
  better    it works; `do:` is the command that makes it work better
  BLOCKS    something does not work; `do:` mends it, `until then:` works as it is
  ?         it cannot be seen from here

Exit status: 0 the report was printed, 1 there is no such interface, 2 the arguments make no sense.";

/// What this host and its network cards can do for multicast, and the commands that make it better.
///
/// Changes nothing and works without root; with root it sees more.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The interface: its name, number or address. Without it: a summary of all that are up.
    interface: Option<String>,
    /// Prints one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

/// Everything that was seen. The JSON form has these keys, which stay.
#[derive(Debug, Serialize)]
struct Report {
    host: Vec<Check>,
    interfaces: Vec<Interface>,
}

#[derive(Debug, Serialize)]
struct Interface {
    name: String,
    checks: Vec<Check>,
    verdicts: [Verdict; 2],
}

/// Runs the command.
pub(crate) fn main(wanted: &Arguments) -> ExitCode {
    match examine(wanted.interface.as_deref()).map_err(Failure::error).and_then(|report| tell(&report, wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit("doctor"),
    }
}

fn tell(report: &Report, wanted: &Arguments) -> Result<(), Failure> {
    if wanted.json {
        let json = serde_json::to_string(report).map_err(Failure::error)?;
        return common::print(json + "\n");
    }
    common::print(print::table(report, wanted.interface.is_some()))
}

fn examine(wanted: Option<&str>) -> Result<Report, String> {
    let surveys = if let Some(wanted) = wanted {
        vec![Survey::of(wanted).map_err(|error| error.to_string())?]
    } else {
        let names = interfaces().map_err(|error| format!("listing the interfaces failed: {error}"))?;
        // One that went away meanwhile is none that is up.
        names.iter().filter_map(|name| Survey::of(name).ok()).filter(|survey| survey.up).collect()
    };
    let (facts, host) = host::look();
    let interfaces = surveys.iter().map(|survey| {
        let (card, checks) = card::look(survey, &facts);
        Interface { verdicts: verdict::of(&facts, &card), checks, name: card.name }
    });
    Ok(Report { host, interfaces: interfaces.collect() })
}

/// The text of a file of `/proc` or `/sys`; what is not UTF-8 in it is replaced.
fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut octets = Vec::new();
    File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets).into_owned())
}
