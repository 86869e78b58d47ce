// Explorable: Hutchinson's dice. In: xx, xy, xz, yy, yz, zz (a symmetric matrix H), quantity ("trace" of H or "square": tr
// H^2), seed. Throws sign and Gaussian vectors at H as one watches; shows what each throw says, the running means, and both
// variances.

import { choice, clamp, columnHead, h, onChange, presets, rangeOf } from "flatlab/explorable/controls.mjs";
import { CONFIG, houseLayout, ink, loadPlotly, METHOD_COLOURS, onAppearance } from "flatlab/explorable/plotly.mjs";
import { onceSeen } from "flatlab/explorable/sight.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { BINS, cup, faces, form, full, KINDS, reading, square, Tally, times, trace, variance } from "./dice.mjs";

const ENTRIES = ["xx", "xy", "xz", "yy", "yz", "zz"];
const PLACES = [["xx", "xy", "xz"], ["xy", "yy", "yz"], ["xz", "yz", "zz"]];
const NAMES = [...ENTRIES, "quantity", "seed"];
const MOST = 20000; // throws
const COLOURS = { Rademacher: METHOD_COLOURS.FA, Gaussian: METHOD_COLOURS.Momentum };
const WORDS = { Rademacher: "signs (Rademacher)", Gaussian: "Gaussian" };
const OPTIONS = { square: "tr(H²), by ‖Hv‖²", trace: "tr(H), by vᵀHv" };
const SYMBOLS = { square: "‖Hv‖²", trace: "vᵀHv" };

