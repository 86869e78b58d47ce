// L(w) = mean (w1 w2 x - y)^2 / 2: a valley of minima along w1 w2 = b / a. The twin of landscape.py.

import { normal, uniform } from "flatlab/explorable/random.mjs";

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

// Random pairs: x = scale N(0, 1), y = product x + N(0, 1).
export function sample({ n, scale, product, seed }) {
  const draw = normal(seed);
  const x = Float64Array.from({ length: n }, () => scale * draw());
  const y = x.map((v) => product * v + draw());
  return { x, y };
}

// What the loss and its gradient noise depend on: mean x^2, mean x y, and the variance q2 p^2 - 2 q1 p + q0 of r x.
export function moments({ x, y }) {
  const [xx, xy] = [x.map((v) => v * v), x.map((v, i) => v * y[i])];
  const [a, b] = [mean(xx), mean(xy)];
  const spread = (u, v) => mean(u.map((w, i) => w * v[i]));
  const [du, dv] = [xx.map((v) => v - a), xy.map((v) => v - b)];
  return { a, b, q2: spread(du, du), q1: spread(du, dv), q0: spread(dv, dv), yy: mean(y.map((v) => v * v)) };
}

export const loss = ({ a, b, yy }, { x, y }) => (a * (x * y) ** 2 - 2 * b * x * y + yy) / 2;
export const variance = ({ q2, q1, q0 }, p) => q2 * p * p - 2 * q1 * p + q0;
export const minibatchFactor = (n, batch) => (n - batch) / (batch * (n - 1));

// Mean x^2 and mean x y of each of `steps` minibatches, drawn with replacement: [a_1, b_1, a_2, b_2, ...].
export function minibatches({ x, y }, { batch, steps, seed }) {
  const draw = uniform(seed);
  const found = new Float64Array(2 * steps);
  for (let t = 0; t < steps; t++) {
    let [a, b] = [0, 0];
    for (let k = 0; k < batch; k++) {
      const i = Math.floor(draw() * x.length);
      a += x[i] * x[i];
      b += x[i] * y[i];
    }
    found[2 * t] = a / batch;
    found[2 * t + 1] = b / batch;
  }
  return found;
}

// The next (w1, w2) of each method; a, b are the minibatch's, `data` the moments of all pairs, `weight` that of the
// penalty.
export const STEPS = {
  SGD: (w1, w2, a, b, { lr }) => {
    const c = lr * (a * w1 * w2 - b);
    return [w1 - c * w2, w2 - c * w1];
  },
  SAM: (w1, w2, a, b, { lr, rho }) => {
    const c = a * w1 * w2 - b;
    const k = (rho * Math.sign(c)) / (Math.hypot(w1, w2) || 1);
    const [u1, u2] = [w1 + k * w2, w2 + k * w1];
    const far = lr * (a * u1 * u2 - b);
    return [w1 - far * u2, w2 - far * u1];
  },
  COV: (w1, w2, a, b, { lr, weight, data }) => {
    const p = w1 * w2;
    const steep = a * p - b + 2 * weight * (data.q2 * p - data.q1) * (w1 * w1 + w2 * w2);
    const shrink = 2 * weight * variance(data, p);
    return [w1 - lr * (steep * w2 + shrink * w1), w2 - lr * (steep * w1 + shrink * w2)];
  },
};

// A run's points, `every` steps apart, the start first; one that leaves the numbers ends with `divergedAt`.
export function run(method, start, batches, { steps, every, ...options }) {
  const step = STEPS[method];
  let [w1, w2] = [start.x, start.y];
  const [xs, ys] = [[w1], [w2]];
  for (let t = 0; t < steps; t++) {
    [w1, w2] = step(w1, w2, batches[2 * t], batches[2 * t + 1], options);
    if (!(Math.abs(w1) < 1e6 && Math.abs(w2) < 1e6)) return { method, xs, ys, divergedAt: t + 1 };
    if ((t + 1) % every === 0 || t + 1 === steps) {
      xs.push(w1);
      ys.push(w2);
    }
  }
  return { method, xs, ys, divergedAt: null };
}

// The product w1 w2 at the minimum of the loss plus weight V ||w||^2 that is next to the valley; 0 where there is none.
export function restingProduct({ a, b, q2, q1, q0 }, weight) {
  const side = Math.sign(b) || 1;
  const [A, B, C] = [3 * weight * q2, a / 2 - 4 * weight * q1 * side, 2 * weight * q0 - Math.abs(b)];
  const inside = B * B - 2 * A * C;
  if (inside < 0) return 0;
  const root = Math.sqrt(inside);
  return side * Math.max(0, B > 0 ? -C / (B + root) : (root - B) / (2 * A));
}

// What the twin in Python has on the same pairs, on arrays; a test compares the two.
export function twin({ x, y }) {
  const data = moments({ x, y });
  return {
    loss: ([w1, w2]) => loss(data, { x: w1, y: w2 }),
    grad: (w) => STEPS.SGD(...w, data.a, data.b, { lr: 1 }).map((next, k) => w[k] - next),
    gradientNoise: ([w1, w2]) => variance(data, w1 * w2) * (w1 * w1 + w2 * w2),
  };
}
