"""The papers' networks: sizes as published, the same weights from the same seed, both memory formats."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from flatlab.models import NAMES, build
from flatlab.models.densenet import DenseNet
from flatlab.models.perceptrons import perceptron
from flatlab.models.pyramidnet import PyramidNet
from flatlab.models.resnet import ResNet
from flatlab.models.resnext import ResNeXt
from flatlab.models.vision_transformer import VisionTransformer
from flatlab.models.weights import he_normal
from flatlab.models.wide_resnet import WideResNet
from flatlab.studies.gradient_pairs import network
from tests.models.small_networks import CONVOLUTIONAL, SMALL, shape

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)

# Millions of weights, in the papers' own rounding.
PUBLISHED = {
    "ResNet-20, option A: He et al. 2016, Table 6": (partial(ResNet, depth=20, shortcut="A"), 0.27, 2),
    "ResNet-56, option A: He et al. 2016, Table 6": (partial(ResNet, depth=56, shortcut="A"), 0.85, 2),
    "ResNet-110, option A: He et al. 2016, Table 6": (partial(ResNet, depth=110, shortcut="A"), 1.7, 1),
    "ResNeXt-29, 8x64d: Xie et al. 2017, Table 7": (partial(ResNeXt, groups=8, width=64), 34.4, 1),
    "WRN-40-4: Zagoruyko and Komodakis 2016, Table 5": (partial(WideResNet, depth=40, widen=4), 8.9, 1),
    "WRN-16-8: Zagoruyko and Komodakis 2016, Table 5": (partial(WideResNet, depth=16, widen=8), 11.0, 1),
    "WRN-28-10: Zagoruyko and Komodakis 2016, Table 5": (partial(WideResNet, depth=28, widen=10), 36.5, 1),
    "DenseNet-BC 100, k=12: Huang et al. 2017, Table 2": (partial(DenseNet, depth=100, growth=12), 0.8, 1),
    "DenseNet-BC 250, k=24: Huang et al. 2017, Table 2": (partial(DenseNet, depth=250, growth=24), 15.3, 1),
    "DenseNet-BC 190, k=40: Huang et al. 2017, Table 2": (partial(DenseNet, depth=190, growth=40), 25.6, 1),
}

# Weights for 10 classes. Those of convolutional networks are also pytorchcv's, in its table for CIFAR-10.
COUNTED = {
    "resnet20": 272_474,
    "resnet56": 855_770,
    "resnext29_32x4d": 4_775_754,
    "wrn28_10": 36_479_194,
    "pyramidnet110": 28_485_477,
    "densenet100": 769_162,
    "lenet5": 62_006,  # 456 + 2416 + 48120 + 10164 + 850
    "logistic": 30_730,  # 3072 * 10 + 10
    "mlp512_256": 1_707_274,  # 3072 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10
}


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("source", PUBLISHED)
def test_sizes_are_those_published(source):
    make, millions, digits = PUBLISHED[source]
    with torch.device("meta"):
        assert round(count(make(CIFAR, 10)) / 1e6, digits) == millions


@pytest.mark.parametrize("name", COUNTED)
def test_names_stand_for_these_sizes(name):
    with torch.device("meta"):
        assert count(build(name, CIFAR, 10)) == COUNTED[name]


def test_other_sizes_by_hand_and_from_other_code():
    with torch.device("meta"):
        assert count(build("fcn", MNIST, 10)) == 648_010
        assert count(build("fcn3", MNIST, 10)) == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
        assert count(build("lenet5", MNIST, 10)) == 61_706
        assert count(build("resnext29_32x4d", CIFAR, 100)) - 4_775_754 == 90 * 1025
        # pytorchcv's PyramidNet-110 with alpha 48 and 84; timm's vit_small_patch16_224.
        assert [count(PyramidNet(CIFAR, 10, 110, alpha)) for alpha in (48, 84)] == [1_772_706, 3_904_446]
        assert count(VisionTransformer((3, 224, 224), 1000, 16)) == 22_050_664


@pytest.mark.parametrize("name", NAMES)
def test_every_network_maps_its_inputs_to_logits(name):
    """On the meta device: shapes only."""
    with torch.device("meta"):
        assert build(name, CIFAR, 7)(torch.empty(2, *CIFAR)).shape == (2, 7)


@pytest.mark.parametrize("name", ["logistic", "fcn", "fcn3", "mlp512_256"])
def test_perceptrons_take_vectors_and_images_alike(name):
    torch.manual_seed(0)
    flat = build(name, (12,), 3).eval()
    torch.manual_seed(0)
    image = build(name, (3, 2, 2), 3).eval()
    x = torch.randn(5, 3, 2, 2)
    assert torch.equal(flat(x.flatten(1)), image(x))


SEEDED = [n for n in NAMES if not n.startswith(("wrn", "pyramid"))]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "vit_small32" else n for n in SEEDED])
def test_the_seed_fixes_the_weights(name):
    def weights(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build(name, CIFAR, 10).parameters())

    first = weights(3)
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))


def test_fcn_starts_where_the_gradient_pairs_start():
    """The records of the two gradients stand for this network."""
    torch.manual_seed(5)
    theirs = network(784, (500, 500), 10)
    torch.manual_seed(5)
    ours = build("fcn", MNIST, 10)
    for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a, b)
    x = torch.randn(3, *MNIST)
    assert torch.equal(theirs(x.flatten(1)), ours(x))


def test_convolutions_start_he_normal_by_fan_out():
    """Variance 2 / (9 channels out): to 1 percent over 6 million weights; groups divide the fan."""
    torch.manual_seed(0)
    net = WideResNet(CIFAR, 10, 16, 8)
    scaled = [m.weight * (m.out_channels * m.kernel_size[0] ** 2 / 2) ** 0.5 for m in net.modules() if type(m) is nn.Conv2d]
    ratios = [float(s.detach().std()) for s in scaled if s.numel() > 100_000]
    assert len(ratios) == 12
    assert ratios == pytest.approx([1.0] * 12, rel=0.01)
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in net.modules() if type(m) is nn.BatchNorm2d)
    assert (net.out.bias == 0).all()
    grouped = he_normal(nn.Conv2d(256, 256, 3, groups=8))
    assert float(grouped.weight.detach().std()) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.01)


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_channels_last_changes_the_layout_and_nothing_else(family):
    torch.manual_seed(0)
    net = SMALL[family]().double().eval()
    x = torch.randn(2, *shape(family), dtype=torch.float64)
    plain = net(x)
    net.to(memory_format=torch.channels_last)
    layouts = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: layouts.append(o.is_contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last)), plain)
    assert layouts and all(layouts)


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    """With the residual branch at zero, a widening block is its shortcut and a ReLU."""
    block = ResNet((3, 8, 8), 3, 8, "A").eval().blocks[1]
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


def test_attention_is_scaled_dot_product_attention():
    torch.manual_seed(0)
    block = VisionTransformer((3, 8, 8), 3, width=24, depth=1, heads=4).blocks[0].double()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    q, k, v = (t.view(2, 5, 4, 6).transpose(1, 2) for t in block.qkv(x).chunk(3, -1))
    fused = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 24)
    torch.testing.assert_close(block.attention(x), fused)


def test_28_pixels_are_32_with_a_frame_of_zeros():
    """LeNet-5 on MNIST is LeNet-5 on MNIST placed in 32x32."""
    torch.manual_seed(0)
    small = build("lenet5", MNIST, 10)
    torch.manual_seed(0)
    large = build("lenet5", (1, 32, 32), 10)
    x = torch.randn(2, *MNIST)
    torch.testing.assert_close(small(x), large(nn.functional.pad(x, (2, 2, 2, 2))))


def test_dropout_is_the_papers_and_only_there():
    rates = {name: [m.p for m in make(name).modules() if isinstance(m, nn.Dropout)] for name in NAMES}
    assert rates.pop("mlp512_256") == [0.3, 0.3]
    assert not any(rates.values())


def make(name):
    with torch.device("meta"):
        return build(name, CIFAR, 10)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: build("resnet_20", CIFAR, 10), r"'resnet_20'; did you mean 'resnet20'\? Allowed: logistic, fcn"),
        (lambda: build("resnet20", (784,), 10), r"resnet20 takes images .* got \(784,\)"),
        (lambda: build("wrn28_6", (3, 2, 32), 10), r"wrn28_6 takes images .* 4x4, got \(3, 2, 32\)"),
        (lambda: build("lenet5", (3, 64, 64), 10), r"lenet5 takes .* got \(3, 64, 64\)"),
        (lambda: build("vit_small32", (3, 30, 32), 10), r"a vision transformer takes .* multiples of 4, got \(3, 30, 32\)"),
        (lambda: build("fcn", (), 10), r"fcn: shape must hold positive integers"),
        (lambda: build("fcn", (28.0, 28), 10), r"fcn: shape must hold positive integers"),
        (lambda: build("fcn", MNIST, 0), r"fcn: classes must be an integer >= 1, got 0"),
        (lambda: build("fcn", MNIST, 10, pretrained=True), r"timm:NAME only, got 'fcn'"),
        (lambda: ResNet(CIFAR, 10, 21), r"6 n \+ 2 .* got 21"),
        (lambda: ResNet(CIFAR, 10, 20, "C"), r"'A' or 'B', got 'C'"),
        (lambda: ResNeXt(CIFAR, 10, 30), r"9 n \+ 2 .* got 30"),
        (lambda: WideResNet(CIFAR, 10, 30), r"6 n \+ 4 .* got 30"),
        (lambda: PyramidNet(CIFAR, 10, 108), r"without bottleneck is 6 n \+ 2 .* got 108"),
        (lambda: PyramidNet(CIFAR, 10, 110, -1), r"alpha must be >= 0, got -1"),
        (lambda: DenseNet(CIFAR, 10, 99), r"6 n \+ 4 .* got 99"),
        (lambda: VisionTransformer(CIFAR, 10, heads=5), r"divide the width 384, got 5"),
    ],
)
def test_errors_name_what_came_and_what_is_allowed(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_hidden_layers_are_as_named():
    assert [tuple(p.shape) for p in perceptron((4,), 2, (3,)).parameters()] == [(3, 4), (3,), (2, 3), (2,)]


def test_lenet_pools_before_it_rectifies_and_nothing_changes():
    """Pooling rectified maps, as LeNet is drawn, gives the same outputs and gradients, bit by bit."""
    torch.manual_seed(0)
    net, x = build("lenet5", CIFAR, 10), torch.randn(16, *CIFAR)
    ours = net(x)
    h = max_pool2d(relu(net.conv2(max_pool2d(relu(net.conv1(x)), 2))), 2)
    drawn = net.out(relu(net.linear2(relu(net.linear1(h.flatten(1))))))
    assert torch.equal(ours, drawn)
    weights = list(net.parameters())
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), weights) for y in (ours, drawn)), strict=True):
        assert torch.equal(a, b)
