//! A histogram as text: HdrHistogram's percentile distribution, which its plotters read.
//!
//! Written once, at the end. Values are microseconds, as is usual in such files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use hdrhistogram::Histogram;

use super::failure::Failure;

/// Lines for each halving of the distance to 100 %: what HdrHistogram's own tools write.
const TICKS: u32 = 5;
/// Nanoseconds in a microsecond.
const SCALE: f64 = 1_000.0;

/// Writes a histogram of nanoseconds into a file of its own.
pub(crate) fn write_file(histogram: &Histogram<u64>, path: &Path) -> Result<(), Failure> {
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(histogram, &mut file)?;
        file.flush()
    });
    written.map_err(|error| Failure::error(format_args!("--hgrm: writing {}: {error}", path.display())))
}

/// Writes a histogram of nanoseconds.
pub(crate) fn write(histogram: &Histogram<u64>, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / SCALE, step.quantile_iterated_to());
        if quantile < 1.0 {
            writeln!(to, "{value:12.3} {quantile:2.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(to, "{value:12.3} {quantile:2.12} {total:10}")?;
        }
    }
    let (mean, deviation, max) = (histogram.mean() / SCALE, histogram.stdev() / SCALE, histogram.max() as f64 / SCALE);
    writeln!(to, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(to, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    // How the histogram was kept: powers of two that it covers, and steps in each.
    let steps = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let buckets = (histogram.high() / steps + 1).next_power_of_two().trailing_zeros() + 1;
    writeln!(to, "#[Buckets = {buckets:12}, SubBuckets     = {steps:12}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value in nanoseconds, percentile and count of each line.
    fn read_back(text: &str) -> Vec<(f64, f64, u64)> {
        let figures = text.lines().filter(|line| !line.starts_with('#') && !line.contains("Value") && !line.is_empty());
        let mut lines = Vec::new();
        for line in figures {
            let mut words = line.split_whitespace();
            let mut word = || words.next().expect("four words");
            let value: f64 = word().parse().expect("a value");
            lines.push((value * SCALE, word().parse().expect("a percentile"), word().parse().expect("a count")));
        }
        lines
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_distribution() {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
        for n in 1..=10_000_u64 {
            histogram.record(n * 1_000).expect("in range");
        }
        let mut text = Vec::new();
        write(&histogram, &mut text).expect("memory takes everything");
        let text = String::from_utf8(text).expect("text");
        let lines = read_back(&text);
        assert!(lines.len() > 20, "{text}");
        assert!(lines.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2), "{text}");
        for &(value, percentile, count) in &lines {
            let exact = histogram.value_at_quantile(percentile) as f64;
            assert!((value - exact).abs() <= exact * 0.002 + 1.0, "{value} for {exact} at {percentile}");
            assert!((count as f64 - value / 1_000.0).abs() <= 11.0, "{count} up to {value}");
        }
        let &(last, percentile, count) = lines.last().expect("lines");
        assert_eq!((percentile, count), (1.0, 10_000));
        assert!((last - 10_000_000.0).abs() < 10_000.0, "{last}");
        assert!(
            text.contains("Total count    =        10000]") && text.contains("SubBuckets     =         2048]"),
            "{text}"
        );
    }

    #[test]
    fn a_histogram_of_nothing_is_a_file_all_the_same() {
        let mut text = Vec::new();
        write(&Histogram::new(3).expect("digits"), &mut text).expect("memory takes everything");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("Total count    =            0]"), "{text}");
    }
}