const matrix = (...values) => Object.fromEntries(ENTRIES.map((name, k) => [name, values[k]]));
const SITUATIONS = {
  Diagonal: matrix(3, 0, 0, 1, 0, -2),
  "One strong pair": matrix(1, 3, 0, 1, 0, 1),
  "Rank one": matrix(1, 1, 1, 1, 1, 1),
  "Only H² is diagonal": matrix(1, 2, 0, -1, 0, 2),
  "Nothing on the diagonal": { ...matrix(0, 2, 0, 0, 1, 0), quantity: "trace" },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

const show = (v) => {
  if (!Number.isFinite(v)) return "–";
  const size = Math.abs(v);
  return (size < 1e-12 ? "0" : size < 0.1 ? v.toPrecision(2) : size < 100 ? String(Number(v.toFixed(2))) : v.toFixed(0))
    .replace("-", "−");
};

// What the dice shall be thrown at, and where its readings lie: four deviations of the Gaussian around the mean.
function problem({ quantity, ...entries }) {
  const m = full(ENTRIES.map((name) => entries[name]));
  const a = form(m, quantity);
  const exact = trace(a);
  const reach = Math.max(4 * Math.sqrt(variance(a, "Gaussian")), 1);
  const range = quantity === "square" ? [-0.05 * reach, exact + reach] : [exact - reach, exact + reach];
  return {
    m,
    a,
    exact,
    range,
    faces: faces(m, quantity),
    variances: Object.fromEntries(KINDS.map((kind) => [kind, variance(a, kind)])),
  };
}

function words(game, quantity) {
  const { exact, variances } = game.problem;
  const count = game.tallies.Rademacher.count;
  const begin = `${count.toLocaleString("en")} throw${count === 1 ? "" : "s"} of each at ${
    quantity === "square" ? "tr(H²)" : "tr(H)"
  } = ${show(exact)}. `;
  if (variances.Gaussian === 0) return `${begin}H is zero: nothing can vary.`;
  if (variances.Rademacher < 1e-9) {
    return `${begin}Every throw of signs says it exactly: ${
      quantity === "square" ? "H²" : "H"
    } is diagonal, and a sign times itself is 1.`;
  }
  const ratio = variances.Gaussian / variances.Rademacher;
  if (ratio < 1 + 1e-9) return `${begin}Signs gain nothing here: the diagonal is zero.`;
  return `${begin}A throw of signs is worth ${show(ratio)} Gaussian ones here.`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const heading = (text, content, y) => ({
  text: content,
  xref: "paper",
  yref: "paper",
  x: 0,
  y,
  xanchor: "left",
  yanchor: "bottom",
  showarrow: false,
  font: { color: text, size: 13 },
});
const inked = (kind) => `<b style="color:${COLOURS[kind]}">${WORDS[kind]}</b>`;

function drawHistogramFrame(Plotly, div, { range }, quantity) {
  const { text, grid } = ink(div);
  const second = { gridcolor: grid, linecolor: grid, zeroline: false, fixedrange: true };
  const share = { range: [0, 1.04], showticklabels: false, dtick: 0.5 };
  const layout = houseLayout(div, {
    margin: { l: 16, r: 10, t: 24, b: 40 },
    xaxis: { range, nticks: 6, anchor: "y", showticklabels: false },
    yaxis: { ...share, domain: [0.55, 1] },
    xaxis2: {
      ...second,
      range,
      nticks: 6,
      anchor: "y2",
      title: { text: `what a throw says, ${SYMBOLS[quantity]}`, standoff: 4 },
    },
    yaxis2: { ...second, ...share, domain: [0, 0.43] },
    annotations: [heading(text, inked("Rademacher"), 1), heading(text, inked("Gaussian"), 0.43)],
  });
  return Plotly.react(div, [{ x: [], y: [] }, { x: [], y: [], xaxis: "x2", yaxis: "y2" }], layout, CONFIG);
}

function drawHistograms(strokes, { problem, tallies }) {
  strokes.clear();
  const { context, axes } = strokes;
  const text = getComputedStyle(strokes.canvas).color;
  KINDS.forEach((kind, k) => {
    const [ax, ay] = [axes[k ? "xaxis2" : "xaxis"], axes[k ? "yaxis2" : "yaxis"]];
    const { bins, low, high } = tallies[kind];
    const most = Math.max(...bins);
    context.fillStyle = COLOURS[kind];
    const width = ax._length / BINS;
    const base = ay._offset + ay._length;
    bins.forEach((count, j) => {
      const tall = count ? Math.max(1, (ay._length * count) / most / 1.04) : 0;
      context.fillRect(ax._offset + j * width, base - tall, width - 0.5, tall);
    });
    const px = (v) => ax._offset + ((v - low) / (high - low)) * ax._length;
    context.strokeStyle = context.fillStyle = text;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(px(problem.exact), ay._offset);
    context.lineTo(px(problem.exact), base);
    context.stroke();
    context.setLineDash([]);
    // What signs can say at all, as ticks below their axis.
    if (kind === "Rademacher") { for (const face of problem.faces) context.fillRect(px(face) - 1, base, 2, 7); }
  });
}

function drawMeanFrame(Plotly, div, { exact, variances }) {
  const { text } = ink(div);
  const half = 1.5 * Math.sqrt(variances.Gaussian || 1);
  const layout = houseLayout(div, {
    margin: { l: 48, r: 10, t: 24, b: 40 },
    xaxis: {
      type: "log",
      range: [Math.log10(2), Math.log10(MOST)],
      tickvals: [10, 100, 1000, 10000],
      ticktext: ["10", "100", "1,000", "10,000"],
      title: { text: "throws", standoff: 4 },
    },
    yaxis: { range: [exact - half, exact + half], nticks: 7 },
    annotations: [heading(text, "running means ± 2 errors (dashed: exact)", 1)],
    shapes: [{
      type: "line",
      xref: "paper",
      x0: 0,
      x1: 1,
      y0: exact,
      y1: exact,
      line: { color: text, width: 1, dash: "dash" },
    }],
  });
  return Plotly.react(div, [{ x: [], y: [] }], layout, CONFIG);
}

function drawMeans(strokes, { tallies }) {
  strokes.clear();
  const { context, axes } = strokes;
  const [ax, ay] = [axes.xaxis, axes.yaxis];
  const px = (count) => ax._offset + ax.l2p(Math.log10(count));
  const py = (v) => ay._offset + ay.l2p(v);
  context.save();
  context.beginPath();
  context.rect(ax._offset, ay._offset, ax._length, ay._length);
  context.clip();
  for (const kind of [...KINDS].reverse()) {
    const { path, count, mean, stderr } = tallies[kind];
    const points = count > 1 ? [...path, [count, mean, stderr]] : path;
    if (!points.length) continue;
    context.strokeStyle = context.fillStyle = COLOURS[kind];
    context.globalAlpha = 0.25;
    context.beginPath();
    for (const [n, m, e] of points) context.lineTo(px(n), py(m + 2 * e));
    for (const [n, m, e] of [...points].reverse()) context.lineTo(px(n), py(m - 2 * e));
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.beginPath();
    for (const [n, m] of points) context.lineTo(px(n), py(m));
    context.stroke();
  }
  context.restore();
}

function drawTable(cells, { tallies }) {
  for (const kind of KINDS) {
    const { mean, stderr, last, count, variance: spread } = tallies[kind];
    cells[kind].last.textContent = show(last);
    cells[kind].mean.textContent = count > 1 ? `${show(mean)} ± ${show(stderr)}` : "–";
    cells[kind].measured.textContent = show(spread);
  }
}

// ---- render ----------------------------------------------------------------------------------------------------------

// H as nine numbers, of which two and two are the same one, and H² beside it, read only.
function matrices(model) {
  const inputs = [];
  const cell = (name, row, column) => {
    clamp(model, name);
    const { min, max } = rangeOf(model, name);
    const input = h("input", {
      type: "number",
      min,
      max,
      step: 0.5,
      "data-name": name,
      "aria-label": `H, row ${row + 1}, column ${column + 1}`,
    });
    input.addEventListener("input", () => {
      const value = Number(input.value);
      if (input.value === "" || !Number.isFinite(value)) return;
      model.set(name, Math.min(max, Math.max(min, value)));
      model.save_changes();
    });
    input.addEventListener("blur", () => draw());
    inputs.push([name, input]);
    return input;
  };
  const squares = PLACES.map((row) => row.map(() => h("output")));
  const table = (caption, rows) =>
    h(
      "table",
      { class: "flatlab-matrix" },
      h("caption", {}, caption),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((content) => h("td", {}, content))))),
    );
  const draw = () => {
    for (const [name, input] of inputs) {
      clamp(model, name);
      if (document.activeElement !== input || Number(input.value) !== model.get(name)) input.value = model.get(name);
    }
    square(full(ENTRIES.map((name) => model.get(name)))).forEach((row, i) =>
      row.forEach((v, j) => (squares[i][j].value = show(v)))
    );
  };
  for (const name of ENTRIES) model.on(`change:${name}`, draw);
  const el = h(
    "div",
    { class: "flatlab-matrices" },
    table("H, to type in", PLACES.map((row, i) => row.map((name, j) => cell(name, i, j)))),
    table("H²", squares),
  );
  draw();
  return el;
}

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const [histogram, means] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [histogramStrokes, meanStrokes] = [new Strokes(), new Strokes()];
  const panel = (plot, strokes, label) =>
    h("div", { class: "flatlab-curves", role: "img", "aria-label": label }, plot, strokes.canvas);
  const status = h("p", { class: "flatlab-status" });
  const shown = h("p", { class: "flatlab-throw" });
  const cells = Object.fromEntries(
    KINDS.map((
      kind,
    ) => [
      kind,
      Object.fromEntries(["last", "mean", "measured", "formula"].map((key) => [key, h("td", { "data-value": key })])),
    ]),
  );
  const head = ["dice", "last throw", "mean ± error", "variance, measured", "by the formula"];
  const table = h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...head.map(columnHead))),
    h(
      "tbody",
      {},
      ...KINDS.map((kind) =>
        h(
          "tr",
          { "data-kind": kind },
          h(
            "th",
            { scope: "row" },
            h("span", { class: "flatlab-swatch", style: `background:${COLOURS[kind]}` }),
            ` ${WORDS[kind].split(" (")[0]}`, // the table has five columns on a phone
          ),
          ...Object.values(cells[kind]),
        )
      ),
    ),
  );
  const button = (text, onclick) => h("button", { type: "button", onclick }, text);
  const play = button("", () => toggle());
  const buttons = h(
    "div",
    { class: "flatlab-presets", role: "group", "aria-label": "Throw" },
    play,
    button("Throw once", () => throwNow(1)),
    button("Throw 1,000", () => throwNow(1000)),
    button("Start over", () => again()),
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    matrices(model),
    choice(model, "quantity", { label: "estimate", options: OPTIONS }),
    h(
      "div",
      { class: "flatlab-panels" },
      panel(histogram, histogramStrokes, "Histograms of what single throws say"),
      panel(means, meanStrokes, "Running means against the number of throws"),
    ),
    shown,
    status,
    table,
    buttons,
  );

  let [game, playing, request, pace] = [null, false, 0, 0];
  const quantity = () => model.get("quantity");
  const deal = () => {
    const state = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const made = problem(state);
    const per = (f) => Object.fromEntries(KINDS.map((kind) => [kind, f(kind)]));
    game = {
      problem: made,
      tallies: per(() => new Tally(made.range)),
      cups: per((kind) => cup(kind, Math.round(state.seed))),
      v: null,
    };
    pace = 0;
    for (const kind of KINDS) cells[kind].formula.textContent = show(made.variances[kind]);
  };
  const roll = (count) => {
    for (let k = 0; k < count && game.tallies.Rademacher.count < MOST; k++) {
      for (const kind of KINDS) {
        const v = game.cups[kind]();
        game.tallies[kind].add(reading(game.problem.m, v, quantity()));
        if (kind === "Rademacher") game.v = v;
      }
    }
  };
  const draw = () => {
    drawHistograms(histogramStrokes, game);
    drawMeans(meanStrokes, game);
    drawTable(cells, game);
    status.setAttribute("aria-live", playing ? "off" : "polite"); // a reader of the screen hears the end, not every frame
    status.textContent = words(game, quantity());
    const list = (v) => `(${v.map(show).join(", ")})`;
    shown.textContent = game.v
      ? `Last signs: v = ${list(game.v)}, Hv = ${list(times(game.problem.m, game.v))}, ${SYMBOLS[quantity()]} = ${
        show(game.tallies.Rademacher.last)
      }.`
      : "No throw yet.";
    play.textContent = playing ? "Pause" : game.tallies.Rademacher.count < MOST ? "Keep throwing" : "Again";
  };
  const tick = () => {
    request = 0;
    if (!playing) return;
    const began = performance.now();
    pace += 1;
    roll(pace < 90 ? (pace % 3 ? 0 : 1) : Math.ceil((pace - 89) / 6)); // slow enough to follow, then faster and faster
    if (game.tallies.Rademacher.count >= MOST) playing = false;
    draw();
    performance.measure("flatlab:dice", { start: began, end: performance.now() });
    if (playing) request = requestAnimationFrame(tick);
  };
  let seen = false; // the first throw waits until the reader can see it
  const go = () => {
    playing = seen && !still.matches;
    request ||= requestAnimationFrame(tick);
  };
  const throwNow = (count) => {
    playing = false;
    roll(count);
    draw();
  };
  const frames = () => {
    drawHistogramFrame(Plotly, histogram, game.problem, quantity());
    drawMeanFrame(Plotly, means, game.problem);
    histogramStrokes.fit(histogram);
    meanStrokes.fit(means);
  };
  const restart = () => {
    deal();
    frames();
    if (still.matches) roll(1000);
    else go();
    draw();
  };
  const toggle = () => {
    if (playing) playing = false;
    else if (game.tallies.Rademacher.count >= MOST) return again();
    else if (still.matches) roll(1000);
    else go();
    draw();
  };
  const again = () => {
    model.set("seed", (Math.round(model.get("seed")) % 9999) + 1);
    model.save_changes();
  };
  const redraw = () => {
    for (const div of [histogram, means]) Plotly.purge(div);
    if (!game) deal();
    frames();
    draw();
  };
  redraw();
  restart();
  const sighted = () => {
    seen = true;
    if (!still.matches && game.tallies.Rademacher.count === 0) go();
  };
  const stops = [
    onceSeen(el, sighted),
    onChange(model, NAMES, restart),
    onAppearance(el, redraw),
    () => cancelAnimationFrame(request),
  ];
  return () => {
    playing = false;
    stops.forEach((stop) => stop());
  };
}

export default { render };
