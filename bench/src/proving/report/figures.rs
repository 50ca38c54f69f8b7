//! Which figures there are: what each shows, in what words, and the numbers behind it.
//!
//! Called by `page`. Guards: a figure is made of what was measured and nothing else; without any it is left out, and the gaps say why.

use super::charts::{self, Axes, Bar, Line, Point, nines};
use crate::proving::bars::{mark, shown};
use crate::proving::plan::{LOSSES, SIZES};
use crate::proving::results::{Played, Results, metric};
use crate::proving::statistics::{Figure as Spread, ratio};
use crate::proving::svg::Svg;

/// A picture with its words and its numbers.
pub(super) struct Figure {
    /// For links.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What to see in it.
    pub(super) lead: String,
    pub(super) picture: Svg,
    pub(super) table: Table,
    pub(super) conditions: String,
    pub(super) commands: Vec<String>,
}

/// A table; cells of all columns but the first are numbers.
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }
}

/// All of them, in the order of the page.
pub(super) fn all(results: &Results) -> Vec<Figure> {
    let makers: [fn(&Results) -> Option<Figure>; 12] = [
        beside,
        small_packets,
        by_size,
        batches,
        round_trips,
        one_way,
        by_rate,
        goodput,
        repair,
        under_loss,
        cost,
        receivers,
    ];
    makers.iter().filter_map(|make| make(results)).collect()
}

/// A play as a bar.
pub(super) fn bar_of(play: &Played, name: &str, unit: &str) -> Option<Bar> {
    let Spread { median, least, most, .. } = play.figure(name)?;
    let (label, family) = (play.title.clone(), play.family.clone());
    Some(Bar { label, family, value: median, least, most, shown: shown(median, unit), bound: None })
}

fn spread(figure: Option<Spread>, unit: &str) -> String {
    figure.map_or("–".into(), |figure| {
        let [median, least, most] = [figure.median, figure.least, figure.most].map(|value| shown(value, unit));
        if figure.count > 1 { format!("{median} ({least} – {most})") } else { median }
    })
}

fn number(figure: Option<Spread>, unit: &str) -> String {
    figure.map_or("–".into(), |figure| shown(figure.median, unit))
}

/// Under which conditions these were measured.
fn conditions(results: &Results, plays: &[&Played]) -> String {
    let mut forms: Vec<String> = Vec::new();
    for play in plays {
        let form = format!("{}: {}", play.title, play.form);
        if !play.form.is_empty() && !forms.contains(&form) {
            forms.push(form);
        }
    }
    let layout = if plays.iter().any(|play| play.receivers > 1) {
        "sender spinning on core 0, receivers blocking on core 1, hosts behind a bridge"
    } else {
        "sender on core 0, receiver on core 1, one veth cable"
    };
    format!(
        "{} · {layout} · {} repetitions of {} ms in turns: median, least and most · {}",
        results.machine.line(),
        results.repetitions,
        results.play_ms,
        forms.join("; ")
    )
}

fn commands(plays: &[&Played]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in plays.iter().flat_map(|play| &play.commands) {
        if !lines.contains(line) {
            lines.push(line.clone());
        }
    }
    lines
}

fn figure(
    results: &Results,
    (id, title): (&'static str, &'static str),
    lead: String,
    picture: Svg,
    table: Table,
    plays: &[&Played],
) -> Figure {
    let (conditions, commands) = (conditions(results, plays), commands(plays));
    Figure { id, title, lead, picture, table, conditions, commands }
}

/// Plays of a bout that have this metric, the most first.
fn ranked<'r>(results: &'r Results, bout: &str, name: &str) -> Vec<&'r Played> {
    let plays = results.bout(bout).map(|bout| bout.plays.iter()).into_iter().flatten();
    let mut plays: Vec<&Played> = plays.filter(|play| play.figure(name).is_some()).collect();
    let rate = |play: &Played| play.figure(name).map_or(0.0, |figure| figure.median);
    plays.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    plays
}

/// How many times as much as each other: `7.0 (6.8 – 7.1)`.
fn times(ours: &Played, theirs: &Played, name: &str) -> String {
    ratio(&ours.each(name), &theirs.each(name)).map_or("–".into(), |figure| spread(Some(figure), "×"))
}

