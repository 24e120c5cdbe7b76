// What one run looks like inside: bits, channels, energy and cycles per layer; losses and costs over training.

const swatch = (name, label) => `<span style="color:${colour(name)}">■</span> ${label}`;
const heading = (title, ...keys) => `<b>${title}</b>   ${keys.join("  ")}`;
const BOUNDS = { compute: ["compute", "compute"], on_chip: ["on-chip", "on-chip"], dram: ["dram", "DRAM"] };
const boundOf = (bound) => BOUNDS[bound] ?? ["other", "none"];

// the columns of a run's layers, shared columns fetched from the pool; null when the run has none
function layersOf(run) {
  const places = DATA.details[run.index].layers;
  return places && Object.fromEntries(Object.entries(places).map(([key, place]) => [key, DATA.pool[place]]));
}

const most = (...columns) => Math.max(0, ...columns.flat().map((value) => value ?? 0));
const energyOf = (layers) => layers.name.map((_, i) => (layers.compute_pj[i] ?? 0) + (layers.buffer_pj[i] ?? 0) + (layers.dram_pj[i] ?? 0));

// two runs side by side share their axes, so that bars compare
function commonRanges(runs) {
  const all = runs.map(layersOf).filter(Boolean);
  const range = (...columns) => [0, 1.08 * most(...columns) || 1];
  return {
    bits: range(...all.flatMap((it) => [it.weight_bits, it.input_bits, it.activation_bits])),
    channels: range(...all.flatMap((it) => [it.full_out_channels, it.out_channels])),
    energy: range(...all.map((it) => energyOf(it).map((pj) => pj * 1e-12))),
    cycles: range(...all.map((it) => it.cycles)),
  };
}

function layerHover(layers, i) {
  const kept = `${layers.out_channels[i] ?? "–"} of ${layers.full_out_channels[i] ?? "–"} channels`;
  const energy = energyOf(layers)[i];
  return [
    `<b>${escaped(layers.name[i])}</b> ${escaped(layers.kind[i])}`,
    `weights ${layers.weight_bits[i] ?? "–"} bit, input ${layers.input_bits[i] ?? "–"} bit, output ${layers.activation_bits[i] ?? "–"} bit`,
    kept,
    `${si(layers.macs[i])} MACs, ${si(layers.bops[i])} BOPs`,
    `${si(energy * 1e-12, "J")}: compute ${si(layers.compute_pj[i] * 1e-12, "J")}, buffer ${si(layers.buffer_pj[i] * 1e-12, "J")}, DRAM ${si(layers.dram_pj[i] * 1e-12, "J")}`,
    `${si(layers.cycles[i])} cycles, bound: ${escaped(boundOf(layers.bound[i])[1])}`,
  ].join("<br>");
}

function layerRows(layers, ranges) {
  const x = layers.name.map((_, i) => i);
  const text = x.map((i) => layerHover(layers, i));
  const bar = (y, paint, extra = {}) => ({
    type: "bar", x, y, text, textposition: "none", hovertemplate: "%{text}<extra></extra>", marker: { color: paint }, ...extra,
  });
  const beside = (place) => ({ width: 0.36, offset: place ? 0.02 : -0.38 });
  const parts = ["compute", "buffer", "dram"];
  const joules = parts.map((part) => layers[`${part}_pj`].map((pj) => (pj ?? 0) * 1e-12));
  const below = joules.map((_, part) => x.map((i) => joules.slice(0, part).reduce((sum, column) => sum + column[i], 0)));
  const rows = [
    {
      title: heading("Bits", swatch("bar-weight", "weights"), swatch("bar-activation", "output")),
      traces: [bar(layers.weight_bits, colour("bar-weight"), beside(0)), bar(layers.activation_bits, colour("bar-activation"), beside(1))],
      axis: { range: ranges.bits },
    },
    {
      title: heading("Channels", swatch("bar-kept", "kept"), swatch("bar-full", "pruned")),
      traces: [bar(layers.full_out_channels, colour("bar-full")), bar(layers.out_channels, colour("bar-kept"))],
      axis: { range: ranges.channels },
    },
    {
      title: heading("Energy", swatch("compute", "compute"), swatch("buffer", "buffer"), swatch("dram", "DRAM")),
      traces: parts.map((part, place) => bar(joules[place], colour(part), { base: below[place] })),
      axis: { range: ranges.energy, tickformat: "~s", ticksuffix: "J" },
    },
    {
      title: heading("Cycles", ...[...new Set(layers.bound.map((it) => boundOf(it).join("\n")))].map((it) => swatch(...it.split("\n")))),
      traces: [bar(layers.cycles, layers.bound.map((bound) => colour(boundOf(bound)[0])))],
      axis: { range: ranges.cycles, tickformat: "~s" },
    },
  ];
  return rows.filter((row) => row.traces.some((trace) => trace.y.some((value) => value !== null)));
}

function drawLayers(target, run, ranges) {
  const layers = layersOf(run);
  if (layers === null) return false;
  const count = layers.name.length;
  const step = Math.ceil(count / Math.max(1, Math.floor((target.clientWidth - 58) / 15)));
  const shown = layers.name.map((_, i) => i).filter((i) => i % step === 0);
  const names = shown.map((i) => escaped(shortened(layers.name[i], 20)));
  const longest = Math.max(...shown.map((i) => Math.min(20, layers.name[i].length)));
  stackedCharts(target, layerRows(layers, ranges), {
    range: [-0.6, count - 0.4], tickvals: shown, ticktext: names, tickangle: -90, ticks: "", tickfont: { size: 11, color: colour("muted") },
  }, { bottom: 16 + 6.6 * longest });
  return true;
}

function traceRows(trace) {
  const x = trace.step ?? trace[Object.keys(trace)[0]].map((_, i) => i);
  const line = (key, paint, digits, scale = 1) => trace[key] && ({
    x, y: trace[key].map((value) => (value === null ? null : value * scale)), mode: key === "validation_accuracy" ? "lines+markers" : "lines",
    connectgaps: true, line: { color: paint, width: 1.6 }, marker: { size: 4 },
    hovertemplate: `step %{x}<br>${key.replace("_", " ")} %{y:${digits}}<extra></extra>`,
  });
  const [main, second] = [colour("bar-weight"), colour("bar-activation")];
  const row = (title, traces, axis = {}) => ({ title, traces: traces.filter(Boolean), axis: { rangemode: "normal", ...axis } });
  return [
    row(heading("Loss", swatch("bar-weight", "total"), swatch("bar-activation", "cross-entropy")),
      [line("loss", main, ".4~g"), line("cross_entropy", second, ".4~g")], { rangemode: "tozero" }),
    row(heading("Validation accuracy"), [line("validation_accuracy", main, ".1f", 100)], { ticksuffix: " %" }),
    row(heading("BOPs"), [line("bops", main, ".4~s")], { type: "log", tickformat: "~s", nticks: 3 }),
    row(heading("Over goal", "log(cost / goal)"), [line("excess", main, ".3~g")]),
    row(heading("Multiplier"), [line("multiplier", main, ".3~g")]),
  ].filter((it) => it.traces.length);
}

function drawTrace(target, run) {
  const { trace } = DATA.details[run.index];
  if (!Object.keys(trace).length) return false;
  const rows = traceRows(trace);
  if (rows.length) stackedCharts(target, rows, { title: { text: "Step", standoff: 4 }, tickformat: ",d" }, { rowHeight: 70 });
  return rows.length > 0;
}
