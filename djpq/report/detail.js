// The panel of one selected run. Every panel has the same sections in the same order, so that two of them align.

const text = (tag, content, cls = null) => el(tag, { class: cls }, content);

function runHead(run, slot) {
  const compare = slot === "a" && state.b === null && el("button", {
    type: "button", id: "compare", class: state.picking ? "active" : null, onclick: () => choose({ picking: !state.picking }),
  }, state.picking ? "Click a second point" : "Compare…");
  const close = el("button", {
    type: "button", class: "quiet", "aria-label": `Close run ${slot.toUpperCase()}`, onclick: () => closeRun(slot),
  }, "✕");
  const where = [`${run.network} on ${run.data}`, run.budget, run.settings, missing(run.seed) ? null : `seed ${run.seed}`];
  return el("div", { class: "run-head" },
    text("span", slot.toUpperCase(), "tag"),
    el("div", {},
      el("h2", {}, dot(methodColour(run.method)), ` ${methodLabel(run.method)} · ${machineLabel(run.accelerator)}`),
      text("p", where.filter(Boolean).join(" · "), "muted")),
    el("div", { class: "buttons" }, compare || null, close),
    text("code", run.run));
}

function tile(name, value, ...notes) {
  return el("div", { class: "tile" }, text("div", name, "name"), text("div", value, "value"), ...notes);
}

// the class of a gain: none when it is too small to show
const verdict = (gain, least) => (gain >= least ? "good" : gain <= -least ? "bad" : "");

function tiles(run, other) {
  const note = (content, cls = "") => text("div", content, `note ${cls}`);
  const drop = run.test_accuracy - run.float_accuracy;
  const known = !missing(run.float_accuracy) && !missing(run.test_accuracy);
  const accuracy = known ? [note(`${pointsText(drop)} to float`)] : [];
  if (other && !missing(other.test_accuracy)) {
    const gain = run.test_accuracy - other.test_accuracy;
    accuracy.push(note(`${pointsText(gain)} to A`, verdict(gain, 5e-4)));
  }
  const costs = DATA.costs.map((cost) => {
    const share = run[`${cost.key}_percent`];
    const notes = [note(missing(share) ? " " : `${percent(share)} of 32-bit`)];
    if (other && other[cost.key] > 0 && !missing(run[cost.key])) {
      const ratio = run[cost.key] / other[cost.key];
      notes.push(note(`${factor(ratio)} A`, verdict(1 - ratio, 5e-3)));
    }
    return tile(cost.short ?? cost.name, costText(run[cost.key], cost), ...notes);
  });
  return el("div", { class: "tiles" }, tile("Test accuracy", accuracyText(run.test_accuracy), ...accuracy), ...costs);
}

function savings(run) {
  const parts = [["channels", run.saved_by_channels, "bar-weight"], ["bits", run.saved_by_bits, "bar-activation"]];
  if (parts.every(([, log]) => missing(log))) return el("div");
  const bars = parts.map(([, log, paint]) => el("div", { style: `flex: ${Math.max(0, log ?? 0)}; background: var(--${paint})` }));
  const words = parts.map(([name, log, paint]) =>
    el("span", {}, dot(`var(--${paint})`), ` ${factor(missing(log) ? null : 10 ** log)} by ${name}`));
  return el("div", {}, text("h3", "Who paid for the saving"), el("div", { class: "split" }, bars), el("div", { class: "key" }, words));
}

function command(run) {
  if (!run.command) return el("div", {}, text("h3", "Command"), text("p", "not recorded", "muted"));
  const copy = el("button", { type: "button", class: "copy", onclick: () => copyText(run.command, copy) }, "Copy");
  return el("div", {}, text("h3", "Run it again"), el("div", { class: "command" }, text("pre", run.command), copy));
}

async function copyText(content, button) {
  try {
    await navigator.clipboard.writeText(content);
  } catch { // no permission, or a browser that does not trust file://
    const area = el("textarea", { readonly: "" }, content);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function folded(title, content, open = false) {
  return el("details", { open: open ? "" : false }, text("summary", title), content);
}

function pairsTable(pairs, nothing) {
  if (!pairs.length) return text("p", nothing, "muted");
  const rows = pairs.map(([name, value]) => el("tr", {}, text("td", name.replaceAll("_", " "), "text wrap"), proofCell(value)));
  return el("table", {}, el("tbody", {}, rows));
}

function proofCell(value) {
  if (value === true) return text("td", "✓ yes", "good");
  if (value === false) return text("td", "✗ no", "bad");
  return text("td", typeof value === "number" && !Number.isInteger(value) ? small(value) : String(value ?? "–"), "wrap");
}

function groupsTable(groups) {
  if (!groups.length) return text("p", "not recorded", "muted");
  const rows = groups.map(([name, kept, channels, prunable]) => el("tr", {},
    text("td", name, "text wrap"),
    el("td", {}, el("div", { class: "meter" }, el("div", { style: `width: ${channels ? (100 * kept) / channels : 0}%` }))),
    text("td", `${kept ?? "–"} of ${channels ?? "–"}`),
    text("td", prunable ? "" : "fixed", "muted")));
  return el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, rows)));
}

