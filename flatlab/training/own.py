"""Networks and data sets that are not the library's: a function elsewhere, by `MODULE:FUNCTION`, or given in Python."""

from __future__ import annotations

import copy
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from flatlab.data import FeatureSet, ImageSet, TextSet
from flatlab.data.checksum import checksum
from flatlab.runs.nearest import nearest
from flatlab.training.fingerprint import fingerprint

__all__ = ["PATTERN", "Given", "OwnSet", "is_own", "load", "network", "word"]

PATTERN = "*:*"
"""What a setting allows beside the names of the library."""
GIVEN = "given:"
"""What the name of something given in Python begins with; then follow its class and a checksum of all it holds."""
PARTS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class OwnSet:
    """A split into training and test part: inputs `(n, ...)`, uint8 or float32, and labels `(n,)`, int64."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]

    def checksum(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over all inputs and labels, and the shape of an input."""
        shape = torch.tensor(self.x_train.shape[1:])
        return checksum((shape, self.x_train, self.y_train, self.x_test, self.y_test))


class Given:
    """Something given in Python, kept for as long as a setting names it."""

    def __init__(self, value: Any):
        self.value = value


_given: WeakValueDictionary[str, Given] = WeakValueDictionary()


def is_own(name: str) -> bool:
    """Whether a setting names something that is not the library's.

    >>> is_own("mine:build"), is_own("resnet20"), is_own("timm:resnet18")
    (True, False, False)
    """
    return ":" in name and not name.startswith("timm:")


def word(what: str, value: Any) -> tuple[str, Given | None]:
    """The word that stands for the `value` of the setting `what`, "network" or "data", and what to keep with it.

    A function of a module is `MODULE:FUNCTION`; a network and four tensors are known by all they hold, so that the same
    ones have the same record. Raises `ValueError` for anything else.
    """
    if isinstance(value, str):
        _check_word(what, value)
        return value, _given.get(value)
    if callable(value) and not isinstance(value, nn.Module):
        name, module = getattr(value, "__qualname__", ""), getattr(value, "__module__", "")
        if getattr(sys.modules.get(module), name, None) is not value:
            raise ValueError(f"{what} must be a function that its module knows by name, got {name or value!r} of {module}")
        return f"{module}:{name}", None
    if what == "data" and isinstance(value, tuple | list | ImageSet | FeatureSet | TextSet):
        value = _checked(value, "data")
    elif what != "network" or not isinstance(value, nn.Module):
        allowed = "a torch module" if what == "network" else "a data set, four tensors (x_train, y_train, x_test, y_test)"
        raise ValueError(f"{what} must be a word, {allowed} or a function, got {type(value).__name__}")
    told = GIVEN + fingerprint(value)
    given = _given.get(told)
    if given is None or GIVEN + fingerprint(given.value) != told:  # the first one has been changed since
        given = _given[told] = Given(value)
    return told, given


def _check_word(what: str, value: str) -> None:
    if not is_own(value) or value.startswith(GIVEN):
        return
    module, _, function = value.partition(":")
    if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"{what} must be MODULE:FUNCTION, as package.module:build, got {value!r}")


def _found(what: str, name: str) -> Any:
    """The function or the thing given that `name` names. Raises `ValueError`, saying what there is not."""
    if name.startswith(GIVEN):
        if name not in _given:
            raise ValueError(f"{what} {name} was given in Python: give it again, in this process")
        value = _given[name].value
        if GIVEN + fingerprint(value) != name:
            raise ValueError(f"{what} {name} has been changed since it was given: give it again")
        return value
    module, _, function = name.partition(":")
    try:
        there = import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and module.split(".")[0] == (error.name or "").split(".")[0]:
            told = f"no module {error.name} is found: put its folder on PYTHONPATH, or start Python there"
            raise ValueError(f"{what} {name}: {told}") from None
        raise _raised(f"{what} {name}: its module", error) from error
    if not hasattr(there, function):
        raise ValueError(f"{what} {name}: {module} has no {function}; {nearest(function, _functions(there))}")
    if not callable(getattr(there, function)):
        raise ValueError(f"{what} {name} is no function but {type(getattr(there, function)).__name__}")
    return getattr(there, function)


