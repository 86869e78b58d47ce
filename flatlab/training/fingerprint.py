"""What a network or a data set that is given in Python is known by, in every process."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

__all__ = ["fingerprint"]

EVERY_MODULES = vars(nn.Module()).keys()
"""The attributes of any module: its parameters and hooks, and its mode."""


def fingerprint(value: Any) -> str:
    """The class of a network or data set, and a checksum of all that it holds: twelve hexadecimal digits of a SHA-256.

    Raises `ValueError` for a network with layers that are still lazy.

    >>> a, b = nn.ReLU(), nn.ReLU(inplace=True)
    >>> fingerprint(a) == fingerprint(nn.ReLU()), fingerprint(a) == fingerprint(b)
    (True, False)
    """
    if not isinstance(value, nn.Module):
        return f"{type(value).__name__}-{value.checksum()}"
    if any(isinstance(p, UninitializedParameter) for p in value.parameters()):
        raise ValueError(
            "network has layers that are still lazy: run it on an input once, or give the function that makes it"
        )
    digest = hashlib.sha256("\n".join(_described(value)).encode())
    for name, t in value.state_dict().items():
        if isinstance(t, Tensor):
            digest.update(name.encode() + t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"{type(value).__name__}-{digest.hexdigest()[:12]}"


def _described(model: nn.Module) -> Iterator[str]:
    """What makes a network another one beside what its `state_dict` holds: structure, code, settings, what is frozen."""
    yield repr(model)
    for name, m in model.named_modules():
        if not type(m).__module__.startswith("torch."):
            yield f"{name}: {_code(type(m))}"
            yield from (f"{name}.{k} = {_setting(v)}" for k, v in sorted(vars(m).items()) if k not in EVERY_MODULES)
    yield from (f"{name} is frozen" for name, p in model.named_parameters() if not p.requires_grad)


def _code(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt, or made by a program
        return f"{kind.__module__}.{_setting(kind)} {_compiled(kind.forward)}"


def _compiled(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return "" if code is None else f"{code.co_code.hex()} {code.co_names} {_setting(code.co_consts)}"


def _setting(value: Any) -> str:
    """Without an address in memory, which no other process shares: a function is known by its name."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value))
    if isinstance(value, bool | int | float | str | None):
        return repr(value)
    if isinstance(value, functools.partial):
        return f"{_setting(value.func)}({_setting(value.args)}, {_setting(sorted(value.keywords.items()))})"
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{name} {_compiled(value)}" if "<lambda>" in name else name
