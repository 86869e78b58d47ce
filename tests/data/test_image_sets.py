"""The image sets: what is in them, and what is said when they are not there."""

import os
import struct

import pytest
import torch

from flatlab.data import load


def test_digits_are_the_bundled_images_split_once_and_for_all():
    digits = load("digits")
    assert digits.x_train.dtype == torch.uint8 and digits.x_train.max() == digits.white == 16
    assert sorted(digits.y_test.unique().tolist()) == list(range(10))
    assert digits.flat(digits.x_test).shape == (360, 64) and digits.flat(digits.x_test).max() == 1
    assert digits.checksum() == load("digits").checksum() == "a475fc97343b"


def idx(folder, name, shape, fill=0):
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    size = 1
    for side in shape:
        size *= side
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(header + bytes([fill]) * size)


def test_mnist_files_are_read_in_their_official_layout(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        idx(raw, f"{split}-images-idx3-ubyte", (count, 28, 28), fill=7)
        idx(raw, f"{split}-labels-idx1-ubyte", (count,), fill=3)
    mnist = load("mnist", tmp_path)
    assert mnist.x_train.shape == (60_000, 1, 28, 28) and mnist.x_test[5, 0, 3, 3] == 7 and mnist.y_test[9] == 3


@pytest.mark.skipif(not os.environ.get("FLATLAB_DATA"), reason="MNIST is not on this disk: FLATLAB_DATA is not set")
def test_mnist_on_disk_is_the_real_one():
    assert load("mnist").checksum() == "1e35582d42a9"


def test_a_missing_file_is_named_with_the_remedy(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte is missing"):
        load("mnist", tmp_path)
    monkeypatch.delenv("FLATLAB_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set FLATLAB_DATA"):
        load("mnist")


def test_a_truncated_file_is_refused(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    idx(raw, "train-images-idx3-ubyte", (59_999, 28, 28))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is damaged"):
        load("mnist", tmp_path)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no data set 'mnits'; there are digits, mnist"):
        load("mnits")
