//! The picture for the README: one message, seen in a second.

use super::charts::{self, Bar};
use super::figures::bar_of;
use super::style;
use crate::proving::results::{Results, metric};
use crate::proving::svg::{Anchor, Svg};
use crate::proving::{bars::mark, results::Played};

const WIDTH: f64 = 860.0;
const TOP: f64 = 64.0;

/// Packets of 64 octets a second, by everybody; `None` if nobody sent any.
pub fn headline(results: &Results) -> Option<String> {
    let bout = results.bout("blast-64").or_else(|| results.bout("blast-256"))?;
    let mut plays: Vec<&Played> = Vec::new();
    for play in &bout.plays {
        let rate = |play: &Played| play.figure(metric::MESSAGES).map_or(0.0, |figure| figure.median);
        // Of several settings of a system the best stands for it.
        match plays.iter_mut().find(|known| known.family == play.family && play.family != "bare") {
            Some(known) if rate(play) > rate(known) => *known = play,
            Some(_) => {}
            None => plays.push(play),
        }
    }
    let mut rows: Vec<Bar> = plays.into_iter().filter_map(|play| bar_of(play, metric::MESSAGES, "/s")).collect();
    rows.sort_by(|a, b| b.value.total_cmp(&a.value));
    let size = bout.plays.first()?.size;
    let mut svg = Svg::new(WIDTH, TOP + 30.0 * rows.len() as f64 + 56.0);
    let height = TOP + 30.0 * rows.len() as f64 + 56.0;
    svg.rectangle((0.0, 0.0), (WIDTH, height), "paper", "");
    svg.text((20.0, 30.0), Anchor::Start, "title", &format!("Messages of {size} octets, delivered in a second"));
    let machine = &results.machine;
    let under =
        format!("one sender, one receiver, a core each, over veth; {}, Linux {}", machine.processor, machine.kernel);
    svg.text((20.0, 50.0), Anchor::Start, "soft", &under);
    charts::draw(&mut svg, &rows, TOP, |value| mark(value, "/s"));
    let spread = format!("median of {}; the whiskers go from the least to the most", results.repetitions);
    svg.text((20.0, height - 10.0), Anchor::Start, "soft", &spread);
    let words: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.shown)).collect();
    (!rows.is_empty()).then(|| svg.document(&format!("Messages a second: {}", words.join(", ")), &style::picture()))
}
