"""Arrows run one way: a room imports only what stands below it."""

from pathlib import Path

import pytest

from book.house import imported, layers, rooms

ROOT = Path(__file__).parents[1]
BELOW = {
    "declared": "",
    "methods": "",
    "landscape": "",
    "models": "declared",
    "data": "declared",
    "stats": "",
    "runs": "",
    "rules": "methods",
    "palette": "methods",
    "descent": "rules",
    "optim": "methods landscape",
    "measures": "landscape rules",
    "penalties": "landscape",
    "training": "data landscape methods models optim penalties runs",
    "studies": "data landscape measures models rules runs training",
    "explorable": "palette",
    "widgets": "data explorable models palette runs stats training",
    "plots": "explorable palette runs",
    "__main__": "runs",
    "__init__": "",
}
"""The rooms of the library, and what each may import."""
WHOLE = {"toy_problems": {"flatlab"}, "book": {"flatlab", "toy_problems"}}


def test_every_room_of_the_library_is_on_the_plan():
    there = {p.stem for p in (ROOT / "flatlab").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert there == set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_stands_below_it(room):
    names = [name.split(".") for name in imported(ROOT / "flatlab" / room)]
    assert not [name for name in names if name[0] in WHOLE], "the library knows no toy and no chapter"
    assert {name[1] for name in names if name[0] == "flatlab"} <= {room, *BELOW[room].split()}


@pytest.mark.parametrize("package", WHOLE)
def test_toys_know_no_chapter(package):
    names = {name.split(".")[0] for name in imported(ROOT / package)}
    assert names & {"flatlab", *WHOLE} <= WHOLE[package] | {package}


def test_the_drawing_has_every_room_above_all_that_it_imports():
    floors = layers()
    assert sorted(sum(floors, [])) == sorted(rooms()) and floors[-1] == ["book"] and "methods" in floors[0]
