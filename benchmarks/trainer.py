"""The trainer against a plain loop with a DataLoader, SAM against SGD, and what checkpoints cost."""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset

from flatlab import models
from flatlab.host import Host
from flatlab.training import Train
from flatlab.training.batches import Scale
from flatlab.training.drive import drive
from flatlab.training.examples import Examples
from flatlab.training.trainer import Trainer

BATCH = 128
STEPS = {"lenet5": 40, "resnet20": 6}
REPEATS = 5


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


def source(network):
    """As many random images as an epoch of the benchmark needs: their content does not change the time."""
    n = STEPS[network] * BATCH
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    y = torch.randint(10, (n,), generator=generator)
    return Examples((x, y), (x[:1], y[:1]), "test", Scale(x), 10, "")


def loop(examples, network):
    """An epoch by a plain loop: returns a function that runs one."""
    model = models.build(network, (3, 32, 32), 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(Images(*examples.train, examples.scale), BATCH, shuffle=True, drop_last=True)

    def epoch():
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            assert torch.isfinite(loss)

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


def main():
    """Print the ratios."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for network, steps in STEPS.items():
        setting = Train(network=network, epochs=10_000, augment="crop_flip")
        examples = source(network)
        with tempfile.TemporaryDirectory() as folder:
            runs = {
                "plain loop, DataLoader": loop(examples, network),
                "trainer": trained(examples, setting),
                "trainer, bf16": trained(examples, replace(setting, precision="bf16")),
                "trainer, SAM": trained(examples, replace(setting, method="SAM")),
            }
            times = paired(runs)
            saving = share_of_checkpoints(examples, setting, Path(folder) / "state.safetensors")
        print(f"{network}, batch {BATCH}, one thread, images/s of processor time:")
        slow = times["plain loop, DataLoader"]
        for name, seconds in times.items():
            print(f"  {name:24} {steps * BATCH / seconds:8.0f}   {slow / seconds:5.2f}x the loop")
        print(f"  SAM's epoch is {times['trainer, SAM'] / times['trainer']:.2f} times SGD's")
        print(f"  checkpoints take {saving:.2%} of the time")
    torch.set_num_threads(before)


if __name__ == "__main__":
    main()
