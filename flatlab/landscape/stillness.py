"""What a forward pass moves and draws, found by running it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from flatlab.landscape.samples import length, rows

__all__ = ["moved_buffers", "structure"]

Run = Callable[[Any, dict[str, Tensor]], Any]
"""`run(x, buffers)`: the model's outputs, with these tensors for its buffers."""
Calls = list[tuple[str, list[Tensor], list[Tensor]]]


def structure(model: nn.Module, x: Any) -> tuple:
    """What, if it changes, makes a second look worth while: the modules, their modes, and the form of the samples."""
    form = tuple((t.dtype, t.device, t.shape[1:]) if isinstance(t, Tensor) else None for t in tree_leaves(x))
    return tuple((id(m), m.training) for m in model.modules()), form


def moved_buffers(model: nn.Module, run: Run, x: Any, start: dict[str, Tensor]) -> set[str]:
    """The names of the buffers that a forward pass moves, by two passes over two samples of `x` from those of `start`.

    Raises `ValueError` where the outputs are not a fixed function of weights and samples: where a pass draws random
    numbers, where the buffers it moves change the outputs of the next one, and where it moves buffers by a sample and
    lets it see the others (a BatchNorm layer in train mode). The layer is named, by the calls of all modules: it is the
    first that makes something else of the same input. The user's buffers and random states stay as they were.
    """
    first, second = {name: b.clone() for name, b in start.items()}, {name: b.clone() for name, b in start.items()}
    two = rows(x, torch.tensor([0, -1], device="cpu"))
    with torch.no_grad(), kept_random_states(), watched(model) as calls:
        states = random_states()
        run(two, first)
        drew = not same(states, random_states())
        once = list(calls)
        calls.clear()
        run(two, second)
        again = list(calls)
        calls.clear()
        # A draw that nothing comes of is common in eval mode; in train mode something seldom may come of it.
        if not agree(once, again) or (drew and any(m.training for m in model.modules())):
            what = "draws random numbers" if drew else "gives something else in every pass"
            raise ValueError(f"{named(model, once, again)} {what}{remedy(model)}")
        moved = {name for name, b in first.items() if not torch.equal(b, start[name])}
        if not moved:
            return moved
        run(two, first)
        if not agree(once, list(calls)):
            raise ValueError(f"{named(model, once, list(calls))} moves buffers that change its next outputs{remedy(model)}")
        calls.clear()
        run(jittered(two, rows(x, torch.tensor([0, (length("x", x) - 1) // 2], device="cpu"))), second)
        heads = [[(name, head(i), head(o)) for name, i, o in of] for of in (once, list(calls))]
        if not agree(*heads):
            raise ValueError(f"{named(model, *heads)} lets samples see each other{remedy(model)}")
    return moved


def remedy(model: nn.Module) -> str:
    mode = "; call model.eval() first" if any(m.training for m in model.modules()) else ""
    return f": the loss is then not a fixed sum over samples{mode}"


def jittered(two: Any, whole: Any) -> Any:
    """Two samples, of which the second is another one now; its bytes or tokens are those of the second in `whole`."""
    g = torch.Generator().manual_seed(0)

    def other(t: Any, instead: Any) -> Any:
        if not isinstance(t, Tensor):
            return t
        if not t.is_floating_point():
            return instead
        noise = torch.randn(t.shape[1:], generator=g, device="cpu").to(t)
        return torch.stack([t[0], t[1] + (1 + t.abs().mean()) * noise])

    return tree_map(other, two, whole)


def head(tensors: list[Tensor]) -> list[Tensor]:
    return [t[:1] for t in tensors if t.ndim and len(t) == 2]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def agree(once: Calls, again: Calls) -> bool:
    return len(once) == len(again) and all(same(a[2], b[2]) for a, b in zip(once, again, strict=True))


def named(model: nn.Module, once: Calls, again: Calls) -> str:
    """The first module to end with other outputs of the same inputs; the innermost that drew, where none differs."""
    name = ""
    for (one, inputs, outputs), (_, others, results) in zip(once, again, strict=False):
        if same(inputs, others) and not same(outputs, results):
            name = one
            break
    module = model.get_submodule(name)
    mode = " is in train mode and" if module.training else ""
    return f"layer {name!r} ({type(module).__name__}){mode}"


@contextmanager
def watched(model: nn.Module) -> Iterator[Calls]:
    """The calls of all modules, in the order in which they end: name, tensors that went in, tensors that came out."""
    calls: Calls = []
    inputs: list[list[Tensor]] = []

    def tensors(tree: Any) -> list[Tensor]:
        tree = vars(tree) if is_dataclass(tree) else tree
        return [t.detach().clone() for t in tree_leaves(tree) if isinstance(t, Tensor)]

    def before(module: nn.Module, args: tuple, named: dict) -> None:
        inputs.append(tensors((args, named)))

    def after(name: str) -> Callable:
        return lambda module, args, output: calls.append((name, inputs.pop(), tensors(output)))

    handles = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            handles += [module.register_forward_pre_hook(before, with_kwargs=True)]
            handles += [module.register_forward_hook(after(name))]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def random_states() -> list[Any]:
    states: list[Any] = [torch.get_rng_state(), random.getstate()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state_all())
    if "numpy" in sys.modules:
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        states.append([kind, keys.tolist(), *rest])
    return states


@contextmanager
def kept_random_states() -> Iterator[None]:
    numpy = sys.modules.get("numpy")
    python, array = random.getstate(), numpy.random.get_state() if numpy else None
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            if numpy:
                numpy.random.set_state(array)
