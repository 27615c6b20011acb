// Charts of the page, what they say where one points, and the choice of the series of a forecast.
"use strict";

const LISTED = 200; // names to choose from at once; a search finds the others
const charts = new Map(); // element of a chart -> its lines, the trace of each, the point shown
let series = { first: [], lines: [], names: [], picked: null }; // of the forecast that is shown

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

// --- the forecast, of one series or of the first ------------------------------------------------

async function showForecast({ chart, drawn, series: count }) {
  const shown = { first: chart, lines: chart, names: [], picked: null, drawn };
  series = shown;
  drawForecast();
  $("picker").hidden = true;
  if (count < 2) return;
  const names = await ask("GET", "/app/series");
  if (series !== shown) return; // another forecast is shown
  series.names = names;
  $("search").value = "";
  listSeries();
  $("picker").hidden = false;
}

function drawForecast() {
  plot("forecast", series.lines);
  $("pointed").textContent = "";
  const levels = series.lines.find((line) => line.ahead).bounds.map(({ level }) => level);
  const shaded = levels.length ? `; shaded: its interval${levels.length > 1 ? "s" : ""} of ${levels.join(" and ")} %` : "";
  const drawn = series.picked === null && series.drawn ? ` ${series.drawn}` : "";
  $("forecast-words").textContent = `Dashed: the forecast${shaded}.${drawn}`;
}

// The names that hold what is searched for. One that is picked by hand stays as long as it does.
function listSeries() {
  const { names, first, picked } = series;
  const wanted = $("search").value.trim().toLowerCase();
  const found = [...names.keys()].filter((at) => names[at].toLowerCase().includes(wanted));
  const listed = found.slice(0, LISTED);
  if (picked !== null && !listed.includes(picked) && found.includes(picked)) listed.push(picked);
  const together = first.filter((line) => line.ahead).length;
  const all = new Option(together < names.length ? `the first ${together} together` : "all together", "");
  $("picked").replaceChildren(...(wanted ? [] : [all]), ...listed.map((at) => new Option(names[at], at)));
  const some = found.length > LISTED ? `, ${LISTED} listed` : "";
  $("found").textContent = `${found.length.toLocaleString("en-US")} of ${names.length.toLocaleString("en-US")}${some}`;
  if (found.includes(picked) || (picked === null && !wanted)) $("picked").value = picked ?? "";
  else if (found.length) pick(found[0]);
}

async function pick(number) {
  const shown = series;
  shown.picked = number;
  $("picked").value = number ?? "";
  try {
    const lines = number === null ? shown.first : await ask("GET", `/app/series/${number}`);
    if (series !== shown || shown.picked !== number) return; // another one since
    shown.lines = lines;
    drawForecast();
  } catch (error) {
    problem(error.message);
  }
}
