"""What to say to a name that there is not."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["nearest"]


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` may have meant, or all that there are.

    >>> nearest("roh", ["rho", "lr"])
    "did you mean 'rho'?"
    >>> nearest("depth", ["rho", "lr"])
    'there are rho, lr'
    """
    names = list(names)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
