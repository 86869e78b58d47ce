"""A clear error, never a wrong number."""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from measured_problems import Quadratic, linear_toy, random, two_layers
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from flatlab import measures, rules
from flatlab.landscape import Landscape
from flatlab.measures import (
    average_sharpness,
    feature_robustness,
    fisher_rao,
    gradient_noise,
    hessian_density,
    hessian_nonuniformity,
    hessian_trace,
    local_average,
    local_oscillation,
    noise_energy,
    pac_bayes,
    relative_flatness,
    sam_sharpness,
    top_eigenvalues,
    weight_norm,
)

NEEDS_RHO = {"local_average", "local_oscillation"}


def call(name, net, w):
    extra = (0.1,) if name in NEEDS_RHO else (w,) if name == "noise_energy" else ()
    return getattr(measures, name)(net, w, *extra)


NAMES = sorted(set(measures.__all__) - {"Estimate", "SpectralDensity"})
PER_SAMPLE = ["gradient_noise", "noise_energy", "hessian_nonuniformity", "fisher_rao", "relative_flatness"]
PER_SAMPLE += ["feature_robustness"]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_points_or_a_wrong_length_is_refused(name):
    toy = linear_toy(False).landscape
    for w in (torch.zeros(2, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), torch.zeros(()).double()):
        with pytest.raises(ValueError, match=r"one point of shape \(4,\), got"):
            call(name, toy, w)
    with pytest.raises(ValueError, match="floating-point weights, got torch.int64"):
        call(name, toy, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_for_a_landscape_and_parameters_for_a_point_are_told_what_to_write(name):
    model = nn.Linear(4, 3)
    with pytest.raises(TypeError, match=r"takes a landscape, got a Linear: make one by Landscape.of\(model, loss_fn"):
        call(name, model, torch.zeros(15))
    with pytest.raises(TypeError, match=r"w must be one flat tensor, such as landscape.w0, got a list"):
        call(name, linear_toy(False).landscape, list(model.parameters()))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout(0.5)])
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_put_into_train_mode_later_is_refused(name, layer):
    model = nn.Sequential(nn.Linear(4, 5), layer, nn.Linear(5, 3)).eval()
    net = Landscape.of(model, cross_entropy, (torch.randn(6, 4), torch.arange(6) % 3))
    model.train()
    with pytest.raises(ValueError, match=r"is in train mode.*model.eval\(\)"):
        call(name, net, net.w0)


class MixesSamples(nn.Linear):
    def forward(self, x):
        z = super().forward(x)
        return z - z.mean(0)


LABELS = torch.arange(9) % 3
COUPLED = {
    "sum": (nn.Linear(4, 3), lambda a, b: cross_entropy(a, b, reduction="sum"), LABELS),
    "class weights": (nn.Linear(4, 3), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]).double()), LABELS),
    "ignored labels": (nn.Linear(4, 3), nn.CrossEntropyLoss(ignore_index=1), LABELS),
    "sorted class weights": (
        nn.Linear(4, 3),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 5.0]).double()),
        torch.tensor([0] * 7 + [2, 0]),
    ),
    "contrastive": (nn.Linear(4, 3), lambda a, b: (a @ a.T).softmax(1).diagonal().log().mean(), LABELS),
    "broadcasting": (nn.Linear(4, 1), mse_loss, torch.linspace(-1, 1, 9).double()),
    "a layer that mixes samples": (MixesSamples(4, 3), cross_entropy, LABELS),
    "a root of the mean": (nn.Linear(4, 1), lambda a, b: mse_loss(a[:, 0], b).sqrt(), torch.ones(9).double()),
    "no reduction": (nn.Linear(4, 3), lambda a, b: cross_entropy(a, b, reduction="none"), LABELS),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", PER_SAMPLE)
@pytest.mark.parametrize("case", COUPLED)
def test_a_loss_that_is_no_mean_over_samples_is_refused(case, name):
    model, loss_fn, y = COUPLED[case]
    torch.manual_seed(0)
    net = Landscape.of(model.double(), loss_fn, (random(9, 4, seed=1), y))
    with pytest.raises(ValueError, match="is not the mean of their single losses|must average to one number"):
        call(name, net, net.w0)


