// A two-layer ReLU network on one input, f(x) = sum_j v_j relu(a_j x + b_j) + c, its whole Hessian, and the measures of its
// flatness. Weights are {a, b, v, c}; those frozen here come from `trained` in landscape.py, seeds 1 and 5.

import relu_weights from "./relu_weights.json";

export const NETWORKS = relu_weights;
const POINTS = 25;
export const INPUTS = Array.from({ length: POINTS }, (_, i) => -1.5 + (3 * i) / (POINTS - 1));
export const TARGETS = INPUTS.map((x) => Math.sin(2 * x) + 0.3 * Math.cos(7 * x));

export const output = ({ a, b, v, c }, x) => a.reduce((sum, slope, j) => sum + v[j] * Math.max(0, slope * x + b[j]), c);

// The same function: all hidden neurons multiplied by alpha and one of them by beta as well, what leaves them divided.
export function rescaled({ a, b, v, c }, { alpha, beta, neuron }) {
  const factor = (j) => alpha * (j === neuron - 1 ? beta : 1);
  return { a: a.map((s, j) => s * factor(j)), b: b.map((s, j) => s * factor(j)), v: v.map((s, j) => s / factor(j)), c };
}

// Features of the last layer at each input, one row an input.
const features = ({ a, b }) => INPUTS.map((x) => a.map((slope, j) => Math.max(0, slope * x + b[j])));
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const squares = (values) => values.reduce((sum, v) => sum + v * v, 0);

// Loss, Hessian (rows of a symmetric matrix in the order a, b, v, c) and Fisher-Rao norm.
export function curvature(w) {
  const k = w.a.length;
  const d = 3 * k + 1;
  const hessian = Array.from({ length: d }, () => new Float64Array(d));
  const flat = [...w.a, ...w.b, ...w.v, w.c];
  let [loss, fisher] = [0, 0];
  INPUTS.forEach((x, i) => {
    const r = output(w, x) - TARGETS[i];
    const slope = new Float64Array(d);
    slope[d - 1] = 1;
    for (let j = 0; j < k; j++) {
      const z = w.a[j] * x + w.b[j];
      if (z <= 0) continue;
      slope[j] = w.v[j] * x;
      slope[k + j] = w.v[j];
      slope[2 * k + j] = z;
      // What is left of the second derivative where f is bilinear in a, b and v.
      for (const [row, value] of [[j, x], [k + j, 1]]) {
        hessian[row][2 * k + j] += (2 * r * value) / POINTS;
        hessian[2 * k + j][row] += (2 * r * value) / POINTS;
      }
    }
    for (let p = 0; p < d; p++) {
      if (slope[p] !== 0) { for (let q = 0; q < d; q++) hessian[p][q] += (2 * slope[p] * slope[q]) / POINTS; }
    }
    loss += (r * r) / POINTS;
    fisher += (2 * r * slope.reduce((sum, s, p) => sum + s * flat[p], 0)) ** 2 / POINTS;
  });
  return { loss, hessian, fisher: Math.sqrt(fisher) };
}

// Largest eigenvalue of a symmetric matrix by Jacobi rotations, exact to rounding.
export function topEigenvalue(matrix) {
  const m = matrix.map((row) => Float64Array.from(row));
  const d = m.length;
  const whole = m.reduce((sum, row) => sum + squares(row), 0);
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    for (let p = 0; p < d; p++) for (let q = 0; q < p; q++) off += m[p][q] ** 2;
    if (off <= 1e-28 * whole) break;
    for (let p = 1; p < d; p++) {
      for (let q = 0; q < p; q++) {
        if (m[p][q] === 0) continue;
        const theta = (m[q][q] - m[p][p]) / (2 * m[p][q]);
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = t * c;
        for (let j = 0; j < d; j++) [m[p][j], m[q][j]] = [c * m[p][j] - s * m[q][j], s * m[p][j] + c * m[q][j]];
        for (let j = 0; j < d; j++) [m[j][p], m[j][q]] = [c * m[j][p] - s * m[j][q], s * m[j][p] + c * m[j][q]];
      }
    }
  }
  return Math.max(...m.map((row, j) => row[j]));
}

