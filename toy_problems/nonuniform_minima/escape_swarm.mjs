// Explorable: a swarm on two minima that look equally flat. In: method, lr, distance (of the start from 1), rho, steps,
// seed. Shows the particles move, how far they are from x = 1, and the share that has left it beside the exact share.

import { choice, h, onChange, presets, rangeOf, slider } from "flatlab/explorable/controls.mjs";
import { CONFIG, houseLayout, ink, loadPlotly, METHOD_COLOURS, onAppearance } from "flatlab/explorable/plotly.mjs";
import { uniform } from "flatlab/explorable/random.mjs";
import { onceSeen } from "flatlab/explorable/sight.mjs";
import { Strokes } from "flatlab/explorable/strokes.mjs";
import { CURVATURES, leftShares, loss, OUTER, reach, STEPS, term, THRESHOLDS, VELOCITY } from "./landscape.mjs";

const COUNT = 500;
const NAMES = ["method", "lr", "distance", "rho", "steps", "seed"];
const METHODS = Object.fromEntries(Object.keys(STEPS).map((name) => [name, name]));
const X = [-0.9, 2.3];
const TOP = 1.25; // of the loss axis
const FAR = [-8, 0.6]; // of the axis of distances from 1, powers of ten
const BINS = 86;
const NEAR = 0.24; // a particle within this distance is at a minimum

const FIRST = { distance: 0.0001, rho: 0.01, steps: 200 };
const SITUATIONS = {
  "Figure 1": { ...FIRST, method: "SGD", lr: 0.6 },
  "A little less": { ...FIRST, method: "SGD", lr: 0.54, steps: 600 },
  "SAM leaves": { ...FIRST, method: "SAM", lr: 0.54, steps: 600 },
  "Full batch": { ...FIRST, method: "GD", lr: 0.6 },
  "Neither holds": { ...FIRST, method: "Nesterov", lr: 0.7 },
};

// ---- compute ---------------------------------------------------------------------------------------------------------

// A swarm at its start. Only one who asks for `advance` moves it.
export function swarm({ method, lr, distance, rho, steps, seed }) {
  const particles = Array.from({ length: COUNT }, () => ({ x: 1 + distance, v: VELOCITY[method] ?? 0, left: false }));
  return { method, lr, rho, steps, particles, draw: uniform(seed), t: 0, left: [0] };
}

export function advance(state) {
  const { method, lr, rho, particles, draw } = state;
  const step = STEPS[method];
  state.t += 1;
  let left = 0;
  for (const p of particles) {
    step(p, CURVATURES[draw() < 0.5 ? 0 : 1], lr, state.t, rho);
    if (!(p.x >= OUTER[0] && p.x <= OUTER[1])) p.left = true;
    if (p.left) left += 1;
  }
  state.left.push(left / COUNT);
}

export function whereabouts({ particles }) {
  const near = (m) => particles.filter((p) => Math.abs(p.x - m) <= NEAR).length;
  const [zero, one] = [near(0), near(1)];
  return { zero, one, elsewhere: COUNT - zero - one, left: particles.filter((p) => p.left).length };
}

const outside = (particles) => particles.filter(({ x }) => !(x >= X[0] && x <= X[1])).length;

// What there is to say of a swarm, in words; `exact` are the exact shares or null.
export function words(state, exact) {
  const { zero, one, elsewhere, left } = whereabouts(state);
  const unseen = outside(state.particles);
  const beyond = unseen ? ` (${unseen} outside the plot)` : "";
  const where =
    `${state.method} at η = ${state.lr} after ${state.t} steps: of ${COUNT} runs ${zero} are at x = 0, ${one} at x = 1, ${elsewhere} elsewhere${beyond}.`;
  if (!exact) return `${where} ${left} have left x = 1.`;
  const p = exact[state.t];
  const error = COUNT * Math.sqrt((p * (1 - p)) / COUNT);
  return `${where} ${left} have left x = 1; theory: ${(COUNT * p).toFixed(0)} ± ${error.toFixed(0)}.`;
}

