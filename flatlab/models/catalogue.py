"""The networks by name. A file beside this one that declares an `Architecture` is found by itself."""

from __future__ import annotations

from difflib import get_close_matches

from torch import nn

from flatlab.declared import declared
from flatlab.models.architecture import Architecture
from flatlab.models.from_timm import from_timm

__all__ = ["ARCHITECTURES", "NAMES", "TITLES", "WIDTH", "build"]

ARCHITECTURES: dict[str, Architecture] = declared("flatlab.models", Architecture)
NAMES: tuple[str, ...] = tuple(ARCHITECTURES)
"""The names that `build` takes, besides `timm:NAME`."""
TITLES: dict[str, str] = {name: architecture.title for name, architecture in ARCHITECTURES.items()}
"""What tables and legends call them."""
WIDTH: dict[str, tuple[int, ...]] = {name: a.width for name, a in ARCHITECTURES.items() if a.width is not None}
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
    if name not in ARCHITECTURES:
        near = get_close_matches(name, NAMES, 1, 0)[0]
        allowed = ", ".join(NAMES)
        raise ValueError(f"no network is called {name!r}; did you mean {near!r}? Allowed: {allowed}, or timm:NAME")
    if pretrained:
        raise ValueError(f"pretrained weights exist for timm:NAME only, got {name!r}")
    return ARCHITECTURES[name].make(tuple(shape), classes, **({} if width is None else {"width": tuple(width)}))
