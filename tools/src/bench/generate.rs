//! `pgmx bench generate`: the in-kernel generator, out of an interface.
//!
//! Nothing comes back to it: it sends as fast as it can, or as fast as it is told.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pgmx::link::survey::Survey;
use pgmx_bench::generator::Course;
use pgmx_bench::generator::feed::{Fed, Feeder};
use pgmx_bench::generator::frame::Speaker;
use serde_json::json;

use super::{bits_on_the_wire, packets_per_s, payload};
use crate::common::failure::Failure;
use crate::common::stop::Stop;
use crate::common::{idle, numbers, print};

const EXAMPLES: &str = "\
Examples:
  pgmx bench generate --interface eth0 --size 64 --seconds 10
  pgmx bench generate --interface eth0 --size 1400 --rate 500k

The other host runs `pgmx bench receive --interface IFACE`. Packets are redirected to the interface by an XDP program, which its driver
has to take (`pgmx doctor IFACE` says whether); many drivers do so only while an XDP program is on the interface, which a `pgmx recv`
there is enough for. It needs root and Linux 5.18.";

/// Sends packets that the kernel makes, as fast as it can.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The interface to send by.
    #[arg(short = 'i', long, value_name = "IFACE")]
    interface: String,
    /// The group to send to.
    #[arg(long, value_name = "ADDRESS", default_value_t = pgmx_bench::links::GROUP)]
    group: Ipv4Addr,
    /// The data port to send to.
    #[arg(long, value_name = "PORT", default_value_t = pgmx_bench::links::DATA_PORT, value_parser = clap::value_parser!(u16).range(2..))]
    port: u16,
    /// Octets of payload.
    #[arg(long, value_name = "OCTETS", default_value = "64", value_parser = payload)]
    size: usize,
    /// How long.
    #[arg(long, value_name = "S", default_value = "10", value_parser = numbers::seconds)]
    seconds: Duration,
    /// Packets a second; without it as many as can be.
    #[arg(long, value_name = "N", value_parser = packets_per_s)]
    rate: Option<u32>,
    /// Packets that the kernel passes on together.
    #[arg(long, value_name = "N", default_value_t = Course::DEFAULT.batch, value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: u32,
    /// Run on this core.
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(wanted: &Arguments) -> Result<u8, Failure> {
    if !wanted.group.is_multicast() {
        return Err(Failure::usage(format_args!("--group {}: groups are 224.0.0.0 to 239.255.255.255", wanted.group)));
    }
    if let Some(core) = wanted.core {
        idle::check(core)?;
        idle::pin(core)?;
    }
    let survey = Survey::of(&wanted.interface).map_err(Failure::error)?;
    let own = survey.addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let name = &survey.name;
    let address = own.ok_or_else(|| {
        Failure::error(format_args!(
            "{name} has no IPv4 address: `ip address add ADDRESS/BITS dev {name}` gives it one"
        ))
    })?;
    if survey.xdp.is_some_and(|xdp| !xdp.transmit) {
        return Err(Failure::error(format_args!(
            "{name} takes no redirected frames now: its driver has no ndo_xdp_xmit, or wants an XDP program on {name} (on the other \
             end, where it is a veth) before it does; a `pgmx recv` there is one"
        )));
    }
    let stop = Stop::install()?;
    let speaker = Speaker { mac: survey.mac, address, group: wanted.group, data_port: wanted.port };
    let course = Course {
        payload: wanted.size,
        ahead: 0,
        batch: wanted.batch,
        packets_per_s: wanted.rate.unwrap_or(0),
        time: wanted.seconds,
        ..Course::DEFAULT
    };
    let mut feeder = Feeder::open(survey.index, speaker, &course).map_err(Failure::error)?;
    let fed = feeder.feed(wanted.seconds, || stop.is_asked()).map_err(Failure::error)?;
    let Fed { sent, processor, wall } = fed;
    let per_second = sent as f64 / wall.as_secs_f64();
    let gbit_per_s = per_second * bits_on_the_wire(wanted.size) / 1e9;
    let ns = processor.as_nanos() as f64 / sent.max(1) as f64;
    print(if wanted.json {
        let object = json!({ "interface": name, "payload": wanted.size, "sent": sent, "seconds": wall.as_secs_f64(),
            "packets_per_s": per_second, "gbit_per_s": gbit_per_s, "generator_ns": ns });
        format!("{object}\n")
    } else {
        format!(
            "{:>5} octets: {sent} packets towards {name} in {:.2} s, {per_second:.0} packets/s, {gbit_per_s:.2} Gbit/s on a wire, \
             {ns:.0} ns/packet\n",
            wanted.size,
            wall.as_secs_f64()
        )
    })?;
    Ok(0)
}
