"""Any gradient of finite entries gives a step of the length that rho says, from the smallest number to the largest."""

import pytest
import torch
from methods_under_test import WHOLE, each
from torch.optim import SGD

SIZES = [1e-44, 1e-40, 1e-30, 1e-23, 1e-12, 1.0, 1e15, 1e25, 1e37]


def climbed(method, size, dtype=torch.float32, **options):
    """Where the passes of a step ran, of a loss that is linear with slopes of that size."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=dtype, requires_grad=True)
    opt, seen = method(SGD([w], lr=0.0), **options), []
    slopes = size * torch.tensor([3.0, 4.0, 0.0], dtype=dtype)

    def closure():
        seen.append(w.detach().clone())
        w.grad = slopes.clone()
        return torch.tensor(1.0)

    opt.step(closure)
    return [v - seen[0] for v in seen[1:]], w.grad, slopes


@each([opt for opt in WHOLE if opt.method.options["rho"].unit.startswith("the weights") and not opt.method.draws])
@pytest.mark.parametrize("size", SIZES)
def test_the_climb_is_rho_long_whatever_the_size_of_the_gradient(method, size):
    (climb, *_), direction, slopes = climbed(method, size, rho=0.25)
    torch.testing.assert_close(climb, 0.25 * torch.tensor([0.6, 0.8, 0.0]), rtol=0.05 if size < 1e-42 else 1e-4, atol=1e-6)
    torch.testing.assert_close(direction, slopes, rtol=0.05 if size < 1e-42 else 1e-5, atol=0)


@each([opt for opt in WHOLE if opt.method.options["rho"].unit.startswith("the weights") and not opt.method.draws])
@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e307])
def test_so_it_is_in_double_precision(method, size):
    (climb, *_), direction, slopes = climbed(method, size, torch.float64, rho=0.25)
    expected = 0.25 * torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    torch.testing.assert_close(climb, expected, rtol=1e-3, atol=1e-12)
    torch.testing.assert_close(direction, slopes, rtol=1e-3, atol=0)
