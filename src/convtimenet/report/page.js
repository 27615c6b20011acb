// Makes a report interactive: plots over the static pictures, the series picker, sortable tables.
// Everything it reads is in the page itself. Without it, and in print, the pictures stay.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plots = new Map(); // element of a plot -> its figure as read from the page, and the choice
let library; // promise of the unpacked plotting library

// What base64 text holds compressed, as a Response.
function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed), (one) => one.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

function loadLibrary() {
  library ??= (async () => {
    const script = document.createElement("script");
    script.textContent = await unpacked(document.getElementById("plotly").textContent).text();
    document.head.append(script);
    return window.Plotly;
  })();
  return library;
}

// --- plots --------------------------------------------------------------------------------------

// Colours are names of CSS variables, and "theme" and "signed" are colour scales between these.
const scales = { theme: ["--card", "--accent"], signed: ["--blue", "--card", "--red"] };

function coloured(value, key = "") {
  if (Array.isArray(value)) {
    return value.length && typeof value[0] === "object"
      ? value.map((one) => coloured(one, key))
      : value;
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k)]));
  }
  const scale = key === "colorscale" && scales[value];
  if (scale) return scale.map((name, i) => [i / (scale.length - 1), css(name)]);
  return /color$/.test(key) && String(value).startsWith("--") ? css(value) : value;
}

// Forecasts hold each time axis once, and with choices the values of each beside the traces.
function traces({ figure, choice }) {
  if (!figure.xs) return figure.data;
  const ys = figure.choices?.[choice].y ?? figure.data.map((trace) => trace.y);
  return figure.data.map((trace, i) => ({
    ...trace,
    x: figure.xs[figure.choices?.[choice].x[i] ?? trace.x],
    y: ys[i],
    // traces whose values the hover label shows as well, such as the lower bound
    ...(trace.customdata && { customdata: ys[i].map((_, k) => trace.customdata.map((at) => ys[at][k])) }),
  }));
}

// A legend as wide as a narrow plot lies below the tools, not under them; a margin that it does not fit into
// would be drawn again and again.
function topMargin({ showlegend }, { clientWidth }) {
  if (!showlegend || clientWidth >= 700) return 14;
  return clientWidth >= 480 ? 52 : 80;
}

function layout({ figure, choice }, box) {
  // margins grow to one side only: else labels and legend can push each other for ever
  const grows = { x: "bottom", y: "left" };
  const axis = { gridcolor: "--line", linecolor: "--soft", zerolinecolor: "--line" };
  const own = figure.layout;
  const found = {
    autosize: true,
    height: own.height ?? 300,
    margin: { l: 10, r: 12, t: topMargin(own, box), b: 10 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "--ink" },
    hoverlabel: { bgcolor: "--card", bordercolor: "--line", font: { color: "--ink" }, namelength: 40 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "--soft", activecolor: "--accent" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...own,
  };
  for (const name of Object.keys(own).filter((key) => /^[xy]axis/.test(key))) {
    found[name] = { automargin: grows[name[0]], ...axis, ...own[name] };
  }
  if (box.clientWidth < 480) found.xaxis = { nticks: 5, ...found.xaxis };
  if (figure.choices) {
    const one = figure.choices[choice];
    found.yaxis = { ...found.yaxis, title: { text: one.unit } };
    found.shapes = one.spans.map(([x0, x1]) => ({ ...own.shapes[0], x0, x1 }));
  }
  return coloured(found);
}

async function draw(box) {
  const plotly = await loadLibrary();
  const known = plots.get(box);
  const buttons = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"];
  const options = { displaylogo: false, responsive: true, modeBarButtons: [buttons] };
  box.closest("figure").classList.add("live"); // before it is drawn: a hidden box has no width
  await plotly.react(box, coloured(traces(known)), layout(known, box), options);
  if (!known.drawn) box.addEventListener("keydown", (event) => walk(box, event));
  known.drawn = true;
}

// Arrow keys move the hover label from point to point, in forecasts from the first step on; Escape
// removes it.
function walk(box, event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const known = plots.get(box);
  if (event.key === "Escape") window.Plotly.Fx.unhover(box);
  const shown = box.data.filter((trace) => trace.hoverinfo !== "skip");
  const last = shown.at(-1);
  if (!by || last.z) return;
  event.preventDefault();
  const together = box.layout.hovermode === "x unified";
  const places = together
    ? [...new Set(shown.flatMap((trace) => trace.x))].sort((a, b) => (a < b ? -1 : 1))
    : last.x;
  const first = together ? places.indexOf(last.x[0]) : 0;
  known.at = known.at === undefined ? first : (known.at + by + places.length) % places.length;
  if (together) {
    const axis = box._fullLayout.xaxis; // hover wants its own numbers for dates
    window.Plotly.Fx.hover(box, { xval: axis.d2c(places[known.at]) }, "xy");
  } else {
    const curveNumber = box.data.indexOf(last);
    window.Plotly.Fx.hover(box, [{ curveNumber, pointNumber: known.at }]);
  }
}

function failed(box, error) {
  box.closest("figure").classList.remove("live");
  console.error(error);
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    const box = target.querySelector(".plot");
    draw(box).catch((error) => failed(box, error));
  }
}, { rootMargin: "400px" });

