//! What is said at the end: a table for people, one JSON object for programs.
//!
//! Filled in by each command from what its endpoint counted. Guards: the keys of the object, and their order, stay as docs/command.md
//! has them; what a command cannot know is null, never 0.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use pgmx::link::auto::Path;
use pgmx::protocol::receiver::ReceiverStats;
use pgmx::protocol::source::SourceStats;
use pgmx::protocol::{End, Event};
use serde::Serialize;

use super::failure::Failure;

/// Events that are kept in full; the counters have all.
const EVENTS_MAX: usize = 256;
/// Latencies are told apart by a thousandth, up to this; what is longer counts as this.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// A histogram of latencies in nanoseconds. Messages of one batch have one latency: it is written down once.
#[derive(Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
    value_ns: u64,
    times: u64,
}

impl Latency {
    /// Nothing was measured yet.
    pub(crate) fn new() -> Self {
        // These bounds are always good; there is memory for 200 kB.
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("bounds that make sense");
        Self { histogram, value_ns: 0, times: 0 }
    }

    /// Measured once more.
    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        if ns != self.value_ns {
            self.write_down();
            self.value_ns = ns;
        }
        self.times += 1;
    }

    fn write_down(&mut self) {
        if self.times > 0 {
            self.histogram.saturating_record_n(self.value_ns, self.times);
            self.times = 0;
        }
    }

    /// All that was measured.
    pub(crate) fn histogram(&mut self) -> &Histogram<u64> {
        self.write_down();
        &self.histogram
    }

    /// Percentiles; `None` if nothing was measured.
    pub(crate) fn summary(&mut self) -> Option<LatencyNs> {
        LatencyNs::of(self.histogram())
    }
}

/// Percentiles of latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LatencyNs {
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl LatencyNs {
    /// Those of a histogram; `None` if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |percentile| histogram.value_at_percentile(percentile);
        (!histogram.is_empty()).then(|| Self {
            min: histogram.min(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: histogram.max(),
        })
    }
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventLine {
    /// `opened`, `loss` or `closed`.
    event: &'static str,
    /// The session.
    tsi: String,
    /// Address of the source that opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// First packet: of the session for us, or lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u32>,
    /// Last packet lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u32>,
    /// Why data was lost, or how the session ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl From<&Event> for EventLine {
    fn from(event: &Event) -> Self {
        let line = |event, tsi: &pgmx::wire::Tsi| Self {
            event,
            tsi: tsi.to_string(),
            source: None,
            first: None,
            last: None,
            cause: None,
        };
        match event {
            Event::Opened { tsi, source, first, .. } => {
                Self { source: Some(source.to_string()), first: Some(first.get()), ..line("opened", tsi) }
            }
            Event::Loss { tsi, first, last, cause } => Self {
                first: Some(first.get()),
                last: Some(last.get()),
                cause: Some(format!("{cause:?}")),
                ..line("loss", tsi)
            },
            Event::Closed { tsi, end } => Self { cause: Some(format!("{end:?}")), ..line("closed", tsi) },
        }
    }
}

/// The first events, for the report.
#[derive(Debug, Default)]
pub(crate) struct Events(Vec<EventLine>);

impl Events {
    /// One more, if there is room.
    pub(crate) fn add(&mut self, event: &Event) {
        if self.0.len() < EVENTS_MAX {
            self.0.push(event.into());
        }
    }
}

/// How a session ended, for people.
pub(crate) fn end_in_words(end: End) -> String {
    match end {
        End::Finished => "it was done".into(),
        End::Aborted(code) => format!("its source gave it up (code {code})"),
        End::Expired => "its source fell silent".into(),
        End::Lost(cause) => format!("data was lost for good ({cause:?}), and --policy is reset"),
        End::Local => "we left it".into(),
    }
}

/// The report. Its fields are the keys of the JSON object, in this order.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) messages_per_s: Option<f64>,
    pub(crate) bits_per_s: Option<f64>,
    pub(crate) lost: Option<u64>,
    pub(crate) duplicates_dropped: Option<u64>,
    pub(crate) corrupt: Option<u64>,
    pub(crate) naks_sent: Option<u64>,
    pub(crate) naks_received: Option<u64>,
    pub(crate) ncfs_sent: Option<u64>,
    pub(crate) ncfs_received: Option<u64>,
    pub(crate) repairs_sent: Option<u64>,
    pub(crate) repairs_received: Option<u64>,
    pub(crate) parity_sent: Option<u64>,
    pub(crate) parity_received: Option<u64>,
    pub(crate) spms_sent: Option<u64>,
    pub(crate) spms_received: Option<u64>,
    pub(crate) sessions: u64,
    pub(crate) events: Option<Vec<EventLine>>,
    pub(crate) io: String,
    pub(crate) io_refusals: Vec<String>,
    pub(crate) latency_ns: Option<LatencyNs>,
    pub(crate) repair_ns: Option<LatencyNs>,
    pub(crate) packets: Option<u64>,
}

impl Report {
    /// So many messages in so much time, over this path.
    pub(crate) fn new(path: &Path, messages: u64, bytes: u64, lasted: Duration) -> Self {
        let seconds = lasted.as_secs_f64();
        // More digits than a clock has say nothing, and neither does a rate over no time.
        let per_second = |amount: u64| (seconds > 0.0).then(|| (amount as f64 / seconds).round());
        Self {
            messages,
            bytes,
            seconds: (seconds * 1e6).round() / 1e6,
            messages_per_s: per_second(messages),
            bits_per_s: per_second(8 * bytes),
            lost: None,
            duplicates_dropped: None,
            corrupt: None,
            naks_sent: None,
            naks_received: None,
            ncfs_sent: None,
            ncfs_received: None,
            repairs_sent: None,
            repairs_received: None,
            parity_sent: None,
            parity_received: None,
            spms_sent: None,
            spms_received: None,
            sessions: 0,
            events: None,
            io: path.way.to_string(),
            io_refusals: path.refusals.iter().map(ToString::to_string).collect(),
            latency_ns: None,
            repair_ns: None,
            packets: None,
        }
    }

