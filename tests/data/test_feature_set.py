"""Standardizing takes its mean and deviation from the training part alone."""

import torch
from sklearn.preprocessing import StandardScaler

from flatlab.data import FeatureSet, load


def test_standardizing_agrees_with_scikit_learn():
    raw = load("breast_cancer")
    scaler, table = StandardScaler().fit(raw.x_train.double()), raw.standardized()
    for x, source in ((table.x_train, raw.x_train), (table.x_test, raw.x_test)):
        torch.testing.assert_close(x, torch.tensor(scaler.transform(source.double())).float())
    assert table.y_test.equal(raw.y_test) and table.features == raw.features and table.checksum() != raw.checksum()


def test_a_column_that_is_constant_in_training_is_only_centred():
    x, y = torch.tensor([[0.1, 1.0]] * 3), torch.tensor([0, 1, 1])
    table = FeatureSet("flat", x, y, x + torch.tensor([0.0, 2.0]), y, ("a", "b"), ("no", "yes")).standardized()
    assert table.x_train.equal(torch.zeros(3, 2)) and table.x_test.equal(torch.tensor([[0.0, 2.0]] * 3))
