//! `pgmx bench receive`: how much the engine receives without a loss.
//!
//! On a cable of its own it is held against bare `AF_XDP` rings, in turns; the generator sends what the receiver has room for. Over an
//! interface it takes what another host's `pgmx bench generate` sends.

use std::fmt::Write;
use std::time::Duration;

use clap::ValueEnum;
use pgmx_bench::generator::Course;
use pgmx_bench::generator::duel::{Outcome, Plan, Who, measure};
use pgmx_bench::generator::listen::{Heard, listen};
use pgmx_bench::generator::take::Taken;
use pgmx_bench::spread::Spread;
use serde_json::{Value, json};

use super::{bits_on_the_wire, cores, packets_per_s, payload};
use crate::common::failure::{Failure, status};
use crate::common::stop::Stop;
use crate::common::{numbers, print};

const EXAMPLES: &str = "\
Examples:
  pgmx bench receive --loopback veth                    on this host alone, beside bare AF_XDP rings
  pgmx bench receive --loopback veth --size 64 --rounds 9 --json
  pgmx bench receive --interface eth0 --seconds 10      what `pgmx bench generate` on another host sends

The generator is a program in the kernel that numbers and sums packets and redirects them (BPF_PROG_RUN with live frames). With
--loopback it needs no search for the rate without loss: before each packet it looks how many were taken, and sends none for which
the receiver's rings have no room. Two processors are kept busy, one on each side. It needs root and Linux 5.18.

Exit status: 0 all well, 1 something failed, 2 the arguments make no sense, 3 packets were lost or --expect was missed, 4 nothing
came.";

