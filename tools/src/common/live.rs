//! The line on a terminal: what moves, four times a second.
//!
//! Updated by every loop. It stays one line: it is rewritten in place, cut to the width of the terminal, and cleared before anything else is
//! printed. Guards: on a pipe nothing is written at all, unless `--progress` asks for JSON lines.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use pgmx::time::Time;
use serde::Serialize;

use super::kernel;
use super::report::{bits, grouped};

/// Often enough to look alive, and seldom enough to be read.
const EVERY_NS: u64 = 250_000_000;

/// What is shown, as sums since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sample {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Sent or received, as it applies.
    pub(crate) repairs: u64,
    pub(crate) naks: u64,
    pub(crate) lost: u64,
    /// Packets in the window, and how many it holds.
    pub(crate) window: Option<(u64, u64)>,
}

#[derive(Serialize)]
struct Progress {
    seconds: f64,
    #[serde(flatten)]
    sample: Sample,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Nothing,
    Line,
    Json,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Live {
    form: Form,
    every_ns: u64,
    next: Time,
    before: (Time, Sample),
    is_shown: bool,
}

impl Live {
    /// Shows a line where stderr is a terminal, JSON lines where these are asked for, else nothing. `is_free`: nobody types or prints
    /// there.
    pub(crate) fn new(progress_ms: Option<u64>, is_free: bool) -> Self {
        let form = match progress_ms {
            Some(_) => Form::Json,
            None if is_free && std::io::stderr().is_terminal() => Form::Line,
            None => Form::Nothing,
        };
        let every_ns = progress_ms.map_or(EVERY_NS, |ms| ms * 1_000_000);
        let next = if form == Form::Nothing { Time::from_nanos(u64::MAX) } else { Time::from_nanos(every_ns) };
        Self { form, every_ns, next, before: (Time::ZERO, Sample::default()), is_shown: false }
    }

    /// Whether to call [`Live::show`].
    #[inline]
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// When it wants to be shown next; the end of time if never.
    #[inline]
    pub(crate) fn next(&self) -> Time {
        self.next
    }

    /// Shows it.
    #[cold]
    pub(crate) fn show(&mut self, now: Time, sample: Sample) {
        self.next = now.plus(self.every_ns);
        let (then, before) = core::mem::replace(&mut self.before, (now, sample));
        let mut err = std::io::stderr().lock();
        if self.form == Form::Json {
            let seconds = now.as_nanos() as f64 / 1e9;
            let line = serde_json::to_string(&Progress { seconds, sample }).unwrap_or_default();
            let _ = writeln!(err, "{line}");
            return;
        }
        let seconds = now.since(then) as f64 / 1e9;
        let width = kernel::columns(err.as_fd()).unwrap_or(80);
        let mut line = line(sample, before, seconds);
        // The last column stays free: some terminals wrap there.
        line.truncate(line.char_indices().nth(width.saturating_sub(1)).map_or(line.len(), |(at, _)| at));
        let _ = write!(err, "\r{line}\x1b[K").and_then(|()| err.flush());
        self.is_shown = true;
    }

    /// Takes the line away, so that something else can be printed.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if core::mem::take(&mut self.is_shown) {
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(sample: Sample, before: Sample, seconds: f64) -> String {
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds.max(1e-9);
    let messages = grouped(rate(sample.messages, before.messages).round() as u64);
    let bits = bits(8.0 * rate(sample.bytes, before.bytes));
    let window = sample.window.map_or_else(String::new, |(used, of)| format!("  window {} %", used * 100 / of.max(1)));
    let Sample { messages: all, repairs, lost, .. } = sample;
    format!("{}  {messages} messages/s  {bits}  repairs {repairs}  lost {lost}{window}", grouped(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_moved_since_the_last_one() {
        let before = Sample { messages: 1000, bytes: 64_000, ..Sample::default() };
        let now = Sample { messages: 3000, bytes: 192_000, repairs: 7, naks: 5, lost: 1, window: Some((32, 64)) };
        assert_eq!(line(now, before, 0.5), "3,000  4,000 messages/s  2.0 Mbit/s  repairs 7  lost 1  window 50 %");
        assert_eq!(line(before, before, 0.0), "1,000  0 messages/s  0.0 bit/s  repairs 0  lost 0");
    }
}
