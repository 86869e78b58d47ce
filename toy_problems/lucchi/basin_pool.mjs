// Workers that fill a basin map: a few for each method, started when the method is first asked for.

import { CELLS, mirrored } from "./basin.mjs";
import program from "./basin_worker.mjs?text";

export class BasinPool {
  constructor() {
    this.size = Math.max(2, Math.min(4, navigator.hardwareConcurrency || 2));
    this.crews = new Map();
    this.url = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  }

  // Resolves to the fates of all CELLS x CELLS starts, or to null if a newer request has come in between.
  async map(settings) {
    this.wanted = settings;
    if (this.busy) await this.busy;
    if (this.wanted !== settings) return null;
    this.busy = this.#ask(settings);
    const fates = await this.busy;
    this.busy = null;
    return fates;
  }

  async #ask(settings) {
    if (!this.crews.has(settings.method)) {
      this.crews.set(settings.method, Array.from({ length: this.size }, () => new Worker(this.url)));
    }
    const rows = CELLS / 2 / this.size;
    const parts = this.crews.get(settings.method).map(
      (worker, k) =>
        new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = (event) => reject(new Error(`basin map: ${event.message}`));
          worker.postMessage({ ...settings, from: k * rows, to: (k + 1) * rows });
        }),
    );
    const lower = new Uint8Array((CELLS * CELLS) / 2);
    (await Promise.all(parts)).forEach((part, k) => lower.set(part, k * rows * CELLS));
    return mirrored(lower);
  }

  stop() {
    for (const crew of this.crews.values()) crew.forEach((worker) => worker.terminate());
    this.crews.clear();
    URL.revokeObjectURL(this.url);
  }
}
