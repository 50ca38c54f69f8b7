//! One play: begins both ends, waits for them, and says what was measured.
//!
//! ```text
//!   receivers begin ─▶ all are members of the group ─▶ the sender begins ─▶ receivers end ─▶ the sender is told to end
//! ```
//!
//! Called by the program, repetition by repetition. Guards: every wait ends; a program that is done is not waited for any longer than its
//! figures need.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value;

use super::calls::Calls;
use super::programs::{End, Programs, round_trips};
use super::results::{Sample, metric};
use super::scene::Scene;
use super::{ON_THE_WIRE, Pace, Play, Setting, Task, Who};
use crate::links::bare::Bare;
use crate::links::mmsg::{Kind, Mmsg};
use crate::links::{Contestant, Outcome, Run, Workload};
use crate::netns::{Port, pin};
use crate::pingpong::bare::{Course, Side};
use crate::process::{Ended, Running, number};
use crate::stop;

/// How long a program may need beyond what it was given to do.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);
/// The group as the kernel lists it.
const GROUP_LISTED: &str = "0100C0EF";
/// What a receiver of a peer, which hears of no end, may still have to read.
const AFTERMATH: Duration = Duration::from_millis(150);
/// Frames that the bare sender goes round: as many as the window of `lan` has slots.
const BARE_FRAMES: u32 = 65_536;
/// Packets at a call, and entries of each ring: as the xdp link has them.
const BARE_BUDGET: u32 = 256;
const BARE_RING: u32 = 2048;
/// Octets of a message that still fit one packet of PGM, as all of them cut it but for some octets.
const PACKET: u32 = 1424;
/// Of a play whose calls are counted, the part before the count and the part in which it is taken.
const CALLS_FROM: f64 = 0.3;
const CALLS_FOR: f64 = 0.5;
/// Bursts are rare: many times the time of others.
const BURSTS_TIME: u32 = 6;
/// The percentiles of a curve.
const PERCENTILES: [f64; 12] = [0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999, 100.0];

/// What a play is given.
pub struct Stage<'a> {
    /// Where.
    pub scene: &'a Scene,
    /// What.
    pub programs: &'a Programs,
    /// For how long.
    pub time: Duration,
    /// Which time it is played.
    pub repetition: usize,
    /// Where histograms are kept, and under which name.
    pub histograms: &'a Path,
    /// See `histograms`.
    pub name: String,
}

/// What a play gave, beside its sample.
#[derive(Clone, Debug, Default)]
pub struct Outturn {
    /// The figures.
    pub sample: Sample,
    /// How each end was begun.
    pub commands: Vec<String>,
    /// The way that was taken.
    pub form: String,
}

/// Plays it once.
///
/// # Errors
/// Why there is no figure.
pub fn play(stage: &Stage<'_>, play: &Play) -> Result<Outturn, String> {
    let time = match play.task {
        Task::Bursts => stage.time * BURSTS_TIME,
        // Few messages say little of their percentiles.
        Task::Paced(Pace::PerSecond(rate)) if rate < 10_000 => stage.time * 2,
        _ => stage.time,
    };
    match (play.who, play.task) {
        (Who::Bare | Who::MmsgRaw | Who::MmsgUdp, Task::Blast) => duel(stage, play, time),
        (Who::Bare, Task::RoundTrip) => bare_round_trips(stage, play, time),
        (Who::Bare | Who::MmsgRaw | Who::MmsgUdp, _) => Err("only blasts, and round trips over bare rings".into()),
        _ => programs(stage, play, time),
    }
}

/// Waits until a receiver is a member of the group: a sender that begins earlier is heard from its middle.
fn await_member(receiver: &mut Running) -> Result<(), String> {
    let (list, end) = (format!("/proc/{}/net/igmp", receiver.process()), Instant::now() + PATIENCE);
    loop {
        if fs::read_to_string(&list).is_ok_and(|list| list.contains(GROUP_LISTED)) {
            return Ok(());
        }
        if !receiver.is_running() || stop::is_asked() || Instant::now() > end {
            return Err(format!("{}: joined no group", receiver.line()));
        }
        sleep(LOOK);
    }
}

