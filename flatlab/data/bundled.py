"""The sets that come with scikit-learn: digits and breast cancer."""

from __future__ import annotations

import numpy as np
import torch

from flatlab.data.feature_set import FeatureSet
from flatlab.data.image_set import ImageSet
from flatlab.data.source import Source

__all__ = ["breast_cancer", "digits"]


def digits() -> ImageSet:
    """1,797 handwritten digits of 8 x 8 with values from 0 to 16, a fifth of them, drawn with seed 0, for testing."""
    from sklearn.datasets import load_digits  # slow to import, and only this set needs it

    bunch = load_digits()
    x = torch.from_numpy(bunch.images.astype(np.uint8))[:, None]
    y = torch.from_numpy(bunch.target.astype(np.int64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    return ImageSet("digits", x[train], y[train], x[test], y[test], white=16, classes=tuple("0123456789"))


def breast_cancer() -> FeatureSet:
    """569 tumours with 30 raw measurements each: malignant (0) or benign (1).

    The set has no official split. Here a fifth of each class (rounded down: 42 and 71), drawn with seed 0, is for
    testing; both parts keep the order of the source.
    """
    from sklearn.datasets import load_breast_cancer  # slow to import, and only this set needs it

    bunch = load_breast_cancer()
    x = torch.from_numpy(bunch.data.astype(np.float32))
    y = torch.from_numpy(bunch.target.astype(np.int64))
    generator = torch.Generator().manual_seed(0)
    for_test = torch.zeros(len(y), dtype=torch.bool)
    for label in range(2):
        members = torch.nonzero(y == label)[:, 0]
        for_test[members[torch.randperm(len(members), generator=generator)[: len(members) // 5]]] = True
    features, classes = (tuple(map(str, names)) for names in (bunch.feature_names, bunch.target_names))
    return FeatureSet("breast_cancer", x[~for_test], y[~for_test], x[for_test], y[for_test], features, classes)


DIGITS = Source(name="digits", title="digits", place=1, read=digits)
BREAST_CANCER = Source(name="breast_cancer", title="Breast Cancer", place=2, read=breast_cancer, holds=FeatureSet)
