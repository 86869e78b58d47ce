// L = (f1 + f2) / 2 with f_i = min(x^2, c_i (x - 1)^2): two minima of one curvature, whose terms agree at 0 only.
// The twin of landscape.py and of the exit shares in random_product.py.

export const CURVATURES = [0.1, 1.9];
const root = CURVATURES.map(Math.sqrt);
export const INNER = [-root[0] / (1 - root[0]), root[0] / (1 + root[0])]; // both terms are x^2 here
export const OUTER = [root[1] / (1 + root[1]), root[1] / (root[1] - 1)]; // both are parabolas about 1 here

export const term = (x, c) => Math.min(x * x, c * (x - 1) ** 2);
export const loss = (x) => (term(x, CURVATURES[0]) + term(x, CURVATURES[1])) / 2;
export function slope(x, c) {
  const away = x - 1;
  const steep = c * away;
  return 2 * (x * x < steep * away ? x : steep);
}

const MOMENTUM = 0.5;
const both = (x) => (slope(x, CURVATURES[0]) + slope(x, CURVATURES[1])) / 2;

// One step, the t-th, of a particle {x, v} on the term of curvature c (GD takes both).
export const STEPS = {
  SGD: (p, c, lr) => void (p.x -= lr * slope(p.x, c)),
  Momentum: (p, c, lr) => {
    p.v = MOMENTUM * p.v - lr * slope(p.x, c);
    p.x += p.v;
  },
  Nesterov: (p, c, lr, t) => {
    const mu = t / (t + 2);
    p.v = mu * p.v - lr * slope(p.x + mu * p.v, c);
    p.x += p.v;
  },
  SAM: (p, c, lr, _t, rho) => void (p.x -= lr * slope(p.x + rho * Math.sign(slope(p.x, c)), c)),
  "SAM as published": (p, c, lr, _t, rho) => void (p.x -= lr * slope(p.x + rho, c)),
  GD: (p, _c, lr) => void (p.x -= lr * both(p.x)),
};
export const VELOCITY = { Momentum: 0.05, Nesterov: 0.01 }; // at the start

// Learning rates from which x = 1 is unstable: in mean square, and for almost every run in the end. Nesterov's are those
// of its limit, a coefficient of 1. A test computes them anew.
const PLAIN = { meanSquare: 4 / 7.24, almostSure: (4 - Math.sqrt(16 - 6.08)) / 1.52 };
export const THRESHOLDS = {
  SGD: PLAIN,
  Momentum: { meanSquare: 0.43732, almostSure: 0.5657 },
  Nesterov: { meanSquare: 0.21915, almostSure: 0.3029 },
  SAM: PLAIN, // of the linear part of its step
  "SAM as published": PLAIN,
};

// The learning rate from which SAM can leave at all: the climbs from its cycle on the steeper term end beyond the way out.
export const reach = (rho) => (2 * (1 - OUTER[0] - rho)) / (2 * CURVATURES[1] * (1 - OUTER[0]));

// Exact shares of the runs of z <- a z, a one of two factors by chance, outside [low, high] by steps 0, 1, ..., steps.
export function exitShares([a, b], start, low, high, steps) {
  const powers = (factor) => Float64Array.from({ length: steps + 1 }, (_, k) => factor ** k);
  const [ofA, ofB] = [powers(a), powers(b)];
  const inside = new Float64Array(steps + 1);
  inside[0] = 1;
  const shares = [0];
  for (let t = 1; t <= steps; t++) {
    let out = 0;
    for (let k = t; k >= 0; k--) {
      const share = (inside[k] + (k ? inside[k - 1] : 0)) / 2;
      inside[k] = share;
      if (share === 0) continue;
      const z = start * ofA[t - k] * ofB[k];
      if (z < low || z > high) {
        out += share;
        inside[k] = 0;
      }
    }
    shares.push(shares[t - 1] + out);
  }
  return shares;
}

// The exact shares of a method that have left the interval about 1, where there is a formula; else null.
export function leftShares(method, { lr, distance, rho, steps }) {
  const shift = { SGD: 0, "SAM as published": rho }[method]; // SAM as published is SGD at x + rho
  if (shift === undefined) return null;
  const factors = CURVATURES.map((c) => 1 - 2 * lr * c);
  return exitShares(factors, distance + shift, OUTER[0] - 1 + shift, OUTER[1] - 1 + shift, steps);
}

// What the twin in Python has, on arrays; a test compares the two.
export const twin = () => ({
  loss: ([x]) => loss(x),
  grad: ([x]) => [both(x)],
  perSampleGrads: ([x]) => CURVATURES.map((c) => [slope(x, c)]),
});
