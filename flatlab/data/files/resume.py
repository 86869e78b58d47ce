"""A download that goes on where it was broken off."""

from __future__ import annotations

import os
import time
from pathlib import Path

import requests
import urllib3
from tqdm.auto import tqdm

__all__ = ["Broken", "Resume"]

CHUNK = 1 << 16  # bytes


class Broken(requests.ConnectionError):
    """The connection broke before all had come; what came is kept."""


class Resume:
    """A downloader for `pooch.retrieve` that keeps what has come in the file `part` and asks for the rest.

    It asks by an HTTP `Range`. A server that ignores it sends the whole, and the file starts anew. A connection that
    breaks is taken up again after `wait` seconds as long as each try gets further than all before. Whether the bytes
    are right is for the checksum to say.
    """

    def __init__(self, part: Path, wait: float = 1.0, timeout: tuple[float, float] = (10.0, 60.0)):
        self.part, self.wait, self.timeout = part, wait, timeout

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch `url`, then move the whole of it to `output_file`."""
        furthest = self._size()
        while True:
            try:
                self._continue(url)
                break
            except Broken:
                if self._size() <= furthest:
                    raise
                furthest = self._size()
                time.sleep(self.wait)
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str) -> None:
        have = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            place = response.headers.get("Content-Range", "")
            if have and response.status_code == 416 and place == f"bytes */{have}":
                return  # there is no more: it is all here
            follows = response.status_code == 206 and place.startswith(f"bytes {have}-")
            if have and response.status_code in (206, 416) and not follows:  # not what we asked for: ask for the whole
                self.part.unlink()
                return self._continue(url)
            response.raise_for_status()
            self._receive(response, have if follows else 0)

    def _receive(self, response: requests.Response, have: int) -> None:
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        name = self.part.name.removesuffix(".part")
        bar = tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024)
        cause = None
        try:
            with bar, self.part.open("ab" if have else "wb") as file:
                for chunk in response.raw.stream(CHUNK, decode_content=False):  # some servers call .gz an encoding
                    file.write(chunk)
                    bar.update(len(chunk))
        except urllib3.exceptions.HTTPError as error:
            cause = error
        if cause or (total is not None and self._size() < total):
            of = "" if total is None else f" of {total:,}"
            raise Broken(f"the connection broke after {self._size():,}{of} bytes") from cause
