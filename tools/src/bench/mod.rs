//! `pgmx bench`: what this host and its cards can take and give, measured.
//!
//! ```text
//!   receive    from the in-kernel generator: on a cable of its own beside bare AF_XDP rings, or from another host
//!   generate   the generator, towards another host
//! ```
//!
//! The rigs are those of the project's own benchmarks. Guards: nothing is measured that would say nothing (too few processors, no rights):
//! it is refused, with what is missing.

mod generate;
mod receive;

use std::process::ExitCode;

use clap::Subcommand;

use crate::common::failure::Failure;
use crate::common::idle;

/// Measures what this host can receive, with packets made in the kernel.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Receive(receive::Arguments),
    Generate(generate::Arguments),
}

/// Runs the command.
pub(crate) fn main(wanted: &Arguments) -> ExitCode {
    let (outcome, name) = match &wanted.what {
        What::Receive(wanted) => (receive::run(wanted), "bench receive"),
        What::Generate(wanted) => (generate::run(wanted), "bench generate"),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.exit(name),
    }
}

/// Two processors that exist.
fn cores(named: &[usize]) -> Result<[usize; 2], Failure> {
    let cores = match *named {
        [] => [0, 1],
        [one, other] if one != other => [one, other],
        _ => return Err(Failure::usage("--core: two processors, the generator's and the receiver's, as in 0,1")),
    };
    cores.iter().try_for_each(|core| idle::check(*core))?;
    Ok(cores)
}

/// Octets of payload that one frame holds.
fn payload(text: &str) -> Result<usize, String> {
    let most = pgmx_bench::generator::frame::PAYLOAD_MAX;
    let octets = text.parse().ok().filter(|octets| (1..=most).contains(octets));
    octets.ok_or_else(|| format!("octets of payload that one packet holds, 1 to {most}"))
}

/// Packets a second, 1 at least, 100 million at most.
fn packets_per_s(text: &str) -> Result<u32, String> {
    let number = crate::common::numbers::count(text)?;
    u32::try_from(number).ok().filter(|number| *number <= 100_000_000).ok_or_else(|| "at most 100M".into())
}

/// What a frame with such a payload takes of the wire, in bits.
fn bits_on_the_wire(payload: usize) -> f64 {
    use pgmx_bench::generator::frame::{AROUND, HEADERS};
    (8 * (payload + HEADERS + AROUND)) as f64
}
