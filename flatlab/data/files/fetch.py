"""A published file, fetched whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Remote", "fetch", "unwritable"]


@dataclass(frozen=True)
class Remote:
    """A published file: its name, its MD5, and the addresses of the folders that serve it, best first."""

    name: str
    md5: str
    mirrors: tuple[str, ...]


def fetch(remote: Remote, folder: Path) -> Path:
    """`folder/name`, fetched from the first mirror that serves it, unless it is there with the right checksum.

    A broken download is continued, now or by a later call. The file gets its name only after its checksum has been
    found right, and only one process fetches at a time. Raises `FileNotFoundError` if no mirror can be reached,
    `ValueError` if what came has another checksum, and another `OSError` if `folder` cannot be written.
    """
    import pooch  # what a download needs is slow to import
    import requests
    from filelock import FileLock

    from flatlab.data.files.resume import Broken, Resume

    path, failures = folder / remote.name, []
    wrong = path.exists()  # else it is whole, and nothing is fetched
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{remote.name}.lock"):
            for mirror in remote.mirrors:
                try:
                    pooch.retrieve(
                        mirror + remote.name,
                        known_hash=f"md5:{remote.md5}",
                        fname=remote.name,
                        path=folder,
                        downloader=Resume(folder / f"{remote.name}.part"),
                    )
                    return path
                except Broken as error:
                    failures.append(f"{mirror}: {error}")
                except requests.HTTPError as error:
                    failures.append(f"{mirror}: HTTP status {error.response.status_code}")
                except requests.RequestException as error:
                    failures.append(f"{mirror}: no connection ({type(error).__name__})")
                except ValueError:  # pooch's word for a wrong checksum
                    failures.append(f"{mirror}: wrong checksum")
                    wrong = True
    except OSError as error:
        raise unwritable(path, error) from error
    tried = "; ".join(failures)
    by_hand = f"put {remote.name} (md5 {remote.md5}) into {folder} yourself"
    if wrong:
        raise ValueError(f"{path} is not the published file, nor could that be fetched ({tried}): load again, or {by_hand}")
    raise FileNotFoundError(
        f"{path} is missing and could not be fetched ({tried}): load again with a network, which continues where this "
        f"stopped, or {by_hand}"
    )


def unwritable(path: Path, error: OSError) -> OSError:
    """The error to raise if `path` could not be written: of the same kind, with the file and the remedy."""
    return OSError(
        error.errno,
        f"{path} could not be written ({error.strerror or error}): free some space or make its folder writable, or "
        "choose another folder by root= or FLATLAB_DATA",
    )
