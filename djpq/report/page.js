// What is chosen, the controls that change it, the table of runs, and the address that remembers it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const TABLE_ROWS = 300;

const state = {
  runs: rowsOf(DATA.runs).map((run, index) => ({ ...run, index })),
  setting: "", machine: "", cost: "bops", y: "test_accuracy", scale: "percent",
  hidden: new Set(), a: null, b: null, picking: false, sort: "test_accuracy", descending: true,
};

const settingOf = (run) => `${run.network}\n${run.data}`;
const byId = (id) => document.getElementById(id);

// the cheapest run within one point of the float network, else the most accurate one
function recommended() {
  const runs = state.runs.filter((run) => visible(run) && run[state.cost] > 0 && !missing(run.test_accuracy));
  const good = runs.filter((run) => run.test_accuracy >= run.float_accuracy - 0.01);
  const [best] = good.length
    ? good.sort((p, q) => p[state.cost] - q[state.cost])
    : runs.sort((p, q) => q.test_accuracy - p.test_accuracy);
  return best?.index ?? null;
}

function choose(change) {
  const { setting, a, b, picking } = state;
  Object.assign(state, change);
  if (state.setting !== setting) Object.assign(state, { a: recommended(), b: null, picking: false }, change);
  else if ("machine" in change && a !== null && !visible(state.runs[a])) Object.assign(state, { a: recommended(), b: null });
  if (!DATA.fronts[costColumn()].network.length) state.scale = state.scale === "percent" ? "absolute" : "percent";
  byId("main").classList.toggle("comparing", state.b !== null);
  drawControls();
  drawTable();
  remember();
  const drawn = drawFront().then(() => Plotly.Plots.resize("front"));
  if (state.a !== a || state.b !== b || state.picking !== picking || "theme" in change) drawDetails();
  return drawn;
}

// a plain click shows a run; shift, or the compare button before it, puts it beside the first
function pick(index, beside) {
  if ((beside || state.picking) && state.a !== null && index !== state.a) choose({ b: index, picking: false });
  else choose({ a: index, b: index === state.b ? null : state.b, picking: false });
}

function closeRun(slot) {
  if (slot === "a") choose({ a: state.b, b: null, picking: false });
  else choose({ b: null });
}

function options(select, pairs, value) {
  select.replaceChildren(...pairs.map(([key, label]) => el("option", { value: key, selected: key === value ? "" : false }, label)));
}

function drawControls() {
  const settings = [...new Set(state.runs.map(settingOf))].sort();
  const inSetting = state.runs.filter((run) => settingOf(run) === state.setting);
  options(byId("setting"), settings.map((key) => [key, key.split("\n").join(" on ")]), state.setting);
  const machines = DATA.machines.filter(({ name }) => inSetting.some((run) => run.accelerator === name));
  options(byId("machine"), [["", "All machines"], ...machines.map(({ name, label }) => [name, label])], state.machine);
  options(byId("cost"), DATA.costs.map(({ key, name }) => [key, name]), state.cost);
  options(byId("y"), [["test_accuracy", "Test accuracy"], ...DATA.costs.map(({ key, name }) => [key, name])], state.y);
  byId("scale").value = state.scale;
  const methods = DATA.methods.filter(({ name }) => inSetting.some((run) => run.method === name));
  byId("methods").replaceChildren(...methods.map(({ name, label }) => el("button", {
    type: "button", class: "chip", title: name, "aria-pressed": String(!state.hidden.has(name)), onclick: () => toggleMethod(name),
  }, dot(methodColour(name)), text("span", label))));
  byId("front-title").textContent = state.setting.split("\n").join(" on ");
  const shown = machines.filter(({ name }) => state.machine === "" || state.machine === name);
  byId("machine-key").replaceChildren(...shown.map(({ name, label }) => text("span", `${GLYPHS[machinePlace(name)]} ${label}`)));
  const how = touch ? "Tap a point to look inside; “Compare…” puts a second one beside it."
    : "Click a point to look inside, shift-click a second one to compare.";
  byId("hint").textContent = state.picking ? "Now choose the run to put beside A."
    : `Filled: the median over seeds is on its machine's front; ringed: a method's knee. ${how}`;
  document.body.classList.toggle("picking", state.picking);
}

function toggleMethod(name) {
  const hidden = new Set(state.hidden);
  if (!hidden.delete(name)) hidden.add(name);
  choose({ hidden });
}

