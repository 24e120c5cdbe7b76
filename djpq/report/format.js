// Numbers for people, elements from text, colours from the style sheet. Nothing here knows what a run is.

const PREFIXES = { "-4": "p", "-3": "n", "-2": "µ", "-1": "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P" };
const missing = (value) => value === null || value === undefined || !Number.isFinite(value);

// 12345678 → "12.3 M"; 1.86e9, "bit" → "1.86 Gbit"
function si(value, unit = "") {
  if (missing(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1000) return `${minus(String(value))} ${unit}`.trim();
  let power = Math.floor(Math.log10(Math.abs(value)) / 3);
  if (Math.abs(value) / 1000 ** power >= 999.5) power += 1;
  power = Math.max(-4, Math.min(5, power));
  return `${minus((value / 1000 ** power).toPrecision(3))} ${PREFIXES[power]}${unit}`.trim();
}

const minus = (text) => text.replace("-", "−");
const significant = (value) => (value >= 99.95 ? value.toFixed(0) : value.toPrecision(3));
const percent = (value) => (missing(value) ? "–" : `${significant(value)} %`);
const accuracyText = (value) => (missing(value) ? "–" : `${(100 * value).toFixed(1)} %`);
const factor = (value) => (missing(value) ? "–" : `${significant(value)}×`);
const pointsText = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)} pt`;

function duration(seconds) {
  if (missing(seconds)) return "–";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// plotly reads a little HTML in its texts; names come from users
const escaped = (text) =>
  String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function shortened(text, length) {
  return text.length <= length ? text : `…${text.slice(1 - length)}`;
}

// children are elements or text, never HTML
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const dot = (fill) => el("span", { class: "dot", style: `background: ${fill}` });

// what all charts share; `extra` wins
function chartLayout(extra) {
  const axis = {
    gridcolor: colour("grid"), zeroline: false, linecolor: colour("border"), tickcolor: colour("border"),
    tickfont: { color: colour("muted") }, fixedrange: false, automargin: true,
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, bargap: 0.25, axis,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("muted"), font: { color: colour("text"), size: 12 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("accent") },
    ...extra,
  };
}

const touch = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page; zoom is in the chart's tool bar
const chartConfig = {
  responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg", filename: "djpq" },
};

// charts stacked over one x axis: each row is { title, traces, axis, height }; height adds the x axis' room below
function stackedCharts(target, rows, xaxis, { rowHeight = 92, gap = 34, bottom = 40 } = {}) {
  const height = rows.length * (rowHeight + gap) + bottom;
  const plotted = rows.length * (rowHeight + gap);
  const layout = chartLayout({ height, margin: { l: 52, r: 6, t: 0, b: bottom }, annotations: [], barmode: "overlay" });
  const traces = [];
  rows.forEach((row, place) => {
    const id = place ? place + 1 : "";
    const top = 1 - (place * (rowHeight + gap) + gap) / plotted;
    layout[`yaxis${id}`] = {
      ...layout.axis, automargin: false, nticks: 4, rangemode: "tozero", ...row.axis, domain: [Math.max(0, top - rowHeight / plotted), top],
    };
    layout.annotations.push({
      text: row.title, x: 0, xref: "paper", xanchor: "left", xshift: -46, y: top, yref: "paper", yanchor: "bottom", yshift: 3,
      showarrow: false, font: { size: 12 },
    });
    traces.push(...row.traces.map((trace) => ({ ...trace, xaxis: "x", yaxis: `y${id}` })));
  });
  const last = rows.length > 1 ? `y${rows.length}` : "y";
  layout.xaxis = { ...layout.axis, automargin: false, showgrid: false, anchor: last, fixedrange: touch, ...xaxis };
  layout.dragmode = touch ? false : "zoom";
  delete layout.axis;
  Plotly.newPlot(target, traces, layout, { ...chartConfig, displayModeBar: false });
}
