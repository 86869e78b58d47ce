"""Networks of the package timm, for transfer learning."""

from __future__ import annotations

from difflib import get_close_matches

from torch import nn

__all__ = ["from_timm"]


def from_timm(name: str, shape: tuple[int, ...], classes: int, pretrained: bool = False) -> nn.Module:
    """timm's network `name` for images `shape = (channels, height, width)`, with a new layer for `classes` logits.

    `pretrained` loads timm's weights, which the package downloads on first use. Its attention is fused, without a second
    derivative: for Hessian products call `timm.layers.set_fused_attn(False)` before building.

    Raises `ImportError` where timm is missing, or torchvision, which timm imports, or does not fit the installed torch;
    `ValueError` for a name that timm does not have or a shape that the network does not take.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise ImportError(
            f"'timm:{name}' needs timm and a torchvision that fits torch: pip install 'flatlab[timm]' (got: {error})"
        ) from error
    if not timm.is_model(name):
        near = ", ".join(repr(f"timm:{n}") for n in get_close_matches(name, timm.list_models(), 3, 0))
        raise ValueError(f"timm has no network {name!r}; the nearest are {near}")
    if len(shape) != 3:
        raise ValueError(f"timm:{name} takes images (channels, height, width), got {shape}")
    net = timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=shape[0])
    size = tuple(net.pretrained_cfg["input_size"][1:])
    if net.pretrained_cfg.get("fixed_input_size") and size != shape[1:]:
        raise ValueError(f"timm:{name} takes images (channels, {size[0]}, {size[1]}), got {shape}")
    return net
