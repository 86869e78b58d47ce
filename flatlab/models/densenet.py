"""Densely connected networks for small images, DenseNet-BC (Huang et al. 2017)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from flatlab.models.architecture import Architecture
from flatlab.models.shapes import image
from flatlab.models.weights import he_normal

__all__ = ["DenseNet"]


class DenseNet(nn.Module):
    """DenseNet-BC with `growth` rate k: images `(b, c, h, w)` to logits `(b, classes)`.

    A 3x3 convolution of `2 k` channels, three stages of `(depth - 4) / 6` layers, BatchNorm, ReLU, mean over pixels, a
    linear layer. A layer is BatchNorm, ReLU, 1x1 convolution to `4 k` channels, BatchNorm, ReLU, 3x3 convolution to
    `k`, put after its input's channels; between stages BatchNorm, ReLU, a 1x1 convolution to half the channels and 2x2
    mean pooling. No dropout. He normal initialization.

    Huang et al. publish 0.8, 15.3 and 25.6 million weights for depth 100 and k = 12, 250 and 24, 190 and 40 (Table 2).
    The paper on nonuniformity names depth 100 alone.

    Raises `ValueError` for a depth that is not `6 n + 4`, or no image shape.

    >>> sum(p.numel() for p in DenseNet((3, 32, 32), 10).parameters())
    769162
    """

    def __init__(self, shape: tuple[int, ...], classes: int, depth: int = 100, growth: int = 12):
        super().__init__()
        channels = image(f"densenet{depth}", shape)
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"the depth of a DenseNet-BC for small images is 6 n + 4 with n >= 1, got {depth}")
        inside = 2 * growth
        self.into = nn.Conv2d(channels, inside, 3, 1, 1, bias=False)
        blocks: list[nn.Module] = []
        for stage in range(3):
            if stage:
                blocks.append(_Transition(inside, inside // 2))
                inside //= 2
            for _ in range(depth // 6):
                blocks.append(_Layer(inside, growth))
                inside += growth
        self.blocks, self.norm, self.out = nn.Sequential(*blocks), nn.BatchNorm2d(inside), nn.Linear(inside, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = relu(self.norm(self.blocks(self.into(x))))
        return self.out(x.mean((2, 3)))


DENSENET100 = Architecture(name="densenet100", title="DenseNet-100", place=14, make=partial(DenseNet, depth=100, growth=12))


class _Layer(nn.Module):
    def __init__(self, inside: int, growth: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inside), nn.Conv2d(inside, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(relu(self.norm1(x)))
        return torch.cat([x, self.conv2(relu(self.norm2(y)))], 1)


class _Transition(nn.Module):
    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inside), nn.Conv2d(inside, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(self.conv(relu(self.norm(x))), 2)
