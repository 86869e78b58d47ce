"""MNIST: its official layout, what is fetched when it is not there, and what is said of a damaged file."""

import gzip
import hashlib
import os
import struct

import pytest

from flatlab.data import load
from flatlab.data import mnist as source

SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def idx(shape, fill):
    size = 1
    for side in shape:
        size *= side
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes([fill]) * size


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """The four files, plain: every pixel 7, every label 3, as if published so."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, shape in SHAPES.items():
        (folder / name).write_bytes(idx(shape, 7 if len(shape) == 3 else 3))
        monkeypatch.setitem(source.PLAIN, name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    return folder


@pytest.fixture
def offline(monkeypatch, nowhere):
    monkeypatch.setattr(source, "MIRRORS", (nowhere,))


def test_mnist_is_read_in_its_official_layout_plain_or_zipped(raw, offline, tmp_path):
    plain = load("mnist", tmp_path)
    assert plain.x_train.shape == (60_000, 1, 28, 28) and plain.x_test[5, 0, 3, 3] == 7 and plain.y_test[9] == 3
    assert plain.classes[3] == "3" and plain.white == 255
    for path in list(raw.iterdir()):
        (raw / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    assert load("mnist", tmp_path).checksum() == plain.checksum()


def test_missing_mnist_files_are_fetched_once_and_used(raw, server, monkeypatch, tmp_path):
    server.files = {f"{p.name}.gz": gzip.compress(p.read_bytes(), 1) for p in raw.iterdir()}
    monkeypatch.setattr(source, "MIRRORS", (server.url,))
    monkeypatch.setattr(source, "MD5", {n.removesuffix(".gz"): hashlib.md5(b).hexdigest() for n, b in server.files.items()})
    monkeypatch.setenv("FLATLAB_DATA", str(tmp_path / "empty"))
    fetched = load("mnist")
    assert load("mnist").checksum() == fetched.checksum() == load("mnist", tmp_path).checksum()
    assert sorted(name for name, _ in server.asked) == sorted(server.files)
    assert {p.name for p in (tmp_path / "empty/MNIST/raw").iterdir() if p.name[0] != "."} == set(server.files)


def test_a_missing_file_without_a_network_is_named_with_the_remedy(offline, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MNIST/raw/train-images-idx3-ubyte\.gz is missing .* put train-images"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train-images-idx3-ubyte", lambda raw: raw[:-1]),
        ("train-images-idx3-ubyte", lambda raw: idx((59_999, 28, 28), 7)),
        ("t10k-labels-idx1-ubyte", lambda raw: raw[:100]),
        ("t10k-labels-idx1-ubyte", lambda raw: b""),
        ("t10k-labels-idx1-ubyte", lambda raw: raw[:-1] + b"\x04"),
        ("t10k-images-idx3-ubyte", lambda raw: raw[:5000] + b"\x06" + raw[5001:]),
    ],
    ids=["cut by a byte", "too few images", "cut short", "empty", "another label", "one bit of one pixel"],
)
def test_a_damaged_mnist_file_is_refused(raw, tmp_path, name, damage):
    (raw / name).write_bytes(damage((raw / name).read_bytes()))
    with pytest.raises(ValueError, match=f"{name} is damaged .*: delete it and load again"):
        load("mnist", tmp_path)


def test_a_damaged_zipped_mnist_file_is_refused(raw, tmp_path):
    path = raw / "train-labels-idx1-ubyte"
    whole = bytearray(gzip.compress(path.read_bytes()))
    path.unlink()
    flipped = whole.copy()
    flipped[-6] ^= 1
    for damaged in (whole[:-20], flipped, b"<html>"):
        (raw / f"{path.name}.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is damaged .*: delete it and load again"):
            load("mnist", tmp_path)


@pytest.mark.skipif(not os.environ.get("FLATLAB_DATA"), reason="MNIST is not on this disk: FLATLAB_DATA is not set")
def test_mnist_on_disk_is_the_real_one():
    assert load("mnist").checksum() == "1e35582d42a9"
