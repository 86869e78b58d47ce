// Explorable: each method less SGD or SAM, seed by seed. In: pairs {problems: [{name, short, data, network, claimed, epochs,
// views: {base: {budget: {rows, spread, needed}}}}], claims: {data: {base: {method: [[paper, network, accuracy, base's, half]]}}},
// papers: {name: epochs}, stops}, problem, base, budget, claims, resolve. All statistics come with the records; here they
// are drawn, as SVG: a plot of words and marks at rest, that is read, printed and pointed at.

import { columnHead, h, nearest, onChange, pick, stepped } from "flatlab/explorable/controls.mjs";
import { METHOD_COLOURS, onAppearance } from "flatlab/explorable/plotly.mjs";

const STATE = ["problem", "base", "budget", "claims", "resolve"];
const BUDGETS = { epochs: "equal epochs", gradients: "equal gradients" };
const SHAPES = { LSAM: "○", Nonuniformity: "□", StableSAM: "◇" };

// ---- compute ---------------------------------------------------------------------------------------------------------

const distinct = (values) => [...new Set(values)];
const mean = (list) => list.reduce((sum, v) => sum + v, 0) / list.length;
const deviation = (list) => Math.sqrt(list.reduce((sum, v) => sum + (v - mean(list)) ** 2, 0) / (list.length - 1));
const middle = (list) => [...list].sort((a, b) => a - b)[(list.length - 1) >> 1] ?? 0;

// A base that this problem does not have gives way to one of the same method, where there is one.
export const methodOf = (base) => base.split(",")[0];
export const baseIn = (
  views,
  base,
) => (base in views
  ? base
  : (Object.keys(views).find((other) => methodOf(other) === methodOf(base)) ?? Object.keys(views)[0]));

// The papers' differences to this base, by method, where their tables are about this problem.
export const claimsOf = ({ claims }, { claimed, data }, base) => claimed ? (claims[data][methodOf(base)] ?? {}) : {};

// The rows of a view; the papers' differences, where they are asked for, stand with the first row of their method.
export function rowsOf(pairs, state) {
  const problem = pairs.problems.find(({ name }) => name === state.problem);
  const told = state.claims === "shown" ? claimsOf(pairs, problem, state.base) : {};
  const seen = new Set();
  return problem.views[state.base][state.budget].rows.map((row) => {
    const first = !seen.has(row.method);
    seen.add(row.method);
    const of = first ? (told[row.method] ?? []) : [];
    return {
      ...row,
      told: of.map(([paper, network, ours, theirs, half]) => ({
        paper,
        network,
        ours,
        theirs,
        half,
        difference: ours - theirs,
      })),
    };
  });
}

// Data and network of a problem: the head under which a menu gathers those that share them.
const headOf = (text) => text.split(", ").slice(0, 2).join(", ");

// What is drawn: a method that has not been run has a row in the table, and in the plot only with a paper's marks.
export const drawnOf = (rows) => rows.filter((row) => row.runs || row.told.length);

// Whether an interval leaves zero out: above it, below it, or not.
export const side = ({ mean: m, half }) => (half == null || Math.abs(m) <= half ? 0 : Math.sign(m));

// What the axis of differences spans. Gains are all in sight, claimed ones too; a loss far beyond what is usual is drawn at
// the edge.
export function spanOfDifferences(rows) {
  const found = rows.filter((row) => row.pairs);
  const pairs = found.flatMap((row) => row.pairs.map(([, a, b]) => a - b));
  const ends = found.filter((row) => row.half != null).flatMap((row) => [row.mean - row.half, row.mean + row.half]);
  const claims = rows.flatMap((row) => row.told.map((claim) => claim.difference));
  const high = Math.max(0.3, ...pairs, ...ends);
  const usual = (list) => list.filter((v) => v >= -Math.max(high, 6 * middle(list.map(Math.abs))));
  return padded(Math.min(-0.3, ...usual([...pairs, ...ends]), ...usual(claims)), Math.max(high, ...claims));
}

