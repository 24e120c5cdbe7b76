// The front: every run a point, one colour a method, one symbol a machine; a step line through the seeds' medians.

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "x", "star"];
const GLYPHS = ["●", "■", "◆", "▲", "▼", "⬟", "✖", "★"];

const methodColour = (name) => colour(`method-${Math.max(0, DATA.methods.findIndex((it) => it.name === name)) % 8}`);
const machinePlace = (name) => Math.max(0, DATA.machines.findIndex((it) => it.name === name)) % SYMBOLS.length;
const labelOf = (list, name) => list.find((it) => it.name === name)?.label ?? name;
const methodLabel = (name) => labelOf(DATA.methods, name);
const machineLabel = (name) => labelOf(DATA.machines, name);
const yIsCost = () => state.y !== "test_accuracy";
const yCost = () => DATA.costs.find((it) => it.key === state.y);
const yColumn = () => (yIsCost() && state.scale === "percent" ? `${state.y}_percent` : state.y);
const yUnit = () => (yIsCost() ? (state.scale === "percent" ? 1 : yCost().scale) : 100);
const costColumn = () => (state.scale === "percent" ? `${state.cost}_percent` : state.cost);
const shownCost = () => DATA.costs.find((it) => it.key === state.cost);

function costText(value, cost = shownCost()) {
  return missing(value) ? "–" : si(value * cost.scale, cost.unit);
}

function visible(row) {
  return `${row.network}\n${row.data}` === state.setting && (state.machine === "" || row.accelerator === state.machine)
    && !state.hidden.has(row.method);
}

// the rows of a table of columns as objects
function rowsOf(table) {
  const names = Object.keys(table);
  return table[names[0]].map((_, place) => Object.fromEntries(names.map((name) => [name, table[name][place]])));
}

const groupKey = (row) => [row.network, row.data, row.accelerator, row.method, row.settings, row.budget].join("\n");

function hoverText(run) {
  const cost = shownCost();
  return [
    `<b>${escaped(methodLabel(run.method))}</b> on ${escaped(machineLabel(run.accelerator))}`,
    `${accuracyText(run.test_accuracy)} at ${costText(run[cost.key])} ${cost.name} (${percent(run[`${cost.key}_percent`])})`,
    `budget ${escaped(run.budget)}${missing(run.seed) ? "" : `, seed ${run.seed}`}`,
    `<span style="color:${colour("muted")}">${escaped(shortened(run.run, 44))}</span>`,
  ].join("<br>");
}

function quantile(sorted, share) {
  const place = (sorted.length - 1) * share, low = Math.floor(place);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (place - low);
}

// rows like those of DATA.fronts for two costs against each other: medians over seeds and what nothing beats
function costFront(runs) {
  const groups = new Map();
  for (const run of runs) groups.set(groupKey(run), [...(groups.get(groupKey(run)) ?? []), run]);
  const rows = [...groups.values()].map((members) => {
    const values = (column) => members.map((run) => run[column]).sort((p, q) => p - q);
    const x = values(costColumn()), y = values(yColumn());
    return {
      ...members[0], runs: members.length, cost_median: quantile(x, 0.5), y_median: quantile(y, 0.5), y_q1: quantile(y, 0.25), y_q3: quantile(y, 0.75),
    };
  }).sort((p, q) => p.cost_median - q.cost_median || p.y_median - q.y_median);
  const mark = (keyOf, flag) => {
    const best = new Map();
    for (const row of rows) {
      const key = keyOf(row);
      row[flag] = row.y_median < (best.get(key) ?? Infinity);
      if (row[flag]) best.set(key, row.y_median);
    }
  };
  mark((row) => row.accelerator, "on_front");
  mark((row) => `${row.accelerator}\n${row.method}`, "on_method_front");
  return rows;
}

function frontRows(runs) {
  if (yIsCost()) return costFront(runs);
  const rows = rowsOf(DATA.fronts[costColumn()]).filter((row) => visible(row) && row.cost_median > 0);
  return rows.map((row) => ({ ...row, y_median: row.accuracy_median, y_q1: row.accuracy_q1, y_q3: row.accuracy_q3 }));
}

function frontTraces(runs, right) {
  const unit = state.scale === "percent" ? 1 : shownCost().scale, yScale = yUnit();
  const fronts = frontRows(runs);
  const onFront = new Set(fronts.filter((row) => row.on_front).map(groupKey));
  const lines = [], spreads = [], points = [];
  const series = new Map(runs.map((run) => [`${run.method}\n${run.accelerator}`, run]));
  for (const { method, accelerator } of series.values()) {
    const mine = (row) => row.method === method && row.accelerator === accelerator;
    const paint = methodColour(method);
    const best = fronts.filter((row) => mine(row) && row.on_method_front);
    const x = best.map((row) => row.cost_median * unit), y = best.map((row) => yScale * row.y_median);
    lines.push({
      x: [...x, right], y: [...y, y.at(-1)], mode: "lines", hoverinfo: "skip", opacity: 0.65,
      line: { shape: "hv", color: paint, width: 1.6 },
    });
    const spread = fronts.filter((row) => mine(row) && row.runs > 1);
    spreads.push({
      x: spread.flatMap((row) => [row.cost_median * unit, row.cost_median * unit, null]),
      y: spread.flatMap((row) => [yScale * row.y_q1, yScale * row.y_q3, null]),
      mode: "lines", hoverinfo: "skip", opacity: 0.5, line: { color: paint, width: 1.2 },
    });
    const own = runs.filter(mine);
    const symbol = SYMBOLS[machinePlace(accelerator)];
    points.push({
      x: own.map((run) => run[costColumn()] * unit), y: own.map((run) => yScale * run[yColumn()]), mode: "markers",
      customdata: own.map((run) => run.index), text: own.map(hoverText), hovertemplate: "%{text}<extra></extra>",
      marker: {
        size: 9, opacity: 0.95, symbol,
        color: own.map((run) => (onFront.has(groupKey(run)) ? paint : colour("card"))),
        line: { color: own.map((run) => (onFront.has(groupKey(run)) ? colour("card") : paint)), width: 1.3 },
      },
    });
  }
  const knees = fronts.filter((row) => row.knee);
  const rings = {
    x: knees.map((row) => row.cost_median * unit), y: knees.map((row) => yScale * row.y_median), mode: "markers", hoverinfo: "skip",
    marker: { size: 19, symbol: "circle-open-dot", color: knees.map((row) => methodColour(row.method)), line: { width: 1.2 } },
  };
  return [...lines, ...spreads, rings, ...points, ...selectionTraces(runs, unit)];
}

