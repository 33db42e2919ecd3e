"""Content by its digest: snapshots of sources, artifacts."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from ciflow.diagnostics import ArtifactError, StoreError
from ciflow.whole import whole

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024 * 1024


class Blobs:
    """Files named by the SHA-256 of what they hold, private to the account. A blob is there whole, or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep `content`; gives its digest in hexadecimal. StoreError when the disk is full or read-only."""
        digest = sha256(content).hexdigest()
        if not self._renewed(digest):
            with self._fresh(digest) as file:
                file.write(content)
        return digest

    def put_file(self, source: Path) -> str:
        """Keep a copy of a file of any size, never held whole in memory; gives its digest."""
        with source.open("rb") as reading:
            digest = _digest_of(reading)
            if self._renewed(digest):
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

    def whole(self, digest: str) -> bool:
        """Whether it is there and still has its digest; what has not is thrown away. It counts as new from now on."""
        if not self._renewed(digest):
            return False
        with self.path(digest).open("rb") as file:
            sound = _digest_of(file) == digest
        if not sound:
            self.path(digest).unlink(missing_ok=True)
        return sound

    def receive(self, digest: str, source: Callable[[int], Iterator[bytes]]) -> None:
        """Keep what `source` gives from an offset on. What came before it was cut off is kept, and asked for no more;
        nobody sees it before it is whole. ArtifactError when the bytes are others than asked for."""
        part = self.path(digest).with_name(f".part-{digest[2:]}")
        try:
            for folder in (self._folder, part.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with part.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another process that fetches the same is waited for
                if self.has(digest):
                    part.unlink(missing_ok=True)
                    return
                for piece in source(file.tell()):
                    file.write(piece)
                file.flush()
                with part.open("rb") as written:
                    found = _digest_of(written)
                if found == digest:
                    part.replace(self.path(digest))
                    return
                part.unlink()
        except OSError as e:
            raise StoreError(f"can't write into the store {self._folder}: {e.strerror}") from e
        raise ArtifactError(f"what was sent as {digest[:12]} is {found[:12]}: it was thrown away")

    def lying(self) -> Iterator[tuple[str, float]]:
        """Everything kept: its digest, and the Unix seconds when it was last asked for by whoever keeps things."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            digest = path.parent.name + path.name
            if _DIGEST.fullmatch(digest):
                yield digest, path.stat().st_mtime

    def remove(self, digest: str, grace: float) -> int:
        """Give up a blob that nobody has kept again within `grace` seconds; how many bytes that frees."""
        with self._locked(fcntl.LOCK_EX):
            try:
                found = self.path(digest).stat()
            except FileNotFoundError:
                return 0
            if time.time() - found.st_mtime < grace:
                return 0
            self.path(digest).unlink()
        return found.st_size

    def remove_parts(self, grace: float) -> None:
        """Beginnings that nobody has gone on with for `grace` seconds."""
        for path in self._folder.glob("*/.*"):
            if time.time() - path.stat().st_mtime > grace:
                path.unlink(missing_ok=True)

    def _renewed(self, digest: str) -> bool:
        """Whether it is there; then it is as new. The lock is against `remove`, which looks and takes in two steps."""
        try:
            with self._locked(fcntl.LOCK_SH):
                os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        except OSError as e:
            raise StoreError(f"can't write into the store {self._folder}: {e.strerror}") from e
        return True

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def path(self, digest: str) -> Path:
        """Where the blob lies or would lie. ValueError on what is no digest: it may come from outside."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"not a SHA-256 digest: {digest!r}")
        return self._folder / digest[:2] / digest[2:]

    @contextmanager
    def _fresh(self, digest: str) -> Iterator[BinaryIO]:
        target = self.path(digest)
        try:
            for folder in (self._folder, target.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole(target, 0o600) as file:
                yield file
        except OSError as e:
            raise StoreError(f"can't write into the store {self._folder}: {e.strerror}") from e


def _digest_of(file: BinaryIO) -> str:
    digest = sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
