"""The folder of the data sets: the argument, else the environment, else the user's cache."""

from pathlib import Path

import pooch

from flatlab.data.files.root import data_root


def test_the_argument_goes_before_the_environment_and_that_before_the_cache(monkeypatch):
    monkeypatch.setenv("FLATLAB_DATA", "~/sets")
    assert data_root("here") == Path("here")
    assert data_root() == Path.home() / "sets"
    monkeypatch.delenv("FLATLAB_DATA")
    assert data_root() == pooch.os_cache("flatlab")
