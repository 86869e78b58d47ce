"""Every network has the derivatives that the measures take."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from flatlab.landscape import Landscape
from flatlab.models import NAMES, build
from tests.models.small_networks import IMAGE, LARGER, LENET, SMALL, shape

LABELS = torch.tensor([0, 2])


LARGE = (
    "wrn28_6", "wrn58_6", "wrn28_10", "pyramidnet110", "vit_small32", "resnext29_32x4d", "densenet100", "resnet56",
)  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in NAMES])
def test_gradient_and_hessian_product_of_every_network(name):
    """The gradient is backward's; the Hessian product is finite and not zero."""
    torch.manual_seed(0)
    taken = {"lenet5": LENET, "fast_cifar": LARGER}.get(name, IMAGE)
    net, x = build(name, taken, 3).eval(), torch.randn(2, *taken)
    landscape = Landscape.of(net, cross_entropy, (x, LABELS))
    gradient = landscape.grad(landscape.w0)
    cross_entropy(net(x), LABELS).backward()
    ours = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
    assert float((gradient - ours).norm() / ours.norm()) < 1e-4
    product = landscape.hvp(landscape.w0, gradient / gradient.norm())
    assert torch.isfinite(product).all() and product.any()


@pytest.mark.parametrize("family", SMALL)
def test_hessian_products_are_differences_of_gradients(family):
    """In double precision, along a direction, where rounding leaves 7 digits; and in batches of points, by vmap."""
    torch.manual_seed(1)
    net = SMALL[family]().double().eval()
    landscape = Landscape.of(net, cross_entropy, (torch.randn(2, *shape(family), dtype=torch.float64), LABELS))
    v = torch.randn_like(landscape.w0)
    # Off the initialization, where zero biases put some ReLUs exactly on their kink.
    w = landscape.w0 + 0.01 * torch.randn_like(landscape.w0)
    step = 1e-6 * v / v.norm()
    difference = (landscape.grad(w + step) - landscape.grad(w - step)) / 2e-6 * v.norm()
    product = landscape.hvp(w, v)
    assert float((product - difference).norm() / product.norm()) < 1e-5
    torch.testing.assert_close(landscape.hvp(torch.stack([w, w]), torch.stack([v, -v])), torch.stack([product, -product]))
    torch.testing.assert_close(landscape.per_sample_grads(w).mean(0), landscape.grad(w))
