// Two Gaussian valleys in a shallow bowl, L + weight tr(H^2) on them, and descent on that. The twin of landscape.py.

export const HALF_WIDTH = 2; // the plane of starts is [-2, 2]^2
const BOWL = 0.1;
const VALLEYS = [
  { depth: 1.15, x: -0.9, y: 0, px: 1 / 0.2 ** 2, py: 1 / 0.7 ** 2 }, // sharp
  { depth: 1.0, x: 0.9, y: 0, px: 1 / 0.6 ** 2, py: 1 / 0.9 ** 2 }, // flat
];

// Loss, gradient, Hessian (xx, xy, yy), curvature = tr(H^2) and its gradient (cx, cy), written into `out`.
export function look(x, y, out = {}) {
  let [loss, gx, gy, xx, xy, yy] = [(BOWL / 2) * (x * x + y * y), BOWL * x, BOWL * y, BOWL, 0, BOWL];
  for (const v of VALLEYS) {
    const [dx, dy] = [x - v.x, y - v.y];
    const e = v.depth * Math.exp(-(v.px * dx * dx + v.py * dy * dy) / 2);
    const [zx, zy] = [v.px * dx, v.py * dy];
    loss -= e;
    gx += e * zx;
    gy += e * zy;
    xx += e * (v.px - zx * zx);
    xy -= e * zx * zy;
    yy += e * (v.py - zy * zy);
  }
  let [cx, cy] = [0, 0];
  for (const v of VALLEYS) {
    const [dx, dy] = [x - v.x, y - v.y];
    const e = v.depth * Math.exp(-(v.px * dx * dx + v.py * dy * dy) / 2);
    const [zx, zy] = [v.px * dx, v.py * dy];
    const [hx, hy] = [xx * zx + xy * zy, xy * zx + yy * zy];
    const along = zx * hx + zy * hy - (v.px * xx + v.py * yy);
    cx += 2 * e * (along * zx - 2 * v.px * hx);
    cy += 2 * e * (along * zy - 2 * v.py * hy);
  }
  return Object.assign(out, { loss, gx, gy, xx, xy, yy, cx, cy, curvature: xx * xx + 2 * xy * xy + yy * yy });
}

export function eigenvalues({ xx, xy, yy }) {
  const [middle, spread] = [(xx + yy) / 2, Math.hypot((xx - yy) / 2, xy)];
  return [middle - spread, middle + spread];
}

export const penalized = (x, y, weight) => {
  const at = look(x, y);
  return at.loss + weight * at.curvature;
};

// Descent on L + weight tr(H^2) from (x, y), with a rate that halves where the surface would not fall and else grows by
// half; no step is longer than REACH. Ends at a slope below 1e-6. `visit(x, y)` sees every point, the start first.
const REACH = 0.05;
export function descend(x, y, weight, { steps = 2000, visit = null } = {}) {
  const scratch = [{}, {}];
  let [at, rate] = [look(x, y, scratch[0]), 0.1];
  for (let t = 0; t < steps; t++) {
    visit?.(x, y);
    const [gx, gy] = [at.gx + weight * at.cx, at.gy + weight * at.cy];
    const slope = Math.sqrt(gx * gx + gy * gy);
    if (slope < 1e-6) break;
    rate = Math.min(rate, REACH / slope);
    const next = look(x - rate * gx, y - rate * gy, scratch[at === scratch[0] ? 1 : 0]);
    if (next.loss + weight * next.curvature <= at.loss + weight * at.curvature - 0.1 * rate * slope * slope) {
      [x, y, at, rate] = [x - rate * gx, y - rate * gy, next, 1.5 * rate];
    } else rate /= 2;
  }
  visit?.(x, y);
  return { x, y };
}

// In which valley a point is: within two widths of its middle. The flat one is asked second.
export const FATES = ["sharp", "flat", "outside"];
export function fate({ x, y }) {
  const inside = VALLEYS.findIndex((v) => v.px * (x - v.x) ** 2 + v.py * (y - v.y) ** 2 <= 4);
  return inside < 0 ? 2 : inside;
}

// Fates of CELLS x CELLS starts, row by row from the bottom. Both surfaces are mirror images in y: half is computed.
export const CELLS = 64;
const ENOUGH = 400; // steps to be in a valley; to come to rest in it takes more
export function basins(weight) {
  const out = new Uint8Array(CELLS * CELLS);
  const centre = (k) => ((k + 0.5) / CELLS) * 2 * HALF_WIDTH - HALF_WIDTH;
  for (let row = 0; row < CELLS / 2; row++) {
    for (let column = 0; column < CELLS; column++) {
      out[row * CELLS + column] = out[(CELLS - 1 - row) * CELLS + column] = fate(
        descend(centre(column), centre(row), weight, { steps: ENOUGH }),
      );
    }
  }
  return out;
}

// The minima of L + weight tr(H^2) on the axis y = 0: where its slope there turns from falling to rising, by bisection.
export function axisMinima(weight) {
  const slope = (x) => {
    const at = look(x, 0);
    return at.gx + weight * at.cx;
  };
  const found = [];
  const count = 800;
  const place = (k) => -HALF_WIDTH + (2 * HALF_WIDTH * k) / count;
  let before = slope(place(0));
  for (let k = 1; k <= count; k++) {
    const now = slope(place(k));
    if (before < 0 && now >= 0) {
      let [low, high] = [place(k - 1), place(k)];
      for (let i = 0; i < 45; i++) {
        const middle = (low + high) / 2;
        if (slope(middle) < 0) low = middle;
        else high = middle;
      }
      found.push((low + high) / 2);
    }
    before = now;
  }
  return found;
}

export function serve(scope) {
  scope.onmessage = ({ data: { id, weight } }) => scope.postMessage({ id, fates: basins(weight) });
}

// What the twin in Python has, on arrays; a test compares the two.
export const twin = () => ({
  loss: ([x, y]) => look(x, y).loss,
  grad: ([x, y]) => [look(x, y).gx, look(x, y).gy],
  hessian: ([x, y]) => [[look(x, y).xx, look(x, y).xy], [look(x, y).xy, look(x, y).yy]],
  hessianFrobenius: ([x, y]) => look(x, y).curvature,
  hessianFrobeniusGrad: ([x, y]) => [look(x, y).cx, look(x, y).cy],
});
