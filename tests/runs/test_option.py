"""What an experiment declares of its settings is what it refuses, what the command line says, and what commands hold."""

from dataclasses import asdict

import pytest

from flatlab.methods import METHODS
from flatlab.runs.experiment import asked, experiments, parser_of, setting
from flatlab.runs.option import options
from flatlab.studies import Minimum, Twins
from flatlab.training import Train

PACKAGES = ("flatlab.training", "flatlab.studies", "toy_problems")
CLASSES = [cls for package in PACKAGES for cls in experiments(package).values()]
EVERY = [(cls, known) for cls in CLASSES for known in options(cls).values()]


def one_of(known, value):
    """The setting with `value` for each of its values."""
    return (value,) * (known.count or 1) if known.many else value


def refused(cls, known, value):
    with pytest.raises(ValueError, match=f"^{known.name} must be ") as error:
        cls(**{known.name: value})
    return str(error.value)


@pytest.mark.parametrize("cls, known", EVERY, ids=lambda x: getattr(x, "name", None) or x.__name__)
def test_what_is_declared_is_what_is_refused(cls, known):
    """Just outside each bound, no number, another kind; and the bounds themselves are allowed."""
    step = 1 if known.kind is int else 1e-9
    for bound, outside in ((known.least, -step), (known.above, 0), (known.most, step), (known.below, 0)):
        if bound is not None:
            said = refused(cls, known, one_of(known, known.kind(bound + outside)))
            assert known.bounds in said and said.endswith(f"got {one_of(known, known.kind(bound + outside))}")
    for bound in (known.least, known.most):
        if bound is not None:
            assert known.checked(one_of(known, known.kind(bound))) == one_of(known, known.kind(bound))
    if known.kind is float:
        for value in (float("inf"), float("nan")):
            assert "finite" in refused(cls, known, one_of(known, value))
    if known.allowed:
        said = refused(cls, known, one_of(known, "nothing of the kind"))
        assert all(name.replace("*:*", "MODULE:FUNCTION").replace("*", "NAME") in said for name in known.allowed)
    refused(cls, known, one_of(known, {str: 3}.get(known.kind, "a word")))
    refused(cls, known, one_of(known, True) if known.kind is not bool else 1)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_help_has_every_setting_with_meaning_bounds_and_default(cls, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        asked(parser_of("program", {"this": cls}, ""), ["this", "--help"])
    said = capsys.readouterr().out
    for known in options(cls).values():
        assert known.about and known.help in said, known.name
        assert known.default in (None, ()) or f"(default: {known.shown(known.default)})" in known.help


def test_the_settings_of_train_stand_with_what_they_belong_to(capsys):
    with pytest.raises(SystemExit):
        asked(parser_of("program", {"train": Train}, ""), ["train", "--help"])
    parts = capsys.readouterr().out.split("\n\n")
    held = {part.split(":\n")[0]: part for part in parts}
    assert "--rho " in held["method"] and "--momentum " in held["base optimizer"] and "--fa " in held["penalty"]
    assert "--examples " in held["data"] and "--width " in held["network"] and "--out " in parts[-1]


@pytest.mark.parametrize("method", METHODS)
def test_the_help_has_the_default_of_every_setting_of_a_method(method):
    for name, option in METHODS[method].options.items():
        (said,) = (part for part in options(Train)[name].about.split("; ") if method in part.split(":")[0].split(", "))
        assert said.endswith(f", {option.default} unless given")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_defaults_are_allowed(cls):
    assert all(known.checked(known.default) == known.default for known in options(cls).values())
    cls()


@pytest.mark.parametrize(
    "given, same",
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"width": [8, 8, 8]}, {"width": (8, 8, 8)}),
    ],
)
def test_the_same_setting_from_a_file_or_from_python_is_the_same_run(given, same):
    one, other = setting(Train, given | {"network": "fast_cifar"}), Train(**same, network="fast_cifar")
    assert str(asdict(one)) == str(asdict(other))


def test_a_subclass_changes_a_default_and_keeps_the_bounds():
    twins, train = options(Twins), options(Train)
    assert twins["epochs"].default == 60 and twins["epochs"].least == train["epochs"].least == 1
    assert twins["schedule"].allowed == train["schedule"].allowed and twins["momentum"].below == 1


def test_a_setting_that_is_none_can_be_asked_for():
    parser = parser_of("program", {"minimum": Minimum}, "")
    _, chosen, _ = asked(parser, ["minimum", "--stop-at-loss", "none"])
    assert chosen == Minimum(stop_at_loss=None)