async function plot(script) {
  const box = script.closest("figure").querySelector(".plot");
  const text = script.textContent;
  const figure = script.type.endsWith("gzip") ? await unpacked(text).json() : JSON.parse(text);
  plots.set(box, { figure, choice: 0 });
  script.remove();
  seen.observe(box.closest("figure"));
  return box;
}

dark.addEventListener("change", () => {
  for (const [box, known] of plots) if (known.drawn) draw(box);
});

// --- the picker ---------------------------------------------------------------------------------

// values are rounded where the page is written
const number = (value) =>
  value === null ? "" : value.toLocaleString("en-US", { maximumSignificantDigits: 15 });

function picker(form, box) {
  const [search, list] = [form.querySelector("input"), form.querySelector("select")];
  const known = plots.get(box);
  const choices = known.figure.choices;
  const section = form.closest("section");

  function fill() {
    const wanted = search.value.trim().toLowerCase();
    const found = [...choices.keys()].filter((i) => choices[i].name.toLowerCase().includes(wanted));
    list.replaceChildren(...found.map((i) => new Option(choices[i].name, i)));
    form.querySelector("output").textContent = `${found.length} of ${choices.length}`;
    if (found.includes(known.choice)) list.value = known.choice;
    else if (found.length) show(found[0]);
  }
  function show(i) {
    known.choice = i;
    known.at = undefined;
    const one = choices[i];
    list.value = i;
    section.querySelector(".outlook span").textContent = one.words;
    const rows = section.querySelector("table.forecast tbody");
    for (const head of section.querySelectorAll("table.forecast [aria-sort]")) {
      head.removeAttribute("aria-sort"); // the rows are in the order of time again
    }
    const shown = known.figure.columns; // which traces the columns of the table are
    const cells = one.rows ?? known.figure.xs[one.stamps].map((stamp, k) =>
      [stamp, ...shown.map((trace) => number(one.y[trace][k]))]);
    rows.replaceChildren(...cells.map(([stamp, ...others]) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = stamp;
      row.append(head, ...others.map((text) => {
        const cell = document.createElement("td");
        cell.className = "number";
        cell.textContent = text;
        return cell;
      }));
      return row;
    }));
    for (const place of section.querySelectorAll("[data-name]")) place.textContent = one.name;
    if (known.drawn) draw(box);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", fill);
  list.addEventListener("change", () => show(Number(list.value)));
  form.hidden = false;
  fill();
}

// --- tables -------------------------------------------------------------------------------------

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const value = (row) => row.cells[column].textContent.trim();
      const all = [...body.rows].filter((row) => !/^(none)?$/.test(value(row)));
      const numeric = all.every((row) => /^[+-]?[\d.,]+(e[+-]?\d+)?(\s%)?$/.test(value(row)));
      const size = (row) => parseFloat(value(row).replaceAll(",", ""));
      const by = numeric
        ? (a, b) => size(a) - size(b)
        : (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
      const empty = [...body.rows].filter((row) => !all.includes(row));
      body.append(...all.sort((a, b) => (down ? -by(a, b) : by(a, b))), ...empty);
    });
  });
}

// --- downloads ----------------------------------------------------------------------------------

// A compressed file is offered unpacked.
async function unpackDownload(link) {
  const file = await unpacked(link.href.split(",")[1]).blob();
  link.href = URL.createObjectURL(new Blob([file], { type: "text/csv" }));
  link.download = link.download.replace(/\.gz$/, "");
}

document.querySelectorAll("table").forEach(sortable);
if (window.DecompressionStream) {
  document.querySelectorAll("a[download$='.gz']").forEach(unpackDownload);
  document.querySelectorAll("script.figure").forEach(async (script) => {
    const box = await plot(script);
    const form = box.closest("section").querySelector("form.picker");
    if (form && plots.get(box).figure.choices) picker(form, box);
  });
}