/// Both ends are programs.
fn programs(stage: &Stage<'_>, play: &Play, time: Duration) -> Result<Outturn, String> {
    let is_pgmx = matches!(play.who, Who::Pgmx(_));
    let histogram = stage.histograms.join(format!("{}-{}.hgrm", stage.name, stage.repetition + 1));
    let line = |end, port: &Port, seed, file| stage.programs.line(play, end, port, time, seed, file);
    let _loss = match play.setting.loss {
        // It loses packets itself.
        0 => None,
        _ if is_pgmx => None,
        loss => Some(stage.scene.lose(&stage.programs.lossy(loss))?),
    };
    let mut receivers = Vec::new();
    for (n, (host, port)) in stage.scene.receivers().into_iter().enumerate() {
        // One of them is enough for latencies.
        let file = (n == 0).then_some(histogram.as_path());
        let line = line(End::Receiver, port, 100 * stage.repetition + n, file)?;
        receivers.push(Running::begin(host, &line.program, &line.words)?);
    }
    let is_round_trip = play.task == Task::RoundTrip;
    for receiver in &mut receivers {
        await_member(receiver)?;
    }
    let (host, port) = stage.scene.source();
    let told = line(End::Source, port, stage.repetition, Some(&histogram))?;
    let sender = Running::begin(host, &told.program, &told.words)?;
    let commands: Vec<String> = [sender.line().to_owned(), receivers[0].line().to_owned()].into();
    let counted = if play.task == Task::Calls { Some(count_calls(&sender, &receivers[0], time)) } else { None };
    let at_most = time + PATIENCE;
    let (source, heard) = if is_pgmx && !is_round_trip {
        // They hear of the end, and from then on nobody asks the sender any more.
        let heard: Vec<_> = receivers.into_iter().map(|receiver| receiver.end(at_most)).collect();
        sender.ask(2);
        (sender.end(PATIENCE), heard)
    } else {
        let source = sender.end(at_most);
        if !is_pgmx {
            sleep(AFTERMATH);
            for receiver in &receivers {
                receiver.ask(1);
            }
        }
        (source, receivers.into_iter().map(|receiver| receiver.end(PATIENCE)).collect())
    };
    let source = source.and_then(|ended| accepted(ended, &[0, 130]));
    let heard: Vec<_> = heard.into_iter().map(|ended| ended.and_then(|ended| accepted(ended, &[0, 3, 130]))).collect();
    let complaints: Vec<String> =
        std::iter::once(&source).chain(&heard).filter_map(|ended| ended.as_ref().err().cloned()).collect();
    let (Ok(source), Ok(heard)) = (source, heard.into_iter().collect::<Result<Vec<_>, _>>()) else {
        return Err(complaints.join("; "));
    };
    let form = heard[0].said.pointer("/io").and_then(Value::as_str).unwrap_or(play.who.name()).to_owned();
    let mut sample = Sample::default();
    if is_round_trip {
        latencies(&mut sample, &source.said, "/latency_ns");
        sample.set(metric::LOST, number(&source.said, "/lost").unwrap_or(0.0));
    } else {
        blast(&mut sample, play, &source, &heard)?;
    }
    if histogram.exists() {
        sample.curve = fs::read_to_string(&histogram).map(|text| curve_of(&text)).unwrap_or_default();
        sample.histogram = histogram.file_name().map(|name| name.to_string_lossy().into_owned());
    } else {
        sample.curve = few_points(&sample);
    }
    if let Some(counted) = counted {
        let (sent, taken) = counted?;
        let packets = sample.metrics.get(metric::PACKETS).copied().filter(|packets| *packets > 0.0);
        let packets = packets.ok_or("nothing was sent while calls were counted")?;
        sample.set(metric::SENDER_CALLS, sent / packets);
        sample.set(metric::RECEIVER_CALLS, taken / packets);
    }
    Ok(Outturn { sample, commands, form })
}

/// It ended as it should.
fn accepted(ended: Ended, codes: &[i32]) -> Result<Ended, String> {
    if ended.code.is_some_and(|code| codes.contains(&code)) { Ok(ended) } else { Err(ended.failure()) }
}

