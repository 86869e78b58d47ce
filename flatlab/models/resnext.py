"""Residual networks with grouped convolutions for small images (Xie et al. 2017, section 5.3)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from flatlab.models.architecture import Architecture
from flatlab.models.shapes import image
from flatlab.models.weights import he_normal

__all__ = ["ResNeXt"]


class ResNeXt(nn.Module):
    """Images `(b, c, h, w)` to logits `(b, classes)`: a 3x3 convolution of 64 channels, three stages of
    `(depth - 2) / 9` bottlenecks with 256, 512 and 1024 channels, mean over pixels, a linear layer.

    A bottleneck of a stage has `groups` paths of `width`, `2 width` or `4 width` channels; its shortcut is a 1x1
    convolution where the shape changes. He normal initialization. Xie et al. publish 34.4 and 68.1 million weights for
    8 and 16 groups of width 64 at depth 29 (Table 7). 32 groups of width 4, which Tan et al. 2025 train, are in
    pytorchcv: 4775754 weights for 10 classes, 4868004 for 100.

    Raises `ValueError` for a depth that is not `9 n + 2`, or no image shape.

    >>> sum(p.numel() for p in ResNeXt((3, 32, 32), 10).parameters())
    4775754
    """

    def __init__(self, shape: tuple[int, ...], classes: int, depth: int = 29, groups: int = 32, width: int = 4):
        super().__init__()
        channels = image(f"resnext{depth}_{groups}x{width}d", shape)
        if depth < 11 or depth % 9 != 2:
            raise ValueError(f"the depth of a ResNeXt for small images is 9 n + 2 with n >= 1, got {depth}")
        self.into, self.norm = nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        blocks, inside = [], 64
        for stage in range(3):
            for k in range(depth // 9):
                stride = 2 if stage and not k else 1
                blocks.append(_Bottleneck(inside, 256 * 2**stage, groups * width * 2**stage, groups, stride))
                inside = 256 * 2**stage
        self.blocks, self.out = nn.Sequential(*blocks), nn.Linear(inside, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = self.blocks(relu(self.norm(self.into(x))))
        return self.out(x.mean((2, 3)))


MAKE = partial(ResNeXt, depth=29, groups=32, width=4)
RESNEXT29 = Architecture(name="resnext29_32x4d", title="ResNeXt-29 32x4d", place=9, make=MAKE)


class _Bottleneck(nn.Module):
    def __init__(self, inside: int, outside: int, middle: int, groups: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inside, middle, 1, bias=False), nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=groups, bias=False)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv3, self.norm3 = nn.Conv2d(middle, outside, 1, bias=False), nn.BatchNorm2d(outside)
        self.shortcut = nn.Identity()
        if inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(self.conv1(x)))
        y = relu(self.norm2(self.conv2(y)))
        return relu(self.shortcut(x) + self.norm3(self.conv3(y)))
