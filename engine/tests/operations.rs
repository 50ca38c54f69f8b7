//! The tables of `docs/operations.md` say what the profiles say: they are compared with the code, and written by it.
//!
//! `PGMX_WRITE=1 cargo test -p pgmx --test operations` writes them anew after a change.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{Interval, ReceiverConfig};
use pgmx::protocol::source::{Burst, Linger, Rate, SourceConfig};

const BEGIN: &str = "<!-- profiles -->\n";
const END: &str = "<!-- end of profiles -->\n";

fn interval(interval: Interval) -> String {
    match interval {
        Interval::Fixed(fixed) => format!("{fixed:?}"),
        Interval::Adaptive { floor, start, ceiling } => format!("{floor:?} / {start:?} / {ceiling:?}"),
    }
}

fn rate(rate: Rate) -> String {
    match rate {
        Rate::Max => "max".into(),
        Rate::OctetsPerSecond(octets) => format!("{octets} octets/s"),
    }
}

fn linger(linger: Linger) -> String {
    match linger {
        Linger::Full => "window_time".into(),
        Linger::Quiet { quiet, at_most } => format!("{quiet:?} without a NAK, at most {at_most:?}"),
    }
}

fn option(value: Option<impl ToString>) -> String {
    value.map_or("none".into(), |value| value.to_string())
}

fn octets(octets: u32) -> String {
    if octets.is_multiple_of(1 << 20) { format!("{} MiB", octets >> 20) } else { octets.to_string() }
}

type Row<C> = (&'static str, fn(&C) -> String);

const SOURCE: &[Row<SourceConfig>] = &[
    ("window_slots", |c| c.window_slots.to_string()),
    ("advance", |c| format!("{:?}", c.advance).to_lowercase()),
    ("advance_percent", |c| c.advance_percent.to_string()),
    ("window_time", |c| format!("{:?}", c.window_time)),
    ("max_hold", |c| format!("{:?}", c.max_hold)),
    ("hold_quiet", |c| format!("{:?}", c.hold_quiet)),
    ("hold_repairs", |c| c.hold_repairs.to_string()),
    ("rate", |c| rate(c.rate)),
    ("burst", |c| match c.burst {
        Burst::Packets(packets) => format!("{packets} packets"),
        Burst::Time(time) => format!("{time:?} worth"),
    }),
    ("peak", |c| rate(c.peak)),
    ("repair_share", |c| format!("{} %", c.repair_share)),
    ("ncf_repeat", |c| format!("{:?}", c.ncf_repeat)),
    ("rdata_repeat", |c| {
        let adaptive = if c.rdata_repeat_adaptive { ", adaptive" } else { "" };
        format!("{:?} to {:?}{adaptive}", c.rdata_repeat, c.rdata_repeat_max)
    }),
    ("ihb_min, ihb_max", |c| format!("{:?}, {:?}", c.ihb_min, c.ihb_max)),
    ("ambient_spm", |c| match c.ambient_packets {
        Some(packets) => format!("{:?} or {packets} packets", c.ambient_spm),
        None => format!("{:?}", c.ambient_spm),
    }),
    ("opening_spms", |c| format!("{}, {:?} apart", c.opening_spms, c.opening_gap)),
    ("router_alert", |c| c.router_alert.to_string()),
    ("late_join_percent", |c| option(c.late_join_percent)),
    ("apdu_max", |c| octets(c.apdu_max)),
    ("linger", |c| linger(c.linger)),
    ("abort_linger", |c| linger(c.abort_linger)),
    ("dup_nak_max", |c| option(c.dup_nak_max)),
];

const RECEIVER: &[Row<ReceiverConfig>] = &[
    ("window_slots", |c| c.window_slots.to_string()),
    ("held_max", |c| c.held_max.to_string()),
    ("sessions_max", |c| c.sessions_max.to_string()),
    ("max_apdu", |c| octets(c.max_apdu)),
    ("on_loss", |c| format!("{:?}", c.on_loss).to_lowercase()),
    ("on_rst", |c| format!("{:?}", c.on_rst)),
    ("join_on", |c| format!("{:?}", c.join_on)),
    ("expiry", |c| format!("{:?}", c.expiry)),
    ("reordering tolerated", |c| match c.reorder_packets {
        0 => "none".into(),
        packets => format!("{packets} later packets or {:?}", c.reorder_time),
    }),
    ("nak_bo_ivl", |c| interval(c.nak_bo_ivl)),
    ("nak_rpt_ivl", |c| interval(c.nak_rpt_ivl)),
    ("nak_rdata_ivl", |c| interval(c.nak_rdata_ivl)),
    ("nak_ncf_retries, nak_data_retries", |c| format!("{}, {}", c.nak_ncf_retries, c.nak_data_retries)),
    ("nak_sqns_max", |c| c.nak_sqns_max.to_string()),
    ("nak_copy", |c| format!("{:?}", c.nak_copy)),
    ("spmr_bo_ivl, spmr_spm_ivl", |c| format!("{:?}, {:?}", c.spmr_bo_ivl, c.spmr_spm_ivl)),
];

fn table<C>(title: &str, rows: &[Row<C>], of: impl Fn(Profile) -> C) -> String {
    let configs = Profile::ALL.map(|(_, profile)| of(profile));
    let names = Profile::ALL.map(|(name, _)| name).join(" | ");
    let mut text = format!("| {title} | {names} |\n|---|---|---|---|---|\n");
    for (field, cell) in rows {
        let cells = configs.each_ref().map(cell).join(" | ");
        let _ = writeln!(text, "| `{}` | {cells} |", field.replace(", ", "`, `"));
    }
    text
}

#[test]
fn the_operations_guide_names_every_profiles_values() {
    let group = [239, 192, 0, 1].into();
    let source = table("source", SOURCE, |profile| SourceConfig::profile(profile, group, 7500));
    let receiver = table("receiver", RECEIVER, |profile| ReceiverConfig::profile(profile, group, 7500));
    let tables = format!("{source}\n{receiver}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(&path).expect("the guide");
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the tables");
    let (written, after) = rest.split_once(END).expect("the mark behind them");
    if std::env::var_os("PGMX_WRITE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{tables}{END}{after}")).expect("the guide can be written");
        return;
    }
    assert!(written == tables, "the profiles changed: PGMX_WRITE=1 cargo test -p pgmx --test operations");
}
