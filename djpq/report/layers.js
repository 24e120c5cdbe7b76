// What one run looks like inside: bits, channels, energy and cycles per layer; losses and costs over training.

const swatch = (name, label) => `<span style="color:${colour(name)}">■</span> ${label}`;
const heading = (title, ...keys) => `<b>${title}</b>   ${keys.join("  ")}`;
const BOUNDS = { compute: ["compute", "compute"], on_chip: ["on-chip", "on-chip"], dram: ["dram", "DRAM"] };
const boundOf = (bound) => BOUNDS[bound] ?? ["other", "none"];
const ENERGY_PARTS = ["compute", "buffer", "dram", "leakage", "device"];
const ENERGY_NAMES = { compute: "compute", buffer: "buffer", dram: "DRAM", leakage: "leakage", device: "device" };
const ENERGY_COLOURS = { compute: "compute", buffer: "buffer", dram: "dram", leakage: "other", device: "bar-weight" };
const partsOf = (layers) => ENERGY_PARTS.filter((part) => layers[`${part}_pj`]?.some((pj) => pj));

// the columns of a run's layers, shared columns fetched from the pool; null when the run has none
function layersOf(run) {
  const places = DATA.details[run.index].layers;
  return places && Object.fromEntries(Object.entries(places).map(([key, place]) => [key, DATA.pool[place]]));
}

const joulesOf = (layers, part) => (layers[`${part}_pj`] ?? layers.name.map(() => 0)).map((pj) => (pj ?? 0) * 1e-12);

function energyOf(layers) {
  const parts = ENERGY_PARTS.map((part) => joulesOf(layers, part));
  return layers.name.map((_, i) => parts.reduce((sum, part) => sum + part[i], 0));
}

// two runs side by side share their axes, so that bars compare
function layerRanges(runs) {
  const all = runs.map(layersOf).filter(Boolean);
  const range = (columnsOf) => {
    const highest = Math.max(0, ...all.flatMap(columnsOf).flat().map((value) => value ?? 0));
    return [0, 1.08 * highest || 1];
  };
  return {
    bits: range((it) => [it.weight_bits, it.activation_bits]),
    channels: range((it) => [it.full_out_channels, it.out_channels]),
    energy: range((it) => [energyOf(it)]),
    cycles: range((it) => [it.cycles]),
  };
}

function layerHover(layers, i) {
  const bits = (key) => `${layers[key][i] ?? "–"} bit`;
  const energy = partsOf(layers).map((part) => `${ENERGY_NAMES[part]} ${si(joulesOf(layers, part)[i], "J")}`);
  return [
    `<b>${escaped(layers.name[i])}</b> ${escaped(layers.kind[i])}`,
    `weights ${bits("weight_bits")}, input ${bits("input_bits")}, output ${bits("activation_bits")}`,
    `${layers.out_channels[i] ?? "–"} of ${layers.full_out_channels[i] ?? "–"} channels`,
    `${si(layers.macs[i])} MACs, ${si(layers.bops[i])} BOPs`,
    `${si(energyOf(layers)[i], "J")}: ${energy.join(", ")}`,
    `${si(layers.cycles[i])} cycles, bound: ${boundOf(layers.bound[i])[1]}`,
  ].join("<br>");
}

function layerRows(layers, ranges) {
  const x = layers.name.map((_, i) => i);
  const text = x.map((i) => layerHover(layers, i));
  const bar = (y, paint, extra = {}) => ({
    type: "bar", x, y, text, textposition: "none", hovertemplate: "%{text}<extra></extra>", marker: { color: paint }, ...extra,
  });
  const left = { width: 0.36, offset: -0.38 }, right = { width: 0.36, offset: 0.02 };
  const parts = partsOf(layers), joules = parts.map((part) => joulesOf(layers, part));
  const below = (part) => x.map((i) => joules.slice(0, part).reduce((sum, column) => sum + column[i], 0));
  const bounds = [...new Set(layers.bound.map((bound) => boundOf(bound).join(" ")))].map((it) => swatch(...it.split(" ")));
  const rows = [
    {
      title: heading("Bits", swatch("bar-weight", "weights"), swatch("bar-activation", "output")),
      traces: [bar(layers.weight_bits, colour("bar-weight"), left), bar(layers.activation_bits, colour("bar-activation"), right)],
      range: ranges.bits, words: exact,
    },
    {
      title: heading("Channels", swatch("bar-kept", "kept"), swatch("bar-full", "pruned")),
      traces: [bar(layers.full_out_channels, colour("bar-full")), bar(layers.out_channels, colour("bar-kept"))],
      range: ranges.channels, words: exact,
    },
    {
      title: heading("Energy", ...parts.map((part) => swatch(ENERGY_COLOURS[part], ENERGY_NAMES[part]))),
      traces: parts.map((part, place) => bar(joules[place], colour(ENERGY_COLOURS[part]), { base: below(place) })),
      range: ranges.energy, words: (value) => siShort(value, "J"),
    },
    {
      title: heading("Cycles", ...bounds),
      traces: [bar(layers.cycles, layers.bound.map((bound) => colour(boundOf(bound)[0])))],
      range: ranges.cycles, words: (value) => siShort(value),
    },
  ];
  return rows.filter((row) => row.traces.some((trace) => trace.y.some((value) => value)));
}