/// Throughput of one bout, as bars.
fn throughput(
    results: &Results,
    bout: &str,
    names: (&'static str, &'static str),
    lead: &str,
    ours: &str,
) -> Option<Figure> {
    let plays = ranked(results, bout, metric::MESSAGES);
    let first = plays.iter().find(|play| play.who == ours).copied();
    let bars: Vec<Bar> = plays
        .iter()
        .filter_map(|play| {
            let mut bar = bar_of(play, metric::MESSAGES, "/s")?;
            if play.id.contains("batched") {
                bar.label += ", batched";
            }
            Some(bar)
        })
        .collect();
    if bars.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        "who",
        "messages/s",
        "packets/s",
        "Gbit/s of messages",
        "Gbit/s on a wire",
        "lost",
        "pgmx xdp over it",
    ]);
    for (play, bar) in plays.iter().zip(&bars) {
        let over = first
            .filter(|first| first.id != play.id)
            .map_or("–".into(), |first| times(first, play, metric::MESSAGES));
        table.rows.push(vec![
            bar.label.clone(),
            spread(play.figure(metric::MESSAGES), "/s"),
            number(play.figure(metric::PACKETS), "/s"),
            number(play.figure(metric::PAYLOAD_GBIT), ""),
            number(play.figure(metric::WIRE_GBIT), ""),
            number(play.figure(metric::LOST), ""),
            over,
        ]);
    }
    let picture = charts::bars(&bars, |value| mark(value, "/s"));
    Some(figure(results, names, lead.into(), picture, table, &plays))
}

/// Every ratio to somebody else, as a part of what was promised.
fn beside(results: &Results) -> Option<Figure> {
    let (mut rows, mut table) = (Vec::new(), Table::new(&["ratio", "measured", "promised"]));
    for verdict in results.verdicts.iter().filter(|verdict| verdict.name.contains("-over-")) {
        let (Some(ratio), Some((sign, bound))) = (verdict.figure, verdict.bar.split_once(' ')) else { continue };
        let Some(bound) = bound.parse::<f64>().ok().filter(|bound| *bound > 0.0) else { continue };
        // Where less is better it is turned round, so that further right is better everywhere.
        let part = |value: f64| if sign == "≥" { value / bound } else { bound / value.max(f64::MIN_POSITIVE) };
        let ends = [part(ratio.least), part(ratio.most)];
        let label = verdict.name.replace("-over-", " / ").replace('-', " ");
        let others = ["norm", "zeromq", "openpgm"];
        let family = others.into_iter().find(|family| verdict.name.contains(family)).unwrap_or("bare").into();
        let shown = format!("{:.2} ({})", ratio.median, verdict.bar);
        let (least, most) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        rows.push(Bar { label, family, value: part(ratio.median), least, most, shown, bound: Some(1.0) });
        table.rows.push(vec![verdict.what.clone(), spread(Some(ratio), ""), verdict.bar.clone()]);
    }
    if rows.is_empty() {
        return None;
    }
    let lead = "pgmx over each other, turn by turn, as a part of what is promised: the broken line is the promise, and further right is better. \
                The number is the ratio itself.";
    let picture = charts::bars(&rows, |value| mark(value, "×"));
    let mut figure = figure(results, ("beside", "Beside the others"), lead.into(), picture, table, &[]);
    figure.conditions =
        format!("{} · each contestant as in its own figure below", figure.conditions.trim_end_matches(" · "));
    Some(figure)
}

fn small_packets(results: &Results) -> Option<Figure> {
    let lead = "One message a packet, as fast as each goes. Bare rings and bare sockets are the floor and the ceiling: they move the same \
                packets and keep no books, so what they lose is gone.";
    let names = ("small", "Small packets");
    let bout = if results.bout("blast-64").is_some() { "blast-64" } else { "blast-256" };
    throughput(results, bout, names, lead, "xdp")
}

fn batches(results: &Results) -> Option<Figure> {
    let lead = "Messages of 64 octets that share packets while the sender is busy. ZeroMQ and NORM always do that.";
    throughput(results, "batch-64", ("batches", "Batched messages"), lead, "xdp")
}

