"""Curvature, gradient noise and relative flatness against PyHessian and against plain automatic differentiation."""

import math
import multiprocessing
import os
import statistics
import time
import warnings

import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from flatlab.landscape import Landscape
from flatlab.measures import gradient_noise, hessian_frobenius, hessian_trace, relative_flatness, top_eigenvalues

RTOL = 0.03  # relative standard error of the sampled traces
TOL = 1e-3  # tolerance of the eigenvalues


def lenet5(act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """LeNet5 for 32 x 32 pixels in three colours."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5), act(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), act(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, 10),
    )  # fmt: skip


def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy copies of ten random pictures: a task that LeNet5 learns in a few seconds."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(10, 3, 32, 32, generator=generator)
    y = torch.randint(10, (n,), generator=generator)
    return 0.5 * pictures[y] + torch.randn(n, 3, 32, 32, generator=generator), y


def trained(act: type[nn.Module]) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """LeNet5 after 40 steps, neither random nor interpolating, and 128 samples."""
    model, data = lenet5(act), images(128)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    return model, data


def timed(f, *args):
    began = time.perf_counter()
    value = f(*args)
    return time.perf_counter() - began, value


def curvature(act: type[nn.Module], rounds: int = 3):
    """Trace at equal standard error, top eigenvalue at equal tolerance, against PyHessian."""
    model, data = trained(act)
    net = Landscape.of(model, cross_entropy, data)
    ours = {
        "trace, exact": lambda seed: hessian_trace(net, net.w0, seed=seed).value,
        "trace, sampled": lambda seed: hessian_trace(net, net.w0, rtol=RTOL, seed=seed, exact=False).value,
        "top eigenvalue": lambda seed: top_eigenvalues(net, net.w0, tol=TOL, seed=seed).item(),
    }
    if act is not nn.ReLU:  # only of a piecewise linear network the trace is exact
        del ours["trace, exact"]
    try:
        from pyhessian import hessian as PyHessian
    except ImportError:
        print("PyHessian is not installed (pip install --no-deps pyhessian): no ratios for trace and top eigenvalue")
        for name, f in ours.items():
            seconds, value = timed(f, 0)
            print(f"  {name:<15} {seconds:.2f} s: {value:.2f}")
        return

    def peer():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its gradients keep their graph
            return PyHessian(model, cross_entropy, data=data, cuda=False)

    # PyHessian's own stop, "the mean moved little", knows no error: it gets the probes that its spread asks for.
    pilot = peer().trace(maxIter=200, tol=0.0)
    probes = math.ceil((statistics.stdev(pilot) / (RTOL * statistics.mean(pilot))) ** 2)
    rows = {name: [] for name in ours}
    for seed in range(rounds):
        torch.manual_seed(seed)
        trace = timed(lambda: statistics.mean(peer().trace(maxIter=probes, tol=0.0)))
        top = timed(lambda: peer().eigenvalues(maxIter=1000, tol=TOL)[0][0])
        for name, f in ours.items():
            theirs, mine = top if name == "top eigenvalue" else trace, timed(f, seed)
            rows[name].append((theirs[0] / mine[0], mine[0], mine[1], theirs[1]))
    print(f"Hessian of LeNet5 with {act.__name__}, 128 samples, against PyHessian with {probes} probes")
    print(f"  (standard error {RTOL:.0%})")
    for name, values in rows.items():
        ratio, seconds, value, theirs = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"  {name:<15} {ratio:5.1f} times as fast ({seconds:.2f} s): {value:.3f} against {theirs:.3f}")


def by_vmap(net: Landscape) -> float:
    """Tr C from all per-sample gradients at once."""
    gradients = net.per_sample_grads(net.w0)
    return (gradients.square().sum(1).mean() - gradients.mean(0).square().sum()).item()


def _peak(which: str, warm_up: int, queue) -> None:
    torch.set_num_threads(1)
    net = Landscape.of(lenet5(), cross_entropy, images(128))
    small = Landscape.of(net.model, cross_entropy, (net.x[:warm_up], net.y[:warm_up]))
    measure = by_vmap if which == "vmap" else (lambda n: gradient_noise(n, n.w0))
    measure(small)  # what is loaded and compiled on the first call is not the measure's
    # The peak since the process began would hide behind that of the imports: reset it.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    with open("/proc/self/status") as file:
        before = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    measure(net)
    with open("/proc/self/status") as file:
        after = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    queue.put(after - before)


def peak_megabytes(which: str) -> float:
    """Resident memory that one call adds, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_peak, args=(which, 2, queue))
    process.start()
    process.join()
    return queue.get() / 1024


