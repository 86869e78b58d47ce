"""Pyramidal residual networks, additive (Han et al. 2017)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, relu

from flatlab.models.architecture import Architecture
from flatlab.models.shapes import image
from flatlab.models.weights import he_normal

__all__ = ["PyramidNet"]


class PyramidNet(nn.Module):
    """Images `(b, c, h, w)` to logits `(b, classes)`; block `k` of `n` has `round(16 + alpha k / n)` channels.

    A 3x3 convolution of 16 channels with BatchNorm, three stages of `n / 3` blocks, BatchNorm, ReLU, mean over pixels,
    a linear layer. A block is BatchNorm, 3x3 convolution, BatchNorm, ReLU, 3x3 convolution, BatchNorm, and
    `depth = 2 n + 2`; with `bottleneck`, its convolutions are 1x1, 3x3 and 1x1, it has four times the channels outside,
    and `depth = 3 n + 2`. The shortcut is the identity, with 2x2 mean pooling and zeros for the new channels. He normal
    initialization.

    Han et al. publish 1.7, 3.8 and 28.3 million weights for depth 110 and alpha 48, 84 and 270 without bottleneck; this
    code has 1772706, 3904446 and 28485477 for 10 classes, as pytorchcv. Which alpha they train is said neither by Tan et
    al. 2025 nor by the papers on LSAM and nonuniformity; the code of the latter has 48 with bottleneck.

    Raises `ValueError` for a depth that makes no such stages, a negative alpha, or no image shape.

    >>> sum(p.numel() for p in PyramidNet((3, 32, 32), 10, alpha=48).parameters())
    1772706
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, depth: int = 110, alpha: float = 270, bottleneck: bool = False
    ):
        super().__init__()
        channels = image(f"pyramidnet{depth}", shape)
        layers = 9 if bottleneck else 6
        if depth <= layers or depth % layers != 2:
            kind = "with" if bottleneck else "without"
            raise ValueError(f"the depth of a PyramidNet {kind} bottleneck is {layers} n + 2 with n >= 1, got {depth}")
        if alpha < 0:
            raise ValueError(f"alpha must be >= 0, got {alpha}")
        n = depth // layers
        factor = 4 if bottleneck else 1
        widths = [16] + [factor * round(16 + alpha * k / (3 * n)) for k in range(1, 3 * n + 1)]
        self.into, self.first = nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(
            *(_Block(widths[k], widths[k + 1], 2 if k in (n, 2 * n) else 1, bottleneck) for k in range(3 * n))
        )
        self.norm, self.out = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = self.blocks(self.first(self.into(x)))
        return self.out(relu(self.norm(x)).mean((2, 3)))


PYRAMIDNET110 = Architecture(
    name="pyramidnet110", title="PyramidNet-110", place=13, make=partial(PyramidNet, depth=110, alpha=270)
)


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, bottleneck: bool):
        super().__init__()
        if bottleneck:
            middle = outside // 4
            sizes = [(inside, middle, 1, 1), (middle, middle, 3, stride), (middle, outside, 1, 1)]
        else:
            sizes = [(inside, outside, 3, stride), (outside, outside, 3, 1)]
        layers: list[nn.Module] = []
        for a, b, side, step in sizes:
            # No ReLU before the first convolution: it costs accuracy (Han et al., section 3.3).
            layers += [nn.BatchNorm2d(a)] + ([nn.ReLU()] if layers else [])
            layers += [nn.Conv2d(a, b, side, step, side // 2, bias=False)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(outside))
        self.stride, self.extra = stride, outside - inside

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.stride == 2:
            # Odd sides: the last row and column stand alone, as the convolution's do.
            x = avg_pool2d(x, 2, ceil_mode=True)
        return y + pad(x, (0, 0, 0, 0, 0, self.extra))
