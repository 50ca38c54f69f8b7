//! Colours and type.
//!
//! Guards: a series has one colour everywhere, which can be told from the others in light and dark, and never is all that tells it apart.

use std::fmt::Write;

/// A colour in light and in dark.
type Colour = (&'static str, &'static str, &'static str);

/// Series: one colour for each system.
const SERIES: [Colour; 8] = [
    ("xdp", "#1b62d6", "#6aa5ff"),
    ("generic", "#7ba4ea", "#416fbd"),
    ("raw", "#0b8a74", "#3ccfb2"),
    ("udp", "#7a4bd0", "#b08cff"),
    ("bare", "#8a94a0", "#8d98a5"),
    ("openpgm", "#c85a00", "#ff9a4d"),
    ("zeromq", "#b4234f", "#ff7396"),
    ("norm", "#8a7a00", "#d8c34a"),
];
const INK: Colour = ("ink", "#1a1d21", "#e6e9ed");
const SOFT: Colour = ("soft", "#5b6470", "#9aa4b0");
const RULE: Colour = ("rule", "#dde2e7", "#2b323a");
const PAPER: Colour = ("paper", "#ffffff", "#111417");

/// What is the same in both.
const SHAPES: &str = "
.figure text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif}
.figure .soft{font-size:12px}
.figure .strong{font-weight:600}
.figure .title{font-size:17px;font-weight:600}
.figure .rule{stroke-width:1}
.figure .whisker{stroke-width:1.2;opacity:.65}
.figure .bound{stroke-width:1.6;stroke-dasharray:4 3}
.figure .curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
.figure .dashed{stroke-dasharray:7 4}
.figure .dotted{stroke-dasharray:2 4}
";

/// Colours of pictures; without variables, which not everything that draws pictures knows.
fn colours(of: fn(&Colour) -> &'static str) -> String {
    let (ink, soft, rule, paper) = (of(&INK), of(&SOFT), of(&RULE), of(&PAPER));
    let mut css = format!(
        ".figure text{{fill:{ink}}}.figure .soft{{fill:{soft}}}.figure .rule{{stroke:{rule}}}.figure .paper{{fill:{paper}}}\
         .figure .whisker,.figure .bound{{stroke:{ink}}}"
    );
    for colour in &SERIES {
        let (name, value) = (colour.0, of(colour));
        // Writing into a String cannot fail.
        let _ = write!(css, ".figure .fill-{name}{{fill:{value}}}.figure .line-{name}{{stroke:{value}}}");
    }
    css
}

/// Of pictures, on the page and alone.
pub(super) fn picture() -> String {
    let (light, dark) = (colours(|colour| colour.1), colours(|colour| colour.2));
    format!("{SHAPES}{light}\n@media(prefers-color-scheme:dark){{{dark}}}\n")
}

/// Of the page around them.
pub(super) const PAGE: &str = "
:root{color-scheme:light dark;--ink:#1a1d21;--soft:#5b6470;--rule:#dde2e7;--paper:#ffffff;--tint:#f5f7f9;--good:#0b7a4b;--bad:#b3261e;\
--accent:#1b62d6}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4b0;--rule:#2b323a;--paper:#111417;--tint:#1a1f24;--good:#4cc38a;\
--bad:#ff7b72;--accent:#6aa5ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:1000px;margin:0 auto;padding:40px 20px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px}
h2{font-size:21px;margin:56px 0 4px;padding-top:16px;border-top:1px solid var(--rule)}
p{margin:8px 0}
.lead{font-size:18px;max-width:46em}
.soft,.conditions{color:var(--soft)}
.conditions{font-size:13px;max-width:75em}
a{color:var(--accent)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:12px;margin:24px 0;padding:0;list-style:none}
.tiles li{background:var(--tint);border-radius:8px;padding:14px 16px}
.tiles b{display:block;font-size:26px;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles span{font-size:13px;color:var(--soft)}
figure{margin:16px 0}
svg.figure{width:100%;height:auto;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;margin:10px 0;width:100%}
th,td{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--soft)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.held{color:var(--good);font-weight:600}
td.missed{color:var(--bad);font-weight:600}
details{margin:6px 0}
summary{cursor:pointer;color:var(--soft);font-size:14px}
pre{background:var(--tint);border-radius:6px;padding:10px 12px;overflow-x:auto;font:12px/1.5 ui-monospace,'SF Mono',Consolas,monospace;\
white-space:pre-wrap;overflow-wrap:anywhere}
nav{font-size:14px;margin:16px 0}
nav a{margin-right:14px;white-space:nowrap}
";
