//! `index.html`: one file, nothing from elsewhere.
//!
//! Guards: all that pictures show stands beside them as text, and all that was played stands in the last table, so that a browser without
//! pictures, colours or styles loses nothing.

use std::fmt::Write;

use super::figures::{self, Figure, Table};
use super::style;
use crate::proving::bars::shown;
use crate::proving::results::{Played, Results, Verdict, metric};
use crate::proving::svg::escape;

/// Bars whose figures stand at the top, with the words beside them.
const TILES: [(&str, &str); 6] = [
    ("xdp-over-openpgm-64", "times OpenPGM's packets a second, 64 octets"),
    ("xdp-over-bare-64", "of what bare AF_XDP rings move, 64 octets"),
    ("batch-xdp-over-zeromq", "times ZeroMQ epgm's messages a second, batched"),
    ("roundtrip-p50-over-bare", "times the round trip of bare AF_XDP rings, p50"),
    ("repair-p50", "from a loss to its delivery, p50"),
    ("goodput-lan-1%", "of the lossless rate with 1 % loss"),
];

/// The whole page.
pub fn page(results: &Results) -> String {
    let figures = figures::all(results);
    let mut html = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>pgmx: the proving ground</title>\n\
         <style>{}{}</style>\n</head>\n<body>\n<main>\n",
        style::PAGE,
        style::picture()
    );
    head(&mut html, results, &figures);
    if !results.verdicts.is_empty() {
        verdicts(&mut html, &results.verdicts);
    }
    for figure in &figures {
        draw(&mut html, figure);
    }
    gaps(&mut html, results);
    method(&mut html, results);
    everything(&mut html, results);
    html += "</main>\n</body>\n</html>\n";
    html
}

fn head(html: &mut String, results: &Results, figures: &[Figure]) {
    let held = results.verdicts.iter().filter(|verdict| verdict.held == Some(true)).count();
    let (missed, of) = (results.verdicts.iter().filter(|v| v.held == Some(false)).count(), results.verdicts.len());
    let _ = write!(
        html,
        "<h1>pgmx: the proving ground</h1>\n<p class=\"lead\">Reliable multicast from the sending program to the receiving one, beside bare sockets, \
         bare AF_XDP rings and the other implementations, all in one run, in turns, on the same cable.</p>\n"
    );
    if of > 0 {
        let _ = writeln!(
            html,
            "<p>{held} of {of} promises held, {missed} missed, {} not measured.</p>",
            of - held - missed
        );
    }
    let minutes = results.lasted_s / 60.0;
    let _ = writeln!(
        html,
        "<p class=\"conditions\">{}<br>Played on {} in {minutes:.1} minutes by <code>{}</code></p>",
        escape(&results.machine.line()),
        day(results.begun_s),
        escape(&results.command)
    );
    let tiles: Vec<(String, &str)> = TILES
        .iter()
        .filter_map(|(name, words)| {
            let verdict = results.verdicts.iter().find(|verdict| verdict.name == *name)?;
            Some((shown(verdict.figure?.median, &verdict.unit), *words))
        })
        .collect();
    if !tiles.is_empty() {
        *html += "<ul class=\"tiles\">\n";
        for (number, words) in tiles {
            let _ = writeln!(html, "<li><b>{}</b> <span>{}</span></li>", escape(&number), escape(words));
        }
        *html += "</ul>\n";
    }
    *html += "<nav>";
    if !results.verdicts.is_empty() {
        *html += "<a href=\"#bars\">Promises</a> ";
    }
    for figure in figures {
        let _ = write!(html, "<a href=\"#{}\">{}</a> ", figure.id, figure.title);
    }
    *html += "<a href=\"#gaps\">Gaps</a> <a href=\"#method\">How</a> <a href=\"#all\">All numbers</a></nav>\n";
}

