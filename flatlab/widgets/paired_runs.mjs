// Explorable: each method less SGD or SAM, seed by seed. In: pairs {problems: [{name, short, data, network, claimed, epochs,
// views: {base: {budget: {rows, spread, needed}}}}], claims: {data: {base: {method: [[paper, network, accuracy, base's, half]]}}},
// papers: {name: epochs}, stops}, problem, base, budget, claims, resolve. All statistics come with the records; here they
// are drawn, as SVG: a plot of words and marks at rest, that is read, printed and pointed at.

import { columnHead, h, nearest, onChange, pick, stepped } from "flatlab/explorable/controls.mjs";
import { onAppearance } from "flatlab/explorable/plotly.mjs";
import { colourOf, drawPlot, s, SHAPES } from "./paired_plot.mjs";
import {
  baseIn,
  claimsOf,
  distinct,
  fewPairs,
  methodOf,
  named,
  plain,
  rowsOf,
  saidDifference,
  side,
  signed,
} from "./paired_rows.mjs";

const STATE = ["problem", "base", "budget", "claims", "resolve"];
const BUDGETS = { epochs: "equal epochs", gradients: "equal gradients" };

const mean = (list) => list.reduce((sum, v) => sum + v, 0) / list.length;
const deviation = (list) => Math.sqrt(list.reduce((sum, v) => sum + (v - mean(list)) ** 2, 0) / (list.length - 1));

// Data and network of a problem: the head under which a menu gathers those that share them.
const headOf = (text) => text.split(", ").slice(0, 2).join(", ");

// ---- words

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

// ---- draw

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
    const font = getComputedStyle(el).fontFamily;
    const plot = drawPlot(rows, el.clientWidth, font, { ...state, papers: pairs.papers, problem: problem.name });
    marks = plot.marks;
    readout.style.minHeight = plot.wide ? "1.4em" : "2.8em";
    ring.setAttribute("visibility", "hidden");
    plot.svg.append(ring);
    chart.replaceChildren(plot.svg);
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
