//! `pgmx demo`: one publisher and three subscribers on four hosts of their own, a network that loses packets, and a table that says what
//! came of it.
//!
//! ```text
//!   hosts     network namespaces behind a bridge, or loopback for who may not make them
//!   cast      the children: `pgmx send` and `pgmx recv`, and what they say
//!   play      who begins when, and when it is over
//!   view      the table while it goes on
//!   outcome   the table at the end, and the object for programs
//! ```
//!
//! Called by `main`, and by people through `cargo xtask demo`. Guards: nothing is left behind, however it ends; success is said only
//! when every message came.

mod cast;
mod hosts;
mod outcome;
mod play;
mod view;

use std::fmt::Write as _;
use std::process::ExitCode;

use pgmx::link::faults::FaultPlan;
use serde_json::json;

use crate::common::failure::{Failure, status};
use crate::common::report::grouped;
use crate::common::stop::Stop;
use crate::common::{numbers, print, say};

use hosts::Network;
use outcome::Part;
use play::{INTERFACES, Played, Scene, play};
use view::View;

const EXAMPLES: &str = "\
Examples:
  pgmx demo                              ten seconds, one of three subscribers loses 1 %
  pgmx demo --loss 20 --seconds 5        a worse network
  pgmx demo --io raw --json              over raw sockets, and the result for a program to read

As root it makes four network namespaces behind a bridge, one for each process, and takes the best link (AF_XDP). Without
root, all four processes talk over UDP on loopback. Nothing is left behind, however it ends.

What the lines mean:
  messages    published, or delivered to the application: in order, each once, each checked octet by octet
  repaired    messages that came only after a subscriber had asked for them; of the publisher: repairs that it sent
  lost        messages that should have come and did not: 0, or something is wrong
  latency     from publishing to delivery; the four processes share the cores of this machine with everybody
  NAKs        requests for repairs: sent, or heard by the publisher
  link        the way that packets took

Exit status: 0 nothing was lost, 1 it could not be played, 2 the arguments make no sense, 3 something was lost or corrupt.";

/// A publisher and three subscribers on a small network of their own, one that loses packets and one that joins late.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// How long to publish.
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    seconds: f64,
    /// Messages a second, with k or M.
    #[arg(long, value_name = "MESSAGES", default_value = "20000", value_parser = rate)]
    rate: u64,
    /// Octets of a message, or MIN-MAX.
    #[arg(long, value_name = "OCTETS", default_value = "64-256", value_parser = size)]
    size: String,
    /// How much subscriber 2 loses, in percent, such as 5 or 0.5.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    loss: String,
    /// The link to take.
    #[arg(long, value_name = "LINK", default_value = "auto", value_parser = ["auto", "xdp", "xdp-generic", "raw", "udp"])]
    io: String,
    /// Prints the result as one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    if (0.5..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.5 to 3600 seconds are possible".to_owned()) }
}

/// Messages a second, with a suffix k or M as everywhere.
fn rate(text: &str) -> Result<u64, String> {
    let rate = numbers::count(text).ok().filter(|rate| *rate <= 10_000_000);
    rate.ok_or_else(|| "1 to 10M messages a second are possible, such as 500 or 50k".to_owned())
}

fn percent(text: &str) -> Result<String, String> {
    let number = text.trim_end_matches('%');
    let _: FaultPlan = format!("loss={number}%").parse().map_err(|_| "0 to 100 percent are possible".to_owned())?;
    Ok(number.to_owned())
}

