"""JavaScript computes what Python computes in the valley: data, steps, rests."""

import numpy as np
import pytest
import torch

from flatlab import rules
from flatlab.measures.noise import minibatch_factor
from toy_problems import ScalarFactorization

TWIN = "toy_problems/scalar_factorization/landscape.mjs"
DATA = {"n": 300, "scale": 2, "product": 1, "seed": 4}


@pytest.fixture(scope="module")
def valley(call):
    """The page's own data set, as the toy of Python."""
    body = "const {x, y} = module.sample(argument); return [Array.from(x), Array.from(y)];"
    x, y = torch.tensor(call(TWIN, ["sample"], body, DATA), dtype=torch.float64)
    return ScalarFactorization(x, y)


def test_the_data_of_the_page_are_normal(valley):
    assert valley.x.mean().abs() < 0.4 and valley.x.std().item() == pytest.approx(2, abs=0.3)
    noise = valley.y - valley.x
    assert noise.mean().abs() < 0.2 and noise.std().item() == pytest.approx(1, abs=0.15)
    assert abs(torch.corrcoef(torch.stack([valley.x, noise]))[0, 1]) < 0.2


@pytest.mark.parametrize("method", ["SGD", "SAM", "COV"])
def test_a_step_in_the_valley_agrees_to_1e_12(call, valley, method):
    generator = torch.Generator().manual_seed(1)
    w = 6 * torch.rand(200, 2, dtype=torch.float64, generator=generator) - 3
    w[0] = 0.0
    batches = torch.randint(valley.n, (200, 10), generator=generator)
    a = valley.x[batches].square().mean(1)
    b = (valley.x[batches] * valley.y[batches]).mean(1)
    lam, rho, lr = 0.3, 0.05, 0.01
    weight = lam * minibatch_factor(valley.n, 10)
    body = """const {method, points, data, options} = argument;
      const found = module.moments(module.sample(data));
      return points.map(([w1, w2, a, b]) => module.STEPS[method](w1, w2, a, b, {...options, data: found}));"""
    points = torch.cat([w, a[:, None], b[:, None]], 1).tolist()
    argument = {"method": method, "points": points, "data": DATA, "options": {"lr": lr, "rho": rho, "weight": weight}}
    got = torch.tensor(
        call(TWIN, ["sample", "moments", "STEPS"], body, argument),
        dtype=torch.float64,
    )
    rows = []
    for v, batch in zip(w, batches, strict=True):
        grad = lambda z, batch=batch: valley.grad(z, batch)  # noqa: E731
        direction = rules.sam(v, grad, rho) if method == "SAM" else grad(v)
        if method == "COV":
            direction = direction + lam * valley.gradient_noise_grad(v, 10)
        rows.append(v - lr * direction)
    torch.testing.assert_close(got, torch.stack(rows), rtol=1e-12, atol=1e-12)


def test_the_factor_and_the_rest_agree(call, valley):
    body = """const found = module.moments(module.sample(argument.data));
      return [argument.weights.map((v) => module.restingProduct(found, v)), module.minibatchFactor(300, 10)];"""
    weights = [0.0, 0.003, 0.03, 0.3, 30.0]
    names = ["sample", "moments", "restingProduct", "minibatchFactor"]
    rests, factor = call(TWIN, names, body, {"data": DATA, "weights": weights})
    np.testing.assert_allclose(rests, [valley.resting_product(v) for v in weights], rtol=1e-10, atol=1e-12)
    assert factor == pytest.approx(minibatch_factor(300, 10), rel=1e-15)


def test_a_minibatch_is_drawn_with_replacement_from_the_data(call, valley):
    body = "return Array.from(module.minibatches(module.sample(argument), {batch: 5, steps: 4000, seed: 2}));"
    found = torch.tensor(call(TWIN, ["sample", "minibatches"], body, DATA), dtype=torch.float64).view(-1, 2)
    xy = valley.x * valley.y
    for values, kept in ((valley.x.square(), found[:, 0]), (xy, found[:, 1])):
        error = values.std() / (5 * 4000) ** 0.5
        assert abs(kept.mean() - values.mean()) < 4 * error
        assert kept.std().item() == pytest.approx((values.std(correction=0) / 5**0.5).item(), rel=0.06)


@pytest.mark.parametrize("every, steps", [(1, 20), (7, 20), (5, 20), (30, 20)])
def test_a_run_keeps_the_start_every_so_many_steps_and_the_end(call, valley, every, steps):
    body = """const {data, every, steps} = argument;
      const sample = module.sample(data);
      const batches = module.minibatches(sample, {batch: 5, steps, seed: 2});
      const {xs, ys, divergedAt} = module.run("SGD", {x: 1.5, y: 0.4}, batches, {steps, every, lr: 0.01});
      return {xs, ys, divergedAt, batches: Array.from(batches)};"""
    names = ["sample", "minibatches", "run"]
    found = call(TWIN, names, body, {"data": DATA, "every": every, "steps": steps})
    w, path = (1.5, 0.4), [(1.5, 0.4)]
    for a, b in zip(found["batches"][::2], found["batches"][1::2], strict=True):
        c = 0.01 * (a * w[0] * w[1] - b)
        w = w[0] - c * w[1], w[1] - c * w[0]
        path.append(w)
    kept = sorted({*range(0, steps + 1, every), steps})
    np.testing.assert_allclose(list(zip(found["xs"], found["ys"], strict=True)), [path[t] for t in kept], rtol=1e-12)
    assert found["divergedAt"] is None


def test_a_run_that_leaves_the_numbers_says_in_which_step(call):
    body = """const batches = new Float64Array(20).fill(4);
      return module.run("SGD", {x: 9, y: 8}, batches, {steps: 10, every: 1, lr: 1});"""
    found = call(TWIN, ["run"], body)
    w, met = (9.0, 8.0), []
    while max(map(abs, w)) < 1e6:
        met.append(w)
        c = 4 * w[0] * w[1] - 4
        w = w[0] - c * w[1], w[1] - c * w[0]
    assert found["divergedAt"] == len(met) < 10
    np.testing.assert_allclose(list(zip(found["xs"], found["ys"], strict=True)), met, rtol=1e-12)
