"""Two workers under DistributedDataParallel: the joint gradient, m-sharpness, failures that only one of them meets."""

import math

import pytest
import torch
from methods_under_test import LOCAL, WHOLE
from torch import distributed, multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

pytestmark = pytest.mark.slow

METHODS = {opt.__name__: opt for opt in WHOLE}
LOCAL_NAMES = [opt.__name__ for opt in LOCAL]
STEPS, RHO, LR = 3, 0.3, 0.2


def network(norm=False):
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(7) if norm else nn.Tanh()
    return nn.Sequential(nn.Linear(5, 7), middle, nn.Linear(7, 3)).double()


def data(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(16, 5, generator=g, dtype=torch.float64), torch.randint(0, 3, (16,), generator=g)


def half(rank, step):
    x, y = data(step)
    return x[rank::2], y[rank::2]


def flat(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


class Replica:
    """One worker's model, its optimizer and the closure on its half of the batch."""

    def __init__(self, rank, method, local=False, norm=False, every=None, **ddp):
        self.rank, self.model = rank, network(norm)
        self.ddp = DistributedDataParallel(self.model, **ddp)
        base = SGD(self.model.parameters(), lr=LR, momentum=0.9)
        self.opt = METHODS[method](base, rho=RHO, every=every, **({"no_sync": self.ddp.no_sync} if local else {}))

    def step(self, step, scaler=None, spoiled=None):
        """`spoiled = (rank, pass)` makes that pass's local gradient infinite before it is averaged."""
        x, y = half(self.rank, step)
        passes = []

        def closure():
            passes.append(1)
            self.opt.zero_grad()
            bad = spoiled == (self.rank, len(passes))
            with self.model[0].weight.register_hook(lambda g: g * math.inf if bad else g):
                loss = cross_entropy(self.ddp(x), y)
                (loss if scaler is None else scaler.scale(loss)).backward()
            return loss

        return self.opt.step(closure, scaler=scaler)

    def run(self):
        for step in range(STEPS):
            self.step(step)
        return flat(self.model)


def overflow_on_one_worker(rank, spoiled, local):
    replica = Replica(rank, "SAM", local=local)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    weights, scales = [flat(replica.model)], []
    for step, bad in enumerate((None, spoiled, None)):
        replica.step(step, scaler, bad)
        scaler.update()
        weights.append(flat(replica.model))
        scales.append(scaler.get_scale())
    return weights, scales


def failure_on_one_worker(rank, spoiled, local):
    replica = Replica(rank, "SAM", local=local)
    replica.step(0)
    before = flat(replica.model)
    try:
        replica.step(1, spoiled=spoiled)
        raised = ""
    except FloatingPointError as error:
        raised = str(error)
    unchanged = torch.equal(before, flat(replica.model))
    replica.step(2)
    return raised, unchanged, flat(replica.model)


def worker(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {("joint", name): Replica(rank, name).run() for name in METHODS}
    results |= {("local", name): Replica(rank, name, local=True).run() for name in LOCAL_NAMES}
    results["bucket views"] = Replica(rank, "SAM", gradient_as_bucket_view=True).run()
    results["norm"] = Replica(rank, "SAM", local=True, norm=True).run()
    results["between"] = Replica(rank, "SAM", local=True, every=2).run()
    for local in (False, True):
        for bad_pass in (1, 2):
            spoiled = (1, bad_pass)  # worker 1 only
            results["overflow", local, bad_pass] = overflow_on_one_worker(rank, spoiled, local)
            results["failure", local, bad_pass] = failure_on_one_worker(rank, spoiled, local)
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("workers"))
    multiprocessing.spawn(worker, args=(folder,), nprocs=2)
    return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_the_global_perturbation_is_the_single_process_step_on_the_joint_batch(workers, name):
    model = network()
    opt = METHODS[name](SGD(model.parameters(), lr=LR, momentum=0.9), rho=RHO)
    for step in range(STEPS):
        x, y = data(step)

        def closure(x=x, y=y):
            opt.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        opt.step(closure)
    mine, other = (results["joint", name] for results in workers)
    assert torch.equal(mine, other)
    torch.testing.assert_close(mine, flat(model), rtol=0, atol=1e-6)


def forward(w, x):
    a, b, c, d = w.split([35, 7, 21, 3])
    return torch.tanh(x @ a.view(7, 5).T + b) @ c.view(3, 7).T + d


def ascent_by_hand(name, w, g):
    if name == "USAM":
        return RHO * g
    matrix = torch.cat([torch.full((n,), yes) for n, yes in ((35, True), (7, False), (21, True), (3, False))])
    t = torch.where(matrix, w.abs() + 0.01, 1.0) if name == "ASAM" else torch.ones_like(w)
    return RHO * t**2 * g / (t * g).norm()


@pytest.mark.parametrize("name", LOCAL_NAMES)
def test_no_sync_is_the_m_sharpness_step_computed_by_hand(workers, name):
    w, momentum = flat(network()), 0.0
    for step in range(STEPS):

        def gradient(v, rank, step=step):
            v = v.clone().requires_grad_()
            x, y = half(rank, step)
            return torch.autograd.grad(cross_entropy(forward(v, x), y), v)[0]

        # Each worker ascends along its own gradient, and the gradients found up there are averaged.
        found = [gradient(w + ascent_by_hand(name, w, gradient(w, rank)), rank) for rank in range(2)]
        momentum = 0.9 * momentum + (found[0] + found[1]) / 2
        w = w - LR * momentum
    mine, other = (results["local", name] for results in workers)
    assert torch.equal(mine, other)
    torch.testing.assert_close(mine, w, rtol=0, atol=1e-10)
    assert (mine - workers[0]["joint", name]).abs().max() > 1e-4  # and that is another step than the joint one


@pytest.mark.parametrize("case", ["bucket views", "norm", "between"])
def test_replicas_stay_bit_identical(workers, case):
    assert torch.equal(workers[0][case], workers[1][case])
    if case == "bucket views":
        assert torch.equal(workers[0][case], workers[0]["joint", "SAM"])


@pytest.mark.parametrize("local", [False, True], ids=["joint", "no_sync"])
@pytest.mark.parametrize("bad_pass", [1, 2])
def test_an_overflow_that_one_worker_meets_is_skipped_by_all(workers, local, bad_pass):
    (mine, my_scales), (other, other_scales) = (results["overflow", local, bad_pass] for results in workers)
    assert my_scales == other_scales == [8.0, 4.0, 4.0]
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert torch.equal(mine[1], mine[2]) and not torch.equal(mine[2], mine[3])
    assert torch.isfinite(mine[3]).all()


@pytest.mark.parametrize("local", [False, True], ids=["joint", "no_sync"])
@pytest.mark.parametrize("bad_pass", [1, 2])
def test_a_gradient_that_is_not_finite_on_one_worker_raises_on_all_and_they_can_go_on(workers, local, bad_pass):
    (mine, my_unchanged, my_end), (other, other_unchanged, other_end) = (
        results["failure", local, bad_pass] for results in workers
    )
    assert "not finite" in mine and "not finite" in other
    assert my_unchanged and other_unchanged and torch.equal(my_end, other_end)
    assert torch.isfinite(my_end).all()
