"""Training images against test images: whether they can be told apart."""

import pytest
import torch

from flatlab.studies.split_shift import SplitShift, features


def test_images_of_one_kind_cannot_be_told_apart_and_cropped_ones_can_by_their_edges():
    x = torch.randint(1, 256, (1600, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    study = SplitShift(images=400)
    assert study.told(x[:800], x[800:], "none", 1) == pytest.approx(0.5, abs=0.06)
    assert study.told(x[:800], x[800:], "crop", 1) > 0.85


def test_the_features_are_means_of_blocks_and_deviations_of_edges():
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    expected = [x[0, 0, r : r + 4, c : c + 4].mean() for r in (0, 4) for c in (0, 4)]
    expected += [x[0, 0, 0].std(), x[0, 0, 7].std(), x[0, 0, :, 0].std(), x[0, 0, :, 7].std()]
    torch.testing.assert_close(features(x)[0], torch.stack(expected))


def test_what_it_returns_and_what_it_refuses():
    result = SplitShift(data="digits", images=100, augment=("none",), seeds=2).run()
    assert len(result["told"]["none"]) == 2 and result["features"] == 8
    with pytest.raises(ValueError, match=r"images must be at most \d+ with digits, got 5000"):
        SplitShift(data="digits").run()
    with pytest.raises(ValueError, match="augment"):
        SplitShift(augment=("shear",))