    /// What a source counted.
    #[must_use]
    pub(crate) fn source(mut self, stats: &SourceStats) -> Self {
        self.naks_received = Some(stats.naks);
        self.ncfs_sent = Some(stats.ncfs);
        self.repairs_sent = Some(stats.rdata);
        self.spms_sent = Some(stats.spms);
        *self.packets.get_or_insert(0) += stats.odata;
        self.sessions += 1;
        self
    }

    /// What a receiver counted.
    #[must_use]
    pub(crate) fn receiver(mut self, stats: &ReceiverStats, events: Events) -> Self {
        self.duplicates_dropped = Some(stats.all.duplicates);
        self.naks_sent = Some(stats.all.naks_sent);
        self.ncfs_received = Some(stats.all.ncfs);
        self.repairs_received = Some(stats.all.repaired_packets);
        self.spms_received = Some(stats.all.spms);
        self.sessions += stats.sessions_opened;
        self.events = Some(events.0);
        self
    }

    /// Whether data was lost or came damaged.
    pub(crate) fn is_short(&self) -> bool {
        self.lost.unwrap_or(0) > 0 || self.corrupt.unwrap_or(0) > 0
    }

    /// Prints it, and passes on what came of the command. One that failed before its first message needs no table beside its line.
    pub(crate) fn close<T>(&self, json: bool, title: &str, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.is_err() && self.messages == 0 && !json {
            return outcome;
        }
        let printed = self.print(json, title);
        outcome.and_then(|outcome| printed.map(|()| outcome))
    }

    /// Prints it: the object on stdout, or the table on stderr, where it does not mix with messages. Where nobody listens, nothing is
    /// printed.
    fn print(&self, json: bool, title: &str) -> Result<(), Failure> {
        if json {
            let object = serde_json::to_string(self).map_err(Failure::error)?;
            return super::print(object + "\n");
        }
        let _ = write!(std::io::stderr(), "{}", self.table(title));
        Ok(())
    }

    fn table(&self, title: &str) -> String {
        let mut text = String::new();
        let _ = write!(
            text,
            "{title} {} messages, {} octets in {:.3} s",
            grouped(self.messages),
            grouped(self.bytes),
            self.seconds
        );
        let _ = match (self.messages_per_s, self.bits_per_s) {
            (Some(messages), Some(per_second)) => {
                writeln!(text, ": {} messages/s, {}", grouped(messages.round() as u64), bits(per_second))
            }
            _ => writeln!(text),
        };
        let mut row = |name: &str, cells: &[(&str, Option<u64>)]| {
            let known: Vec<String> = cells
                .iter()
                .filter_map(|(what, number)| number.map(|number| format!("{what} {}", grouped(number))))
                .collect();
            if !known.is_empty() {
                let _ = writeln!(text, "  {name:<9} {}", known.join(", "));
            }
        };
        row(
            "lost",
            &[("messages", self.lost), ("corrupt", self.corrupt), ("duplicates dropped", self.duplicates_dropped)],
        );
        row("repairs", &[("sent", self.repairs_sent), ("received", self.repairs_received)]);
        row("NAKs", &[("sent", self.naks_sent), ("received", self.naks_received)]);
        row("NCFs", &[("sent", self.ncfs_sent), ("received", self.ncfs_received)]);
        row("SPMs", &[("sent", self.spms_sent), ("received", self.spms_received)]);
        row("sessions", &[("in all", Some(self.sessions))]);
        for (name, times) in [("latency", self.latency_ns), ("repair", self.repair_ns)] {
            let Some(LatencyNs { min, p50, p90, p99, p999, max }) = times else { continue };
            let [min, p50, p90, p99, p999, max] = [min, p50, p90, p99, p999, max].map(micros);
            let _ =
                writeln!(text, "  {name:<9} min {min}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max} µs");
        }
        let _ = writeln!(text, "  {:<9} {}", "way", self.io);
        for refusal in &self.io_refusals {
            let _ = writeln!(text, "  {:<9} {refusal}", "");
        }
        text
    }
}

fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bits per second with the unit that suits them.
pub(crate) fn bits(per_second: f64) -> String {
    let scales = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    let found = scales.iter().find(|(scale, _)| per_second >= *scale);
    let (scale, unit) = found.copied().unwrap_or((1.0, "bit/s"));
    format!("{:.1} {unit}", per_second / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 999.0, 1500.0, 2.5e6, 9.87e9].map(bits),
            ["0.0 bit/s", "999.0 bit/s", "1.5 kbit/s", "2.5 Mbit/s", "9.9 Gbit/s"]
        );
    }

    #[test]
    fn latencies_are_written_down_once_for_a_batch_and_none_is_forgotten() {
        let mut latency = Latency::new();
        assert_eq!(latency.summary(), None);
        for ns in [100, 100, 100, 200, 100] {
            latency.record(ns);
        }
        assert_eq!(latency.histogram().len(), 5);
        let summary = latency.summary().expect("something was measured");
        assert_eq!((summary.min, summary.p50, summary.max), (100, 100, 200));
    }
}