/// How long the first packet of another host is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Receives from the in-kernel generator, and says how much.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Make two hosts and a cable between them on this one, and measure there.
    #[arg(long, value_name = "KIND", required_unless_present = "interface", conflicts_with = "interface")]
    loopback: Option<Loopback>,
    /// Receive on this interface what another host generates.
    #[arg(short = 'i', long, value_name = "IFACE")]
    interface: Option<String>,
    /// Octets of payload.
    #[arg(long, value_name = "OCTETS,...", default_value = "64,1400", value_delimiter = ',', value_parser = payload)]
    size: Vec<usize>,
    /// How long a round takes; over an interface, all of it.
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = numbers::seconds)]
    seconds: Duration,
    /// Rounds of each contestant and size.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000), conflicts_with = "interface")]
    rounds: u16,
    /// Packets a second; without it as many as are taken.
    #[arg(long, value_name = "N", value_parser = packets_per_s, conflicts_with = "interface")]
    rate: Option<u32>,
    /// Entries of the receiver's rings.
    #[arg(long, value_name = "ENTRIES", default_value_t = Course::DEFAULT.ring, value_parser = ring)]
    ring: u32,
    /// Packets that may be on their way. [default: half a ring]
    #[arg(long, value_name = "N", conflicts_with = "interface")]
    ahead: Option<u32>,
    /// Packets that the kernel passes on together.
    #[arg(long, value_name = "N", default_value_t = Course::DEFAULT.batch, value_parser = clap::value_parser!(u32).range(1..=256), conflicts_with = "interface")]
    batch: u32,
    /// Fail if the engine takes less than this part of what bare rings take.
    #[arg(long, value_name = "RATIO", conflicts_with = "interface")]
    expect: Option<f64>,
    /// The generator's processor and the receiver's. [default: 0,1]
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with = "interface")]
    core: Vec<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--loopback` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Loopback {
    /// A veth cable between two namespaces, which are gone afterwards
    Veth,
}

fn ring(text: &str) -> Result<u32, String> {
    let entries =
        text.parse().ok().filter(|entries: &u32| entries.is_power_of_two() && (64..=32_768).contains(entries));
    entries.ok_or_else(|| "a power of two from 64 to 32768".into())
}

pub(super) fn run(wanted: &Arguments) -> Result<u8, Failure> {
    let ahead = wanted.ahead.unwrap_or(wanted.ring / 2);
    if ahead == 0 || ahead > wanted.ring {
        return Err(Failure::usage(format_args!("--ahead {ahead}: 1 to {} (the ring)", wanted.ring)));
    }
    let course = Course {
        payload: wanted.size[0],
        ring: wanted.ring,
        ahead,
        batch: wanted.batch,
        packets_per_s: wanted.rate.unwrap_or(0),
        time: wanted.seconds,
    };
    let stop = Stop::install()?;
    if let Some(interface) = &wanted.interface {
        let heard = listen(interface, &course, PATIENCE, || stop.is_asked()).map_err(Failure::error)?;
        return tell_heard(wanted, interface, &heard);
    }
    let (payloads, rounds) = (wanted.size.clone(), wanted.rounds.into());
    let plan = Plan { course, payloads, rounds, cores: cores(&wanted.core)? };
    let outcome = measure(&plan, || stop.is_asked()).map_err(Failure::error)?;
    tell(wanted, &plan, &outcome)
}

fn tell(wanted: &Arguments, plan: &Plan, outcome: &Outcome) -> Result<u8, Failure> {
    let (mut text, mut rows, mut enough) = (String::new(), Vec::new(), true);
    for (who, form) in &outcome.forms {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:>12}: {form}", who.name());
    }
    for &payload in &plan.payloads {
        for who in Who::ALL {
            let rounds = outcome.of(who, payload);
            if !rounds.is_empty() {
                enough &= rounds.iter().all(|taken| taken.lost() == 0);
                line(&mut text, who, payload, &rounds);
                rows.push(row(who, payload, &rounds));
            }
        }
        if let Some(ratio) = outcome.ratio(payload) {
            let is_missed = wanted.expect.is_some_and(|expected| ratio.median < expected);
            enough &= !is_missed;
            let expected = wanted.expect.map(|least| format!(", expected {least:.2}")).unwrap_or_default();
            let verdict = if is_missed { ": TOO LITTLE" } else { "" };
            let Spread { least, median, most } = ratio;
            let _ = writeln!(
                text,
                "{payload:>5} octets: pgmx over bare {median:.3} (from {least:.3} to {most:.3}{expected}){verdict}"
            );
            rows.push(json!({ "payload": payload, "ratio": { "least": least, "median": median, "most": most } }));
        }
    }
    if wanted.json {
        let Course { ring, ahead, batch, packets_per_s, time, .. } = plan.course;
        let course = json!({ "ring": ring, "ahead": ahead, "batch": batch, "packets_per_s": packets_per_s,
            "seconds": time.as_secs_f64(), "rounds": plan.rounds, "cores": plan.cores });
        text = format!("{}\n", json!({ "course": course, "rows": rows }));
    }
    print(text)?;
    Ok(if enough { 0 } else { status::LOST })
}

fn line(text: &mut String, who: Who, payload: usize, rounds: &[Taken]) {
    let spread = |of: fn(&Taken) -> f64| Spread::of(rounds.iter().map(of));
    let Spread { least, median, most } = spread(|taken| taken.per_second);
    let lost: u64 = rounds.iter().map(Taken::lost).sum();
    let sent: u64 = rounds.iter().map(|taken| taken.sent).sum();
    let _ = writeln!(
        text,
        "{payload:>5} octets {:>5}: {median:>9.0} packets/s (from {least:.0} to {most:.0} in {} rounds), {:.2} Gbit/s on a wire, \
         {lost} of {sent} lost, receiver {:.0} ns/packet, generator and kernel {:.0} ns/packet, attention {:.2}",
        who.name(),
        rounds.len(),
        median * bits_on_the_wire(payload) / 1e9,
        spread(|taken| taken.taker_ns).median,
        spread(|taken| taken.feeder_ns).median,
        spread(|taken| taken.attention).median,
    );
}

fn row(who: Who, payload: usize, rounds: &[Taken]) -> Value {
    let spread = |of: fn(&Taken) -> f64| {
        let Spread { least, median, most } = Spread::of(rounds.iter().map(of));
        json!({ "least": least, "median": median, "most": most })
    };
    let per_second = Spread::of(rounds.iter().map(|taken| taken.per_second)).median;
    json!({
        "who": who.name(), "payload": payload, "rounds": rounds.len(),
        "sent": rounds.iter().map(|taken| taken.sent).sum::<u64>(),
        "lost": rounds.iter().map(Taken::lost).sum::<u64>(),
        "packets_per_s": spread(|taken| taken.per_second),
        "gbit_per_s": per_second * bits_on_the_wire(payload) / 1e9,
        "receiver_ns": spread(|taken| taken.taker_ns),
        "generator_ns": spread(|taken| taken.feeder_ns),
        "attention": spread(|taken| taken.attention),
    })
}

fn tell_heard(wanted: &Arguments, interface: &str, heard: &Heard) -> Result<u8, Failure> {
    let &Heard { packets, octets, lost, seconds } = heard;
    if packets == 0 {
        let line = format!(
            "nothing came on {interface} in {} s: is `pgmx bench generate` running on another host of its network?",
            PATIENCE.as_secs()
        );
        return Err(Failure { status: status::TIMEOUT, line });
    }
    let per_second = if seconds > 0.0 { packets as f64 / seconds } else { 0.0 };
    let payload = (octets / packets) as usize;
    let gbit_per_s = per_second * bits_on_the_wire(payload) / 1e9;
    print(if wanted.json {
        let object = json!({ "interface": interface, "packets": packets, "payload": payload, "lost": lost,
            "seconds": seconds, "packets_per_s": per_second, "gbit_per_s": gbit_per_s });
        format!("{object}\n")
    } else {
        format!(
            "{payload:>5} octets  pgmx: {per_second:>9.0} packets/s, {gbit_per_s:.2} Gbit/s on a wire, {lost} of {} lost\n",
            packets + lost
        )
    })?;
    Ok(if lost == 0 { 0 } else { status::LOST })
}
