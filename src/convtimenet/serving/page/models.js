// The page of `convtimenet serve`: sends a file to one of the models, as any client does, and shows the answer.
"use strict";

const TASKS = {
  forecast: { button: "Forecast", working: "Forecasting…" },
  classify: { button: "Classify", working: "Classifying…" },
  regress: { button: "Predict", working: "Predicting…" },
};
const MOST_ROWS = 500; // of a table on the page
const MOST_LINES = 1000; // to choose from
const BEFORE = 60; // rows before a forecast that are drawn, or five times its steps
let token = ""; // never stored
let models = null; // as the server lists them
let data = null; // the file to send
let ahead = null; // its rows ahead
let lines = []; // what can be drawn of the answer: a forecast for each series and column
let unread = ""; // why the rows of the file are not drawn
let link = null; // address of the answer as a file
let asking = false;
let again = false; // another file was given meanwhile

// --- server -------------------------------------------------------------------------------------

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(token && { authorization: `Bearer ${token}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer: expected it to run, found it stopped or out of reach; start it again, or check the connection.");
  }
  if (response.ok) return response;
  const text = await response.text();
  if (response.status === 401) $("enter").hidden = false;
  throw new Error(wordsOf(text) ?? `The server answered with the status ${response.status} and no words; try again.`);
}

function wordsOf(text) {
  try {
    const { error } = JSON.parse(text);
    return error.message ?? error;
  } catch {
    return null; // of something between, such as a proxy
  }
}

function problem(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
  if (words) $("problem").scrollIntoView({ block: "nearest" });
}

// --- the models ---------------------------------------------------------------------------------

async function enter(given) {
  token = given;
  try {
    const response = await call("/models");
    ({ models } = await response.json());
  } catch (error) {
    token = "";
    $("needs-token").hidden = $("enter").hidden;
    // the first time nobody has given one
    problem(given || $("enter").hidden ? error.message : "");
    if (!$("enter").hidden) $("token").focus();
    return;
  }
  problem("");
  $("token").value = "";
  $("enter").hidden = true;
  for (const id of ["try", "lines"]) $(id).hidden = false;
  const before = $("model").value;
  $("model").replaceChildren(...models.map(({ name }) => element("option", name, { value: name })));
  if (models.some(({ name }) => name === before)) $("model").value = before;
  $("calls").replaceChildren(...models.flatMap((one) => [
    element("h3", `${one.name}: ${one.task}`),
    element("pre", one.call, { tabindex: 0 }),
  ]));
  showModel();
  if (given) $("h-try").focus();
}

const modelNow = () => models.find(({ name }) => name === $("model").value);
const quoted = (names) => names.map((name) => `“${name}”`).join(", ");

function showModel() {
  const one = modelNow();
  const forecast = one.task === "forecast";
  $("reads").textContent = forecast ? tableWords(one) : caseWords(one);
  $("forecast-box").hidden = !forecast;
  $("h").disabled = !forecast;
  if (forecast) $("h").value = one.h;
  $("ahead-box").hidden = !forecast || !one.known_ahead.length;
  $("start").textContent = TASKS[one.task].button;
  showStart();
}

// "day" of "1 day"; row numbers have only their difference.
function everyWords(step) {
  if (/^\d+$/.test(step)) return step === "1" ? "step" : `step of ${step}`;
  return step.replace(/^1 /, "");
}

function tableWords({ step, time, id, channels, known_ahead, known_so_far, fixed }) {
  const parts = [
    `It reads a table with a header line and a row every ${everyWords(step)}: times (“${time}” in training)`,
    id === null ? "" : `, a column that names the series (“${id}”)`,
    `, and ${quoted(channels)} to forecast`,
    known_ahead.length ? `; ${quoted(known_ahead)}, known ahead, for the steps to forecast as well` : "",
    known_so_far.length ? `; ${quoted(known_so_far)}, known so far` : "",
    fixed.length ? `; ${quoted(fixed)}, the same in all rows of a series` : "",
  ];
  return `${parts.join("")}.`;
}

function caseWords({ task, channels, classes }) {
  const found = task === "classify" ? `one of the classes ${quoted(classes.slice(0, 20))}${classes.length > 20 ? " and others" : ""}` : "a number";
  if (channels > 1) return `It reads recordings of ${channels} channels, which a CSV file has no place for: send JSON, as below. It answers with ${found} for each.`;
  return `It reads a table with a header line, a row for each recording and a column for each step (t0, t1, …). It answers with ${found} for each.`;
}

// --- asking -------------------------------------------------------------------------------------

const needsAhead = () => !$("ahead-box").hidden;

function showStart() {
  const missing = needsAhead() && !ahead;
  $("start").disabled = asking || !data || missing;
  $("busy").textContent = asking ? TASKS[modelNow().task].working : data && missing ? "Give the values known ahead as well." : "";
}

async function take(file, slot = "data") {
  if (!file) return;
  if (slot === "data") data = file;
  else ahead = file;
  $(slot === "data" ? "file-name" : "ahead-name").textContent = `Given: ${file.name}`;
  showStart();
  if (asking) again = true;
  else if (!$("start").disabled && $("ask").reportValidity()) await ask();
}

async function textOf(file) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: expected UTF-8, as these go to the server in JSON, found other bytes; save the file as UTF-8.`);
  }
}

