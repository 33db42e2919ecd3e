"""Content by its digest: snapshots of sources, saved plans, artifacts, spilled output."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from ciflow.diagnostics import StoreError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024 * 1024


class Blobs:
    """Files named by the SHA-256 of what they hold, private to the account. A blob is there whole, or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep `content`; gives its digest in hexadecimal. StoreError when the disk is full or read-only."""
        digest = sha256(content).hexdigest()
        if not self.path(digest).exists():
            with self._fresh(digest) as file:
                file.write(content)
        return digest

    def put_file(self, source: Path) -> str:
        """Keep a copy of a file of any size, never held whole in memory; gives its digest."""
        with source.open("rb") as reading:
            digest = _digest_of(reading)
            if self.path(digest).exists():
                return digest
            reading.seek(0)
            with self._fresh(digest) as file:
                shutil.copyfileobj(reading, file, _CHUNK)
        with self.path(digest).open("rb") as written:
            if _digest_of(written) != digest:
                self.path(digest).unlink()
                raise StoreError(f"{source} changed while it was being copied into the store")
        return digest

    def get(self, digest: str) -> bytes:
        """What was put. StoreError when it isn't there or no longer has its digest."""
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except OSError as e:
            raise StoreError(f"the store has no readable blob {digest[:12]}: {e.strerror}") from e
        if sha256(content).hexdigest() != digest:
            raise StoreError(f"the blob {path} is damaged", help="remove it; what made it can make it again")
        return content

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def path(self, digest: str) -> Path:
        """Where the blob lies or would lie. ValueError on what is no digest: it may come from outside."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"not a SHA-256 digest: {digest!r}")
        return self._folder / digest[:2] / digest[2:]

    @contextmanager
    def _fresh(self, digest: str) -> Iterator[BinaryIO]:
        target = self.path(digest)
        temporary = ""
        try:
            for folder in (self._folder, target.parent):
                folder.mkdir(exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
            with os.fdopen(descriptor, "wb") as file:
                yield file
            Path(temporary).replace(target)
        except OSError as e:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            raise StoreError(f"can't write into the store {self._folder}: {e.strerror}") from e


def _digest_of(file: BinaryIO) -> str:
    digest = sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