// Relative flatness of the last layer, 2 mean ||phi||^2 ||v||^2, features divided and weights multiplied by `scale`; a
// scale of 0, a neuron that never varies, leaves that neuron out.
function lastLayer(phi, v, scale) {
  const alive = scale.map((s) => s > 0);
  const sum = phi.reduce(
    (total, row) => total + row.reduce((part, f, j) => part + (alive[j] ? (f / scale[j]) ** 2 : 0), 0),
    0,
  );
  return ((2 * sum) / POINTS) * v.reduce((total, s, j) => total + (alive[j] ? (s * scale[j]) ** 2 : 0), 0);
}

// Standard deviation of each feature over the inputs.
function spreads(phi) {
  return phi[0].map((_, j) => {
    const column = phi.map((row) => row[j]);
    const middle = mean(column);
    return Math.sqrt(mean(column.map((f) => (f - middle) ** 2)));
  });
}

// Relative flatness of the last layer as defined, and with each feature divided by its standard deviation or its variance.
function flatness({ v }, phi) {
  const spread = spreads(phi);
  return {
    last: lastLayer(phi, v, v.map(() => 1)),
    sd: lastLayer(phi, v, spread),
    variance: lastLayer(phi, v, spread.map((s) => s * s)),
  };
}

const length = ({ a, b, v, c }) => Math.sqrt(squares([...a, ...b, ...v, c]));

// Everything that the page shows of the weights. `sd` and `variance` leave dead neurons out; `dead` counts them.
export function measures(w) {
  const { loss, hessian, fisher } = curvature(w);
  const phi = features(w);
  const k = w.a.length;
  let first = 0;
  for (let p = 0; p < k; p++) for (let q = 0; q < k; q++) first += w.a[p] * w.a[q] * hessian[p][q];
  const trace = hessian.reduce((sum, row, j) => sum + row[j], 0);
  return {
    loss,
    trace,
    top: topEigenvalue(hessian),
    norm: length(w),
    fisher,
    first,
    ...flatness(w, phi),
    dead: spreads(phi).filter((s) => s === 0).length,
  };
}

// Trace, top eigenvalue, norm and the three flatnesses of the last layer at each alpha, all other settings as they are. The
// Hessian is computed once: where weights are multiplied by D and the function stays, it is multiplied by 1 / D on both
// sides.
export function sweep(w, settings, alphas) {
  const { hessian } = curvature(rescaled(w, { ...settings, alpha: 1 }));
  const k = w.a.length;
  return alphas.map((alpha) => {
    const now = rescaled(w, { ...settings, alpha });
    const shrink = (p) => (p < 2 * k ? 1 / alpha : p < 3 * k ? alpha : 1);
    const scaled = hessian.map((row, p) => row.map((value, q) => value * shrink(p) * shrink(q)));
    return {
      trace: scaled.reduce((sum, row, p) => sum + row[p], 0),
      top: powerIteration(scaled),
      norm: length(now),
      ...flatness(now, features(now)),
    };
  });
}

// Largest eigenvalue for a line on the page: good to a pixel where the next one is near, and to rounding elsewhere.
function powerIteration(matrix, steps = 40) {
  const d = matrix.length;
  const x = Float64Array.from(matrix, (row, p) => Math.sqrt(Math.max(0, row[p])));
  const y = new Float64Array(d);
  let value = 0;
  for (let step = 0; step < steps; step++) {
    let [product, own, size] = [0, 0, 0];
    for (let p = 0; p < d; p++) {
      const row = matrix[p];
      let sum = 0;
      for (let q = 0; q < d; q++) sum += row[q] * x[q];
      y[p] = sum;
      product += x[p] * sum;
      own += x[p] * x[p];
      size += sum * sum;
    }
    value = product / own;
    for (let p = 0; p < d; p++) x[p] = y[p] / Math.sqrt(size);
  }
  return value;
}

// What the twin in Python has, on arrays; a test compares the two.
export function twin() {
  const k = NETWORKS.alive.a.length;
  const named = (w) => ({ a: w.slice(0, k), b: w.slice(k, 2 * k), v: w.slice(2 * k, 3 * k), c: w[3 * k] });
  return { loss: (w) => curvature(named(w)).loss, hessian: (w) => curvature(named(w)).hessian.map((row) => [...row]) };
}