/// System calls a second of both ends, in the middle of the play.
fn count_calls(sender: &Running, receiver: &Running, time: Duration) -> Result<(f64, f64), String> {
    sleep(time.mul_f64(CALLS_FROM));
    let counters = (Calls::of(sender.process())?, Calls::of(receiver.process())?);
    let begun = (counters.0.read()?, counters.1.read()?, Instant::now());
    sleep(time.mul_f64(CALLS_FOR));
    let (sent, taken) = (counters.0.read()?, counters.1.read()?);
    let seconds = begun.2.elapsed().as_secs_f64();
    Ok(((sent - begun.0) as f64 / seconds, (taken - begun.1) as f64 / seconds))
}

/// What both ends said of a transfer.
fn blast(sample: &mut Sample, play: &Play, source: &Ended, heard: &[Ended]) -> Result<(), String> {
    let sum = |key: &str| -> f64 { heard.iter().filter_map(|ended| number(&ended.said, key).ok()).sum() };
    let (receivers, sent) = (heard.len() as f64, number(&source.said, "/messages")?);
    let delivered = sum("/messages") / receivers;
    if delivered == 0.0 {
        return Err("nothing was delivered".into());
    }
    let per_second = sum("/messages_per_s") / receivers;
    sample.set(metric::MESSAGES, per_second);
    rates(sample, &play.setting, per_second, packets_per_message(play, source, sent));
    sample.set(metric::LOST, sum("/lost"));
    // Peers tell apart what `pgmx` counts as one.
    sample.set(metric::CORRUPT, sum("/corrupt") + sum("/duplicates") + sum("/out_of_order"));
    sample.set(metric::SENDER_CPU, source.processor.as_secs_f64() / sent * 1e6);
    let processor: Duration = heard.iter().map(|ended| ended.processor).sum();
    sample.set(metric::RECEIVER_CPU, processor.as_secs_f64() / receivers / delivered * 1e6);
    let repaired = sum("/repairs_received");
    if repaired > 0.0 {
        sample.set(metric::NAKS, sum("/naks_sent") / repaired);
    }
    latencies(sample, &heard[0].said, "/latency_ns");
    for (key, name) in [("p50", metric::REPAIR_P50), ("p99", metric::REPAIR_P99), ("max", metric::REPAIR_MAX)] {
        if let Ok(ns) = number(&heard[0].said, &format!("/repair_ns/{key}")) {
            sample.set(name, ns);
        }
    }
    Ok(())
}

/// `pgmx` says how many packets left; OpenPGM cuts messages as PGM has to; ZeroMQ and NORM lay many into one, and nobody says how many.
fn packets_per_message(play: &Play, source: &Ended, sent: f64) -> Option<f64> {
    match play.who {
        Who::Pgmx(_) => number(&source.said, "/packets").ok().filter(|_| sent > 0.0).map(|packets| packets / sent),
        Who::ZeroMq { .. } | Who::Norm => None,
        _ => Some(f64::from(play.setting.size.div_ceil(PACKET).max(1))),
    }
}

fn rates(sample: &mut Sample, setting: &Setting, messages: f64, packets_per_message: Option<f64>) {
    let octets = f64::from(setting.size);
    sample.set(metric::PAYLOAD_GBIT, messages * octets * 8.0 / 1e9);
    if let Some(packets) = packets_per_message {
        sample.set(metric::PACKETS, messages * packets);
        sample.set(metric::WIRE_GBIT, messages * (octets + packets * ON_THE_WIRE) * 8.0 / 1e9);
    }
}

fn latencies(sample: &mut Sample, said: &Value, at: &str) {
    let keys = [
        ("p50", metric::P50),
        ("p90", metric::P90),
        ("p99", metric::P99),
        ("p999", metric::P999),
        ("max", metric::MAX),
    ];
    for (key, name) in keys {
        if let Ok(ns) = number(said, &format!("{at}/{key}")) {
            sample.set(name, ns);
        }
    }
}