function selectionTraces(runs, unit) {
  return ["a", "b"].flatMap((slot) => {
    const run = runs.find((it) => it.index === state[slot]);
    return run === undefined ? [] : [{
      x: [run[costColumn()] * unit], y: [yUnit() * run[yColumn()]], mode: "markers+text", hoverinfo: "skip", cliponaxis: false,
      text: [`<b>${slot.toUpperCase()}</b>`], textposition: slot === "a" ? "top left" : "top right",
      textfont: { size: 14, color: colour("text") },
      marker: { size: 17, symbol: "circle-open", color: colour("text"), line: { width: 2 } },
    }];
  });
}

// ticks of the cost axis for a range [log10, log10]
function costTicks(range, width) {
  const cost = shownCost();
  const words = state.scale === "percent" ? (value) => `${exact(value)} %` : (value) => siShort(value, cost.unit);
  return ticksFor(range.map((power) => 10 ** power), true, Math.max(3, Math.floor(width / 85)), words);
}

function floatLine(accuracy) {
  const line = { color: colour("float"), width: 1.2, dash: "dash" };
  return {
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * accuracy, y1: 100 * accuracy, line, layer: "below" }],
    annotations: [{
      text: `32-bit float ${accuracyText(accuracy)}`, xref: "paper", x: 0, xanchor: "left", xshift: 4, y: 100 * accuracy,
      yanchor: "bottom", showarrow: false, font: { color: colour("float"), size: 12 },
    }],
  };
}

function heightAxis(heights) {
  if (!yIsCost()) return { type: "linear", range: padded(heights), ticksuffix: " %", nticks: 8, title: { text: "Test accuracy", standoff: 8 } };
  const cost = yCost(), range = padded(heights, true);
  const words = state.scale === "percent" ? (value) => `${exact(value)} %` : (value) => siShort(value, cost.unit);
  return { type: "log", range: range.map(Math.log10), ...ticksFor(range, true, 8, words), title: { text: cost.name, standoff: 8 } };
}

function drawFront() {
  const target = document.getElementById("front");
  const column = costColumn(), cost = shownCost();
  const unit = state.scale === "percent" ? 1 : cost.scale;
  const runs = state.runs.filter((run) => visible(run) && run[column] > 0 && !missing(run[yColumn()]) && (!yIsCost() || run[yColumn()] > 0));
  if (!runs.length) {
    const empty = { text: "No run to show with these choices", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false };
    const none = { visible: false };
    return Plotly.react(target, [], chartLayout({ annotations: [empty], xaxis: none, yaxis: none }), chartConfig);
  }
  const float = yIsCost() ? null : mean(runs.map((run) => run.float_accuracy));
  const full = padded(runs.map((run) => run[column] * unit), true).map(Math.log10);
  const heights = [...runs.map((run) => yUnit() * run[yColumn()]), missing(float) ? null : 100 * float];
  const revision = [state.setting, state.machine, column, state.y].join("\n"); // a zoom lasts while this does
  const range = target.layout?.uirevision === revision && target.layout.xaxis.range ? target.layout.xaxis.range : full;
  const name = cost.name + (state.scale === "percent" ? ", % of the 32-bit network" : "");
  const layout = chartLayout({
    margin: { l: 62, r: 14, t: 34, b: 50 }, hovermode: "closest", uirevision: revision, ...(missing(float) ? {} : floatLine(float)),
    xaxis: axisStyle({ type: "log", range: full, title: { text: name, standoff: 10 }, ...costTicks(range, target.clientWidth - 76) }),
    yaxis: axisStyle(heightAxis(heights)),
  });
  return Plotly.react(target, frontTraces(runs, 10 ** full[1]), layout, chartConfig);
}

// after a zoom: ticks that fit the new range
function retick(event) {
  const target = document.getElementById("front");
  if (!Object.keys(event).some((key) => /^xaxis\.(range|autorange)/.test(key)) || !target.layout.xaxis.range) return;
  const ticks = costTicks(target.layout.xaxis.range, target.clientWidth - 76);
  Plotly.relayout(target, { "xaxis.tickvals": ticks.tickvals, "xaxis.ticktext": ticks.ticktext });
}

function mean(values) {
  const known = values.filter((value) => !missing(value));
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
