"""A file is fetched whole or not at all, whatever the network, the server and the disk do."""

import hashlib
import random
import threading

import pytest

from flatlab.data.files.fetch import Remote, fetch

BODY = random.Random(0).randbytes(1_000_000)
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def remote(server):
    server.files["thing.gz"] = BODY
    return Remote("thing.gz", MD5, (server.url,))


def test_a_file_is_fetched_once(remote, server, tmp_path):
    assert fetch(remote, tmp_path / "new").read_bytes() == BODY
    fetch(remote, tmp_path / "new")
    assert server.asked == [("thing.gz", None)]


def test_a_broken_connection_is_continued_where_it_broke(remote, server, tmp_path):
    server.cuts = [400_000, 300_000]
    assert fetch(remote, tmp_path).read_bytes() == BODY
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for _, wanted in server.asked[1:]]
    assert len(starts) == 2 and 300_000 < starts[0] <= 400_000 and 500_000 < starts[1] <= 700_000


def test_a_later_call_continues_what_an_earlier_one_left(remote, server, tmp_path):
    server.cuts = [400_000, 0]
    with pytest.raises(FileNotFoundError, match=r"thing\.gz is missing .* broke after .* of 1,000,000 bytes.* load again"):
        fetch(remote, tmp_path)
    assert not (tmp_path / "thing.gz").exists()
    left = (tmp_path / "thing.gz.part").stat().st_size
    assert fetch(remote, tmp_path).read_bytes() == BODY and server.asked[-1] == ("thing.gz", f"bytes={left}-")
    assert not (tmp_path / "thing.gz.part").exists()


def test_a_server_that_ignores_ranges_sends_the_whole_again(remote, server, tmp_path):
    server.ranges, server.cuts = False, [400_000]
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_a_server_that_sends_another_range_is_asked_for_the_whole(remote, server, tmp_path):
    server.shift, server.cuts = 10, [400_000]
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert len(server.asked) == 3 and server.asked[-1] == ("thing.gz", None)


def test_a_server_that_always_breaks_at_one_place_is_given_up(remote, server, tmp_path):
    server.ranges, server.cuts = False, [400_000] * 9
    with pytest.raises(FileNotFoundError, match="could not be fetched"):
        fetch(remote, tmp_path)
    assert len(server.asked) == 2 and not (tmp_path / "thing.gz").exists()


@pytest.mark.parametrize("left", [BODY, BODY + b"more"], ids=["whole", "too long"])
def test_a_part_with_nothing_to_follow_is_taken_only_if_it_is_the_whole(remote, server, tmp_path, left):
    (tmp_path / "thing.gz.part").write_bytes(left)
    assert fetch(remote, tmp_path).read_bytes() == BODY
    assert len(server.asked) == (1 if left == BODY else 2)


def test_a_part_of_another_file_does_not_pass(remote, tmp_path):
    (tmp_path / "thing.gz.part").write_bytes(b"<html>log in</html>")
    with pytest.raises(ValueError, match=r"thing\.gz is not the published file.*wrong checksum.*load again"):
        fetch(remote, tmp_path)
    assert not (tmp_path / "thing.gz").exists()
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_bytes_are_kept_as_published_where_a_server_calls_gzip_an_encoding(remote, server, tmp_path):
    server.encoding = "x-gzip"
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_mirrors_are_tried_in_turn(server, nowhere, tmp_path):
    server.files |= {"wrong/thing.gz": b"something else", "right/thing.gz": BODY}
    mirrors = (nowhere, server.url + "gone/", server.url + "wrong/", server.url + "right/")
    assert fetch(Remote("thing.gz", MD5, mirrors), tmp_path).read_bytes() == BODY
    with pytest.raises(FileNotFoundError, match=r"no connection.*HTTP status 404.*put thing\.gz \(md5 .*yourself"):
        fetch(Remote("thing.gz", MD5, mirrors[:2]), tmp_path / "other")


def test_a_wrong_checksum_is_refused(remote, server, tmp_path):
    server.files["thing.gz"] = BODY[:-1] + b"?"
    with pytest.raises(ValueError, match=r"thing\.gz is not the published file.*wrong checksum"):
        fetch(remote, tmp_path)
    assert not (tmp_path / "thing.gz").exists()


def test_a_wrong_file_under_the_right_name_is_fetched_again(remote, tmp_path, nowhere):
    (tmp_path / "thing.gz").write_bytes(BODY[:1000])
    with pytest.raises(ValueError, match=r"thing\.gz is not the published file, nor .* no connection"):
        fetch(Remote("thing.gz", MD5, (nowhere,)), tmp_path)
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_a_file_in_the_place_of_the_folder_is_named_with_the_remedy(remote, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(OSError, match=r"data/thing\.gz could not be written.*root= or FLATLAB_DATA"):
        fetch(remote, tmp_path / "data")


def test_a_disk_that_takes_no_more_is_named_with_the_remedy(remote, tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"thing\.gz could not be written \(File too large\): free some space"):
            fetch(remote, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "thing.gz").exists()
    assert fetch(remote, tmp_path).read_bytes() == BODY


def test_of_two_at_once_only_one_fetches(remote, server, tmp_path):
    both = [threading.Thread(target=fetch, args=(remote, tmp_path)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(server.asked) == 1 and (tmp_path / "thing.gz").read_bytes() == BODY
