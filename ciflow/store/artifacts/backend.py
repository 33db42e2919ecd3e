"""What each kind of store can do, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from ciflow.dataclass import dataclass
from ciflow.diagnostics import ArtifactError
from ciflow.whole import write_whole

PART = 8 * 1024 * 1024  # bytes that travel at once


class Backend(Protocol):
    """Content by its digest, and small records by name. ArtifactError when the store can't be had.

    Content appears whole or not at all. Where a kind can't list its content, `lying` gives nothing.
    """

    @property
    def where(self) -> str:
        """What people call it."""
        ...

    def has(self, digest: str) -> bool: ...

    def send(self, digest: str, source: Path) -> None:
        """Bring a file there. It goes on where an earlier try of the same file was cut off."""
        ...

    def read(self, digest: str, offset: int) -> Iterator[bytes]:
        """Its bytes from an offset on. Raises Cut in the middle."""
        ...

    def remove(self, digest: str, grace: float) -> int:
        """Give content up that came `grace` seconds ago or earlier, as far as the kind can tell; bytes freed, if
        known."""
        ...

    def lying(self) -> Iterator[tuple[str, float]]:
        """Digests of content, and the Unix seconds when each came."""
        ...

    def tidy(self, grace: float) -> None:
        """Give up beginnings of content that are older than `grace` seconds."""
        ...

    def record(self, name: str) -> str | None: ...

    def records(self, prefix: str = "ciflow-") -> dict[str, str]:
        """Records whose names begin so."""
        ...

    def keep_record(self, name: str, text: str, digest: str = "", title: str = "") -> None:
        """Write a record, in the place of one of this name. It is about the content with this `digest`, if any, whose
        file people would call `title`."""
        ...

    def drop_record(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Tickets:
    """What a store calls an upload that is under way, remembered on this machine until it has ended."""

    folder: Path

    def get(self, subject: str) -> str:
        path = self._path(subject)
        return path.read_text() if path.exists() else ""

    def set(self, subject: str, ticket: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._path(subject), ticket.encode(), 0o600)

    def forget(self, subject: str) -> None:
        self._path(subject).unlink(missing_ok=True)

    def _path(self, subject: str) -> Path:
        return self.folder / sha256(subject.encode()).hexdigest()[:32]


def parts(source: Path, digest: str, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of a file, which is hashed on the way. ArtifactError at its end when it is not what it should
    be: then nothing of it may become visible."""
    found, offset = sha256(), 0
    with source.open("rb") as file:
        while piece := file.read(size):
            found.update(piece)
            yield offset, piece
            offset += len(piece)
    if found.hexdigest() != digest:
        raise ArtifactError(f"{source} no longer has the digest {digest[:12]}: it was changed or damaged")
