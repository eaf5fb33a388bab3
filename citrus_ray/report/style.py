"""The page's look: Okabe-Ito colours and a shape beside each, so that grey print and any eye tell marks apart."""

CSS = """
:root { color-scheme: light dark;
  --bg: #fdfdfb; --card: #f3f4f1; --ink: #1b1e21; --soft: #575e65; --rule: #dcdfdc; --grid: #e6e8e5;
  --blue: #0072b2; --red: #d55e00; --tick: #1b1e21; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14171a; --card: #1d2226; --ink: #e9ebed; --soft: #a9b1b9; --rule: #353c42; --grid: #272d32;
  --blue: #56b4e9; --red: #e69f00; --tick: #e9ebed; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; }
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.75rem; }
h1 { font-size: clamp(1.5rem, 1.1rem + 1.9vw, 2.3rem); line-height: 1.2; margin: .3rem 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.3rem; margin: 2.25rem 0 .5rem; padding-top: 1.1rem; border-top: 1px solid var(--rule); }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--blue); }
code, pre { font: .875em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--card); padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; margin: .5rem 0; }
.kicker { color: var(--soft); margin: 0; font-size: .9rem; letter-spacing: .02em; }
.fine, .state { color: var(--soft); font-size: .9rem; }
.shows { font-weight: 500; } .deck { font-size: 1.1rem; margin: 0 0 .6rem; }
.notice { border-left: 4px solid var(--red); background: var(--card); padding: .5rem 1rem; margin: 1.25rem 0;
  border-radius: 0 6px 6px 0; }
.notice ul { margin: .3rem 0; padding-left: 1.2rem; }

.verdict { background: var(--card); border-left: 6px solid var(--soft); border-radius: 0 8px 8px 0; margin: 1rem 0;
  padding: 1rem 1.25rem; display: grid; grid-template-columns: minmax(8.5rem, auto) 1fr; gap: 0 1.5rem;
  align-items: center; }
.verdict.supported { border-color: var(--blue); } .verdict.negative { border-color: var(--red); }
.verdict .big { font-size: 2rem; font-weight: 650; line-height: 1.1; font-variant-numeric: tabular-nums; margin: 0; }
.verdict .big small { display: block; font-size: .85rem; font-weight: 400; color: var(--soft); margin-top: .3rem; }
.verdict .say { font-size: 1.08rem; margin: 0 0 .3rem; }
.verdict .fine { margin: 0; }
.badge { font-size: .85rem; font-weight: 650; white-space: nowrap; border: 1.5px solid currentColor;
  border-radius: 99px;
  padding: .05rem .6rem; color: var(--soft); }
.supported .badge, .badge.supported { color: var(--blue); } .negative .badge, .badge.negative { color: var(--red); }
.sentences { padding-left: 0; list-style: none; }
.sentences li { margin: .5rem 0; display: grid; grid-template-columns: 8rem 1fr; gap: .75rem; align-items: baseline; }
.sentences .badge { justify-self: start; }
sup { line-height: 0; } sup a { text-decoration: none; padding: 0 .1em; font-size: .8em; }
ol.notes { padding-left: 1.6rem; } ol.notes li { margin: .3rem 0; max-width: 46rem; }
ol.notes li:target { background: var(--card); }

figure { margin: .75rem 0 1.5rem; }
svg { display: block; overflow: visible; }
.row { display: grid; grid-template-columns: minmax(7rem, 13rem) minmax(0, 1fr) 12.5rem; gap: 0 1.5rem;
  align-items: center; }
.row .said { font-variant-numeric: tabular-nums; font-size: .92rem; line-height: 1.3; }
.row .said small { color: var(--soft); display: block; }
.group { font-weight: 600; font-size: .95rem; margin: .6rem 0 0; padding-top: .3rem;
  border-top: 1px solid var(--rule); }
.row .axis-name { grid-column: 2; text-align: center; }
.axis-name { color: var(--soft); font-size: .85rem; }
svg text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--grid); } .zero { stroke: var(--ink); stroke-width: 1.5; }
.bar { stroke: var(--ink); stroke-width: 2; } .tick { stroke: var(--tick); stroke-width: 1.25; opacity: .5; }
.baseline { stroke: var(--red); stroke-width: 2.5; stroke-dasharray: 3 2; }
.mark { stroke: var(--ink); stroke-width: 2; fill: var(--bg); }
.mark.full, .mark.up { fill: var(--blue); stroke: var(--blue); }
.mark.down { fill: var(--red); stroke: var(--red); }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr));
  gap: 1.25rem 2rem; margin: .9rem 0; }
.panel { display: flex; flex-direction: column; } .panel svg { margin-top: auto; }
.panel .label { font-size: .92rem; margin-bottom: .3rem; } .panel .axis-name { text-align: center; }
.trial { fill: var(--blue); } .trial.pruned { fill: var(--bg); stroke: var(--blue); stroke-width: 1.5; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.best { stroke: var(--ink); stroke-width: 1.25; opacity: .6; }
.cross { stroke: var(--red); stroke-width: 2; fill: none; }

.scroll { overflow-x: auto; margin: .6rem 0; /* a shade at the side where there is more to see */
  background: linear-gradient(to right, var(--bg) 40%, transparent) left / 2.5rem 100% no-repeat local,
    linear-gradient(to left, var(--bg) 40%, transparent) right / 2.5rem 100% no-repeat local,
    linear-gradient(to right, var(--rule), transparent) left / .8rem 100% no-repeat scroll,
    linear-gradient(to left, var(--rule), transparent) right / .8rem 100% no-repeat scroll; }

.drawn svg { max-width: 100%; height: auto; }
.drawn svg text { fill: var(--ink); font-family: inherit; }
.scroll:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; min-width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--rule);
  white-space: nowrap; vertical-align: top; }
th { font-weight: 600; } td.wide, td .wide { white-space: normal; min-width: 16rem; display: inline-block; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--blue); font-size: .92rem; width: fit-content; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) minmax(0, 1fr); gap: .3rem 1.5rem;
  margin: .75rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .85rem; padding-top: 2rem; padding-bottom: 3rem; }

@media (max-width: 44rem) {
  header { padding-top: 1.5rem; }
  .verdict { grid-template-columns: 1fr; gap: .6rem; }
  .sentences li { grid-template-columns: 1fr; gap: .2rem; margin: .9rem 0; }
  .row { grid-template-columns: minmax(0, 1fr) auto; gap: 0 1rem; margin-top: .6rem; align-items: baseline; }
  .row .said { text-align: right; grid-row: 1; grid-column: 2; }
  .row svg[role] { grid-row: 2; grid-column: 1 / -1; }
  .row.axis { margin-top: 0; } .row.axis .label { display: none; } .row.axis svg { grid-row: 1; }
  .row.axis .axis-name { grid-row: 2; grid-column: 1 / -1; text-align: center; }
  dl { grid-template-columns: 1fr; gap: 0; } dt { margin-top: .5rem; }
}
@media print { body { font-size: 11pt; } summary { display: none; } .scroll { overflow: visible; } }
"""
