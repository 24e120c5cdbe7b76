// The front: every run a point, one colour a method, one symbol a machine; a step line through the seeds' means.

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "x", "star"];
const GLYPHS = ["●", "■", "◆", "▲", "▼", "⬟", "✖", "★"];

const methodColour = (name) => colour(`method-${Math.max(0, DATA.methods.findIndex((it) => it.name === name)) % 8}`);
const machinePlace = (name) => Math.max(0, DATA.machines.findIndex((it) => it.name === name)) % SYMBOLS.length;
const labelOf = (list, name) => list.find((it) => it.name === name)?.label ?? name;
const methodLabel = (name) => labelOf(DATA.methods, name);
const machineLabel = (name) => labelOf(DATA.machines, name);
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

const groupKey = (row) => [row.network, row.data, row.accelerator, row.method, row.budget].join("\n");

function hoverText(run) {
  const cost = shownCost();
  return [
    `<b>${escaped(methodLabel(run.method))}</b> on ${escaped(machineLabel(run.accelerator))}`,
    `${accuracyText(run.test_accuracy)} at ${costText(run[cost.key])} ${cost.name} (${percent(run[`${cost.key}_percent`])})`,
    `budget ${escaped(run.budget)}${missing(run.seed) ? "" : `, seed ${run.seed}`}`,
    `<span style="color:${colour("muted")}">${escaped(shortened(run.run, 44))}</span>`,
  ].join("<br>");
}

function frontTraces(runs) {
  const unit = state.scale === "percent" ? 1 : shownCost().scale;
  const fronts = rowsOf(DATA.fronts[costColumn()]).filter((row) => visible(row) && row.cost_mean > 0);
  const onFront = new Set(fronts.filter((row) => row.on_front).map(groupKey));
  const right = Math.max(...runs.map((run) => run[costColumn()] * unit)) * 1.3;
  const lines = [], spreads = [], points = [];
  const series = new Map(runs.map((run) => [`${run.method}\n${run.accelerator}`, run]));
  for (const { method, accelerator } of series.values()) {
    const mine = (row) => row.method === method && row.accelerator === accelerator;
    const paint = methodColour(method);
    const best = fronts.filter((row) => mine(row) && row.on_method_front);
    const x = best.map((row) => row.cost_mean * unit), y = best.map((row) => 100 * row.accuracy_mean);
    lines.push({
      x: [...x, right], y: [...y, y.at(-1)], mode: "lines", hoverinfo: "skip", opacity: 0.65,
      line: { shape: "hv", color: paint, width: 1.6 },
    });
    for (const row of fronts.filter((it) => mine(it) && it.runs > 1)) {
      spreads.push({
        x: [row.cost_mean * unit, row.cost_mean * unit], y: [100 * row.accuracy_min, 100 * row.accuracy_max],
        mode: "lines", hoverinfo: "skip", opacity: 0.5, line: { color: paint, width: 1.2 },
      });
    }
    const own = runs.filter(mine);
    const symbol = SYMBOLS[machinePlace(accelerator)];
    points.push({
      x: own.map((run) => run[costColumn()] * unit), y: own.map((run) => 100 * run.test_accuracy), mode: "markers",
      customdata: own.map((run) => run.index), text: own.map(hoverText), hovertemplate: "%{text}<extra></extra>",
      marker: {
        size: 9, opacity: 0.95, symbol,
        color: own.map((run) => (onFront.has(groupKey(run)) ? paint : colour("card"))),
        line: { color: own.map((run) => (onFront.has(groupKey(run)) ? colour("card") : paint)), width: 1.3 },
      },
    });
  }
  return [...lines, ...spreads, ...points, ...selectionTraces(runs, unit)];
}

function selectionTraces(runs, unit) {
  return ["a", "b"].flatMap((slot) => {
    const run = runs.find((it) => it.index === state[slot]);
    return run === undefined ? [] : [{
      x: [run[costColumn()] * unit], y: [100 * run.test_accuracy], mode: "markers+text", hoverinfo: "skip",
      text: [`<b>${slot.toUpperCase()}</b>`], textposition: slot === "a" ? "top left" : "bottom right",
      textfont: { size: 14, color: colour("text") },
      marker: { size: 17, symbol: "circle-open", color: colour("text"), line: { width: 2 } },
    }];
  });
}

function drawFront() {
  const column = costColumn();
  const runs = state.runs.filter((run) => visible(run) && run[column] > 0 && !missing(run.test_accuracy));
  const cost = shownCost();
  const target = document.getElementById("front");
  const float = mean(runs.map((run) => run.float_accuracy));
  const suffix = state.scale === "percent" ? " %" : cost.unit;
  const layout = chartLayout({
    margin: { l: 54, r: 12, t: 14, b: 48 }, hovermode: "closest", dragmode: touch ? false : "zoom", shapes: [], annotations: [],
  });
  const name = cost.name + (state.scale === "percent" ? ", % of the 32-bit network" : cost.unit && ` (${cost.unit})`);
  layout.xaxis = {
    ...layout.axis, type: "log", tickformat: "~s", ticksuffix: suffix, title: { text: name, standoff: 8 }, nticks: 8,
    fixedrange: touch, minorloglabels: "complete",
  };
  layout.yaxis = { ...layout.axis, ticksuffix: " %", title: { text: "Test accuracy", standoff: 6 }, fixedrange: touch };
  delete layout.axis;
  if (!missing(float) && runs.length) {
    const line = { color: colour("float"), width: 1.2, dash: "dash" };
    layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * float, y1: 100 * float, line, layer: "below" });
    layout.annotations.push({
      text: `32-bit float ${accuracyText(float)}`, xref: "paper", x: 0, xanchor: "left", xshift: 4, y: 100 * float,
      yanchor: "bottom", showarrow: false, font: { color: colour("float"), size: 12 },
    });
  }
  if (!runs.length) {
    layout.annotations.push({ text: "No run to show with these choices", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false });
  }
  return Plotly.react(target, runs.length ? frontTraces(runs) : [], layout, chartConfig);
}

function mean(values) {
  const known = values.filter((value) => !missing(value));
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
