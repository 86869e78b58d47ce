"""What stands in the rooms, found by walking them."""

import pkgutil
from importlib import import_module
from pathlib import Path

from flatlab.explorable import Explorable

ROOT = Path(__file__).parents[1]
PACKAGES = ("toy_problems", "flatlab.widgets")


def explorables() -> list[type[Explorable]]:
    """Every explorable that a module of the packages defines, by name."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    found = [cls for cls in Explorable.__subclasses__() if cls.__module__.startswith(PACKAGES)]
    return sorted(found, key=lambda cls: cls.__name__)
