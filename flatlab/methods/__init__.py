"""One file a method: its rule on flat vectors, its options, and what the book shows of it.

A module here that defines a `Method` is found by itself: `flatlab.rules` then has its rule, `flatlab.optim` its
optimizer, `python -m flatlab train --method` takes its name, and the tables, the colours and the tests have it, too.
"""

from importlib import import_module
from pkgutil import iter_modules

from flatlab.methods.method import Method, Option

__all__ = ["METHODS", "Method", "Option"]


def _found() -> dict[str, type[Method]]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    classes = [c for m in modules for c in vars(m).values() if isinstance(c, type) and c.__module__ == m.__name__]
    methods = [c for c in classes if issubclass(c, Method) and c is not Method]
    return {c.__name__: c for c in sorted(methods, key=lambda c: (c.place, c.__name__))}


METHODS: dict[str, type[Method]] = _found()
"""Every method by its name, in the order of tables and legends."""
