// Four Gaussians in the plane of features, two for each class, and a linear classifier without bias on samples of them. The
// label is a function of the feature: the more likely class. Centres lie at (+-s / 2, +-s / 2).

import { normal, uniform } from "flatlab/explorable/random.mjs";

export const SAMPLES = 120;
const ANGLES = 32;

// +1 or -1 at a feature.
export const LABELS = { rectangle: (x) => (x >= 0 ? 1 : -1), crossed: (x, y) => (x * y >= 0 ? 1 : -1) };

// Loss of an output and a label, with first and second derivative by the output.
export const LOSSES = {
  squared: { value: (z, y) => (z - y) ** 2, slope: (z, y) => 2 * (z - y), bend: () => 2 },
  logistic: {
    value: (z, y) => Math.max(0, -y * z) + Math.log1p(Math.exp(-Math.abs(z))),
    slope: (z, y) => -y / (1 + Math.exp(y * z)),
    bend: (z) => 1 / ((1 + Math.exp(z)) * (1 + Math.exp(-z))),
  },
};
export const PENALTY = 0.002; // factor of ||w||^2 in training

// Samples of the mixture, {xs, ys, labels}; the same number, the same noise at every separation.
export function draw({ classes, separation, sample }) {
  const [bell, coin] = [normal(2 * sample), uniform(2 * sample + 1)];
  const points = Array.from({ length: SAMPLES }, () => {
    const sign = () => (coin() < 0.5 ? -1 : 1);
    return { x: (sign() * separation) / 2 + bell(), y: (sign() * separation) / 2 + bell() };
  });
  return { xs: points.map((p) => p.x), ys: points.map((p) => p.y), labels: points.map((p) => LABELS[classes](p.x, p.y)) };
}

// The minimizer of mean loss + PENALTY ||w||^2 by Newton's method, each step halved until it does not rise.
export function fit({ xs, ys, labels }, loss) {
  const { value, slope, bend } = LOSSES[loss];
  const n = xs.length;
  const objective = ([u, v]) =>
    xs.reduce((sum, x, i) => sum + value(u * x + v * ys[i], labels[i]) / n, PENALTY * (u * u + v * v));
  let w = [0, 0];
  for (let step = 0; step < 50; step++) {
    let [gx, gy, hxx, hxy, hyy] = [2 * PENALTY * w[0], 2 * PENALTY * w[1], 2 * PENALTY, 0, 2 * PENALTY];
    for (let i = 0; i < n; i++) {
      const z = w[0] * xs[i] + w[1] * ys[i];
      const [s, c] = [slope(z, labels[i]) / n, bend(z, labels[i]) / n];
      gx += s * xs[i];
      gy += s * ys[i];
      hxx += c * xs[i] * xs[i];
      hxy += c * xs[i] * ys[i];
      hyy += c * ys[i] * ys[i];
    }
    const det = hxx * hyy - hxy * hxy;
    const down = [(hyy * gx - hxy * gy) / det, (hxx * gy - hxy * gx) / det];
    if (gx * down[0] + gy * down[1] < 1e-24) break;
    const before = objective(w);
    let length = 1;
    while (length > 1e-6 && objective([w[0] - length * down[0], w[1] - length * down[1]]) > before + 1e-15) length /= 2;
    w = [w[0] - length * down[0], w[1] - length * down[1]];
  }
  return w;
}

export function trainLoss({ xs, ys, labels }, w, loss) {
  const { value } = LOSSES[loss];
  return xs.reduce((sum, x, i) => sum + value(w[0] * x + w[1] * ys[i], labels[i]), 0) / xs.length;
}

// kappa = ||w||^2 mean_i bend_i ||phi_i||^2.
export function relativeFlatness({ xs, ys, labels }, w, loss) {
  const { bend } = LOSSES[loss];
  const trace = xs.reduce((sum, x, i) => sum + bend(w[0] * x + w[1] * ys[i], labels[i]) * (x * x + ys[i] ** 2), 0) /
    xs.length;
  return (w[0] ** 2 + w[1] ** 2) * trace;
}

// Mean rise of the loss when each feature moves by delta times its length, over evenly spaced directions: labels held, and
// with the labels of the places it moves to; and the share of these that differ.
export function robustness({ xs, ys, labels }, w, loss, classes, delta, angles = ANGLES) {
  const { value } = LOSSES[loss];
  const label = LABELS[classes];
  let [held, real, crossed] = [0, 0, 0];
  const turns = Array.from({ length: angles }, (_, k) => (2 * Math.PI * (k + 0.5)) / angles).map((
    t,
  ) => [Math.cos(t), Math.sin(t)]);
  for (let i = 0; i < xs.length; i++) {
    const reach = delta * Math.hypot(xs[i], ys[i]);
    for (const [c, s] of turns) {
      const [x, y] = [xs[i] + reach * c, ys[i] + reach * s];
      const z = w[0] * x + w[1] * y;
      const there = label(x, y);
      const kept = value(z, labels[i]);
      held += kept;
      real += there === labels[i] ? kept : value(z, there);
      crossed += there !== labels[i];
    }
  }
  const [count, start] = [xs.length * angles, trainLoss({ xs, ys, labels }, w, loss)];
  return { held: held / count - start, real: real / count - start, crossed: crossed / count };
}

// The expected loss by the midpoint rule: the density is a product of two, and no cell lies across a border of the labels.
function midpoint(w, loss, classes, separation, cells) {
  const { value } = LOSSES[loss];
  const label = LABELS[classes];
  const end = separation / 2 + 6;
  const at = Array.from({ length: cells }, (_, k) => -end + ((2 * k + 1) * end) / cells);
  const bell = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  const density = at.map((x) => ((bell(x - separation / 2) + bell(x + separation / 2)) / 2) * ((2 * end) / cells));
  let total = 0;
  for (let i = 0; i < cells; i++) {
    if (density[i] < 1e-12) continue;
    for (let j = 0; j < cells; j++) {
      if (density[j] > 1e-12) total += density[i] * density[j] * value(w[0] * at[i] + w[1] * at[j], label(at[i], at[j]));
    }
  }
  return total;
}

// The same with the error of second order extrapolated away: good to 1e-6.
export function risk(w, loss, classes, separation, cells = 200) {
  const [fine, coarse] = [cells, cells / 2].map((count) => midpoint(w, loss, classes, separation, count));
  return (4 * fine - coarse) / 3;
}

// What the twin in Python has on the same features, on arrays; a test compares the two.
export function twin({ phi, y, name }) {
  const data = { xs: phi.map((row) => row[0]), ys: phi.map((row) => row[1]), labels: y };
  return { loss: (w) => trainLoss(data, w, name), relativeFlatness: (w) => relativeFlatness(data, w, name) };
}
