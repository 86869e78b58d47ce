"""Minibatches of a training set that lies on the device: their order and augmentation follow from (seed, epoch) alone."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

__all__ = ["Batches", "Scale", "epoch_seed"]

AUGMENTATIONS = ("none", "crop", "crop_flip")
MARGIN = 4
"""Pixels of zero around an image before a crop of its own size (He et al. 2016, section 4.2)."""


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in an epoch."""
    return seed * 10_000 + epoch


class Scale:
    """Inputs to mean 0 and deviation 1, a channel (images) or a column (features) at a time, as measured on `x`.

    >>> scale = Scale(torch.tensor([[0.0, 5.0], [4.0, 5.0]]))
    >>> scale(torch.tensor([[4.0, 6.0]]))               # a constant column is only shifted
    tensor([[1., 1.]])
    """

    def __init__(self, x: Tensor):
        over = [k for k in range(x.ndim) if k != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        # In parts: the whole of CIFAR in float64 would be 1.2 GB.
        parts = [part.double() for part in x.split(5000)]
        count = x.numel() / x.shape[1]
        mean = sum(part.sum(over) for part in parts) / count
        shifted = (part - mean.view(shape) for part in parts)
        deviation = (sum(part.square().sum(over) for part in shifted) / count).sqrt()
        deviation[deviation == 0] = 1.0
        self.mean, self.deviation = mean.float().view(shape), deviation.float().view(shape)

    def to(self, device: torch.device | str) -> Scale:
        """The same scale for inputs on `device`."""
        scale = copy(self)
        scale.mean, scale.deviation = self.mean.to(device), self.deviation.to(device)
        return scale

    def __call__(self, x: Tensor) -> Tensor:
        """`x` of any number type, on the scale's device, scaled, in float32."""
        return (x.float() - self.mean) / self.deviation


class Batches:
    """The `len(self)` minibatches of an epoch, each of `size` samples; what is left over waits for another epoch.

    `x` `(n, ...)` and `y` `(n,)` lie on the device as they are stored (images as bytes); `begin(epoch)` draws the order
    of the samples, and with `augment` a shift of up to 4 pixels and a mirroring for each; `self[k]` is minibatch k.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        size: int,
        seed: int,
        scale: Scale,
        augment: str = "none",
        layout: torch.memory_format = torch.channels_last,
    ):
        self.x, self.y, self.size, self.seed, self.scale, self.augment = x, y, size, seed, scale, augment
        self.layout = layout
        if augment != "none":
            height, width = x.shape[-2:]
            framed = torch.nn.functional.pad(x, [MARGIN] * 4)
            self.windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # (n, channels, 9, 9, height, width), a view
        self.order = torch.arange(0)

    def __len__(self) -> int:
        return len(self.y) // self.size

    def begin(self, epoch: int) -> None:
        """Draw what is random in this epoch, on the CPU: it is the same on every device."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        n, device = len(self.y), self.y.device
        self.order = torch.randperm(n, generator=generator).to(device)
        if self.augment != "none":
            self.shift = torch.randint(2 * MARGIN + 1, (2, n), generator=generator).to(device)
        if self.augment == "crop_flip":
            self.mirrored = torch.randint(2, (n,), generator=generator).bool().to(device)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        places = slice(k * self.size, (k + 1) * self.size)
        chosen = self.order[places]
        if self.augment == "none":
            x = self.x[chosen]
        else:
            down, right = self.shift[:, places]
            x = self.windows[chosen, :, down, right]
        if self.augment == "crop_flip":
            x = torch.where(self.mirrored[places].view(-1, 1, 1, 1), x.flip(-1), x)
        x = self.scale(x)
        return (x.contiguous(memory_format=self.layout) if x.ndim == 4 else x), self.y[chosen]
