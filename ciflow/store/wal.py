"""What lies in a write-ahead log that nobody has open: whole, torn at its end, or damaged inside.

SQLite itself stops at the first frame that doesn't verify, and says nothing; everything committed behind that frame
is then lost in silence. Format and checksum: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from ciflow.dataclass import dataclass

HEADER = 32
FRAME_HEADER = 24
MAGIC = 0x377F0682  # the last bit says that checksums read words big-endian

Sum = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """At most one of: `torn`, the last transaction never reached the disk whole; `damage`, whole ones lie behind.

    `doubt`: it is more than one write that a kill cut short, so all the rest should be looked at too.
    """

    torn: str = ""
    damage: str = ""
    doubt: bool = True


CLEAN = Finding()


@dataclass(frozen=True, slots=True)
class Frame:
    """`page` is the eight bytes of the header that count, then the page; `stored` is the sum the frame claims."""

    page: bytes
    salt: bytes
    stored: Sum

    @property
    def commits(self) -> bool:
        return self.page[4:8] != b"\0\0\0\0"


def inspect(path: Path) -> Finding:
    """Look at a WAL file. A missing or an empty one is clean, as is one whose last transaction wasn't committed."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        return CLEAN
    if len(content) < HEADER:
        return Finding(torn=f"{len(content)} bytes of a header")
    magic, _, size = struct.unpack(">3I", content[:12])
    order = ">" if magic & 1 else "<"
    running = _sum(content[:24], order, (0, 0))
    if magic & ~1 != MAGIC or running != struct.unpack(">2I", content[24:HEADER]):
        return _bad_header(content)
    return _frames_from(list(_frames(content, size)), content[16:24], order, running, _excess(content, size))


def _bad_header(content: bytes) -> Finding:
    if len(content) == HEADER:
        return Finding(torn="its header alone, not whole")
    return Finding(damage="the header of its write-ahead log doesn't verify, and transactions lie behind it")


def _frames_from(frames: list[Frame], salt: bytes, order: str, running: Sum, excess: int) -> Finding:
    for at, frame in enumerate(frames):
        verified = _sum(frame.page, order, running)
        if frame.salt == salt and verified == frame.stored:
            running = verified
            continue
        if at and frame.salt != salt and not _whole_behind(frames[at:], salt, order):
            return CLEAN  # left over from before the log was begun anew
        if _whole_behind(frames[at:], salt, order):
            return Finding(damage=f"frame {at + 1} of its write-ahead log doesn't verify, whole ones lie behind it")
        return CLEAN if frame.salt != salt else Finding(torn=f"frame {at + 1} of {len(frames)} doesn't verify")
    return Finding(torn=f"{excess} bytes of a frame", doubt=False) if excess else CLEAN


def _whole_behind(frames: list[Frame], salt: bytes, order: str) -> bool:
    """Whether a committing frame follows from the sum its predecessor claims: it was written whole."""
    return any(
        after.salt == salt and after.commits and _sum(after.page, order, before.stored) == after.stored
        for before, after in pairwise(frames)
    )


def _excess(content: bytes, size: int) -> int:
    return (len(content) - HEADER) % (FRAME_HEADER + size)


def _frames(content: bytes, size: int) -> Iterator[Frame]:
    step = FRAME_HEADER + size
    for at in range(HEADER, len(content) - step + 1, step):
        header = content[at : at + FRAME_HEADER]
        first, second = struct.unpack(">2I", header[16:24])
        yield Frame(header[:8] + content[at + FRAME_HEADER : at + step], header[8:16], (first, second))


def _sum(data: bytes, order: str, start: Sum) -> Sum:
    first, second = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
