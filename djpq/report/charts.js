// What all charts share: colours of the theme, axes with readable ticks, and charts stacked over one x axis.

const touch = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page; zoom is in the chart's tool bar
const chartConfig = {
  responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", // nothing is ever uploaded
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg", filename: "djpq" },
};

function axisStyle(extra) {
  return {
    gridcolor: colour("grid"), linecolor: colour("border"), zeroline: false, tickfont: { color: colour("muted") }, ...extra,
  };
}

function chartLayout(extra) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, bargap: 0.25,
    dragmode: touch ? false : "zoom", shapes: [], annotations: [],
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    hoverlabel: {
      bgcolor: colour("card"), bordercolor: colour("muted"), font: { color: colour("text"), size: 12 }, align: "left",
    },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("accent") },
    ...extra,
  };
}

// multiples of 1, 2 or 5 times a power of ten in [low, high], at most `count` of them
function linearTicks(low, high, count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const fits = (step) => Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) < count;
  const step = [1, 2, 5, 10, 20].map((it) => it * power).find(fits);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// at most `count` of 1, 2, 5 times powers of ten in [low, high]; fewer kinds when they are many, even steps when few
function logTicks(low, high, count) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  for (const [kinds, stride] of [[[1, 2, 5], 1], [[1, 3], 1], [[1], 1], [[1], 2], [[1], 3], [[1], 6]]) {
    const ticks = [];
    for (let power = Math.ceil(from / stride) * stride; power <= to; power += stride) {
      ticks.push(...kinds.map((kind) => Number(`${kind}e${power}`)).filter((value) => value >= low && value <= high));
    }
    if (ticks.length < 2) break;
    if (ticks.length <= count) return ticks;
  }
  return linearTicks(low, high, Math.max(3, count)).filter((value) => value > 0);
}

// tick places and their words for a plotly axis whose range is given in data units
function ticksFor(range, log, count, words) {
  const places = (log ? logTicks : linearTicks)(range[0], range[1], count);
  return { tickmode: "array", tickvals: places, ticktext: places.map(words) };
}

// the range of values with some room; null when there is none
function padded(values, log = false, room = 0.06) {
  const known = values.filter((value) => !missing(value) && (!log || value > 0));
  if (!known.length) return null;
  const low = known.reduce((p, q) => Math.min(p, q)), high = known.reduce((p, q) => Math.max(p, q));
  if (log) return [low / (high / low || 1) ** room / 1.12, high * (high / low || 1) ** room * 1.12];
  const margin = room * (high - low) || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

// each row is { title, traces, range, log, words }: `range` in data units, `words` writes a tick
function stackedCharts(target, rows, xaxis, { rowHeight = 92, gap = 30, bottom = 44 } = {}) {
  const plotted = rows.length * (rowHeight + gap);
  const layout = chartLayout({ height: plotted + bottom, margin: { l: 60, r: 6, t: 0, b: bottom }, barmode: "overlay" });
  const traces = [];
  rows.forEach((row, place) => {
    const id = place ? place + 1 : "";
    const top = 1 - (place * (rowHeight + gap) + gap) / plotted;
    layout[`yaxis${id}`] = axisStyle({
      type: row.log ? "log" : "linear", range: row.log ? row.range.map(Math.log10) : row.range, fixedrange: true,
      domain: [Math.max(0, top - rowHeight / plotted), top], ...ticksFor(row.range, row.log, rowHeight > 80 && !row.log ? 5 : 4, row.words),
    });
    layout.annotations.push({
      text: row.title, x: 0, xref: "paper", xanchor: "left", xshift: -62, y: top, yref: "paper", yanchor: "bottom",
      yshift: 3, showarrow: false, font: { size: 12 },
    });
    traces.push(...row.traces.map((trace) => ({ ...trace, xaxis: "x", yaxis: `y${id}` })));
  });
  layout.xaxis = axisStyle({ showgrid: false, anchor: rows.length > 1 ? `y${rows.length}` : "y", ...xaxis });
  return Plotly.newPlot(target, traces, layout, { ...chartConfig, displayModeBar: false });
}
