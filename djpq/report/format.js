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

// a tick: "20 nJ", "1.5 M"
const siShort = (value, unit = "") => si(value, unit).replace(/\.0+(?= |$)|(\.\d*?[1-9])0+(?= |$)/, "$1");

const minus = (text) => text.replace("-", "−");
const significant = (value) => (value >= 99.95 ? value.toFixed(0) : value.toPrecision(3));
const percent = (value) => (missing(value) ? "–" : `${significant(value)} %`);
const accuracyText = (value) => (missing(value) ? "–" : `${(100 * value).toFixed(1)} %`);
const factor = (value) => (missing(value) ? "–" : `${significant(value)}×`);
const pointsText = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)} pt`;

const exact = (value) => (missing(value) ? "–" : minus(String(Number(value.toPrecision(4))))); // a tick: as short as it is
const small = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? minus(value.toExponential(2)) : exact(value));

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
