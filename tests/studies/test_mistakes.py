"""Training made wrong on purpose: which mistake gives which number."""

import math

import pytest
import torch

from flatlab.data import TextSet, load
from flatlab.studies.mistakes import MISTAKES, Mistakes, clipped_loss, naive_loss, resplit, sigmoid_loss

SHORT = Mistakes(lrs=(0.001,), epochs=6, seeds=2)


@pytest.fixture(scope="module")
def rows():
    return {row["mistake"]: row for row in SHORT.run()["rows"]}


def test_the_split_is_scikit_learns_fifth():
    table = resplit(load("breast_cancer"))
    assert (len(table.y_train), table.y_test.bincount().tolist()) == (455, [42, 72])


@pytest.mark.slow
def test_without_a_mistake_it_learns(rows):
    for name in ("none", "clipped loss"):
        assert min(rows[name]["accuracy"]) > 0.9 and rows[name]["nan_from"] == [None, None]


@pytest.mark.slow
def test_unscaled_with_a_naive_loss_is_nan_at_once_and_says_class_0_for_ever(rows):
    row = rows["unscaled, naive loss"]
    assert row["nan_from"] == [1, 1] and row["predicted"] == [1, 1]
    assert row["accuracy"] == row["best"] == [42 / 114, 42 / 114]


@pytest.mark.slow
def test_unscaled_with_a_clipped_loss_stays_at_the_other_constant(rows):
    """Of two seeds at least one: whether the other escapes depends on how the processor rounds."""
    row = rows["unscaled, clipped loss"]
    assert row["nan_from"] == [None, None] and 1 in row["predicted"]
    assert all((classes == 1) == (a == 72 / 114) for classes, a in zip(row["predicted"], row["accuracy"], strict=True))


def test_the_losses_agree_where_nothing_rounds_and_part_where_it_does():
    z, y = torch.tensor([[0.3], [-2.0], [5.0]]), torch.tensor([1, 0, 1])
    for loss in (naive_loss, clipped_loss):
        assert loss(z, y).item() == pytest.approx(sigmoid_loss(z, y).item(), rel=1e-5)
    far = torch.tensor([[200.0]], requires_grad=True)
    assert math.isnan(naive_loss(far, torch.tensor([1])).item()), "0 times log 0"
    clipped_loss(far, torch.tensor([0])).backward()
    assert far.grad.item() == 0 and sigmoid_loss(far, torch.tensor([0])).item() == 200


def posts():
    """Twenty groups, each with a word of its own and some that all share."""
    words = [f"word{chr(97 + k)}{chr(97 + k)}" for k in range(20)]
    texts = [f"{words[k]} common talk {words[(k + j) % 20] if j > 8 else ''}" for j in range(10) for k in range(20)]
    y = torch.arange(20).repeat(10)
    return TextSet("posts", texts, y, [t.replace("talk", "zzz") for t in texts], y, tuple(map(str, range(20))))


def test_each_mistake_with_texts_does_what_it_says():
    whole, setting = posts(), Mistakes(data="newsgroups", lrs=(0.1,), epochs=15, seeds=1)
    got = {m: setting.one(setting.table(whole, m), m, 0.1, 1) for m in MISTAKES["newsgroups"]}
    assert got["none"]["accuracy"] > 0.95 and got["raw counts"]["accuracy"] > 0.8
    assert got["one output"]["accuracy"] == pytest.approx(0.05) and got["one output"]["predicted"] == 1, "class 1 for all"
    assert got["two vocabularies"]["accuracy"] < 0.7 and got["labels shuffled"]["accuracy"] < 0.2
    assert got["few steps"]["best"] == got["few steps"]["accuracy"] < got["none"]["accuracy"]


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"data": "cifar10"}, "data must be one of breast_cancer, newsgroups, got 'cifar10'"),
        ({"seeds": 0}, "seeds must be >= 1, got 0"),
        ({"lrs": ()}, r"lrs must have at least one value, got \(\)"),
    ],
)
def test_a_wrong_setting_of_mistakes_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        Mistakes(**wrong)
