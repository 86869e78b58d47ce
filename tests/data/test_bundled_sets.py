"""The sets that come with scikit-learn are what they were, and split as documented."""

import pytest
import torch
from sklearn.datasets import load_breast_cancer

from flatlab.data import NAMES, load


def test_digits_are_the_bundled_images_split_once_and_for_all():
    digits = load("digits")
    assert digits.x_train.dtype == torch.uint8 and digits.x_train.max() == digits.white == 16
    assert sorted(digits.y_test.unique().tolist()) == list(range(10)) and digits.classes[7] == "7"
    assert digits.flat(digits.x_test).shape == (360, 64) and digits.flat(digits.x_test).max() == 1
    assert digits.checksum() == load("digits").checksum() == "a475fc97343b"


def test_breast_cancer_is_split_by_class_once_and_for_all():
    cancer, source = load("breast_cancer"), load_breast_cancer()
    assert cancer.y_train.bincount().tolist() == [212 - 42, 357 - 71] and cancer.y_test.bincount().tolist() == [42, 71]
    assert cancer.classes == ("malignant", "benign") and cancer.features[0] == "mean radius"
    assert cancer.checksum() == "18703a97f451"
    rows = sorted(
        torch.cat(
            [torch.cat([cancer.x_train, cancer.x_test]), torch.cat([cancer.y_train, cancer.y_test])[:, None]], 1
        ).tolist()
    )
    both = torch.cat([torch.tensor(source.data, dtype=torch.float32), torch.tensor(source.target)[:, None]], 1)
    assert rows == sorted(both.tolist())  # every row of the source, raw, once, with its label


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no data set 'mnits'; there are digits, .*, newsgroups"):
        load("mnits")
    assert NAMES[:6] == ("digits", "breast_cancer", "mnist", "cifar10", "cifar100", "newsgroups")