// the chart being drawn, or null when there is nothing to draw; so does drawTrace
function drawLayers(target, run, ranges) {
  const layers = layersOf(run);
  const rows = layers ? layerRows(layers, ranges) : [];
  if (!rows.length) return null;
  const count = layers.name.length;
  const step = Math.ceil(count / Math.max(1, Math.floor((target.clientWidth - 66) / 15)));
  const shown = layers.name.map((_, i) => i).filter((i) => i % step === 0);
  const names = shown.map((i) => shortened(layers.name[i], 20));
  return stackedCharts(target, rows, {
    range: [-0.6, count - 0.4], tickvals: shown, ticktext: names.map(escaped), tickangle: -90,
    tickfont: { size: 11, color: colour("muted") },
  }, { bottom: 12 + 6.8 * Math.max(...names.map((name) => name.length)) });
}

const TRACE_ROWS = [
  { title: "Loss", keys: ["loss", "task_loss"], labels: ["total", "task"], words: exact },
  { title: "Validation accuracy", keys: ["validation_accuracy"], scale: 100, words: (value) => `${exact(value)} %` },
  { title: "BOPs", keys: ["bops"], log: true, words: (value) => siShort(value) },
  { title: "Over goal", note: "log(cost / goal)", keys: ["excess"], words: exact },
  { title: "Over limits", note: "log(cost / limit)", start: "excess_", words: exact },
  { title: "Kept channels", keys: ["kept_channels"], words: exact },
  { title: "Multiplier", keys: ["multiplier"], words: exact },
];

const traceOf = (run) => DATA.details[run.index].trace;
const scaled = (values, row) => values.map((value) => (value === null ? null : value * (row.scale ?? 1)));

function traceRow(row, trace, runs) {
  const paints = ["bar-weight", "bar-activation", "bar-kept", "dram", "compute", "other"];
  if (row.start) {
    const found = [...new Set(runs.flatMap((run) => Object.keys(traceOf(run)).filter((key) => key.startsWith(row.start))))];
    row = { ...row, keys: found, labels: found.map((key) => key.slice(row.start.length).replaceAll("_", " ")) };
  }
  const x = trace.step ?? Object.values(trace)[0].map((_, i) => i);
  const keys = row.keys.filter((key) => trace[key]);
  const all = runs.flatMap((run) => row.keys.flatMap((key) => scaled(traceOf(run)[key] ?? [], row)));
  return {
    title: heading(row.title, ...(row.note ? [row.note] : []), ...(row.labels ?? []).map((label, i) => swatch(paints[i % paints.length], label))),
    range: padded(all, row.log), log: row.log, words: row.words,
    traces: keys.map((key) => ({
      x, y: scaled(trace[key], row), connectgaps: true, line: { color: colour(paints[row.keys.indexOf(key) % paints.length]), width: 1.6 },
      mode: key === "validation_accuracy" ? "lines+markers" : "lines", marker: { size: 4 },
      text: scaled(trace[key], row).map((value) => row.words(value)),
      hovertemplate: `step %{x}, ${key.replace("_", " ")} %{text}<extra></extra>`,
    })),
  };
}

function drawTrace(target, run, runs) {
  const trace = traceOf(run);
  if (!Object.keys(trace).length) return null;
  const rows = TRACE_ROWS.map((row) => traceRow(row, trace, runs)).filter((row) => row.traces.length && row.range);
  if (!rows.length) return null;
  return stackedCharts(target, rows, { title: { text: "Step", standoff: 4 }, tickformat: ",d" }, { rowHeight: 70 });
}
