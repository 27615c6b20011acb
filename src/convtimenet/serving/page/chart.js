// Charts of both pages, and what they say where one points.
"use strict";

const charts = new Map(); // element of a chart -> its lines, the trace of each, the point shown

const short = (number) => (Number.isFinite(number) ? String(Number(number.toPrecision(4))) : "not a number");

// whole numbers in full, others with six figures
function figures(value) {
  const whole = String(Math.trunc(Math.abs(value))).length;
  return value.toLocaleString("en-US", { maximumSignificantDigits: Math.max(6, whole) });
}

// A picture in words: from when to when each line goes, and the range of its values.
function inWords(what, lines) {
  const each = lines.map(({ name, x, y }) => {
    const known = y.filter(Number.isFinite);
    const range = known.length ? `${short(Math.min(...known))} to ${short(Math.max(...known))}` : "no values";
    return `${name}, from ${x[0]} to ${x.at(-1)}: ${range}`;
  });
  return `${what}. ${each.join("; ")}.`;
}

const literal = (text) => element("b", text).innerHTML.replaceAll("$", "&#36;"); // for Plotly, which reads HTML

// What there is to say of a point: its line, its place and value, its intervals.
function told({ name, x, y, bounds = [] }, at) {
  const intervals = bounds.map(({ level, lo, hi }) => `${level} %: ${figures(lo[at])} to ${figures(hi[at])}`);
  return [name, `${x[at]}: ${figures(y[at])}`, ...intervals];
}

// Text in lines that are short enough for a hover label.
const folded = (text, width) => text.match(new RegExp(`.{1,${width}}(?:\\s+|$)|.{1,${width}}`, "gsu")) ?? [];

function plot(id, lines, x = {}, y = {}) {
  const box = $(id);
  const { what } = box.dataset;
  if (what) box.setAttribute("aria-label", inWords(what, lines));
  const alone = lines.filter((line) => !line.ahead).length === 1;
  const width = box.clientWidth < 480 ? 24 : 48;
  const curves = [];
  const traces = [];
  const numbers = new Map(); // recordings of a class have one name
  let number = 0;
  for (const line of lines) {
    const again = numbers.has(line.name);
    if (!line.ahead) number = numbers.get(line.name) ?? numbers.size;
    if (!line.ahead) numbers.set(line.name, number);
    const color = css(`--c${number % 4}`); // of a series, also of its forecast
    const own = { type: "scatter", mode: "lines", x: line.x, ...(!alone && { legendgroup: String(number) }) };
    for (const [inner, { level, lo, hi }] of [...(line.bounds ?? [])].reverse().entries()) {
      const silent = { ...own, hoverinfo: "skip", showlegend: false, line: { width: 0, color } };
      const band = { fill: "tonexty", fillcolor: `${color}${inner ? "55" : "33"}`, name: `${level} % interval`, showlegend: alone };
      traces.push({ ...silent, y: lo }, { ...silent, y: hi, ...band });
    }
    curves.push(traces.length);
    const said = line.y.map((value, at) =>
      value === null ? "" : told(line, at).flatMap((part) => folded(part, width)).map(literal).join("<br>"));
    traces.push({
      ...own,
      mode: line.mode ?? "lines",
      y: line.y,
      text: said,
      hovertemplate: "%{text}<extra></extra>",
      name: alone && line.ahead ? "forecast" : literal(line.name),
      showlegend: alone || !(line.ahead || again),
      line: { width: line.ahead ? 2 : 1.6, color, ...(line.ahead && { dash: "dash" }) },
    });
  }
  charts.set(box, { lines, curves, alone });
  const axis = (own) => ({ ...own, gridcolor: css("--line"), linecolor: css("--soft"), zerolinecolor: css("--line"), automargin: true });
  const layout = {
    margin: { l: 10, r: 10, t: 10, b: 10 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), size: 12 },
    xaxis: axis(x),
    yaxis: axis(y),
    showlegend: lines.length > 1,
    legend: { orientation: "h", traceorder: "normal", ...(x.title ? { y: 1.02, yanchor: "bottom" } : { y: -0.15 }) },
    hovermode: "closest",
    hoverdistance: -1, // the nearest point, wherever one points
    hoverlabel: { bgcolor: css("--card"), font: { color: css("--ink") }, align: "left", namelength: -1 },
  };
  Plotly.react(box, traces, layout, { displayModeBar: false, responsive: true });
}

// Arrow keys move the hover label from point to point, in a forecast from its first step on, and to
// the next series; Escape removes it. `said` gets its words.
function walk(event, said) {
  const box = event.currentTarget;
  const chart = charts.get(box);
  const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
  const across = chart.alone ? 0 : { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
  if (event.key === "Escape") {
    Plotly.Fx.unhover(box);
    said.textContent = "";
  }
  if (!along && !across) return;
  event.preventDefault();
  const tracks = []; // the points of each series, and which is the first ahead
  chart.lines.forEach((line, number) => {
    if (!line.ahead) tracks.push({ points: [], first: 0 });
    const track = tracks.at(-1);
    if (line.ahead) track.first = track.points.length;
    line.y.forEach((value, at) => value === null || track.points.push([number, at]));
  }); // a forecast has points, also of a series without known values
  const { track, at } = chart.shown ?? { track: 0, at: tracks[0].first };
  const now = chart.shown ? (track + across + tracks.length) % tracks.length : 0;
  const { points, first } = tracks[now];
  const from = chart.shown ? first + (at - tracks[track].first) + along : first;
  const place = Math.min(Math.max(from, 0), points.length - 1);
  chart.shown = { track: now, at: place };
  const [number, point] = points[place];
  Plotly.Fx.hover(box, [{ curveNumber: chart.curves[number], pointNumber: point }]);
  said.textContent = told(chart.lines[number], point).join(", ");
}