fn verdicts(html: &mut String, verdicts: &[Verdict]) {
    *html += "<h2 id=\"bars\">What was promised</h2>\n<p>Ratios are taken turn by turn; the middle of them counts, the rest is the spread.</p>\n\
              <div class=\"scroll\"><table>\n<tr><th>promise</th><th class=\"n\">bar</th><th class=\"n\">measured</th><th class=\"n\">spread</th>\
              <th></th></tr>\n";
    for Verdict { name, what, bar, figure, unit, held, note } in verdicts {
        let (class, word) = match held {
            Some(true) => ("held", "held"),
            Some(false) => ("missed", "MISSED"),
            None => ("", "not measured"),
        };
        let measured = figure.map(|figure| shown(figure.median, unit)).unwrap_or_default();
        let spread = figure.map(|figure| format!("{} – {}", shown(figure.least, unit), shown(figure.most, unit)));
        let note =
            if note.is_empty() { String::new() } else { format!("<br><span class=\"soft\">{}</span>", escape(note)) };
        let _ = writeln!(
            html,
            "<tr id=\"bar-{}\"><td>{}{note}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"{class}\">{word}</td></tr>",
            escape(name),
            escape(what),
            escape(bar),
            escape(&measured),
            escape(&spread.unwrap_or_default())
        );
    }
    *html += "</table></div>\n";
}

fn table(html: &mut String, table: &Table) {
    *html += "<div class=\"scroll\"><table>\n<tr>";
    for (n, cell) in table.head.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", if n > 0 { " class=\"n\"" } else { "" }, escape(cell));
    }
    *html += "</tr>\n";
    for row in &table.rows {
        *html += "<tr>";
        for (n, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", if n > 0 { " class=\"n\"" } else { "" }, escape(cell));
        }
        *html += "</tr>\n";
    }
    *html += "</table></div>\n";
}

fn draw(html: &mut String, figure: &Figure) {
    let Figure { id, title, lead, picture, table: numbers, conditions, commands } = figure;
    let _ = write!(html, "<h2 id=\"{id}\">{}</h2>\n<p>{}</p>\n<figure>\n", escape(title), escape(lead));
    *html += &picture.inline(title);
    let _ = write!(html, "<figcaption class=\"conditions\">{}</figcaption>\n</figure>\n", escape(conditions));
    table(html, numbers);
    if !commands.is_empty() {
        let lines: Vec<String> = commands.iter().map(|line| escape(line)).collect();
        let _ =
            write!(html, "<details><summary>Command lines</summary>\n<pre>{}</pre>\n</details>\n", lines.join("\n"));
    }
}

fn gaps(html: &mut String, results: &Results) {
    *html += "<h2 id=\"gaps\">Gaps</h2>\n";
    let gaps = results.gaps();
    if gaps.is_empty() {
        *html += "<p>None: all that was planned was measured.</p>\n";
        return;
    }
    *html += "<p>What was planned and could not be measured, and why.</p>\n<div class=\"scroll\"><table>\n";
    for (name, why) in gaps {
        let _ = writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(&name), escape(&why));
    }
    *html += "</table></div>\n";
}

/// How it was measured: what somebody who doubts it wants to know.
const METHOD: [&str; 9] = [
    "What is measured is the shipped command: pgmx send, recv, ping and pong. Every message carries a number, its time and octets that follow \
     from both, and every receiver checks them; the other systems' programs make and check the same messages.",
    "All contestants of a bout use the same pair of network namespaces and the same veth cable (several receivers: a bridge), one after the \
     other; every repetition another one goes first. Ratios are those of one repetition, and the median of these is what counts.",
    "One end is pinned to core 0, the other to core 1; both spin, but for several receivers, which share core 1 and sleep when there is nothing \
     to do.",
    "Bare AF_XDP rings are given what the engine has: 65,536 frames, rings of 2,048, 256 packets a call. Their receiver reads every octet of the \
     payload and keeps no books. Bare sockets move 64 packets a call.",
    "Latencies count from when a message was due, not from when it was sent, so that a sender that was held up is not excused (no coordinated \
     omission). Histograms are kept beside this page.",
    "Losses are drawn on the receiver's way in: by pgmx's own fault injection, and for others by an XDP program in front of their sockets, which \
     drops the same part of the packets.",
    "Repair latency is the time from the drop to the delivery of the message, by one clock.",
    "Processor time is that of the ended process, the kernel's part included. System calls are counted by the kernel's tracepoint in the middle of \
     a run, without slowing it down.",
    "OpenPGM, ZeroMQ and NORM are the distribution's libraries under programs of our own that use their public interfaces, tuned as their \
     documents advise: bench/peers says how, option by option.",
];

