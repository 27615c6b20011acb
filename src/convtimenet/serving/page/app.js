// The page of `convtimenet app`: sends files and choices to the server, and shows the state it answers with.
"use strict";

const TASKS = {
  forecast: { button: "Forecast", working: "Forecasting…", target: "to forecast", file: ["forecast.csv", "Forecast (CSV)"] },
  impute: {
    button: "Fill gaps",
    working: "Filling gaps…",
    target: "to fill",
    file: ["filled.csv", "Table without gaps (CSV)"],
    words: "What is missing is filled from the values on both sides; known values stay as they are.",
  },
  detect: {
    button: "Find oddities",
    working: "Looking for oddities…",
    target: "to look at",
    file: ["anomalies.csv", "Scores (CSV)"],
    words: "Each value is compared with what the others let expect; those farthest off are flagged.",
  },
  classify: { button: "Train", working: "Training…" },
  regress: { button: "Train", working: "Training…" },
};
const NO_TRAINING = " Nothing is trained: the network comes with the program.";
// what a quality does with a file, by what the estimator says
const KINDS = {
  weights: {
    pretrained: "no training, seconds",
    tuned: "too few rows to train on: the same as pretrained",
    auto: "few rows: the same as pretrained, seconds",
    best: "few rows: the same as pretrained, seconds",
  },
  tuned: { tuned: "the same, trained on: seconds" },
  solved: {
    fast: "solved in closed form, seconds",
    auto: "few rows: the same as fast, seconds",
    best: "few rows: the same as fast, seconds",
  },
  "solved or network": {
    auto: "the same as fast, seconds; only if a linear map is far better, a network, minutes",
    best: "the same as fast, seconds; only if a linear map is far better, several networks, long",
  },
  network: { auto: "a network, minutes", best: "several networks, long" },
};
const OF_RECORDINGS = { fast: "solved", auto: "network", best: "network" };
const ROLES = { time: "time", id: "series", target: "to forecast", known: "known ahead", past: "known so far", "": "not used" };
const CASE_ROLES = { "": "as detected", label: "label", id: "id", unused: "not used" };
const LISTED = 200; // names to choose from at once; a search finds the others
let series = { first: [], lines: [], names: [], picked: null }; // of the forecast that is shown
let state = {}; // what the server last said
let shownLook = null; // versions of what is on the page, as text, so that nothing is drawn twice
let shownResult = null;
let shownAnswers = null;
let shownCurve = null;
let polling = null;
let shownGiven = null; // the count of files that were given, with the one on the page
let redraw = false; // what was refused is still in the controls
let acts = 0; // requests that change something, of this page
const edited = new Set(); // settings that are not the defaults of this file, by the user's hand
let waiting = 0; // requests that change something and are not answered

// --- server -------------------------------------------------------------------------------------

