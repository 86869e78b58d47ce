"""What the engine of `flatlab.optim` adds to the passes that a rule needs anyway."""

import statistics
import time

import torch
from torch.nn.functional import cross_entropy

from flatlab.optim import SAM
from flatlab.training.gradient_pairs import network


def main():
    """Print the ratio of a SAM step to two plain passes and an SGD step, for the network 784-500-500-10."""
    torch.manual_seed(0)
    net = network(784, (500, 500), 10)
    x, y = torch.randn(128, 784), torch.randint(10, (128,))
    base = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    sam = SAM(torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9), rho=0.05)

    def closure():
        base.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        return loss

    def plain():
        closure()
        closure()
        base.step()

    ratios = []
    for _ in range(60):
        times = []
        for step in (lambda: sam.step(closure), plain):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        ratios.append(times[0] / times[1])
    print(f"A SAM step takes {statistics.median(ratios):.2f} times two passes and an SGD step (784-500-500-10, batch 128)")
