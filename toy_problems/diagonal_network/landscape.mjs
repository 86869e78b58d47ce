// The twin of landscape.py for one problem: L(u, v) = scale mean_i ((u^2 - v^2) . x_i - y_i)^2, one
// factor at a time. In: x (n x d, row by row), y, d, scale. `side` is +1 for u and -1 for v, `other` the square of the
// other factor with its sign, `rows` the samples of the batch.

export class DiagonalNetwork {
  constructor({ x, y, d, scale }) {
    Object.assign(this, { x, y, d, scale, theta: new Float64Array(d) });
  }

  // Residuals of the rows at side a^2 + other.
  residuals(a, side, other, rows) {
    const { x, y, d, theta } = this;
    for (let j = 0; j < d; j++) theta[j] = side * a[j] * a[j] + other[j];
    return rows.map((i) => {
      let sum = -y[i];
      for (let j = 0, k = i * d; j < d; j++, k++) sum += x[k] * theta[j];
      return sum;
    });
  }

  loss(a, side, other, rows) {
    return (this.scale * this.residuals(a, side, other, rows).reduce((sum, r) => sum + r * r, 0)) / rows.length;
  }

  grad(a, side, other, rows) {
    const { x, d } = this;
    const r = this.residuals(a, side, other, rows);
    const out = new Float64Array(d);
    rows.forEach((i, m) => {
      for (let j = 0, k = i * d; j < d; j++, k++) out[j] += r[m] * x[k];
    });
    const factor = (4 * this.scale * side) / rows.length;
    for (let j = 0; j < d; j++) out[j] *= factor * a[j];
    return out;
  }

  // One gradient a sample.
  samples(a, side, other, rows) {
    const { x, d } = this;
    const factor = 4 * this.scale * side;
    return this.residuals(a, side, other, rows).map((r, m) => {
      const out = new Float64Array(d);
      for (let j = 0, k = rows[m] * d; j < d; j++, k++) out[j] = factor * r * x[k] * a[j];
      return out;
    });
  }
}

const dot = (a, b) => {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += a[j] * b[j];
  return sum;
};

// The ascent of SAM: rho along the gradient, nothing where it is 0.
export function samAscent(g, rho) {
  const length = Math.sqrt(dot(g, g));
  if (!(length > 1e-140 && length < 1e150)) { // squares vanish or overflow
    const largest = g.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    return largest > 0 ? samAscent(g.map((v) => v / largest), rho) : g.map(() => 0);
  }
  return g.map((v) => (rho * v) / length);
}

// The ascent of SAMGCM, rho D^-1 g / sqrt(g . D^-1 g) with D = C + damping I and C the covariance of `samples` about
// their mean g, by the Woodbury identity on as many unknowns as there are samples.
export function gcmAscent(samples, { rho, damping }) {
  const [b, d] = [samples.length, samples[0].length];
  const g = new Float64Array(d);
  for (const s of samples) for (let j = 0; j < d; j++) g[j] += s[j] / b;
  const root = Math.sqrt(b);
  const a = samples.map((s) => s.map((v, j) => (v - g[j]) / root));
  const inner = a.map((row, i) => Float64Array.from(a, (other, j) => dot(row, other) + (i === j ? damping : 0)));
  const y = solve(inner, Float64Array.from(a, (row) => dot(row, g)));
  const x = g.slice();
  a.forEach((row, i) => {
    for (let j = 0; j < d; j++) x[j] -= row[j] * y[i];
  });
  for (let j = 0; j < d; j++) x[j] /= damping;
  const energy = dot(g, x);
  return x.map((v) => (energy > 0 ? (rho * v) / Math.sqrt(energy) : 0));
}

// Elimination with row exchange; `matrix` and `right` are used up.
function solve(matrix, right) {
  const n = right.length;
  for (let k = 0; k < n; k++) {
    let best = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(matrix[i][k]) > Math.abs(matrix[best][k])) best = i;
    [matrix[k], matrix[best], right[k], right[best]] = [matrix[best], matrix[k], right[best], right[k]];
    for (let i = k + 1; i < n; i++) {
      const factor = matrix[i][k] / matrix[k][k];
      for (let j = k; j < n; j++) matrix[i][j] -= factor * matrix[k][j];
      right[i] -= factor * right[k];
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let j = k + 1; j < n; j++) right[k] -= matrix[k][j] * right[j];
    right[k] /= matrix[k][k];
  }
  return right;
}

// The ascent of a method at the factor `a`.
export function ascent(method, net, a, side, other, rows, settings) {
  if (method === "SAM") return samAscent(net.grad(a, side, other, rows), settings.rho);
  return gcmAscent(net.samples(a, side, other, rows), { rho: settings.gcm_rho, damping: settings.damping });
}

// One step on [u, v], in place: v after u and by the new u. Returns the length of the ascent, root mean square of both.
export function step(method, net, factors, rows, settings) {
  let squared = 0;
  for (const k of [0, 1]) {
    const [a, side] = [factors[k], 1 - 2 * k];
    const other = factors[1 - k].map((v) => -side * v * v);
    let at = a;
    if (method !== "SGD") {
      const climb = ascent(method, net, a, side, other, rows, settings);
      squared += dot(climb, climb) / 2;
      at = a.map((v, j) => v + climb[j]);
    }
    const direction = net.grad(at, side, other, rows);
    for (let j = 0; j < a.length; j++) a[j] -= settings.lr * direction[j];
  }
  return Math.sqrt(squared);
}

// What the twin in Python has on the same data, on arrays; a test compares the two.
export function twin({ x, y, scale }) {
  const d = x[0].length;
  const net = new DiagonalNetwork({ x: x.flat(), y, d, scale });
  const rows = y.map((_, i) => i);
  const ofU = (w) => [w.slice(0, d), 1, w.slice(d).map((v) => -v * v), rows];
  const ofV = (w) => [w.slice(d), -1, w.slice(0, d).map((u) => u * u), rows];
  return {
    loss: (w) => net.loss(...ofU(w)),
    grad: (w) => [...net.grad(...ofU(w)), ...net.grad(...ofV(w))],
    perSampleGrads: (w) => net.samples(...ofU(w)).map((u, i) => [...u, ...net.samples(...ofV(w))[i]]),
  };
}