async function ask(method, path, body) {
  const json = body !== undefined && !(body instanceof Blob);
  const response = await fetch(path, {
    method,
    body: json ? JSON.stringify(body) : body,
    headers: json ? { "content-type": "application/json" } : {},
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message ?? answer.error);
  return answer;
}

// Send something that changes the state, and show the state after it.
async function act(words, method, path, body) {
  $("problem").hidden = true;
  $("busy").textContent = words;
  waiting += 1;
  acts += 1;
  showStart();
  try {
    const answer = await ask(method, path, body);
    if (waiting === 1) show(answer); // else the next one, which was asked with what is on the page
    return true;
  } catch (error) {
    const gone = error instanceof TypeError;
    problem(gone ? "The program does not answer: expected it to run, found it stopped; start convtimenet app again." : error.message);
    redraw = true;
    await refresh();
    return false;
  } finally {
    waiting -= 1;
    if (!waiting) $("busy").textContent = "";
    showStart();
  }
}

// A run is of what is shown, so none begins while that is about to change.
function showStart() {
  $("start").disabled = waiting > 0 || state.job?.state === "running";
}

async function refresh() {
  const before = acts;
  let found = redraw && state.files ? state : null; // without an answer; the next action says so
  try {
    found = await ask("GET", "/app/state");
  } catch {
    // what is known is shown
  }
  if (found && before === acts) show(found); // else the answer of what was asked since is newer
}

function problem(words) {
  $("problem").textContent = words;
  $("problem").hidden = false;
  $("problem").scrollIntoView({ block: "nearest" });
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

// --- what was read ------------------------------------------------------------------------------

function roleOf(name, chosen) {
  const among = (key) => (chosen[key] ?? []).includes(name);
  if (name === chosen.label_col) return "label";
  if (among("ignored_cols")) return "unused";
  if (name === chosen.time_col) return "time";
  if (name === chosen.id_col) return "id";
  if (among("futr_exog")) return "known";
  if (among("hist_exog")) return "past";
  return among("target_cols") ? "target" : "";
}

function columnRows(look) {
  const body = document.createElement("tbody");
  look.columns.forEach(([name, cells], number) => {
    const row = document.createElement("tr");
    const role = element("select", "", { id: `role-${number}`, "data-column": name });
    for (const [value, words] of Object.entries(look.kind === "table" ? ROLES : CASE_ROLES)) role.append(element("option", words, { value }));
    role.value = roleOf(name, look.chosen);
    if (look.kind === "table" && "error" in look && role.value === "") {
      role.append(element("option", "as detected", { value: "detected" }));
      role.value = "detected";
    }
    role.addEventListener("change", () => roleChanged(role));
    const cell = document.createElement("td");
    cell.append(role);
    const head = element("th", "", { scope: "row" });
    head.append(element("label", name, { for: role.id }));
    row.append(head, cell, ...cells.map((text) => element("td", text)));
    body.append(row);
  });
  $("columns").replaceChildren(body);
}

function roleChanged(changed) {
  if (["time", "id", "label"].includes(changed.value)) {
    for (const other of roles()) if (other !== changed && other.value === changed.value) other.value = "";
  }
  const { column } = changed.dataset;
  if (changed.value === "label") $("label-col").value = column;
  else if ($("label-col").value === column) $("label-col").value = "";
  lookAgain(changed.id);
}

const roles = () => [...$("columns").querySelectorAll("select")];

// The columns as they are chosen; of columns that are too many to be shown, as they were.
function columnsChosen() {
  const { columns, chosen } = state.look;
  const shown = new Set(columns.map(([name]) => name));
  const beyond = { time: [chosen.time_col], id: [chosen.id_col], target: chosen.target_cols, known: chosen.futr_exog, past: chosen.hist_exog };
  const named = (role) => [
    ...roles().filter((one) => one.value === role).map((one) => one.dataset.column),
    ...(beyond[role] ?? []).filter((name) => name && !shown.has(name)),
  ];
  const or = (id, convert = (x) => x) => ($(id).value === "" ? null : convert($(id).value));
  return {
    time_col: named("time")[0] ?? null,
    id_col: named("id")[0] ?? null,
    target_cols: named("target"),
    futr_exog: named("known"),
    hist_exog: named("past"),
    dayfirst: or("dayfirst", (x) => x === "true"),
    decimal: or("decimal"),
    freq: or("freq"),
    fill: or("fill", Number),
  };
}

function caseRoles() {
  const label_col = $("label-col").value || null;
  const named = (role) => roles().filter((one) => one.value === role).map((one) => one.dataset.column).filter((name) => name !== label_col);
  return { label_col, id_col: named("id")[0] ?? null, ignored_cols: named("unused") };
}

async function lookAgain(focus) {
  const kind = $("kind").value;
  const body = { kind, given: state.given };
  if (kind === "table" && state.look.kind === "table") body.columns = columnsChosen();
  if (kind === "recordings" && state.look.kind === "recordings") body.roles = caseRoles();
  await act("Reading…", "POST", "/app/look", body);
  $(focus)?.focus();
}

function showLook(changed) {
  const look = state.look;
  const table = look?.kind === "table";
  $("check").hidden = !look;
  $("train").hidden = !look || "error" in look;
  if (!look) return;
  $("name").textContent = state.files.data;
  $("kind").value = look.kind;
  $("unread").hidden = !("error" in look);
  $("unread").textContent = look.error ?? "";
  $("summary").textContent = "error" in look ? "" : table ? tableWords(look) : recordingWords(look);
  list("notices", look.notices ?? []);
  $("preview").hidden = "error" in look;
  if (!("error" in look)) plot("preview", look.chart);
  $("drawn").textContent = look.drawn ?? "";
  $("columns-box").hidden = !look.columns.length;
  $("format-box").hidden = !table;
  $("label-box").hidden = table || !look.names.length;
  columnRows(look);
  if (table) {
    $("dayfirst").value = String(look.chosen.dayfirst ?? "");
    $("decimal").value = look.chosen.decimal ?? "";
    $("freq").value = look.chosen.freq ?? "";
    $("fill").value = look.chosen.fill === 0 ? "0" : "";
  } else {
    const names = look.names.map((name) => element("option", name, { value: name }));
    $("label-col").replaceChildren(element("option", "as detected", { value: "" }), ...names);
    $("label-col").value = look.chosen.label_col ?? "";
  }
  if (state.given !== shownGiven) edited.clear();
  shownGiven = state.given;
  if (table && look.horizon) {
    if (!edited.has("h")) $("h").value = look.horizon;
    showReason();
    if (!edited.has("season")) $("season").value = "";
    $("usual").textContent = look.season > 1 ? `by default ${look.season}, as usual for this step` : "by default none: this step has no usual one";
  }
  showKinds();
  // few rows are forecast as the command does by default
  const usual = table && kindsFor(look.horizon).auto === "weights" ? "pretrained" : "fast";
  if (!edited.has("quality")) document.querySelector(`[name=quality][value=${usual}]`).checked = true;
  if (changed && look.task) $("task").value = look.task;
  const past = look.chosen?.hist_exog?.length > 0; // only networks read those known so far
  const ahead = look.chosen?.futr_exog?.length > 0;
  const [pretrained, tuned, fast, auto] = document.querySelectorAll("[name=quality]");
  fast.disabled = past;
  for (const one of [pretrained, tuned]) {
    one.disabled = past || ahead || !table;
    $(one.value).hidden = !table;
    if (one.disabled && one.checked) fast.checked = true;
  }
  if (fast.disabled && fast.checked) auto.checked = true;
  showTask();
}

// Why the number of steps is what it is, as long as it is that of the file.
function showReason() {
  const { horizon, reason } = state.look;
  $("reason").textContent = Number($("h").value) === horizon ? `chosen: ${reason}` : `by default ${horizon}: ${reason}`;
}

// What each quality does with this file, for so many steps to forecast.
function kindsFor(h) {
  return state.look.kinds?.findLast(([from]) => from <= Math.max(1, h))[1] ?? OF_RECORDINGS;
}

function showKinds() {
  for (const [quality, kind] of Object.entries(kindsFor(Number($("h").value)))) {
    $(`kind-${quality}`).textContent = KINDS[kind][quality];
  }
}

function taskNow() {
  return state.look?.kind === "table" ? document.querySelector("[name=task]:checked").value : $("task").value;
}

// The settings of the chosen task. A hidden number is disabled too, so that it is not checked.
function showTask() {
  const table = state.look?.kind === "table";
  const task = taskNow();
  const [forecast, filling, odd] = ["forecast", "impute", "detect"].map((one) => one === task);
  const needed = { tasks: table, "h-box": forecast, "task-box": !table, "alpha-box": odd, "season-box": filling || odd,
    levels: forecast || filling, quality: !filling && !odd, "pretrained-words": forecast, "task-words": filling || odd };
  for (const [id, shown] of Object.entries(needed)) $(id).hidden = !shown;
  for (const id of ["h", "alpha", "season"]) $(id).disabled = $(`${id}-box`).hidden;
  const { futr_exog: known = [], hist_exog: past = [] } = state.look?.chosen ?? {};
  const others = [...(known ?? []), ...(past ?? [])].length ? " Columns known ahead or so far are not read." : "";
  $("task-words").textContent = (TASKS[task].words ?? "") + NO_TRAINING + others;
  $("start").textContent = TASKS[task].button;
  for (const one of $("columns").querySelectorAll("[value=target]")) one.textContent = TASKS[task].target;
  $("ahead-box").hidden = !forecast || !known?.length;
}

// Show the settings of a run.
function setTo({ task, h, level, quality, season, alpha, method }) {
  const one = document.querySelector(`[name=task][value=${task}]`);
  if (one) one.checked = true;
  else $("task").value = task;
  document.querySelector(`[name=quality][value=${quality}]`).checked = true;
  edited.add("quality");
  if (task === "forecast") $("h").value = h;
  if (task === "forecast" && h !== state.look?.horizon) edited.add("h");
  if (state.look?.horizon) showReason();
  showKinds();
  if (season) edited.add("season");
  if (task === "forecast" || task === "impute") {
    for (const box of $("levels").querySelectorAll("input")) box.checked = level.includes(Number(box.value));
  }
  $("season").value = season ?? "";
  $("alpha").value = Number((100 * alpha).toPrecision(6));
  $("method").value = method;
  showTask();
}

const missing = ({ missing: n }) => (n ? `${n} value${n > 1 ? "s" : ""} missing` : "");

function tableWords(look) {
  const many = look.series > 1 ? `${look.series} series, ` : "";
  return `${many}${look.rows} rows from ${look.span[0]} to ${look.span[1]}, a step of ${look.step}, ${missing(look) || "no gaps"}.`;
}

function recordingWords(look) {
  const steps = look.lengths[0] === look.lengths[1] ? look.lengths[0] : look.lengths.join(" to ");
  const more = look.more_classes ? ` and ${look.more_classes} more` : "";
  const labels = look.task === "regress" ? "labels are numbers" : look.classes.map(([name, n]) => `${name} (${n})`).join(", ") + more;
  const gaps = look.missing ? `, ${missing(look)}` : "";
  return `${look.cases} recordings of ${steps} step${steps === 1 ? "" : "s"}, ${look.channels} channel${look.channels > 1 ? "s" : ""}${gaps}: ${labels}.`;
}

// --- training -----------------------------------------------------------------------------------

function showJob() {
  const job = state.job;
  const running = job?.state === "running";
  showStart();
  $("reading").disabled = running; // the run is of what these say
  $("stop").hidden = !running;
  $("job").hidden = !running;
  $("failed").hidden = job?.state !== "failed";
  $("failed").textContent = job?.error ?? "";
  if (running) {
    const { name, share, times, note } = job.progress;
    if (share === null) $("bar").removeAttribute("value");
    else $("bar").value = share;
    $("progress").textContent = [name, times, note].filter(Boolean).join(" · ");
    const tens = share === null ? "" : ` ${Math.floor(share * 10) * 10} %`;
    say(TASKS[job.settings.task].working + tens); // read aloud, so not at every step
  } else {
    say({ done: "Done.", stopped: "Stopped; nothing was kept of this run.", failed: "" }[job?.state] ?? "");
  }
  showCurve();
  if (running && polling === null) polling = setInterval(refresh, 400);
  if (!running && polling !== null) {
    clearInterval(polling);
    polling = null;
  }
}

// The training under way; afterwards the one that was validated, as the last one reads all rows.
function showCurve() {
  const { state: now, losses = [] } = state.job ?? {};
  const one = (now === "running" ? null : losses.find((each) => each.valid.some(Number.isFinite))) ?? losses.at(-1);
  $("curve-box").hidden = !one;
  if (!one || JSON.stringify(one) === shownCurve) return;
  shownCurve = JSON.stringify(one);
  const x = one.train.map((_, at) => at + 1);
  const mode = x.length < 20 ? "lines+markers" : "lines";
  const lines = [{ name: "training", x, y: one.train, mode }];
  const validated = one.valid.filter(Number.isFinite);
  if (validated.length) lines.push({ name: "validation", x, y: one.valid, mode });
  const title = (text) => ({ title: { text, standoff: 6 } });
  plot("curve", lines, { ...title("epoch"), ...(x.length < 12 && { dtick: 1 }) }, title("loss"));
  const name = one.training[0].toUpperCase() + one.training.slice(1);
  let words = `${name}, epoch ${x.length} of at most ${one.epochs}: training loss ${short(one.train.at(-1))}`;
  if (validated.length) {
    const least = Math.min(...validated);
    words += `, validation loss ${short(one.valid.at(-1))}, its lowest ${short(least)} in epoch ${one.valid.indexOf(least) + 1}`;
  }
  $("curve-words").textContent = `${words}.`;
}

function say(words) {
  if ($("said").textContent !== words) $("said").textContent = words;
}

// --- result -------------------------------------------------------------------------------------

function showResult() {
  const result = state.result;
  $("result").hidden = !result;
  if (!result) {
    $("report").removeAttribute("src");
    return;
  }
  const table = result.kind === "table";
  const forecast = result.task === "forecast";
  $("title").textContent = result.title;
  const { file } = TASKS[result.task];
  const files = file ? [file] : [];
  if (forecast || !table) files.push(["model.zip", "Model (zip)"]);
  files.push(["report.html", "Report (HTML)"]);
  $("downloads").replaceChildren(
    ...files.map(([name, words]) => element("a", words, { href: `/app/files/${name}`, class: "button", download: "" })),
  );
  list("result-notices", result.notices);
  $("forecast-box").hidden = !forecast;
  if (forecast) {
    showForecast(result).catch((error) => problem(error.message));
    fill("rows", result.table.head, result.table.rows, result.table.total - result.table.rows.length);
  }
  $("new-box").hidden = table;
  $("new-sample").hidden = state.files.data !== "gestures.csv";
  const head = [...new Set(result.scores.flatMap(Object.keys))];
  $("scores-box").hidden = !head.length;
  $("held").textContent = table ? "rows" : "recordings";
  fill("scores", head, result.scores.map((row) => head.map((key) => row[key])));
  $("python").textContent = result.python;
  $("command").textContent = result.command;
  $("report").src = `/app/report?${state.version}`;
}

function showAnswers() {
  const answers = state.answers;
  $("new-said").textContent = answers ? `${answers.name}: ${answers.table.total} recordings.` : "";
  list("new-notices", answers?.notices ?? []);
  if (!answers) return $("answers").replaceChildren();
  fill("answers", answers.table.head, answers.table.rows, answers.table.total - answers.table.rows.length);
  if (!$("downloads").querySelector("[href$='answers.csv']")) {
    $("downloads").append(element("a", "Answers (CSV)", { href: "/app/files/answers.csv", class: "button", download: "" }));
  }
}

addEventListener("message", (event) => {
  const frame = $("report");
  if (event.source !== frame.contentWindow) return;
  const { height, top } = event.data;
  if (Number.isFinite(height)) frame.style.height = `${Math.min(Math.max(height, 200), 60000) + 4}px`;
  if (Number.isFinite(top)) scrollTo({ top: frame.getBoundingClientRect().top + scrollY + top });
});

// --- everything ---------------------------------------------------------------------------------

function show(found) {
  const was = state.job?.state;
  state = found;
  const look = `${state.given} ${JSON.stringify(state.look)}`; // another file may hold the same
  const settings = state.job?.settings;
  const again = shownLook === null && settings; // the page was loaded again
  if (redraw || look !== shownLook) showLook(look !== shownLook);
  redraw = false;
  if (again) setTo(settings);
  $("ahead-name").textContent = state.files.ahead ? `Given: ${state.files.ahead}` : "None given yet.";
  showJob();
  const result = JSON.stringify(state.result) + (state.result ? state.files.data : "");
  if (result !== shownResult || (was === "running" && state.job?.state === "done")) showResult();
  const answers = JSON.stringify(state.answers);
  if (answers !== shownAnswers) showAnswers();
  [shownLook, shownResult, shownAnswers] = [look, result, answers];
  if (was === "running" && state.job?.state === "done") $("h-result").focus();
}

async function takeFile(file, slot = "data") {
  if (!file) return;
  const words = slot === "new" ? "Answering…" : "Reading…";
  const of = slot === "data" ? "" : `&given=${state.given}`; // the file that these belong to
  const done = await act(words, "PUT", `/app/${slot}?name=${encodeURIComponent(file.name)}${of}`, file);
  if (done && slot === "data") $("h-check").focus();
}

for (const [id, slot] of [["file", "data"], ["ahead", "ahead"], ["new", "new"]]) {
  $(id).addEventListener("change", async () => {
    await takeFile($(id).files[0], slot);
    $(id).value = ""; // the same file can be chosen again after it was corrected
  });
}
droppable($("drop"), takeFile);
droppable($("drop-new"), (file) => takeFile(file, "new"));

$("paste-use").addEventListener("click", () => takeFile(new File([$("paste").value], "pasted.csv")));
for (const one of document.querySelectorAll("[data-sample]")) {
  one.addEventListener("click", async () => {
    if (await act("Reading…", "POST", `/app/sample/${one.dataset.sample}`)) $("h-check").focus();
  });
}
for (const id of ["kind", "label-col", "dayfirst", "decimal", "freq", "fill"]) {
  $(id).addEventListener("change", () => lookAgain(id));
}
for (const id of ["h", "season", "quality"]) $(id).addEventListener("input", () => edited.add(id));
for (const shown of [showReason, showKinds]) $("h").addEventListener("input", shown);
$("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  const level = [...$("levels").querySelectorAll(":checked")].map((one) => Number(one.value));
  const quality = document.querySelector("[name=quality]:checked").value;
  const body = { task: taskNow(), level, quality, method: $("method").value, inputs: state.inputs };
  if (!$("h").disabled) body.h = Number($("h").value);
  if (!$("alpha").disabled) body.alpha = Number((Number($("alpha").value) / 100).toPrecision(6));
  if (!$("season").disabled && $("season").value) body.season = Number($("season").value);
  act("", "POST", "/app/train", body);
});
$("forecast").addEventListener("keydown", (event) => walk(event, $("pointed")));
$("picker").addEventListener("submit", (event) => event.preventDefault());
$("search").addEventListener("input", listSeries);
$("picked").addEventListener("change", () => {
  const number = $("picked").value;
  pick(number === "" ? null : Number(number));
});
for (const one of document.querySelectorAll("[name=task]")) one.addEventListener("change", showTask);
$("stop").addEventListener("click", async () => {
  await act("", "POST", "/app/stop");
  $("start").focus();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (state.look?.chart) plot("preview", state.look.chart);
  if (state.result?.chart) drawForecast();
  shownCurve = null;
  showCurve();
});
// Another tab may have changed the file. The click that brings a window to the front is about what
// it showed, so it comes first.
const refreshLater = () => setTimeout(() => document.hidden || waiting || refresh(), 500);
document.addEventListener("visibilitychange", refreshLater);
addEventListener("focus", refreshLater);
refresh();
