//! What the house promises, each promise by a name, and whether it held.
//!
//! Asked once, when all is measured. Guards: a promise that was not measured is said to be so, and never held; what was lost on the way breaks
//! a promise that says that nothing is.

use super::results::{Played, Results, Rig, Verdict, metric};
use super::rigs;
use super::statistics::{Figure, ratio};

/// Where a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Which figure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// A play's metric over that of another, turn by turn; of several others the one with the most.
    Ratio { bout: &'static str, over: &'static str, under: &'static [&'static str], metric: &'static str },
    /// A play's metric.
    Play { bout: &'static str, play: &'static str, metric: &'static str },
    /// The same, and the worst of all repetitions, not their median.
    Worst { bout: &'static str, play: &'static str, metric: &'static str },
    /// What another benchmark says.
    Rig { rig: &'static str, figure: &'static str },
    /// The least of what another benchmark says of some figures whose names begin so.
    LeastOf { rig: &'static str, figures: &'static str },
}

/// A promise.
#[derive(Clone, Copy, Debug)]
struct Bar {
    name: &'static str,
    what: &'static str,
    of: Of,
    bound: Bound,
    unit: &'static str,
    /// Whether it says that nothing is lost.
    keeps_all: bool,
}

use Bound::{AtLeast, AtMost};

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

const BARS: &[Bar] = &[
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
        Of::LeastOf { rig: rigs::MEMORY, figures: "sessions-" },
        AtLeast(0.8),
        "",
    ),
    rig(
        "flat-windows",
        "packets/s with windows up to a million SQNs over those with a thousand",
        Of::LeastOf { rig: rigs::MEMORY, figures: "slots-" },
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

/// A figure, or why there is none, and what else is to be said of it.
type Answer = Result<(Figure, String), String>;

fn play<'r>(results: &'r Results, bout: &str, id: &str) -> Result<&'r Played, String> {
    let play = results.play(bout, id).ok_or_else(|| format!("{bout}/{id} was not played"))?;
    play.gap().map_or(Ok(play), |why| Err(format!("{bout}/{id}: {why}")))
}

fn rig_figures<'r>(results: &'r Results, name: &str) -> Result<&'r Rig, String> {
    let rig = results.rig(name).ok_or_else(|| format!("`{name}` was not asked"))?;
    rig.gap.as_ref().map_or(Ok(rig), |why| Err(why.clone()))
}

impl Bar {
    fn figure(&self, results: &Results) -> Answer {
        match self.of {
            Of::Ratio { bout, over, under, metric } => {
                let over = play(results, bout, over)?;
                let mut others = Vec::new();
                let mut gaps = Vec::new();
                for id in under {
                    match play(results, bout, id) {
                        Ok(other) => others.push(other),
                        Err(why) => gaps.push(why),
                    }
                }
                let median = |play: &&&Played| play.figure(metric).map_or(0.0, |figure| figure.median);
                let best =
                    others.iter().max_by(|a, b| median(a).total_cmp(&median(b))).ok_or_else(|| gaps.join("; "))?;
                let figure = ratio(&over.each(metric), &best.each(metric));
                let figure = figure.ok_or_else(|| format!("no repetition has {metric} of both"))?;
                let note = if under.len() > 1 { format!("best: {}", best.title) } else { String::new() };
                Ok((figure, note))
            }
            Of::Play { bout, play: id, metric } => {
                let figure = play(results, bout, id)?.figure(metric);
                figure.map(|figure| (figure, String::new())).ok_or_else(|| format!("{bout}/{id} says no {metric}"))
            }
            Of::Worst { bout, play: id, metric } => {
                let figure = play(results, bout, id)?.figure(metric);
                let figure = figure.ok_or_else(|| format!("{bout}/{id} says no {metric}"))?;
                Ok((Figure { median: figure.most, ..figure }, "worst of all repetitions".into()))
            }
            Of::Rig { rig, figure } => {
                let found = rig_figures(results, rig)?.figures.get(figure).copied();
                found.map(|figure| (figure, String::new())).ok_or_else(|| format!("`{rig}` says no {figure}"))
            }
            Of::LeastOf { rig, figures } => {
                let all = rig_figures(results, rig)?.figures.iter().filter(|(name, _)| name.starts_with(figures));
                let least = all.min_by(|a, b| a.1.median.total_cmp(&b.1.median));
                let (name, figure) = least.ok_or_else(|| format!("`{rig}` says no {figures}..."))?;
                Ok((*figure, name.clone()))
            }
        }
    }

    fn holds(&self, figure: &Figure) -> bool {
        match self.bound {
            AtLeast(least) => figure.median >= least,
            AtMost(most) => figure.median <= most,
        }
    }

