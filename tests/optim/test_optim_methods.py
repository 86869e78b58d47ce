"""Every optimizer against formulas written out anew, against the same rule on a landscape, and at its limits."""

import pytest
import torch
from methods_under_test import WHOLE, each, every_method
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab import rules
from flatlab.descent import trajectory
from flatlab.optim import ASAM, CSAM, LSAM, SAM, USAM, StableASAM, StableSAM

every_method_that_draws_nothing = each([opt for opt in WHOLE if not opt.method.draws])
RULES = {
    SAM: rules.sam,
    USAM: rules.usam,
    ASAM: rules.asam,
    StableSAM: rules.stable_sam,
    StableASAM: rules.stable_asam,
}


def length(vectors):
    return sum((v * v).sum() for v in vectors) ** 0.5


def lsam_by_hand(weights, gradient, rho, step):
    """Two draws for the step of that number, with the seed 0."""
    draws, d, total = torch.Generator().manual_seed(step), sum(w.numel() for w in weights), None
    for _ in range(2):
        z = torch.randn(d, generator=draws, dtype=weights[0].dtype)
        u = rho * torch.rand(1, generator=draws, dtype=z.dtype) ** (1 / d) * z / length([z])
        parts = u.split([w.numel() for w in weights])
        s = gradient([w + part.view(w.shape) for w, part in zip(weights, parts, strict=True)])
        total = s if total is None else [a + b for a, b in zip(total, s, strict=True)]
    return [a / 2 for a in total]


def csam_by_hand(weights, gradient, rho, mean):
    """Algorithm 1 with rho_cov = 0.2 and alpha = 0.9; `mean` is changed in place."""
    g1 = gradient(weights)
    g2 = gradient([w + rho * g / length(g1) for w, g in zip(weights, g1, strict=True)])
    for m, a, b in zip(mean, g1, g2, strict=True):
        m.mul_(0.9).add_(b - a, alpha=0.1)
    d = [b - a - m for m, a, b in zip(mean, g1, g2, strict=True)]
    return gradient([w + 0.2 * v / length(d) for w, v in zip(weights, d, strict=True)])


def direction_by_hand(method, weights, gradient, rho, eta=0.01, scale_1d=False, step=0, mean=None):
    """The methods on lists of tensors; nothing here comes from the library."""
    if method is LSAM:
        return lsam_by_hand(weights, gradient, rho, step)
    if method is CSAM:
        return csam_by_hand(weights, gradient, rho, mean or [torch.zeros_like(w) for w in weights])
    g = gradient(weights)
    if method is USAM:
        return gradient([w + rho * gi for w, gi in zip(weights, g, strict=True)])
    if method in (ASAM, StableASAM):
        t = [w.abs() + eta if w.dim() > 1 or scale_1d else torch.ones_like(w) for w in weights]
    else:
        t = [torch.ones_like(w) for w in weights]
    n = length([ti * gi for ti, gi in zip(t, g, strict=True)])
    s = gradient([w + rho * ti**2 * gi / n for w, ti, gi in zip(weights, t, g, strict=True)])
    if method in (StableSAM, StableASAM):
        s = [length(g) / length(s) * si for si in s]
    return s


def two_layer_net(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).to(dtype)


def batches(count, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 6, generator=g, dtype=dtype), torch.randint(0, 3, (16,), generator=g)) for _ in range(count)]


def forward_by_hand(weights, x):
    a, b, c, d = weights
    return torch.tanh(x @ a.T + b) @ c.T + d


def train(opt, model, data):
    losses = []
    for x, y in data:

        def closure(x=x, y=y):
            opt.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        losses.append(opt.step(closure))
    return losses