fn method(html: &mut String, results: &Results) {
    *html += "<h2 id=\"method\">How it was measured</h2>\n<ul>\n";
    for line in METHOD {
        let _ = writeln!(html, "<li>{}</li>", escape(line));
    }
    *html += "</ul>\n";
    if !results.rigs.is_empty() {
        *html += "<p>Other benchmarks of the house:</p>\n<div class=\"scroll\"><table>\n";
        for rig in &results.rigs {
            let figures = rig.figures.iter().map(|(name, figure)| format!("{name} {}", shown(figure.median, "")));
            let figures: Vec<String> = figures.collect();
            let said = rig.gap.clone().unwrap_or_else(|| figures.join(", "));
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
                escape(&rig.name),
                escape(&rig.command),
                escape(&said)
            );
        }
        *html += "</table></div>\n";
    }
    *html += "<p>All samples: <a href=\"results.json\">results.json</a>; latencies: <code>histograms/*.hgrm</code>, which HdrHistogram's plotters \
              read.</p>\n";
}

fn everything(html: &mut String, results: &Results) {
    *html += "<h2 id=\"all\">All numbers</h2>\n<p>Medians over repetitions; processor seconds are for a million messages.</p>\n<div class=\"scroll\"><table>\n\
              <tr><th>bout</th><th>play</th><th class=\"n\">messages/s</th><th class=\"n\">packets/s</th><th class=\"n\">Gbit/s</th>\
              <th class=\"n\">of bare</th><th class=\"n\">lost</th><th class=\"n\">CPU s, sender</th><th class=\"n\">CPU s, receiver</th>\
              <th class=\"n\">p50</th><th class=\"n\">p99</th><th class=\"n\">worst</th></tr>\n";
    for bout in &results.bouts {
        let bare = bout.plays.iter().find(|play| play.who == "bare");
        for play in &bout.plays {
            row(html, &bout.name, play, bare);
        }
    }
    *html += "</table></div>\n";
}

fn row(html: &mut String, bout: &str, play: &Played, bare: Option<&Played>) {
    let cell = |name: &str, unit: &str| play.figure(name).map_or("–".into(), |figure| shown(figure.median, unit));
    let share = bare.filter(|bare| bare.size == play.size && bare.receivers == play.receivers && bare.who != play.who);
    let share = share.and_then(|bare| {
        let figure = crate::proving::statistics::ratio(&play.each(metric::PACKETS), &bare.each(metric::PACKETS))?;
        Some(shown(figure.median, ""))
    });
    let _ = write!(html, "<tr><td>{}</td><td>{}</td>", escape(bout), escape(&play.id));
    let cells = [
        cell(metric::MESSAGES, "/s"),
        cell(metric::PACKETS, "/s"),
        cell(metric::PAYLOAD_GBIT, ""),
        share.unwrap_or("–".into()),
        cell(metric::LOST, ""),
        cell(metric::SENDER_CPU, ""),
        cell(metric::RECEIVER_CPU, ""),
        cell(metric::P50, "ns"),
        cell(metric::P99, "ns"),
        cell(metric::MAX, "ns"),
    ];
    for text in cells {
        let _ = write!(html, "<td class=\"n\">{}</td>", escape(&text));
    }
    *html += "</tr>\n";
}

