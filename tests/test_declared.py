"""What a file declares is found once, under its name, in order; two of one name are told apart from one found twice."""

import pytest

from flatlab import data, models
from flatlab.declared import Declared, declared


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`package(file=text, ...)` makes a package of these files that can be imported, and gives its name."""

    def made(**files):
        name = f"package_{tmp_path.name}"
        (tmp_path / name).mkdir()
        for file, text in ({"__init__": ""} | files).items():
            (tmp_path / name / f"{file}.py").write_text(f"from flatlab.declared import Declared\n{text}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return made


def test_what_the_files_declare_is_found_in_the_order_of_place_and_name(package):
    name = package(
        a='LAST = Declared(name="a", title="A")\nTOO = Declared(name="Z", title="Z")',
        b='FIRST = Declared(name="b", title="B", place=1)',
        c="from .b import FIRST as AGAIN",
    )
    assert [thing.title for thing in declared(name, Declared).values()] == ["B", "Z", "A"]


def test_two_of_one_name_are_an_error(package):
    name = package(a='ONE = Declared(name="x", title="one")', b='OTHER = Declared(name="x", title="other")')
    with pytest.raises(ValueError, match=r"two under the name 'x': .*one.*other"):
        declared(name, Declared)


@pytest.mark.parametrize("room", [data, models], ids=["data", "models"])
def test_every_name_has_a_title_of_its_own(room):
    assert set(room.TITLES) == set(room.NAMES) and len(set(room.TITLES.values())) == len(room.NAMES)
    assert all(title.strip() == title != "" for title in room.TITLES.values())
