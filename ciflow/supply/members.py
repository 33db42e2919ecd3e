"""What is in an archive (ar, tar, zip, gzip), each member with what else of it can differ. Bounded: no bomb unfolds."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping

from ciflow.dataclass import dataclass, field
from ciflow.supply.errors import FormatFault

MOST_BYTES = 256 * 1024 * 1024  # of all members together
MOST_MEMBERS = 20_000
_AR = b"!<arch>\n"


@dataclass(frozen=True, slots=True)
class Member:
    """`facts` are beside the content: time, mode, owner, and whatever else the format keeps."""

    name: str
    content: bytes
    facts: Mapping[str, str] = field(default_factory=dict)


def members(data: bytes) -> tuple[str, list[Member]] | None:
    """(which format, its members in order); None for what is no archive.

    Raises:
        FormatFault: one that is cut off, or larger inside than anybody wants.
    """
    try:
        if data.startswith(_AR):
            return "ar", _bounded(_ar(data))
        if data.startswith(b"\x1f\x8b"):
            return "gzip", _bounded(_gzip(data))
        if data.startswith(b"PK\x03\x04"):
            return "zip", _bounded(_zip(data))
        if data[257:262] == b"ustar":
            return "tar", _bounded(_tar(data))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error,
            NotImplementedError, RuntimeError, OverflowError) as e:  # fmt: skip
        if isinstance(e, FormatFault):
            raise
        raise FormatFault(f"an archive that can't be read: {e}") from e
    return None


def _bounded(found: Iterator[Member]) -> list[Member]:
    every, total = [], 0
    for member in found:
        total += len(member.content)
        every.append(member)
        if total > MOST_BYTES or len(every) > MOST_MEMBERS:
            raise FormatFault(f"an archive with more than {MOST_MEMBERS} members, or {MOST_BYTES // 1024**2} MiB")
    return every


def _ar(data: bytes) -> Iterator[Member]:
    """Names by GNU (`/12` points into `//`) and BSD (`#1/12` stands before the content)."""
    at, names = len(_AR), b""
    while at + 60 <= len(data):
        head = data[at : at + 60]
        size = int(head[48:58])
        if head[58:60] != b"`\n" or at + 60 + size > len(data):
            raise FormatFault("an ar archive that is cut off")
        name, content = head[:16].decode("latin-1").rstrip(), data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
        if name == "//":
            names = content
            continue
        if name.startswith("#1/"):
            length = int(name[3:])
            name, content = content[:length].rstrip(b"\0").decode("utf-8", "replace"), content[length:]
        elif name[1:].isdigit() and name.startswith("/"):
            name = names[int(name[1:]) :].partition(b"\n")[0].decode("utf-8", "replace").rstrip("/")
        facts = {"time": head[16:28], "owner": head[28:34] + b":" + head[34:40], "mode": head[40:48]}
        yield Member(name.rstrip("/") or "/", content, {k: v.decode("latin-1").strip() for k, v in facts.items()})


def _tar(data: bytes) -> Iterator[Member]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for entry in tar:
            if entry.size > MOST_BYTES:
                raise FormatFault(f"{entry.name} is larger than {MOST_BYTES // 1024**2} MiB")
            content = tar.extractfile(entry) if entry.isreg() else None
            facts = {
                "time": f"{entry.mtime:g}" if isinstance(entry.mtime, float) else str(entry.mtime),
                "owner": f"{entry.uid}:{entry.gid} {entry.uname}:{entry.gname}",
                "mode": f"{entry.mode:04o}",
                "kind": entry.type.decode("latin-1") + entry.linkname,
            }
            yield Member(entry.name, content.read() if content is not None else b"", facts)


def _zip(data: bytes) -> Iterator[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise FormatFault(f"a zip with more than {MOST_BYTES // 1024**2} MiB in it")
        for entry in archive.infolist():
            time = "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*entry.date_time)
            facts = {"time": time, "mode": f"{entry.external_attr >> 16:04o}", "extra": entry.extra.hex()}
            yield Member(entry.filename, archive.read(entry), facts)


def _gzip(data: bytes) -> Iterator[Member]:
    """One member, its header's time and name (RFC 1952) beside it."""
    flags, (time,) = data[3], struct.unpack_from("<I", data, 4)
    name = data[10:].partition(b"\0")[0].decode("latin-1") if flags & 8 and not flags & 4 else ""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        content = stream.read(MOST_BYTES + 1)
    yield Member("content", content, {"time": str(time), "name": name})
