// Hutchinson's dice: random vectors v with E[v v'] = I thrown at a symmetric 3 x 3 matrix, [xx, xy, xz, yy, yz, zz].

import { normal, uniform } from "flatlab/explorable/random.mjs";

export const KINDS = ["Rademacher", "Gaussian"];

export const full = ([xx, xy, xz, yy, yz, zz]) => [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]];
export const times = (m, v) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
const inner = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const square = (m) => m.map((row) => times(m, row)); // m is symmetric
export const trace = (m) => m[0][0] + m[1][1] + m[2][2];
const frobenius = (m) => m.reduce((sum, row) => sum + inner(row, row), 0);

// What a throw says: v'Hv of tr(H), |Hv|^2 of tr(H^2).
export function reading(m, v, quantity) {
  const hv = times(m, v);
  return quantity === "trace" ? inner(v, hv) : inner(hv, hv);
}

// The matrix A of v'Av.
export const form = (m, quantity) => (quantity === "trace" ? m : square(m));

// The variance of v'Av over the throws: 2 |A|^2, less twice the squares of the diagonal for signs.
export function variance(a, kind) {
  const diagonal = a[0][0] ** 2 + a[1][1] ** 2 + a[2][2] ** 2;
  return 2 * (frobenius(a) - (kind === "Rademacher" ? diagonal : 0));
}

// The values that signs can throw, each once, ascending: v and -v agree, so four at most.
export function faces(m, quantity) {
  const values = [[1, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1]].map((v) => reading(m, v, quantity));
  return [...new Set(values.map((v) => Number(v.toPrecision(12))))].sort((a, b) => a - b);
}

// A cup of dice of one kind: `throwOne()` gives a v.
export function cup(kind, seed) {
  const [sign, bell] = [uniform(seed), normal(seed + 1)];
  return kind === "Rademacher" ? () => [0, 0, 0].map(() => (sign() < 0.5 ? -1 : 1)) : () => [0, 0, 0].map(() => bell());
}

// Mean and spread of what was read so far, by Welford's update, and a histogram over [low, high], the ends taking what lies
// beyond; `path` keeps [count, mean, standard error] at a few hundred counts.
export const BINS = 61;
export class Tally {
  constructor([low, high]) {
    Object.assign(this, {
      low,
      high,
      count: 0,
      mean: 0,
      squares: 0,
      last: NaN,
      path: [],
      next: 2,
      bins: new Uint32Array(BINS),
    });
  }
  add(value) {
    this.last = value;
    this.count += 1;
    const off = value - this.mean;
    this.mean += off / this.count;
    this.squares += off * (value - this.mean);
    this.bins[Math.max(0, Math.min(BINS - 1, Math.floor(((value - this.low) / (this.high - this.low)) * BINS)))] += 1;
    if (this.count >= this.next) {
      this.path.push([this.count, this.mean, this.stderr]);
      this.next = Math.ceil(this.count * 1.02 + 0.5);
    }
  }
  get variance() {
    return this.count > 1 ? this.squares / (this.count - 1) : NaN;
  }
  get stderr() {
    return Math.sqrt(this.variance / this.count);
  }
}