def test_a_coupled_loss_still_has_a_trace_and_it_is_right():
    weight = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    torch.manual_seed(0)
    data = random(9, 4, seed=1), LABELS
    net = Landscape.of(nn.Linear(4, 3).double(), nn.CrossEntropyLoss(weight=weight), data)
    expected = torch.func.hessian(net.loss)(net.w0).trace().item()
    assert hessian_trace(net, net.w0, deflate=net.d).value == pytest.approx(expected)
    sampled = hessian_trace(net, net.w0, samples=200, deflate=3)
    assert abs(sampled.value - expected) < 4 * sampled.stderr


def test_dead_neurons_are_counted_or_dropped():
    model = two_layers(nn.ReLU)
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 0, -1.0  # always zero
        model[0].weight[3], model[0].bias[3] = 0, 0.7  # always 0.7
    net = Landscape.of(model, cross_entropy, (random(10, 4, seed=4), torch.arange(10) % 3))
    with pytest.raises(ValueError, match="2 of 5 features do not vary over the samples"):
        relative_flatness(net, net.w0, normalize=True)
    dropped = relative_flatness(net, net.w0, normalize=True, dead="drop")
    alive = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3)).double()
    with torch.no_grad():
        alive[0].weight.copy_(model[0].weight[[0, 2, 4]])
        alive[0].bias.copy_(model[0].bias[[0, 2, 4]])
        alive[2].weight.copy_(model[2].weight[:, [0, 2, 4]])
        alive[2].bias.copy_(model[2].bias + 0.7 * model[2].weight[:, 3])
    other = Landscape.of(alive, cross_entropy, (net.x, net.y))
    assert dropped == pytest.approx(relative_flatness(other, other.w0, normalize=True))


def test_relative_flatness_names_what_it_cannot_do():
    net = Landscape.of(two_layers(), cross_entropy, (random(6, 4, seed=1), torch.arange(6) % 3))
    with pytest.raises(ValueError, match=r"one of the Linear layers \['0', '2'\], got 'head'"):
        relative_flatness(net, net.w0, "head")
    with pytest.raises(ValueError, match="shape is for closed-form landscapes"):
        relative_flatness(net, net.w0, shape=(1, 4))
    with pytest.raises(ValueError, match="dead must be 'error' or 'drop', got 'skip'"):
        relative_flatness(net, net.w0, dead="skip")
    toy = linear_toy(False)
    with pytest.raises(ValueError, match="need a network"):
        relative_flatness(toy.landscape, toy.w, normalize=True)
    with pytest.raises(ValueError, match=r"shape must hold d = 4 weights, got \(2, 3\)"):
        relative_flatness(toy.landscape, toy.w, shape=(2, 3))
    sequence = Landscape.of(nn.Linear(3, 2), mse_loss, (torch.randn(4, 5, 3), torch.randn(4, 5, 2)))
    with pytest.raises(ValueError, match=r"the layer's input must have shape \(n, m\)"):
        relative_flatness(sequence, sequence.w0)

    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(super().forward(x))

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)

        def forward(self, x):
            return self.a(self.a(x))

    twice = Landscape.of(Wrapped(), mse_loss, (torch.randn(4, 3), torch.randn(4, 3)))
    with pytest.raises(ValueError, match="the layer runs 2 times"):
        relative_flatness(twice, twice.w0)
    tied = Wrapped()
    tied.b = nn.Linear(3, 3)
    tied.b.weight = tied.a.weight
    shared = Landscape.of(tied, mse_loss, (torch.randn(4, 3), torch.randn(4, 3)))
    with pytest.raises(ValueError, match="the weight of layer 'a' is shared or reparametrized"):
        relative_flatness(shared, shared.w0, "a")
    convolution = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten())
    flat = Landscape.of(convolution, mse_loss, (torch.randn(2, 1, 2, 2), torch.randn(2, 1)))
    with pytest.raises(ValueError, match="the network has no Linear layer"):
        relative_flatness(flat, flat.w0)


