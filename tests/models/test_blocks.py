"""Each family's block, against its formula as its paper gives it: which sizes alone do not tell."""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, pad

from flatlab.models.densenet import DenseNet
from flatlab.models.pyramidnet import PyramidNet
from flatlab.models.resnet import ResNet
from flatlab.models.resnext import ResNeXt
from flatlab.models.wide_resnet import WideResNet

SHAPE = (3, 8, 8)


def relu(x):
    return x.clamp(min=0)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def eventful(net):
    """In double precision and eval mode, with norm layers that do something."""
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
    return net.double().eval()


def inputs(channels, side=8):
    return torch.randn(2, channels, side, side, dtype=torch.float64)


def test_resnet_norm_after_convolution_relu_after_sum():
    same, wider = eventful(ResNet(SHAPE, 3, 14, "B")).blocks[1:3]
    x = inputs(16)
    for b in (same, wider):
        y = b.norm2(b.conv2(relu(b.norm1(b.conv1(x)))))
        shortcut = x if b is same else b.shortcut[1](b.shortcut[0](x))
        torch.testing.assert_close(b(x), relu(shortcut + y))
    assert wider(x).shape == (2, 32, 4, 4)


def test_resnext_is_a_sum_of_paths():
    """Xie et al., equation 2: a bottleneck with 4 groups is the sum of 4 paths of width 2."""
    b = eventful(ResNeXt(SHAPE, 3, 11, groups=4, width=2)).blocks[0]
    x, scale = inputs(64), (b.norm3.weight / (b.norm3.running_var + 1e-5).sqrt())[:, None, None]
    total = (b.norm3.bias - b.norm3.running_mean * scale[:, 0, 0])[:, None, None]
    middle = relu(b.norm1(b.conv1(x)))
    grouped = relu(b.norm2(b.conv2(middle)))
    for path in range(4):
        own = slice(2 * path, 2 * path + 2)
        y = nn.functional.conv2d(middle[:, own], b.conv2.weight[own], padding=1)
        shape = (1, 2, 1, 1)
        y = (y - b.norm2.running_mean[own].view(shape)) / (b.norm2.running_var[own].view(shape) + 1e-5).sqrt()
        y = relu(y * b.norm2.weight[own].view(shape) + b.norm2.bias[own].view(shape))
        torch.testing.assert_close(grouped[:, own], y)
        total = total + scale * nn.functional.conv2d(y, b.conv3.weight[:, own])
    torch.testing.assert_close(b(x), relu(b.shortcut[1](b.shortcut[0](x)) + total))


def test_wide_resnet_norm_first_and_the_shortcut_after_the_first_relu():
    first, same, wider = eventful(WideResNet(SHAPE, 3, 16, 2)).blocks[:3]
    for b, channels in ((first, 16), (same, 32), (wider, 32)):
        x = inputs(channels)
        y = relu(b.norm1(x))
        shortcut = x if b is same else b.shortcut(y)
        torch.testing.assert_close(b(x), shortcut + b.conv2(relu(b.norm2(b.conv1(y)))))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_pyramidnet_has_one_relu_less_and_a_norm_at_the_end(bottleneck):
    net = eventful(PyramidNet(SHAPE, 3, 11 if bottleneck else 8, 9, bottleneck))
    x = net.first(net.into(inputs(3)))
    for k, block in enumerate(net.blocks):
        norms = [m for m in block.body if isinstance(m, nn.BatchNorm2d)]
        convs = [m for m in block.body if isinstance(m, nn.Conv2d)]
        y = convs[0](norms[0](x))
        for norm, conv in zip(norms[1:], convs[1:], strict=False):
            y = conv(relu(norm(y)))
        y = norms[-1](y)
        shortcut = avg_pool2d(x, 2) if k else x
        shortcut = pad(shortcut, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        torch.testing.assert_close(block(x), shortcut + y)
        x = block(x)
        assert x.shape[1] == (19 + 3 * k) * (4 if bottleneck else 1)


def test_densenet_keeps_its_inputs_and_halves_between_stages():
    net = eventful(DenseNet(SHAPE, 3, 10, 4))
    layer, transition = net.blocks[:2]
    x = inputs(8)
    y = layer(x)
    assert torch.equal(y[:, :8], x)
    torch.testing.assert_close(y[:, 8:], layer.conv2(relu(layer.norm2(layer.conv1(relu(layer.norm1(x)))))))
    torch.testing.assert_close(transition(y), avg_pool2d(transition.conv(relu(transition.norm(y))), 2))
    assert transition(y).shape == (2, 6, 4, 4)