    /// Messages that are missing though nothing may be.
    fn missing(&self, results: &Results) -> f64 {
        match self.of {
            Of::Ratio { bout, over, .. } if self.keeps_all => results.play(bout, over).map_or(0.0, Played::missing),
            _ => 0.0,
        }
    }

    fn judge(&self, results: &Results) -> Verdict {
        let (figure, mut held, mut note) = match self.figure(results) {
            Ok((figure, note)) => (Some(figure), Some(self.holds(&figure)), note),
            Err(why) => (None, None, why),
        };
        let missing = self.missing(results);
        if missing > 0.0 {
            held = Some(false);
            note = format!("{missing} messages lost or corrupt");
        }
        let bar = match self.bound {
            AtLeast(least) => format!("≥ {}", shown(least, self.unit)),
            AtMost(most) => format!("≤ {}", shown(most, self.unit)),
        };
        let (name, what, unit) = (self.name.into(), self.what.into(), self.unit.into());
        Verdict { name, what, bar, figure, unit, held, note }
    }
}

/// A number, with its unit, in few digits.
pub fn shown(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value >= 1e6 => format!("{:.2} ms", value / 1e6),
        "ns" => format!("{:.1} µs", value / 1e3),
        "/s" if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        "/s" if value >= 1e3 => format!("{:.1} k/s", value / 1e3),
        _ if value != 0.0 && value.abs() < 0.1 => format!("{value:.4}{unit}"),
        _ if value.abs() >= 100.0 => format!("{value:.0}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

/// A number on an axis: as few digits as tell it.
pub fn mark(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "/s" if value >= 1e6 => (value / 1e6, " M/s"),
        "/s" if value >= 1e3 => (value / 1e3, " k/s"),
        "/s" if value == 0.0 => (0.0, ""),
        "µs" if value >= 1e6 => (value / 1e6, " s"),
        "µs" if value >= 1e3 => (value / 1e3, " ms"),
        "µs" => (value, " µs"),
        other => (value, other),
    };
    // What was added up from tenths is not written with sixteen digits.
    format!("{}{unit}", (value * 1e6).round() / 1e6)
}

/// All promises that were asked for, in their order.
pub fn judge(results: &Results, wants: impl Fn(&str) -> bool) -> Vec<Verdict> {
    BARS.iter().filter(|bar| wants(bar.name) || bar.is_measured(results)).map(|bar| bar.judge(results)).collect()
}

impl Bar {
    /// Whether what it is about was played.
    fn is_measured(&self, results: &Results) -> bool {
        match self.of {
            Of::Ratio { bout, over, under, .. } => {
                results.play(bout, over).is_some() && under.iter().any(|under| results.play(bout, under).is_some())
            }
            Of::Play { bout, play, .. } | Of::Worst { bout, play, .. } => results.play(bout, play).is_some(),
            Of::Rig { rig, .. } | Of::LeastOf { rig, .. } => results.rig(rig).is_some(),
        }
    }
}

/// The table of all promises, for a terminal.
pub fn table(verdicts: &[Verdict]) -> String {
    let width = verdicts.iter().map(|verdict| verdict.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Verdict { name, bar, figure, unit, held, note, what } in verdicts {
        let (word, measured) = match (held, figure) {
            (_, None) => ("NOT MEASURED", String::new()),
            (held, Some(figure)) => {
                let [median, least, most] = [figure.median, figure.least, figure.most].map(|value| shown(value, unit));
                (if *held == Some(true) { "held" } else { "MISSED" }, format!("{median} ({least} to {most})"))
            }
        };
        let note = if note.is_empty() { what.clone() } else { format!("{what}; {note}") };
        text += &format!("{word:<12} {name:<width$}  {measured:>32}  {bar:<12} {note}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proving::machine::Machine;
    use crate::proving::plan;
    use crate::proving::results::{Fought, Sample};
    use crate::rig::Options;
    use std::collections::HashSet;

    fn played(id: &str, values: &[(&str, &[f64])]) -> Played {
        let count = values.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let mut samples = vec![Sample::default(); count];
        for (name, values) in values {
            values.iter().zip(&mut samples).for_each(|(value, sample)| sample.set(name, *value));
        }
        Played {
            id: id.into(),
            who: String::new(),
            title: id.to_uppercase(),
            family: String::new(),
            size: 64,
            receivers: 1,
            loss: 0,
            form: String::new(),
            commands: Vec::new(),
            samples,
        }
    }

    fn results(bout: &str, plays: Vec<Played>) -> Results {
        Results {
            begun_s: 0,
            lasted_s: 0.0,
            extent: String::new(),
            repetitions: 1,
            play_ms: 1,
            command: String::new(),
            machine: Machine::here(),
            bouts: vec![Fought { name: bout.into(), plays }],
            rigs: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    fn verdict(results: &Results, name: &str) -> Verdict {
        judge(results, |_| true).into_iter().find(|verdict| verdict.name == name).expect("a bar")
    }

    #[test]
    fn every_play_that_a_bar_names_is_in_the_quick_plan_and_no_name_stands_twice() {
        let plan = plan::read(Options::of("--quick")).expect("sound");
        let there: HashSet<(String, String)> =
            plan.bouts().iter().flat_map(|bout| bout.plays.iter().map(|play| (bout.name.clone(), play.id()))).collect();
        let mut names = HashSet::new();
        for bar in BARS {
            assert!(names.insert(bar.name), "{}", bar.name);
            let (bout, ids) = match bar.of {
                Of::Ratio { bout, over, under, .. } => (bout, [&[over], under].concat()),
                Of::Play { bout, play, .. } | Of::Worst { bout, play, .. } => (bout, vec![play]),
                Of::Rig { rig, .. } | Of::LeastOf { rig, .. } => {
                    assert!(rigs::ALL.contains(&rig));
                    continue;
                }
            };
            for id in ids {
                assert!(there.contains(&(bout.into(), id.into())), "{}: {bout}/{id} is not played", bar.name);
            }
        }
    }

    #[test]
    fn a_bar_holds_at_its_figure_and_not_below() {
        let rates = |xdp: f64| {
            vec![played("xdp 64", &[(metric::MESSAGES, &[xdp])]), played("bare 64", &[(metric::MESSAGES, &[100.0])])]
        };
        let held = |xdp| verdict(&results("blast-64", rates(xdp)), "xdp-over-bare-64").held;
        assert_eq!([held(95.0), held(94.9), held(120.0)], [Some(true), Some(false), Some(true)]);
    }

    #[test]
    fn of_several_others_the_best_counts_and_is_named() {
        let plays = vec![
            played("xdp 64", &[(metric::MESSAGES, &[700.0, 700.0])]),
            played("openpgm 64", &[(metric::MESSAGES, &[100.0, 100.0])]),
            played("openpgm-spin 64", &[(metric::MESSAGES, &[350.0, 175.0])]),
        ];
        let verdict = verdict(&results("blast-64", plays), "xdp-over-openpgm-64");
        assert_eq!((verdict.figure.map(|figure| figure.median), verdict.held), (Some(3.0), Some(false)));
        assert!(verdict.note.contains("OPENPGM-SPIN"));
    }

    #[test]
    fn what_was_not_measured_is_not_held_and_says_why() {
        let mut failed = played("bare 64", &[]);
        failed.samples = vec![Sample { failure: Some("no root".into()), ..Sample::default() }];
        let plays = vec![played("xdp 64", &[(metric::MESSAGES, &[1.0])]), failed];
        let verdict = verdict(&results("blast-64", plays), "xdp-over-bare-64");
        assert_eq!((verdict.held, verdict.figure), (None, None));
        assert!(verdict.note.contains("no root"), "{}", verdict.note);
        assert!(table(&[verdict]).starts_with("NOT MEASURED"));
    }

    #[test]
    fn goodput_with_a_message_missing_is_missed_however_fast() {
        let plays = |lost: f64| {
            let lossy = [(metric::MESSAGES, &[100.0][..]), (metric::LOST, &[lost][..])];
            vec![played("xdp 256 loss=1%", &lossy), played("xdp 256", &[(metric::MESSAGES, &[100.0])])]
        };
        assert_eq!(verdict(&results("goodput-lan", plays(0.0)), "goodput-lan-1%").held, Some(true));
        assert_eq!(verdict(&results("goodput-lan", plays(1.0)), "goodput-lan-1%").held, Some(false));
    }

    #[test]
    fn the_worst_is_that_of_all_repetitions() {
        let plays = vec![played(
            "xdp 256 loss=1% low-latency",
            &[(metric::MAX, &[1e6, 9e6, 2e6]), (metric::P99, &[1e5, 4e5, 1e5])],
        )];
        let results = results("tail", plays);
        assert_eq!(verdict(&results, "tail-worst").held, Some(false));
        assert_eq!(verdict(&results, "tail-p99").held, Some(true));
    }

    #[test]
    fn figures_are_written_to_be_read() {
        assert_eq!([shown(40_000.0, "ns"), shown(5e6, "ns"), shown(12e6, "/s")], ["40.0 µs", "5.00 ms", "12.00 M/s"]);
        assert_eq!(
            [mark(0.0, "/s"), mark(2.5e6, "/s"), mark(1e3, "µs"), mark(0.1 + 0.2, "")],
            ["0", "2.5 M/s", "1 ms", "0.3"]
        );
        assert_eq!([shown(1.0 / 240.0, ""), shown(0.97, ""), shown(287.0, "")], ["0.0042", "0.97", "287"]);
    }
}
