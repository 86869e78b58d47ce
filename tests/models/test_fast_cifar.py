"""fast_cifar is the published recipe's network: whitened patches, identity filters, the largest value of each channel."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, gelu

from flatlab.models import build
from flatlab.models.fast_cifar import FastCifar, whitening
from flatlab.training import Train
from flatlab.training.batches import Scale
from flatlab.training.examples import Examples
from flatlab.training.trainer import Trainer

SHAPE = (3, 12, 12)
WIDTH = (25, 6, 7)


def images(n=64, seed=0):
    """Smooth random images: neighbouring pixels and channels are alike, as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, 14, 14, generator=generator)
    x = x + 2 * x.mean(1, keepdim=True)
    return torch.nn.functional.avg_pool2d(x, 3, 1)


def test_whitened_patches_are_uncorrelated_with_variance_one():
    """Against NumPy: in the basis of the filters the second moments of the patches are l / (l + 5e-4), off it 0."""
    x = images().double()
    windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), (2, 2), (2, 3))
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    filters = whitening(x)
    y = conv2d(x, filters).permute(0, 2, 3, 1).reshape(-1, 24)
    moments = y[:, :12].T @ y[:, :12] / len(y)
    expected = torch.from_numpy(np.diag(variances / (variances + 5e-4)))
    torch.testing.assert_close(moments, expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(filters[12:], -filters[:12])
    assert variances[-1] < 0.05 < 1 < variances[0], "or there would be nothing to whiten"


def test_whitening_sees_every_image():
    """They are taken in parts of a thousand."""
    x = images(2300)
    torch.testing.assert_close(whitening(x), whitening(x.flip(0)), rtol=1e-3, atol=1e-4)
    assert (whitening(x) - whitening(x[:1000])).abs().max() > 1e-3


def test_the_network_is_its_formula():
    torch.manual_seed(0)
    net = FastCifar(SHAPE, 5, WIDTH).double().eval()
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.running_var):
            values.uniform_(0.5, 2.0)
        norm.bias.data.normal_()
        norm.running_mean.normal_()
    torch.nn.init.normal_(net.bias)
    x = images(4).double()
    net.whiten(x)

    def normed(x, norm):
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]

    y = gelu(conv2d(x, whitening(x)) + net.bias[:, None, None])
    for block in net.blocks:
        y = conv2d(y, block.conv1.weight, padding=1)
        side = y.shape[-1] // 2 * 2
        y = y[..., :side, :side].unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2).max(-1).values
        y = gelu(normed(y, block.norm1))
        y = gelu(normed(conv2d(y, block.conv2.weight, padding=1), block.norm2))
    torch.testing.assert_close(net(x), y.flatten(2).max(-1).values @ net.out.weight.T / 9)


def test_convolutions_start_as_the_identity_where_they_can():
    torch.manual_seed(0)
    net = build("fast_cifar", (3, 32, 32), 10, width=(32, 64, 48))
    for block, inside, outside in zip(net.blocks, (24, 32, 64), (32, 64, 48), strict=True):
        x = torch.randn(2, inside, 6, 6)
        same = min(inside, outside)
        assert torch.equal(block.conv1(x)[:, :same], x[:, :same])
        y = torch.randn(2, outside, 6, 6)
        assert torch.equal(block.conv2(y), y)
        rest = block.conv1.weight[same:].detach()
        if len(rest):  # PyTorch's own: uniform on +-1 / sqrt(9 * inside), of that over sqrt 3 as deviation
            assert float(rest.std()) * (27 * inside) ** 0.5 == pytest.approx(1, rel=0.05)


def test_patches_are_no_weights_and_are_saved():
    net = build("fast_cifar", (3, 32, 32), 10)
    assert "patches" in net.state_dict() and "patches" not in dict(net.named_parameters())
    assert not any(p.shape == net.patches.shape for p in net.parameters())
    before = net(torch.randn(2, 3, 32, 32))
    assert before.shape == (2, 10) and before.std() > 0, "a network that nobody whitened still sees its images"


def test_the_trainer_whitens_by_scaled_training_images():
    setting = Train(network="fast_cifar", width=WIDTH, epochs=2, batch=32, schedule="triangle", nesterov=True)
    x = (40 * images(64) + 128).clamp(0, 255).to(torch.uint8)
    y = torch.arange(64) % 3
    source = Examples((x, y), (x[:8], y[:8]), "test", Scale(x), 3, "")
    trainer = Trainer(setting, source, torch.device("cpu"))
    torch.testing.assert_close(trainer.model.patches, whitening(source.scale(x)))
    before = trainer.model.bias.detach().clone()
    while not trainer.finished:
        for _ in trainer.advance():
            pass
    torch.testing.assert_close(trainer.model.patches, whitening(source.scale(x)), msg="training leaves them alone")
    assert (trainer.model.bias != before).all(), "their bias is trained"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: FastCifar(SHAPE, 10, (64, 256)), r"width must be three integers >= 1, .* got \(64, 256\)"),
        (lambda: FastCifar(SHAPE, 10, (64, 0, 256)), r"width must be three .* got \(64, 0, 256\)"),
        (lambda: FastCifar(SHAPE, 10, (64, 2.5, 256)), r"width must be three .* got \(64, 2.5, 256\)"),
        (lambda: build("fast_cifar", (3, 8, 8), 10), r"fast_cifar takes images .* at least 9x9, got \(3, 8, 8\)"),
        (lambda: build("fast_cifar", (784,), 10), r"fast_cifar takes images .* got \(784,\)"),
        (lambda: build("resnet20", SHAPE, 10, width=(1, 2, 3)), r"for fast_cifar only, got \(1, 2, 3\) for 'resnet20'"),
        (lambda: whitening(torch.zeros(2, 3, 1, 5)), r"at least 2x2, got \(2, 3, 1, 5\)"),
    ],
)
def test_errors_name_what_came_and_what_is_allowed(call, says):
    with pytest.raises(ValueError, match=says):
        call()
