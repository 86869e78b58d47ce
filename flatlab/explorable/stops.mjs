// The values at which a slider stops: round numbers, the ends of its range, and one more.

// Of two digits, about evenly spaced by ratio: 35 in each power of ten.
const ROUND = Array.from({ length: 90 }, (_, k) => k + 10).filter((m) => m < 20 || (m < 50 ? m % 2 === 0 : m % 5 === 0));

// The least of 1, 2 and 5 times a power of ten that is not below v.
function roundStep(v) {
  const power = Math.floor(Math.log10(v));
  return Number(`${[1, 2, 5, 10].find((m) => m * 10 ** power >= v * (1 - 1e-9))}e${power}`);
}

// From `min` to `max` by ratio (`log`; both above 0) or in equal steps, of 1 if the number is `whole`, else about 200; and
// the number `also`.
export function stopsOf({ min, max, whole = false }, { log = false, step, also }) {
  const between = [];
  if (log) {
    for (let power = Math.floor(Math.log10(min)) - 1; 10 ** power <= max; power++) {
      between.push(...ROUND.map((m) => Number(`${m}e${power - 1}`)));
    }
  } else {
    const by = step ?? (whole ? 1 : roundStep((max - min) / 200));
    for (let k = Math.ceil(min / by); k * by <= max; k++) between.push(Number((k * by).toPrecision(12)));
  }
  const allowed = [min, ...between, also, max].filter((v) => v >= min && v <= max && !(whole && v % 1));
  return [...new Set(allowed)].sort((a, b) => a - b);
}

// The place of the stop that is nearest to v.
export const stopNear = (stops, v) =>
  stops.reduce((best, stop, k) => (Math.abs(stop - v) < Math.abs(stops[best] - v) ? k : best), 0);