/// One row a contestant, one column a size.
fn by_size(results: &Results) -> Option<Figure> {
    let mut lines: Vec<Line> = Vec::new();
    let mut plays: Vec<&Played> = Vec::new();
    let sizes: Vec<u32> = SIZES.into_iter().filter(|size| results.bout(&format!("blast-{size}")).is_some()).collect();
    let place = |size: u32| sizes.iter().position(|known| *known == size).unwrap_or(0) as f64;
    let mut rows: Vec<(String, Vec<(u32, String)>)> = Vec::new();
    for size in &sizes {
        for play in ranked(results, &format!("blast-{size}"), metric::PAYLOAD_GBIT) {
            let Some(gbit) = play.figure(metric::PAYLOAD_GBIT) else { continue };
            let cell = format!("{} · {} Gbit/s", number(play.figure(metric::MESSAGES), "/s"), shown(gbit.median, ""));
            match rows.iter_mut().find(|row| row.0 == play.title) {
                Some(row) => row.1.push((*size, cell)),
                None => rows.push((play.title.clone(), vec![(*size, cell)])),
            }
            let point = Point { x: place(*size), y: gbit.median, least: gbit.least, most: gbit.most };
            plays.push(play);
            if let Some(line) = lines.iter_mut().find(|line| line.label == play.title) {
                line.points.push(point);
            } else {
                let (label, family) = (play.title.clone(), play.family.clone());
                lines.push(Line { label, family, stroke: "", points: vec![point] });
            }
        }
    }
    // Who was played at few sizes stands in the table alone.
    lines.retain(|line| line.points.len() > 1 && 2 * line.points.len() > sizes.len());
    if lines.is_empty() {
        return None;
    }
    for n in 1..lines.len() {
        lines[n].stroke = stroke(&lines[..n], &lines[n].family);
    }
    let marks: Vec<(f64, String)> = sizes.iter().map(|size| (place(*size), size.to_string())).collect();
    let shown = |value: f64| mark(value, "");
    let axes = Axes {
        x: &marks,
        x_title: "octets of a message",
        y_title: "Gbit/s of messages",
        multiplies: true,
        shown: &shown,
    };
    let picture = charts::lines(&lines, &axes);
    let mut table = Table::new(&["who"]);
    table.head.extend(sizes.iter().map(|size| format!("{size} octets")));
    for (who, cells) in rows {
        let cell = |size: &u32| cells.iter().find(|cell| cell.0 == *size).map_or("–".into(), |cell| cell.1.clone());
        table.rows.push(std::iter::once(who).chain(sizes.iter().map(cell)).collect());
    }
    let lead = "One message a packet, or several packets from 1,424 octets on; but ZeroMQ and NORM lay small messages into shared packets unasked.".into();
    Some(figure(results, ("sizes", "Throughput by size"), lead, picture, table, &plays))
}

/// The first of a family is whole, others are not.
fn stroke(lines: &[Line], family: &str) -> &'static str {
    match lines.iter().filter(|line| line.family == family).count() {
        0 => "",
        1 => "dashed",
        _ => "dotted",
    }
}

/// Percentiles of a bout as curves: the median over repetitions at each.
fn curves(results: &Results, bout: &str, names: (&'static str, &'static str), lead: &str) -> Option<Figure> {
    let plays: Vec<&Played> = ranked(results, bout, metric::P50).into_iter().rev().collect();
    let mut lines: Vec<Line> = Vec::new();
    let mut table = Table::new(&["who", "p50", "p90", "p99", "p99.9", "worst", "p50 over pgmx xdp's"]);
    let first = plays.iter().find(|play| play.who == "xdp").copied();
    for play in &plays {
        let mut points = Vec::new();
        for (percentile, _) in play.samples.iter().map(|sample| &sample.curve).max_by_key(|curve| curve.len())? {
            let at = |curve: &Vec<(f64, f64)>| {
                curve.iter().find(|point| (point.0 - percentile).abs() < 1e-9).map(|point| point.1)
            };
            let Some(y) = Spread::of(play.samples.iter().filter_map(|sample| at(&sample.curve))) else { continue };
            points.push(Point { x: nines(*percentile), y: y.median / 1e3, least: y.least / 1e3, most: y.most / 1e3 });
        }
        let stroke = stroke(&lines, &play.family);
        lines.push(Line { label: play.title.clone(), family: play.family.clone(), stroke, points });
        let of = |name| spread(play.figure(name), "ns");
        let over =
            first.filter(|first| first.id != play.id).map_or("–".into(), |first| times(play, first, metric::P50));
        table.rows.push(vec![
            play.title.clone(),
            of(metric::P50),
            of(metric::P90),
            of(metric::P99),
            of(metric::P999),
            of(metric::MAX),
            over,
        ]);
    }
    if lines.is_empty() {
        return None;
    }
    let marks =
        [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999].map(|percentile| (nines(percentile), format!("{percentile}")));
    let marks: Vec<(f64, String)> = marks.into_iter().chain([(nines(100.0), "worst".into())]).collect();
    let micros = |value: f64| mark(value, "µs");
    let axes = Axes { x: &marks, x_title: "percentile", y_title: "", multiplies: true, shown: &micros };
    Some(figure(results, names, lead.into(), charts::lines(&lines, &axes), table, &plays))
}

