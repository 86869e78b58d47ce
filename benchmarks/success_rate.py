"""Figure 4 of the StableSAM paper, whole, and a tenth of it against a straightforward NumPy loop on one thread."""

import os
import tempfile
import time

import numpy as np
import torch

from flatlab.descent import can_fuse
from toy_problems.lucchi import LucchiSuccessRate

SETTING = LucchiSuccessRate(rhos=(0.05, 0.1, 0.2), steps=(1000,), radii=(0.1,))


def numpy_loop(method, rho, rates, starts):
    """What one writes first: all runs in one array, the formulas as they read."""

    def grad(w):
        x, y = w[..., 0], w[..., 1]
        return np.stack([x**3 - y, y - x], axis=-1)

    def direction(w):
        g = grad(w)
        if method == "GD":
            return g
        length = np.linalg.norm(g, axis=-1, keepdims=True)
        s = grad(w + rho * g / length)
        return s if method == "SAM" else s * length / np.linalg.norm(s, axis=-1, keepdims=True)

    w = np.broadcast_to(starts, (len(rates), *starts.shape)).copy()
    for _ in range(1000):
        w = w - rates[:, None, None] * direction(w)
    near = np.minimum(np.linalg.norm(w - 1, axis=-1), np.linalg.norm(w + 1, axis=-1))
    return (near <= 0.1).sum(axis=1)


def main():
    """Print the time of the whole figure, and both times of a tenth of it on one thread, with how far the counts differ."""
    threads, runs = torch.get_num_threads(), len(SETTING.curves()) * SETTING.learning_rates * SETTING.starts
    print(f"Figure 4 whole: {runs:,} trajectories of 1,000 steps, {threads} threads")
    with tempfile.TemporaryDirectory() as cold:  # kernels compiled in earlier runs would flatter the figure
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cold
        began = time.perf_counter()
        fused = can_fuse()
        SETTING.run(lambda line: print("   " + line))
        print(f"   {time.perf_counter() - began:.1f} s in all, compilation {'included' if fused else 'not available'}")

        tenth = SETTING.sample()[: SETTING.starts // 10]
        small = LucchiSuccessRate(rhos=SETTING.rhos, steps=SETTING.steps, radii=SETTING.radii, starts=len(tenth))
        assert torch.equal(small.sample(), tenth), "the tenth of the starts are the first ones of the same sequence"
        torch.set_num_threads(1)  # as NumPy
        small.run()  # compiles
        began = time.process_time()
        counts = small.run()
        ours = time.process_time() - began
        torch.set_num_threads(threads)
    began, differences = time.process_time(), []
    with np.errstate(all="ignore"):
        for curve, (method, _, options) in zip(counts["curves"], SETTING.curves(), strict=True):
            got = numpy_loop(method, options.get("rho"), SETTING.rates().numpy(), tenth.numpy())
            differences.append(np.abs(got - np.array(curve["success"])[:, 0, 0]).max() / len(tenth))
    plain = time.process_time() - began
    how = "compiled before" if fused else "not compiled"
    print(f"A tenth of the starts, one thread, processor time: a NumPy loop {plain:.1f} s, ours {ours:.1f} s ({how})")
    print(f"   ours is {plain / ours:.1f} times faster; counts differ by {1000 * max(differences):.1f} in 1000 at most")
