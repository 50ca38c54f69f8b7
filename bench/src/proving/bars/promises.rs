//! The list: every promise, in the order of the table.
//!
//! Guards: a play that is named here is in the quick plan, which a test sees to.

use super::Bound::{AtLeast, AtMost};
use super::{Bar, Bound, Of};
use crate::proving::results::metric;
use crate::proving::rigs;

/// OpenPGM's settings, of which the best counts.
const OPENPGM_64: &[&str] = &["openpgm 64", "openpgm-spin 64"];
const OPENPGM_1400: &[&str] = &["openpgm 1400", "openpgm-spin 1400"];
const OPENPGM_UDP_64: &[&str] = &["openpgm-udp 64", "openpgm-udp-spin 64"];
const EPGM_64: &[&str] = &["zeromq-epgm 64"];
const SPINNING: &[&str] = &["openpgm-spin 256 100000/s low-latency"];
const ONEWAY: &str = "xdp 256 100000/s low-latency";
const ROUND_TRIP: &str = "xdp 64 low-latency";
/// A thirtieth, and a 240th.
const CALLS: f64 = 1.0 / 30.0;
const FEWER_CALLS: f64 = 1.0 / 240.0;

const fn throughput(
    name: &'static str,
    what: &'static str,
    bout: &'static str,
    over: &'static str,
    under: &'static [&'static str],
    least: f64,
) -> Bar {
    let of = Of::Ratio { bout, over, under, metric: metric::MESSAGES };
    Bar { name, what, of, bound: AtLeast(least), unit: "", keeps_all: false }
}

const fn time(name: &'static str, what: &'static str, of: Of, most_ns: f64) -> Bar {
    Bar { name, what, of, bound: AtMost(most_ns), unit: "ns", keeps_all: false }
}

const fn share(
    name: &'static str,
    what: &'static str,
    bout: &'static str,
    over: &'static str,
    under: &'static [&'static str],
    metric: &'static str,
    most: f64,
) -> Bar {
    Bar { name, what, of: Of::Ratio { bout, over, under, metric }, bound: AtMost(most), unit: "", keeps_all: false }
}

