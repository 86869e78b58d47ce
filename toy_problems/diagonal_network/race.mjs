// SGD, SAM and SAMGCM on one problem of sparse regression, epoch by epoch. In: the settings of the problem and the
// methods; out, an epoch: each lane's coefficients, test loss, training loss, l1 norm and length of ascent.

import { normal, uniform } from "flatlab/explorable/random.mjs";
import { DiagonalNetwork, step } from "./landscape.mjs";

export const LANES = ["SGD", "SAM", "SAMGCM"];
export const FIXED = { noise: 0.2, value: 1, scale: 0.25, lr: 0.05, batch: 10, epochs: 400 };

// Data, start and truth of the problem with this seed. The true coefficients stand apart, so that each is seen.
export function draw({ features: d, samples: n, nonzeros, init, seed }) {
  const noise = normal(seed);
  const support = Array.from({ length: nonzeros }, (_, k) => Math.floor(((k + 0.5) * d) / nonzeros));
  const truth = Float64Array.from({ length: d }, (_, j) => (support.includes(j) ? FIXED.value : 0));
  const x = Float64Array.from({ length: n * d }, noise);
  const y = Float64Array.from({ length: n }, (_, i) => {
    let sum = FIXED.noise * noise();
    for (const j of support) sum += x[i * d + j] * FIXED.value;
    return sum;
  });
  const start = [0, 1].map(() => Float64Array.from({ length: d }, () => init * noise()));
  return { net: new DiagonalNetwork({ x, y, d, scale: FIXED.scale }), truth, start, n };
}

// Inputs are standard normal, so the expected test loss has a closed form: scale |theta - truth|^2.
function read(net, factors, truth, all, ascentLength) {
  const [u, v] = factors;
  const theta = u.map((a, j) => a * a - v[j] * v[j]);
  let [error, l1] = [0, 0];
  for (let j = 0; j < theta.length; j++) {
    error += (theta[j] - truth[j]) ** 2;
    l1 += Math.abs(theta[j]);
  }
  return { theta, test: net.scale * error, train: net.loss(u, 1, v.map((b) => -b * b), all), l1, length: ascentLength };
}

// Iterates over the lanes at the start and after every epoch. A lane that diverges stays where it last was finite.
export function race(settings) {
  return epochsOf(settings);
}

function* epochsOf(settings) {
  const { net, truth, start, n } = draw(settings);
  const draws = uniform(settings.seed); // the batches; apart from the data's, so that all settings share one order
  const all = Array.from({ length: n }, (_, i) => i);
  const lanes = Object.fromEntries(LANES.map((name) => [name, start.map((a) => a.slice())]));
  const last = {};
  for (const name of LANES) last[name] = { ...read(net, lanes[name], truth, all, 0), divergedAt: 0 };
  yield { epoch: 0, truth, lanes: last };
  for (let epoch = 1; epoch <= FIXED.epochs; epoch++) {
    const order = shuffled(all, draws);
    for (const name of LANES) {
      if (last[name].divergedAt) continue;
      let length = 0;
      for (let at = 0; at < n; at += FIXED.batch) {
        length += step(name, net, lanes[name], order.slice(at, at + FIXED.batch), { ...FIXED, ...settings });
      }
      const now = read(net, lanes[name], truth, all, (length * FIXED.batch) / n);
      if (now.test < 1e6) last[name] = { ...now, divergedAt: 0 };
      else last[name] = { ...last[name], divergedAt: epoch };
    }
    yield { epoch, truth, lanes: last };
  }
}

function shuffled(items, draws) {
  const out = items.slice();
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(draws() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

// Answers a request {id, settings} by a stream of {id, epochs, done}; a newer request ends the older one.
export function serve(scope) {
  let running = 0;
  scope.onmessage = ({ data: { id, settings } }) => {
    const mine = ++running;
    const steps = race(settings);
    const slice = () => {
      if (mine !== running) return;
      const [until, epochs] = [performance.now() + 30, []];
      let item;
      do {
        item = steps.next();
        if (!item.done) epochs.push({ ...item.value, lanes: { ...item.value.lanes } });
      } while (!item.done && performance.now() < until);
      scope.postMessage({ id, epochs: thinned(epochs), done: item.done });
      if (!item.done) setTimeout(slice, 0);
    };
    slice();
  };
}

// Coefficients travel with the last epoch of a slice only: no frame shows the others.
function thinned(epochs) {
  return epochs.map((e, k) => ({
    ...e,
    lanes: Object.fromEntries(
      Object.entries(e.lanes).map((
        [name, { theta, ...rest }],
      ) => [name, k === epochs.length - 1 ? { theta, ...rest } : rest]),
    ),
  }));
}
