// What both pages are made of: elements, tables, plots, and a box to drop files on.
"use strict";

const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, text, attributes = {}) {
  const one = document.createElement(name);
  one.textContent = text ?? "";
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  return one;
}

function list(id, words) {
  $(id).replaceChildren(...words.map((one) => element("li", one)));
}

function fill(id, head, rows, more = 0) {
  const line = (cells, name) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => element(name, cell ?? "")));
    return row;
  };
  const top = document.createElement("thead");
  const body = document.createElement("tbody");
  top.append(line(head, "th"));
  body.append(...rows.map((cells) => line(cells, "td")));
  if (more > 0) body.append(line([`and ${more} more in the file`], "td"));
  $(id).replaceChildren(top, body);
}

const short = (number) => (Number.isFinite(number) ? String(Number(number.toPrecision(4))) : "not a number");

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

function plot(id, lines, x = {}, y = {}) {
  let colour = -1;
  const { what } = $(id).dataset;
  if (what) $(id).setAttribute("aria-label", inWords(what, lines));
  const banded = lines.find((line) => line.lo); // the first of the bands stands for all in the legend
  const traces = lines.flatMap((line) => {
    const ahead = line.ahead ?? false;
    if (!ahead) colour += 1;
    const silent = { type: "scatter", mode: "lines", x: line.x, hoverinfo: "skip", showlegend: false, line: { width: 0 } };
    const band = line.lo ? [{ ...silent, y: line.lo }, { ...silent, y: line.hi, fill: "tonexty", fillcolor: css("--band"), name: `${line.level} % interval`, showlegend: line === banded }] : [];
    return [...band, {
      type: "scatter",
      mode: line.mode ?? "lines",
      x: line.x,
      y: line.y,
      name: literal(line.name),
      line: { width: 1.6, color: ahead ? css("--orange") : css(`--c${colour % 4}`) },
    }];
  });
  const axis = (own) => ({ ...own, gridcolor: css("--line"), linecolor: css("--soft"), zerolinecolor: css("--line"), automargin: true });
  const layout = {
    margin: { l: 10, r: 10, t: 10, b: 10 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), size: 12 },
    xaxis: axis(x),
    yaxis: axis(y),
    showlegend: lines.length > 1 || Boolean(banded),
    legend: { orientation: "h", ...(x.title ? { y: 1.02, yanchor: "bottom" } : { y: -0.15 }) },
    hovermode: "closest",
  };
  Plotly.react($(id), traces, layout, { displayModeBar: false, responsive: true });
}

// --- files --------------------------------------------------------------------------------------

function droppable(box, take) {
  for (const name of ["dragenter", "dragover"]) {
    box.addEventListener(name, (event) => {
      event.preventDefault();
      box.classList.add("over");
    });
  }
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    box.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
}

// a file dropped beside the box must not replace the page
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