const fn goodput(
    name: &'static str,
    what: &'static str,
    bout: &'static str,
    ids: (&'static str, &'static [&'static str]),
    least: f64,
) -> Bar {
    let of = Of::Ratio { bout, over: ids.0, under: ids.1, metric: metric::MESSAGES };
    Bar { name, what, of, bound: AtLeast(least), unit: "", keeps_all: true }
}

const fn rig(name: &'static str, what: &'static str, of: Of, bound: Bound, unit: &'static str) -> Bar {
    Bar { name, what, of, bound, unit, keeps_all: false }
}

const LAN: &str = "goodput-lan";
const LOW: &str = "goodput-low-latency";

pub(super) const PROMISES: &[Bar] = &[
    throughput(
        "xdp-over-bare-64",
        "packets/s of 64 octets over bare AF_XDP rings'",
        "blast-64",
        "xdp 64",
        &["bare 64"],
        0.95,
    ),
    throughput(
        "xdp-over-bare-1400",
        "packets/s of 1400 octets over bare AF_XDP rings'",
        "blast-1400",
        "xdp 1400",
        &["bare 1400"],
        0.92,
    ),
    throughput(
        "xdp-over-openpgm-64",
        "packets/s of 64 octets over OpenPGM's best",
        "blast-64",
        "xdp 64",
        OPENPGM_64,
        3.5,
    ),
    throughput(
        "xdp-over-openpgm-1400",
        "packets/s of 1400 octets over OpenPGM's best",
        "blast-1400",
        "xdp 1400",
        OPENPGM_1400,
        3.5,
    ),
    throughput(
        "raw-over-openpgm-64",
        "packets/s of 64 octets over raw sockets, over OpenPGM's best",
        "blast-64",
        "raw 64",
        OPENPGM_64,
        1.3,
    ),
    throughput(
        "raw-over-openpgm-1400",
        "packets/s of 1400 octets over raw sockets, over OpenPGM's best",
        "blast-1400",
        "raw 1400",
        OPENPGM_1400,
        1.3,
    ),
    throughput(
        "udp-over-openpgm-udp-64",
        "packets/s of 64 octets in UDP (GSO, GRO) over OpenPGM's",
        "blast-64",
        "udp 64",
        OPENPGM_UDP_64,
        20.0,
    ),
    throughput(
        "batch-xdp-over-zeromq",
        "batched messages/s of 64 octets, xdp, over ZeroMQ epgm's",
        "batch-64",
        "xdp 64 batched",
        EPGM_64,
        6.0,
    ),
    throughput(
        "batch-udp-over-zeromq",
        "batched messages/s of 64 octets, udp, over ZeroMQ epgm's",
        "batch-64",
        "udp 64 batched",
        EPGM_64,
        9.0,
    ),
    throughput(
        "xdp-over-norm-1344",
        "messages/s of 1344 octets over NORM's",
        "blast-1344",
        "xdp 1344",
        &["norm 1344"],
        4.0,
    ),
    share(
        "roundtrip-p50-over-bare",
        "round trip p50 over bare AF_XDP ping-pong's",
        "roundtrip",
        ROUND_TRIP,
        &["bare 64 low-latency"],
        metric::P50,
        1.15,
    ),
    share(
        "roundtrip-p99-over-bare",
        "round trip p99 over bare AF_XDP ping-pong's",
        "roundtrip",
        ROUND_TRIP,
        &["bare 64 low-latency"],
        metric::P99,
        1.3,
    ),
    share(
        "roundtrip-p50-over-openpgm",
        "round trip p50 over OpenPGM's, both spinning",
        "roundtrip",
        ROUND_TRIP,
        &["openpgm-spin 64 low-latency"],
        metric::P50,
        0.5,
    ),
    share(
        "oneway-p50-over-openpgm",
        "one-way p50 at 100,000 messages/s over OpenPGM's, both spinning",
        "oneway-100k",
        ONEWAY,
        SPINNING,
        metric::P50,
        0.6,
    ),
    share(
        "oneway-p90-over-openpgm",
        "one-way p90 at 100,000 messages/s over OpenPGM's, both spinning",
        "oneway-100k",
        ONEWAY,
        SPINNING,
        metric::P90,
        0.6,
    ),
    goodput(
        "goodput-lan-1%",
        "full blast with 1 % loss over that without, lan, nothing lost",
        LAN,
        ("xdp 256 loss=1%", &["xdp 256"]),
        0.92,
    ),
    goodput(
        "goodput-lan-5%",
        "full blast with 5 % loss over that without, lan, nothing lost",
        LAN,
        ("xdp 256 loss=5%", &["xdp 256"]),
        0.80,
    ),
    goodput(
        "goodput-low-latency-1%",
        "the same, low-latency, 1 %",
        LOW,
        ("xdp 256 loss=1% low-latency", &["xdp 256 low-latency"]),
        0.92,
    ),
    goodput(
        "goodput-low-latency-5%",
        "the same, low-latency, 5 %",
        LOW,
        ("xdp 256 loss=5% low-latency", &["xdp 256 low-latency"]),
        0.80,
    ),
    time(
        "latency-1%-p99",
        "one-way p99 at 50,000 messages/s with 1 % loss",
        Of::Play { bout: "latency-under-loss", play: "xdp 256 50000/s loss=1% low-latency", metric: metric::P99 },
        50_000.0,
    ),
    time(
        "latency-5%-p99",
        "one-way p99 at 50,000 messages/s with 5 % loss",
        Of::Play { bout: "latency-under-loss", play: "xdp 256 50000/s loss=5% low-latency", metric: metric::P99 },
        100_000.0,
    ),
    rig(
        "naks-per-loss",
        "NAKs sent per lost packet at full blast, 1 % loss",
        Of::Play { bout: LAN, play: "xdp 256 loss=1%", metric: metric::NAKS },
        AtMost(1.1),
        "",
    ),
    time(
        "repair-p50",
        "from a loss to its delivery, 100,000 messages/s, 1 % loss, p50",
        Of::Play { bout: "repair", play: "xdp 256 100000/s loss=1% low-latency", metric: metric::REPAIR_P50 },
        40_000.0,
    ),
    time(
        "repair-p99",
        "the same, p99",
        Of::Play { bout: "repair", play: "xdp 256 100000/s loss=1% low-latency", metric: metric::REPAIR_P99 },
        150_000.0,
    ),
    time(
        "tail-p99",
        "bursts of 10 every 100 ms, 1 % loss, p99",
        Of::Play { bout: "tail", play: "xdp 256 loss=1% low-latency", metric: metric::P99 },
        500_000.0,
    ),
    time(
        "tail-worst",
        "the same, the worst of all",
        Of::Worst { bout: "tail", play: "xdp 256 loss=1% low-latency", metric: metric::MAX },
        5_000_000.0,
    ),
    throughput(
        "two-receivers-over-bare",
        "packets/s to two blocking receivers over bare AF_XDP rings'",
        "receivers-2",
        "xdp 256 x2",
        &["bare 256 x2"],
        0.95,
    ),
    rig(
        "generator-64",
        "lossless packets/s from the in-kernel generator over bare rings', 64 octets",
        Of::Rig { rig: rigs::GENERATOR, figure: "ratio-64" },
        AtLeast(0.95),
        "",
    ),
    rig(
        "generator-1400",
        "the same, 1400 octets",
        Of::Rig { rig: rigs::GENERATOR, figure: "ratio-1400" },
        AtLeast(0.95),
        "",
    ),
    rig(
        "instructions-send",
        "instructions per packet sent over the memory link",
        Of::Rig { rig: rigs::BUDGET, figure: "send" },
        AtMost(300.0),
        "",
    ),
    rig(
        "instructions-receive",
        "instructions per packet received over the memory link",
        Of::Rig { rig: rigs::BUDGET, figure: "receive" },
        AtMost(350.0),
        "",
    ),
    rig(
        "memory-64",
        "packets/s of 64 octets over the memory link, one core for both ends",
        Of::Rig { rig: rigs::MEMORY, figure: "packets_per_s" },
        AtLeast(12e6),
        "/s",
    ),
    rig(
        "calls-sender",
        "system calls of the sender per packet",
        Of::Play { bout: "calls", play: "xdp 256", metric: metric::SENDER_CALLS },
        AtMost(CALLS),
        "",
    ),
    rig(
        "calls-sender-large-budget",
        "the same, against what a TX budget of 256 allows",
        Of::Play { bout: "calls", play: "xdp 256", metric: metric::SENDER_CALLS },
        AtMost(FEWER_CALLS),
        "",
    ),
    rig(
        "calls-receiver",
        "system calls of the receiver per packet",
        Of::Play { bout: "calls", play: "xdp 256", metric: metric::RECEIVER_CALLS },
        AtMost(0.0),
        "",
    ),
    rig(
        "flat-sessions",
        "packets/s with 10 and 100 sessions over those with one",
        Of::Lowest { rig: rigs::MEMORY, figures: "sessions-" },
        AtLeast(0.8),
        "",
    ),
    rig(
        "flat-windows",
        "packets/s with windows up to a million SQNs over those with a thousand",
        Of::Lowest { rig: rigs::MEMORY, figures: "slots-" },
        AtLeast(0.8),
        "",
    ),
    rig(
        "flat-missing",
        "packets/s received with 100,000 SQNs missing over those with none",
        Of::Rig { rig: rigs::MEMORY, figure: "missing-100000" },
        AtLeast(0.5),
        "",
    ),
];