// What the axis of accuracies spans: runs that fell far below the usual stand at the edge.
export function spanOfAccuracies(rows) {
  const all = rows.flatMap((row) => (row.runs ?? []).map(([, accuracy]) => accuracy));
  if (!all.length) return [0, 100];
  const high = Math.max(...all);
  return padded(Math.max(Math.min(...all), high - Math.max(0.5, 6 * middle(all.map((v) => high - v)))), high);
}

const padded = (low, high) => [low - 0.05 * (high - low || 1), high + 0.05 * (high - low || 1)];

// Round numbers inside the span, at most `most` of them, but two at least.
export function ticks([low, high], most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough * 0.999);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  if (count < 2 && most < 8) return ticks([low, high], most + 1);
  return Array.from(
    { length: Math.max(0, count) },
    (_, k) => Number(((Math.ceil(low / step - 1e-9) + k) * step).toPrecision(12)),
  );
}

// ---- words -----------------------------------------------------------------------------------------------------------

const minus = (text) => text.replace("-", "−");
const signed = (v) => {
  const r = Number(v.toFixed(2)) || 0; // no minus before 0.00
  return minus(`${r > 0 ? "+" : ""}${r.toFixed(2)}`);
};
const plain = (v) => minus(String(v));
const named = (list) => (list.length > 3 ? `${list.length} others` : list.map((row) => row.label).join("; ") || "none");

// A row without an interval says why: its pairs are too few.
const fewPairs = ({ pairs }) => `${pairs.length === 1 ? "one seed" : "two seeds"}, no interval`;

const saidDifference = (row) => `${signed(row.mean)}${row.half == null ? "" : ` ± ${row.half.toFixed(2)}`}`;

// What a row of the base is for: with equal gradients there is one for each length of its runs.
function saidBase(base, rows) {
  if (rows.filter((row) => row.why === "base").length === 1) return "base of the comparison";
  const held = rows.filter((row) => row.against === base.epochs);
  return held.length ? `base of ${named(held)}` : "";
}

// The methods without runs, by what they lack.
function saidLacking(rows) {
  const lacking = rows.filter((row) => !row.runs);
  const whys = distinct(lacking.map((row) => row.why));
  return whys.map((why) =>
    `${why[0].toUpperCase()}${why.slice(1)}: ${
      lacking.filter((row) => row.why === why).map((row) => row.label).join(", ")
    }.`
  ).join(" ");
}

// What a reader takes away: which rows differ from the base by more than the seeds do.
export function verdict(rows, base) {
  const sure = rows.filter((row) => row.half != null);
  if (!sure.length) return `No method has three pairs of runs with ${base} yet: there is no interval to go by.`;
  const [above, below, within] = [1, -1, 0].map((s) => sure.filter((row) => side(row) === s));
  if (sure.length === 1 && within.length) {
    return `${named(sure)} does not differ from ${base} by more than the noise: its interval contains zero.`;
  }
  if (within.length === sure.length) {
    return `None of ${sure.length} differs from ${base} by more than the noise: every interval contains zero.`;
  }
  return `Better than ${base} by more than the noise: ${named(above)}. Worse: ${
    named(below)
  }. The interval contains zero: ${named(within)}.${corrected(sure)}`;
}

// Of several intervals one in twenty leaves zero out by chance: which of those that do are left once that is counted in.
function corrected(sure) {
  if (sure.length === 1) return "";
  const off = sure.filter((row) => side(row) !== 0);
  const left = off.filter((row) => row.p <= 0.05);
  const said = !left.length
    ? "none"
    : left.length === off.length && off.length > 1
    ? "all of them"
    : left.length > 3
    ? `${left.length} of them`
    : named(left);
  return ` Holm’s correction for ${sure.length} comparisons leaves ${said}.`;
}

// ---- draw ------------------------------------------------------------------------------------------------------------

const colourOf = (method) => METHOD_COLOURS[method] ?? "currentColor";