function drawTable() {
  const cost = shownCost();
  const name = (run) => el("button", { type: "button" }, dot(methodColour(run.method)), ` ${methodLabel(run.method)}`);
  const columns = [
    ["method", "Method", name],
    ["accelerator", "Machine", (run) => machineLabel(run.accelerator)],
    ["budget", "Budget", (run) => run.budget],
    ["seed", "Seed", (run) => String(run.seed ?? "–")],
    ["test_accuracy", "Accuracy", (run) => accuracyText(run.test_accuracy)],
    [cost.key, cost.name, (run) => costText(run[cost.key])],
    [`${cost.key}_percent`, "of 32-bit", (run) => percent(run[`${cost.key}_percent`])],
    ["run", "Run", (run) => shortened(run.run, 40)],
  ];
  const isText = (key) => ["method", "accelerator", "budget", "run"].includes(key);
  const sign = state.descending ? -1 : 1;
  const runs = state.runs.filter(visible).sort((p, q) => sign * compareValues(p[state.sort], q[state.sort]));
  const [arrow, order] = state.descending ? [" ↓", "descending"] : [" ↑", "ascending"];
  const head = columns.map(([key, name]) => {
    const sorted = key === state.sort;
    const sort = el("button", { type: "button", onclick: () => choose({ sort: key, descending: sorted && !state.descending }) },
      sorted ? name + arrow : name);
    return el("th", { class: isText(key) ? "text" : null, "aria-sort": sorted ? order : null }, sort);
  });
  const rows = runs.slice(0, TABLE_ROWS).map((run) => el("tr", {
    "data-run": run.run, title: run.run, class: run.index === state.a || run.index === state.b ? "selected" : null,
    onmousedown: (event) => event.shiftKey && event.preventDefault(), // no text selection
    onclick: (event) => {
      pick(run.index, event.shiftKey);
      byId("main").scrollIntoView({ behavior: "smooth" });
    },
  }, columns.map(([key, , cell]) => el("td", { class: isText(key) ? "text" : null }, cell(run)))));
  byId("runs").replaceChildren(el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
  byId("runs-note").textContent = runs.length > TABLE_ROWS ? `first ${TABLE_ROWS} of ${runs.length}` : `${runs.length} shown`;
}

function compareValues(p, q) {
  if (missing(p) && typeof p !== "string") return missing(q) && typeof q !== "string" ? 0 : -1;
  if (missing(q) && typeof q !== "string") return 1;
  return typeof p === "number" ? p - q : String(p).localeCompare(String(q));
}

// the address keeps the choice, so a link shows the same view
function remember() {
  const { cost, y, scale, machine, a, b } = state;
  const shown = { cost, y, scale, machine, a: state.runs[a]?.run ?? "", b: state.runs[b]?.run ?? "" };
  history.replaceState(null, "", `#${new URLSearchParams(shown)}`);
}

function recalled() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const change = {};
  if (DATA.costs.some(({ key }) => key === asked.get("cost"))) change.cost = asked.get("cost");
  if (DATA.costs.some(({ key }) => key === asked.get("y"))) change.y = asked.get("y");
  if (["percent", "absolute"].includes(asked.get("scale"))) change.scale = asked.get("scale");
  if (DATA.machines.some(({ name }) => name === asked.get("machine"))) change.machine = asked.get("machine");
  const [a, b] = ["a", "b"].map((slot) => state.runs.find((run) => run.run === asked.get(slot)));
  if (a) Object.assign(change, { a: a.index, setting: settingOf(a) });
  if (a && b && a !== b && settingOf(a) === settingOf(b)) change.b = b.index;
  return change;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "☀ Light" : "☾ Dark";
}

function start() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const systemTheme = () => (system.matches ? "dark" : "light");
  setTheme(systemTheme());
  system.addEventListener("change", () => { setTheme(systemTheme()); choose({ theme: true }); });
  byId("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    choose({ theme: true });
  });
  for (const key of ["setting", "machine", "cost", "y", "scale"]) {
    byId(key).addEventListener("change", ({ target }) =>
      choose({ [key]: target.value, ...(key === "setting" ? { machine: "" } : {}) }));
  }
  const count = (key, name) => {
    const { size } = new Set(state.runs.map((run) => run[key]));
    return `${size} ${name}${size === 1 ? "" : "s"}`;
  };
  const counted = [["run", "run"], ["network", "network"], ["accelerator", "machine"], ["method", "method"]];
  const unfinished = Object.entries(DATA.unfinished).map(([word, number]) => `${number} ${word}`);
  byId("summary").textContent = [...counted.map(([key, name]) => count(key, name)), ...unfinished].join(" · ");
  const asked = recalled();
  choose({ setting: settingOf(state.runs[0]), ...asked });
  byId("front").on("plotly_relayout", retick);
  byId("front").on("plotly_click", (event) => {
    const point = event.points.find((it) => it.customdata !== undefined);
    if (point) pick(point.customdata, Boolean(event.event?.shiftKey));
  });
  let width = innerWidth;
  addEventListener("resize", () => { // phones resize as their tool bar hides: only a new width redraws
    if (innerWidth !== width) { width = innerWidth; drawFront(); drawDetails(); }
  });
}

start();
