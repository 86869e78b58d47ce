"""A step of the optimizers and penalties against the plain passes and a peer, in one run on one thread."""

import ctypes
import importlib.util
import random
import resource
import statistics
import subprocess
import sys
import time
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab import optim
from flatlab.methods import METHODS
from flatlab.models import build
from flatlab.optim import SAM, StableSAM
from flatlab.penalties import hessian_frobenius_penalty

PEER = "pytorch_optimizer"


def mlp():
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def narrow():
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(150)))


def resnet20():
    return build("resnet20", (3, 32, 32), 10)


def sam_steps(network, x, y):
    """Functions that make one step each, by name: two plain passes and an SGD step, our methods, the peer's."""

    def closure_for(net, opt):
        def closure():
            opt.zero_grad()
            loss = cross_entropy(net(x), y)
            loss.backward()
            return loss

        return closure

    def plain():
        net = network()
        opt = SGD(net.parameters(), lr=0.01, momentum=0.9)
        closure = closure_for(net, opt)

        def step():
            closure()
            closure()
            opt.step()

        return step

    def ours(method):
        net = network()
        opt = method(SGD(net.parameters(), lr=0.01, momentum=0.9), rho=0.05)
        closure = closure_for(net, opt)
        return lambda: opt.step(closure)

    def peer():
        from pytorch_optimizer import SAM as Peer

        net = network()
        opt = Peer(net.parameters(), SGD, rho=0.05, lr=0.01, momentum=0.9)
        closure = closure_for(net, opt)

        def step():
            closure()
            opt.step(closure)

        return step

    steps = {"two passes": plain(), "SAM": ours(SAM), "StableSAM": ours(StableSAM)}
    return steps | ({"peer": peer()} if importlib.util.find_spec(PEER) else {})


def method_steps(method, network, x, y):
    """A method's step, and as many plain passes over as much data with one SGD step: what is left is the method's own."""

    def made(wrap):
        torch.manual_seed(0)
        net = network()
        opt = wrap(SGD(net.parameters(), lr=0.001, momentum=0.9))

        def closure(x, y):
            opt.zero_grad()
            loss = cross_entropy(net(x), y)
            loss.backward()
            return loss

        return opt, closure

    parts = {"m": len(x) // 2} if "m" in method.method.options else {}
    opt, closure = made(lambda base: method(base, rho=0.05, **parts))
    sizes = []
    opt.step(lambda x, y: sizes.append(len(x)) or closure(x, y), x, y)
    base, plain = made(lambda base: base)

    def passes():
        for size in sizes:
            plain(x[:size], y[:size])
        base.step()

    return {"step": lambda: opt.step(closure, x, y), "passes": passes}


def memory(kind):
    """Bytes that a step of an MLP of 40 million parameters needs at its peak, over those of the parameters."""
    net = nn.Sequential(*(nn.Linear(2000, 2000) for _ in range(10)))
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    x, y = torch.randn(8, 2000), torch.randint(2000, (8,))

    def closure():
        opt.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        return loss

    if kind == "peer":
        from pytorch_optimizer import SAM as Peer

        opt = Peer(net.parameters(), SGD, rho=0.05, lr=0.01, momentum=0.9)
    else:
        opt = SGD(net.parameters(), lr=0.01, momentum=0.9)
        opt = opt if kind == "SGD" else getattr(optim, kind)(opt, rho=0.05)
    for _ in range(3):
        if kind in ("SGD", "peer"):
            closure()
        opt.step(closure)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / size


def print_memory():
    """One process each: the peak of a process never falls."""
    kinds = ["SGD", "SAM", "StableSAM", "CSAM", "LSAM", *(["peer"] if importlib.util.find_spec(PEER) else [])]
    code = "import sys; from benchmarks.optimizers import memory; print(memory(sys.argv[1]))"
    peaks = {}
    for kind in kinds:
        told = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True).stdout
        peaks[kind] = float(told)
    print("  Peak memory of a process with 40 million parameters, in multiples of the parameters:")
    print("    " + ", ".join(f"{kind} {peak:.2f}" for kind, peak in peaks.items()))


def penalty_steps(network, x, y):
    """One plain step, and one with the penalty."""
    net = network()
    opt = SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step(penalized):
        opt.zero_grad()
        loss = cross_entropy(net(x), y)
        if penalized:
            loss = loss + 0.01 * hessian_frobenius_penalty(net, cross_entropy, (x, y), probes=5)
        loss.backward()
        opt.step()

    return {"plain": lambda: step(False), "penalized": lambda: step(True)}


def rounds(steps, count, idle=3):
    """`{name: seconds of each round}` after some idle ones; the order is drawn anew, as each leaves the caches to the
    next.
    """
    times = {name: [] for name in steps}
    shuffle = random.Random(0)
    for i in range(count + idle):
        for name in shuffle.sample(list(steps), len(steps)):
            began = time.perf_counter()
            steps[name]()
            if i >= idle:
                times[name].append(time.perf_counter() - began)
    return times


def keep_memory():
    """Tells glibc to hold on to freed memory: who pays for page faults is otherwise a matter of luck, up to 15%."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD


def ratio(times, one, other):
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


def main():
    """Print medians of the ratios, round by round."""
    keep_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image_batch = torch.randn(128, 3, 32, 32), torch.randint(10, (128,))
    flat_batch = torch.randn(128, 784), torch.randint(10, (128,))
    resnet56 = partial(build, "resnet56", (3, 32, 32), 10)
    small = ("ResNet-56, batch 8", resnet56, (torch.randn(8, 3, 32, 32), torch.randint(10, (8,))), 15)
    many = ("300 small tensors, batch 32", narrow, (torch.randn(32, 8), torch.randint(8, (32,))), 60)
    print("Optimizers, one thread: medians of ratios within a round")
    for title, network, batch, count in (
        ("MLP 784-128-128-10, batch 128", mlp, flat_batch, 400),
        ("ResNet-20, batch 128", resnet20, image_batch, 12),
        small,
        many,
    ):
        times = rounds(sam_steps(network, *batch), count)
        print(f"  {title}: a SAM step takes {statistics.median(times['SAM']) * 1e3:.2f} ms")
        print(f"    over two plain passes and an SGD step  {ratio(times, 'SAM', 'two passes'):.3f}")
        print(f"    StableSAM over SAM                     {ratio(times, 'StableSAM', 'SAM'):.3f}")
        if "peer" in times:
            print(f"    over pytorch-optimizer's SAM           {ratio(times, 'SAM', 'peer'):.3f}")
        else:
            print("    over pytorch-optimizer's SAM           not measured: pip install --no-deps pytorch_optimizer")
    for title, network, batch, count in (small, many):
        print(f"  {title}: a method's step over its own passes and an SGD step")
        for method in METHODS:
            times = rounds(method_steps(getattr(optim, method), network, *batch), count)
            print(f"    {method:12} {ratio(times, 'step', 'passes'):.3f}")
    print_memory()
    for title, network, batch, count in (("MLP", mlp, flat_batch, 60), ("ResNet-20", resnet20, image_batch, 3)):
        times = rounds(penalty_steps(network, *batch), count, idle=1)
        mean = (9 + ratio(times, "penalized", "plain")) / 10
        print(f"  FA penalty, 5 probes, every 10th step, over the plain step ({title}, {count} rounds)  {mean:.2f}")
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
