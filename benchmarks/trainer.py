"""Seconds an epoch: the trainer against plain loops in the same precision, SAM against SGD; what checkpoints cost."""

import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from flatlab import models
from flatlab.runs.host import Host
from flatlab.training import Train
from flatlab.training.batches import Batches, Scale
from flatlab.training.drive import drive
from flatlab.training.examples import Examples
from flatlab.training.trainer import Trainer

BATCH = 128
EPOCH = 50_000 // BATCH
NETWORKS = {
    "lenet5": ("lenet5", None, 40),
    "resnet20": ("resnet20", None, 6),
    "fast_cifar 64/256/256": ("fast_cifar", (64, 256, 256), 3),
    "fast_cifar 32/128/128": ("fast_cifar", (32, 128, 128), 8),
}
"""Network, width, and the steps that are timed at a time."""
REPEATS = 5
PATIENCE = 4.0
"""Processor seconds a step beyond which a precision is not timed: the processor has no arithmetic of that kind."""


class Images(Dataset):
    """Images in the way that most training scripts read them: one by one, cropped, mirrored and scaled on the fly."""

    def __init__(self, x, y, scale):
        self.x, self.y, self.scale = x, y, scale

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        framed = pad(self.x[i].float().div(255), [4] * 4)
        down, right = torch.randint(9, (2,)).tolist()
        image = framed[:, down : down + 32, right : right + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image - self.scale.mean[0] / 255) / (self.scale.deviation[0] / 255), self.y[i]


def source(steps):
    """As many random images as that many steps need: their content does not change the time."""
    n = steps * BATCH
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    y = torch.randint(10, (n,), generator=generator)
    return Examples((x, y), (x[:1], y[:1]), "test", Scale(x), 10, "")


def loop(model, batches, precision):
    """An epoch over `batches()` by a plain loop: returns a function that runs one."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def epoch():
        model.train()
        for x, y in batches():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                outputs = model(x)
            loss = cross_entropy(outputs.float(), y)
            loss.backward()
            optimizer.step()
            assert torch.isfinite(loss)

    return epoch


def image_by_image(examples):
    """Batches as most training scripts read them."""
    loader = DataLoader(Images(*examples.train, examples.scale), BATCH, shuffle=True, drop_last=True)
    return lambda: loader


def batch_by_batch(examples, layout):
    """The trainer's own batches: with its memory format, too, what is left of the difference is the trainer's."""
    how = {"size": BATCH, "seed": 1, "scale": examples.scale, "augment": "crop_flip"}
    batches = Batches(*examples.train, **how)

    def epoch():
        batches.begin(0)
        for k in range(len(batches)):
            x, y = batches[k]
            yield x.contiguous(memory_format=layout), y

    return epoch


def trained(examples, setting):
    """The same epoch by the trainer."""
    trainer = Trainer(setting, examples, torch.device("cpu"))

    def epoch():
        for _ in trainer.advance():
            pass

    return epoch


def share_of_checkpoints(examples, setting, file):
    """Wall time of a run's checkpoints over that of the run."""
    host, seconds, keep = Host(file), [], Host.keep

    def timed(*state):
        began = time.perf_counter()
        keep(host, *state)
        seconds.append(time.perf_counter() - began)

    host.keep = timed
    began = time.perf_counter()
    drive(Trainer(replace(setting, epochs=10), examples, torch.device("cpu")), host)
    return sum(seconds) / (time.perf_counter() - began)


def paired(runs, clock=time.process_time):
    """Median seconds of each, taken in turn."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(REPEATS):
        for name, run in runs.items():
            began = clock()
            run()
            times[name].append(clock() - began)
    return {name: statistics.median(v) for name, v in times.items()}


def ways(examples, setting):
    """One epoch of the same work, each in its way."""
    precision, last = setting.precision, torch.channels_last
    build = partial(models.build, setting.network, (3, 32, 32), 10, width=setting.width)
    compiled = torch.compile(build().to(memory_format=last))
    can = {"and compiled": loop(compiled, batch_by_batch(examples, last), precision)} if shutil.which("g++") else {}
    return {
        "plain loop, image by image": loop(build(), image_by_image(examples), precision),
        "plain loop, our batches": loop(build(), batch_by_batch(examples, torch.contiguous_format), precision),
        "the same, channels last": loop(build().to(memory_format=last), batch_by_batch(examples, last), precision),
        **can,
        "trainer, SGD": trained(examples, setting),
        "trainer, SAM": trained(examples, replace(setting, method="SAM")),
    }


def bearable(examples, setting):
    """Whether a step takes less than `PATIENCE` seconds of processor time: on a busy machine every step takes long."""
    few = replace(examples, train=tuple(t[: 2 * BATCH] for t in examples.train))
    epoch = trained(few, setting)
    began = time.process_time()
    epoch()
    return time.process_time() - began < 2 * PATIENCE


def operations(examples, setting):
    """Multiplications and additions of a step of SGD."""
    few = replace(examples, train=tuple(t[:BATCH] for t in examples.train))
    with FlopCounterMode(display=False) as counter:
        trained(few, setting)()
    images, evaluated = 3 * BATCH, len(few.held[1])  # forward and twice that backward; the held-out ones forward alone
    return counter.get_total_flops() * images / (images + evaluated)


def fastest(precision, side=2048):
    """Operations a second of a product of two large matrices: what a network of that precision could reach at best."""
    a, b = (torch.randn(side, side, dtype=torch.bfloat16 if precision == "bf16" else torch.float32) for _ in range(2))
    seconds = paired({"product": lambda: a @ b})["product"]
    return 2 * side**3 / seconds


def main():
    """Print the seconds and the ratios."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, (network, width, steps) in NETWORKS.items():
        examples = source(steps)
        setting = Train(network=network, width=width, epochs=10_000, augment="crop_flip")
        for precision in ("fp32", "bf16"):
            print(f"{name}, {precision}, batch {BATCH}, one thread, processor time:")
            chosen = replace(setting, precision=precision)
            if not bearable(examples, chosen):
                print(f"  not timed: a step takes more than {PATIENCE:g} s on this processor")
                continue
            times = paired(ways(examples, chosen))
            ours = times["trainer, SGD"]
            for way, seconds in times.items():
                whole, rate = EPOCH * seconds / steps, steps * BATCH / seconds
                print(f"  {way:30} {whole:6.0f} s an epoch, {rate:6.0f} images/s, {seconds / ours:5.2f}x", flush=True)
            rate, best = operations(examples, chosen) * steps / ours, fastest(precision)
            print(f"  its arithmetic: {rate / 1e9:.0f} GFLOP/s, {rate / best:.0%} of a large matrix product's", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            saving = share_of_checkpoints(examples, setting, Path(folder) / "state.safetensors")
        print(f"  checkpoints take {saving:.2%} of the time")
    torch.set_num_threads(before)


if __name__ == "__main__":
    main()
