"""The numbers a run computes in, and how its images lie in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

__all__ = ["PRECISIONS", "arithmetic", "autocast", "layout"]

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("fp32", "tf32", *AUTOCAST)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """What forward passes of that precision run in."""
    kind = AUTOCAST.get(precision)
    return nullcontext() if kind is None else torch.autocast(device.type, kind)


def layout(device: torch.device, precision: str) -> torch.memory_format:
    """Channels last, except for float32 on a GPU, whose convolutions are made for images channel by channel."""
    return torch.contiguous_format if device.type == "cuda" and precision == "fp32" else torch.channels_last


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """For the length of a run: a GPU takes algorithms that give the same bits every time, where there are such.

    Its products of matrices and its convolutions round their factors to TF32 (10 bits of mantissa) only where that is the
    precision asked for; torch by itself does so in every convolution. Raises `ValueError` for tf32 and fp16 on another
    device.
    """
    if device.type != "cuda":
        if precision == "tf32":
            raise ValueError(f"precision tf32 needs a CUDA device, got {device}; fp32 runs everywhere")
        if precision == "fp16":  # a step of ResNet-20 takes twelve times as long as in fp32
            raise ValueError(f"precision fp16 needs a CUDA device, got {device}; use bf16 here")
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    rounded = precision == "tf32"
    wanted = [
        (torch.backends.cudnn, "benchmark", False),
        (torch.backends.cudnn, "allow_tf32", rounded),
        (torch.backends.cuda.matmul, "allow_tf32", rounded),
        (torch.utils.deterministic, "fill_uninitialized_memory", False),  # 150 kernels a pass of ResNet-20 for nothing
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in wanted]
    repeatable = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        for place, name, value in wanted:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        torch.use_deterministic_algorithms(repeatable)