/// Messages have room for their number and time, and go into a packet each.
fn size(text: &str) -> Result<String, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let [least, most] = [least, most].map(|number| number.parse::<u32>().ok());
    match (least, most) {
        (Some(least), Some(most)) if 16 <= least && least <= most && most <= 1400 => Ok(text.to_owned()),
        _ => Err("16 to 1400 octets are possible, such as 200 or 64-1400".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn main(wanted: &Arguments) -> ExitCode {
    run(wanted).unwrap_or_else(|failure| failure.exit("demo"))
}

fn run(wanted: &Arguments) -> Result<ExitCode, Failure> {
    let stop = Stop::install()?;
    let scene = match Network::new(&INTERFACES) {
        Ok(network) => Scene::Network(network),
        Err(why) if matches!(wanted.io.as_str(), "auto" | "udp") => Scene::Loopback(why),
        // What was asked for by name is taken or refused.
        Err(why) => return Err(Failure::error(format_args!("--io {}: {why}", wanted.io))),
    };
    if let Scene::Loopback(why) = &scene {
        say(format_args!("pgmx demo: over udp on loopback: {why}"));
    }
    let played = play(wanted, &scene, &mut View::new(), stop)?;
    tell(wanted, &scene, &played)
}

fn tell(wanted: &Arguments, scene: &Scene, played: &Played) -> Result<ExitCode, Failure> {
    if wanted.json {
        print(format!("{}\n", object(wanted, scene, played)))?;
    } else {
        print(text(wanted, scene, played))?;
    }
    for failure in played.failures() {
        say(format_args!("pgmx demo: {failure}"));
    }
    Ok(match (played.failures().next(), played.failed_messages()) {
        (None, 0) => ExitCode::SUCCESS,
        (None, _) => ExitCode::from(status::LOST),
        (Some(_), _) => ExitCode::FAILURE,
    })
}

fn text(wanted: &Arguments, scene: &Scene, played: &Played) -> String {
    let Arguments { seconds, rate, size, loss, .. } = wanted;
    let place = match scene {
        Scene::Network(_) => "four hosts behind a bridge",
        Scene::Loopback(_) => "four processes on loopback",
    };
    let rate = grouped(*rate);
    let mut lines = vec![
        format!("{rate} messages a second, of {size} octets, for {seconds} s; {place}"),
        String::new(),
        outcome::table(&played.parts),
    ];
    if *loss != "0" {
        lines.push(format!("subscriber 2 loses {loss} % of all that comes to it, and asks for it again"));
    }
    if let (Some((after, before)), Some(late)) = (played.joined, played.parts.get(3)) {
        let mut line = format!("subscriber 3 joined after {after:.1} s, ");
        let _ = match late.messages {
            0 => write!(line, "too late for anything: this machine is busy, give it more --seconds"),
            _ => write!(line, "when {} messages had been published", grouped(before)),
        };
        // Below, it is what the two clocks were read apart.
        if let Some(history) = late.history.filter(|history| *history > wanted.rate / 50) {
            let _ = write!(line, ", and got {} of those, too", grouped(history));
        }
        lines.push(line);
    }
    lines.extend(refusals(&played.parts));
    lines.push(match (played.failed_messages(), played.failures().next(), played.is_stopped) {
        // Why is told on stderr.
        (0, Some(_), _) => "it was not played to its end".to_owned(),
        (0, None, false) => "nothing was lost".to_owned(),
        (0, None, true) => "stopped; until then nothing was lost".to_owned(),
        (failed, ..) => format!(
            "{} messages were LOST or corrupt: a lower --rate leaves more room for repairs, and this machine more time",
            grouped(failed)
        ),
    });
    lines.join("\n") + "\n"
}

/// Each reason why no better link was taken, once: it is mostly the same for all, but for the name of the interface.
fn refusals(parts: &[Part]) -> Vec<String> {
    let (mut seen, mut lines) = (Vec::new(), Vec::new());
    for (part, interface) in parts.iter().zip(INTERFACES) {
        for refusal in part.refusals() {
            let nameless = refusal.replace(interface, "");
            if !seen.contains(&nameless) {
                seen.push(nameless);
                lines.push(format!("{}: {refusal}", part.name));
            }
        }
    }
    lines
}

fn object(wanted: &Arguments, scene: &Scene, played: &Played) -> serde_json::Value {
    let (network, because) = match scene {
        Scene::Network(_) => ("namespaces", None),
        Scene::Loopback(why) => ("loopback", Some(why)),
    };
    let sum = |figure: fn(&Part) -> Option<u64>| played.parts.iter().filter_map(figure).sum::<u64>();
    json!({
        "published": played.parts[0].messages,
        "lost": sum(|part| part.lost),
        "corrupt": sum(|part| part.corrupt),
        "seconds": wanted.seconds,
        "rate": wanted.rate,
        "size": wanted.size,
        "loss_percent": wanted.loss.parse::<f64>().unwrap_or_default(),
        "network": network,
        "because": because,
        "joined_after_s": played.joined.map(|(after, _)| after),
        "published_before_joining": played.joined.map(|(_, before)| before),
        "publisher": played.parts[0],
        "subscribers": played.parts[1..],
    })
}