fn round_trips(results: &Results) -> Option<Figure> {
    let lead = "A message of 64 octets and its answer, one after the other, by one clock. Bare rings are the floor of this kernel and machine.";
    curves(results, "roundtrip", ("roundtrip", "Round trips"), lead)
}

fn one_way(results: &Results) -> Option<Figure> {
    let lead = "100,000 messages of 256 octets a second; each counts from when it was due, so that a sender that was held up does not make \
                its messages look young. OpenPGM's count from its call to send, which is in its favour.";
    curves(results, "oneway-100k", ("oneway", "One-way latency"), lead)
}

/// One-way latency against the rate.
fn by_rate(results: &Results) -> Option<Figure> {
    let most =
        results.play("blast-256", "xdp 256").and_then(|play| play.figure(metric::MESSAGES)).map(|figure| figure.median);
    let rates = [
        ("oneway-1k", Some(1e3)),
        ("oneway-10k", Some(1e4)),
        ("oneway-100k", Some(1e5)),
        ("oneway-50%", most.map(|most| most * 0.5)),
        ("oneway-80%", most.map(|most| most * 0.8)),
    ];
    let (mut marks, mut plays) = (Vec::new(), Vec::new());
    let mut lines: Vec<Line> = [("p50", ""), ("p99", "dashed"), ("p99.9", "dotted")]
        .map(|(label, stroke)| Line { label: label.into(), family: "xdp".into(), stroke, points: Vec::new() })
        .into();
    let mut table = Table::new(&["messages/s", "p50", "p90", "p99", "p99.9", "worst"]);
    let mut known: Vec<(&str, f64)> = rates.iter().filter_map(|(bout, rate)| Some((*bout, (*rate)?))).collect();
    known.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (bout, rate) in known {
        let Some(bout) = results.bout(bout) else { continue };
        let Some(play) = bout.plays.iter().find(|play| play.who == "xdp" && play.gap().is_none()) else { continue };
        let (names, x) = ([metric::P50, metric::P99, metric::P999], marks.len() as f64);
        for (line, name) in lines.iter_mut().zip(names) {
            if let Some(Spread { median, least, most, .. }) = play.figure(name) {
                line.points.push(Point { x, y: median / 1e3, least: least / 1e3, most: most / 1e3 });
            }
        }
        let part = bout.name.strip_prefix("oneway-").unwrap_or_default().to_owned();
        marks.push((x, if part.ends_with('%') { part.clone() } else { mark(rate, "/s") }));
        let label =
            if part.ends_with('%') { format!("{part} of the most: {}", shown(rate, "/s")) } else { shown(rate, "/s") };
        let all = [metric::P50, metric::P90, metric::P99, metric::P999, metric::MAX];
        table.rows.push(std::iter::once(label).chain(all.map(|name| spread(play.figure(name), "ns"))).collect());
        plays.push(play);
    }
    if marks.len() < 2 {
        return None;
    }
    let micros = |value: f64| mark(value, "µs");
    let axes = Axes { x: &marks, x_title: "messages a second", y_title: "", multiplies: true, shown: &micros };
    let lead = "What a message takes as the rate grows, up to 80 % of what goes through at most: pgmx over xdp.".into();
    Some(figure(results, ("rates", "Latency by rate"), lead, charts::lines(&lines, &axes), table, &plays))
}

