"""Steps on a device "cuda" of fake tensors: `python steps.py DEVICE.so` prints, as JSON, what each case came to.

A case is "sound", or the error that the host met: tensors of two devices in one operation, a number that it waited for, or
a tensor that it fetched. A process of its own, since the device has to be there before torch is.
"""

import ctypes
import json
import sys

ctypes.CDLL(sys.argv[1])

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.optim import SGD  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from flatlab import optim, penalties  # noqa: E402
from flatlab.models import build  # noqa: E402
from flatlab.optim import engine, moved  # noqa: E402
from flatlab.training import Train  # noqa: E402
from flatlab.training.batches import Batches, Scale  # noqa: E402
from flatlab.training.examples import Examples  # noqa: E402
from flatlab.training.trainer import Trainer  # noqa: E402

OPTIMIZERS = [getattr(optim, name) for name in optim.__all__]
OPTIMIZERS = [kind for kind in OPTIMIZERS if isinstance(kind, type) and hasattr(kind, "method")]


class Watched(TorchDispatchMode):
    """Raises where the host fetches a tensor, and where a list of tensors, or an index, is on another device.

    Fake tensors let these pass.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        if name.startswith(("aten::_foreach", "aten::index")):
            kinds = {t.device.type for t in tree_leaves(args) if isinstance(t, torch.Tensor) and t.ndim}
            if len(kinds) > 1:
                raise RuntimeError(f"{name} of tensors on {sorted(kinds)}")
        elif name in ("aten::_to_copy", "aten::copy_"):
            source, target = args[1 if name == "aten::copy_" else 0], out
            if source.device.type == "cuda" and target.device.type == "cpu":
                raise RuntimeError(f"{name} fetches a tensor from the device")
        return out


class Generator:
    """Torch's own on the CPU. On a card it is None: draws then come from the device's default generator."""

    own = torch.Generator

    def __new__(cls, device="cpu"):
        return cls.own() if torch.device(device).type == "cpu" else super().__new__(cls)

    def manual_seed(self, seed):
        return None


def late(*args):
    with unset_fake_temporarily(), torch.device("cpu"):
        return reads_late(*args)


def moved_to(model, device, memory_format=torch.preserve_format):
    """`nn.Module.to`, which swaps a fake parameter for its copy and cannot; here the copy takes its place."""
    for m in model.modules():
        for name, p in m._parameters.items():
            if p is not None:
                layout = memory_format if p.ndim == 4 else torch.preserve_format
                m._parameters[name] = nn.Parameter(p.detach().to(device, memory_format=layout))
        for name, b in m._buffers.items():
            m._buffers[name] = b.to(device)
    return model


# What torch cannot give here: generators, captures, and numbers for the three places that look at them before a first step.
reads_late = engine.reads_late
torch.Generator, engine.reads_late = Generator, late
moved._has_moved = lambda *args: False  # once a buffer: does the forward pass write to it?
penalties._prove = lambda *args: None  # once a model: is its second derivative the right one?
nn.Module.to = moved_to
torch.cuda.is_current_stream_capturing = lambda: False
torch.cuda.get_rng_state, torch.cuda.set_rng_state = lambda *a: torch.zeros(16, dtype=torch.uint8), lambda *a: None


def network():
    with torch.device("cuda"):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def minibatch():
    return torch.randn(8, 3, 8, 8, device="cuda"), torch.zeros(8, dtype=torch.int64, device="cuda")


def optimizer(kind, **options):
    def case():
        model, (x, y) = network(), minibatch()
        opt = kind(SGD(model.parameters(), lr=0.1, momentum=0.9), check_finite=False, **options)

        def closure(x, y):
            opt.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        with Watched():
            for _ in range(2):  # with a memory and without
                assert opt.step(closure, x, y).is_cuda

    return case


def penalty(kind, **options):
    def case():
        model, data = network(), minibatch()
        model[1].eval()
        with Watched():
            kind(model, cross_entropy, data, **options).backward()
        assert model[0].weight.grad.is_cuda

    return case


def minibatches():
    """What the trainer takes in each step: cut, mirrored and scaled on the device."""
    x = torch.zeros(64, 3, 32, 32, dtype=torch.uint8, device="cuda")
    scale = Scale.__new__(Scale)
    scale.mean, scale.deviation = torch.zeros(1, 3, 1, 1, device="cuda"), torch.ones(1, 3, 1, 1, device="cuda")
    labels = torch.zeros(64, dtype=torch.int64, device="cuda")
    batches = Batches(x, labels, size=32, seed=1, scale=scale, augment="crop_flip")
    batches.begin(0)
    with torch.device("cuda"):
        model = build("fast_cifar", (3, 32, 32), 10, width=(4, 4, 4))
    with Watched():
        for k in range(2):
            x, y = batches[k]
            cross_entropy(model(x), y, label_smoothing=0.1).backward()
    assert x.is_cuda and model.bias.grad.is_cuda


def training(**given):
    """Two of the trainer's own steps: examples and network come to it on the CPU."""

    def case():
        x, y = torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64)
        setting = Train(**{"network": "lenet5", "augment": "crop_flip", "batch": 32, "epochs": 1} | given)
        job = Trainer(setting, Examples((x, y), (x[:8], y[:8]), "test", Scale(x), 10, ""), torch.device("cuda"))
        job.batches.begin(0)
        job.model.train()
        with Watched():
            for k in range(2):
                job.losses[k] = job._step(*job.batches[k])
        assert job.samples >= 64 and job.losses.is_cuda and next(job.model.parameters()).grad.is_cuda

    return case


def a_number():
    float(torch.ones(3, device="cuda").sum())


def two_devices():
    torch.ones(3, device="cuda") + torch.ones(3)


def a_fetched_tensor():
    with Watched():
        torch.ones(3, device="cuda").cpu()


def a_list_on_two_devices():
    with Watched():
        torch._foreach_mul_([torch.ones(3, device="cuda"), torch.ones(3)], 2.0)


def an_index_left_behind():
    with Watched():
        torch.ones(3, device="cuda")[torch.tensor([0, 2])]


CASES = {kind.__name__: optimizer(kind, **({"m": 4} if "m" in kind.method.options else {})) for kind in OPTIMIZERS}
CASES |= {
    "fa": penalty(penalties.hessian_frobenius_penalty, probes=2),
    "cov": penalty(penalties.gradient_noise_penalty, batch_size=8, population=100),
    "minibatches": minibatches,
    "training": training(schedule="triangle", nesterov=True),
    "training, SAM": training(method="SAM", network="fast_cifar", width=(4, 4, 4)),
    "training, Adam": training(base="Adam"),
    "training, fa": training(fa=0.1),
    "training, cov": training(cov=0.1),
    "a number": a_number,
    "two devices": two_devices,
    "a fetched tensor": a_fetched_tensor,
    "a list on two devices": a_list_on_two_devices,
    "an index left behind": an_index_left_behind,
}


MODE = FakeTensorMode()  # one for all: an optimizer looks for its modules among those of the cases before


def outcome(case):
    try:
        with MODE:
            case()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "sound"


if __name__ == "__main__":
    for name, case in CASES.items():
        print(json.dumps([name, outcome(case)]), flush=True)
