//! How figures are drawn: bars side by side, and lines through points.
//!
//! Called by `figures` and `headline`. Guards: a picture of nothing is still a picture; labels never lie on each other at a line's end.

use crate::proving::svg::{Anchor, Svg, decades, ticks};

const WIDTH: f64 = 860.0;
/// Room for labels left of bars.
const LABELS: f64 = 200.0;
/// Room for a bar's number behind it.
const NUMBERS: f64 = 150.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// A number that is drawn, with how far repetitions were from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) family: String,
    pub(super) value: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    /// The number, for people.
    pub(super) shown: String,
    /// Where it should reach, if somebody promised.
    pub(super) bound: Option<f64>,
}

/// Bars from left to right, each with its spread.
pub(super) fn bars(bars: &[Bar], shown: impl Fn(f64) -> String) -> Svg {
    let mut svg = Svg::new(WIDTH, 34.0 + ROW * bars.len() as f64);
    draw(&mut svg, bars, 6.0, shown);
    svg
}

/// The same in a picture that has something above.
pub(super) fn draw(svg: &mut Svg, bars: &[Bar], top: f64, shown: impl Fn(f64) -> String) {
    let most = bars.iter().map(|bar| bar.most.max(bar.value).max(bar.bound.unwrap_or(0.0))).fold(0.0, f64::max);
    let room = WIDTH - LABELS - NUMBERS;
    let x = |value: f64| LABELS + if most > 0.0 { value / most * room } else { 0.0 };
    let bottom = top + ROW * bars.len() as f64;
    for tick in ticks(most, 5) {
        svg.line((x(tick), top), (x(tick), bottom), "rule");
        svg.text((x(tick), bottom + 18.0), Anchor::Middle, "soft", &shown(tick));
    }
    for (n, bar) in bars.iter().enumerate() {
        let (y, middle) = (top + ROW * n as f64 + (ROW - BAR) / 2.0, top + ROW * n as f64 + ROW / 2.0);
        let Bar { label, family, value, least, most, shown, bound } = bar;
        svg.text((LABELS - 10.0, middle + 4.5), Anchor::End, if family == "xdp" { "strong" } else { "" }, label);
        svg.rectangle((LABELS, y), (x(*value) - LABELS, BAR), &format!("fill-{family}"), &format!("{label}: {shown}"));
        if most > least {
            svg.line((x(*least), middle), (x(*most), middle), "whisker");
            for end in [*least, *most] {
                svg.line((x(end), middle - 4.0), (x(end), middle + 4.0), "whisker");
            }
        }
        if let Some(bound) = bound {
            svg.line((x(*bound), y - 4.0), (x(*bound), y + BAR + 4.0), "bound");
        }
        let end = value.max(*most).max(bound.unwrap_or(0.0));
        svg.text((x(end) + 8.0, middle + 4.5), Anchor::Start, "strong", shown);
    }
}

/// A point of a line: where, how much, and from where to where repetitions went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) family: String,
    /// `dashed`, `dotted`, or nothing: what tells two lines of a family apart.
    pub(super) stroke: &'static str,
    pub(super) points: Vec<Point>,
}

/// What the axes are.
pub(super) struct Axes<'a> {
    /// Where something stands below the picture, and what.
    pub(super) x: &'a [(f64, String)],
    pub(super) x_title: &'a str,
    pub(super) y_title: &'a str,
    /// Whether equal distances multiply.
    pub(super) multiplies: bool,
    pub(super) shown: &'a dyn Fn(f64) -> String,
}

const HEIGHT: f64 = 380.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = HEIGHT - 52.0;
const LEFT: f64 = 82.0;
const RIGHT: f64 = WIDTH - 215.0;
/// Between two labels at the right.
const APART: f64 = 17.0;