def _functions(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")] or ["nothing"]


def _called(what: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    given = ", ".join(map(repr, arguments))
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        needs = "(shape, classes)" if arguments else "no arguments"
        raise ValueError(f"{what} {name} must take {needs}: {error}") from None
    except ValueError:  # a function in C does not tell
        pass
    try:
        return function(*arguments)
    except Exception as error:
        raise _raised(f"{what} {name}({given})", error) from error


def _raised(told: str, error: Exception) -> ValueError:
    frames = traceback.extract_tb(error.__traceback__)
    last = ([frame for frame in frames if "site-packages" not in frame.filename] or frames)[-1]
    return ValueError(f"{told} raised {type(error).__name__}: {error} ({last.filename}, line {last.lineno})")


def network(name: str, shape: tuple[int, ...], classes: int, sample: Tensor) -> nn.Module:
    """The network that `name` names: what its function makes of `(shape, classes)`, or a copy of the one given.

    `sample` `(2, *shape)` is run through it once, in evaluation mode. Raises `ValueError`, naming the function and what is
    wrong with it or its result, unless that is a module with something to train and gives a logit a class, `(2, classes)`.
    """
    found = _found("network", name)
    made = copy.deepcopy(found) if isinstance(found, nn.Module) else _called("network", name, found, shape, classes)
    if not isinstance(made, nn.Module):
        raise ValueError(f"network {name} must give a torch module, got {type(made).__name__}")
    made = made.cpu().train()
    if any(isinstance(p, UninitializedParameter) for p in made.parameters()):
        _outputs(name, made, sample)  # a lazy layer takes its shape from its first input
    if not any(p.requires_grad for p in made.parameters()):
        raise ValueError(f"network {name} has no parameter to train")
    before = {k: v.clone() for k, v in made.state_dict().items() if isinstance(v, Tensor)}
    with torch.random.fork_rng([]):
        made.eval()
        out = _outputs(name, made, sample)
    made.load_state_dict(before, strict=False)
    wanted = (len(sample), classes)
    if not isinstance(out, Tensor) or tuple(out.shape) != wanted:
        got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        inputs = f"{wanted} for inputs {tuple(sample.shape)}"
        raise ValueError(f"network {name} must give {classes} logits a sample, {inputs}, got {got}")
    if not out.is_floating_point():
        raise ValueError(f"network {name} must give logits of a floating type, got {out.dtype}")
    return made


@torch.no_grad()
def _outputs(name: str, model: nn.Module, sample: Tensor) -> Any:
    try:
        return model(sample)
    except Exception as error:
        raise _raised(f"network {name}, for inputs {tuple(sample.shape)},", error) from error


def load(name: str) -> Any:
    """The data set that `name` names: what its function gives, or the one given in Python.

    Raises `ValueError`, naming the function and what is wrong with it or its result, unless that is a data set of the
    library or a tuple `(x_train, y_train, x_test, y_test)`: inputs `(n, ...)` as bytes or of a floating type, finite, and
    labels `(n,)`, whole numbers from 0.
    """
    found = _found("data", name)
    if callable(found):
        found = _called("data", name, found)
    return _checked(found, f"data {name}")


def _checked(found: Any, told: str) -> Any:
    if isinstance(found, ImageSet | FeatureSet | TextSet | OwnSet):
        return found
    if not isinstance(found, tuple | list) or len(found) != 4:
        got = f"{len(found)} of them" if isinstance(found, tuple | list) else type(found).__name__
        raise ValueError(f"{told} must be a data set or the four tensors ({', '.join(PARTS)}), got {got}")
    parts = {}
    for name, part in zip(PARTS, found, strict=True):
        try:
            parts[name] = torch.as_tensor(part)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{told}: {name} must be a tensor, got {type(part).__name__} ({error})") from None
    classes = 0
    for split in ("train", "test"):
        x, y = parts[f"x_{split}"], parts[f"y_{split}"]
        if x.ndim < 2 or not len(x) or not (x.dtype == torch.uint8 or x.is_floating_point()):
            raise ValueError(
                f"{told}: x_{split} must be (n, ...) with n >= 1, bytes or floating, got {tuple(x.shape)} of {x.dtype}"
            )
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError(f"{told}: x_{split} must be finite, and it holds NaN or infinity")
        if y.ndim != 1 or len(y) != len(x) or y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(
                f"{told}: y_{split} must be {len(x)} whole numbers, shape ({len(x)},), got {tuple(y.shape)} of {y.dtype}"
            )
        if int(y.min()) < 0:
            raise ValueError(f"{told}: y_{split} must be classes from 0, got {int(y.min())}")
        parts[f"x_{split}"], parts[f"y_{split}"] = x if x.dtype == torch.uint8 else x.float(), y.long()
        classes = max(classes, int(y.max()) + 1)
    a, b = parts["x_train"], parts["x_test"]
    if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
        raise ValueError(f"{told}: x_train and x_test must be alike, got {_look(a)} and {_look(b)}")
    if classes < 2:
        raise ValueError(f"{told}: there must be two classes at least, and every label is 0")
    return OwnSet(*parts.values(), classes=tuple(map(str, range(classes))))


def _look(x: Tensor) -> str:
    return f"(n, {', '.join(map(str, x.shape[1:]))}) of {x.dtype}"
