"""Only the expected plain files leave an archive, each whole, and none leaves its folder."""

import io
import tarfile

import pytest

from flatlab.data.files.unpack import unpack


def pack(path, members):
    """Members are `(name, bytes)`, or `(name, str)` for a symbolic link."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def inside(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_the_expected_files_are_written_and_nothing_else(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", [("set/b.bin", b"22"), ("set/readme.html", b"x"), ("set/a.bin", b"1")])
    unpack(archive, tmp_path / "root" / "set", ["a.bin", "b.bin"])
    assert inside(tmp_path / "root") == {"set", "set/a.bin", "set/b.bin"}
    assert (tmp_path / "root/set/b.bin").read_bytes() == b"22"


def test_members_that_point_out_of_the_folder_are_never_written(tmp_path):
    out = str(tmp_path / "absolute.bin")
    archive = pack(
        tmp_path / "a.tar.gz", [("../escape.bin", b"!"), (out, b"!"), ("set/../../up.bin", b"!"), ("set/a.bin", b"1")]
    )
    unpack(archive, tmp_path / "root" / "set", ["a.bin"])
    assert inside(tmp_path) == {"a.tar.gz", "root", "root/set", "root/set/a.bin"}


@pytest.mark.parametrize("target", ["/etc/hostname", "../../a.tar.gz", "other.bin"])
def test_a_link_in_the_place_of_a_file_is_refused(tmp_path, target):
    archive = pack(tmp_path / "a.tar.gz", [("set/other.bin", b"1"), ("set/a.bin", target)])
    with pytest.raises(ValueError, match=r"a\.tar\.gz has no file set/a\.bin: delete it"):
        unpack(archive, tmp_path / "root" / "set", ["a.bin"])
    assert inside(tmp_path / "root") == {"set"}


def test_an_expected_file_cannot_be_led_out_through_a_linked_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    archive = pack(tmp_path / "a.tar.gz", [("set", str(tmp_path / "elsewhere")), ("set/a.bin", b"1")])
    unpack(archive, tmp_path / "root" / "set", ["a.bin"])
    assert not inside(tmp_path / "elsewhere") and (tmp_path / "root/set/a.bin").read_bytes() == b"1"


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_half_an_archive_gives_no_file_at_all(tmp_path, keep):
    whole = pack(tmp_path / "a.tar.gz", [("set/a.bin", bytes(1000)), ("set/b.bin", bytes(range(256)) * 4000)]).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match=r"a\.tar\.gz (is damaged|has no file)"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "root" / "set", ["a.bin", "b.bin"])
    assert inside(tmp_path / "root") == {"set"}


def test_a_flipped_bit_is_noticed(tmp_path):
    whole = bytearray(pack(tmp_path / "a.tar.gz", [("set/a.bin", bytes(range(256)) * 40)]).read_bytes())
    whole[-7] ^= 1  # the checksum at the end of the gzip file
    (tmp_path / "a.tar.gz").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.tar\.gz is damaged \(CRC check failed"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "root" / "set", ["a.bin"])


def test_a_file_that_is_there_stays(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", [("set/a.bin", b"1"), ("set/b.bin", b"2")])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_bytes(b"mine")
    unpack(archive, tmp_path / "set", ["a.bin", "b.bin"])
    assert [(tmp_path / "set" / name).read_bytes() for name in ("a.bin", "b.bin")] == [b"mine", b"2"]


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", [("set/a.bin", b"1")])
    (tmp_path / "set").write_text("")
    with pytest.raises(OSError, match="set could not be written.*root= or FLATLAB_DATA"):
        unpack(archive, tmp_path / "set", ["a.bin"])