def noise(rounds: int = 15):
    """Tr C of LeNet5 at batch 128, against materialized per-sample gradients."""
    net = Landscape.of(lenet5(), cross_entropy, images(128))
    times, values = [], (gradient_noise(net, net.w0), by_vmap(net))
    for _ in range(rounds):
        times.append((timed(lambda: gradient_noise(net, net.w0))[0], timed(lambda: by_vmap(net))[0]))
    ratio = statistics.median(b / a for a, b in times)
    print(f"Tr C of LeNet5, 128 samples: {ratio:.1f} times as fast as vmap(grad) ({times[0][0] * 1e3:.0f} ms;"
          f" {values[0]:.6g} against {values[1]:.6g})")  # fmt: skip
    if os.path.exists("/proc/self/clear_refs"):
        ours, theirs = (statistics.median(peak_megabytes(w) for _ in range(3)) for w in ("norms", "vmap"))
        print(f"  it adds {ours:.0f} MB to the memory in use, vmap(grad) {theirs:.0f} MB: {ours / theirs:.0%}")


def head(rounds: int = 3):
    """Relative flatness of an 84 -> 10 head on 2000 samples, against the Hessian row by row and by `torch.func.hessian`."""
    torch.manual_seed(0)
    layer, x, y = nn.Linear(84, 10), torch.randn(2000, 84), torch.randint(10, (2000,))
    net = Landscape.of(layer, cross_entropy, (x, y))

    def rows() -> float:
        loss = cross_entropy(layer(x), y)
        (gradient,) = torch.autograd.grad(loss, layer.weight, create_graph=True)
        hessian = torch.stack(
            [torch.autograd.grad(g, layer.weight, retain_graph=True)[0] for g in gradient.reshape(-1)]
        ).view(10, 84, 10, 84)
        return torch.einsum("at,bt,ajbj->", layer.weight, layer.weight, hessian).item()

    def by_func() -> float:
        hessian = torch.func.hessian(lambda weight: cross_entropy(linear(x, weight, layer.bias), y))(layer.weight.detach())
        return torch.einsum("at,bt,ajbj->", layer.weight, layer.weight, hessian).item()

    relative_flatness(net, net.w0)
    times = []
    for _ in range(rounds):
        fast = statistics.median(timed(lambda: relative_flatness(net, net.w0))[0] for _ in range(20))
        (seconds, expected), (of_func, _) = timed(rows), timed(by_func)
        times.append((seconds / fast, of_func / fast))
    error = abs(relative_flatness(net, net.w0) / expected - 1)
    by_rows, by_function = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"Relative flatness, 84 -> 10, n = 2000: {by_rows:.0f} times as fast as row by row, {by_function:.0f} times as"
          f" torch.func.hessian ({fast * 1e3:.2f} ms), relative difference {error:.0e}")  # fmt: skip


def whole(rounds: int = 5):
    """Trace, Frobenius norm and top eigenvalue of a small network, against its whole Hessian by `torch.func.hessian`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    net = Landscape.of(model, cross_entropy, (torch.randn(256, 64), torch.randint(10, (256,))))

    def hessian() -> torch.Tensor:
        return torch.func.hessian(net.loss)(net.w0)

    ours = {
        "trace": (lambda: hessian_trace(net, net.w0, rtol=RTOL).value, lambda: hessian().trace().item()),
        "tr(H^2)": (lambda: hessian_frobenius(net, net.w0, rtol=RTOL).value, lambda: hessian().square().sum().item()),
        "top eigenvalue": (
            lambda: top_eigenvalues(net, net.w0, tol=TOL).item(),
            lambda: torch.linalg.eigvalsh(hessian())[-1].item(),
        ),
    }
    print(f"MLP 64-16-10, {net.d} weights, 256 samples, against torch.func.hessian (standard error {RTOL:.0%})")
    for name, (mine, theirs) in ours.items():
        mine(), theirs()
        pairs = [(timed(mine), timed(theirs)) for _ in range(rounds)]
        ratio = statistics.median(b[0] / a[0] for a, b in pairs)
        (seconds, value), (_, expected) = pairs[0]
        print(f"  {name:<15} {ratio:5.1f} times as fast ({seconds * 1e3:.0f} ms): {value:.4g} against {expected:.4g}")


def main():
    """Print the comparisons, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        curvature(nn.ReLU)
        curvature(nn.Tanh)
        whole()
        noise()
        head()
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