/// Lines, each with its name at its end.
pub(super) fn lines(lines: &[Line], axes: &Axes<'_>) -> Svg {
    let mut svg = Svg::new(WIDTH, HEIGHT);
    let all = || lines.iter().flat_map(|line| &line.points);
    let positive = |value: &f64| *value > 0.0;
    let most = all().map(|point| point.most.max(point.y)).fold(0.0, f64::max);
    let least = all().map(|point| point.least.min(point.y)).filter(positive).fold(f64::INFINITY, f64::min);
    let marks = if axes.multiplies { decades(least, most) } else { ticks(most * 1.05, 5) };
    let (low, high) = (marks[0], marks[marks.len() - 1].max(if axes.multiplies { 0.0 } else { most * 1.05 }));
    let y = |value: f64| {
        let part = if axes.multiplies {
            (value.max(low) / low).log10() / (high / low).log10()
        } else if high > 0.0 {
            value / high
        } else {
            0.0
        };
        BOTTOM - part.clamp(0.0, 1.0) * (BOTTOM - TOP)
    };
    let ends = axes.x.iter().map(|tick| tick.0).chain(all().map(|point| point.x));
    let (from, to) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), x| (from.min(x), to.max(x)));
    let x = |value: f64| if to > from { LEFT + (value - from) / (to - from) * (RIGHT - LEFT) } else { LEFT };
    svg.text((LEFT - 70.0, 16.0), Anchor::Start, "soft", axes.y_title);
    for mark in marks {
        svg.line((LEFT, y(mark)), (RIGHT, y(mark)), "rule");
        svg.text((LEFT - 8.0, y(mark) + 4.0), Anchor::End, "soft", &(axes.shown)(mark));
    }
    for (at, label) in axes.x {
        svg.line((x(*at), BOTTOM), (x(*at), BOTTOM + 5.0), "rule");
        svg.text((x(*at), BOTTOM + 20.0), Anchor::Middle, "soft", label);
    }
    svg.text((f64::midpoint(LEFT, RIGHT), HEIGHT - 10.0), Anchor::Middle, "soft", axes.x_title);
    for line in lines {
        let Line { label, family, stroke, points } = line;
        let drawn: Vec<(f64, f64)> = points.iter().map(|point| (x(point.x), y(point.y))).collect();
        svg.path(&drawn, &format!("curve {stroke} line-{family}"));
        for point in points {
            if point.most > point.least {
                svg.line((x(point.x), y(point.least)), (x(point.x), y(point.most)), "whisker");
            }
            let says = format!("{label}: {}", (axes.shown)(point.y));
            svg.dot((x(point.x), y(point.y)), 3.4, &format!("fill-{family}"), &says);
        }
    }
    let ends: Vec<f64> = lines.iter().map(|line| line.points.last().map_or(BOTTOM, |point| y(point.y))).collect();
    for (line, at) in lines.iter().zip(apart(&ends)) {
        svg.dot((RIGHT + 12.0, at), 4.0, &format!("fill-{}", line.family), &line.label);
        svg.text((RIGHT + 22.0, at + 4.5), Anchor::Start, "", &line.label);
    }
    svg
}

/// Places near those wanted, none on another, all in the picture as far as there is room.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut next = TOP;
    for n in &order {
        places[*n] = places[*n].max(next);
        next = places[*n] + APART;
    }
    // Whoever was pushed out at the bottom pushes the others up.
    let mut last = BOTTOM;
    for n in order.iter().rev() {
        places[*n] = places[*n].min(last);
        last = places[*n] - APART;
    }
    places
}

/// Where a percentile stands: each nine takes as much room as the one before.
pub(super) fn nines(percentile: f64) -> f64 {
    if percentile >= 100.0 { 5.5 } else { (100.0 / (100.0 - percentile)).log10() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proving::svg::is_well_formed;

    #[test]
    fn labels_at_the_ends_of_lines_never_lie_on_each_other() {
        for wanted in [vec![100.0, 100.0, 101.0], vec![BOTTOM; 5], vec![TOP; 4], vec![]] {
            let mut places = apart(&wanted);
            places.sort_by(f64::total_cmp);
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= APART - 1e-9), "{places:?}");
            assert!(places.iter().all(|place| (TOP..=BOTTOM).contains(place)), "{places:?}");
        }
    }

    #[test]
    fn a_picture_of_nothing_is_still_a_picture() {
        let axes = Axes { x: &[], x_title: "", y_title: "", multiplies: true, shown: &|value| value.to_string() };
        assert!(is_well_formed(&lines(&[], &axes).inline("nothing")));
        assert!(is_well_formed(&bars(&[], |value| value.to_string()).inline("nothing")));
        let drawn = lines(&[], &axes).inline("nothing");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }

    #[test]
    fn each_nine_takes_as_much_room_as_the_one_before() {
        for (percentile, place) in [(0.0, 0.0), (90.0, 1.0), (99.0, 2.0), (99.9, 3.0)] {
            assert!((nines(percentile) - place).abs() < 1e-9, "{percentile}");
        }
        assert!(nines(100.0) > nines(99.999));
    }
}
