"""How a catalogue asks for the files it is made of, without opening any: it yields what it wants and is sent bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

from ciflow.dataclass import dataclass
from ciflow.supply.model import Hash

T = TypeVar("T")
CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """A regular file of what is looked at; `path` is relative, with `/` between."""

    path: str
    size: int
    executable: bool = False


@dataclass(frozen=True)
class Wanted:
    """`length` bytes of a file from `offset`; fewer where it ends before."""

    path: str
    offset: int
    length: int


Asking: TypeAlias = Generator[Wanted, bytes, T]


def whole(entry: Entry, most: int) -> Asking[bytes]:
    """All of a file, or its first `most` bytes."""
    return (yield Wanted(entry.path, 0, min(entry.size, most)))


def digests(entry: Entry) -> Asking[tuple[Hash, ...]]:
    """SHA-256 and SHA-512 of a file, read in pieces."""
    short, long = hashlib.sha256(), hashlib.sha512()
    for offset in range(0, entry.size, CHUNK):
        piece = yield Wanted(entry.path, offset, min(CHUNK, entry.size - offset))
        short.update(piece)
        long.update(piece)
    return Hash("SHA-256", short.hexdigest()), Hash("SHA-512", long.hexdigest())


def driven(asking: Asking[T], read: Callable[[Wanted], bytes]) -> T:
    """Answers the questions until they are at an end; what they came to."""
    content: bytes | None = None
    while True:
        try:
            wanted = next(asking) if content is None else asking.send(content)
        except StopIteration as end:
            result: T = end.value
            return result
        content = read(wanted)
