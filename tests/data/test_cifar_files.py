"""The CIFARs: the record format, what is fetched when it is not there, and what is said of a damaged file."""

import hashlib
import io
import os
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from flatlab.data import load
from flatlab.data.cifar import CIFAR10, CIFAR100, cifar, digest

FINE = {"train.bin": np.arange(1000) % 100, "test.bin": np.arange(200) % 100}


def records(fine):
    """CIFAR-100 records: coarse label 19, then the fine one, then a red plane of 1, a green of 2, a blue of 3."""
    out = np.empty((len(fine), 3074), np.uint8)
    out[:, 0], out[:, 1] = 19, fine
    out[:, 2:] = np.repeat([1, 2, 3], 1024)
    out[:, 2 + 1024 + 32 * 5 + 7] = 200  # green, row 5, column 7
    return out.tobytes()


def digests(*files):
    """Those of the small files, as the catalogue has them of the large ones."""
    return {name: digest(np.frombuffer(records(FINE[name]), np.uint8).reshape(-1, 3074)[:, 1:]) for name in files}


SMALL = replace(CIFAR100, n_train=1000, n_test=200, train=digests("train.bin"), test=digests("test.bin"))


@pytest.fixture
def laid_out(tmp_path):
    """A folder with two small files in the official layout."""
    (tmp_path / "cifar-100-binary").mkdir()
    for name, fine in FINE.items():
        (tmp_path / "cifar-100-binary" / name).write_bytes(records(fine))
    return tmp_path


def test_a_record_is_two_labels_and_three_planes(laid_out):
    images = cifar(SMALL, laid_out)
    assert images.x_train.shape == (1000, 3, 32, 32) and images.x_train.dtype == torch.uint8
    assert images.y_train.dtype == torch.int64 and images.y_test.tolist() == FINE["test.bin"].tolist()
    assert images.x_test[77, :, 0, 0].tolist() == [1, 2, 3]
    assert images.x_test[77, :, 5, 7].tolist() == [1, 200, 3]
    assert images.classes[0] == "apple" and images.classes[-1] == "worm" and len(set(images.classes)) == 100


def packed(folder):
    """The folder's files as a .tar.gz archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=0) as tar:
        tar.add(folder / "cifar-100-binary", "cifar-100-binary")
    return packed.getvalue()


def test_the_archive_is_fetched_through_a_broken_connection_and_unpacked(laid_out, server, tmp_path):
    archive = packed(laid_out)
    remote = replace(CIFAR100.archive, md5=hashlib.md5(archive).hexdigest(), mirrors=(server.url,))
    server.files[remote.name], server.cuts = archive, [len(archive) // 2]
    root = tmp_path / "new"
    fetched = cifar(replace(SMALL, archive=remote), root)
    assert len(server.asked) == 2 and fetched.checksum() == cifar(SMALL, laid_out).checksum()
    assert {p.name for p in root.iterdir() if p.suffix != ".lock"} == {remote.name, "cifar-100-binary"}
    assert {p.name for p in (root / "cifar-100-binary").iterdir() if p.name[0] != "."} == set(FINE)
    (root / "cifar-100-binary" / "test.bin").unlink()
    assert cifar(replace(SMALL, archive=remote), root).checksum() == fetched.checksum()
    assert len(server.asked) == 2  # the second time, the archive was there and whole


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], r"test\.bin is damaged \(614799 bytes of 614800\): delete it and load again"),
        (lambda raw: b"", r"test\.bin is damaged \(0 bytes"),
        (lambda raw: raw[:1] + b"\x07" + raw[2:], r"test\.bin is damaged \(its checksum is .*\): delete it and load again"),
        (lambda raw: raw[: len(raw) // 2] + bytes(len(raw) // 2), r"test\.bin is damaged \(its checksum is"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), r"test\.bin is damaged \(its checksum is"),
    ],
    ids=["cut by a byte", "empty", "a wrong label", "half of it zeros", "one bit of one pixel"],
)
@pytest.mark.parametrize("seen", [False, True], ids=["at first sight", "after it was found right"])
def test_a_damaged_cifar_file_is_refused_and_no_other_file_blamed(laid_out, damage, message, seen):
    if seen:
        cifar(SMALL, laid_out)
    path = laid_out / "cifar-100-binary" / "test.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as refused:
        cifar(SMALL, laid_out)
    assert "train.bin" not in str(refused.value)


def test_a_copy_with_its_records_in_another_order_is_as_good(laid_out):
    path = laid_out / "cifar-100-binary" / "test.bin"
    rows = np.fromfile(path, np.uint8).reshape(-1, 3074)
    path.write_bytes(rows[::-1].tobytes())
    assert cifar(SMALL, laid_out).y_test.tolist() == FINE["test.bin"].tolist()[::-1]


def test_what_the_published_archive_holds_is_right_whatever_the_catalogues_digest(laid_out):
    """Of CIFAR-100 no checksum of the files is published, so that ours may be of other bytes: never refuse the original."""
    archive = packed(laid_out)
    (laid_out / CIFAR100.archive.name).write_bytes(archive)
    remote = replace(CIFAR100.archive, md5=hashlib.md5(archive).hexdigest(), mirrors=("https://nowhere.invalid/",))
    other = replace(SMALL, archive=remote, train={"train.bin": "0" * 32}, test={"test.bin": "1" * 32})
    assert cifar(other, laid_out).checksum() == cifar(SMALL, laid_out).checksum()
    path = laid_out / "cifar-100-binary" / "test.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"test\.bin is damaged \(its checksum is .*\): delete it and load again"):
        cifar(other, laid_out)
    path.unlink()  # as the message says
    cifar(other, laid_out)
    (laid_out / CIFAR100.archive.name).write_bytes(archive + b"another")
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"test\.bin is damaged"):
        cifar(other, laid_out)


@pytest.mark.parametrize("which", [CIFAR10, CIFAR100], ids=lambda which: which.name)
def test_a_missing_archive_without_a_network_is_named_with_the_remedy(which, nowhere, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{which.archive.name} is missing .* put {which.archive.name}"):
        cifar(replace(which, archive=replace(which.archive, mirrors=(nowhere,))), tmp_path)


on_disk = pytest.mark.skipif(not os.environ.get("FLATLAB_DATA"), reason="no CIFAR on this disk: FLATLAB_DATA is not set")
OFFICIAL = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}


@pytest.mark.slow
@on_disk
def test_cifar10_as_loaded_is_the_official_one():
    """Records made again from what was loaded have the MD5s of the published files."""
    images = load("cifar10")
    x = torch.cat([images.x_train, images.x_test]).flatten(1)
    y = torch.cat([images.y_train, images.y_test]).to(torch.uint8)
    for k, name in enumerate(OFFICIAL):
        rows = slice(10_000 * k, 10_000 * (k + 1))
        again = torch.cat([y[rows, None], x[rows]], dim=1)
        assert hashlib.md5(again.numpy()).hexdigest() == OFFICIAL[name], name
    assert y.bincount().tolist() == [6000] * 10


@pytest.mark.slow
@on_disk
def test_cifar100_on_disk_has_every_class_six_hundred_times():
    images = load("cifar100")
    assert (images.y_train.bincount() + images.y_test.bincount()).tolist() == [600] * 100
    assert images.x_train.float().mean((0, 2, 3)).div(255).tolist() == pytest.approx([0.5071, 0.4865, 0.4409], abs=1e-4)