BOWL, W = Quadratic([2.0, 1.0]), torch.ones(2, dtype=torch.float64)
BAD = [
    (lambda: hessian_trace(BOWL, W, samples=0, deflate=0), "samples must be at least 1, got 0"),
    (lambda: hessian_trace(BOWL, W, rtol=-0.1, deflate=0), "rtol must be positive and finite, got -0.1"),
    (lambda: hessian_trace(BOWL, W, deflate=-1), "deflate must be at least 0, got -1"),
    (lambda: hessian_trace(BOWL, W, deflate=0, probes="normal"), "'rademacher' or 'gaussian', got 'normal'"),
    (lambda: top_eigenvalues(BOWL, W, k=3), "k must be between 1 and d = 2, got 3"),
    (lambda: top_eigenvalues(BOWL, W, tol=0), "tol must be positive and finite, got 0"),
    (lambda: top_eigenvalues(BOWL, W, k=2, max_steps=1), "max_steps must be at least k = 2, got 1"),
    (lambda: hessian_density(BOWL, W, steps=0), "steps must be at least 1, got 0"),
    (lambda: hessian_density(BOWL, W).density(W, 0.0), "width must be positive, got 0.0"),
    (lambda: gradient_noise(BOWL, W, batch_size=2), "batch_size must be between 1 and n = 1, got 2"),
    (lambda: gradient_noise(BOWL, W, chunk=0), "chunk must be at least 1, got 0"),
    (lambda: noise_energy(BOWL, W, torch.ones(3)), r"v must have the shape of w, \(2,\), got \(3,\)"),
    (lambda: noise_energy(BOWL, W, W, chunk=0), "chunk must be at least 1, got 0"),
    (lambda: fisher_rao(BOWL, W, chunk=0), "chunk must be at least 1, got 0"),
    (lambda: hessian_nonuniformity(BOWL, W, chunk=0), "chunk must be at least 1, got 0"),
    (lambda: weight_norm(BOWL, W, order=0.5), "order must be at least 1, got 0.5"),
    (lambda: sam_sharpness(BOWL, W, rho=-1.0), "rho must be finite and >= 0, got -1.0"),
    (lambda: sam_sharpness(BOWL, W, eta=-1.0), "eta must be finite and >= 0, got -1.0"),
    (lambda: sam_sharpness(BOWL, W, steps=0), "steps must be at least 1, got 0"),
    (lambda: sam_sharpness(BOWL, W, step_size=0.0), "step_size must be positive, got 0.0"),
    (lambda: sam_sharpness(BOWL, W, restarts=-1), "restarts must be at least 0, got -1"),
    (lambda: average_sharpness(BOWL, W, sigma=float("nan")), "sigma must be finite and >= 0, got nan"),
    (lambda: local_average(BOWL, W, -0.1), "rho must be finite and >= 0, got -0.1"),
    (lambda: local_oscillation(BOWL, W, -0.1), "rho must be finite and >= 0, got -0.1"),
    (lambda: local_oscillation(BOWL, W, 0.1, samples=1), "samples must be at least 2, got 1"),
    (lambda: feature_robustness(BOWL, W, delta=-0.1), "delta must be finite and >= 0, got -0.1"),
    (lambda: pac_bayes(BOWL, W, target=0.0), "target must be positive and finite, got 0.0"),
    (lambda: pac_bayes(BOWL, W, samples=1), "samples must be at least 2, got 1"),
    (lambda: pac_bayes(BOWL, W, samples=20.0), "samples must be a whole number, got 20.0"),
    (lambda: gradient_noise(BOWL, W, batch_size=0.5), "batch_size must be a whole number, got 0.5"),
    (lambda: sam_sharpness(BOWL, W, steps=2.5), "steps must be a whole number, got 2.5"),
    (lambda: hessian_trace(BOWL, W, deflate=3.0), "deflate must be a whole number, got 3.0"),
    (lambda: hessian_density(BOWL, W, probes=True), "probes must be a whole number, got True"),
    (lambda: top_eigenvalues(BOWL, W, tol=math.inf), "tol must be positive and finite, got inf"),
    (lambda: pac_bayes(Quadratic([-1.0, -2.0]), W), "no noise up to sigma = .* raises the loss by target = 0.1"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_bad_argument_is_named_with_its_value(number):
    f, message = BAD[number]
    with pytest.raises(ValueError, match=message):
        f()


def test_a_loss_that_overflows_is_no_estimate():
    class Wild(Landscape):
        d = 1

        def losses(self, w, batch=None):
            return torch.exp(1000 * w * w)

    with pytest.raises(FloatingPointError, match="not finite"):
        average_sharpness(Wild(), torch.zeros(1), sigma=10.0)
    with pytest.raises(FloatingPointError, match="not finite within rho"):
        sam_sharpness(Wild(), torch.full((1,), 0.1), rho=10.0)
    with pytest.raises(FloatingPointError, match="not finite"):
        local_oscillation(Wild(), torch.zeros(1), rho=10.0)


def test_lanczos_that_ran_out_of_steps_says_so():
    bowl = Quadratic(torch.linspace(0.99, 1.0, 100).tolist())
    with pytest.warns(RuntimeWarning, match="Lanczos reached 5 steps"):
        top_eigenvalues(bowl, random(100, seed=1), tol=1e-9, max_steps=5)


def test_what_has_reached_its_precision_warns_of_nothing():
    bowl, w = Quadratic(torch.linspace(0.1, 1.0, 100).tolist()), random(100, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert top_eigenvalues(bowl, w, tol=1e-3).item() == pytest.approx(1.0, rel=1e-3)
        assert hessian_trace(bowl, w, rtol=0.05, deflate=0).value == pytest.approx(55.0, rel=0.2)


def test_a_gradient_that_is_not_finite_is_no_noise_of_zero():
    class Kink(Landscape):
        d, n = 1, 2

        def losses(self, w, batch=None):
            return w.abs().sqrt() * torch.ones(2 if batch is None else len(batch))

    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        gradient_noise(Kink(), torch.zeros(1))
    with pytest.raises(FloatingPointError, match="Hessian is not finite"):
        hessian_nonuniformity(Kink(), torch.zeros(1))


class Exhausted(nn.Module):
    """Runs out of memory in one of its calls or of those of its loss, the one numbered `calls.fails`, and only there."""

    def __init__(self, error):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        self.error, self.calls = error, SimpleNamespace(made=0, fails=None)

    def count(self):
        self.calls.made += 1
        if self.calls.made == self.calls.fails:
            raise self.error

    def forward(self, x):
        self.count()
        return self.layers(x)

    def loss(self, outputs, y):
        self.count()
        return cross_entropy(outputs, y)


LITTLE = {
    "feature_robustness": {"samples": 2, "layer": "layers.2"},
    "hessian_density": {"steps": 2, "probes": 2},
    "hessian_nonuniformity": {"max_steps": 3, "tol": 1.0},
    "local_average": {"rho": 0.1, "samples": 2},
    "local_oscillation": {"rho": 0.1, "samples": 2},
    "pac_bayes": {"samples": 2, "tol": 0.1},
    "relative_flatness": {"layer": "layers.2"},
    "top_eigenvalues": {"max_steps": 3, "tol": 1.0},
} | {name: {"samples": 2} for name in ("average_sharpness", "hessian_frobenius", "hessian_trace")}
"""Of what each needs, for a short test."""
OUT_OF_MEMORY = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY.keys())
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"weight_norm"}))
def test_where_memory_runs_out_no_slower_way_is_taken_instead(name, error):
    """In whichever of the passes and losses it happens, those of the proofs among them."""

    def measured(fails=None):
        torch.manual_seed(0)
        model = Exhausted(error)
        model.calls.fails = fails
        net = Landscape.of(model, model.loss, (torch.randn(6, 3), torch.arange(6) % 3))
        extra = LITTLE.get(name, {}) | ({"v": net.w0} if name == "noise_energy" else {})
        getattr(measures, name)(net, net.w0, **extra)
        return model.calls.made

    passes = measured()
    for fails in {*range(1, min(passes, 40) + 1), passes}:
        with pytest.raises(type(error), match="memory"):
            measured(fails)


