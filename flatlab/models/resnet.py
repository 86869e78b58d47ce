"""Residual networks for small images (He et al. 2016, section 4.2)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from flatlab.models.architecture import Architecture
from flatlab.models.shapes import image
from flatlab.models.weights import he_normal

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """Images `(b, c, h, w)` to logits `(b, classes)`: a 3x3 convolution, three stages of `(depth - 2) / 6` blocks of 16,
    32 and 64 channels, mean over pixels, a linear layer. He normal initialization.

    Where a stage widens, `shortcut="A"` takes every second pixel and adds zero channels, without weights: the shortcut
    of He et al., to which their 0.27 million weights at depth 20 and 0.85 at depth 56 belong. `shortcut="B"` is a 1x1
    convolution with BatchNorm, as in pytorchcv, the package with which StableSAM was tested (Tan et al. 2025, section
    6.1).

    Raises `ValueError` for a depth that is not `6 n + 2`, another shortcut, or no image shape.

    >>> for shortcut in "AB":
    ...     print([sum(p.numel() for p in ResNet((3, 32, 32), 10, depth, shortcut).parameters()) for depth in (20, 56)])
    [269722, 853018]
    [272474, 855770]
    """

    def __init__(self, shape: tuple[int, ...], classes: int, depth: int = 20, shortcut: str = "B"):
        super().__init__()
        channels = image(f"resnet{depth}", shape)
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"the depth of a ResNet for small images is 6 n + 2 with n >= 1, got {depth}")
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' or 'B', got {shortcut!r}")
        self.into, self.norm = nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        n = depth // 6
        widths = [16] * (n + 1) + [32] * n + [64] * n
        pairs = zip(widths, widths[1:], strict=False)
        self.blocks = nn.Sequential(*(_Block(a, b, 1 if a == b else 2, shortcut) for a, b in pairs))
        self.out = nn.Linear(64, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = self.blocks(relu(self.norm(self.into(x))))
        return self.out(x.mean((2, 3)))


RESNET20 = Architecture(name="resnet20", title="ResNet-20", place=7, make=partial(ResNet, depth=20))
RESNET56 = Architecture(name="resnet56", title="ResNet-56", place=8, make=partial(ResNet, depth=56))


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        if inside == outside:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = _Padded(stride, outside - inside)
        else:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(self.shortcut(x) + y)


class _Padded(nn.Module):
    def __init__(self, stride: int, extra: int):
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        half = self.extra // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