/// A curve of what peers tell.
fn few_points(sample: &Sample) -> Vec<(f64, f64)> {
    let names =
        [(50.0, metric::P50), (90.0, metric::P90), (99.0, metric::P99), (99.9, metric::P999), (100.0, metric::MAX)];
    names.iter().filter_map(|(at, name)| Some((*at, *sample.metrics.get(*name)?))).collect()
}

/// Reads HdrHistogram's text: microseconds and quantiles, by the line.
fn curve_of(text: &str) -> Vec<(f64, f64)> {
    let lines: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (value, quantile) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?);
            Some((quantile * 100.0, value * 1000.0))
        })
        .collect();
    let at = |percentile: f64| lines.iter().find(|line| line.0 >= percentile - 1e-9).map(|line| (percentile, line.1));
    PERCENTILES.iter().filter_map(|percentile| at(*percentile)).collect()
}

/// Sender and receivers are threads of ours.
fn duel(stage: &Stage<'_>, play: &Play, time: Duration) -> Result<Outturn, String> {
    let (ring, budget) = (BARE_RING, BARE_BUDGET);
    let workload = Workload { payload: play.setting.size as usize, frames: BARE_FRAMES, budget, ring, time };
    let blocks = play.setting.receivers > 1;
    let open = |port: &Port, receives: bool| -> Result<Box<dyn Contestant>, String> {
        Ok(match play.who {
            Who::MmsgRaw => Box::new(Mmsg::open(port, Kind::Raw, receives)?),
            Who::MmsgUdp => Box::new(Mmsg::open(port, Kind::Udp, receives)?),
            _ if receives && blocks => Box::new(Bare::open(port, &workload, receives)?.blocking()),
            _ => Box::new(Bare::open(port, &workload, receives)?),
        })
    };
    let (run, (ready, is_ready)) = (Arc::new(Run::default()), channel());
    let on = |processor| pin(processor).map_err(|error| format!("processor {processor}: {error}"));
    let outcomes: Vec<Result<Option<Outcome>, String>> = thread::scope(|scope| {
        let mut sides = Vec::new();
        for (host, port) in stage.scene.receivers() {
            let (run, ready, open, workload) = (run.clone(), ready.clone(), &open, &workload);
            sides.push(scope.spawn(move || {
                on(1)?;
                let mut contestant = host.inside(|| open(port, true))?;
                ready.send(()).map_err(|_| "the sender stopped")?;
                drop(ready);
                let outcome = contestant.receive(workload, &run)?;
                contestant.close().map(|()| Some(outcome))
            }));
        }
        drop(ready);
        let (host, port) = stage.scene.source();
        let (run, open, workload) = (run.clone(), &open, &workload);
        let receivers = sides.len();
        sides.push(scope.spawn(move || {
            on(0)?;
            let mut contestant = host.inside(|| open(port, false))?;
            for _ in 0..receivers {
                is_ready.recv_timeout(PATIENCE).map_err(|_| "a receiver did not open")?;
            }
            contestant.send(workload, &run)?;
            contestant.close().map(|()| None)
        }));
        sides.into_iter().map(|side| side.join().unwrap_or_else(|_| Err("a side panicked".into()))).collect()
    });
    let outcomes: Vec<Outcome> = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64;
    let mut sample = Sample::default();
    let per_second = mean(|outcome| outcome.per_second);
    sample.set(metric::MESSAGES, per_second);
    rates(&mut sample, &play.setting, per_second, Some(1.0));
    // It keeps no books: what a receiver's ring had no room for is gone.
    sample.set(metric::LOST, outcomes.iter().map(|outcome| outcome.lost() as f64).sum());
    sample.set(metric::SENDER_CPU, mean(|outcome| outcome.sender_ns) / 1e3);
    sample.set(metric::ATTENTION, mean(|outcome| outcome.attention));
    let form = if play.who == Who::Bare { "bare AF_XDP rings, native, copy" } else { "64 packets a call" };
    let command =
        format!("two threads of this program: {BARE_FRAMES} frames, rings of {ring}, {budget} packets a call");
    Ok(Outturn { sample, commands: vec![command], form: form.into() })
}

