"""Wide residual networks (Zagoruyko and Komodakis 2016)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from flatlab.models.architecture import Architecture
from flatlab.models.shapes import image
from flatlab.models.weights import he_normal

__all__ = ["WideResNet"]


class WideResNet(nn.Module):
    """WRN-`depth`-`widen`: images `(b, c, h, w)` to logits `(b, classes)`.

    A 3x3 convolution of 16 channels, three stages of `(depth - 4) / 6` blocks BatchNorm, ReLU, convolution, twice, with
    `16 widen`, `32 widen` and `64 widen` channels, BatchNorm, ReLU, mean over pixels, a linear layer. Where the shape
    changes, the shortcut is a 1x1 convolution of the first ReLU's output. No dropout. He normal initialization.

    Zagoruyko and Komodakis publish 36.5 million weights for WRN-28-10, 11.0 for WRN-16-8 and 8.9 for WRN-40-4
    (Table 5).

    Raises `ValueError` for a depth that is not `6 n + 4`, or no image shape.

    >>> sum(p.numel() for p in WideResNet((3, 32, 32), 10, depth=40, widen=4).parameters())
    8949210
    """

    def __init__(self, shape: tuple[int, ...], classes: int, depth: int = 28, widen: int = 10):
        super().__init__()
        channels = image(f"wrn{depth}_{widen}", shape)
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"the depth of a wide ResNet is 6 n + 4 with n >= 1, got {depth}")
        self.into = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        blocks, inside = [], 16
        for stage in range(3):
            for k in range(depth // 6):
                blocks.append(_Block(inside, 16 * widen * 2**stage, 2 if stage and not k else 1))
                inside = 16 * widen * 2**stage
        self.blocks, self.norm, self.out = nn.Sequential(*blocks), nn.BatchNorm2d(inside), nn.Linear(inside, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = relu(self.norm(self.blocks(self.into(x))))
        return self.out(x.mean((2, 3)))


# "Resnet-28-6" and "Resnet-58-6" in the paper on nonuniformity: both depths are 6 n + 4, a wide ResNet's.
WRN28_6 = Architecture(name="wrn28_6", title="WRN-28-6", place=10, make=partial(WideResNet, depth=28, widen=6))
WRN58_6 = Architecture(name="wrn58_6", title="WRN-58-6", place=11, make=partial(WideResNet, depth=58, widen=6))
WRN28_10 = Architecture(name="wrn28_10", title="WRN-28-10", place=12, make=partial(WideResNet, depth=28, widen=10))


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inside), nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(outside), nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        changes = inside != outside or stride != 1
        self.shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        return x + self.conv2(relu(self.norm2(self.conv1(y))))
