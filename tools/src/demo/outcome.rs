//! What came of the demo: the figures of each player, the table for people and the object for programs.
//!
//! Called by the demo, for its live view as for its end. Guards: what is missing counts as lost, whatever the subscriber itself says; the
//! table fits a terminal of 80 columns.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::cast::Player;
use crate::common::report::grouped;

/// Width of the first column.
const LABEL: usize = 14;
/// Width of each other.
const COLUMN: usize = 16;

/// What stands in the table for one player.
#[derive(Debug, Default, Serialize)]
pub(super) struct Part {
    /// What it is called.
    pub(super) name: String,
    /// What is special about it.
    pub(super) role: String,
    /// Messages published or delivered.
    pub(super) messages: u64,
    /// Repairs sent, or messages that came by repair.
    pub(super) repairs: u64,
    /// Messages that were not delivered, though they should have been; null for the publisher.
    pub(super) lost: Option<u64>,
    /// Messages that were not as they were published; null for the publisher.
    pub(super) corrupt: Option<u64>,
    /// NAKs sent, or heard by the publisher.
    pub(super) naks: u64,
    /// Messages older than its joining that it still got; null for who was there from the beginning.
    pub(super) history: Option<u64>,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
    /// Its own report, with the keys of `pgmx send` and `recv`; null if it made none.
    pub(super) report: Option<Value>,
    /// Messages and bits a second between its last two words; shown while there is no report.
    #[serde(skip)]
    pace: Option<(f64, f64)>,
}

impl Part {
    /// The publisher's.
    pub(super) fn of_publisher(player: &Player) -> Self {
        Self {
            repairs: player.figure("repairs_sent"),
            naks: player.figure("naks_received"),
            ..Self::of(player, String::new())
        }
    }

    /// A subscriber's, which ought to have `due` messages at the least.
    pub(super) fn of_subscriber(player: &Player, role: String, due: u64) -> Self {
        let missing = due.saturating_sub(player.figure("messages"));
        Self {
            repairs: player.figure("repairs_received"),
            naks: player.figure("naks_sent"),
            lost: Some(missing.max(player.figure("lost"))),
            corrupt: Some(player.figure("corrupt")),
            ..Self::of(player, role)
        }
    }

    fn of(player: &Player, role: String) -> Self {
        Self {
            name: player.name.clone(),
            role,
            messages: player.figure("messages"),
            failure: player.failure(),
            report: player.report.clone(),
            pace: player.pace,
            ..Self::default()
        }
    }

    fn said(&self, key: &str) -> &Value {
        self.report.as_ref().map_or(&Value::Null, |report| &report[key])
    }

    fn messages_per_s(&self) -> String {
        let now = self.pace.map(|(messages, _)| messages);
        self.said("messages_per_s").as_f64().or(now).map_or(String::new(), |rate| grouped(rate.round() as u64))
    }

    fn mbits_per_s(&self) -> String {
        let now = self.pace.map(|(_, bits)| bits);
        self.said("bits_per_s").as_f64().or(now).map_or(String::new(), |rate| format!("{:.1}", rate / 1e6))
    }

    fn latency(&self, key: &str) -> String {
        self.said("latency_ns")[key].as_u64().map_or(String::new(), duration)
    }

    /// Its link, as its report names it.
    fn link(&self) -> String {
        self.said("io").as_str().unwrap_or_default().to_owned()
    }

    /// Each better link that it was refused.
    pub(super) fn refusals(&self) -> Vec<String> {
        let refusals = self.said("io_refusals").as_array().into_iter().flatten();
        refusals.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// What keeps this from being a success: messages.
    pub(super) fn failed_messages(&self) -> u64 {
        self.lost.unwrap_or_default() + self.corrupt.unwrap_or_default()
    }
}

/// Nanoseconds for people: three digits are enough.
fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    if value < 100.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// The table: a column for each player.
pub(super) fn table(parts: &[Part]) -> String {
    let mut text = String::new();
    let mut row = |label: &str, cell: &dyn Fn(&Part) -> String| {
        let mut line = format!("{label:<LABEL$}");
        for part in parts {
            let _ = write!(line, "{:>COLUMN$}", cell(part));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    row("", &|part| part.name.clone());
    row("", &|part| part.role.clone());
    row("messages", &|part| grouped(part.messages));
    row("repaired", &|part| grouped(part.repairs));
    row("lost", &|part| part.lost.map_or(String::new(), grouped));
    if parts.iter().any(|part| part.corrupt.is_some_and(|corrupt| corrupt > 0)) {
        row("corrupt", &|part| part.corrupt.map_or(String::new(), grouped));
    }
    row("messages/s", &Part::messages_per_s);
    row("Mbit/s", &Part::mbits_per_s);
    for percentile in ["p50", "p99", "max"] {
        row(&format!("latency {percentile}"), &|part| part.latency(percentile));
    }
    row("NAKs", &|part| grouped(part.naks));
    row("link", &Part::link);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parts() -> Vec<Part> {
        let report = json!({
            "messages": 1_000_000, "messages_per_s": 50_000.2, "bits_per_s": 115.2e6, "io": "xdp copy",
            "io_refusals": ["xdp zero-copy refused: veth"], "latency_ns": {"p50": 45_300, "p99": 1_204_000, "max": 2_300_000_000_u64},
        });
        let names = ["publisher", "subscriber 1", "subscriber 2", "subscriber 3"];
        let part = |name: &&str| Part {
            name: (*name).to_owned(),
            role: "loses 12.5 %".into(),
            messages: 1_000_000,
            lost: Some(0),
            corrupt: Some(0),
            report: Some(report.clone()),
            ..Part::default()
        };
        names.iter().map(part).collect()
    }

    #[test]
    fn the_table_fits_a_terminal_and_says_it_all() {
        let mut parts = parts();
        let text = table(&parts);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for word in ["1,000,000", "45.3 µs", "1.2 ms", "2.3 s", "xdp copy", "115", "50,000"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("corrupt"), "what is always nothing needs no line");
        parts[1].corrupt = Some(7);
        assert!(table(&parts).contains("\ncorrupt "));
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        assert_eq!(
            [0, 950, 99_949, 123_456, 1_500_000].map(duration),
            ["0.0 µs", "0.9 µs", "99.9 µs", "123 µs", "1.5 ms"]
        );
    }
}