@every_method
@pytest.mark.parametrize("scale_1d", [False, True])
def test_weights_agree_with_the_formula_written_out_with_momentum_and_weight_decay(method, scale_1d):
    model, data = two_layer_net(), batches(6)
    extra = {"scale_1d": scale_1d} if method in (ASAM, StableASAM) else {}
    weights = [p.detach().clone() for p in model.parameters()]
    momentum = [torch.zeros_like(w) for w in weights]

    opt = method(torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01), rho=0.4, **extra)
    losses = train(opt, model, data)

    mean = [torch.zeros_like(w) for w in weights]
    for step, ((x, y), loss) in enumerate(zip(data, losses, strict=True)):

        def value(ws, x=x, y=y):
            return cross_entropy(forward_by_hand(ws, x), y)

        def gradient(ws):
            ws = [w.detach().requires_grad_() for w in ws]
            return torch.autograd.grad(value(ws), ws)

        if method is not LSAM:
            torch.testing.assert_close(loss, value(weights), rtol=0, atol=1e-12)
        ascent = direction_by_hand(method, weights, gradient, rho=0.4, step=step, mean=mean, **extra)
        momentum = [0.9 * m + s + 0.01 * w for m, s, w in zip(momentum, ascent, weights, strict=True)]
        weights = [w - 0.3 * m for w, m in zip(weights, momentum, strict=True)]
    for p, w in zip(model.parameters(), weights, strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", RULES)
def test_on_a_quadratic_it_walks_the_trajectory_of_its_rule(method):
    g = torch.Generator().manual_seed(2)
    a = torch.randn(5, 5, generator=g, dtype=torch.float64)
    a = a @ a.T / 5
    w0 = torch.randn(5, generator=g, dtype=torch.float64)
    w = w0.clone().requires_grad_()
    extra = {"eta": 0.1} if method in (ASAM, StableASAM) else {}
    opt = method(torch.optim.SGD([w], lr=0.1), rho=0.3, **extra, **({"scale_1d": True} if extra else {}))

    def closure():
        opt.zero_grad()
        loss = 0.5 * w @ a @ w
        loss.backward()
        return loss

    path = [w.detach().clone()]
    for _ in range(30):
        opt.step(closure)
        path.append(w.detach().clone())
    expected = trajectory(RULES[method], lambda v: v @ a, w0, lr=0.1, steps=30, rho=0.3, **extra)
    torch.testing.assert_close(torch.stack(path), expected, rtol=0, atol=1e-12)


@every_method_that_draws_nothing
def test_the_loss_returned_is_the_loss_before_the_step_and_holds_no_graph(method):
    model, data = two_layer_net(), batches(3)
    opt = method(torch.optim.SGD(model.parameters(), lr=0.5), rho=0.5)
    for x, y in data:
        before = cross_entropy(model(x), y).item()
        (loss,) = train(opt, model, [(x, y)])
        assert loss.item() == before and loss.grad_fn is None
        assert cross_entropy(model(x), y).item() != before


@every_method
def test_the_closure_runs_as_often_as_the_rule_needs(method):
    model, ((x, y),) = two_layer_net(), batches(1)
    opt = method(torch.optim.SGD(model.parameters(), lr=0.1))
    calls = []

    def closure():
        calls.append([p.detach().clone() for p in model.parameters()])
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    opt.step(closure)
    assert len(calls) == (3 if method is CSAM else 2)
    assert any(not torch.equal(a, b) for a, b in zip(*calls[:2], strict=True))


@pytest.mark.parametrize(
    "base",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.01),
    ],
    ids=["SGD", "Adam", "AdamW", "RMSprop"],
)
@every_method
def test_rho_zero_is_the_base_optimizer(method, base):
    """To the bit, but for the stable ones: there ||g|| s / ||s|| with s = g costs a few roundings."""
    plain, wrapped = two_layer_net(torch.float32), two_layer_net(torch.float32)
    data = batches(8, torch.float32)
    alone = base(plain.parameters())
    for x, y in data:
        alone.zero_grad()
        cross_entropy(plain(x), y).backward()
        alone.step()
    train(method(base(wrapped.parameters()), rho=0.0, **({"rho_cov": 0.0} if method is CSAM else {})), wrapped, data)
    exact = method not in (StableSAM, StableASAM)
    for p, q in zip(plain.parameters(), wrapped.parameters(), strict=True):
        if exact:
            assert torch.equal(p, q)
        else:
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5)


@every_method
def test_the_direction_goes_through_adam_like_a_gradient(method):
    model, twin = two_layer_net(), two_layer_net()
    (x, y), *_ = batches(1)
    opt = method(torch.optim.Adam(model.parameters(), lr=0.01), rho=0.3)
    train(opt, model, [(x, y)])

    def gradient(ws):
        ws = [w.detach().requires_grad_() for w in ws]
        return torch.autograd.grad(cross_entropy(forward_by_hand(ws, x), y), ws)

    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    weights = [p.detach() for p in twin.parameters()]
    for p, s in zip(twin.parameters(), direction_by_hand(method, weights, gradient, rho=0.3), strict=True):
        p.grad = s
    adam.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)


@every_method_that_draws_nothing
def test_a_zero_gradient_is_a_zero_direction(method):
    w = torch.zeros(3, requires_grad=True)
    opt = method(torch.optim.SGD([w], lr=0.1), rho=1.0)

    def closure():
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert opt.step(closure) == 0
    assert torch.equal(w.detach(), torch.zeros(3)) and torch.equal(w.grad, torch.zeros(3))


@every_method
def test_a_scalar_parameter_steps_and_keeps_its_shape(method):
    w = torch.tensor(2.0, requires_grad=True)
    opt = method(torch.optim.SGD([w], lr=0.1), rho=0.5, **({"antithetic": True} if method is LSAM else {}))

    def closure():
        opt.zero_grad()
        loss = 1.5 * w**2
        loss.backward()
        return loss

    opt.step(closure)
    # 3 * (2 + 0.5 * slope); a bias-like parameter has T = 1 in the adaptive methods
    expected = {SAM: 7.5, USAM: 15.0, ASAM: 7.5, StableSAM: 6.0, StableASAM: 6.0, LSAM: 6.0, CSAM: 6.6}[method]
    assert w.shape == () and w.grad.shape == ()
    torch.testing.assert_close(w.detach(), torch.tensor(2.0 - 0.1 * expected))


