"""Every network has the derivatives that the measures take."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from flatlab.landscape import Landscape
from flatlab.models import NAMES, build
from flatlab.models.densenet import DenseNet
from flatlab.models.pyramidnet import PyramidNet
from flatlab.models.resnet import ResNet
from flatlab.models.resnext import ResNeXt
from flatlab.models.vision_transformer import VisionTransformer
from flatlab.models.wide_resnet import WideResNet

LABELS = torch.tensor([0, 2])

SMALL = {
    "perceptron": lambda: build("fcn3", (3, 8, 8), 3),
    "lenet5": lambda: build("lenet5", (3, 28, 28), 3),
    "resnet, A": lambda: ResNet((3, 8, 8), 3, 8, "A"),
    "resnet, B": lambda: ResNet((3, 8, 8), 3, 8, "B"),
    "resnext": lambda: ResNeXt((3, 8, 8), 3, 11, 4, 2),
    "wide resnet": lambda: WideResNet((3, 8, 8), 3, 10, 1),
    "pyramidnet": lambda: PyramidNet((3, 8, 8), 3, 8, 9),
    "pyramidnet, bottleneck": lambda: PyramidNet((3, 8, 8), 3, 11, 9, True),
    "densenet": lambda: DenseNet((3, 8, 8), 3, 10, 4),
    "vision transformer": lambda: VisionTransformer((3, 8, 8), 3, width=24, depth=2, heads=4),
}


@pytest.mark.parametrize("name", NAMES)
def test_gradient_and_hessian_product_of_every_network(name):
    """The gradient is backward's; the Hessian product is finite and not zero."""
    torch.manual_seed(0)
    shape = (3, 28, 28) if name == "lenet5" else (3, 8, 8)
    net, x = build(name, shape, 3).eval(), torch.randn(2, *shape)
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
    side = 28 if family == "lenet5" else 8
    landscape = Landscape.of(net, cross_entropy, (torch.randn(2, 3, side, side, dtype=torch.float64), LABELS))
    v = torch.randn_like(landscape.w0)
    # Off the initialization, where zero biases put some ReLUs exactly on their kink.
    w = landscape.w0 + 0.01 * torch.randn_like(landscape.w0)
    step = 1e-6 * v / v.norm()
    difference = (landscape.grad(w + step) - landscape.grad(w - step)) / 2e-6 * v.norm()
    product = landscape.hvp(w, v)
    assert float((product - difference).norm() / product.norm()) < 1e-5
    torch.testing.assert_close(landscape.hvp(torch.stack([w, w]), torch.stack([v, -v])), torch.stack([product, -product]))
    torch.testing.assert_close(landscape.per_sample_grads(w).mean(0), landscape.grad(w))