@pytest.mark.parametrize("kind", ["half precision", "beyond torch.func"])
def test_where_memory_runs_out_at_the_door_or_in_the_slow_way_it_is_said(kind):
    class Branches(Exhausted):
        def forward(self, x):
            super().forward(x)
            return self.layers(x) * (1.0 if float(x.sum()) > 1e9 else 2.0)

    model = (Exhausted if kind == "half precision" else Branches)(OUT_OF_MEMORY["gpu"])
    data = torch.randn(6, 3), torch.arange(6) % 3
    if kind == "half precision":  # the first pass is in float32
        model.calls.fails = 1
        with pytest.raises(torch.OutOfMemoryError):
            Landscape.of(model.bfloat16(), model.loss, data)
        return
    net = Landscape.of(model, model.loss, data)
    net.per_sample_grads(net.w0)
    net._slow.clear()
    model.calls.made, model.calls.fails = 0, 4  # in the second sample's turn, after torch.func has refused
    with pytest.raises(torch.OutOfMemoryError):
        net.per_sample_grads(net.w0)


class Keeps(nn.Module):
    """In plain attributes, none of which its outputs depend on."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.last, self.sums, self.mean = nn.Linear(4, 3), 0, None, [], torch.zeros(3)

    def forward(self, x):
        z = self.layer(x)
        self.calls, self.last, self.made = self.calls + 1, z, z.detach()
        self.sums.append(z.sum())
        self.mean.add_(1.0)
        return z


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_keeps_in_plain_attributes_is_as_it_was(name):
    torch.manual_seed(0)
    model = Keeps()
    net = Landscape.of(model, cross_entropy, (torch.randn(6, 4), torch.arange(6) % 3))
    call(name, net, net.w0)
    assert (model.calls, model.last, model.sums) == (0, None, []) and not hasattr(model, "made")
    assert torch.equal(model.mean, torch.zeros(3)) and model.mean.dtype == torch.float32


def test_a_frozen_part_that_a_forward_pass_writes_to_is_left_alone_where_it_is_refused():
    class Follows(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key = nn.Linear(4, 3), nn.Linear(4, 3).requires_grad_(False)

        def forward(self, x):
            with torch.no_grad():
                self.key.weight.lerp_(self.query.weight, 0.5)
            return self.query(x) + self.key(x)

    model = Follows()
    before = model.key.weight.clone()
    for params in (None, model.query.parameters()):
        with pytest.raises(ValueError, match="gives something else in every pass"):
            Landscape.of(model, cross_entropy, (torch.randn(6, 4), torch.arange(6) % 3), params=params)
        assert torch.equal(model.key.weight, before)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"weight_norm"}))
def test_what_torch_makes_by_default_has_no_say(name):
    """A default type, and a default device, on which a generator of the processor cannot draw."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    net = Landscape.of(model, cross_entropy, (torch.randn(6, 4), torch.arange(6) % 3))
    expected = call(name, net, net.w0)
    net = Landscape.of(model, cross_entropy, (net.x, net.y))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = call(name, net, net.w0)
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(*(vars(e).values() if hasattr(e, "__dict__") else [e] for e in (expected, found)), strict=True):
        assert torch.equal(torch.as_tensor(a, device="cpu"), torch.as_tensor(b, device="cpu"))


