//! The picture for the README: one message, seen in a second.

use super::charts::{self, Bar};
use super::figures::bar_of;
use super::style;
use crate::proving::bars::mark;
use crate::proving::results::{Played, Results, metric};
use crate::proving::svg::{Anchor, Svg};

const WIDTH: f64 = 860.0;
const HEAD: f64 = 62.0;
const ROW: f64 = 30.0;
/// Above bars, for what they have in common, and below them for the axis.
const ABOVE: f64 = 26.0;
const BELOW: f64 = 38.0;
const FOOT: f64 = 22.0;

/// The groups: what they are called, where they come from, and whether all of the bout belongs to them.
const GROUPS: [(&str, &str); 2] = [("one message a packet", "blast-64"), ("messages that share packets", "batch-64")];

/// Messages of 64 octets a second, by everybody; `None` if nobody sent any.
pub fn headline(results: &Results) -> Option<String> {
    let mut groups: Vec<(&str, Vec<Bar>)> = GROUPS.iter().map(|(name, bout)| (*name, rows(results, bout))).collect();
    let mut size = 64;
    if groups.iter().all(|(_, rows)| rows.is_empty()) {
        groups = vec![("one message a packet", rows(results, "blast-256"))];
        size = 256;
    }
    groups.retain(|(_, rows)| !rows.is_empty());
    let room = |rows: &Vec<Bar>| ABOVE + ROW * rows.len() as f64 + BELOW;
    let height = HEAD + groups.iter().map(|(_, rows)| room(rows)).sum::<f64>() + FOOT;
    let mut svg = Svg::new(WIDTH, height);
    svg.rectangle((0.0, 0.0), (WIDTH, height), "paper", "");
    svg.text((20.0, 30.0), Anchor::Start, "title", &format!("Messages of {size} octets, delivered in a second"));
    let (processor, kernel) = (&results.machine.processor, &results.machine.kernel);
    let under = format!("one sender, one receiver, a core each, over veth; {processor}, Linux {kernel}");
    svg.text((20.0, 50.0), Anchor::Start, "soft", &under);
    let mut top = HEAD;
    let mut words = Vec::new();
    for (name, rows) in &groups {
        svg.text((20.0, top + 18.0), Anchor::Start, "soft", name);
        charts::draw(&mut svg, rows, top + ABOVE, |value| mark(value, "/s"));
        words.extend(rows.iter().map(|row| format!("{} {}", row.label, row.shown)));
        top += room(rows);
    }
    let spread = match results.repetitions {
        1 => "one repetition".to_owned(),
        many => format!("median of {many} repetitions in turns; the whiskers go from the least to the most"),
    };
    svg.text((20.0, height - 10.0), Anchor::Start, "soft", &spread);
    let says = format!("Messages a second: {}", words.join(", "));
    (!words.is_empty()).then(|| svg.document(&says, &style::picture()))
}

/// Everybody of a bout, the fastest first; of several settings of a system the best stands for it.
fn rows(results: &Results, bout: &str) -> Vec<Bar> {
    let mut plays: Vec<&Played> = Vec::new();
    let rate = |play: &Played| play.figure(metric::MESSAGES).map_or(0.0, |figure| figure.median);
    for play in results.bout(bout).map(|bout| bout.plays.iter()).into_iter().flatten() {
        match plays.iter_mut().find(|known| known.family == play.family && play.family != "bare") {
            Some(known) if rate(play) > rate(known) => *known = play,
            Some(_) => {}
            None => plays.push(play),
        }
    }
    let mut rows: Vec<Bar> = plays.into_iter().filter_map(|play| bar_of(play, metric::MESSAGES, "/s")).collect();
    rows.sort_by(|a, b| b.value.total_cmp(&a.value));
    rows
}
