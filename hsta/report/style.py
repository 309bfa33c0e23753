"""The page's style sheet: light, dark and print from one set of colours; no fonts or pictures from elsewhere."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark;
  --bg: #f6f6f4; --surface: #ffffff; --ink: #1c2126; --muted: #5a646e; --line: #e1e4e6; --track: #e7eaec;
  --accent: #0f6e84; --soft: #dff0f3; --right: #7fc3d0; --wrong: #f2b195; --good: #17703f; --bad: #ad2a20; --warn:
  #8a5a00;
  --good-soft: #e1f3e8; --bad-soft: #fbe5e2; --warn-soft: #fbf0d6; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #121518; --surface: #1a1e22; --ink: #e7eaec; --muted: #9da7b0; --line: #2c3238; --track: #30373d;
  --accent: #57b9cc; --soft: #17343b; --right: #1c7285; --wrong: #8f4a30; --good: #64c68d; --bad: #f28c82; --warn:
  #e2b453;
  --good-soft: #17301f; --bad-soft: #3a1d1a; --warn-soft: #352a10; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto,
  "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif; overflow-wrap: anywhere; }
main, header.top { max-width: 1060px; margin: 0 auto; padding: 0 24px; }
header.top { padding-top: 44px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.015em; font-weight: 650; margin: 4px 0 6px; }
h2 { font-size: 20px; letter-spacing: -0.01em; font-weight: 620; margin: 0 0 4px; }
h3 { font-size: 15px; font-weight: 620; margin: 22px 0 8px; }
p { margin: 0 0 10px; max-width: 72ch; }
a { color: var(--accent); text-underline-offset: 3px; }
.eyebrow { color: var(--accent); font-size: 12px; font-weight: 650; letter-spacing: 0.09em; text-transform:
  uppercase; margin: 0; }
.muted, section > p.lead, figcaption span, caption { color: var(--muted); }
.chips { display: flex; flex-wrap: wrap; gap: 8px; padding: 0; margin: 16px 0 0; list-style: none; }
.chips li { border: 1px solid var(--line); background: var(--surface); border-radius: 999px; padding: 3px 12px;
  font-size: 13px; }
.chips .good { color: var(--good); background: var(--good-soft); border-color: transparent; font-weight: 600; }
.chips .bad { color: var(--bad); background: var(--bad-soft); border-color: transparent; font-weight: 600; }
.chips .warn { color: var(--warn); background: var(--warn-soft); border-color: transparent; font-weight: 600; }
.banner { border-radius: 10px; padding: 14px 18px; margin: 20px 0 0; border-left: 4px solid; }
.banner p:last-child, .banner ul { margin-bottom: 0; } .banner ul { padding-left: 20px; margin-top: 6px; }
.banner.bad { background: var(--bad-soft); border-color: var(--bad); }
.banner.warn { background: var(--warn-soft); border-color: var(--warn); }
.banner.note { background: var(--soft); border-color: var(--accent); }
nav { margin: 26px 0 0; padding: 12px 0; border-block: 1px solid var(--line); font-size: 14px; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0; padding: 0; list-style: none; }
nav a { color: var(--muted); text-decoration: none; } nav a:hover { color: var(--accent); text-decoration: underline; }
section { background: var(--surface); border: 1px solid var(--line); border-radius: 12px; padding: 24px 26px; margin:
  20px 0; }
.scores { display: grid; gap: 0; margin: 14px 0 0; }
.score { display: grid; grid-template-columns: 210px 1fr; gap: 4px 28px; align-items: center; padding: 9px 0;
  border-top: 1px solid var(--line); }
.score:first-child { border-top: 0; }
.score .name { font-weight: 600; } .score .name small { display: block; font-weight: 400; color: var(--muted);
  font-size: 13px; }
.score .value { font-size: 22px; font-weight: 640; letter-spacing: -0.01em; font-variant-numeric: tabular-nums; }
.score.headline .value { font-size: 40px; line-height: 1.15; color: var(--accent); }
.score .range { margin-left: 12px; color: var(--muted); font-size: 13px; font-variant-numeric: tabular-nums; }
.scale { display: flex; justify-content: space-between; color: var(--muted); font-size: 12px; margin-left: 238px; }
figure { margin: 18px 0 0; min-width: 0; }
figcaption { margin-bottom: 10px; } figcaption strong { display: block; font-weight: 620; }
figcaption span { font-size: 13px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(290px, 100%), 1fr)); gap: 8px 30px; }
.split { display: flex; flex-wrap: wrap; gap: 8px 44px; align-items: flex-start; }
.split > figure { flex: 0 1 auto; } .split > div { flex: 1 1 420px; min-width: 0; }
.scroll { overflow-x: auto; margin: 14px 0 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; font-size: 13px; padding-bottom: 6px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  font-weight: 400;
  overflow-wrap: break-word; }
thead th { color: var(--muted); font-size: 12.5px; font-weight: 600; vertical-align: bottom; white-space: nowrap;
  overflow-wrap: normal; }
tbody th { font-weight: 550; } tr > :last-child { padding-right: 0; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bars { min-width: 110px; width: 34%; vertical-align: middle; }
.facts tbody th { color: var(--muted); font-weight: 400; width: 34%; } .facts th, .facts td { overflow-wrap: anywhere; }
.facts thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
 code, .facts td, pre { font-size: 13px; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
pre { background: var(--bg); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; white-space:
  pre-wrap; margin: 8px 0; }
details { margin-top: 14px; } summary { cursor: pointer; font-weight: 600; font-size: 14px; color: var(--accent); }
svg { display: block; max-width: 100%; height: auto; overflow: visible; } svg text { fill: var(--ink); font-size:
  13px; }
svg .tick { fill: var(--muted); } svg .small { font-size: 11.5px; } svg .axis-title { fill: var(--muted); font-size:
  12px; }
.track { stroke: var(--track); stroke-width: 2; } .grid-line, svg .grid { stroke: var(--line); stroke-width: 1; }
.mark { stroke-width: 2; } .mark.majority { stroke: var(--warn); } .mark.random { stroke: var(--muted);
  stroke-dasharray: 3 2; }
.interval { stroke: var(--accent); stroke-width: 6; stroke-opacity: 0.35; stroke-linecap: round; } .dot { fill:
  var(--accent); }
svg.columns .bar { fill-opacity: 0.82; } .plot { display: grid; grid-template-columns: 44px minmax(0, 1fr); }
.track-fill { fill: var(--track); } .bar { fill: var(--accent); }
.mark-line { stroke: var(--warn); stroke-width: 1.5; stroke-dasharray: 5 4; }
.cell { fill: var(--bg); stroke: var(--surface); stroke-width: 3; } .right { fill: var(--right); } .wrong { fill:
  var(--wrong); }
svg .count { font-size: 16px; font-weight: 640; } svg .share { font-size: 11.5px; fill: var(--ink); fill-opacity: 0.8; }
.fold-line { fill: none; stroke: var(--accent); stroke-width: 1.1; stroke-linejoin: round; }
line.fold-line { stroke-opacity: 0.6; }
.median-line { fill: none; stroke: var(--accent); stroke-width: 2.6; stroke-linejoin: round; stroke-linecap: round; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; color: var(--muted); font-size: 13px; margin: 10px 0 0; }
.legend span { display: inline-flex; align-items: center; gap: 7px; } .swatch { display: inline-block; width: 12px;
  height: 12px; border-radius: 3px; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 20px 28px;
  margin-top: 18px; }
.sample { margin: 0; } .sample .row { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }
.sample img { width: 100%; height: auto; display: block; border-radius: 6px; background: var(--track); }
.sample .row span { display: block; font-size: 12px; color: var(--muted); margin-top: 3px; } .sample .film {
  margin-top: 6px; }
.verdict { font-weight: 600; } .verdict.good { color: var(--good); } .verdict.bad { color: var(--bad); }
.wheel-key { display: flex; gap: 16px; align-items: center; margin-top: 14px; color: var(--muted); font-size: 13px; }
.wheel-key p { margin: 0; } img.wheel { width: 72px; height: 72px; flex: none; }
footer { max-width: 1060px; margin: 0 auto; padding: 4px 24px 48px; color: var(--muted); font-size: 13px; }
@media (max-width: 720px) {
  main, header.top, footer { padding-left: 16px; padding-right: 16px; } header.top { padding-top: 26px; } h1 {
  font-size: 25px; }
  section { padding: 18px 16px; border-radius: 10px; } .score { grid-template-columns: 1fr; } .scale { margin-left: 0; }
  .split > * { flex: 1 1 100%; } .optional { display: none; } .facts tbody th { width: 42%; } td.bars { min-width:
  64px; } }
@media print {
  :root { --bg: #fff; --surface: #fff; --ink: #000; --muted: #444; --line: #ccc; --track: #ddd; --accent: #0f6e84;
  --soft: #fff;
    --right: #9fd3dd; --wrong: #f2b195; --good-soft: #fff; --bad-soft: #fff; --warn-soft: #fff; }
  body { font-size: 10.5pt; } nav { display: none; } section { border: 0; padding: 0; margin: 18pt 0; }
  main, header.top, footer { max-width: none; padding: 0; } figure, tr, .score, .sample { break-inside: avoid; } h2,
  h3 { break-after: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""