@pytest.mark.parametrize("name", NAMES)
def test_an_autocast_around_a_measure_has_no_say(name):
    """In bfloat16 a small perturbation is lost in rounding, and what is left of a rise of the loss may have any sign."""
    torch.manual_seed(0)
    net = Landscape.of(nn.Linear(4, 3), cross_entropy, (torch.randn(6, 4), torch.arange(6) % 3))
    expected = call(name, net, net.w0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = call(name, net, net.w0)
    for a, b in zip(*(vars(e).values() if hasattr(e, "__dict__") else [e] for e in (expected, found)), strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_a_head_in_another_precision_than_the_body_is_measured_as_one_in_the_same(name):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 5).double(), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(torch.tanh(self.body(x)).to(self.head.weight.dtype))

    torch.manual_seed(0)
    mixed, x, y = Mixed(), torch.randn(6, 4).double(), torch.arange(6) % 3
    values = []
    for model in (mixed, Mixed().double()):
        model.load_state_dict(mixed.state_dict())
        net = Landscape.of(model, cross_entropy, (x, y))
        extra = {"delta": 1.0, "samples": 3} if name == "feature_robustness" else {}
        values.append(float(getattr(measures, name)(net, net.w0, *([net.w0] if name == "noise_energy" else []), **extra)))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_what_cannot_be_measured_is_said_in_a_line():
    data = torch.randn(6, 4), torch.arange(6) % 3
    with pytest.raises(ValueError, match="parameter '0.weight' has no size yet.*call the model on a batch first"):
        Landscape.of(nn.Sequential(nn.LazyLinear(3)), cross_entropy, data)
    fixed = torch.export.export(nn.Linear(4, 3), (data[0],)).module()
    with pytest.raises(ValueError, match="the model does not run on these data: AssertionError: Guard failed"):
        Landscape.of(fixed, cross_entropy, data)
    net = Landscape.of(nn.Linear(4, 3), cross_entropy, (data[0] / 0, data[1]))
    with pytest.raises(ValueError, match="the loss of 4 samples is nan"):
        gradient_noise(net, net.w0)


@pytest.mark.parametrize("measure", [hessian_trace, measures.hessian_frobenius])
@pytest.mark.parametrize(
    "options, told",
    [
        ({"samples": -5}, "samples must be at least 1, got -5"),
        ({"samples": 1.5}, "samples must be a whole number, got 1.5"),
        ({"rtol": -1.0}, "rtol must be positive and finite, got -1.0"),
        ({"probes": "banana"}, "probes must be 'rademacher' or 'gaussian', got 'banana'"),
        ({"deflate": -1}, "deflate must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_sampled_is_refused_where_nothing_has_to_be(measure, options, told):
    """The exact routes, too: of a toy of few weights, and of a network of linear layers and ReLUs."""
    for landscape in (Quadratic([1.0, 3.0]), relu_network()):
        with pytest.raises(ValueError, match=told):
            measure(landscape, torch.zeros(landscape.d, dtype=torch.float64), **options)


@pytest.mark.parametrize("measure", [hessian_trace, measures.hessian_frobenius])
def test_a_curvature_that_is_not_finite_is_no_exact_number(measure):
    for landscape in (Quadratic([1.0, math.inf]), relu_network()):
        w = torch.full((landscape.d,), math.nan, dtype=torch.float64)
        with pytest.raises(FloatingPointError, match="not finite"):
            measure(landscape, w)


CURVATURES = [
    "fisher_rao",
    "gradient_noise",
    "hessian_density",
    "hessian_frobenius",
    "hessian_nonuniformity",
    "hessian_trace",
]
CURVATURES += ["noise_energy", "relative_flatness", "top_eigenvalues"]


@pytest.mark.parametrize("name", CURVATURES)
def test_at_weights_that_are_no_numbers_there_is_no_number(name):
    """Of a network, and of a toy with so many weights that its spectrum is found by Lanczos."""
    network = relu_network()
    with pytest.raises(FloatingPointError, match="not finite"):
        call(name, network, network.w0 * math.nan)
    if name not in PER_SAMPLE:
        bent = Bent(80)
        with pytest.raises(FloatingPointError, match="not finite"):
            call(name, bent, torch.full((80,), math.nan, dtype=torch.float64))


class Bent(Landscape):
    """The sum of fourth powers: its Hessian depends on the weights."""

    def __init__(self, d):
        self.d = d

    def losses(self, w, batch=None):
        return (w**4).sum(-1, keepdim=True)


def relu_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    return Landscape.of(model, cross_entropy, (torch.randn(6, 4).double(), torch.arange(6) % 3))


def test_pac_bayes_names_a_loss_that_is_not_finite_and_a_given_generator_goes_on():
    bowl, w = Quadratic([1.0, 3.0]), torch.zeros(2, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="the loss is not finite at this point"):
        pac_bayes(bowl, w * math.nan)
    generator = torch.Generator().manual_seed(0)
    assert pac_bayes(bowl, w, seed=generator).value != pac_bayes(bowl, w, seed=generator).value


def test_a_batch_without_samples_is_named():
    network, none = relu_network(), torch.arange(0)
    for ask in (network.loss, network.grad, network.losses, network.per_sample_grads):
        with pytest.raises(ValueError, match="the batch holds no samples"):
            ask(network.w0, none)
    with pytest.raises(ValueError, match="the batch holds no samples"):
        rules.micro_gradients(network, 2, none)


def test_a_function_that_is_not_finite_at_zero_has_its_trace_where_the_krylov_space_closes():
    """2 I in three dimensions: one step finds its only eigenvalue."""
    density = hessian_density(Quadratic([2.0, 2.0, 2.0]), torch.zeros(3, dtype=torch.float64))
    assert density.trace(torch.log).value == pytest.approx(3 * math.log(2))