// From which learning rates on x = 1 does not hold, in words; null for full-batch descent, which sees no difference.
export function limits({ method, rho }) {
  if (!THRESHOLDS[method]) return null;
  const { meanSquare, almostSure } = THRESHOLDS[method];
  const first = method === "SAM"
    ? `dashed: the ascents can carry a run out from η = ${reach(rho).toFixed(3)}`
    : `dashed: unstable in mean square from η = ${meanSquare.toFixed(4)}`;
  const kind = method === "SAM" ? "without its ascents, " : "";
  return `In the plot over η, ${first}; solid: ${kind}unstable for almost every run from η = ${almostSure.toFixed(4)}`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const GRID = Array.from({ length: 641 }, (_, k) => X[0] + (k * (X[1] - X[0])) / 640);

function heading(text, content, y, x = 0) {
  return {
    text: content,
    xref: "paper",
    yref: "paper",
    x,
    y,
    xanchor: "left",
    yanchor: "bottom",
    showarrow: false,
    font: { color: text, size: 13 },
  };
}

function drawGround(Plotly, div) {
  const { text, grid, faint } = ink(div);
  const line = (f, style, name) => ({
    x: GRID,
    y: GRID.map(f),
    mode: "lines",
    line: { color: faint, width: 1.5, ...style },
    name,
  });
  const second = { gridcolor: grid, linecolor: grid, zeroline: false, fixedrange: true };
  const label = (x, y, content, color) => ({ x, y, text: content, showarrow: false, font: { color, size: 13 } });
  const out = 1 - OUTER[0];
  const layout = houseLayout(div, {
    margin: { l: 44, r: 8, t: 26, b: 28 },
    xaxis: { range: X, anchor: "y", dtick: 1 },
    yaxis: { domain: [0.44, 1], range: [0, TOP], dtick: 0.5 },
    xaxis2: { ...second, type: "log", range: FAR, anchor: "y2", dtick: 2, exponentformat: "power", tickfont: { size: 11 } },
    yaxis2: { ...second, domain: [0, 0.26], range: [0, 1], dtick: 0.5, tickformat: ".0%" },
    shapes: [{
      type: "line",
      xref: "x2",
      x0: out,
      x1: out,
      yref: "y2",
      y0: 0,
      y1: 1,
      line: { color: text, width: 1, dash: "2px,3px" },
    }],
    annotations: [
      heading(text, "loss L, thick, and its terms f₁, f₂", 1),
      heading(text, "distance from x = 1 (dotted: the way out)", 0.26),
      label(2.12, 0.06, "f₁", text),
      label(1.62, 1.04, "f₂", text),
      label(2.05, 0.72, "L", text),
    ],
  });
  const data = [
    line((x) => term(x, CURVATURES[0]), { dash: "dash" }, "f1"),
    line((x) => term(x, CURVATURES[1]), { dash: "dot" }, "f2"),
    line(loss, { color: text, width: 2.5 }, "L"),
    { x: [], y: [], xaxis: "x2", yaxis: "y2" },
  ];
  return Plotly.react(div, data, layout, CONFIG);
}

// The particles on the loss, each lifted by an amount of its own so that many at one place show as many; and how many are
// how far from 1, by ratio, so that the first steps are seen as well.
function drawSwarm(strokes, { method, particles }) {
  strokes.clear();
  const { context, axes } = strokes;
  const [ax, ay, bx, by] = [axes.xaxis, axes.yaxis, axes.xaxis2, axes.yaxis2];
  context.save();
  context.beginPath();
  context.rect(ax._offset, ay._offset, ax._length, ay._length);
  context.clip();
  context.fillStyle = METHOD_COLOURS[method];
  context.globalAlpha = 0.8;
  const bins = new Uint16Array(BINS);
  particles.forEach(({ x }, k) => {
    const spread = ((k * 0.618034) % 1) * 48;
    const px = ax._offset + ax.l2p(x);
    const py = ay._offset + ay.l2p(Math.min(2 * TOP, loss(x))) - spread;
    context.fillRect(px - 2, py - 2, 4, 4);
    const far = Math.log10(Math.max(10 ** FAR[0], Math.abs(x - 1)));
    const bin = Math.floor(((far - FAR[0]) / (FAR[1] - FAR[0])) * BINS);
    bins[Math.min(bin, BINS - 1)] += 1; // the last holds all that are farther out
  });
  const unseen = outside(particles);
  if (unseen) {
    context.globalAlpha = 1;
    context.font = "600 13px sans-serif";
    context.textAlign = "center"; // over the minimum at 1, where no line is as high
    context.fillText(`${unseen} of ${COUNT} outside`, ax._offset + ax.l2p(1), ay._offset + 24);
  }
  context.restore();
  context.save();
  context.fillStyle = METHOD_COLOURS[method];
  const width = bx._length / BINS;
  const base = by._offset + by.l2p(0);
  bins.forEach((count, k) =>
    count &&
    context.fillRect(
      bx._offset + k * width,
      by._offset + by.l2p(count / COUNT),
      width - 0.5,
      base - by._offset - by.l2p(count / COUNT),
    )
  );
  context.restore();
}

function drawFrame(Plotly, div, steps, rates, exact) {
  const { text, grid } = ink(div);
  const second = { gridcolor: grid, linecolor: grid, zeroline: false, fixedrange: true };
  const layout = houseLayout(div, {
    margin: { l: 48, r: 10, t: 26, b: 24 },
    xaxis: { range: [0, steps], anchor: "y" },
    yaxis: { domain: [0.6, 1], range: [0, 1.03], dtick: 0.5, tickformat: ".0%" },
    xaxis2: { ...second, range: [rates.min, rates.max], anchor: "y2", dtick: 0.2 },
    yaxis2: { ...second, domain: [0, 0.4], range: [0, 1.03], dtick: 0.5, tickformat: ".0%" },
    annotations: [
      heading(text, `have left x = 1, by step${exact ? " (thin: exact)" : ""}`, 1),
      heading(text, "at the end, by η (dots: your runs)", 0.4),
    ],
  });
  return Plotly.react(div, [{ x: [], y: [] }, { x: [], y: [], xaxis: "x2", yaxis: "y2" }], layout, CONFIG);
}

function line(strokes, xs, ys, { colour = null, width = 1, xaxis = "xaxis", yaxis = "yaxis" }) {
  const [ax, ay, context] = [strokes.axes[xaxis], strokes.axes[yaxis], strokes.context];
  context.save();
  context.strokeStyle = colour ?? getComputedStyle(strokes.canvas).color;
  context.lineWidth = width;
  context.beginPath();
  ys.forEach((y, k) => context.lineTo(ax._offset + ax.l2p(xs ? xs[k] : k), ay._offset + ay.l2p(y)));
  context.stroke();
  context.restore();
}

// A threshold on the axis of learning rates.
function threshold(strokes, x, dash) {
  const [ax, ay, context] = [strokes.axes.xaxis2, strokes.axes.yaxis2, strokes.context];
  const px = ax._offset + ax.l2p(x);
  context.save();
  context.strokeStyle = getComputedStyle(strokes.canvas).color;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(px, ay._offset);
  context.lineTo(px, ay._offset + ay._length);
  context.stroke();
  context.restore();
}

function drawShares(strokes, state, exact, curve, dots) {
  strokes.clear();
  const { method, lr, left } = state;
  line(strokes, null, left, { colour: METHOD_COLOURS[method], width: 4 });
  if (exact) line(strokes, null, exact, {});
  if (curve) line(strokes, curve.rates, curve.shares, { xaxis: "xaxis2", yaxis: "yaxis2" });
  if (THRESHOLDS[method]) {
    threshold(strokes, method === "SAM" ? reach(state.rho) : THRESHOLDS[method].meanSquare, [7, 4]);
    threshold(strokes, THRESHOLDS[method].almostSure, []);
  }
  const [ax, ay, context] = [strokes.axes.xaxis2, strokes.axes.yaxis2, strokes.context];
  const dot = (x, y, radius, fill) => {
    context.beginPath();
    context.arc(ax._offset + ax.l2p(x), ay._offset + ay.l2p(y), radius, 0, 7);
    context.strokeStyle = context.fillStyle = METHOD_COLOURS[method];
    context.lineWidth = 2;
    if (fill) context.fill();
    else context.stroke();
  };
  for (const { x, y } of dots) dot(x, y, 3, true);
  dot(lr, left[left.length - 1], 6, false);
}

// ---- render ----------------------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const [ground, frame] = [h("div", { class: "flatlab-plot" }), h("div", { class: "flatlab-plot" })];
  const [swarmStrokes, shareStrokes] = [new Strokes(), new Strokes()];
  const panel = (kind, plot, strokes, label) =>
    h(
      "div",
      { class: kind, style: kind === "flatlab-map" ? "aspect-ratio: 1.1" : "", role: "img", "aria-label": label },
      plot,
      strokes.canvas,
    );
  const status = h("p", { class: "flatlab-status", "data-says": "swarm" });
  const bounds = h("p", { class: "flatlab-census", style: "margin-bottom: 0.5rem", "data-says": "limits" });
  const play = h("button", { type: "button" });
  const once = h("button", { type: "button" }, "One step");
  const again = h("button", { type: "button" }, "Again, new draws");
  const buttons = h("div", { class: "flatlab-presets", role: "group", "aria-label": "Run" }, play, once, again);
  const radius = slider(model, "rho", { label: "SAM’s radius ρ", step: 0.001 });
  const controls = h(
    "div",
    { class: "flatlab-controls" },
    choice(model, "method", { label: "method", options: METHODS, colours: METHOD_COLOURS }),
    slider(model, "lr", { label: "learning rate η", step: 0.01 }),
    slider(model, "distance", { label: "start at 1 +", hint: "distance of the start from the minimum at 1", log: true }),
    slider(model, "steps", { label: "steps", step: 20 }),
    radius,
  );
  el.classList.add("flatlab");
  el.replaceChildren(
    presets(model, "See:", SITUATIONS),
    h(
      "div",
      { class: "flatlab-panels" },
      panel("flatlab-map", ground, swarmStrokes, "The loss with 500 runs on it, and how far they are from x = 1"),
      panel(
        "flatlab-curves",
        frame,
        shareStrokes,
        "Share of the runs that have left x = 1, against steps and against the learning rate",
      ),
    ),
    bounds,
    buttons,
    controls,
    status,
  );

  const settings = () => {
    const s = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    return { ...s, steps: Math.round(s.steps) }; // an address may say 200.5
  };
  const gathered = []; // the end of every run so far: {key, x, y}
  const keyOf = (s) => [s.method, s.distance, s.steps, s.method.startsWith("SAM") ? s.rho : 0].join();
  const curves = new Map(); // the exact share at the end against the rate, by key
  let [state, exact, key, playing, request] = [null, null, "", false, 0];

  const curveOf = (s) => {
    if (!curves.has(key)) {
      const [count, { min, max }] = [60, rangeOf(model, "lr")];
      const rates = Array.from({ length: count }, (_, k) => min + (k * (max - min)) / (count - 1));
      // No run leaves while even the steeper term's factor is below 1: nothing to add up there.
      const share = (
        lr,
      ) => (lr * 2 * CURVATURES[1] < 2 && Math.abs(s.distance) + s.rho < 0.4
        ? 0
        : leftShares(s.method, { ...s, lr })[s.steps]);
      curves.set(key, leftShares(s.method, { ...s, steps: 1 }) && { rates, shares: rates.map(share) });
    }
    return curves.get(key);
  };
  const draw = () => {
    drawSwarm(swarmStrokes, state);
    drawShares(shareStrokes, state, exact, curves.get(key), gathered.filter((end) => end.key === key));
    status.setAttribute("aria-live", playing ? "off" : "polite"); // a reader of the screen hears the end, not every frame
    status.textContent = words(state, exact);
    play.textContent = playing ? "Pause" : state.t < state.steps ? "Run" : "Run again";
  };
  const finished = () => {
    if (state.t < state.steps) return false;
    playing = false;
    gathered.push({ key, x: state.lr, y: state.left[state.t] });
    return true;
  };
  const tick = () => {
    request = 0;
    if (!playing) return;
    const began = performance.now();
    for (let k = 0; k < Math.ceil(state.steps / 300) && state.t < state.steps; k++) advance(state);
    finished();
    draw();
    performance.measure("flatlab:swarm", { start: began, end: performance.now() });
    if (playing) request = requestAnimationFrame(tick);
  };
  let seen = false; // the first run waits until the reader can see it
  const go = () => {
    playing = seen;
    request ||= requestAnimationFrame(tick);
  };
  let framed = "";
  const refit = () => {
    const wanted = `${model.get("steps")} ${exact !== null}`;
    if (framed === wanted) return;
    framed = wanted;
    drawFrame(Plotly, frame, settings().steps, rangeOf(model, "lr"), exact);
    shareStrokes.fit(frame);
  };
  const restart = () => {
    const s = settings();
    state = swarm(s);
    exact = leftShares(s.method, s);
    key = keyOf(s);
    radius.hidden = !s.method.startsWith("SAM");
    radius.style.display = radius.hidden ? "none" : "";
    curveOf(s);
    bounds.textContent = limits(s) ?? "";
    refit();
    if (still.matches) {
      while (state.t < state.steps) advance(state);
      finished();
    } else go();
    draw();
  };
  play.addEventListener("click", () => {
    if (playing) playing = false;
    else if (state.t < state.steps) go();
    else restart();
    draw();
  });
  once.addEventListener("click", () => {
    playing = false;
    if (state.t >= state.steps) state = swarm(settings());
    advance(state);
    finished();
    draw();
  });
  again.addEventListener("click", () => {
    model.set("seed", (model.get("seed") % 9999) + 1);
    model.save_changes();
  });
  const redraw = () => {
    for (const div of [ground, frame]) Plotly.purge(div);
    drawGround(Plotly, ground);
    swarmStrokes.fit(ground);
    framed = "";
    refit();
    if (state) draw();
  };
  redraw();
  restart();
  const sighted = () => {
    seen = true;
    if (!still.matches && state.t === 0) go();
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