/// A day of the Gregorian calendar, from seconds since 1970 (civil-from-days, counted from March).
fn day(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month_of_year) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year_of_era + era * 400 + i64::from(month_of_year <= 2);
    format!("{year}-{month_of_year:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proving::machine::Machine;
    use crate::proving::results::{Fought, Sample};
    use crate::proving::svg::is_well_formed;

    fn played(id: &str, who: &str, family: &str, metrics: &[(&str, f64)]) -> Played {
        let mut sample = Sample { curve: vec![(50.0, 4_000.0), (99.0, 9_000.0)], ..Sample::default() };
        for (name, value) in metrics {
            sample.set(name, *value);
        }
        Played {
            id: id.into(),
            who: who.into(),
            title: format!("<{who}>"),
            family: family.into(),
            size: 64,
            receivers: 1,
            loss: 0,
            form: "copy & more".into(),
            commands: vec![format!("{who} --rate max")],
            samples: vec![sample],
        }
    }

    fn results() -> Results {
        let rate = [(metric::MESSAGES, 1e6), (metric::PACKETS, 1e6), (metric::PAYLOAD_GBIT, 0.5)];
        let time = [(metric::P50, 4e3), (metric::P99, 9e3)];
        let mut gone = played("norm 64", "norm", "norm", &[]);
        gone.samples = vec![Sample { failure: Some("not <built>".into()), ..Sample::default() }];
        let bout = |name: &str, plays: Vec<Played>| Fought { name: name.into(), plays };
        Results {
            begun_s: 1_700_000_000,
            lasted_s: 60.0,
            extent: "quick".into(),
            repetitions: 1,
            play_ms: 500,
            command: "cargo xtask bench --quick".into(),
            machine: Machine::here(),
            bouts: vec![
                bout(
                    "blast-64",
                    vec![played("xdp 64", "xdp", "xdp", &rate), played("bare 64", "bare", "bare", &rate), gone],
                ),
                bout("roundtrip", vec![played("xdp 64 low-latency", "xdp", "xdp", &time)]),
            ],
            rigs: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    #[test]
    fn the_page_is_well_formed_and_takes_nothing_from_elsewhere() {
        let page = page(&results());
        assert!(is_well_formed(&page.replace("<!doctype html>", "")), "{page}");
        for word in ["http://", "https://", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn what_a_picture_shows_stands_beside_it_as_text_with_its_conditions_and_commands() {
        let page = page(&results());
        let text = page.rsplit("</svg>").next().expect("behind the last picture");
        assert!(text.contains("4.0 µs") && text.contains("Command lines") && text.contains("xdp --rate max"));
        assert!(page.contains("copy &amp; more") && page.contains("&lt;xdp&gt;") && !page.contains("<xdp>"));
    }

    #[test]
    fn a_contestant_that_is_missing_is_a_gap_with_its_reason() {
        assert!(page(&results()).contains("<td>blast-64, norm 64</td><td>not &lt;built&gt;</td>"));
    }

    #[test]
    fn results_read_back_as_they_were_written() {
        let results = results();
        let text = serde_json::to_string(&results).expect("written");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("read"), results);
    }

    #[test]
    fn the_headline_is_a_picture_of_its_own_and_ranks_by_speed() {
        let mut results = results();
        results.bouts[0].plays[1].samples[0].set(metric::MESSAGES, 2e6);
        let picture = super::super::headline(&results).expect("something was sent");
        assert!(is_well_formed(&picture) && picture.starts_with("<svg") && picture.contains("xmlns"));
        assert!(picture.find("&lt;bare&gt;") < picture.find("&lt;xdp&gt;"));
        results.bouts.clear();
        assert!(super::super::headline(&results).is_none());
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!([day(0), day(951_782_400), day(1_700_000_000)], ["1970-01-01", "2000-02-29", "2023-11-14"]);
    }
}