// The request for a model. CSV has no place for rows ahead; JSON takes both as the text of CSV files.
async function requestOf(model) {
  const level = [...$("levels").querySelectorAll(":checked")].map((one) => Number(one.value));
  const h = Number($("h").value);
  if (needsAhead()) {
    const body = { model: model.name, table: await textOf(data), future: await textOf(ahead), h, level };
    return ["/forecast", { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } }];
  }
  const query = new URLSearchParams({ model: model.name });
  if (model.task === "forecast") {
    query.set("h", h);
    for (const one of level) query.append("level", one);
  }
  return [`/${model.task}?${query}`, { method: "POST", body: data, headers: { "content-type": "text/csv" } }];
}

// The server calls the file "table" or "cases", and the rows ahead "future".
function named(words, file) {
  const names = { table: file.name, cases: file.name, future: ahead?.name };
  return words.replace(/^(table|cases|future)(\.csv)?(?=[:,])/, (found, slot) => names[slot] ?? found);
}

async function ask() {
  const [model, file] = [modelNow(), data];
  problem("");
  asking = true;
  showStart();
  try {
    const response = await call(...(await requestOf(model)));
    let [text, notices] = [await response.text(), JSON.parse(response.headers.get("convtimenet-notices") ?? "[]")];
    if (response.headers.get("content-type").startsWith("application/json")) {
      const answer = JSON.parse(text);
      [text, notices] = [answer.forecast, answer.notices];
    }
    await show(model, file, text, notices);
  } catch (error) {
    $("result").hidden = true; // it is of something else
    problem(named(error.message, file));
  } finally {
    asking = false;
    showStart();
  }
  if (again) {
    again = false;
    await ask();
  }
}

// --- the answer ---------------------------------------------------------------------------------

