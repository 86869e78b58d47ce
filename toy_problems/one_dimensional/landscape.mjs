// Losses of one weight, each with a primitive and the points where it may peak: the twin of landscape.py.
// Averages and maxima over an interval are then exact. `peaks` are in increasing order.

const sech2 = (t) => 1 - Math.tanh(t) ** 2;
const clip = (t, low, high) => Math.min(high, Math.max(low, t));

// top minus wells [depth, centre, width], plus a triangular needle [centre, height, half-width] or none.
function wells(top, list, needle = null) {
  const tent = (x) => (needle ? needle[1] * Math.max(0, 1 - Math.abs(x - needle[0]) / needle[2]) : 0);
  const value = (x) => top - list.reduce((sum, [depth, c, s]) => sum + depth * sech2((x - c) / s), 0) + tent(x);
  const primitive = (x) => {
    let out = top * x - list.reduce((sum, [depth, c, s]) => sum + depth * s * Math.tanh((x - c) / s), 0);
    if (needle) {
      const t = clip((x - needle[0]) / needle[2], -1, 1);
      out += needle[1] * needle[2] * (t - (t * Math.abs(t)) / 2);
    }
    return out;
  };
  const slope = (x) =>
    list.reduce((sum, [depth, c, s]) => sum + ((2 * depth) / s) * Math.tanh((x - c) / s) * sech2((x - c) / s), 0);
  const centres = list.map(([, c]) => c);
  let [low, high] = [Math.min(...centres) + 0.01, Math.max(...centres) - 0.01];
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (slope(middle) > 0) low = middle;
    else high = middle;
  }
  return { value, primitive, peaks: needle ? [low, needle[0]] : [low] };
}

const kink = { value: Math.abs, primitive: (x) => (x * Math.abs(x)) / 2, peaks: [] };

const step = {
  value: (x) => (x <= 0 ? 0.2 - 0.35 * x : 0.5),
  primitive: (x) => (x <= 0 ? 0.2 * x - 0.175 * x * x : 0.5 * x),
  peaks: [],
};

// A Takagi-Landsberg curve upside down; see the twin.
function rough(alpha = 0.5, terms = 11, height = 0.55) {
  const ratios = Array.from({ length: terms }, (_, k) => 2 ** (-alpha * k));
  const sum = (x, f) => {
    const t = clip((x + 2) / 4, 0, 1);
    let total = 0;
    for (let k = 0; k < terms; k++) {
      const scaled = t * 2 ** k;
      total += f(scaled, scaled - Math.floor(scaled + 0.5), k);
    }
    return total;
  };
  return {
    value: (x) => 1 - height * sum(x, (_scaled, r, k) => ratios[k] * Math.abs(r)),
    primitive: (x) =>
      x - 4 * height * sum(x, (scaled, r, k) => (ratios[k] / 2 ** k) * ((scaled - r) / 4 + (r * Math.abs(r)) / 2)),
    peaks: Array.from({ length: 2 ** terms + 1 }, (_, k) => (4 * k) / 2 ** terms - 2),
  };
}

// The broken line through a table's values, level beyond its ends.
export function table({ start, step, values }) {
  const sums = [0];
  for (let k = 1; k < values.length; k++) sums.push(sums[k - 1] + (step * (values[k] + values[k - 1])) / 2);
  const end = start + step * (values.length - 1);
  const cell = (x) => {
    const t = (x - start) / step;
    const k = clip(Math.floor(t), 0, values.length - 2);
    return [k, clip(t - k, 0, 1)];
  };
  return {
    value: (x) => {
      const [k, f] = cell(x);
      return values[k] + f * (values[k + 1] - values[k]);
    },
    primitive: (x) => {
      const [k, f] = cell(x);
      const inside = sums[k] + step * (f * values[k] + (f * f * (values[k + 1] - values[k])) / 2);
      return inside + Math.min(x - start, 0) * values[0] + Math.max(x - end, 0) * values[values.length - 1];
    },
    peaks: values.map((_, k) => start + step * k),
  };
}

export const CURVES = {
  wells: wells(0.9, [[0.85, -0.9, 0.12], [0.6, 0.6, 0.6]]),
  needle: wells(0.9, [[0.45, -1.2, 0.6], [0.75, 0.6, 0.5]], [0.6, 0.7, 0.02]),
  kink,
  step,
  rough: rough(),
};

export const average = (
  { value, primitive },
  w,
  rho,
) => (rho === 0 ? value(w) : (primitive(w + rho) - primitive(w - rho)) / (2 * rho));

// Mean of |L(w + u) - average| over |u| <= rho, by the midpoint rule.
export function oscillation(curve, w, rho, midpoints = 200) {
  const mean = average(curve, w, rho);
  let total = 0;
  for (let j = 0; j < midpoints; j++) total += Math.abs(curve.value(w + rho * (((j + 0.5) * 2) / midpoints - 1)) - mean);
  return total / midpoints;
}

// Maximum of L over [w - rho, w + rho] for every w of an increasing row: the peaks inside wait in a queue, falling in
// height.
export function maxima(curve, ws, rho) {
  const { value, peaks } = curve;
  curve.heights ??= peaks.map(value); // once: a rough curve has two thousand
  const heights = curve.heights;
  const queue = [];
  let [first, next] = [0, 0];
  return ws.map((w) => {
    for (; next < peaks.length && peaks[next] - w <= rho; next++) {
      while (queue.length > first && heights[queue[queue.length - 1]] <= heights[next]) queue.pop();
      queue.push(next);
    }
    while (first < queue.length && w - peaks[queue[first]] > rho) first++;
    const top = first < queue.length ? heights[queue[first]] : -Infinity;
    return Math.max(top, value(w - rho), value(w + rho), value(w));
  });
}

export const GRID = Array.from({ length: 513 }, (_, k) => k / 128 - 2);

// Loss, average and maximum on the grid, and where each is least; of several places, the leftmost.
export function rows(curve, rho) {
  curve.row ??= GRID.map(curve.value);
  const all = { loss: curve.row, average: GRID.map((w) => average(curve, w, rho)), maximum: maxima(curve, GRID, rho) };
  const lowest = Object.fromEntries(
    Object.entries(all).map(([name, row]) => {
      const least = Math.min(...row);
      return [name, GRID[row.findIndex((v) => v <= least + 1e-12)]];
    }),
  );
  return { ...all, lowest };
}

// What the twin in Python has of one curve, on arrays; a test compares the two.
export function twin({ name, table: values }) {
  const { value, primitive } = values ? table(values) : CURVES[name];
  return { loss: ([x]) => value(x), primitive: ([x]) => [primitive(x)] };
}