function layersTable(layers) {
  if (!layers) return text("p", "not recorded", "muted");
  const heads = ["Layer", "Kind", "In", "Out", "Weight bits", "Input bits", "Output bits", "MACs", "BOPs", "Cycles",
    ...ENERGY_PARTS.map((part) => ENERGY_NAMES[part][0].toUpperCase() + ENERGY_NAMES[part].slice(1)), "Bound"];
  const of = (part, full) => (missing(full) || part === full ? String(part ?? "–") : `${part} / ${full}`);
  const joules = (pj) => (missing(pj) ? "–" : si(pj * 1e-12, "J"));
  const rows = layers.name.map((name, i) => el("tr", {},
    text("td", name, "text"), text("td", layers.kind[i], "text"),
    text("td", of(layers.in_channels[i], layers.full_in_channels[i])),
    text("td", of(layers.out_channels[i], layers.full_out_channels[i])),
    ...["weight_bits", "input_bits", "activation_bits"].map((key) => text("td", String(layers[key][i] ?? "–"))),
    ...["macs", "bops", "cycles"].map((key) => text("td", si(layers[key][i]))),
    ...ENERGY_PARTS.map((part) => text("td", joules(layers[`${part}_pj`]?.[i]))),
    text("td", boundOf(layers.bound[i])[1])));
  const head = el("tr", {}, heads.map((name, place) => text("th", name, place < 2 ? "text" : null)));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

function runPanel(run, slot, other) {
  const detail = DATA.details[run.index];
  const layers = el("div", { class: "layers" }), trace = el("div", { class: "trace" });
  const facts = [
    ["epochs", run.epochs], ["time", duration(run.seconds)],
    ["validation accuracy", accuracyText(run.validation_accuracy)], ...DATA.pool[detail.versions],
  ];
  const panel = el("article", { class: "card run", id: `run-${slot}` },
    runHead(run, slot), tiles(run, other), savings(run), command(run),
    el("div", {}, text("h3", "Per layer"), layers, folded("All numbers per layer", layersTable(layersOf(run)))),
    el("div", {}, text("h3", "Training"), trace),
    el("div", {},
      folded("Proof", pairsTable(detail.proof, "not recorded"), true),
      folded("Channel groups", groupsTable(DATA.pool[detail.groups])),
      folded(`Profile of ${machineLabel(run.accelerator)}`,
        text("pre", DATA.pool[detail.profile] || "not recorded", "profile")),
      folded("Time and versions", pairsTable(facts, ""))));
  return { panel, layers, trace };
}

let drawn = []; // the charts that are shown: promises of their elements

function drawDetails() {
  const target = document.getElementById("details");
  drawn.forEach((chart) => chart.then((plot) => Plotly.purge(plot))); // never while plotly still draws it
  drawn = [];
  const chosen = ["a", "b"].filter((slot) => state[slot] !== null).map((slot) => [slot, state.runs[state[slot]]]);
  if (!chosen.length) {
    target.replaceChildren(el("div", { class: "card empty" }, text("p", "Click a point to see where its cost goes.", "muted")));
    return;
  }
  const parts = chosen.map(([slot, run]) => [run, runPanel(run, slot, slot === "b" ? state.runs[state.a] : null)]);
  target.replaceChildren(...parts.map(([, { panel }]) => panel));
  const runs = chosen.map(([, run]) => run);
  const ranges = layerRanges(runs);
  for (const [run, { layers, trace }] of parts) {
    const charts = [
      [layers, drawLayers(layers, run, ranges), "This run recorded no layers."],
      [trace, drawTrace(trace, run, runs), "This run has no metrics.jsonl."],
    ];
    for (const [place, chart, nothing] of charts) {
      if (chart === null) place.append(text("p", nothing, "muted"));
      else drawn.push(chart);
    }
  }
}