fn bare_round_trips(stage: &Stage<'_>, play: &Play, time: Duration) -> Result<Outturn, String> {
    let (count, warm_up) = round_trips(time);
    let number = |text: String| text.parse().map_err(|error| format!("{text}: {error}"));
    let course = Course { payload: play.setting.size as usize, warm_up: number(warm_up)?, count: number(count)? };
    let (host, port) = stage.scene.source();
    let mut ping = host.inside(|| Side::ping(port, &course))?;
    let (host, port) = stage.scene.receivers()[0];
    let mut pong = host.inside(|| Side::pong(port, &course))?;
    let is_over = AtomicBool::new(false);
    let on = |processor| pin(processor).map_err(|error| format!("processor {processor}: {error}"));
    let (timed, answered) = thread::scope(|scope| {
        let ping = scope.spawn(|| {
            let timed = on(0).and_then(|()| ping.time(&course));
            is_over.store(true, Ordering::Release);
            timed
        });
        let pong = scope.spawn(|| on(1).and_then(|()| pong.answer(&is_over, time + PATIENCE)));
        (ping.join(), pong.join())
    });
    let died = |_| "a side of the bare ping-pong panicked".to_owned();
    let histogram = timed.map_err(died)??;
    answered.map_err(died)??;
    let mut sample = Sample::default();
    let at = |percentile: f64| histogram.value_at_percentile(percentile) as f64;
    for (percentile, name) in
        [(50.0, metric::P50), (90.0, metric::P90), (99.0, metric::P99), (99.9, metric::P999), (100.0, metric::MAX)]
    {
        sample.set(name, at(percentile));
    }
    sample.set(metric::LOST, 0.0);
    sample.curve = PERCENTILES.map(|percentile| (percentile, at(percentile))).to_vec();
    sample.histogram =
        keep(&histogram, &stage.histograms.join(format!("{}-{}.hgrm", stage.name, stage.repetition + 1)))?;
    let command = format!("two threads of this program: {} round trips", course.count);
    Ok(Outturn { sample, commands: vec![command], form: "bare AF_XDP rings, native, copy".into() })
}

/// Writes a histogram as the command does; its name.
fn keep(histogram: &Histogram<u64>, path: &PathBuf) -> Result<Option<String>, String> {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / 1000.0, step.quantile_iterated_to());
        let rest = if quantile < 1.0 { format!(" {:14.2}", 1.0 / (1.0 - quantile)) } else { String::new() };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{value:12.3} {quantile:2.12} {total:10}{rest}");
    }
    fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))?;
    Ok(path.file_name().map(|name| name.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_from_the_text_of_a_histogram() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).expect("bounds");
        for n in 1..=10_000_u64 {
            histogram.record(n * 1_000).expect("in range");
        }
        let path = std::env::temp_dir().join(format!("proving-{}.hgrm", std::process::id()));
        let name = keep(&histogram, &path).expect("written").expect("a name");
        let curve = curve_of(&fs::read_to_string(&path).expect("just written"));
        fs::remove_file(&path).expect("just written");
        assert!(path.ends_with(name));
        let at = |percentile: f64| curve.iter().find(|point| (point.0 - percentile).abs() < 1e-9).expect("a point").1;
        for (percentile, ns) in [(50.0, 5e6), (99.0, 9.9e6), (99.9, 9.99e6), (100.0, 1e7)] {
            assert!((at(percentile) / ns - 1.0).abs() < 0.02, "{percentile}: {}", at(percentile));
        }
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    }

    #[test]
    fn rates_count_what_a_wire_adds_to_each_packet() {
        let mut sample = Sample::default();
        rates(&mut sample, &Setting::of(64), 1e6, Some(1.0));
        assert!((sample.metrics[metric::PAYLOAD_GBIT] - 0.512).abs() < 1e-9);
        // 8.56 million packets of 64 octets are 10 GbE.
        assert!((sample.metrics[metric::WIRE_GBIT] * 8.56 - 10.0).abs() < 0.01);
        let mut unknown = Sample::default();
        rates(&mut unknown, &Setting::of(64), 1e6, None);
        assert!(!unknown.metrics.contains_key(metric::PACKETS), "nobody knows how many packets these were");
    }
}
