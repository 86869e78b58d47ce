// The rows of a plot of paired runs, and how they are said.

export const distinct = (values) => [...new Set(values)];

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

// Whether an interval leaves zero out: above it, below it, or not.
export const side = ({ mean: m, half }) => (half == null || Math.abs(m) <= half ? 0 : Math.sign(m));

const minus = (text) => text.replace("-", "−");
export const signed = (v) => {
  const r = Number(v.toFixed(2)) || 0; // no minus before 0.00
  return minus(`${r > 0 ? "+" : ""}${r.toFixed(2)}`);
};
export const plain = (v) => minus(String(v));
export const named = (
  list,
) => (list.length > 3 ? `${list.length} others` : list.map((row) => row.label).join("; ") || "none");

// A row without an interval says why: its pairs are too few.
export const fewPairs = ({ pairs }) => `${pairs.length === 1 ? "one seed" : "two seeds"}, no interval`;

export const saidDifference = (row) => `${signed(row.mean)}${row.half == null ? "" : ` ± ${row.half.toFixed(2)}`}`;

// What a row of the base is for: with equal gradients there is one for each length of its runs.
export function saidBase(base, rows) {
  if (rows.filter((row) => row.why === "base").length === 1) return "base of the comparison";
  const held = rows.filter((row) => row.against === base.epochs);
  return held.length ? `base of ${named(held)}` : "";
}