def test_asam_measures_biases_against_their_size_only_when_told():
    def ascent(scale_1d):
        weight, bias = torch.full((1, 1), 3.0, requires_grad=True), torch.full((1,), 2.0, requires_grad=True)
        opt = ASAM(torch.optim.SGD([weight, bias], lr=0.1), rho=1.0, eta=0.0, scale_1d=scale_1d)
        seen = []

        def closure():
            seen.append((weight.item(), bias.item()))
            opt.zero_grad()
            loss = (weight + bias).sum()
            loss.backward()
            return loss

        opt.step(closure)
        return seen[1]

    # g = (1, 1): T = (3, 1) moves by (9, 1) / sqrt(10); T = (3, 2) by (9, 4) / sqrt(13)
    assert ascent(False) == pytest.approx((3 + 9 / 10**0.5, 2 + 1 / 10**0.5), rel=1e-6)
    assert ascent(True) == pytest.approx((3 + 9 / 13**0.5, 2 + 4 / 13**0.5), rel=1e-6)


@every_method_that_draws_nothing
def test_groups_with_their_own_rho_move_by_it_along_one_direction_of_norm_one(method):
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)
    base = torch.optim.SGD([{"params": [a], "rho": 0.1}, {"params": [b]}], lr=0.1)
    opt = method(base, rho=0.2)
    seen = []

    def closure():
        seen.append((a.item(), b.item()))
        opt.zero_grad()
        loss = 0.5 * (a * a + b * b).sum()
        loss.backward()
        return loss

    opt.step(closure)
    # the gradient is (3, 4), of norm 5 over both groups
    slope = (3.0, 4.0) if method is USAM else (0.6, 0.8)
    assert seen[1] == pytest.approx((3 + 0.1 * slope[0], 4 + 0.2 * slope[1]), rel=1e-6)


def test_groups_with_their_own_eta_and_scaling_are_measured_by_it():
    weights = [torch.full((1,), 2.0, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    groups = [
        {"params": [weights[0]], "scale_1d": True, "eta": 1.0},
        {"params": [weights[1]], "scale_1d": True},
        {"params": [weights[2]]},
    ]
    opt = ASAM(torch.optim.SGD(groups, lr=0.1), rho=1.0, eta=0.0)
    seen = []

    def closure():
        seen.append([w.item() for w in weights])
        opt.zero_grad()
        loss = sum(weights).sum()
        loss.backward()
        return loss

    opt.step(closure)
    t = [3.0, 2.0, 1.0]
    assert seen[1] == pytest.approx([2 + ti**2 / 14**0.5 for ti in t], rel=1e-12)


def test_half_precision_weights_get_a_norm_that_does_not_overflow():
    w = torch.full((16,), 1.0, dtype=torch.float16, requires_grad=True)
    opt = StableSAM(torch.optim.SGD([w], lr=1e-5), rho=0.1)

    def closure():
        opt.zero_grad()
        loss = (30000.0 * w).float().sum()  # ||g|| = 120000, beyond float16
        loss.backward()
        return loss

    opt.step(closure)
    assert w.dtype == torch.float16
    torch.testing.assert_close(w.grad, torch.full((16,), 30000.0, dtype=torch.float16))


def test_parameters_of_several_precisions_share_one_step():
    a = torch.tensor([3.0], dtype=torch.float32, requires_grad=True)
    b = torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
    opt = SAM(torch.optim.SGD([a, b], lr=0.1), rho=0.5)

    def closure():
        opt.zero_grad()
        loss = 0.5 * (a.double() ** 2 + b**2).sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert (a.dtype, b.dtype) == (torch.float32, torch.float64)
    assert (a.item(), b.item()) == pytest.approx((3 - 0.33, 4 - 0.44), rel=1e-6)


@every_method
def test_a_complex_parameter_is_its_real_and_imaginary_parts(method):
    x = torch.randn(16, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))

    def loss_of(parts, bias):
        return ((x @ torch.view_as_complex(parts)).abs() - bias).square().mean()

    torch.manual_seed(2)
    parts, bias = torch.randn(5, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    whole = torch.view_as_complex(parts.clone()).requires_grad_()
    pairs = [([whole, bias.clone().requires_grad_()], lambda w, b: loss_of(torch.view_as_real(w), b))]
    pairs.append(([parts.clone().requires_grad_(), bias.clone().requires_grad_()], loss_of))
    for weights, loss_at in pairs:
        groups = [{"params": weights[:1], "rho": 0.2}, {"params": weights[1:]}]
        opt = method(SGD(groups, lr=0.1, momentum=0.9), **({"scale_1d": True} if "eta" in method.method.options else {}))

        def closure(opt=opt, loss_at=loss_at, weights=weights):
            opt.zero_grad()
            loss = loss_at(*weights)
            loss.backward()
            return loss

        for _ in range(3):
            opt.step(closure)
        opt.load_state_dict(opt.state_dict())
        opt.step(closure)
    (a, b), (c, d) = (weights for weights, _ in pairs)
    torch.testing.assert_close(torch.view_as_real(a.detach()), c.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(b, d, rtol=1e-9, atol=1e-12)