/// Places on an axis of losses: they are as far apart as they are in order.
fn loss_marks() -> Vec<(f64, String)> {
    LOSSES.iter().enumerate().map(|(n, loss)| (n as f64, percent(*loss))).collect()
}

fn percent(loss: u16) -> String {
    format!("{} %", f64::from(loss) / 100.0)
}

fn loss_place(loss: u16) -> f64 {
    LOSSES.iter().position(|known| *known == loss).unwrap_or(0) as f64
}

fn goodput(results: &Results) -> Option<Figure> {
    let bouts = [
        ("goodput-lan", "pgmx xdp, lan", "xdp", ""),
        ("goodput-low-latency", "pgmx xdp, low-latency", "xdp", "dashed"),
        ("goodput-openpgm", "OpenPGM", "openpgm", ""),
    ];
    let (mut lines, mut plays) = (Vec::new(), Vec::new());
    let mut table =
        Table::new(&["who", "loss", "messages/s", "of that without loss", "lost for good", "NAKs per lost packet"]);
    for (name, label, family, stroke) in bouts {
        let Some(bout) = results.bout(name) else { continue };
        let Some(whole) = bout.plays.iter().find(|play| play.loss == 0 && play.gap().is_none()) else { continue };
        let mut points = Vec::new();
        let mut sorted: Vec<&Played> = bout.plays.iter().filter(|play| play.gap().is_none()).collect();
        sorted.sort_by_key(|play| play.loss);
        for play in sorted {
            let Some(of) = ratio(&play.each(metric::MESSAGES), &whole.each(metric::MESSAGES)) else { continue };
            points.push(Point { x: loss_place(play.loss), y: of.median, least: of.least, most: of.most });
            table.rows.push(vec![
                label.into(),
                percent(play.loss),
                spread(play.figure(metric::MESSAGES), "/s"),
                spread(Some(of), ""),
                shown(play.missing(), ""),
                spread(play.figure(metric::NAKS), ""),
            ]);
            plays.push(play);
        }
        lines.push(Line { label: label.into(), family: family.into(), stroke, points });
    }
    lines.retain(|line| line.points.len() > 1);
    if lines.is_empty() {
        return None;
    }
    let shown = |value: f64| mark(value, "");
    let marks = loss_marks();
    let axes = Axes {
        x: &marks,
        x_title: "packets lost on their way in",
        y_title: "delivered, as a part of what is without loss",
        multiplies: false,
        shown: &shown,
    };
    let lead = "Full blast while packets are lost at the receiver, each profile as it is shipped; every message is repaired or counted.".into();
    Some(figure(results, ("goodput", "Goodput under loss"), lead, charts::lines(&lines, &axes), table, &plays))
}

