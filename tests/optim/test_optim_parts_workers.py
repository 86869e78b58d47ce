"""MSAM and SAMGCM on two workers: micro-batches that climb alone or together, an overflow that one of them meets."""

import math

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from flatlab.landscape import Landscape
from flatlab.optim import MSAM, SAMGCM

pytestmark = pytest.mark.slow

STEPS, RHO, LR, M = 3, 0.3, 0.2, 4


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def half(rank, step):
    g = torch.Generator().manual_seed(2 * step + rank)
    return torch.randn(8, 5, generator=g, dtype=torch.float64), torch.randint(0, 3, (8,), generator=g)


def flat(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def closure_of(model, opt, scaler=None, bad=None):
    """The local gradient of pass `bad` is infinite."""
    passes = []

    def closure(x, y):
        passes.append(1)
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        with next(model.parameters()).register_hook(lambda g: g * math.inf if len(passes) == bad else g):
            (loss if scaler is None else scaler.scale(loss)).backward()
        return loss

    return closure


def replica(method, local=True, **options):
    model = network()
    ddp = DistributedDataParallel(model)
    base = SGD(model.parameters(), lr=LR, momentum=0.9)
    return ddp, method(base, rho=RHO, no_sync=ddp.no_sync if local else None, **options)


def run(rank, *args, **options):
    ddp, opt = replica(*args, **options)
    for step in range(STEPS):
        opt.step(closure_of(ddp, opt), *half(rank, step))
    return flat(ddp)


def overflow(rank, bad, *args, **options):
    ddp, opt = replica(*args, **options)
    scaler, weights = torch.amp.GradScaler("cpu", init_scale=8.0), [flat(ddp)]
    for step in range(3):
        here = bad if (rank, step) == (1, 1) else None
        opt.step(closure_of(ddp, opt, scaler, here), *half(rank, step), scaler=scaler)
        scaler.update()
        weights.append(flat(ddp))
    return weights, scaler.get_scale()


def refusals(rank):
    told = []
    ddp, opt = replica(SAMGCM, local=False)
    landscape = Landscape.of(ddp, cross_entropy, half(rank, 0))
    for wrong in (lambda: opt.step(closure_of(ddp, opt), *half(rank, 0)), lambda: opt.step(landscape)):
        with pytest.raises(ValueError) as error:
            wrong()
        told.append(str(error.value))
    return told


def worker(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {
        "alone": run(rank, MSAM, m=M),
        "together": run(rank, MSAM, local=False, m=M),
        "covariance": run(rank, SAMGCM),
        "refused": refusals(rank),
    }
    for bad in (1, 2, 3, 4):
        results["overflow", "MSAM", bad] = overflow(rank, bad, MSAM, m=M)
    for bad in (1, 2, 10):
        results["overflow", "SAMGCM", bad] = overflow(rank, bad, SAMGCM)
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("workers"))
    multiprocessing.spawn(worker, args=(folder,), nprocs=2)
    return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(2)]


def joint(step):
    return [torch.cat(pair) for pair in zip(half(0, step), half(1, step), strict=True)]


def alone_in_one_process():
    """All four micro-batches of four in one batch of sixteen."""
    model = network()
    opt = MSAM(SGD(model.parameters(), lr=LR, momentum=0.9), rho=RHO, m=M)
    for step in range(STEPS):
        opt.step(closure_of(model, opt), *joint(step))
    return flat(model)


def together_in_one_process():
    """The first four samples of both workers are one micro-batch of eight, and so are the last four."""
    model = network()
    opt = MSAM(SGD(model.parameters(), lr=LR, momentum=0.9), rho=RHO, m=2 * M)
    order = torch.tensor([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])
    for step in range(STEPS):
        opt.step(closure_of(model, opt), *(t[order] for t in joint(step)))
    return flat(model)


def covariance_in_one_process():
    """The mean of two directions, each found by the landscape of one worker's half."""
    model, momentum = network(), 0.0
    opt = SAMGCM(SGD(model.parameters(), lr=0.0), rho=RHO)
    for step in range(STEPS):
        directions = []
        for rank in range(2):
            opt.step(Landscape.of(model, cross_entropy, half(rank, step)))
            directions.append(torch.cat([p.grad.ravel() for p in model.parameters()]))
        momentum = 0.9 * momentum + (directions[0] + directions[1]) / 2
        nn.utils.vector_to_parameters(flat(model) - LR * momentum, list(model.parameters()))
    return flat(model)


@pytest.mark.parametrize("case", ["alone", "together", "covariance"])
def test_two_workers_make_the_steps_of_one_process(workers, case):
    mine, other = (results[case] for results in workers)
    expected = {"alone": alone_in_one_process, "together": together_in_one_process}.get(case, covariance_in_one_process)
    assert torch.equal(mine, other)
    torch.testing.assert_close(mine, expected(), rtol=0, atol=1e-9)


def test_micro_batches_alone_and_together_are_different_steps(workers):
    assert (workers[0]["alone"] - workers[0]["together"]).abs().max() > 1e-4


CASES = [("MSAM", k) for k in (1, 2, 3, 4)] + [("SAMGCM", k) for k in (1, 2, 10)]


@pytest.mark.parametrize(("method", "bad"), CASES)
def test_an_overflow_that_one_worker_meets_is_skipped_by_all(workers, method, bad):
    (mine, scale), (other, other_scale) = (results["overflow", method, bad] for results in workers)
    assert scale == other_scale == 4.0
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert torch.equal(mine[1], mine[2]) and not torch.equal(mine[2], mine[3]) and torch.isfinite(mine[3]).all()


def test_what_would_mix_the_workers_samples_is_refused_by_all(workers):
    for results in workers:
        alone, landscape = results["refused"]
        assert "SAMGCM needs no_sync=ddp.no_sync" in alone
        assert "got a model in DistributedDataParallel: write opt.step(closure, x, y)" in landscape
