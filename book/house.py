"""The rooms of this repository and the arrows between them, read from its imports, and drawn."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt

__all__ = ["arrows", "draw", "imported", "layers", "rooms"]

ROOT = Path(__file__).parents[1]


def rooms() -> list[str]:
    """The library's packages and modules, and the two packages above it."""
    inside = [p for p in (ROOT / "flatlab").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    return [*sorted(p.stem for p in inside if not p.stem.startswith("__")), "toy_problems", "book"]


def imported(folder: Path) -> Iterator[str]:
    """Dotted names of what the modules under a folder, or one module, import from elsewhere."""
    for file in [folder.with_suffix(".py"), *folder.rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())) if file.exists() else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from [f"{node.module}.{name.name}" for name in node.names]
            elif isinstance(node, ast.Import):
                yield from [name.name for name in node.names]


def arrows() -> dict[str, set[str]]:
    """By room: those that it imports."""
    every, found = rooms(), {}
    for room in every:
        folder = ROOT / room if (ROOT / room).is_dir() else ROOT / "flatlab" / room
        names = (name.split(".") for name in imported(folder))
        used = {name[1] if name[0] == "flatlab" and len(name) > 1 else name[0] for name in names}
        found[room] = used & set(every) - {room}
    return found


def layers() -> list[list[str]]:
    """The rooms from the ground up: each stands on the lowest floor above all that it imports.

    Raises `ValueError` if rooms import each other in a circle.
    """
    below, floors = arrows(), []
    while below:
        floor = sorted(room for room, used in below.items() if not used & below.keys())
        if not floor:
            raise ValueError(f"a circle of imports among {', '.join(sorted(below))}")
        floors.append(floor)
        below = {room: used for room, used in below.items() if room not in floor}
    return floors


def draw() -> None:
    """A floor a layer; a line from a room down to each that it imports, unless another that it imports leads there too."""
    below, floors = arrows(), layers()
    _, panel = plt.subplots(figsize=(9, 0.8 * len(floors)))
    place: dict[str, tuple[float, float]] = {}
    for y, floor in enumerate(floors):  # in the order of what they stand on, so that few lines cross
        ordered = sorted(floor, key=lambda room: statistics.mean([place[other][0] for other in below[room]] or [0]))
        place |= {room: ((k + 0.5) / len(floor), y) for k, room in enumerate(ordered)}
    look = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.3"}
    for room, used in below.items():
        panel.text(*place[room], room, ha="center", va="center", fontsize=9, bbox=look, zorder=3)
        for other in used - {far for near in used for far in _reached(near, below)}:
            panel.plot(*zip(place[room], place[other], strict=True), color="0.6", linewidth=1)
    panel.set(xlim=(0, 1), ylim=(-0.5, len(floors) - 0.5))
    panel.axis("off")
    plt.show()


def _reached(room: str, below: dict[str, set[str]]) -> set[str]:
    """All rooms that one leads to."""
    return below[room].union(*(_reached(other, below) for other in below[room]))