function s(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const widthOf = (texts, font) => {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font;
  return Math.max(0, ...texts.map((text) => context.measureText(text).width));
};

// Two panels side by side, or one below the other on a narrow screen, where a label takes two lines and the lower panel has
// only the rows with runs. A panel: what it spans from left to right, its top, its foot, and the middle of each row.
function layoutOf(rows, width, font) {
  const wide = width >= 640;
  const size = wide ? 13 : 11;
  const left = Math.ceil(widthOf(rows.flatMap((row) => linesOf(row, wide)), `600 ${size}px ${font}`)) + 12;
  const height = Math.max(wide ? 22 : 28, Math.min(40, 440 / rows.length));
  const panel = (range, top, list) => ({
    range,
    top: top + 24,
    foot: top + 24 + height * list.length,
    list,
    at: (row) => top + 24 + height * (list.indexOf(row) + 0.5),
  });
  const [numbers, runs] = wide ? [100, Math.max(150, Math.round(0.22 * width))] : [0, 0];
  const differences = panel(wide ? [left, width - runs - numbers - 12] : [left, width - 8], 0, rows);
  const accuracies = wide
    ? panel([width - runs + 8, width - 8], 0, rows)
    : panel([left, width - 8], differences.foot + 30, rows.filter((row) => row.runs));
  return { wide, size, font, left, height, width, numbers, differences, accuracies, tall: accuracies.foot + 22 };
}

const linesOf = (
  { label },
  wide,
) => (wide || !label.includes(", ") ? [label] : [label.slice(0, label.indexOf(",")), label.slice(label.indexOf(",") + 2)]);

// The axis of a panel, its title, and the names of its rows unless another panel beside it has them; what places a value.
function drawFrame(svg, plan, { range, top, foot, list, at }, { span, title, show, names }) {
  const { size, left, wide } = plan;
  const place = (v) => range[0] + ((v - span[0]) / (span[1] - span[0])) * (range[1] - range[0]);
  svg.append(s("text", { x: wide ? range[0] : 0, y: top - 10, "font-weight": 600, "font-size": size }, title));
  for (const v of ticks(span, (range[1] - range[0]) / 58)) {
    svg.append(
      s("line", {
        x1: place(v),
        x2: place(v),
        y1: top,
        y2: foot,
        stroke: "currentColor",
        ...(v === 0 ? { "stroke-opacity": 0.9, "stroke-width": 1.5 } : { "stroke-opacity": 0.16 }),
      }),
      s("text", { x: place(v), y: foot + 15, "text-anchor": "middle", "font-size": size - 1 }, show(v)),
    );
  }
  for (const row of names ? list : []) {
    const [first, second] = linesOf(row, wide);
    svg.append(
      s("text", {
        x: left - 8,
        y: at(row) + (second ? -2 : 4),
        "text-anchor": "end",
        "font-weight": 600,
        "font-size": size,
      }, first),
    );
    if (second) {
      svg.append(s("text", { x: left - 8, y: at(row) + size - 2, "text-anchor": "end", "font-size": size - 1 }, second));
    }
  }
  return place;
}

// A paper's mark at (x, y): filled where its difference is larger than its own interval.
function claimed({ paper, difference, half }, x, y, r) {
  const look = {
    class: "flatlab-claim",
    "data-paper": paper,
    stroke: "currentColor",
    "stroke-width": 1.1,
    fill: "currentColor",
    "fill-opacity": Math.abs(difference) > half ? 0.6 : 0,
  };
  if (SHAPES[paper] === "○") return s("circle", { ...look, cx: x, cy: y, r });
  if (SHAPES[paper] === "□") return s("rect", { ...look, x: x - 0.9 * r, y: y - 0.9 * r, width: 1.8 * r, height: 1.8 * r });
  return s("path", {
    ...look,
    d: `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
  });
}

// A triangle at the left edge: what it stands for lies beyond.
const beyond = (x, y, colour) => s("path", { class: "flatlab-beyond", d: `M${x} ${y}l7 -4.5v9z`, fill: colour });

// How far from the middle of its row the dot of the k-th of n seeds lies: equal numbers do not hide each other.
const lane = (k, n, height) => (k - (n - 1) / 2) * Math.min(6, (0.56 * height) / Math.max(1, n - 1));

const dot = (what, x, y, fill, stroke = "currentColor") =>
  s("circle", { class: `flatlab-${what}`, cx: x, cy: y, r: 2.8, fill, stroke, "stroke-width": 0.8 });

// What is drawn of differences, and each mark's place with its words.
function drawDifferences(svg, plan, rows, { base, papers, resolve }) {
  const { size, font, height, numbers, differences } = plan;
  const { range, top, foot, at } = differences;
  const span = spanOfDifferences(rows);
  const place = drawFrame(svg, plan, differences, {
    span,
    title: `test accuracy minus ${methodOf(base)}’s, same seed, in points`,
    show: (v) => signed(v).replace(/\.?0+$/, ""),
    names: true,
  });
  const inside = (v) => Math.max(range[0], Math.min(range[1], place(v)));
  const reach = (low, high) => ({ x: inside(low), width: inside(high) - inside(low) });
  svg.append(
    s("rect", {
      class: "flatlab-band",
      ...reach(-resolve, resolve),
      y: top,
      height: foot - top,
      fill: "currentColor",
      "fill-opacity": 0.09,
    }),
  );
  const marks = [];
  for (const row of rows) {
    const colour = colourOf(row.method);
    const y = at(row) - (row.told.length ? 0.2 * height : 0);
    const lanes = distinct(row.told.map((claim) => claim.paper));
    const group = s("g", { "data-row": row.label });
    // Words to the right of what is drawn at these places, else to its left, else between, where there is room for them.
    const note = (text, ...drawn) => {
      const xs = drawn.sort((a, b) => a - b);
      const needed = 14 + widthOf([text], `italic ${size - 1}px ${font}`);
      const between = xs.slice(1).map((x, k) => [xs[k], x]);
      const gaps = [[xs[xs.length - 1], range[1] + 7], [range[0], xs[0]], ...between];
      const [from, to] = gaps.find(([a, b]) => b - a >= needed) ?? gaps[0];
      const left = to === xs[0];
      group.append(
        s("text", {
          x: left ? to - 7 : from + 7,
          y: y + 4,
          "text-anchor": left ? "end" : "start",
          "font-size": size - 1,
          "font-style": "italic",
          "fill-opacity": 0.75,
        }, text),
      );
    };
    if (row.why) note(...(row.why === "base" ? [saidBase(row, rows), place(0)] : [row.why, range[0]]));
    else {
      const sure = side(row) !== 0;
      const [low, high] = [row.mean - row.half, row.mean + row.half];
      if (row.half != null && row.mean >= span[0]) {
        group.append(
          s("rect", {
            class: "flatlab-interval",
            ...reach(low, high),
            y: y - 5,
            height: 10,
            rx: 2,
            fill: colour,
            stroke: colour,
            ...(sure ? { "fill-opacity": 0.85 } : { "fill-opacity": 0.22, "stroke-opacity": 0.6 }),
          }),
        );
      }
      const reached = [];
      for (const [k, [seed, a, b]] of row.pairs.entries()) {
        const lower = y + lane(k, row.pairs.length, row.told.length ? 0.5 * height : height);
        const [out, x] = [a - b < span[0], inside(a - b)];
        group.append(out ? beyond(x, lower, colour) : dot("pair", x, lower, colour, sure ? "#fff" : "currentColor"));
        reached.push(out ? x + 5 : x);
        marks.push({
          x,
          y: lower,
          text: `${row.label}, seed ${seed}: ${a.toFixed(2)} − ${b.toFixed(2)} = ${signed(a - b)} points${
            out ? ", beyond the edge" : ""
          }`,
        });
      }
      if (row.mean < span[0]) {
        note(`mean ${saidDifference(row)}`, ...reached);
      } else if (row.half != null) {
        group.append(
          s("rect", {
            class: "flatlab-mean",
            x: place(row.mean) - 1.25,
            y: y - 8,
            width: 2.5,
            height: 16,
            fill: "currentColor",
          }),
        );
      } else note(fewPairs(row), ...reached);
      if (numbers) {
        group.append(
          s("text", {
            class: "flatlab-number",
            x: range[1] + numbers,
            y: y + 4,
            "text-anchor": "end",
            "font-size": size - 1,
            "font-weight": sure ? 700 : 400,
          }, saidDifference(row)),
        );
      }
    }
    for (const claim of row.told) {
      const [x, lane] = [inside(claim.difference), at(row) + height * (0.1 + 0.13 * lanes.indexOf(claim.paper))];
      group.append(
        claim.difference < span[0]
          ? beyond(x, lane, "currentColor")
          : claimed(claim, x, lane, Math.min(3.4, 0.13 * height)),
      );
      marks.push({
        x,
        y: lane,
        text: `${claim.paper} paper, ${row.method} on ${claim.network}, ${papers[claim.paper]} epochs: ${
          claim.ours.toFixed(2)
        } − ${claim.theirs.toFixed(2)} = ${signed(claim.difference)} ± ${claim.half.toFixed(2)} points`,
      });
    }
    svg.append(group);
  }
  return marks;
}

function drawAccuracies(svg, plan, rows) {
  const { wide, accuracies } = plan;
  const { range, list, at } = accuracies;
  const span = spanOfAccuracies(rows);
  const place = drawFrame(svg, plan, accuracies, { span, title: "each run, in %", show: plain, names: !wide });
  const marks = [];
  for (const row of list) {
    for (const [k, [seed, accuracy]] of (row.runs ?? []).entries()) {
      const [out, colour] = [accuracy < span[0], colourOf(row.method)];
      const y = at(row) + lane(k, row.runs.length, plan.height);
      const x = out ? range[0] : place(accuracy);
      svg.append(out ? beyond(x, y, colour) : dot("run", x, y, colour));
      marks.push({ x, y, text: `${row.label}, seed ${seed}: ${accuracy.toFixed(2)}% after ${row.epochs} epochs` });
    }
  }
  return marks;
}

function drawTable({ head, body }, rows, { base, problem }) {
  const cells = ["", "seeds", "accuracy, %", `minus ${base}, same seeds`, "gradients a step"];
  head.replaceChildren(...cells.map(columnHead));
  body.replaceChildren(...rows.map((row) => {
    const length = row.epochs && row.epochs !== problem.epochs ? `, ${row.epochs} epochs` : "";
    const cell = (name, ...content) =>
      h("td", { "data-cell": name, style: name === "accuracy" && "white-space:nowrap" }, ...content);
    const accuracies = (row.runs ?? []).map(([, accuracy]) => accuracy);
    const fewer = row.pairs && row.pairs.length < accuracies.length ? ` (${row.pairs.length} pairs)` : "";
    const against = row.against && row.against !== problem.epochs ? ` (${methodOf(base)}: ${row.against} epochs)` : "";
    const difference = row.why
      ? (row.why === "base" ? "–" : row.why)
      : `${saidDifference(row)}${row.half == null ? `, ${fewPairs(row)}` : ""}${fewer}${against}`;
    return h(
      "tr",
      { "data-row": row.label },
      h(
        "th",
        { scope: "row" },
        h("span", { class: "flatlab-swatch", style: `background:${colourOf(row.method)}` }),
        ` ${row.method}${length}`,
        h(
          "small",
          { "data-cell": "setting", style: "display:block;font-weight:400;white-space:normal" },
          row.setting ?? "",
        ),
      ),
      cell("seeds", accuracies.length ? String(accuracies.length) : "–"),
      cell(
        "accuracy",
        !accuracies.length
          ? "–"
          : accuracies.length > 1
          ? `${mean(accuracies).toFixed(2)} ± ${deviation(accuracies).toFixed(2)}`
          : accuracies[0].toFixed(2),
      ),
      cell(
        "difference",
        difference,
        ...(row.told.length
          ? [
            h(
              "small",
              { "data-cell": "claims", style: "display:block" },
              `papers: ${saidClaims(row.told, problem.network)}`,
            ),
          ]
          : []),
      ),
      cell("passes", row.passes ? plain(row.passes) : "–"),
    );
  }));
}

// From the least to the most that papers report, and what they report of the very network that ours is.
function saidClaims(told, network) {
  const all = told.map((claim) => claim.difference);
  const ends = distinct([Math.min(...all), Math.max(...all)].map((v) => signed(v))).join(" to ");
  const same = told.filter((claim) => claim.network === network).map((claim) =>
    `${signed(claim.difference)} ${claim.paper}`
  );
  return same.length ? `${ends}; ${network}: ${same.join(", ")}` : ends;
}

// ---- render ----------------------------------------------------------------------------------------------------------

function checkbox(model, name, label, [off, on]) {
  const input = h("input", { type: "checkbox", "data-name": name });
  input.addEventListener("change", () => {
    model.set(name, input.checked ? on : off);
    model.save_changes();
  });
  const draw = () => (input.checked = model.get(name) === on);
  model.on(`change:${name}`, draw);
  draw();
  return h("div", { class: "flatlab-choice" }, h("label", {}, input, label));
}

function render({ model, el }) {
  const headline = h("p", { class: "flatlab-status", role: "status" });
  const lacking = h("p", { class: "flatlab-lacking", style: "margin:0.2rem 0;font-size:0.85em" });
  const chart = h("div", { style: "position:relative" });
  const readout = h("p", { "data-read": "", style: "margin:0.2rem 0;font-size:0.85em" });
  const legend = h("p", { style: "margin:0.4rem 0" });
  const places = h("div");
  const bases = h("div");
  const power = h("p", { class: "flatlab-power", role: "status", style: "margin:0.2rem 0" });
  const [head, body] = [h("tr"), h("tbody")];
  const caption = h("caption", { class: "flatlab-caption" });
  const numbers = h("div", { style: "overflow-x:auto" }, h("table", {}, caption, h("thead", {}, head), body));
  const table = h("details", {}, h("summary", {}, "The numbers, row by row"), numbers);
  const box = h("div", {}, checkbox(model, "claims", "show what the papers claim", ["hidden", "shown"]));
  const { stops } = model.get("pairs");
  const choices = h(
    "div",
    { style: "display:flex;flex-wrap:wrap;gap:0 2rem" },
    bases,
    pick(model, "budget", "at", BUDGETS),
    box,
  );
  const controls = h("div", {}, places, choices, stepped(model, "resolve", stops, "difference to see"));
  el.classList.add("flatlab");
  el.replaceChildren(chart, readout, headline, controls, power, legend, lacking, table);

  const HINT = "Point at a mark, or touch it, to read it.";
  let marks = [];
  const ring = s("circle", { r: 7, fill: "none", stroke: "currentColor", "stroke-width": 1.5, visibility: "hidden" });
  const point = (event) => {
    const bounds = chart.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const near =
      marks.map((m) => ({ ...m, far: Math.hypot(m.x - x, m.y - y) })).filter((m) => m.far < 16).sort((a, b) =>
        a.far - b.far
      )[0];
    readout.textContent = near?.text ?? HINT;
    ring.setAttribute("visibility", near ? "visible" : "hidden");
    if (near) ring.setAttribute("transform", `translate(${near.x} ${near.y})`);
  };
  chart.addEventListener("pointermove", point);
  chart.addEventListener("pointerdown", point);

  // A state that these runs do not have gives way to one that they have: it may come from an address.
  const settle = () => {
    const { problems } = model.get("pairs");
    const problem = problems.find(({ name }) => name === model.get("problem")) ?? problems[0];
    if (!problem) return null;
    model.set("problem", problem.name);
    model.set("base", baseIn(problem.views, model.get("base")));
    if (!(model.get("budget") in BUDGETS)) model.set("budget", "epochs");
    if (model.get("claims") !== "shown") model.set("claims", "hidden");
    return { problem, told: claimsOf(model.get("pairs"), problem, model.get("base")) };
  };

  // Choices among what these records have; made anew only where that changes, so that the focus stays where it is.
  const built = { problem: "", base: "" };
  const offer = (holder, name, label, options, headOf) => {
    const key = JSON.stringify(options);
    if (built[name] === key) return;
    built[name] = key;
    holder.replaceChildren(...(Object.keys(options).length > 1 ? [pick(model, name, label, options, headOf)] : []));
  };

  const update = () => {
    const began = performance.now();
    const pairs = model.get("pairs");
    const settled = settle();
    for (const node of [chart, readout, legend, lacking, controls, power, table]) node.hidden = !settled;
    if (!settled) {
      headline.textContent = "No two methods have been run on one problem yet.";
      return;
    }
    const { problem, told } = settled;
    const state = Object.fromEntries(STATE.map((name) => [name, model.get(name)]));
    offer(places, "problem", "problem", Object.fromEntries(pairs.problems.map(({ name, short }) => [name, short])), headOf);
    offer(bases, "base", "compared with", Object.fromEntries(Object.keys(problem.views).map((base) => [base, base])));
    box.hidden = !Object.keys(told).length;
    const claimed = state.claims === "shown" && !box.hidden;
    const rows = rowsOf(pairs, state);
    const view = problem.views[state.base][state.budget];
    const tellers = Object.keys(pairs.papers).filter((paper) =>
      rows.some((row) => row.told.some((claim) => claim.paper === paper))
    );

    headline.replaceChildren(
      h("strong", {}, problem.name),
      `, at ${BUDGETS[state.budget]}. `,
      h("span", { "data-says": "verdict" }, verdict(rows, state.base)),
    );
    lacking.textContent = saidLacking(rows);
    const drawn = drawnOf(rows);
    const plan = layoutOf(drawn, el.clientWidth, getComputedStyle(el).fontFamily);
    const svg = s("svg", {
      width: plan.width,
      height: plan.tall,
      viewBox: `0 0 ${plan.width} ${plan.tall}`,
      role: "img",
      "aria-label": `Differences to ${state.base} on ${problem.name}; the table below has the numbers`,
      fill: "currentColor",
      style: "display:block;font-variant-numeric:tabular-nums",
    });
    marks = [
      ...drawDifferences(svg, plan, drawn, { ...state, papers: pairs.papers }),
      ...drawAccuracies(svg, plan, drawn),
    ];
    readout.style.minHeight = plan.wide ? "1.4em" : "2.8em";
    ring.setAttribute("visibility", "hidden");
    svg.append(ring);
    chart.replaceChildren(svg);
    readout.textContent = HINT;
    legend.replaceChildren(...legendSaid(rows, tellers, pairs.papers, claimed, problem, state));
    power.replaceChildren(...powerSaid(view, stops, state.resolve));
    drawTable({ head, body }, rows, { base: state.base, problem });
    caption.textContent =
      "Last epoch. Accuracy: mean ± standard deviation over seeds. Difference: mean ± its 95% interval, in points.";
    performance.measure("flatlab:pairs", { start: began, end: performance.now() });
  };
  update();
  const stopsOf = [onChange(model, ["pairs", ...STATE], update), onAppearance(el, update)];
  return () => stopsOf.forEach((stop) => stop());
}

function legendSaid(rows, papers, epochs, claimed, problem, state) {
  const ours =
    "Dots: pairs of runs with one seed. Bars: 95% interval of their mean, from three pairs upward, each row by itself; solid where it leaves zero out. One in twenty does so by chance; Holm’s correction counts that in.";
  if (!claimed) return [ours];
  const all = rows.flatMap((row) => row.told);
  const loud = all.filter((claim) => Math.abs(claim.difference) > claim.half).length;
  const by = papers.map((paper) => `${SHAPES[paper]} ${paper}, ${epochs[paper]} epochs`).join("; ");
  const silent = Object.keys(epochs).filter((paper) => !papers.includes(paper)).map((paper) =>
    ` The ${paper} paper has no ${methodOf(state.base)}.`
  ).join("");
  const length = state.budget === "gradients" ? " The papers compare at equal epochs." : "";
  const networks = distinct(all.map((claim) => claim.network)).join(", ");
  return [
    ours,
    h("br"),
    `Papers’ marks, each one network (${networks}): ${by}; ours is ${problem.name}.${silent}${length} ${loud} of ${all.length} are filled: larger than their own 95% interval.`,
  ];
}

function powerSaid({ spread, needed }, stops, resolve) {
  if (!needed) {
    return [
      `To see a difference of ${resolve} points takes `,
      h("strong", { "data-says": "seeds" }, "a number of seeds that these runs do not tell"),
      ": three pairs of one method are needed to say it.",
    ];
  }
  const n = needed[nearest(stops, resolve)];
  return [
    "To see a difference of ",
    h("strong", {}, `${resolve} points`),
    ` in four of five cases, at our pairs’ spread of ${spread.toFixed(2)} points, takes `,
    h("strong", { "data-needed": "", "data-says": "seeds" }, `${n.toLocaleString("en")} seeds a method`),
    ` (paired t-test at 5%). Grey band: ±${resolve} points.`,
  ];
}

export default { render };