// The cells of a CSV text, with quotes where a cell needs them.
function cellsOf(text, mark = ",") {
  const rows = [];
  let [row, cell, inside] = [[], "", false];
  const end = () => {
    row.push(cell);
    cell = "";
  };
  for (let at = 0; at < text.length; at += 1) {
    const one = text[at];
    if (inside && one === '"' && text[at + 1] === '"') cell += text[(at += 1)];
    else if (one === '"') inside = !inside;
    else if (inside || (one !== mark && one !== "\n" && one !== "\r")) cell += one;
    else if (one === mark) end();
    else if (one === "\n") {
      end();
      rows.push(row);
      row = [];
    }
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows;
}

async function show(model, file, text, notices) {
  const [head, ...rows] = cellsOf(text);
  const forecast = model.task === "forecast";
  $("title").textContent = forecast
    ? `${file.name}: forecast with ${model.name}`
    : `${file.name}: ${rows.length} recordings with ${model.name}`;
  list("notices", notices);
  URL.revokeObjectURL(link);
  link = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  $("download").href = link;
  $("download").download = `${file.name.replace(/\.[^.]*$/, "")}-${forecast ? "forecast" : "answers"}.csv`;
  fill("rows", head, rows.slice(0, MOST_ROWS), rows.length - MOST_ROWS);
  $("table-box").open = !forecast;
  $("chart-box").hidden = !forecast;
  $("result").hidden = false; // before it is drawn: a hidden plot has no width
  if (forecast) {
    lines = linesOf(model, head, rows);
    await addKnown(model, file, head, rows.length);
    const listed = lines.slice(0, MOST_LINES);
    $("shown").replaceChildren(...listed.map(({ name }, at) => element("option", name, { value: at })));
    $("shown-box").hidden = lines.length === 1;
    draw();
  }
  $("h-result").focus();
}

// A forecast for each series and column. Columns after the keys come in groups: a forecast and its bounds.
function linesOf({ id, channels }, head, rows) {
  const keys = id === null ? 1 : 2;
  const each = (head.length - keys) / channels.length;
  return [...grouped(rows, id === null ? -1 : 0)].flatMap(([name, own]) => channels.map((channel, c) => {
    const first = keys + c * each;
    const column = (at) => own.map((row) => numberOf(row[at]));
    const sides = head.slice(first + 1, first + each);
    const levels = [...new Set(sides.map((one) => Number(one.match(/-(?:lo|hi)-([\d.]+)_*$/)[1])))].sort((a, b) => a - b);
    const bound = (side, level) => column(first + 1 + sides.findIndex((one) => one.replace(/_+$/, "").endsWith(`-${side}-${level}`)));
    const bounds = levels.map((level) => ({ level, lo: bound("lo", level), hi: bound("hi", level) }));
    return {
      name: [name, ...(channels.length > 1 || id === null ? [channel] : [])].filter(Boolean).join(", "),
      series: name,
      channel,
      ahead: { name: "forecast", ahead: true, x: own.map((row) => row[keys - 1]), y: column(first), bounds },
      known: null,
    };
  }));
}

// Rows by the cell of a column; all are of one series without such a column.
function grouped(rows, at) {
  const found = new Map();
  for (const row of rows) {
    const name = row[at] ?? "";
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(row);
  }
  return found;
}

function numberOf(cell) {
  return cell.trim() === "" ? null : Number(cell);
}

// The last rows of the file, to draw them before the forecast: where its times and numbers are written as the
// answer's are, in the order of time. The server reads more than this page does.
async function addKnown({ id, channels }, file, head, total) {
  unread = "The rows of the file are not drawn: the page draws those whose times are written as in the answer, in order, with numbers like 1234.5.";
  let text;
  try {
    text = (await textOf(file)).replace(/^\ufeff/, "");
  } catch {
    return;
  }
  const first = text.slice(0, text.search(/[\r\n]|$/));
  const mark = [",", ";", "\t"].find((one) => first.includes(one));
  const [names, ...rows] = cellsOf(text, mark);
  const time = names.indexOf(head[id === null ? 0 : 1]);
  const by = id === null ? -1 : names.indexOf(head[0]);
  if (time < 0 || (id !== null && by < 0) || channels.some((one) => !names.includes(one))) return;
  const form = (stamp) => stamp.replaceAll(/\d/g, "0");
  const steps = Math.max(BEFORE, (5 * total * channels.length) / lines.length);
  const series = grouped(rows, by);
  const found = lines.map((line) => {
    const own = (series.get(line.series) ?? []).slice(-steps);
    const at = names.indexOf(line.channel);
    const [x, y] = [own.map((row) => row[time]), own.map((row) => numberOf(row[at] ?? ""))];
    const dated = /^\d{4}-\d\d-\d\d/.test(line.ahead.x[0]);
    const ordered = [...x, line.ahead.x[0]].every((one, k, all) => !k || (dated ? all[k - 1] < one : Number(all[k - 1]) < Number(one)));
    const alike = dated ? x.every((one) => form(one) === form(line.ahead.x[0])) : x.every((one) => Number.isFinite(Number(one)));
    return x.length && ordered && alike && !y.some(Number.isNaN) ? { name: "known", x, y } : null;
  });
  if (found.includes(null)) return;
  lines.forEach((line, at) => {
    line.known = found[at];
  });
  unread = "";
}

function draw() {
  const line = lines[Number($("shown").value)];
  plot("chart", [...(line.known ? [line.known] : []), line.ahead], {}, { title: { text: literal(line.channel), standoff: 6 } });
  const more = lines.length > MOST_LINES ? `The first ${MOST_LINES} of ${lines.length} can be chosen; the file has all.` : "";
  $("drawn").textContent = [unread, more].filter(Boolean).join(" ");
}

// --- controls -----------------------------------------------------------------------------------

$("let-in").addEventListener("submit", (event) => {
  event.preventDefault();
  enter($("token").value.trim());
});
$("model").addEventListener("change", showModel);
for (const [id, slot] of [["file", "data"], ["ahead", "ahead"]]) {
  $(id).addEventListener("change", async () => {
    await take($(id).files[0], slot);
    $(id).value = ""; // the same file can be chosen again after it was corrected
  });
}
droppable($("drop"), take);
droppable($("ahead-box"), (file) => take(file, "ahead"));
$("paste-use").addEventListener("click", () => take(new File([$("paste").value], "pasted.csv")));
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
$("shown").addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (!$("result").hidden && !$("chart-box").hidden) draw();
});
enter("");
