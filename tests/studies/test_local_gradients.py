"""LSAM's gradient beside another minibatch's, and the slice through two solutions."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from flatlab.data import load
from flatlab.landscape import Landscape
from flatlab.models import build
from flatlab.studies import LocalGradients, NetworkSlice
from flatlab.studies.local_gradients import gradient
from flatlab.training.batches import Scale


def test_the_gradient_is_that_of_the_landscape():
    digits = load("digits")
    x, y = digits.x_train[:32].float() / 16, digits.y_train[:32]
    torch.manual_seed(0)
    net = build("logistic", (1, 8, 8), 10)
    landscape = Landscape.of(net, cross_entropy, (x, y))
    loss, g = gradient(net, landscape.w0, x, y)
    assert loss == pytest.approx(float(landscape.loss(landscape.w0)), rel=1e-6)
    torch.testing.assert_close(g, landscape.grad(landscape.w0))


def test_more_draws_change_the_gradient_less_and_a_wider_ball_more():
    small = {"data": "digits", "network": "logistic", "steps": (5,), "lr": 0.01}
    setting = LocalGradients(**small, rhos=(0.1, 1.0), batches=2, others=4)
    (state,) = setting.run()["states"]
    near, far = state["balls"]
    for ball in (near, far):
        assert list(ball["change"]) == ["1", "2", "3", "4", "8", "16"]
        for sizes in (ball["change"], ball["loss_spread"]):
            assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
            assert sizes["1"] / sizes["4"] == pytest.approx(2, rel=0.35)
        noise = ball["change"]["1"] ** 2 - ball["systematic"]
        for k, change in ball["change"].items():
            assert change**2 == pytest.approx(ball["systematic"] + noise / int(k), rel=0.3), "mean^2 + variance / k"
        assert ball["loss_spread"]["1"] > abs(ball["loss_change"])
        assert ball["sam_loss_change"] > ball["loss_change"]
    assert far["change"]["1"] / near["change"]["1"] == pytest.approx(10, rel=0.2), "a smooth loss: proportional to rho"


def test_fewer_minibatches_than_are_asked_for_are_told():
    """The twelfth of digits would be the first once more, and would pass for another draw."""
    with pytest.raises(ValueError, match=r"others = 12 minibatches of batch = 128 take more than the 1437 .* of digits"):
        LocalGradients(data="digits", network="logistic").run()


@pytest.mark.slow
def test_a_small_ball_changes_loss_and_gradient_as_the_derivatives_say():
    """E|Hu|^2 = rho^2 tr(H^2) / (d + 2) and E(g'u)^2 = rho^2 |g|^2 / (d + 2), of one minibatch at the start."""
    rho = 1e-2
    setting = LocalGradients(data="digits", network="logistic", steps=(0,), rhos=(rho, 10.0), batches=1, others=2)
    (state,) = setting.run()["states"]
    ball, wide = state["balls"]
    digits = load("digits")
    rows = torch.randperm(len(digits.y_train), generator=torch.Generator().manual_seed(2))[:128]
    torch.manual_seed(1)
    batch = Scale(digits.x_train)(digits.x_train[rows]), digits.y_train[rows]
    landscape = Landscape.of(build("logistic", (1, 8, 8), 10), cross_entropy, batch)
    w = landscape.w0
    d = len(w)
    hessian = torch.stack([landscape.hvp(w, v) for v in torch.eye(d)])
    assert ball["change"]["1"] == pytest.approx(rho * (hessian.square().sum().item() / (d + 2)) ** 0.5, rel=0.1)
    assert ball["loss_spread"]["1"] == pytest.approx(rho * landscape.grad(w).norm().item() / (d + 2) ** 0.5, rel=0.3)
    assert wide["loss_change"] > 5 * wide["loss_change_error"], "a convex loss rises on average"


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"rhos": (0.0, 0.1)}, "rhos must be increasing and > 0, got"),
        ({"rhos": (0.2, 0.1)}, "rhos must be increasing"),
        ({"draws": 32}, r"multiple of every k in \(1, 2, 3, 4, 8, 16\), got 32"),
        ({"ks": (0, 2)}, r"ks must be increasing and >= 1, got \(0, 2\)"),
        ({"draws": 1, "ks": (1,)}, "draws must be >= 2, got 1"),
        ({"others": 1}, "others must be >= 2, got 1"),
        ({"others": 2}, "others must be at least the 3 batches, got 2"),
        ({"lr": 0.0}, "lr must be > 0"),
    ],
)
def test_wrong_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        LocalGradients(**wrong)


def test_a_slice_passes_through_both_solutions():
    result = NetworkSlice(hidden=20, until=0.3, points=7, reach=3.0).run()
    assert result["step"] == 1.0
    assert max(result["train"][2], result["train"][4]) <= 0.301, "-1 and 1 are the solutions"
    assert result["train"][3] > 0.3, "and there is a barrier between them"


def test_a_slice_that_does_not_get_there_says_so():
    with pytest.raises(RuntimeError, match=r"batches of 8: the training loss is above 1e-05 after 1 epochs"):
        NetworkSlice(hidden=5, until=1e-5, epochs=1).run()
