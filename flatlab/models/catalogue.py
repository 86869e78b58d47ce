"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from torch import nn

from flatlab.models.densenet import DenseNet
from flatlab.models.fast_cifar import FastCifar
from flatlab.models.from_timm import from_timm
from flatlab.models.lenet import LeNet5
from flatlab.models.perceptrons import perceptron
from flatlab.models.pyramidnet import PyramidNet
from flatlab.models.resnet import ResNet
from flatlab.models.resnext import ResNeXt
from flatlab.models.vision_transformer import VisionTransformer
from flatlab.models.wide_resnet import WideResNet

__all__ = ["NAMES", "build"]

_BUILDERS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "logistic": perceptron,
    # Tan et al. 2025, section 5.2.
    "fcn": partial(perceptron, hidden=(500, 500)),
    # The paper on nonuniformity leaves FCN-3's widths open; these are its authors' code's, which leaves out the ReLU
    # after the second layer.
    "fcn3": partial(perceptron, hidden=(128, 64)),
    # The paper on flatness-aware regularization, section 3.1.1, dropout included.
    "mlp512_256": partial(perceptron, hidden=(512, 256), dropout=0.3),
    "lenet5": LeNet5,
    "fast_cifar": FastCifar,
    "resnet20": partial(ResNet, depth=20),
    "resnet56": partial(ResNet, depth=56),
    "resnext29_32x4d": partial(ResNeXt, depth=29, groups=32, width=4),
    # "Resnet-28-6" and "Resnet-58-6" in the paper on nonuniformity: both depths are 6 n + 4, a wide ResNet's.
    "wrn28_6": partial(WideResNet, depth=28, widen=6),
    "wrn58_6": partial(WideResNet, depth=58, widen=6),
    "wrn28_10": partial(WideResNet, depth=28, widen=10),
    "pyramidnet110": partial(PyramidNet, depth=110, alpha=270),
    "densenet100": partial(DenseNet, depth=100, growth=12),
    "vit_small32": VisionTransformer,
}

NAMES: tuple[str, ...] = tuple(_BUILDERS)
"""The names that `build` takes, besides `timm:NAME`."""

WIDTH: dict[str, tuple[int, ...]] = {"fast_cifar": (64, 256, 256)}
"""The networks whose channels can be chosen, with what they are unless chosen."""


def build(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    pretrained: bool = False,
    width: tuple[int, ...] | None = None,
) -> nn.Module:
    """A new network for inputs of `shape`, `(channels, height, width)` or `(d,)`, with `classes` logits.

    Its weights come from torch's global generator: after the same `torch.manual_seed`, the same weights. `timm:NAME` is
    the network `NAME` of the package timm, an optional extra; `pretrained` then loads timm's weights instead. `width` is
    for `fast_cifar`, the channels of its three blocks.

    Raises `ValueError` for an unknown name, a shape that the network does not take, no classes, or `pretrained` or
    `width` for a network that has no such weights or widths; `ImportError` where `timm:` is asked for and missing.

    >>> sum(p.numel() for p in build("fcn", (1, 28, 28), 10).parameters())
    648010
    >>> build("resnet21", (3, 32, 32), 10)
    Traceback (most recent call last):
    ValueError: no network is called 'resnet21'; did you mean 'resnet20'? Allowed: logistic, fcn, ..., or timm:NAME
    """
    if not (shape and all(isinstance(s, int) and s > 0 for s in shape)):
        raise ValueError(f"{name}: shape must hold positive integers, as (3, 32, 32) or (784,), got {shape!r}")
    if not (isinstance(classes, int) and classes >= 1):
        raise ValueError(f"{name}: classes must be an integer >= 1, got {classes!r}")
    if width is not None and name not in WIDTH:
        raise ValueError(f"width is for {', '.join(WIDTH)} only, got {width!r} for {name!r}")
    if name.startswith("timm:"):
        return from_timm(name.removeprefix("timm:"), tuple(shape), classes, pretrained)
    if name not in _BUILDERS:
        near = get_close_matches(name, NAMES, 1, 0)[0]
        allowed = ", ".join(NAMES)
        raise ValueError(f"no network is called {name!r}; did you mean {near!r}? Allowed: {allowed}, or timm:NAME")
    if pretrained:
        raise ValueError(f"pretrained weights exist for timm:NAME only, got {name!r}")
    return _BUILDERS[name](tuple(shape), classes, **({} if width is None else {"width": tuple(width)}))
