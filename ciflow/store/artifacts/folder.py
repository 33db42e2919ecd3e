"""Artifacts in a folder: of this machine, or one that several machines of one account mount."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ciflow.diagnostics import ArtifactError, StoreError
from ciflow.store.artifacts.web import CHUNK
from ciflow.store.blobs import Blobs
from ciflow.whole import write_whole


class Folder:
    """`blobs/` by digest, `records/` by name. Both are written beside their place and renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = Blobs(root / "blobs")
        self._records = root / "records"

    @property
    def where(self) -> str:
        return str(self.root)

    def has(self, digest: str) -> bool:
        return self.blobs.whole(digest)

    def send(self, digest: str, source: Path) -> None:
        if self.blobs.put_file(source) != digest:
            raise ArtifactError(f"{source} no longer has the digest {digest[:12]}: it was changed or damaged")

    def read(self, digest: str, offset: int) -> Iterator[bytes]:
        try:
            with self.blobs.path(digest).open("rb") as file:
                file.seek(offset)
                while piece := file.read(CHUNK):
                    yield piece
        except OSError as e:
            raise ArtifactError(f"{self.where} has no readable {digest[:12]}: {e.strerror}") from e

    def remove(self, digest: str, grace: float) -> int:
        return self.blobs.remove(digest, grace)

    def lying(self) -> Iterator[tuple[str, float]]:
        return self.blobs.lying()

    def tidy(self, grace: float) -> None:
        self.blobs.remove_parts(grace)
        for left in self._records.glob(".*"):  # by who was killed while writing one
            if time.time() - left.stat().st_mtime > grace:
                left.unlink(missing_ok=True)

    def record(self, name: str) -> str | None:
        try:
            return (self._records / name).read_text()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise ArtifactError(f"{self._records / name} can't be read: {e.strerror}") from e

    def records(self, prefix: str = "ciflow-") -> dict[str, str]:
        names = sorted(path.name for path in self._records.glob(f"{prefix}*"))
        found = {name: self.record(name) for name in names}
        return {name: text for name, text in found.items() if text is not None}

    def keep_record(self, name: str, text: str, digest: str = "", title: str = "") -> None:  # noqa: ARG002
        try:
            self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._records / name, text.encode(), 0o600)
        except OSError as e:
            raise StoreError(f"can't write into the store {self.root}: {e.strerror}") from e

    def drop_record(self, name: str) -> None:
        (self._records / name).unlink(missing_ok=True)


def origin_of(root: Path) -> str:
    """What this machine's journal is called in stores that it shares with others: made up once."""
    path = root / "origin"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            fresh = path.with_name(f".origin-{os.getpid()}")
            fresh.write_text(sha256(os.urandom(32)).hexdigest()[:16])
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass  # another process was faster
            finally:
                fresh.unlink()
        return path.read_text()
    except OSError as e:
        raise StoreError(f"can't write into the store {root}: {e.strerror}") from e
