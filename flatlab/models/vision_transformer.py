"""Vision transformers for small images (Dosovitskiy et al. 2021)."""

from functools import partial
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from flatlab.models.architecture import Architecture

__all__ = ["VisionTransformer"]


class VisionTransformer(nn.Module):
    """Images `(b, c, h, w)` to logits `(b, classes)`: patches of `patch` x `patch` pixels as tokens, a class token,
    learned positions, `depth` blocks of `heads` attention heads and a hidden layer of `4 width`, LayerNorm first; the
    class token's output goes through LayerNorm and a linear layer. No dropout.

    The defaults are ViT-S of Touvron et al. 2021 (Table 1: width 384, 12 blocks, 6 heads, 22 million weights on 224x224
    images with patches of 16) with patches of 4. Weights and positions are normal with standard deviation 0.02, biases
    zero, LayerNorm 1 and 0; the patches' projection keeps PyTorch's initialization.

    Attention is written out: PyTorch's fused kernels have no second derivative, which Hessian products need.

    Raises `ValueError` for a shape that patches do not tile, or heads that do not divide the width.

    >>> with torch.device("meta"):                                  # counted without being made
    ...     net, published = VisionTransformer((3, 32, 32), 10), VisionTransformer((3, 224, 224), 1000, patch=16)
    >>> [sum(p.numel() for p in n.parameters()) for n in (net, published)]
    [21342346, 22050664]
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, patch: int = 4, width: int = 384, depth: int = 12, heads: int = 6
    ):
        super().__init__()
        if len(shape) != 3 or any(side < patch or side % patch for side in shape[1:]):
            raise ValueError(
                f"a vision transformer takes images (channels, height, width) with sides that are multiples of {patch}, "
                f"got {tuple(shape)}"
            )
        if width % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        tokens = 1 + (shape[1] // patch) * (shape[2] // patch)
        self.into = nn.Conv2d(shape[0], width, patch, patch)
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.norm, self.out = nn.LayerNorm(width, 1e-6), nn.Linear(width, classes)
        for weight in (self.token, self.places, *(m.weight for m in self.modules() if isinstance(m, nn.Linear))):
            nn.init.normal_(weight, 0.0, 0.02)
        for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = self.into(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.out(self.norm(self.blocks(x)[:, 0]))


VIT_SMALL32 = Architecture(name="vit_small32", title="ViT-Small", place=15, make=VisionTransformer)
MICRO = partial(VisionTransformer, patch=8, width=64, depth=4, heads=2)  # a hundredth of the weights, for a processor
VIT_MICRO32 = Architecture(name="vit_micro32", title="ViT-Micro", place=16, make=MICRO)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.mix = nn.LayerNorm(width, 1e-6), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.up, self.down = nn.LayerNorm(width, 1e-6), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.attention(self.norm1(x)))
        return x + self.down(gelu(self.up(self.norm2(x))))

    def attention(self, x: Tensor) -> Tensor:
        """Softmax attention among the tokens, head by head: `(b, tokens, width) -> (b, tokens, width)`."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / sqrt(q.shape[-1])).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)
