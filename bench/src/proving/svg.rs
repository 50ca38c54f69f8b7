//! Pictures as text: as much of SVG as our figures need.
//!
//! Used by the report. Guards: whatever a text holds, the picture stays well-formed; every picture says in words what it shows.

use std::fmt::Write;

/// Text that stands between tags or in an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // XML has no way to write these.
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Where a text is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At its beginning.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A picture being drawn. Coordinates are in its own units, from the top left.
#[derive(Clone, Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Adds a line of the picture's text; writing into a String cannot fail.
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// A rectangle from its top left corner; `says` is shown to who points at it.
    pub fn rectangle(&mut self, at: (f64, f64), size: (f64, f64), class: &str, says: &str) {
        let ((x, y), (width, height)) = (at, (size.0.max(0.0), size.1.max(0.0)));
        let says = escape(says);
        self.add(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"><title>{says}</title></rect>"#
        ));
    }

    /// A dot.
    pub fn dot(&mut self, at: (f64, f64), radius: f64, class: &str, says: &str) {
        let ((x, y), says) = (at, escape(says));
        self.add(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"><title>{says}</title></circle>"#
        ));
    }

    /// A line through points.
    pub fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let text: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!(r#"<polyline class="{class}" points="{}"/>"#, text.join(" ")));
    }

    /// A text on its base line.
    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let ((x, y), anchor, text) = (at, anchor.word(), escape(text));
        self.add(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#));
    }

    /// The picture, for a page that has its style already.
    pub fn inline(&self, says: &str) -> String {
        self.element(says, "", "")
    }

    /// The picture as a file of its own, with its style.
    pub fn document(&self, says: &str, style: &str) -> String {
        let size =
            format!(r#" xmlns="http://www.w3.org/2000/svg" width="{:.0}" height="{:.0}""#, self.width, self.height);
        self.element(says, &size, &format!("<style>{style}</style>\n"))
    }

    fn element(&self, says: &str, attributes: &str, style: &str) -> String {
        let Self { width, height, body } = self;
        let says = escape(says);
        format!(
            "<svg class=\"figure\"{attributes} viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{says}\">\n\
             <title>{says}</title>\n{style}{body}</svg>\n"
        )
    }
}

/// Round numbers for the ticks of an axis from 0 to `most`: about `count` of them.
pub fn ticks(most: f64, count: usize) -> Vec<f64> {
    if most.is_nan() || most <= 0.0 || most.is_infinite() || count == 0 {
        return vec![0.0];
    }
    let rough = most / count as f64;
    let scale = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * scale).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * scale);
    (0..=(most / step).floor() as usize).map(|n| n as f64 * step).collect()
}

/// Powers of ten around a range, and where they are far apart nothing between: for axes that multiply.
pub fn decades(least: f64, most: f64) -> Vec<f64> {
    if least.is_nan() || least <= 0.0 || most < least || most.is_infinite() {
        return vec![1.0, 10.0];
    }
    let (from, to) = (least.log10().floor() as i32, (most.log10().ceil() as i32).max(least.log10().floor() as i32 + 1));
    (from..=to).map(|power| 10_f64.powi(power)).collect()
}

#[cfg(test)]
pub(super) use tests::is_well_formed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_holds_the_picture_stays_well_formed() {
        assert_eq!(escape("a<b & \"c\" > 'd'\u{0}"), "a&lt;b &amp; &quot;c&quot; &gt; &#39;d&#39;\u{fffd}");
        let mut svg = Svg::new(100.0, 50.0);
        svg.text((1.0, 2.0), Anchor::End, "label", "</svg><script>");
        svg.rectangle((0.0, 0.0), (-3.0, 5.0), "bar", "5 < 6");
        let drawn = svg.inline("a & b");
        assert!(is_well_formed(&drawn), "{drawn}");
        assert!(!drawn.contains("<script>") && drawn.contains("width=\"0.0\""));
        assert!(svg.document("x", "text{}").contains("xmlns=\"http://www.w3.org/2000/svg\""));
    }

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(ticks(10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.87, 4), [0.0, 0.5]);
        assert_eq!(ticks(f64::NAN, 4), [0.0]);
        assert_eq!(decades(3.0, 2_000.0), [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(decades(0.0, 5.0), [1.0, 10.0]);
        assert_eq!(decades(10.0, 10.0), [10.0, 100.0]);
    }

    /// Whether every tag that opens closes, in order.
    pub(in crate::proving) fn is_well_formed(text: &str) -> bool {
        const VOID: [&str; 4] = ["meta", "br", "img", "hr"];
        let mut open = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            let Some(end) = rest[at..].find('>') else { return false };
            let tag = &rest[at + 1..at + end];
            rest = &rest[at + end + 1..];
            let name = |tag: &str| tag.split([' ', '\n', '/']).next().unwrap_or_default().to_owned();
            if let Some(closed) = tag.strip_prefix('/') {
                if open.pop() != Some(name(closed)) {
                    return false;
                }
            } else if !tag.starts_with('!') && !tag.ends_with('/') && !VOID.contains(&name(tag).as_str()) {
                open.push(name(tag));
            }
        }
        open.is_empty()
    }
}
