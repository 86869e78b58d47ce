"""A network that learns CIFAR-10 in a dozen epochs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, max_pool2d

from flatlab.models.architecture import Architecture
from flatlab.models.shapes import image

__all__ = ["FastCifar", "whitening"]

SIDE = 2
"""Pixels along a side of the patches that are whitened."""
FLOOR = 5e-4
"""Added to the variances: directions in which images hardly vary would else be blown up to noise."""


class FastCifar(nn.Module):
    """Images `(b, c, h, w)` to logits `(b, classes)`: whitened 2x2 patches, three blocks of two 3x3 convolutions, the
    largest value of each channel, a linear layer without bias whose outputs are divided by 9.

    A block of width `v` is convolution - 2x2 max pooling - BatchNorm - GELU - convolution - BatchNorm - GELU. As many
    filters as a convolution has inputs start as the identity; the others, and the last layer, in PyTorch's own
    initialization. The `8 c` filters of the patches are no weights: `whiten` computes them once, from training images, and
    only their bias is trained. Until then they give each pixel of a patch and its negative, as for images of white noise.

    What belongs to that recipe's training (frozen BatchNorm weights, Lookahead, averages over test-time views) is not
    here.

    Raises `ValueError` for widths that are not three positive integers, and for images smaller than 9x9.

    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.

    >>> for width in ((64, 256, 256), (32, 128, 128)):
    ...     print(sum(p.numel() for p in FastCifar((3, 32, 32), 10, width).parameters()))
    1972504
    497816
    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: tuple[int, ...] = (64, 256, 256)):
        super().__init__()
        channels = image("fast_cifar", shape, 9)
        if len(width) != 3 or not all(isinstance(v, int) and v >= 1 for v in width):
            raise ValueError(f"fast_cifar: width must be three integers >= 1, as (64, 256, 256), got {tuple(width)!r}")
        pixels = torch.eye(channels * SIDE**2).view(-1, channels, SIDE, SIDE)
        self.register_buffer("patches", torch.cat([pixels, -pixels]))
        filters = len(self.patches)
        self.bias = nn.Parameter(torch.zeros(filters))
        widths = (filters, *width)
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        self.out = nn.Linear(width[-1], classes, bias=False)

    def whiten(self, x: Tensor) -> None:
        """Set the filters of the patches to `whitening(x)`, for training images `(n, c, h, w)` as the network gets them."""
        self.patches.copy_(whitening(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = self.blocks(gelu(conv2d(x, self.patches, self.bias)))
        return self.out(x.amax((2, 3))) / 9


FAST_CIFAR = Architecture(name="fast_cifar", title="fast_cifar", place=6, make=FastCifar, width=(64, 256, 256))


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside)
        self.conv2, self.norm2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])

    def forward(self, x: Tensor) -> Tensor:
        x = gelu(self.norm1(max_pool2d(self.conv1(x), 2)))
        return gelu(self.norm2(self.conv2(x)))


def whitening(x: Tensor) -> Tensor:
    """Filters that whiten the 2x2 patches of images `(n, c, h, w)`, each with its negative: `(8 c, c, 2, 2)`.

    Filter i is `v_i / sqrt(l_i + 5e-4)` with `l_i` and `v_i` the eigenvalues, in descending order, and eigenvectors of
    `E[p p^T]` over all patches p, `(4 c,)`. An eigenvector's largest entry is made positive, so that every machine finds
    the same one of the two.

    Raises `ValueError` for images smaller than a patch.

    Source: Jordan 2024, section 3.2, after Page 2019.

    >>> x = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> filters = whitening(x)
    >>> y = conv2d(x, filters[:4]).permute(0, 2, 3, 1).reshape(-1, 4)
    >>> torch.allclose(y.T @ y / len(y), torch.eye(4), atol=1e-3)
    True
    >>> torch.equal(filters[4:], -filters[:4])
    True
    """
    if x.ndim != 4 or min(x.shape[2:]) < SIDE:
        raise ValueError(f"whitening takes images (n, c, h, w) of at least {SIDE}x{SIDE}, got {tuple(x.shape)}")
    channels, total, count = x.shape[1], 0.0, 0
    for part in x.split(1000):  # all patches of CIFAR at once would be 2 GB
        patches = part.unfold(2, SIDE, 1).unfold(3, SIDE, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * SIDE**2)
        total = total + patches.double().T @ patches.double()
        count += len(patches)
    values, vectors = torch.linalg.eigh((total / count).cpu())
    vectors = vectors.flip(1) / (values.flip(0) + FLOOR).sqrt()
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    filters = (vectors * largest.sign()).T.reshape(-1, channels, SIDE, SIDE)
    return torch.cat([filters, -filters]).to(x)
