//! Colours and type.
//!
//! Guards: a series has one colour everywhere, which can be told from the others in light and dark, and never is all that tells it apart.

/// Of pictures, on the page and alone.
pub(super) const PICTURE: &str = "
.figure{--ink:#1a1d21;--soft:#5b6470;--rule:#dde2e7;--paper:#ffffff;--xdp:#1b62d6;--generic:#7ba4ea;--raw:#0b8a74;--udp:#7a4bd0;\
--bare:#8a94a0;--openpgm:#c85a00;--zeromq:#b4234f;--norm:#8a7a00;font:13px system-ui,-apple-system,'Segoe UI',sans-serif}
@media(prefers-color-scheme:dark){.figure{--ink:#e6e9ed;--soft:#9aa4b0;--rule:#2b323a;--paper:#111417;--xdp:#6aa5ff;--generic:#416fbd;\
--raw:#3ccfb2;--udp:#b08cff;--bare:#8d98a5;--openpgm:#ff9a4d;--zeromq:#ff7396;--norm:#d8c34a}}
.figure text{fill:var(--ink)}
.figure .soft{fill:var(--soft);font-size:12px}
.figure .strong{font-weight:600}
.figure .title{font-size:17px;font-weight:600}
.figure .paper{fill:var(--paper)}
.figure .rule{stroke:var(--rule);stroke-width:1}
.figure .whisker{stroke:var(--ink);stroke-width:1.2;opacity:.65}
.figure .bound{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 3}
.figure .curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
.figure .dashed{stroke-dasharray:7 4}
.figure .dotted{stroke-dasharray:2 4}
.figure .fill-xdp{fill:var(--xdp)}.figure .fill-generic{fill:var(--generic)}.figure .fill-raw{fill:var(--raw)}\
.figure .fill-udp{fill:var(--udp)}.figure .fill-bare{fill:var(--bare)}.figure .fill-openpgm{fill:var(--openpgm)}\
.figure .fill-zeromq{fill:var(--zeromq)}.figure .fill-norm{fill:var(--norm)}
.figure .line-xdp{stroke:var(--xdp)}.figure .line-generic{stroke:var(--generic)}.figure .line-raw{stroke:var(--raw)}\
.figure .line-udp{stroke:var(--udp)}.figure .line-bare{stroke:var(--bare)}.figure .line-openpgm{stroke:var(--openpgm)}\
.figure .line-zeromq{stroke:var(--zeromq)}.figure .line-norm{stroke:var(--norm)}
";

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
