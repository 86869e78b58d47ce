"""Newsgroups: scikit-learn's fetching and caching, with our checks and messages around it."""

import hashlib
import io
import os
import pickle
import tarfile
import time
import zlib

import numpy as np
import pytest
from sklearn.datasets import _twenty_newsgroups as theirs
from sklearn.datasets import fetch_20newsgroups
from sklearn.utils import Bunch

from flatlab.data import load
from flatlab.data import newsgroups as source

CACHE = "20news-bydate_py3.pkz"


def cached(train=11_314, test=7_532):
    """A cache file as scikit-learn writes it, with that many posts `train 0`, `train 1`, ..."""
    groups = [f"group.{k:02}" for k in range(20)]
    parts = {
        name: Bunch(
            data=[f"{name} {k}" for k in range(n)], target=np.arange(n) % 20, target_names=groups, filenames=np.arange(n)
        )
        for name, n in (("train", train), ("test", test))
    }
    return zlib.compress(pickle.dumps(parts))


@pytest.fixture
def archive(server, monkeypatch):
    """A small archive of 20 groups with 3 and 2 posts each, served in the place of the published one."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for split, posts in (("train", 3), ("test", 2)):
            for k in range(20):
                for post in range(posts):
                    raw = f"From: x\n\nbody {split} {k} {post} caf\xe9".encode("latin1")
                    info = tarfile.TarInfo(f"20news-bydate-{split}/group.{k:02}/{post}")
                    info.size = len(raw)
                    tar.addfile(info, io.BytesIO(raw))
    server.files["news.tar.gz"] = packed.getvalue()
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    monkeypatch.setattr(theirs, "ARCHIVE", theirs.RemoteFileMetadata("news.tar.gz", server.url + "news.tar.gz", digest))
    monkeypatch.setattr(source, "COUNTS", {"train": 60, "test": 40})
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return server


def visible(folder):
    return {p.name for p in folder.iterdir() if p.suffix != ".lock"}


def test_the_cache_file_is_read_in_its_order(tmp_path):
    (tmp_path / CACHE).write_bytes(cached())
    posts = load("newsgroups", tmp_path)
    assert len(posts.x_train) == 11_314 and posts.x_test[7531] == "test 7531" and posts.y_test[7531] == 7531 % 20
    assert len(posts.classes) == 20 and posts.y_train.bincount().sum() == 11_314


def test_the_archive_is_fetched_once_and_only_the_cache_file_stays(archive, tmp_path):
    posts = load("newsgroups", tmp_path / "new")
    k = posts.x_train.index("From: x\n\nbody train 7 2 caf\xe9")
    assert posts.y_train[k] == 7 and posts.classes[7] == "group.07" and posts.y_test.bincount().tolist() == [2] * 20
    assert load("newsgroups", tmp_path / "new").checksum() == posts.checksum() and len(archive.asked) == 1
    assert visible(tmp_path / "new") == {CACHE}


@pytest.mark.filterwarnings("ignore:Retry downloading")
def test_without_a_network_the_file_is_named_with_the_remedy(archive, monkeypatch, nowhere, tmp_path):
    monkeypatch.setattr(theirs, "ARCHIVE", theirs.ARCHIVE._replace(url=nowhere))
    with pytest.raises(
        FileNotFoundError, match=f"{CACHE} is missing and could not be fetched .* load again with a network"
    ):
        load("newsgroups", tmp_path)
    assert visible(tmp_path) == set()


@pytest.mark.filterwarnings("ignore:Retry downloading")
def test_a_broken_fetch_leaves_nothing_that_passes_for_whole(archive, tmp_path):
    archive.cuts = [1000] * 9
    with pytest.raises(FileNotFoundError, match="could not be fetched"):
        load("newsgroups", tmp_path)
    assert visible(tmp_path) == set()


def test_a_wrong_archive_is_refused(archive, tmp_path):
    archive.files["news.tar.gz"] += b"!"
    with pytest.raises(ValueError, match=f"{CACHE}: what was fetched is not the published archive .*: load again"):
        load("newsgroups", tmp_path)
    assert visible(tmp_path) == set()


def test_a_file_in_the_place_of_the_folder_is_named(archive, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(OSError, match=f"data/{CACHE} could not be written.*root= or FLATLAB_DATA"):
        load("newsgroups", tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cached(60, 40)[:-10], "is damaged"),
        (b"", "is damaged"),
        (zlib.compress(b"not a pickle"), "cannot be read by this scikit-learn"),
        (cached(59, 40), "has 59 posts of 60 for train"),
    ],
    ids=["cut", "empty", "of another kind", "a post short"],
)
def test_a_damaged_cache_file_is_refused_and_stays(archive, tmp_path, content, message, capsys):
    (tmp_path / CACHE).write_bytes(content)
    with pytest.raises(ValueError, match=f"{CACHE} {message}.*: delete it and load again"):
        load("newsgroups", tmp_path)
    assert (tmp_path / CACHE).read_bytes() == content and capsys.readouterr().out == "" and not archive.asked


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FLATLAB_DATA"), reason="no newsgroups on this disk: FLATLAB_DATA is not set")
def test_newsgroups_on_disk_are_the_official_split():
    posts = load("newsgroups")
    assert (len(posts.x_train), len(posts.x_test)) == (11_314, 7_532)
    assert posts.classes[0] == "alt.atheism" and posts.classes[-1] == "talk.religion.misc"
    assert posts.y_train.bincount()[:3].tolist() == [480, 584, 591]
    bare = fetch_20newsgroups(
        data_home=os.environ["FLATLAB_DATA"], subset="test", shuffle=False, remove=("headers", "footers", "quotes")
    )
    assert posts.without("headers", "footers", "quotes").x_test == bare.data