/// Some metrics of a bout against its losses.
fn against_loss(
    results: &Results,
    bout: &str,
    names: (&'static str, &'static str),
    lead: &str,
    metrics: [(&str, &str, &'static str); 3],
) -> Option<Figure> {
    let bout = results.bout(bout)?;
    let mut whos: Vec<&str> = Vec::new();
    bout.plays.iter().for_each(|play| {
        if !whos.contains(&play.who.as_str()) {
            whos.push(&play.who);
        }
    });
    let (mut lines, mut plays) = (Vec::new(), Vec::new());
    let mut table = Table::new(&["who", "loss"]);
    table.head.extend(metrics.map(|(_, label, _)| label.to_owned()));
    for who in whos {
        let mut sorted: Vec<&Played> =
            bout.plays.iter().filter(|play| play.who == who && play.gap().is_none()).collect();
        sorted.sort_by_key(|play| play.loss);
        for (name, label, stroke) in metrics {
            let points = sorted.iter().filter_map(|play| {
                let Spread { median, least, most, .. } = play.figure(name)?;
                Some(Point { x: loss_place(play.loss), y: median / 1e3, least: least / 1e3, most: most / 1e3 })
            });
            let points: Vec<Point> = points.collect();
            if let (false, Some(play)) = (points.is_empty(), sorted.first()) {
                let label = format!("{} {label}", play.title);
                lines.push(Line { label, family: play.family.clone(), stroke, points });
            }
        }
        for play in sorted {
            let cells = metrics.map(|(name, _, _)| spread(play.figure(name), "ns"));
            table.rows.push([play.title.clone(), percent(play.loss)].into_iter().chain(cells).collect());
            plays.push(play);
        }
    }
    if lines.is_empty() {
        return None;
    }
    let marks = loss_marks();
    let micros = |value: f64| mark(value, "µs");
    let axes =
        Axes { x: &marks, x_title: "packets lost on their way in", y_title: "", multiplies: true, shown: &micros };
    Some(figure(results, names, lead.into(), charts::lines(&lines, &axes), table, &plays))
}

fn repair(results: &Results) -> Option<Figure> {
    let lead = "100,000 messages a second, low-latency: from the moment at which a packet was lost to the delivery of its message.";
    let metrics = [
        (metric::REPAIR_P50, "p50", ""),
        (metric::REPAIR_P99, "p99", "dashed"),
        (metric::REPAIR_MAX, "worst", "dotted"),
    ];
    against_loss(results, "repair", ("repair", "Repair latency"), lead, metrics)
}

fn under_loss(results: &Results) -> Option<Figure> {
    let lead = "50,000 messages a second, low-latency, all messages counted, those behind a hole as well.";
    let metrics = [(metric::P50, "p50", ""), (metric::P99, "p99", "dashed"), (metric::P999, "p99.9", "dotted")];
    against_loss(results, "latency-under-loss", ("under-loss", "Latency under loss"), lead, metrics)
}

fn cost(results: &Results) -> Option<Figure> {
    let plays = ranked(results, "cost", metric::SENDER_CPU);
    let mut bars = Vec::new();
    let mut table = Table::new(&[
        "who",
        "sender, CPU s per million",
        "receiver, CPU s per million",
        "messages/s meanwhile",
        "calls per packet",
    ]);
    let calls = |play: &Played, name| results.play("calls", &play.id).and_then(|play| play.figure(name));
    for play in plays.iter().rev() {
        for (name, side) in [(metric::SENDER_CPU, "sender"), (metric::RECEIVER_CPU, "receiver")] {
            if let Some(mut bar) = bar_of(play, name, " s") {
                bar.label = format!("{}, {side}", play.title);
                bars.push(bar);
            }
        }
        let of_calls =
            [metric::SENDER_CALLS, metric::RECEIVER_CALLS].map(|name| number(calls(play, name), "")).join(" and ");
        table.rows.push(vec![
            play.title.clone(),
            spread(play.figure(metric::SENDER_CPU), ""),
            spread(play.figure(metric::RECEIVER_CPU), ""),
            number(play.figure(metric::MESSAGES), "/s"),
            of_calls,
        ]);
    }
    if bars.is_empty() {
        return None;
    }
    let lead = "Processor seconds for a million messages of 256 octets, the kernel's part included, with both ends asleep when there is \
                nothing to do. Calls are counted while both spin, in the steady state."
        .into();
    let picture = charts::bars(&bars, |value| mark(value, " s"));
    Some(figure(results, ("cost", "What a message costs"), lead, picture, table, &plays))
}

fn receivers(results: &Results) -> Option<Figure> {
    let (mut bars, mut all) = (Vec::new(), Vec::new());
    let mut table = Table::new(&["who", "receivers", "messages/s, each", "lost, all together"]);
    for bout in ["receivers-2", "receivers-4"] {
        for play in ranked(results, bout, metric::MESSAGES) {
            let mut bar = bar_of(play, metric::MESSAGES, "/s")?;
            bar.label = format!("{}, {}", bar.label, play.receivers);
            bars.push(bar);
            table.rows.push(vec![
                play.title.clone(),
                play.receivers.to_string(),
                spread(play.figure(metric::MESSAGES), "/s"),
                number(play.figure(metric::LOST), ""),
            ]);
            all.push(play);
        }
    }
    if bars.is_empty() {
        return None;
    }
    let lead = "Receivers behind a bridge that share one core and sleep when there is nothing to do. Bare rings lose what they have no room for; \
                pgmx repairs it."
        .into();
    let picture = charts::bars(&bars, |value| mark(value, "/s"));
    Some(figure(results, ("receivers", "Several receivers"), lead, picture, table, &all))
}
